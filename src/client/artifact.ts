// Artifacts of tasks, as they are kept on the shared repository: read, held against the digest in the packet, written out.
// Whoever may push there may have changed the ref: nothing of it is believed.

import { createHash, randomUUID } from 'node:crypto';
import { lstat, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { ARTIFACT_LIMITS, type ArtifactFile, listingOf, type StoredArtifact } from '../domain/artifact.js';
import { trickyName } from '../domain/peering.js';
import type { Fleet } from './config.js';
import { git } from './git.js';
import { withRef } from './records.js';
import { Refused } from './refused.js';

export const sha256 = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

/** The digest of an artifact: SHA-256 of its canonical listing, in UTF-8. */
export const digestOf = (files: readonly ArtifactFile[]): string => sha256(listingOf(files));

export type ArtifactContents = ArtifactFile & { content: Buffer };

/** The files, in the order of the listing. Throws when they are gone, or are not those of the digest. */
export async function readArtifact(fleet: Fleet, stored: StoredArtifact): Promise<ArtifactContents[]> {
  const { repository, ref, digest } = stored;
  const known = fleet.config.repositories[repository];
  if (!known) throw new Refused(`the artifact is in repository "${repository}", which the fleet has no more`);
  const files: ArtifactContents[] = [];
  const found = await withRef(known.url, ref, async (dir) => {
    files.push(...(await filesIn(dir, ref)));
  });
  if (!found) throw new Refused(`${known.url} has no ${ref}: somebody has removed it`);
  const is = digestOf(files);
  if (is !== digest)
    throw new Error(
      `${ref} of ${repository} has been changed: its digest is ${is}, the packet says ${digest}`,
    );
  return files;
}

async function filesIn(dir: string, ref: string): Promise<ArtifactContents[]> {
  const listing = await git(dir, ['ls-tree', '-r', '-z', '-l', '--full-tree', ref], { most: MOST_LISTED });
  const lines = listing.toString('utf8').split('\0').filter(Boolean);
  const entries = lines.map((line) => entryOf(line, ref));
  const bytes = entries.reduce((sum, { size }) => sum + size, 0);
  if (entries.length > ARTIFACT_LIMITS.files || bytes > ARTIFACT_LIMITS.bytes)
    throw new Error(`${ref} holds more than an artifact may: ${entries.length} files, ${bytes} bytes`);
  const input = entries.map(({ oid }) => `${oid}\n`).join('');
  const out = await git(dir, ['cat-file', '--batch'], { input });
  let at = 0;
  return entries.map(({ path, size }) => {
    // Each one is "<id> blob <bytes>", its bytes, and the end of a line.
    const start = out.indexOf('\n', at) + 1;
    const content = out.subarray(start, start + size);
    at = start + size + 1;
    return { path, size, sha256: sha256(content), content };
  });
}

/** Bytes: as many paths of the longest kind as an artifact may have, and more. */
const MOST_LISTED = 4 * 1_024 ** 2;

function entryOf(line: string, ref: string): { path: string; oid: string; size: number } {
  const [, oid = '', size = '', path = ''] = /^100644 blob ([0-9a-f]+) +(\d+)\t(.*)$/s.exec(line) ?? [];
  if (path === '' || path.split('/').some((name) => trickyName(name) !== undefined))
    throw new Error(`${ref} holds what no artifact holds: ${JSON.stringify(line)}`);
  return { path, oid, size: Number(size) };
}

/** Writes the files into a new folder, which appears whole or not at all. Throws Refused when it is there already. */
export async function writeArtifact(files: readonly ArtifactContents[], folder: string): Promise<void> {
  const into = resolve(folder);
  const refused = new Refused(`${folder} is there already: an artifact is written into a new folder`);
  if (await lstat(into).catch(() => undefined)) throw refused;
  await mkdir(dirname(into), { recursive: true });
  const aside = `${into}.${randomUUID()}.tmp`;
  await mkdir(aside);
  try {
    for (const { path, content } of files) {
      await mkdir(dirname(join(aside, path)), { recursive: true });
      await writeFile(join(aside, path), content, { flag: 'wx' });
    }
    await rename(aside, into).catch((error: unknown) => {
      throw TAKEN.includes((error as NodeJS.ErrnoException).code ?? '') ? refused : error;
    });
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

const TAKEN = ['ENOTEMPTY', 'EEXIST', 'ENOTDIR'];
