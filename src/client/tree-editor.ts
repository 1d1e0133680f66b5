// Edits a git tree by exact paths, without an index or a working tree. It guarantees that directories which no change
// touches keep their object, whatever old tools wrote there, and that nothing but the touched paths differs afterwards.
// Costs the directories on the way to the touched paths, however large the tree.

import type { GitDialogue } from './git.js';

/** Where trees are read from and written to. */
export interface TreeStore {
  /** The bytes of a tree. Throws when it is missing or no tree. */
  readTree(oid: string): Promise<Buffer>;
  /** Writes a tree from lines as `git mktree -z` takes them, and gives its id. */
  writeTree(listing: Buffer): Promise<string>;
}

export interface Entry {
  /** As spelt in the tree object. */
  mode: string;
  oid: string;
  /** For a directory that has been read. */
  directory?: Directory;
}

interface Directory {
  /** By raw name, as a latin1 string. */
  entries: Map<string, Entry>;
  changed: boolean;
}

/** Paths are raw components, as latin1 strings. */
export class TreeEditor {
  private readonly root: Entry;

  constructor(
    private readonly store: TreeStore,
    tree: string,
  ) {
    this.root = { mode: '40000', oid: tree };
  }

  /** What is at the path, a directory too; undefined for nothing. */
  async find(path: readonly string[]): Promise<Entry | undefined> {
    let entry: Entry | undefined = this.root;
    for (const name of path) {
      if (!isTree(entry)) return undefined;
      entry = (await this.contents(entry)).entries.get(name);
      if (!entry) return undefined;
    }
    return entry;
  }

  /** Removes the path and every directory that it leaves empty. What is not there is removed already. */
  async remove(path: readonly string[]): Promise<void> {
    if (!(await this.find(path))) return;
    const parents: Directory[] = [];
    let entry: Entry | undefined = this.root;
    for (const name of path) {
      if (!entry) return;
      const directory = await this.contents(entry);
      directory.changed = true;
      parents.push(directory);
      entry = directory.entries.get(name);
    }
    for (let i = path.length - 1; i >= 0; i--) {
      parents[i]?.entries.delete(path[i] ?? '');
      if (parents[i]?.entries.size !== 0) return;
    }
  }

  /** Puts an object at the path. Throws when a file stands above it, or a directory with something in it at the path. */
  async put(path: readonly string[], mode: string, oid: string): Promise<void> {
    let entry = this.root;
    for (const [i, name] of path.entries()) {
      if (!isTree(entry)) throw new Error(`${show(path)}: a directory above it is a file`);
      const directory = await this.contents(entry);
      const next = directory.entries.get(name);
      // Some tools wrote empty directories: nothing is lost with one.
      if (i === path.length - 1 && next && isTree(next) && (await this.contents(next)).entries.size > 0)
        throw new Error(`${show(path)}: a file is to take the place of a directory that is not empty`);
      directory.changed = true;
      if (i === path.length - 1) directory.entries.set(name, { mode, oid });
      else if (next) entry = next;
      else {
        entry = { mode: '40000', oid: '', directory: { entries: new Map(), changed: true } };
        directory.entries.set(name, entry);
      }
    }
  }

  /** Writes what has changed; gives the tree's id. Editing can go on. */
  write(): Promise<string> {
    return this.writeEntry(this.root);
  }

  private async contents(entry: Entry): Promise<Directory> {
    entry.directory ??= {
      entries: parseTree(await this.store.readTree(entry.oid), entry.oid.length / 2),
      changed: false,
    };
    return entry.directory;
  }

  private async writeEntry(entry: Entry): Promise<string> {
    const { directory } = entry;
    if (!directory?.changed) return entry.oid;
    const children = [...directory.entries.values()].filter((child) => child.directory?.changed);
    for (const child of children) await this.writeEntry(child);
    const lines = [...directory.entries].map(
      ([name, { mode, oid }]) => `${mode} ${typeOf(mode)} ${oid}\t${name}\0`,
    );
    entry.oid = await this.store.writeTree(Buffer.from(lines.join(''), 'latin1'));
    directory.changed = false;
    return entry.oid;
  }
}

const show = (path: readonly string[]): string => Buffer.from(path.join('/'), 'latin1').toString('utf8');

/** The entries of a tree by raw name, from the tree's bytes; `idLength` is that of the repository's ids, in bytes. */
export function parseTree(data: Buffer, idLength: number): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at);
    const end = data.indexOf(0, space);
    const next = end + 1 + idLength;
    if (space < 0 || end < 0 || next > data.length) throw new Error('a tree is damaged');
    const name = data.toString('latin1', space + 1, end);
    entries.set(name, { mode: data.toString('latin1', at, space), oid: data.toString('hex', end + 1, next) });
    at = next;
  }
  return entries;
}

const FORMAT_BITS = 0o170000;
const kind = (mode: string): number => Number.parseInt(mode, 8) & FORMAT_BITS;
export const isTree = ({ mode }: Pick<Entry, 'mode'>): boolean => kind(mode) === 0o040000;

function typeOf(mode: string): string {
  if (kind(mode) === 0o040000) return 'tree';
  return kind(mode) === 0o160000 ? 'commit' : 'blob';
}

/** The mode as git shows it: old repositories hold some that git no longer writes. */
export function canonicalMode(mode: string): string {
  if (kind(mode) === 0o120000) return '120000';
  if (kind(mode) === 0o100000) return (Number.parseInt(mode, 8) & 0o100) !== 0 ? '100755' : '100644';
  return '160000';
}

/** Asks `git mktree -z --batch` for one tree. */
export const askForTree = (writer: GitDialogue, listing: Buffer): Promise<string> =>
  writer.ask(Buffer.concat([listing, Buffer.of(0)]), (received) => {
    const end = received.indexOf(10);
    return end < 0 ? undefined : { value: received.toString('latin1', 0, end), length: end + 1 };
  });
