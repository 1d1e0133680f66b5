// The folder of an attempt, and the record in it, for whoever finds it after its worker's death.

import { execFile } from 'node:child_process';
import { readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type Fence, fenceText } from '../../src/domain/fence.js';
import { writeWhole } from '../presence.js';
import type { ProcessIdentity } from '../processes.js';

export interface WorkstationRecord {
  task: string;
  repository: string;
  fence: Fence;
  /** Absent until the clone is made. */
  base?: string;
  /** The user its agent runs as, where that is not the worker's. */
  uid?: number;
  checkout: boolean;
  /** Made without a sandbox. */
  plain?: true;
  worker: ProcessIdentity;
  /** The agent, once it has started: without a sandbox the leader of its process group, else what keeps the sandbox alive. */
  processes?: ProcessIdentity[];
}

const run = promisify(execFile);

const RECORD = 'workstation.json';

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
        const text = await readFile(join(dir, RECORD), 'utf8').catch(() => undefined);
        if (text) found.push({ dir, record: JSON.parse(text) as WorkstationRecord });
      }
    }
  }
  return found;
}

/** Removes the folder, and the task's folders above it when they are empty. */
export async function removeWorkstation(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }).catch(async () => {
    // An agent may have closed folders of its own even to us, and nested them deeper than any path reaches.
    await run('chmod', ['-R', 'u+rwX', '--', dir]).catch(() => undefined);
    await run('rm', ['-rf', '--', dir]);
  });
  for (const above of [dirname(dir), dirname(dirname(dir))]) {
    if ((await readdir(above).catch(() => ['?'])).length === 0)
      await rm(above, { recursive: true, force: true });
  }
}
