// Workstations whose attempt is over and whose work is kept nowhere else yet: their worker died, or could not take the
// commits out. Whoever renames such a folder to `<home>/salvage/<owner>~<plan>~<task>~<fence>` has it. It commits what was
// left, keeps the commits under the attempt's ref, and only then the clone is kept for the next attempt, or removed. Where
// that fails the folder goes back to its place; where its owner dies the next one has it.

import { mkdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Host, mirrorOf } from '../host.js';
import { endTree, groupIsOurs } from '../processes.js';
import { endSandbox } from '../sandbox/run.js';
import { type Abandoned, salvageDir } from './abandoned.js';
import { flatName, leaveWorkstation } from './kept.js';
import { commitLeftovers, headOf } from './leftovers.js';
import { keepCommits, openWorkstation } from './make.js';
import { nameOf } from './pool.js';
import { removeEmptyAbove, type WorkstationRecord, workstationDir } from './record.js';

export type Salvager = Pick<Host, 'home' | 'mirrors' | 'config' | 'sandboxes' | 'self' | 'log'>;

/** What became of a workstation that nobody works in any more. */
export type Salvaged =
  | { kind: 'kept'; commits: string | undefined }
  | { kind: 'removed'; commits: string | undefined }
  /** Somebody else is at it. */
  | { kind: 'taken' }
  | { kind: 'stays'; why: string };

/** Ends what still runs in it, keeps its work, and then its clone where its record says so. Never rejects. */
export async function salvage(host: Salvager, { dir, record }: Abandoned): Promise<Salvaged> {
  const home = workstationDir(host.home, record.task, record.fence);
  let mine: string | undefined;
  try {
    const { processes = [], plain } = record;
    const [leader] = processes;
    if (!plain) await endSandbox(processes, 0);
    const group = plain && leader && groupIsOurs(leader) ? leader.pid : undefined;
    for (const marker of new Set([home, dir])) await endTree(group, marker, 0);
    mine = await take(host, { dir, record });
    if (mine === undefined) return { kind: 'taken' };
    await removeEmptyAbove(home);
    const commits = record.base === undefined ? undefined : await keepWork(host, mine, record);
    const keep = record.keep === true && record.base !== undefined;
    const { over: _, ...rest } = record;
    return { kind: (await leaveWorkstation(host.home, mine, rest, keep)) ? 'kept' : 'removed', commits };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    host.log(`the work in ${home} could not be kept elsewhere, so the folder stays: ${why}`);
    if (mine !== undefined) await giveBack(mine, home);
    return { kind: 'stays', why };
  }
}

async function take({ home, self }: Salvager, { dir, record }: Abandoned): Promise<string | undefined> {
  const mine = join(salvageDir(home), `${nameOf(self)}~${flatName(record.task, record.fence)}`);
  await mkdir(salvageDir(home), { recursive: true, mode: 0o711 });
  try {
    await rename(dir, mine);
    return mine;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function giveBack(mine: string, home: string): Promise<void> {
  await mkdir(dirname(home), { recursive: true });
  await rename(mine, home).catch(() => undefined);
}

/** Gives the ref that the commits are kept under; undefined when there are none. */
async function keepWork(host: Salvager, dir: string, record: WorkstationRecord): Promise<string | undefined> {
  const mirror = mirrorOf(host, record.repository);
  await mirror.open();
  // What looked changed from the start is not known any more; a dead attempt never lands, so nothing is lost by keeping it.
  const clone = openWorkstation(host, dir, record, mirror);
  if (record.checkout) await commitLeftovers(clone, new Map(), record.task);
  const commit = await headOf(clone);
  if (commit === record.base) return undefined;
  return await keepCommits(mirror, clone, commit, record.task, record.fence);
}
