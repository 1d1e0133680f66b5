// Edits a git tree by exact paths without an index or a working tree, and composes the commit that holds it.
// It guarantees that a change is applied only to the very content it was made for, else it fails and names the path;
// that directories no change touches keep their object; and that nothing but the touched paths differs afterwards.
// Costs two processes and the directories on the way to the touched paths, however large the tree.

import { GitDialogue } from '../../client/git.js';
import { type Change, showPath } from './history.js';

interface Entry {
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

/** A commit and its tree after the changes. */
export interface Edited {
  parent: string;
  tree: string;
}

/** Writes HEAD's tree with the changes applied; throws when HEAD does not hold exactly what they start from. */
export async function editHead(clone: string, changes: readonly Change[]): Promise<Edited> {
  const reader = new GitDialogue(clone, ['cat-file', '--batch']);
  const writer = new GitDialogue(clone, ['mktree', '-z', '--batch', '--missing']);
  try {
    const head = await readObject(reader, 'HEAD');
    const tree = /^tree ([0-9a-f]+)\n/.exec(head.data.toString('latin1'))?.[1];
    if (head.type !== 'commit' || tree === undefined) throw new Error(`${clone}: HEAD is not a commit`);
    const editor = new TreeEditor(reader, writer, { mode: '40000', oid: tree });
    return { parent: head.oid, tree: await editor.edit(changes) };
  } finally {
    await Promise.all([reader.close(), writer.close()]);
  }
}

class TreeEditor {
  constructor(
    private readonly reader: GitDialogue,
    private readonly writer: GitDialogue,
    private readonly root: Entry,
  ) {}

  /** Checks everything, then deletes, then writes: so a file may take a directory's place, and the reverse. */
  async edit(changes: readonly Change[]): Promise<string> {
    const steps = changes.map((change) => ({ change, path: change.path.toString('latin1').split('/') }));
    for (const { change, path } of steps) await this.check(change, path);
    for (const { change, path } of steps) if (change.status === 'D') await this.remove(path);
    for (const { change, path } of steps) if (change.status !== 'D') await this.put(change, path);
    return this.write(this.root);
  }

  private async check(change: Change, path: readonly string[]): Promise<void> {
    const entry = await this.find(path);
    const held = entry && !isTree(entry) ? `${canonicalMode(entry.mode)} ${entry.oid}` : 'absent';
    const expected = change.status === 'A' ? 'absent' : `${change.oldMode} ${change.oldOid}`;
    if (held === expected) return;
    throw new Error(`${showPath(change.path)} is ${held} in HEAD, but the commit starts from ${expected}`);
  }

  private async find(path: readonly string[]): Promise<Entry | undefined> {
    let entry: Entry | undefined = this.root;
    for (const name of path) {
      if (!isTree(entry)) return undefined;
      entry = (entry.directory ?? (await this.read(entry))).entries.get(name);
      if (!entry) return undefined;
    }
    return entry;
  }

  /** Removes the path and every directory that it leaves empty. */
  private async remove(path: readonly string[]): Promise<void> {
    const parents: Directory[] = [];
    let entry: Entry | undefined = this.root;
    for (const name of path) {
      if (!entry) return;
      const directory: Directory = entry.directory ?? (await this.read(entry));
      directory.changed = true;
      parents.push(directory);
      entry = directory.entries.get(name);
    }
    for (let i = path.length - 1; i >= 0; i--) {
      parents[i]?.entries.delete(path[i] ?? '');
      if (parents[i]?.entries.size !== 0) return;
    }
  }

  private async put(change: Change, path: readonly string[]): Promise<void> {
    let entry = this.root;
    for (const [i, name] of path.entries()) {
      if (!isTree(entry)) throw new Error(`${showPath(change.path)}: a directory above it is a file in HEAD`);
      const directory = entry.directory ?? (await this.read(entry));
      directory.changed = true;
      const next = directory.entries.get(name);
      if (i === path.length - 1) await this.replace(directory, name, next, change);
      else if (next) entry = next;
      else {
        entry = { mode: '40000', oid: '', directory: { entries: new Map(), changed: true } };
        directory.entries.set(name, entry);
      }
    }
  }

