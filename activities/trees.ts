// Trees and commits built from bytes: what a commit changed, and the same change on another tree, path by path,
// without rename detection, attributes, filters or a working tree.

import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseRawDiff, type RawChange } from '../src/client/raw-diff.js';
import type { Mirror } from './mirror.js';

/** What differs at a path, or shall. */
export type Change = Omit<RawChange, 'status'>;

const GONE = '000000';

/** What differs between two trees or commits, exactly. */
export async function changesBetween(mirror: Mirror, from: string, to: string): Promise<Change[]> {
  return parseRawDiff(
    await mirror.run([
      'diff-tree',
      '-r',
      '-z',
      '--raw',
      '--no-renames',
      '--no-abbrev',
      '--no-commit-id',
      from,
      to,
    ]),
  );
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

/** A scratch index: trees are read into it, changed and written back. */
export class ScratchIndex {
  private readonly env: Record<string, string>;
  private readonly file: string;

  constructor(private readonly mirror: Mirror) {
    this.file = join(mirror.dir, `signalbox-index-${randomUUID()}`);
    this.env = { GIT_INDEX_FILE: this.file };
  }

  async read(tree: string): Promise<void> {
    await this.mirror.run(['read-tree', tree], { env: this.env });
  }

  /** Applies the changes and gives the resulting tree's id. Deletions first: a file may become a directory. */
  async apply(changes: readonly Change[]): Promise<string> {
    const gone = changes.filter((change) => change.newMode === GONE);
    const kept = changes.filter((change) => change.newMode !== GONE);
    const lines = [...gone, ...kept].map(({ path, newMode, newOid }) =>
      Buffer.concat([
        Buffer.from(newMode === GONE ? `0 ${newOid}\t` : `${newMode} ${newOid}\t`),
        path,
        Buffer.of(0),
      ]),
    );
    if (lines.length > 0)
      await this.mirror.run(['update-index', '-z', '--index-info'], {
        env: this.env,
        input: Buffer.concat(lines),
      });
    return await this.mirror.text(['write-tree'], { env: this.env });
  }

  async dispose(): Promise<void> {
    await rm(this.file, { force: true });
    await rm(`${this.file}.lock`, { force: true });
  }
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
  const args = ['hash-object', '-t', 'commit', '-w', '--stdin'];
  // Old histories hold commits that git would not write today; they are kept as they are.
  const id = await mirror
    .run(args, { input: raw })
    .catch(() => mirror.run([...args, '--literally'], { input: raw }));
  return id.toString('latin1').trim();
}

/** The id of the empty tree, which is written if need be. */
export function emptyTree(mirror: Mirror): Promise<string> {
  const known = emptyTrees.get(mirror);
  if (known) return known;
  const written = mirror.text(['mktree'], { input: '' });
  emptyTrees.set(mirror, written);
  return written;
}

const emptyTrees = new WeakMap<Mirror, Promise<string>>();
