// Takes the values of secrets out of text and of streams, in every form of secret-forms.ts. All forms are looked for in
// one pass that jumps over what cannot begin any of them (Wu and Manber's search for many words); overlapping finds
// become one. A stream keeps back only what may be the beginning of a find: the result does not depend on its chunks.

import { Transform } from 'node:stream';
import { formsOf, SHORTEST_SECRET } from './secret-forms.js';

const MARK = Buffer.from('[redacted]');

export interface Redactor {
  text(text: string): string;
  /** A transformation of bytes; each stream needs its own. */
  stream(): Transform;
  /** The same without a stream: gives what of the chunk may pass. */
  cutter(): Cutter;
}

export interface Cutter {
  /** Whether anything was found so far. */
  readonly found: boolean;
  push(chunk: Buffer): Buffer[];
  /** What was kept back. */
  end(): Buffer[];
}

export function redactor(secrets: Iterable<string>): Redactor {
  const values = [...secrets].filter((value) => Buffer.byteLength(value) >= SHORTEST_SECRET);
  const words = new Words(new Set(values.flatMap(formsOf)));
  const cutter = (): Cutter => (words.none ? NOTHING : new Cut(words));
  return {
    cutter,
    text(text) {
      if (words.none) return text;
      const cut = new Cut(words);
      const parts = [...cut.push(Buffer.from(text)), ...cut.end()];
      return cut.found ? Buffer.concat(parts).toString() : text;
    },
    stream() {
      const cut = cutter();
      return new Transform({
        transform(chunk: Buffer, _encoding, done) {
          for (const part of cut.push(chunk)) this.push(part);
          done();
        },
        flush(done) {
          for (const part of cut.end()) this.push(part);
          done();
        },
      });
    },
  };
}

const NOTHING: Cutter = { found: false, push: (chunk) => [chunk], end: () => [] };

const pair = (data: Buffer, at: number): number => ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
const three = (data: Buffer, at: number): number => (pair(data, at) ^ ((data[at + 2] ?? 0) << 4)) & 0xffff;

/** The words that are looked for. `window` is the length of the shortest. */
class Words {
  readonly none: boolean;
  readonly longest: number;
  private readonly window: number;
  /** By the last two bytes of a window: how far on the next one may begin. */
  private readonly jump: Uint8Array;
  /** By the first three bytes: a word may begin so. */
  private readonly begins = new Uint8Array(65_536);
  /** By the first four bytes, the longest first. */
  private readonly byStart = new Map<number, Buffer[]>();

  constructor(forms: ReadonlySet<string>) {
    const words = [...forms].map((form) => Buffer.from(form)).sort((a, b) => b.length - a.length);
    this.none = words.length === 0;
    this.longest = words[0]?.length ?? 0;
    this.window = Math.min(words.at(-1)?.length ?? 0, 255);
    this.jump = new Uint8Array(65_536).fill(Math.max(1, this.window - 1));
    for (const word of words) {
      for (let at = 0; at + 2 <= this.window; at++) {
        const key = pair(word, at);
        this.jump[key] = Math.min(this.jump[key] ?? 0, this.window - 2 - at);
      }
      this.begins[three(word, 0)] = 1;
      const start = word.readUInt32LE(0);
      this.byStart.set(start, [...(this.byStart.get(start) ?? []), word]);
    }
  }

  /** Calls back for each place where a word stands, with the end of the longest one there. */
  find(data: Buffer, found: (start: number, end: number) => void): void {
    const { window, jump, begins, byStart } = this;
    const last = data.length;
    for (let end = window; end <= last; ) {
      const step = jump[((data[end - 2] as number) << 8) | (data[end - 1] as number)] as number;
      if (step > 0) {
        end += step;
        continue;
      }
      const start = end - window;
      end++;
      if (begins[three(data, start)] === 0) continue;
      for (const word of byStart.get(data.readUInt32LE(start)) ?? []) {
        if (
          start + word.length > last ||
          data.compare(word, 0, word.length, start, start + word.length) !== 0
        )
          continue;
        found(start, start + word.length);
        break;
      }
    }
  }

  /** From where on the data may be the beginning of a word that goes on behind it. */
  openFrom(data: Buffer): number {
    const { begins, byStart } = this;
    const end = data.length;
    for (let at = Math.max(0, end - this.longest + 1); at < end; at++) {
      const left = end - at;
      if (left >= 4) {
        if (begins[three(data, at)] === 0) continue;
        const words = byStart.get(data.readUInt32LE(at)) ?? [];
        if (words.some((word) => word.length > left && data.compare(word, 0, left, at, end) === 0)) return at;
      } else {
        for (const [word] of byStart.values())
          if (word && data.compare(word, 0, left, at, end) === 0) return at;
      }
    }
    return end;
  }
}

class Cut implements Cutter {
  found = false;
  private held: Buffer = Buffer.alloc(0);
  /** So many bytes of what is held belong to a find that is marked already. */
  private covered = 0;

  constructor(private readonly words: Words) {}

  push(chunk: Buffer): Buffer[] {
    const data = this.held.length > 0 ? Buffer.concat([this.held, chunk]) : chunk;
    const open = this.words.openFrom(data);
    const out = this.cut(data, open);
    // A copy: the chunk's memory is its reader's.
    this.held = Buffer.from(data.subarray(open));
    return out;
  }

  end(): Buffer[] {
    const out = this.cut(this.held, this.held.length);
    this.held = Buffer.alloc(0);
    return out;
  }

  /** What may pass of the data before `open`. */
  private cut(data: Buffer, open: number): Buffer[] {
    const out: Buffer[] = [];
    // Where the find that is being left out ends.
    let until = this.covered;
    this.words.find(data, (start, end) => {
      this.found = true;
      if (start >= open) return;
      if (start >= until) {
        if (start > until) out.push(data.subarray(until, start));
        out.push(MARK);
      }
      until = Math.max(until, end);
    });
    if (until < open) out.push(data.subarray(until, open));
    this.covered = Math.max(0, until - open);
    return out;
  }
}
