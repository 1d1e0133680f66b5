// Trees and commits built from bytes: what a commit changed, and the same change on another tree, path by path,
// without rename detection, attributes, filters or a working tree.

import { TooMuchOutput } from '../src/client/git.js';
import { parseRawDiff, type RawChange } from '../src/client/raw-diff.js';
import type { TreeEditor } from '../src/client/tree-editor.js';
import type { Mirror } from './mirror.js';

/** What differs at a path, or shall. */
export type Change = Omit<RawChange, 'status'>;

/** The mode of what is not there. */
export const GONE = '000000';

/** A few nested trees that name each other many times over can stand for more paths than any memory holds. */
export class TooManyChanges extends Error {}

/** Bytes of a listing: several hundred thousand paths. */
const MOST_LISTED = 128 * 1024 * 1024;

/** What differs between two trees or commits, exactly. Throws TooManyChanges. */
export async function changesBetween(mirror: Mirror, from: string, to: string): Promise<Change[]> {
  const list = ['diff-tree', '-r', '-z', '--raw', '--no-renames', '--no-abbrev', '--no-commit-id'];
  const listing = await mirror.run([...list, from, to], { most: MOST_LISTED }).catch((error: unknown) => {
    if (error instanceof TooMuchOutput)
      throw new TooManyChanges(`more paths differ between ${from} and ${to} than can be listed`);
    throw error;
  });
  return parseRawDiff(listing);
}

/** Paths as claims see them: bytes that are not UTF-8 become U+FFFD, which only a claim of a directory can cover. */
export const pathText = (path: Buffer): string => path.toString('utf8');

/**
 * Where two sets of changes from the same base cannot both stand: the same path changed to something else, or a file
 * on one side where the other needs a directory.
 */
export function conflicts(ours: readonly Change[], theirs: readonly Change[]): string[] {
  const key = (path: Buffer) => path.toString('latin1');
  const changed = new Map(theirs.map((change) => [key(change.path), change]));
  const directories = new Set<string>();
  for (const { path, newMode } of theirs)
    if (newMode !== GONE) for (const parent of parents(key(path))) directories.add(parent);
  return ours
    .filter((change) => {
      const own = key(change.path);
      const other = changed.get(own);
      if (other && (other.newMode !== change.newMode || other.newOid !== change.newOid)) return true;
      if (change.newMode === GONE) return false;
      if (directories.has(own)) return true;
      return parents(own).some((parent) => (changed.get(parent)?.newMode ?? GONE) !== GONE);
    })
    .map((change) => pathText(change.path));
}

function parents(path: string): string[] {
  const found: string[] = [];
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1))
    found.push(path.slice(0, slash));
  return found;
}

/** Applies the changes to a tree. Deletions first: a file may become a directory. */
export async function applyChanges(editor: TreeEditor, changes: readonly Change[]): Promise<void> {
  const pathOf = ({ path }: Change) => path.toString('latin1').split('/');
  for (const change of changes) if (change.newMode === GONE) await editor.remove(pathOf(change));
  for (const change of changes)
    if (change.newMode !== GONE) await editor.put(pathOf(change), change.newMode, change.newOid);
}

const COMMITTER = 'Signalbox <signalbox@localhost>';

/** A new commit with a message of ours. */
export async function commitTree(
  mirror: Mirror,
  tree: string,
  parents: string[],
  message: string,
  when = new Date(),
): Promise<string> {
  const who = `${COMMITTER} ${Math.floor(when.getTime() / 1_000)} +0000`;
  const lines = [
    `tree ${tree}`,
    ...parents.map((parent) => `parent ${parent}`),
    `author ${who}`,
    `committer ${who}`,
    '',
    message,
  ];
  return await writeCommit(mirror, Buffer.from(lines.join('\n')));
}

/**
 * The same commit on another parent with another tree: author, committer, encoding and message stay as they are, byte
 * for byte. A signature would no longer be valid and is dropped.
 */
export async function recommit(
  mirror: Mirror,
  commit: string,
  tree: string,
  parent: string,
): Promise<string> {
  const raw = await mirror.contents(commit);
  const split = raw.indexOf('\n\n');
  const head = (split < 0 ? raw : raw.subarray(0, split)).toString('latin1').split('\n');
  const kept = head.filter((line) => /^(author|committer|encoding) /.test(line));
  const header = Buffer.from([`tree ${tree}`, `parent ${parent}`, ...kept].join('\n'), 'latin1');
  return await writeCommit(
    mirror,
    Buffer.concat([header, split < 0 ? Buffer.from('\n\n') : raw.subarray(split)]),
  );
}

async function writeCommit(mirror: Mirror, raw: Buffer): Promise<string> {
  try {
    return await mirror.writeObject('commit', raw);
  } catch {
    // Old histories hold commits that git would not write today; they are kept as they are.
    const args = ['hash-object', '-t', 'commit', '-w', '--stdin', '--literally'];
    return await mirror.text(args, { input: raw });
  }
}

/** The id of the empty tree, which is written if need be. */
export function emptyTree(mirror: Mirror): Promise<string> {
  const known = emptyTrees.get(mirror);
  if (known) return known;
  const written = mirror.writeTree(Buffer.alloc(0));
  emptyTrees.set(mirror, written);
  return written;
}

const emptyTrees = new WeakMap<Mirror, Promise<string>>();
