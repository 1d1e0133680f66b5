// The output of all attempts on this host together stays within `workstations.logs`: that of the oldest ended attempts
// goes first. Attempts whose output is still written by a live process, of this worker or another one, are left alone.

import { readdir, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { liveFile, SEGMENT, segmentsOf } from '../src/client/segments.js';
import { formatSize } from '../src/domain/sizes.js';
import type { Host } from './host.js';
import { isAlive, type ProcessIdentity } from './processes.js';

/** Room is made down to this part of the budget, so that not every attempt has to. */
const DOWN_TO = 0.9;
/** After so much of it was written here, what other workers wrote is counted too. */
const LOOK_AFTER = 0.05;

interface Log {
  /** Of the first segment. */
  path: string;
  files: string[];
  bytes: number;
  /** Of the newest file, in milliseconds since the epoch. */
  written: number;
}

export class LogBudget {
  /** At the last look; unknown before the first. */
  private total = Number.POSITIVE_INFINITY;
  /** Written here since. */
  private since = 0;
  private looking: Promise<void> | undefined;

  constructor(private readonly host: Pick<Host, 'config' | 'home' | 'log'>) {}

  /** An attempt has ended, whose output is at the path. Resolves when all is within the budget again; never rejects. */
  async ended(path: string): Promise<void> {
    try {
      for (const { file } of await segmentsOf(path)) this.since += await sizeOf(file);
      const most = this.host.config.workstations.logs;
      if (this.total + this.since <= most && this.since <= most * LOOK_AFTER) return;
      this.looking ??= this.look(most).finally(() => {
        this.looking = undefined;
      });
      await this.looking;
    } catch (error) {
      this.host.log(
        `room for logs cannot be made: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  private async look(most: number): Promise<void> {
    this.since = 0;
    const { bytes, removed } = await keepWithin(join(this.host.home, 'logs'), most);
    this.total = bytes;
    if (removed > 0)
      this.host.log(`removed the output of ${removed} old attempts: ${formatSize(most)} are given`);
  }
}

/** Removes the output of ended attempts, the oldest first, when all together is more than `most` bytes. */
export async function keepWithin(folder: string, most: number): Promise<{ bytes: number; removed: number }> {
  const logs = await logsBelow(folder);
  let bytes = logs.reduce((sum, log) => sum + log.bytes, 0);
  let removed = 0;
  if (bytes <= most) return { bytes, removed };
  for (const log of logs.sort((a, b) => a.written - b.written)) {
    if (bytes <= most * DOWN_TO) break;
    if (await isWritten(log.path)) continue;
    for (const file of [...log.files, liveFile(log.path)]) await rm(file, { force: true });
    bytes -= log.bytes;
    removed++;
    for (const empty of [dirname(log.path), dirname(dirname(log.path))])
      await rmdir(empty).catch(() => undefined);
  }
  return { bytes, removed };
}

/** Of every attempt of every task: plan, task, segments. */
async function logsBelow(folder: string): Promise<Log[]> {
  const logs = new Map<string, Log>();
  for (const plan of await list(folder))
    for (const task of await list(join(folder, plan)))
      for (const name of await list(join(folder, plan, task))) {
        const stem = SEGMENT.exec(name.replace(/\.part$/, ''))?.[1];
        if (stem === undefined) continue;
        const path = join(folder, plan, task, `${stem}.log`);
        const file = join(folder, plan, task, name);
        const log = logs.get(path) ?? { path, files: [], bytes: 0, written: 0 };
        // It may have been compressed, or left out, meanwhile.
        const found = await stat(file).catch(() => undefined);
        if (!found) continue;
        log.files.push(file);
        log.bytes += found.size;
        log.written = Math.max(log.written, found.mtimeMs);
        logs.set(path, log);
      }
  return [...logs.values()];
}

const list = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);
const sizeOf = (file: string): Promise<number> =>
  stat(file).then(
    ({ size }) => size,
    () => 0,
  );

async function isWritten(path: string): Promise<boolean> {
  const text = await readFile(liveFile(path), 'utf8').catch(() => undefined);
  if (!text) return false;
  return isAlive(JSON.parse(text) as ProcessIdentity);
}
