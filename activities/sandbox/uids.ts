// User ids for workstations, where the worker is root: no account has them, and no two workstations of a host get the
// same. The last one given out is the name of a file; who renames it to the next number has that one.

import { randomInt } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Above those of accounts, of their subordinate ids and of service managers. */
const FIRST = 1_100_000_000;
/** Ids from 2^31 on are none to bubblewrap. */
const COUNT = 1_000_000_000;

/** A user id that nobody was given before, by any worker with this folder. Folders begin at places of their own. */
export async function nextUid(home: string): Promise<number> {
  const dir = join(home, 'uids');
  for (;;) {
    const [last] = await readdir(dir).catch(() => []);
    if (last === undefined) {
      await begin(home, dir);
      continue;
    }
    const next = FIRST + ((Number(last) - FIRST + 1) % COUNT);
    try {
      await rename(join(dir, last), join(dir, String(next)));
      return next;
    } catch (error) {
      // Somebody else has that one.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

async function begin(home: string, dir: string): Promise<void> {
  await mkdir(home, { recursive: true });
  const own = await mkdtemp(`${dir}.`);
  await writeFile(join(own, String(FIRST + randomInt(COUNT))), '');
  // Fails where somebody else was faster.
  await rename(own, dir).catch(() => rm(own, { recursive: true }));
}