  private async replace(
    directory: Directory,
    name: string,
    old: Entry | undefined,
    change: Change,
  ): Promise<void> {
    // Some tools wrote empty directories: nothing is lost with one.
    if (old && isTree(old) && (old.directory ?? (await this.read(old))).entries.size > 0) {
      throw new Error(`${showPath(change.path)} is a directory in HEAD, but the commit writes a file there`);
    }
    directory.entries.set(name, { mode: change.newMode, oid: change.newOid });
  }

  private async read(entry: Entry): Promise<Directory> {
    const { type, data } = await readObject(this.reader, entry.oid);
    if (type !== 'tree') throw new Error(`${entry.oid} is a ${type}, not a tree`);
    entry.directory = { entries: parseTree(data, entry.oid.length / 2), changed: false };
    return entry.directory;
  }

  private async write(entry: Entry): Promise<string> {
    const { directory } = entry;
    if (!directory?.changed) return entry.oid;
    const children = [...directory.entries.values()].filter((child) => child.directory?.changed);
    for (const child of children) child.oid = await this.write(child);
    const lines = [...directory.entries].map(
      ([name, { mode, oid }]) => `${mode} ${typeOf(mode)} ${oid}\t${name}\0`,
    );
    return this.writer.ask(Buffer.from(`${lines.join('')}\0`, 'latin1'), (received) => {
      const end = received.indexOf('\n');
      return end < 0 ? undefined : { value: received.toString('latin1', 0, end), length: end + 1 };
    });
  }
}

interface GitObject {
  oid: string;
  type: string;
  data: Buffer;
}

async function readObject(reader: GitDialogue, name: string): Promise<GitObject> {
  const found = await reader.ask(`${name}\n`, (received) => {
    const end = received.indexOf('\n');
    if (end < 0) return undefined;
    const [oid = '', type = '', size = ''] = received.toString('latin1', 0, end).split(' ');
    if (size === '') return { value: undefined, length: end + 1 };
    const close = end + 1 + Number(size);
    if (received.length <= close) return undefined;
    return { value: { oid, type, data: received.subarray(end + 1, close) }, length: close + 1 };
  });
  if (!found) throw new Error(`${name} is missing in this clone`);
  return found;
}

function parseTree(data: Buffer, idLength: number): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at);
    const end = data.indexOf(0, space);
    const next = end + 1 + idLength;
    if (space < 0 || end < 0 || next > data.length) throw new Error('a tree in HEAD is damaged');
    const name = data.toString('latin1', space + 1, end);
    entries.set(name, { mode: data.toString('latin1', at, space), oid: data.toString('hex', end + 1, next) });
    at = next;
  }
  return entries;
}

const FORMAT_BITS = 0o170000;
const kind = (mode: string): number => Number.parseInt(mode, 8) & FORMAT_BITS;
const isTree = ({ mode }: Entry): boolean => kind(mode) === 0o040000;

function typeOf(mode: string): string {
  if (kind(mode) === 0o040000) return 'tree';
  return kind(mode) === 0o160000 ? 'commit' : 'blob';
}

/** The mode as git shows it: old repositories hold some that git no longer writes. */
function canonicalMode(mode: string): string {
  if (kind(mode) === 0o120000) return '120000';
  if (kind(mode) === 0o100000) return (Number.parseInt(mode, 8) & 0o100) !== 0 ? '100755' : '100644';
  return '160000';
}

const KEPT = /^(author|committer|encoding) /;

/** The raw commit: new tree and parent, the original's author, committer, encoding and message, byte for byte. */
export function composeCommit(original: Buffer, { tree, parent }: Edited): Buffer {
  const blank = original.indexOf('\n\n');
  const header = original.toString('latin1', 0, blank < 0 ? original.length : blank);
  const message = blank < 0 ? Buffer.from('\n') : original.subarray(blank + 1);
  // A continuation line starts with a space, so it never counts as one of the kept headers.
  const kept = header.split('\n').filter((line) => KEPT.test(line));
  const lines = [`tree ${tree}`, `parent ${parent}`, ...kept].map((line) => `${line}\n`);
  return Buffer.concat([Buffer.from(lines.join(''), 'latin1'), message]);
}
