// The files that an attempt's output is kept in: segments of one size. `a.log` is the first; the next are `a.1.log`,
// `a.2.log`, and so on, of which only the newest are kept. A finished one is compressed aside, and its place is taken
// at once: whoever reads always finds `a.N.log` or `a.N.log.gz`. Where segments were left out, `a.1.log` says how much.

import { createReadStream } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { createGunzip } from 'node:zlib';

export interface Segment {
  /** 0 is the first. */
  number: number;
  file: string;
  compressed: boolean;
}

/** The name of a segment in the folder of a task: its log without the ending, the attempt, and both parts of the fence. */
export const SEGMENT = /^((\d+)-(\d+)\.(\d+))(?:\.\d+)?\.log(?:\.gz)?$/;

const stem = (path: string): string => basename(path).replace(/\.log$/, '');

/** The file of a segment; `path` is that of the first. */
export const segmentFile = (path: string, number: number): string =>
  number === 0 ? path : join(dirname(path), `${stem(path)}.${number}.log`);

/** Left beside the segments while they are written: which process does. */
export const liveFile = (path: string): string => path.replace(/(\.log)?$/, '.live');

/** What there is, in order. */
export async function segmentsOf(path: string): Promise<Segment[]> {
  const names = new Set(await readdir(dirname(path)).catch(() => []));
  const found = [...names].flatMap((name): Segment[] => {
    const compressed = name.endsWith('.log.gz');
    const plain = compressed ? name.slice(0, -'.gz'.length) : name;
    // While one is compressed both are there: the plain one is whole.
    if (!plain.endsWith('.log') || (compressed && names.has(plain))) return [];
    const number = numberIn(plain, stem(path));
    return number === undefined ? [] : [{ number, file: join(dirname(path), name), compressed }];
  });
  return found.sort((a, b) => a.number - b.number);
}

function numberIn(name: string, first: string): number | undefined {
  if (name === `${first}.log`) return 0;
  if (!name.startsWith(`${first}.`)) return undefined;
  const middle = name.slice(first.length + 1, -'.log'.length);
  return /^[1-9]\d*$/.test(middle) ? Number(middle) : undefined;
}

/** The content of a segment from an offset on. */
export async function* readSegment({ file, compressed }: Segment, from = 0): AsyncGenerator<Buffer> {
  if (!compressed) {
    for await (const chunk of createReadStream(file, { start: from })) yield chunk as Buffer;
    return;
  }
  let skip = from;
  const source = createReadStream(file);
  const plain = createGunzip();
  source.on('error', (error) => plain.destroy(error));
  try {
    for await (const chunk of source.pipe(plain)) {
      const rest = (chunk as Buffer).subarray(skip);
      skip -= Math.min(skip, (chunk as Buffer).length);
      if (rest.length > 0) yield rest;
    }
  } finally {
    source.destroy();
  }
}

/** The end of what is kept as text, at most `bytes` long; empty when there is nothing. */
export async function tailOf(path: string, bytes: number): Promise<string> {
  let tail: Buffer = Buffer.alloc(0);
  for (const segment of (await segmentsOf(path)).reverse()) {
    if (tail.length >= bytes) break;
    const end = await endOf(segment, bytes - tail.length).catch(() => Buffer.alloc(0));
    tail = Buffer.concat([end, tail]);
  }
  return tail.toString('utf8');
}

async function endOf(segment: Segment, bytes: number): Promise<Buffer> {
  if (segment.compressed) {
    let end: Buffer = Buffer.alloc(0);
    for await (const chunk of readSegment(segment)) end = Buffer.concat([end, chunk]).subarray(-bytes);
    return Buffer.from(end);
  }
  const handle = await open(segment.file, 'r');
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, bytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
