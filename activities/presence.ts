// Who works on this host for the fleet, and on what: small files that tell the next worker what a dead one left.

import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { activityInfo } from '@temporalio/activity';
import type { Host } from './host.js';
import { isAlive, type ProcessIdentity } from './processes.js';

/** Whole or not at all: a worker may die at any moment. */
export async function writeWhole(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const temporary = `${file}.${randomUUID()}.tmp`;
  await writeFile(temporary, text);
  await rename(temporary, file);
}

/** An activity of a writer, while it runs. */
export interface Inflight {
  worker: ProcessIdentity;
  /** The activity's task token, base64. */
  token: string;
}

const inflightDir = (home: string): string => join(home, 'inflight');
const presenceDir = (home: string): string => join(home, 'workers');

/** Notes the running activity down until the work is over, so that it can be tried again at once if its worker dies. */
export async function whileInflight<T>(host: Host, work: () => Promise<T>): Promise<T> {
  const file = join(inflightDir(host.home), `${randomUUID()}.json`);
  const note: Inflight = {
    worker: host.self,
    token: Buffer.from(activityInfo().taskToken).toString('base64'),
  };
  await writeWhole(file, JSON.stringify(note));
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

/** Takes the notes of workers that are no longer alive. */
export async function takeInflight(home: string): Promise<Inflight[]> {
  const found: Inflight[] = [];
  for (const file of await jsonFiles(inflightDir(home))) {
    const note = JSON.parse(await readFile(file, 'utf8')) as Inflight;
    if (isAlive(note.worker)) continue;
    found.push(note);
    await rm(file, { force: true });
  }
  return found;
}

/** Registers this worker; gives whether it is the only live one on this host. */
export async function register(host: Host): Promise<boolean> {
  let alone = true;
  for (const file of await jsonFiles(presenceDir(host.home))) {
    const other = JSON.parse(await readFile(file, 'utf8')) as ProcessIdentity;
    if (other.pid !== host.self.pid && isAlive(other)) alone = false;
    else await rm(file, { force: true });
  }
  await writeWhole(join(presenceDir(host.home), `${host.self.pid}.json`), JSON.stringify(host.self));
  return alone;
}

async function jsonFiles(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch(() => []);
  return names.filter((name) => name.endsWith('.json')).map((name) => join(dir, name));
}
