// Clones that are kept between two attempts of a task: their agent was seen dead and its commits are kept elsewhere, so
// what is worth keeping in them are build caches. One is `<home>/kept/<plan>~<task>~<fence>`, a workstation's folder with
// nothing in it but the clone and the record; whoever renames that folder has it. An attempt that may still be alive has
// its clone in `workstations`, where nobody takes it from.

import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { compareFences, type Fence, fenceText } from '../../src/domain/fence.js';
import { bytesBelow } from './disk-watch.js';
import {
  RECORD,
  readRecord,
  removeEmptyAbove,
  type WorkstationRecord,
  workstationDir,
  writeRecord,
} from './record.js';
import { discard, removeTree } from './removal.js';
import type { TakenClone } from './station.js';

export interface KeptClone {
  path: string;
  record: WorkstationRecord;
}

const CLONE = 'clone';
const TAKEN = 'kept';

export const keptDir = (home: string): string => join(home, 'kept');

/** What a task's folders are called where those of all tasks lie side by side; no name has a `~` in it. */
export const flatName = (task: string, fence: Fence): string =>
  `${task.replace('/', '~')}~${fenceText(fence)}`;

/** Clones that are kept on this host, whoever did: of all tasks, or of one. */
export async function findKept(home: string, task?: string): Promise<KeptClone[]> {
  const found: KeptClone[] = [];
  const of = task === undefined ? '' : `${task.replace('/', '~')}~`;
  for (const name of await readdir(keptDir(home)).catch(() => [])) {
    if (!name.startsWith(of)) continue;
    const path = join(keptDir(home), name);
    const record = await readRecord(path);
    if (record) found.push({ path, record });
  }
  return found;
}

/** Ends a workstation whose commits are kept elsewhere. True when its clone stays for the next attempt. */
export async function leaveWorkstation(
  home: string,
  dir: string,
  record: WorkstationRecord,
  keep = record.keep === true,
): Promise<boolean> {
  const place = workstationDir(home, record.task, record.fence);
  if (!keep) {
    await removeTree(dir);
    await removeEmptyAbove(place);
    return false;
  }
  for (const name of await readdir(dir))
    if (name !== CLONE && name !== RECORD) await removeTree(join(dir, name));
  await writeRecord(dir, { ...record, kept: Date.now() });
  await mkdir(keptDir(home), { recursive: true, mode: 0o711 });
  const path = join(keptDir(home), flatName(record.task, record.fence));
  await discard(home, path);
  await rename(dir, path);
  await removeEmptyAbove(place);
  for (const other of await findKept(home, record.task))
    if (compareFences(other.record.fence, record.fence) < 0) await discard(home, other.path);
  return true;
}

export interface Wanted {
  task: string;
  fence: Fence;
  repository: string;
  /** What the clone may hold, in bytes: its agent needs room as well. */
  most: number;
}

/** Moves the clone that the task's last attempt here left to `dir`/clone; undefined when there is none that is of use. */
export async function takeKept(home: string, dir: string, wanted: Wanted): Promise<TakenClone | undefined> {
  const found = (await findKept(home, wanted.task)).filter(
    ({ record }) => compareFences(record.fence, wanted.fence) < 0,
  );
  for (const { path } of found.sort((a, b) => compareFences(b.record.fence, a.record.fence))) {
    const taken = join(dir, TAKEN);
    await mkdir(dir, { recursive: true, mode: 0o711 });
    try {
      await rename(path, taken);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      // Somebody else has it.
      continue;
    }
    const record = await readRecord(taken);
    const useful =
      record?.repository === wanted.repository && (await bytesBelow([join(taken, CLONE)])) <= wanted.most;
    if (useful) await rename(join(taken, CLONE), join(dir, CLONE));
    await removeTree(taken);
    if (useful) return record.uid === undefined ? {} : { uid: record.uid };
  }
  return undefined;
}

/** The task is over: its clones go. Their commits are kept elsewhere, else they would not be there. */
export async function dropKept(home: string, task: string): Promise<void> {
  for (const { path } of await findKept(home, task)) await discard(home, path);
}

/** The attempt is over, and what it did could not be kept elsewhere: whoever comes next tries that again. */
export async function markOver(home: string, task: string, fence: Fence, why: string): Promise<void> {
  const dir = workstationDir(home, task, fence);
  const record = await readRecord(dir);
  if (record) await writeRecord(dir, { ...record, over: why });
}
