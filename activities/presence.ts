// Who works on this host for the fleet: small files that tell the next worker which ones have died.

import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import type { Host } from './host.js';
import { isAlive, type ProcessIdentity } from './processes.js';

/** Whole or not at all: a worker may die at any moment. */
export async function writeWhole(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const temporary = `${file}.${randomUUID()}.tmp`;
  await writeFile(temporary, text);
  await rename(temporary, file);
}

const presenceDir = (home: string): string => join(home, 'workers');

/** Registers this worker. Gives whether it is the only live one on this host, and the dead ones that it replaces. */
export async function register(host: Host): Promise<{ alone: boolean; dead: ProcessIdentity[] }> {
  let alone = true;
  const dead: ProcessIdentity[] = [];
  for (const file of await jsonFiles(presenceDir(host.home))) {
    const other = JSON.parse(await readFile(file, 'utf8')) as ProcessIdentity;
    if (isAlive(other)) {
      alone &&= other.pid === host.self.pid;
    } else {
      dead.push(other);
    }
  }
  await writeWhole(presenceFile(host.home, host.self), JSON.stringify(host.self));
  return { alone, dead };
}

/** What dead workers left has been cleared away, all of it. */
export async function forget(home: string, dead: readonly ProcessIdentity[]): Promise<void> {
  for (const worker of dead) await rm(presenceFile(home, worker), { force: true });
}

/** As Temporal knows a worker process: no other has the same, not even one that gets its process id. */
export const workerIdentity = (worker: ProcessIdentity): string => `${keyOf(worker)}@${hostname()}`;

const keyOf = ({ pid, started }: ProcessIdentity): string =>
  `${pid}-${createHash('sha256').update(started).digest('hex').slice(0, 8)}`;

const presenceFile = (home: string, worker: ProcessIdentity): string =>
  join(presenceDir(home), `${keyOf(worker)}.json`);

async function jsonFiles(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch(() => []);
  return names.filter((name) => name.endsWith('.json')).map((name) => join(dir, name));
}
