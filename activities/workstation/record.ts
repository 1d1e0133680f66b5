// The folder of an attempt, and the record in it, for whoever finds it after its worker's death.

import { readdir, readFile, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Fence, fenceText } from '../../src/domain/fence.js';
import { writeWhole } from '../presence.js';
import type { ProcessIdentity } from '../processes.js';
import { removeTree } from './removal.js';

export interface WorkstationRecord {
  task: string;
  repository: string;
  fence: Fence;
  /** Absent until the clone is made. */
  base?: string;
  /** The user its agent runs as, where that is not the worker's. */
  uid?: number;
  checkout: boolean;
  /** Once the attempt is over, and its commits are kept, its clone stays for the next one. */
  keep?: true;
  /** When that came to be; milliseconds since the epoch. */
  kept?: number;
  /** The attempt is over, and no process of it is left; why its work could not be kept elsewhere yet. */
  over?: string;
  /** Made without a sandbox. */
  plain?: true;
  worker: ProcessIdentity;
  /** The agent, once it has started: without a sandbox the leader of its process group, else what keeps the sandbox alive. */
  processes?: ProcessIdentity[];
}

export const RECORD = 'workstation.json';

export const workstationDir = (home: string, task: string, fence: Fence): string =>
  join(home, 'workstations', task, fenceText(fence));

export const writeRecord = (dir: string, record: WorkstationRecord): Promise<void> =>
  writeWhole(join(dir, RECORD), JSON.stringify(record));

/** Workstations in the fleet's folder that have a record, whoever made them. */
export async function findRecords(home: string): Promise<{ dir: string; record: WorkstationRecord }[]> {
  const root = join(home, 'workstations');
  const found: { dir: string; record: WorkstationRecord }[] = [];
  const list = (path: string) => readdir(path).catch(() => []);
  for (const plan of await list(root)) {
    for (const task of await list(join(root, plan))) {
      for (const fence of await list(join(root, plan, task))) {
        const dir = join(root, plan, task, fence);
        const record = await readRecord(dir);
        if (record) found.push({ dir, record });
      }
    }
  }
  return found;
}

/** The record in the folder; undefined when there is none. */
export async function readRecord(dir: string): Promise<WorkstationRecord | undefined> {
  const text = await readFile(join(dir, RECORD), 'utf8').catch(() => undefined);
  return text ? (JSON.parse(text) as WorkstationRecord) : undefined;
}

/** Removes the folder, and the task's folders above it when they are empty. */
export async function removeWorkstation(dir: string): Promise<void> {
  await removeTree(dir);
  await removeEmptyAbove(dir);
}

/** Removes the folders of the workstation's task and plan when nothing is in them any more. */
export async function removeEmptyAbove(dir: string): Promise<void> {
  // Never more than an empty folder: somebody may be making a workstation there.
  for (const above of [dirname(dir), dirname(dirname(dir))]) await rmdir(above).catch(() => undefined);
}
