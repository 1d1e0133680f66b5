// Copies a live working tree into an empty folder, as a peer may see it: a program of its own, for a sandbox that sees
// nothing but SOURCE and DESTINATION. Whoever changes SOURCE meanwhile changes what is copied, never where it is read from: every
// entry is opened below a folder that is held open, without following links and without opening what it is, then
// looked at, and only then read through that very handle.
//
// snapshot-copier.js SOURCE DESTINATION FILES BYTES; the manifest comes as JSON on stdout.
// Imports node: modules and the rules of peering only. Linux only, for /proc/self/fd and O_PATH.

import {
  closeSync,
  constants,
  fstatSync,
  opendirSync,
  openSync,
  readFileSync,
  readSync,
  type Stats,
} from 'node:fs';
import { badKind, excludedName, leaveOut, type SnapshotLimits } from '../src/domain/peering.js';
import { childPath, inFolder, SnapshotFolder, writeAll } from './snapshot-folder.js';

const { O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/** A handle that stands for an entry without opening it; node has no name for it. */
const O_PATH = 0o10000000;

const CHUNK = Buffer.alloc(256 * 1024);

class Copier {
  private readonly to: SnapshotFolder;
  private readonly root: { fd: number; device: number; mount: string };

  constructor(source: string, destination: string, limits: SnapshotLimits) {
    const fd = openSync(source, O_PATH | O_NOFOLLOW);
    const stat = fstatSync(fd);
    if (!stat.isDirectory()) throw new Error(`${source} is no folder`);
    this.root = { fd, device: stat.dev, mount: mountOf(fd) };
    this.to = new SnapshotFolder(destination, limits);
  }

  copy() {
    this.folder(this.root.fd, '', Buffer.alloc(0), 1);
    this.to.close();
    return this.to.manifest;
  }

  /** Copies what an open folder holds. */
  private folder(fd: number, own: string, path: Buffer, depth: number): void {
    const names = this.namesIn(fd, path);
    for (const name of names ?? []) {
      const below = childPath(path, name);
      if (!this.to.goesOn(below)) return;
      const why = excludedName(own, name);
      if (why) leaveOut(this.to.manifest, below, why);
      else if (this.to.takesPath(below, name, depth)) this.entry(fd, name, below, depth);
    }
  }

  /**
   * In the order of their bytes, so that a limit cuts at the same place each time, unless one folder has more names than
   * are ever looked at. Undefined for what cannot be listed.
   */
  private namesIn(fd: number, path: Buffer): Buffer[] | undefined {
    const names: Buffer[] = [];
    try {
      // Names come as bytes for this encoding, which the types do not know.
      const folder = opendirSync(`/proc/self/fd/${fd}`, {
        encoding: 'buffer' as BufferEncoding,
        bufferSize: 1_024,
      });
      try {
        for (let entry = folder.readSync(); entry; entry = folder.readSync()) {
          names.push(entry.name as unknown as Buffer);
          if (names.length > this.to.mostNames) break;
        }
      } finally {
        folder.closeSync();
      }
    } catch (error) {
      this.skip(path, error);
      return undefined;
    }
    return names.sort(Buffer.compare);
  }

  private entry(parent: number, name: Buffer, path: Buffer, depth: number): void {
    let fd: number;
    try {
      fd = openSync(inFolder(parent, name), O_PATH | O_NOFOLLOW);
    } catch (error) {
      this.skip(path, error);
      return;
    }
    try {
      const stat = fstatSync(fd);
      const kind = this.kindOf(fd, stat);
      if (kind) leaveOut(this.to.manifest, path, badKind(kind));
      else if (stat.isFile()) this.file(fd, stat, name, path);
      else if (this.to.enter(name, path)) {
        this.folder(fd, name.toString('utf8'), path, depth + 1);
        this.to.leave();
      }
    } finally {
      closeSync(fd);
    }
  }

  private kindOf(fd: number, stat: Stats) {
    if (stat.isSymbolicLink()) return 'symbolic link';
    if (!stat.isFile() && !stat.isDirectory()) return 'special file';
    // On overlays the files of one mount have several devices.
    if (stat.dev !== this.root.device && mountOf(fd) !== this.root.mount) return 'other file system';
    return stat.isFile() && stat.nlink > 1 ? 'hard link' : undefined;
  }

  /** Never more than the size that was admitted: what grows meanwhile is cut. */
  private file(handle: number, stat: Stats, name: Buffer, path: Buffer): void {
    if (!this.to.admits(path, stat.size)) return;
    let from: number;
    try {
      from = openSync(`/proc/self/fd/${handle}`, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    } catch (error) {
      this.to.uncount(stat.size);
      this.skip(path, error);
      return;
    }
    try {
      const to = this.to.create(name, path, stat.size);
      if (to === undefined) return;
      let left = stat.size;
      while (left > 0) {
        const read = readSync(from, CHUNK, 0, Math.min(CHUNK.length, left), null);
        if (read === 0) break;
        writeAll(to, CHUNK.subarray(0, read));
        left -= read;
      }
      this.to.uncount(left, 0);
      this.to.finish(to, (stat.mode & 0o100) !== 0);
    } finally {
      closeSync(from);
    }
  }

  /** What went away or may not be read is left out; anything else ends the copy. */
  private skip(path: Buffer, error: unknown): void {
    const { code = '' } = error as NodeJS.ErrnoException;
    const kind = GONE.includes(code)
      ? 'changed meanwhile'
      : REFUSED.includes(code)
        ? 'unreadable'
        : undefined;
    if (!kind || path.length === 0) throw error;
    leaveOut(this.to.manifest, path, badKind(kind));
  }
}

const GONE = ['ENOENT', 'ENOTDIR', 'ELOOP', 'ESTALE', 'ENXIO'];
const REFUSED = ['EACCES', 'EPERM', 'EIO'];

const mountOf = (fd: number): string =>
  /^mnt_id:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '';

const [source, destination, files, bytes] = process.argv.slice(2);
try {
  const limits = { files: Number(files), bytes: Number(bytes) };
  if (!source || !destination || !(limits.files > 0) || !(limits.bytes > 0))
    throw new Error('usage: snapshot-copier.js SOURCE DESTINATION FILES BYTES');
  process.stdout.write(JSON.stringify(new Copier(source, destination, limits).copy()));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
