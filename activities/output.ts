// The output of a process on its way to files: without the values of secrets, and bounded. The first segment and the
// newest are kept, and finished ones are compressed one at a time. Whoever prints faster than the disk writes has to
// wait: nothing piles up here. A disk that is full or gone costs the rest of the output, not the process.

import { createReadStream, createWriteStream } from 'node:fs';
import { constants, type FileHandle, open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip, constants as zlib } from 'node:zlib';
import { liveFile, segmentFile, segmentsOf } from '../src/client/segments.js';
import { formatSize } from '../src/domain/sizes.js';
import type { OutputWatch } from './output-watch.js';
import { writeWhole } from './presence.js';
import { identityOf } from './processes.js';
import type { Cutter, Redactor } from './redactor.js';

/** How much is kept of one attempt: the first segment, and the newest others. */
export interface Keep {
  /** Bytes of a segment. */
  segment: number;
  segments: number;
}
const KEEP: Keep = { segment: 8 * 1024 * 1024, segments: 8 };

/** For each of the two ways in: what may wait for the disk. */
const BUFFERED = 256 * 1024;
const GZIP_CHUNK = 256 * 1024;
/** Of the end that is at hand. */
const RECENT = 4 * 1024;

export interface OutputFile {
  stream: Writable;
  /** For what comes in by a way of its own: what is between two halves of a secret would hide it otherwise. */
  errors: Writable;
  /** The end of what came in so far, without secrets, at most 4 KiB. The same buffer as before when nothing has come. */
  recent(): Buffer;
  /** Resolves when everything is on disk; gives why something is not, if so. */
  close(): Promise<string | undefined>;
}

/** Goes on behind what is there already. `path` is that of the first segment. */
export function outputFile(
  path: string,
  redactor: Redactor,
  { watch, keep = KEEP }: { watch?: OutputWatch; keep?: Keep } = {},
): OutputFile {
  const segments = new Segments(path, keep);
  const stream = wayIn(redactor.cutter(), segments, watch);
  const errors = wayIn(redactor.cutter(), segments, watch);
  watch?.start();
  return {
    stream,
    errors,
    recent: () => segments.recent,
    close: async () => {
      watch?.stop();
      await Promise.all([stream, errors].map((way) => new Promise<void>((done) => way.end(done))));
      return await segments.close();
    },
  };
}

function wayIn(cutter: Cutter, segments: Segments, watch: OutputWatch | undefined): Writable {
  return new Writable({
    highWaterMark: BUFFERED,
    write(chunk: Buffer, _encoding, done) {
      watch?.saw(chunk.length);
      segments.write(cutter.push(chunk)).then(() => done(), done);
    },
    final(done) {
      segments.write(cutter.end()).then(() => done(), done);
    },
  });
}

class Segments {
  private handle: FileHandle | undefined;
  private number = 0;
  private size = 0;
  /** Whatever touches the files, one after the other. */
  private queue: Promise<void>;
  private readonly finished: number[] = [];
  private compressing: Promise<void> | undefined;
  private problem: string | undefined;
  recent: Buffer = Buffer.alloc(0);

  constructor(
    private readonly path: string,
    private readonly keep: Keep,
  ) {
    this.queue = this.attempt(() => this.open());
  }

  /** Resolves when it is written, or given up. */
  write(parts: readonly Buffer[]): Promise<void> {
    this.remember(parts);
    if (parts.length > 0) this.queue = this.queue.then(() => this.attempt(() => this.put(parts)));
    return this.queue;
  }

  private remember(parts: readonly Buffer[]): void {
    const last: Buffer[] = [];
    let room = RECENT;
    for (let i = parts.length - 1; i >= 0 && room > 0; i--) {
      const end = parts[i]?.subarray(-room);
      if (!end?.length) continue;
      last.unshift(end);
      room -= end.length;
    }
    if (last.length > 0)
      this.recent = Buffer.concat([...(room > 0 ? [this.recent.subarray(-room)] : []), ...last]);
  }

  async close(): Promise<string | undefined> {
    await this.queue;
    await this.attempt(async () => await this.handle?.close());
    await this.compressing;
    await this.compress();
    await rm(liveFile(this.path), { force: true }).catch(() => undefined);
    return this.problem;
  }

