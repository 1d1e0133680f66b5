// The folder that a snapshot is written into. Whatever is made in it is made new, below a folder that is held open, so
// that no link is ever followed; files end as 0444 or 0555, folders as 0555. Its limits hold, and its manifest says what is not in it.
//
// Runs in the copier's sandbox too: imports node: modules and the rules of peering only. Linux only, for /proc/self/fd.

import { closeSync, constants, fchmodSync, mkdirSync, openSync, readdirSync, writeSync } from 'node:fs';
import {
  badKind,
  emptyManifest,
  leaveOut,
  MAX_DEPTH,
  MAX_PATH_BYTES,
  type Manifest,
  type SnapshotLimits,
  shownPath,
} from '../src/domain/peering.js';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;

/** What a source may have of entries that are looked at and left out, for each file that it may have. */
const LOOKED_AT_PER_FILE = 10;

/** The longest name that Linux takes. */
const MAX_NAME_BYTES = 255;

/** A path that starts at an open folder: as openat() does it. */
export const inFolder = (fd: number, name: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);

export class SnapshotFolder {
  readonly manifest: Manifest = emptyManifest();
  /** The folders from the root to where the next entry goes, held open. */
  private readonly open: number[];
  private folders = 0;
  private lookedAt = 0;

  /** Throws when the folder is not there, is a link, or has something in it. */
  constructor(
    root: string,
    private readonly limits: SnapshotLimits,
  ) {
    const fd = openSync(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    this.open = [fd];
    if (readdirSync(`/proc/self/fd/${fd}`).length > 0) {
      closeSync(fd);
      throw new Error(`${root} is not empty: a snapshot is written into a folder of its own`);
    }
  }

  /** More names of one folder need not be listed: they would not be looked at. */
  get mostNames(): number {
    return this.limits.files * LOOKED_AT_PER_FILE + 1 - this.lookedAt;
  }

  /**
   * Called for every entry of the source, with what is planned so far where that is not made yet. False once a limit is met that ends the snapshot: nothing more belongs in it.
   */
  goesOn(
    path: Uint8Array,
    { files, folders } = { files: this.manifest.files, folders: this.folders },
  ): boolean {
    if (this.manifest.incomplete?.startsWith(ENDED)) return false;
    const { files: most } = this.limits;
    this.lookedAt++;
    if (files < most && folders < most && this.lookedAt <= most * LOOKED_AT_PER_FILE) return true;
    leaveOut(this.manifest, path, badKind('too many'));
    this.manifest.incomplete = `${ENDED} "${shownPath(path)}": a snapshot holds at most ${most} files and as many folders`;
    return false;
  }

  /** Whether names and depth are such as every program takes. */
  takesPath(path: Uint8Array, name: Uint8Array, depth: number): boolean {
    if (depth <= MAX_DEPTH && path.length <= MAX_PATH_BYTES && name.length <= MAX_NAME_BYTES) return true;
    leaveOut(this.manifest, path, badKind('too deep'));
    return false;
  }

  /** Counts a file of that size in, if there is room for it. */
  admits(path: Uint8Array, size: number): boolean {
    if (this.manifest.bytes + size > this.limits.bytes) {
      leaveOut(this.manifest, path, badKind('too large'));
      this.manifest.incomplete ??= `there was no room for some files: a snapshot holds at most ${this.limits.bytes} bytes`;
      return false;
    }
    this.manifest.files++;
    this.manifest.bytes += size;
    return true;
  }

  /** Makes a folder and goes into it. False when its name is taken. */
  enter(name: Uint8Array, path: Uint8Array): boolean {
    const place = inFolder(this.current, name);
    try {
      mkdirSync(place, 0o700);
    } catch (error) {
      return this.taken(error, path);
    }
    this.open.push(openSync(place, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    this.folders++;
    return true;
  }

  leave(): void {
    const fd = this.open.pop();
    if (fd === undefined) return;
    fchmodSync(fd, 0o555);
    closeSync(fd);
  }

  /** A new file in the current folder; undefined, and `size` counted out again, when its name is taken. */
  create(name: Uint8Array, path: Uint8Array, size: number): number | undefined {
    try {
      return openSync(inFolder(this.current, name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    } catch (error) {
      this.uncount(size);
      this.taken(error, path);
      return undefined;
    }
  }

  /** Ends a file. */
  finish(fd: number, executable: boolean): void {
    fchmodSync(fd, executable ? 0o555 : 0o444);
    closeSync(fd);
  }

  /** Counts out a file that was admitted and did not come, or the part of it that did not. */
  uncount(bytes: number, files = 1): void {
    this.manifest.files -= files;
    this.manifest.bytes -= bytes;
  }

  /** Ends the snapshot: the root gets its mode too. Without it nothing is left open. */
  close(): void {
    while (this.open.length > 0) this.leave();
  }

  private get current(): number {
    const fd = this.open.at(-1);
    if (fd === undefined) throw new Error('the snapshot has ended');
    return fd;
  }

  private taken(error: unknown, path: Uint8Array): false {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    leaveOut(this.manifest, path, badKind('same name'));
    return false;
  }
}

const ENDED = 'nothing is in it from here on:';

/** Writes all of it: a write may take less than it is given. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

export const childPath = (parent: Uint8Array, name: Uint8Array): Buffer =>
  parent.length === 0 ? Buffer.from(name) : Buffer.concat([parent, Buffer.from('/'), name]);
