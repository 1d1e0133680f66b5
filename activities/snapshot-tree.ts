// Writes the tree of a commit into a snapshot, from the objects of the trusted mirror: what is in it is planned first,
// entry by entry and within the limits; then git hands on the contents of those files and no others. Names are bytes.

import { closeSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { gitChunks } from '../src/client/git.js';
import { parseTree } from '../src/client/tree-editor.js';
import { badKind, excludedName, leaveOut, shownPath } from '../src/domain/peering.js';
import type { Mirror } from './mirror.js';
import { childPath, type SnapshotFolder, writeAll } from './snapshot-folder.js';

/** Writes the tree as a peer may see it; gives the paths of the files. */
export async function writeTree(mirror: Mirror, tree: string, folder: SnapshotFolder): Promise<string[]> {
  const steps: Step[] = [];
  await listTree(mirror, tree, folder, steps);
  await admitFiles(mirror, folder, steps);
  const writer = new Writer(folder, steps);
  const oids = steps.map((step) => (step.kind === 'file' ? `${step.oid}\n` : '')).join('');
  try {
    await writer.begin();
    await gitChunks(mirror.dir, ['cat-file', '--batch', '--buffer'], oids, (chunk) => writer.take(chunk));
    return writer.end();
  } finally {
    writer.close();
  }
}

interface FileStep {
  kind: 'file';
  name: Buffer;
  path: Buffer;
  oid: string;
  executable: boolean;
  size: number;
}

type Step = FileStep | { kind: 'folder'; name: Buffer; path: Buffer } | { kind: 'end' };

const FORMAT = 0o170000;
const FILE = 0o100000;
const FOLDER = 0o040000;
const LINK = 0o120000;
const SUBMODULE = 0o160000;
const OWNER_EXECUTES = 0o100;

/** Plans what is to be written, in the order of the tree; entry by entry, for a small tree can stand for endless paths. */
async function listTree(mirror: Mirror, tree: string, folder: SnapshotFolder, steps: Step[]): Promise<void> {
  const planned = { files: 0, folders: 0 };
  const list = async (oid: string, own: string, above: Buffer, depth: number): Promise<boolean> => {
    for (const [raw, entry] of parseTree(await mirror.readTree(oid), oid.length / 2)) {
      const name = Buffer.from(raw, 'latin1');
      const path = childPath(above, name);
      if (!folder.goesOn(path, planned)) return false;
      const why = excludedName(own, name);
      const mode = Number.parseInt(entry.mode, 8);
      const kind = mode & FORMAT;
      if (why) leaveOut(folder.manifest, path, why);
      else if (kind === LINK) leaveOut(folder.manifest, path, badKind('symbolic link'));
      else if (kind === SUBMODULE) leaveOut(folder.manifest, path, badKind('submodule'));
      else if (kind !== FILE && kind !== FOLDER) leaveOut(folder.manifest, path, badKind('special file'));
      else if (!folder.takesPath(path, name, depth)) continue;
      else if (kind === FILE) {
        planned.files++;
        const executable = (mode & OWNER_EXECUTES) !== 0;
        steps.push({ kind: 'file', name, path, oid: entry.oid, executable, size: 0 });
      } else {
        planned.folders++;
        steps.push({ kind: 'folder', name, path });
        const on = await list(entry.oid, name.toString('utf8'), path, depth + 1);
        steps.push({ kind: 'end' });
        if (!on) return false;
      }
    }
    return true;
  };
  await list(tree, '', Buffer.alloc(0), 1);
}

/** Asks for the sizes of all files, and drops those that there is no room for. */
async function admitFiles(mirror: Mirror, folder: SnapshotFolder, steps: Step[]): Promise<void> {
  const files = steps.filter((step) => step.kind === 'file');
  if (files.length === 0) return;
  const input = files.map(({ oid }) => `${oid}\n`).join('');
  const answer = await mirror.text(['cat-file', '--batch-check', '--buffer'], { input });
  const lines = answer.split('\n');
  const dropped = new Set<Step>();
  for (const [i, file] of files.entries()) {
    file.size = sizeOf(lines[i] ?? '', file.oid);
    if (!folder.admits(file.path, file.size)) dropped.add(file);
  }
  if (dropped.size > 0) steps.splice(0, steps.length, ...steps.filter((step) => !dropped.has(step)));
}

function sizeOf(line: string, oid: string): number {
  const [id, type, size] = line.split(' ');
  if (id !== oid || type !== 'blob') throw new Error(`the mirror has no file ${oid}: ${line || 'no answer'}`);
  return Number(size);
}

/** How long the writer keeps the event loop at most, a slow disk aside. */
const SLICE_MS = 10;

/** Does the planned steps, while the answers of `cat-file --batch` come in, cut anywhere. */
class Writer {
  private readonly written: string[] = [];
  private next = 0;
  private since = performance.now();
  private file: FileStep | undefined;
  /** What has come of the line before a content. */
  private head = Buffer.alloc(0);
  /** The file that is being written; no `fd` where its name was taken. */
  private body: { fd: number | undefined; left: number } | undefined;

  constructor(
    private readonly folder: SnapshotFolder,
    private readonly steps: readonly Step[],
  ) {}

  async begin(): Promise<void> {
    this.file = await this.advance();
  }

  async take(chunk: Buffer): Promise<void> {
    let rest = chunk;
    while (rest.length > 0) {
      rest = this.body ? await this.content(this.body, rest) : this.open(rest);
      await this.breathe();
    }
  }

  /** A worker does much beside this: others have their turn after at most some milliseconds. */
  private async breathe(): Promise<void> {
    if (performance.now() - this.since < SLICE_MS) return;
    await turn();
    this.since = performance.now();
  }

  /** The paths of the files. Throws when some did not come. */
  end(): string[] {
    if (this.file) throw new Error(`git ended before it gave ${shownPath(this.file.path)}`);
    return this.written;
  }

  close(): void {
    if (this.body?.fd !== undefined) closeSync(this.body.fd);
  }

  /** Goes through folders up to the next file. */
  private async advance(): Promise<FileStep | undefined> {
    for (let step = this.steps[this.next]; step; step = this.steps[++this.next]) {
      await this.breathe();
      if (step.kind === 'file') return step;
      if (step.kind === 'end') this.folder.leave();
      else if (!this.folder.enter(step.name, step.path))
        throw new Error(`another entry has the name of the folder ${shownPath(step.path)}`);
    }
    return undefined;
  }

  private open(bytes: Buffer): Buffer {
    const end = bytes.indexOf(10);
    this.head = Buffer.concat([this.head, end < 0 ? bytes : bytes.subarray(0, end)]);
    if (end < 0) return bytes.subarray(bytes.length);
    const line = this.head.toString('latin1');
    this.head = Buffer.alloc(0);
    const { file } = this;
    if (!file || sizeOf(line, file.oid) !== file.size)
      throw new Error(`git gave what was not asked for: ${line}`);
    this.body = { fd: this.folder.create(file.name, file.path, file.size), left: file.size };
    return bytes.subarray(end + 1);
  }

  private async content(body: { fd: number | undefined; left: number }, bytes: Buffer): Promise<Buffer> {
    const part = bytes.subarray(0, body.left);
    if (body.fd !== undefined) writeAll(body.fd, part);
    body.left -= part.length;
    const rest = bytes.subarray(part.length);
    if (body.left > 0 || rest.length === 0) return rest;
    this.body = undefined;
    if (body.fd !== undefined && this.file) {
      this.folder.finish(body.fd, this.file.executable);
      this.written.push(this.file.path.toString('utf8'));
    }
    this.next++;
    this.file = await this.advance();
    // A newline follows the content.
    return rest.subarray(1);
  }
}