  private async attempt(work: () => Promise<unknown>): Promise<void> {
    if (this.problem !== undefined) return;
    try {
      await work();
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
  }

  private async open(): Promise<void> {
    await writeWhole(liveFile(this.path), JSON.stringify(identityOf(process.pid)));
    const last = (await segmentsOf(this.path)).at(-1);
    this.number = last === undefined ? 0 : last.compressed ? last.number + 1 : last.number;
    const file = segmentFile(this.path, this.number);
    this.handle = await open(file, 'a');
    this.size = (await stat(file)).size;
  }

  private async put(parts: readonly Buffer[]): Promise<void> {
    const { segment } = this.keep;
    let batch: Buffer[] = [];
    for (let part of parts) {
      while (this.size + part.length > segment) {
        const room = Math.max(0, segment - this.size);
        batch.push(part.subarray(0, room));
        await this.append(batch);
        batch = [];
        await this.rotate();
        part = part.subarray(room);
      }
      this.size += part.length;
      batch.push(part);
    }
    await this.append(batch);
  }

  private async append(batch: Buffer[]): Promise<void> {
    let bytes = batch.length === 1 && batch[0] ? batch[0] : Buffer.concat(batch);
    while (bytes.length > 0 && this.handle) {
      const { bytesWritten } = await this.handle.write(bytes);
      bytes = bytes.subarray(bytesWritten);
    }
  }

  private async rotate(): Promise<void> {
    await this.handle?.close();
    this.handle = undefined;
    this.finished.push(this.number);
    this.number++;
    this.size = 0;
    this.handle = await open(segmentFile(this.path, this.number), 'a');
    const old = this.number - this.keep.segments + 1;
    if (old >= 1) await this.leaveOut(old);
    this.compressing ??= this.compress().finally(() => {
      this.compressing = undefined;
    });
  }

  /** Takes a segment away; the second one becomes the note that says so. */
  private async leaveOut(number: number): Promise<void> {
    const at = this.finished.indexOf(number);
    if (at >= 0) this.finished.splice(at, 1);
    const file = segmentFile(this.path, number);
    const bytes = number * this.keep.segment;
    const note = `\n[signalbox: ${bytes} bytes of output, ${formatSize(bytes)}, are left out here]\n`;
    const place = segmentFile(this.path, 1);
    await writeFile(`${place}.part`, note);
    await rename(`${place}.part`, place);
    await rm(`${file}.gz`, { force: true });
    if (file !== place) await rm(file, { force: true });
  }

  /** The first segment, which stays, and then the newest: the oldest is the next to be left out. */
  private async compress(): Promise<void> {
    for (;;) {
      const number = this.finished[0] === 0 ? this.finished.shift() : this.finished.pop();
      if (number === undefined) return;
      const file = segmentFile(this.path, number);
      const part = `${file}.gz.part`;
      try {
        await pipeline(
          createReadStream(file, { highWaterMark: GZIP_CHUNK }),
          createGzip({ level: zlib.Z_BEST_SPEED, chunkSize: GZIP_CHUNK }),
          createWriteStream(part),
        );
        await this.replace(number, part);
      } catch {
        // It stays as it is, or it was left out meanwhile.
        await rm(part, { force: true }).catch(() => undefined);
      }
    }
  }

  /** In turn with the rotation, which may have left the segment out. */
  private async replace(number: number, part: string): Promise<void> {
    const file = segmentFile(this.path, number);
    const exchange = this.queue.then(async () => {
      if (number > 0 && number <= this.number - this.keep.segments + 1) {
        await rm(part, { force: true });
        return;
      }
      await rename(part, `${file}.gz`);
      await rm(file);
    });
    this.queue = exchange.catch(() => undefined);
    await exchange;
  }
}

/** The beginning of a file that an agent could write: never more than `bytes`, and never what it links to. Throws when there is none. */
export async function startOf(path: string, bytes: number): Promise<string> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!(await handle.stat()).isFile()) throw new Error(`${path} is no file`);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes), 0, bytes, 0);
    return buffer.subarray(0, bytesRead).toString('utf8');
  } finally {
    await handle.close();
  }
}
