// The network of a sandbox that may reach some names: a proxy of its own, outside, on a socket that is shown inside.

import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Network } from '../../src/domain/egress.js';
import { egressEnv } from '../egress/env.js';
import { startEgress } from '../egress/proxy.js';
import type { Refusal } from '../egress/refusals.js';

/** Where the forwarder listens inside. */
export const PROXY_PORT = 3_128;

export interface OpenNetwork {
  socket: string;
  env: Record<string, string>;
  refused(): Refusal[];
  close(): Promise<void>;
}

/** Undefined where no proxy is needed. `uid`: the user the agent runs as, where that is not the worker's. */
export async function openNetwork(
  { network, reachable }: { network: Network; reachable: readonly string[] },
  uid: number | undefined,
  keys: ReadonlyMap<string, string>,
  log: (line: string) => void,
): Promise<OpenNetwork | undefined> {
  if (typeof network === 'string') return undefined;
  // The path of a socket is short, and those of a fleet's folder may be long.
  const folder = await mkdtemp(join(tmpdir(), 'signalbox-net-'));
  if (uid !== undefined) await chmod(folder, 0o711);
  const socket = join(folder, 'proxy.sock');
  const egress = await startEgress({
    socket,
    network,
    secrets: (name) => keys.get(name),
    alsoReachable: reachable,
    log,
    ...(uid === undefined ? {} : { owner: { uid, gid: uid } }),
  }).catch(async (error: unknown) => {
    await rm(folder, { recursive: true, force: true });
    throw error;
  });
  return {
    socket,
    env: egressEnv(PROXY_PORT),
    refused: () => egress.refused(),
    close: async () => {
      await egress.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
