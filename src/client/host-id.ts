// Which host a fleet's folder stands on: a name that is made once and kept in the folder, so that it outlives restarts
// and is the same for all workers of the host. Tasks that go on in a clone find it by that name, and so do its logs.

import { randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { HOST_ID } from '../domain/ids.js';
import { BadDocument } from './documents.js';

export const hostIdFile = (home: string): string => join(home, 'host-id');

/** The host's id; made when there is none yet. Throws BadDocument when the file holds something else. */
export async function hostIdOf(home: string): Promise<string> {
  const known = await knownHostId(home);
  if (known !== undefined) return known;
  await mkdir(home, { recursive: true });
  const file = hostIdFile(home);
  const temporary = `${file}.${randomUUID()}.tmp`;
  await writeFile(temporary, `${newId()}\n`);
  try {
    // Of two workers that start at once the first one's stays.
    await link(temporary, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  return (await knownHostId(home)) ?? '';
}

/** The same, without making one: undefined where no worker has run yet. */
export async function knownHostId(home: string): Promise<string | undefined> {
  const file = hostIdFile(home);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const id = text.trim();
  if (HOST_ID.test(id)) return id;
  throw new BadDocument(file, [
    `expected this host's id, such as builder-1-9f8e7d6c, found ${JSON.stringify(id.slice(0, 80))}: delete the file, and the next worker makes another one`,
  ]);
}

const newId = (): string => {
  const name = hostname()
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 40);
  return `${name || 'host'}-${randomUUID().slice(0, 8)}`;
};
