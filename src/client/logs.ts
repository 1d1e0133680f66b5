// The logs that a host has: which there are of a task, and pieces of one. Whoever asks names a task and an attempt; no
// answer comes from outside the folder of logs.

import { existsSync } from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { LOG_START, type LogAnswer, type LogRequest } from '../domain/log-reading.js';
import { SegmentReader } from './segment-reader.js';
import { liveFile, SEGMENT, segmentsOf } from './segments.js';

/** Of what one answer holds; it can be more by what is read from a file at once. */
const PIECE_BYTES = 192 * 1024;

export interface HostLog {
  /** As logName gives it. */
  log: string;
  attempt: number;
  fence: { epoch: number; number: number };
  /** Of its first segment. */
  path: string;
}

const logsFolder = (home: string): string => join(home, 'logs');

/** Where this host keeps a log, or will. */
export const logPath = (home: string, task: string, log: string): string =>
  join(logsFolder(home), task, `${log}.log`);

/** The logs of a task's attempts on this host, oldest first: fences only grow. */
export async function logsIn(home: string, task: string): Promise<HostLog[]> {
  const folder = join(logsFolder(home), task);
  const logs = new Map<string, HostLog>();
  for (const name of await readdir(folder).catch(() => [])) {
    const [, log, attempt, epoch, number] = SEGMENT.exec(name) ?? [];
    if (log === undefined) continue;
    const fence = { epoch: Number(epoch), number: Number(number) };
    logs.set(log, { log, attempt: Number(attempt), fence, path: join(folder, `${log}.log`) });
  }
  return [...logs.values()].sort(
    (a, b) => a.fence.epoch - b.fence.epoch || a.fence.number - b.fence.number || a.attempt - b.attempt,
  );
}

/** A log while it is read: each time from where it was left. */
export interface LogReader {
  /** All that is there and was not read yet. */
  read(): AsyncGenerator<Buffer>;
  /** Whether it was still being written when it was read last. */
  readonly live: boolean;
  /** Whether there was anything of it. */
  readonly found: boolean;
}

/** A log of this host. */
export class LocalLog implements LogReader {
  live = true;
  found = false;
  private readonly reader: SegmentReader;

  constructor(private readonly path: string) {
    this.reader = new SegmentReader(path);
  }

  async *read(): AsyncGenerator<Buffer> {
    // Before it is read: what is closed then is read to its end.
    this.live = existsSync(liveFile(this.path));
    this.found ||= (await segmentsOf(this.path)).length > 0;
    yield* this.reader.read();
  }
}

/** One piece of a log of this host. */
export async function readLog(home: string, { task, log, from }: LogRequest): Promise<LogAnswer> {
  const nothing = { found: false, data: '', next: LOG_START, more: false, live: false };
  const root = await realpath(logsFolder(home)).catch(() => undefined);
  const folder = root && (await realpath(join(root, task)).catch(() => undefined));
  if (!folder?.startsWith(root + sep)) return nothing;
  const path = join(folder, `${log}.log`);
  const live = existsSync(liveFile(path));
  if ((await segmentsOf(path)).length === 0) return { ...nothing, live };
  const reader = new SegmentReader(path, from);
  const parts: Buffer[] = [];
  let bytes = 0;
  let more = false;
  for await (const part of reader.read()) {
    parts.push(part);
    bytes += part.length;
    more = bytes >= PIECE_BYTES;
    if (more) break;
  }
  const data = Buffer.concat(parts).toString('base64');
  return { found: true, data, next: reader.place, more, live };
}
