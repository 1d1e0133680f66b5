// What setup needs of a workstation that is a sandbox. Archives are made and read in sandboxes with that clone and nothing
// of the agent's in them; a finished one is the worker's, and no sandbox is ever given it to write.

import { constants } from 'node:fs';
import { chown, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Limits, SandboxHost } from '../sandbox/offer.js';
import { execSandboxed, type Place } from '../sandbox/run.js';
import type { Bind } from '../sandbox/view.js';
import type { SetupPlace } from './station.js';

const KEPT = '/w/kept';
const ARCHIVE = 'archive.tar';
const LONGEST_MS = 10 * 60_000;
const LIMITS: Limits = { processes: 64, openFiles: 4_096, memory: 2 * 1024 ** 3 };
const MOST_OUTPUT = 1_000_000;

const EXCLUDE = 'mkdir -p .git/info && exec cat >> .git/info/exclude';

const PACK = `
for path; do
  if [ -L "$path" ] || [ ! -e "$path" ]; then echo "$path is not there, or a link" >&2; exit 1; fi
done
exec tar --create --format=posix --file=${KEPT}/${ARCHIVE} -- "$@"
`;

/** An earlier attempt's agent may have closed its folders. */
const REMOVE = `
rm -rf -- "$@" 2> /dev/null || { chmod -R u+rwX -- "$@"; rm -rf -- "$@"; }
`;

const UNPACK = `${REMOVE}
exec tar --extract --preserve-permissions --file=${KEPT}
`;

/** `place`: a sandbox with the clone and these folders. */
export function setupPlace(
  host: SandboxHost,
  place: (binds: readonly Bind[], limits: Limits) => Place,
  uid: number | undefined,
  run: SetupPlace['run'],
): SetupPlace {
  const script = async (
    text: string,
    args: readonly string[],
    { binds = [], most, ...more }: { binds?: Bind[]; most?: number; signal?: AbortSignal; input?: string },
  ): Promise<void> => {
    const limits = { ...LIMITS, ...(most === undefined ? {} : { fileSize: most }) };
    const command = ['/bin/sh', '-ec', text, 'sh', ...args];
    await execSandboxed(host, place(binds, limits), command, {
      timeoutMs: LONGEST_MS,
      most: MOST_OUTPUT,
      ...more,
    });
  };
  return {
    run,
    exclude: (lines) => script(EXCLUDE, [], { input: `${lines.join('\n')}\n` }),
    archives: {
      pack: async (paths, folder, most, signal) => {
        await mkdir(folder, { mode: 0o700 });
        if (uid !== undefined) await chown(folder, uid, uid);
        await script(PACK, paths, { binds: [{ from: folder, to: KEPT, writable: true }], most, signal });
        return await taken(join(folder, ARCHIVE));
      },
      unpack: (paths, file, signal) => script(UNPACK, paths, { binds: [{ from: file, to: KEPT }], signal }),
      remove: (paths, signal) => script(REMOVE, paths, { signal }),
    },
  };
}

/** Makes the file the worker's own, which all can read, and waits until it is on disk. */
async function taken(path: string): Promise<string> {
  const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) throw new Error(`${path} is no file`);
    await file.chown(process.getuid?.() ?? -1, process.getgid?.() ?? -1);
    await file.chmod(0o644);
    await file.sync();
    return path;
  } finally {
    await file.close();
  }
}
