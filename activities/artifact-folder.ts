// Reads a result folder as its agent left it, which is to be trusted in nothing: regular files come out as bytes, one after
// the other, in the order of their names' bytes and within the limits; whatever else there is comes to a list with the
// reason. Every entry is looked at below a folder that is held open and opened without following links; nothing is waited for.

import { constants, existsSync } from 'node:fs';
import { type FileHandle, lstat, open, opendir } from 'node:fs/promises';
import {
  ARTIFACT_DEPTH,
  type ArtifactLimits,
  type ArtifactRecord,
  NAMED,
  REPORT,
} from '../src/domain/artifact.js';
import { fold } from '../src/domain/folding.js';
import { type BAD_KINDS, badKind, MAX_PATH_BYTES, shownPath, trickyName } from '../src/domain/peering.js';
import type { Exclude } from '../src/domain/peering-excludes.js';
import { formatSize } from '../src/domain/sizes.js';

const { O_DIRECTORY, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/** What is looked at and left out at most, for each file that an artifact may have. */
const LOOKED_AT_PER_FILE = 10;
const SHOWN = 300;

const HANDLES = '/proc/self/fd';
const byHandle = existsSync(HANDLES);

export class ResultFolder {
  private readonly leftOut: { path: string; reason: string }[] = [];
  private leftOutMore = 0;
  private files = 0;
  private bytes = 0;
  private lookedAt = 0;

  constructor(
    private readonly root: string,
    private readonly limits: ArtifactLimits,
    /** Takes secrets out of the names that are told. */
    private readonly hide: (text: string) => string,
  ) {}

  /** What is not in it; undefined when nothing was left out. */
  get omissions(): Pick<ArtifactRecord, 'leftOut' | 'leftOutMore'> | undefined {
    if (this.leftOut.length === 0) return undefined;
    return { leftOut: this.leftOut, ...(this.leftOutMore > 0 ? { leftOutMore: this.leftOutMore } : {}) };
  }

  /** The files. Throws when the disk cannot be read. */
  async *contents(): AsyncGenerator<{ path: string; content: Buffer }> {
    let folder: FileHandle;
    try {
      folder = await open(this.root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.skip('.', error);
      return;
    }
    try {
      yield* this.below(folder, Buffer.from(this.root), '', 1);
    } finally {
      await folder.close();
    }
  }

  /** A file that came and is to be no part of the artifact after all: makes room again. */
  without(path: string, size: number, why: Exclude): void {
    this.files--;
    this.bytes -= size;
    this.leave(path, why);
  }

  private async *below(
    folder: FileHandle,
    place: Buffer,
    parent: string,
    depth: number,
  ): AsyncGenerator<{ path: string; content: Buffer }> {
    // Where there are no handles to go by (macOS), no agent is isolated either.
    const here = byHandle ? Buffer.from(`${HANDLES}/${folder.fd}`) : place;
    const seen = new Set<string>();
    for (const name of await this.namesIn(here, parent)) {
      const path = `${parent}${name.toString('utf8')}`;
      if (path === REPORT) continue;
      if (!this.goesOn(path)) return;
      const why = this.badPath(name, path, depth, seen);
      if (why) this.leave(path, why);
      else yield* this.entry(join(here, name), join(place, name), path, depth);
    }
  }

  /** Sorted by their bytes, unless there are more than are ever looked at. */
  private async namesIn(place: Buffer, parent: string): Promise<Buffer[]> {
    const most = this.limits.files * LOOKED_AT_PER_FILE + 2 - this.lookedAt;
    const names: Buffer[] = [];
    try {
      // Names come as bytes for this encoding, which the types do not know.
      for await (const entry of await opendir(place, { encoding: 'buffer' as BufferEncoding })) {
        names.push(entry.name as unknown as Buffer);
        if (names.length >= most) break;
      }
    } catch (error) {
      this.skip(parent === '' ? '.' : parent.slice(0, -1), error);
    }
    return names.sort(Buffer.compare);
  }

  /** False once nothing more is looked at. */
  private goesOn(path: string): boolean {
    const most = this.limits.files * LOOKED_AT_PER_FILE;
    this.lookedAt++;
    if (this.lookedAt === most + 1)
      this.leave(path, {
        pattern: 'too many',
        reason: `and all that comes after it: no more than ${most} entries are looked at`,
      });
    return this.lookedAt <= most;
  }

  private badPath(name: Buffer, path: string, depth: number, seen: Set<string>): Exclude | undefined {
    const why = trickyName(name);
    if (why) return why;
    if (depth > ARTIFACT_DEPTH || Buffer.byteLength(path) > MAX_PATH_BYTES) return badKind('too deep');
    const folded = fold(name.toString('utf8'));
    if (seen.has(folded))
      return { pattern: 'same name', reason: 'another file is called so where case does not count' };
    seen.add(folded);
    return undefined;
  }

  private async *entry(
    entry: Buffer,
    place: Buffer,
    path: string,
    depth: number,
  ): AsyncGenerator<{ path: string; content: Buffer }> {
    let file: FileHandle;
    try {
      // A device or a pipe is not even opened.
      const kind = kindOf(await lstat(entry));
      if (kind) return this.leave(path, badKind(kind));
      file = await open(entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    } catch (error) {
      return this.skip(path, error);
    }
    try {
      const stat = await file.stat();
      const kind = kindOf(stat);
      if (kind) return this.leave(path, badKind(kind));
      if (stat.isDirectory()) yield* this.below(file, place, `${path}/`, depth + 1);
      else if (this.admits(path, stat.size)) yield { path, content: await this.read(file, stat.size) };
    } finally {
      await file.close();
    }
  }

  private admits(path: string, size: number): boolean {
    const { files, bytes } = this.limits;
    const full = this.files >= files;
    if (full || this.bytes + size > bytes) {
      this.leave(path, {
        pattern: full ? 'too many' : 'too large',
        reason: `an artifact holds at most ${files} files and ${formatSize(bytes)}${full ? '' : `, and it has ${formatSize(size)}`}`,
      });
      return false;
    }
    this.files++;
    this.bytes += size;
    return true;
  }

  /** Never more than the size that was admitted. */
  private async read(file: FileHandle, size: number): Promise<Buffer> {
    const content = Buffer.alloc(size);
    let at = 0;
    while (at < size) {
      const { bytesRead } = await file.read(content, at, size - at, at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    this.bytes -= size - at;
    return content.subarray(0, at);
  }

  /** What went away or may not be read is left out; anything else ends the reading. */
  private skip(path: string, error: unknown): void {
    const kind = KINDS[(error as NodeJS.ErrnoException).code ?? ''];
    if (!kind) throw error;
    this.leave(path, badKind(kind));
  }

  private leave(path: string, { pattern, reason }: Exclude): void {
    if (this.leftOut.length >= NAMED) this.leftOutMore++;
    else
      this.leftOut.push({
        path: shownPath(this.hide(path)).slice(0, SHOWN),
        reason: `${pattern}: ${reason}`,
      });
  }
}

const KINDS: Readonly<Record<string, keyof typeof BAD_KINDS>> = {
  ENOENT: 'changed meanwhile',
  ENOTDIR: 'changed meanwhile',
  ELOOP: 'symbolic link',
  ENXIO: 'special file',
  EACCES: 'unreadable',
  EPERM: 'unreadable',
};

interface Kind {
  nlink: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

function kindOf(stat: Kind): 'symbolic link' | 'special file' | 'hard link' | undefined {
  if (stat.isSymbolicLink()) return 'symbolic link';
  if (!stat.isFile() && !stat.isDirectory()) return 'special file';
  return stat.isFile() && stat.nlink > 1 ? 'hard link' : undefined;
}

const join = (folder: Buffer, name: Buffer): Buffer => Buffer.concat([folder, Buffer.from('/'), name]);
