// The repository on which a history is replayed, and the comparison of its end with the real one.
// It guarantees a bare repository that holds every object it needs itself (no alternates, not shallow), made without a
// network and without writing to the real one; and a comparison that misses no path, mode or content.

import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { GitError, git, gitPipe, gitText } from '../../client/git.js';
import { type History, showPath } from './history.js';

const MAX_DIFFERING = 100;

// Old histories hold objects that a strict check refuses, and whatever the replay makes may be kept until its end.
const SETTINGS: readonly (readonly [string, string])[] = [
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  ['receive.autogc', 'false'],
  ['receive.fsckObjects', 'false'],
  ['transfer.fsckObjects', 'false'],
  ['core.logAllRefUpdates', 'false'],
];

const IDENTITY = {
  GIT_AUTHOR_NAME: 'signalbox replay',
  GIT_AUTHOR_EMAIL: 'replay@signalbox.invalid',
  GIT_AUTHOR_DATE: '@0 +0000',
  GIT_COMMITTER_NAME: 'signalbox replay',
  GIT_COMMITTER_EMAIL: 'replay@signalbox.invalid',
  GIT_COMMITTER_DATE: '@0 +0000',
};

/**
 * Makes a bare repository at `dir` whose HEAD and `branch` are at the history's start, with all commits before it. When
 * these are not all there (a shallow clone, a snapshot with gaps), a root commit with the start's tree takes their
 * place; when the history starts with a root commit, one with an empty tree.
 */
export async function makeOrigin(repo: string, history: History, dir: string, branch: string): Promise<void> {
  await requireEmpty(dir);
  const format = `--object-format=${history.objectFormat}`;
  await git(dir, ['init', '--quiet', '--bare', '--template=', format, '.']);
  for (const [name, value] of SETTINGS) await git(dir, ['config', name, value]);
  await git(dir, ['check-ref-format', `refs/heads/${branch}`]).catch(() => {
    throw new Error(`"${branch}" is not a possible name of a branch`);
  });
  await git(dir, ['symbolic-ref', 'HEAD', `refs/heads/${branch}`]);
  const start = await startCommit(repo, history.start, dir);
  await git(dir, ['update-ref', `refs/heads/${branch}`, start], { env: IDENTITY });
}

async function requireEmpty(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true }).catch((error: Error) => {
    throw new Error(`cannot make the directory ${dir}: ${error.message}`);
  });
  if ((await readdir(dir)).length > 0) throw new Error(`${dir} exists and is not empty`);
}

async function startCommit(repo: string, start: string | undefined, dir: string): Promise<string> {
  if (start === undefined) return rootCommit(dir, await emptyTree(dir), 'Start of the replay: nothing');
  const shallow = await gitText(repo, ['rev-parse', '--is-shallow-repository']);
  if (shallow !== 'true' && (await tryCopy(repo, start, dir))) return start;
  const tree = await gitText(repo, ['rev-parse', '--verify', `${start}^{tree}`]);
  try {
    await copy(repo, tree, dir);
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new Error(
      `${repo} lacks contents of ${start}, where the replay starts (a partial clone or snapshot?): ${detail}`,
    );
  }
  return rootCommit(dir, tree, `Start of the replay: the tree of ${start}`);
}

const emptyTree = (dir: string): Promise<string> =>
  gitText(dir, ['hash-object', '-t', 'tree', '-w', '--stdin']);

const rootCommit = (dir: string, tree: string, message: string): Promise<string> =>
  gitText(dir, ['commit-tree', tree, '-m', message], { env: IDENTITY });

/** False when the real repository cannot give all that the commit reaches; nothing is left behind then. */
async function tryCopy(repo: string, start: string, dir: string): Promise<boolean> {
  try {
    await copy(repo, start, dir);
    return true;
  } catch (error) {
    if (!(error instanceof GitError)) throw error;
    const packs = join(dir, 'objects', 'pack');
    const left = await readdir(packs).catch((): string[] => []);
    for (const name of left) await rm(join(packs, name), { force: true });
    return false;
  }
}

/** Copies an object and all that it reaches, as one pack. */
function copy(repo: string, object: string, dir: string): Promise<void> {
  const args = ['pack-objects', '--revs', '--stdout', '-q', '--delta-base-offset'];
  return gitPipe({ dir: repo, args, input: `${object}\n` }, { dir, args: ['index-pack', '--stdin'] });
}

/**
 * Whether the branch holds the same files, modes and contents as the tree of the real repository; where not, up to 100
 * paths: `A` is only on the branch, `D` only in the real tree, `M` differs. Trees that differ only in how old tools
 * spelt a mode, or by an empty directory, which no change can show, count as equal.
 */
export async function compareTrees(
  origin: string,
  branch: string,
  repo: string,
  endTree: string,
): Promise<{ equal: boolean; differing: string[] }> {
  const ref = `refs/heads/${branch}`;
  if ((await gitText(origin, ['rev-parse', '--verify', `${ref}^{tree}`])) === endTree) {
    return { equal: true, differing: [] };
  }
  const list = ['ls-tree', '-r', '-z', '--full-tree'];
  const [ours, theirs] = await Promise.all([git(origin, [...list, ref]), git(repo, [...list, endTree])]);
  const differing = differences(ours, theirs);
  return { equal: differing.length === 0, differing };
}

interface Row {
  entry: Buffer;
  path: Buffer;
  next: number;
}

/** Walks both listings, which git sorts by path bytes, side by side: no more memory than the listings themselves. */
function differences(ours: Buffer, theirs: Buffer): string[] {
  const found: string[] = [];
  let a = row(ours, 0);
  let b = row(theirs, 0);
  while ((a || b) && found.length < MAX_DIFFERING) {
    const order = !a ? 1 : !b ? -1 : Buffer.compare(a.path, b.path);
    if (order < 0 && a) found.push(`A ${showPath(a.path)}`);
    if (order > 0 && b) found.push(`D ${showPath(b.path)}`);
    if (order === 0 && a && b && !a.entry.equals(b.entry)) found.push(`M ${showPath(a.path)}`);
    if (order <= 0 && a) a = row(ours, a.next);
    if (order >= 0 && b) b = row(theirs, b.next);
  }
  return found;
}

function row(listing: Buffer, at: number): Row | undefined {
  if (at >= listing.length) return undefined;
  const tab = listing.indexOf(0x09, at);
  const end = listing.indexOf(0, tab);
  return { entry: listing.subarray(at, tab), path: listing.subarray(tab + 1, end), next: end + 1 };
}
