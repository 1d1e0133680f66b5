// Removing what agents have written. A folder that others may look for is renamed first, so that nobody takes what is half
// removed; what a killed process has left on its way out is removed by whoever comes next.

import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Removes a file or a folder, whatever an agent made of it. Removing what is not there is no error. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }).catch(async () => {
    // An agent may have closed folders of its own even to us, and nested them deeper than any path reaches.
    await run('chmod', ['-R', 'u+rwX', '--', path]).catch(() => undefined);
    await run('rm', ['-rf', '--', path]);
  });
}

/** Where folders are on their way out. */
export const goingDir = (home: string): string => join(home, 'going');

/** Removes a folder below the fleet's at once for all others. False when somebody else has taken it before. */
export async function discard(home: string, path: string): Promise<boolean> {
  const going = join(goingDir(home), randomUUID());
  await mkdir(goingDir(home), { recursive: true, mode: 0o711 });
  try {
    await rename(path, going);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  await removeTree(going);
  return true;
}

/** What a process that was killed had not removed yet. Several may do this at once. */
export async function clearGoing(home: string): Promise<void> {
  for (const name of await readdir(goingDir(home)).catch(() => []))
    await removeTree(join(goingDir(home), name));
}
