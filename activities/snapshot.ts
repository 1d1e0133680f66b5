// Snapshots of another task's tree, for a peer to see: of a commit from the trusted mirror, or of an agent's working tree through
// the copier in a sandbox. Each is made aside, searched for secrets, and appears whole or not at all, with its manifest
// beside it. No git checkout, attribute or filter has a part in it.

import { randomUUID } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import {
  excludedBy,
  leaveOut,
  type Manifest,
  SNAPSHOT_LIMITS,
  type SnapshotLimits,
} from '../src/domain/peering.js';
import { builtScript } from './built-script.js';
import type { Mirror } from './mirror.js';
import { writeWhole } from './presence.js';
import { type SearchTimes, searchSecrets } from './secret-search.js';
import { SnapshotFolder } from './snapshot-folder.js';
import { writeTree } from './snapshot-tree.js';

/** Where the manifest of a snapshot is: beside it. */
export const manifestFile = (snapshot: string): string => `${snapshot}.manifest.json`;

/**
 * Writes the tree of a commit, as a peer may see it, to the folder `into`, in place of the snapshot that is there. Throws, and
 * leaves `into` as it was, when the commit cannot be read or the disk is full.
 */
export async function snapshotCommit(
  mirror: Mirror,
  commit: string,
  into: string,
  limits: SnapshotLimits = SNAPSHOT_LIMITS,
  times?: SearchTimes,
): Promise<Manifest> {
  const tree = await mirror.treeOf(commit);
  return await appearing(into, times, async (aside) => {
    const folder = new SnapshotFolder(aside, limits);
    try {
      return { files: await writeTree(mirror, tree, folder), manifest: folder.manifest };
    } finally {
      folder.close();
    }
  });
}

/** What the copier needs of a sandbox: to read its program and the source, to write the destination, /proc, nothing else. */
export interface CopierJob {
  source: string;
  /** Empty; belongs to whom the sandbox runs as. */
  destination: string;
  /** The program and the modules it loads, beside node itself. */
  readable: readonly string[];
  /** The command, with source and destination as the sandbox calls them. */
  command(source: string, destination: string): string[];
}

/** Runs the copier to its end in a sandbox; gives its stdout. Throws when it fails, with what it said. */
export type InSandbox = (job: CopierJob) => Promise<Buffer>;

/**
 * As snapshotCommit, of a working tree that its agent may be changing at this moment: files that are written meanwhile may
 * be of two minds. `whole` tells, once it is copied, whether the tree was there all the time: where it was not, it throws.
 */
export async function snapshotWorktree(
  source: string,
  into: string,
  inSandbox: InSandbox,
  limits: SnapshotLimits = SNAPSHOT_LIMITS,
  times?: SearchTimes,
  whole: () => boolean = () => true,
): Promise<Manifest> {
  return await appearing(into, times, async (aside) => {
    const stdout = await inSandbox({
      source,
      destination: aside,
      readable: copierFiles(),
      command: (from, to) => [
        process.execPath,
        builtScript('snapshot-copier'),
        from,
        to,
        `${limits.files}`,
        `${limits.bytes}`,
      ],
    });
    const { incomplete, ...rest } = ManifestOfCopier.parse(JSON.parse(stdout.toString('utf8')));
    if (!whole()) throw new Error(`${source} went away while it was copied`);
    const files = await filesOf(aside);
    return { manifest: { ...rest, ...(incomplete === undefined ? {} : { incomplete }) }, files };
  });
}

/** What the copier consists of; package.json says how node is to take it. */
function copierFiles(): string[] {
  const dist = dirname(dirname(builtScript('snapshot-copier')));
  return [
    join(dirname(dist), 'package.json'),
    ...['snapshot-copier', 'snapshot-folder'].map((name) => join(dist, 'activities', `${name}.js`)),
    ...['peering', 'peering-excludes', 'folding'].map((name) => join(dist, 'src', 'domain', `${name}.js`)),
  ];
}

const ManifestOfCopier = z.strictObject({
  files: z.int().min(0),
  bytes: z.int().min(0),
  leftOut: z.array(z.strictObject({ path: z.string(), pattern: z.string(), reason: z.string() })).max(1_000),
  counts: z.record(z.string(), z.int()),
  incomplete: z.string().optional(),
});

/** Takes a snapshot away, with its manifest. One that is not there is taken away already. */
export async function removeSnapshot(snapshot: string): Promise<void> {
  await removeFolder(snapshot);
  await rm(manifestFile(snapshot), { force: true });
}

async function appearing(
  into: string,
  times: SearchTimes | undefined,
  make: (aside: string) => Promise<{ manifest: Manifest; files: string[] }>,
): Promise<Manifest> {
  await mkdir(dirname(into), { recursive: true });
  const aside = join(dirname(into), `.${basename(into)}.${randomUUID()}`);
  await mkdir(aside, { mode: 0o700 });
  try {
    const { manifest, files } = await make(aside);
    await takeOutSecrets(aside, files, manifest, times);
    await chmod(aside, 0o555);
    await writeWhole(manifestFile(into), JSON.stringify(manifest));
    await takePlace(aside, into);
    return manifest;
  } catch (error) {
    await removeFolder(aside);
    throw error;
  }
}

/** Renames; what is there goes first, so that nobody sees half of each. */
async function takePlace(aside: string, into: string): Promise<void> {
  try {
    return await rename(aside, into);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
  const old = `${aside}.old`;
  await rename(into, old);
  try {
    await rename(aside, into);
  } catch (error) {
    await rename(old, into);
    throw error;
  }
  await removeFolder(old);
}

async function takeOutSecrets(
  root: string,
  files: readonly string[],
  manifest: Manifest,
  times: SearchTimes | undefined,
): Promise<void> {
  for (const [path, why] of await searchSecrets(root, files, times)) {
    const file = join(root, path);
    const { size } = await lstat(file);
    await chmod(dirname(file), 0o700);
    await rm(file);
    await chmod(dirname(file), 0o555);
    manifest.files--;
    manifest.bytes -= size;
    leaveOut(manifest, path, why);
  }
}

/** Folders of a snapshot may not be written: first they may, then they go. Follows no link. */
async function removeFolder(root: string): Promise<void> {
  const open = async (folder: string): Promise<void> => {
    await chmod(folder, 0o700);
    for (const entry of await readdir(folder, { withFileTypes: true }))
      if (entry.isDirectory()) await open(join(folder, entry.name));
  };
  if ((await lstat(root).catch(() => undefined))?.isDirectory()) await open(root);
  await rm(root, { recursive: true, force: true });
}

// ---- a working tree

/** The files of what the copier wrote. Throws for anything that no snapshot may hold: it is not believed. */
async function filesOf(root: string): Promise<string[]> {
  const files: string[] = [];
  const look = async (folder: string): Promise<void> => {
    for (const raw of await readdir(join(root, folder), { encoding: 'buffer' })) {
      const name = raw.toString('utf8');
      const path = folder === '' ? name : `${folder}/${name}`;
      const stat = await lstat(Buffer.concat([Buffer.from(join(root, folder)), Buffer.from('/'), raw]));
      const mode = stat.mode & 0o7777;
      const plain = stat.isDirectory() || (stat.isFile() && stat.nlink === 1);
      if (!plain || (mode !== 0o555 && (mode !== 0o444 || stat.isDirectory())) || excludedBy(path))
        throw new Error(`the copier wrote ${JSON.stringify(path)}, which no snapshot may hold`);
      if (stat.isFile()) files.push(path);
      else await look(path);
    }
  };
  await look('');
  return files;
}
