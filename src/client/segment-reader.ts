// Reads an attempt's output from its segments, in order and while they are written: each call goes on where the last
// one ended, though segments are rotated, compressed and left out meanwhile.

import { stat } from 'node:fs/promises';
import { LOG_START, type LogPlace } from '../domain/log-reading.js';
import { readSegment, type Segment, segmentsOf } from './segments.js';

/** How often a segment may change its name between being found and being opened. */
const TRIES = 5;

export class SegmentReader {
  private number: number;
  private at: number;

  constructor(
    private readonly path: string,
    from: LogPlace = LOG_START,
  ) {
    this.number = from.segment;
    this.at = from.at;
  }

  /** Another reader goes on from here. */
  get place(): LogPlace {
    return { segment: this.number, at: this.at };
  }

  /** All that is there and was not read yet. */
  async *read(): AsyncGenerator<Buffer> {
    for (let tries = 0; ; ) {
      // One that has a next one is complete: so it is looked for before it is read.
      const segments = (await segmentsOf(this.path)).filter(({ number }) => number >= this.number);
      const [segment] = segments;
      if (!segment) return;
      if (await this.wasLeftOut(segment)) yield* this.skipTo(segment, segments[1]);
      try {
        for await (const chunk of this.rest(segments)) {
          tries = 0;
          yield chunk;
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || ++tries === TRIES) throw error;
        continue;
      }
      if (segments.length === 1) return;
    }
  }

  private async *rest(segments: readonly Segment[]): AsyncGenerator<Buffer> {
    const segment = segments.find(({ number }) => number === this.number);
    if (segment)
      for await (const chunk of readSegment(segment, this.at)) {
        this.at += chunk.length;
        yield chunk;
      }
    const next = segments.find(({ number }) => number > this.number);
    if (!next) return;
    this.number = next.number;
    this.at = 0;
  }

  /** The one to go on with is no more; a note stands in the place of the second. */
  private async wasLeftOut(segment: Segment): Promise<boolean> {
    if (segment.number !== this.number) return this.number > 0 || this.at > 0;
    if (segment.compressed || this.at === 0) return false;
    const size = await stat(segment.file).then(
      (found) => found.size,
      () => this.at,
    );
    return size < this.at;
  }

  private *skipTo(segment: Segment, next: Segment | undefined): Generator<Buffer> {
    yield Buffer.from('\n[signalbox: output was left out here, for it came faster than it was read]\n');
    const to = segment.number === this.number ? next : segment;
    this.number = to?.number ?? this.number + 1;
    this.at = 0;
  }
}
