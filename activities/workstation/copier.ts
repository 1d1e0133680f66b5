// The copier of working trees, in a sandbox that sees its program, the tree and the destination, and nothing else. It runs as the
// owner's agent does, so it can read what that can read and no more, without a network.

import { chown } from 'node:fs/promises';
import { INSIDE_PATH, type Limits, type SandboxHost } from '../sandbox/offer.js';
import { execSandboxed } from '../sandbox/run.js';
import { nextUid } from '../sandbox/uids.js';
import { type Bind, hiddenOf } from '../sandbox/view.js';
import type { InSandbox } from '../snapshot.js';

const COPY_MS = 5 * 60_000;
const MOST_SAID = 16 * 1024 * 1024;
/** No limit of processes: it would count those of the owner's agent, which could keep the copier from starting. */
const LIMITS: Limits = { openFiles: 1_024, memory: 4 * 1024 ** 3 };

const SOURCE = '/source';
const DESTINATION = '/destination';

export interface CopierOf {
  /** Of the owner's workstation. */
  uid: number | undefined;
  /** The folder that it works for. */
  marker: string;
  signal: AbortSignal;
}

export function copierIn(host: SandboxHost, home: string, { uid, marker, signal }: CopierOf): InSandbox {
  return async ({ source, destination, readable, command }) => {
    // bubblewrap never runs as root.
    const as = uid ?? (host.root ? await nextUid(home) : undefined);
    if (as !== undefined) await chown(destination, as, as);
    const programs = [process.execPath, ...readable];
    const binds: Bind[] = [
      ...programs.map((path) => ({ from: path, to: path })),
      { from: source, to: SOURCE },
      { from: destination, to: DESTINATION, writable: true },
    ];
    const place = {
      view: {
        binds,
        env: { PATH: INSIDE_PATH },
        chdir: '/',
        network: 'none',
        temporary: 1024 * 1024,
      } as const,
      limits: LIMITS,
      uid: as,
      hidden: hiddenOf(host, [home, ...programs]),
      marker,
    };
    return await execSandboxed(host, place, command(SOURCE, DESTINATION), {
      timeoutMs: COPY_MS,
      most: MOST_SAID,
      signal,
    });
  };
}
