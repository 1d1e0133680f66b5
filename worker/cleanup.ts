// `signalbox cleanup`: what attempts have left on this host and on the shared repositories, what becomes of it and why. It
// may run beside a worker, twice at once, and be killed at any moment: a folder belongs to whoever renames it, commits are
// kept before their clone goes, and a ref is removed only while it still is what it was when it was looked at.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { runningIds } from '../activities/delivery.js';
import { type Mirror, mirrorsOf } from '../activities/mirror.js';
import { identityOf, isAlive } from '../activities/processes.js';
import { findAbandoned } from '../activities/workstation/abandoned.js';
import { bytesBelow } from '../activities/workstation/disk-watch.js';
import { dropKept, findKept } from '../activities/workstation/kept.js';
import { findReady, identityIn, ownerIn } from '../activities/workstation/pool.js';
import { findRecords } from '../activities/workstation/record.js';
import { discard, goingDir, removeTree } from '../activities/workstation/removal.js';
import { salvage } from '../activities/workstation/salvage.js';
import { planEvictions } from '../activities/workstation/stock.js';
import type { Fleet } from '../src/client/config.js';
import { readPackets } from '../src/client/records.js';
import { type Found, type Verdict, verdictOn } from '../src/domain/cleanup.js';
import { taskOfWorkflowId } from '../src/domain/ids.js';
import { formatSize } from '../src/domain/sizes.js';
import { type AttemptRef, attemptRefsOf, removeRefs } from './attempt-refs.js';
import { isOpen } from './housekeeper.js';
import { sandboxesFor } from './isolation.js';

export interface CleanupItem extends Verdict {
  kind: Found['kind'];
  /** Its folder, or its ref. */
  name: string;
  task?: string;
  repository?: string;
  /** On the disk of this host. */
  bytes?: number;
  /** What was to be done was done; absent where nothing was, and in a dry run. */
  done?: boolean;
  /** Why it was not. */
  problem?: string;
}

export interface CleanupReport {
  dryRun: boolean;
  items: CleanupItem[];
  /** Repositories whose refs could not be looked at, and why. */
  problems: string[];
}

/** An item, and what does what its verdict says. Gives why that was not done. */
interface Job {
  item: CleanupItem;
  run: () => Promise<string | undefined>;
}

interface RefJob {
  item: CleanupItem;
  mirror: Mirror;
  ref: AttemptRef;
}

export interface CleanupSettings {
  fleet: Fleet;
  client: Client;
  dryRun: boolean;
  log: (line: string) => void;
}

/** Throws, and has done nothing, when the server does not say which tasks are over. */
export async function cleanup({ fleet, client, dryRun, log }: CleanupSettings): Promise<CleanupReport> {
  const { config, home } = fleet;
  const host = {
    ...{ config, home, client, log, self: identityOf(process.pid) },
    mirrors: mirrorsOf(home, config.repositories),
    sandboxes: sandboxesFor(config, home, () => undefined),
  };
  const open = new Map<string, boolean>();
  const ask = async (task: string): Promise<boolean> => {
    const known = open.get(task) ?? (await isOpen(host, task));
    open.set(task, known);
    return known;
  };
  const problems: string[] = [];
  const jobs = [...(await stationJobs(host, ask)), ...(await cloneJobs(host, ask))];
  const refs = await refJobs(fleet, host, ask, problems);
  if (!dryRun) {
    for (const job of jobs) if (job.item.does !== 'stay') await carryOut(job);
    await carryOutRefs(refs.filter(({ item }) => item.does !== 'stay'));
  }
  for (const mirror of host.mirrors.values()) await mirror.close();
  return { dryRun, items: [...jobs, ...refs].map(({ item }) => item), problems };
}

async function carryOut({ item, run }: Job): Promise<void> {
  const problem = await run().catch((error: unknown) =>
    error instanceof Error ? error.message : String(error),
  );
  settle(item, problem);
}

async function carryOutRefs(jobs: readonly RefJob[]): Promise<void> {
  for (const mirror of new Set(jobs.map((job) => job.mirror))) {
    const ours = jobs.filter((job) => job.mirror === mirror);
    const left = await removeRefs(
      mirror,
      ours.map(({ ref }) => ref),
    );
    for (const { item, ref } of ours) settle(item, left.get(ref.ref));
  }
}

function settle(item: CleanupItem, problem: string | undefined): void {
  item.done = problem === undefined;
  if (problem !== undefined) item.problem = problem || 'it has moved meanwhile';
}

type Ask = (task: string) => Promise<boolean>;
type Parts = Parameters<typeof salvage>[0] & { client: Client };

async function stationJobs(host: Parts, ask: Ask): Promise<Job[]> {
  const abandoned = await findAbandoned(host.home);
  const known = new Set(abandoned.map(({ dir }) => dir));
  const running = (await findRecords(host.home)).filter(({ dir }) => !known.has(dir));
  const jobs: Job[] = [];
  for (const { dir, record } of [...running, ...abandoned]) {
    const { task, over } = record;
    const workerAlive = isAlive(record.worker);
    const taskOpen = await ask(task);
    const found = { kind: 'workstation' as const, task, workerAlive, taskOpen, ...(over ? { over } : {}) };
    const run = async () => {
      const came = await salvage(host, { dir, record });
      if (came.kind === 'stays') return came.why;
      if (!taskOpen) await dropKept(host.home, task);
      return undefined;
    };
    jobs.push({ item: await itemOf(found, dir), run });
  }
  return jobs;
}

async function cloneJobs(host: Parts, ask: Ask): Promise<Job[]> {
  const { home, config } = host;
  const gone = (path: string) => async () => {
    await discard(home, path);
    return undefined;
  };
  const jobs: Job[] = [];
  for (const { path, record } of await findKept(home)) {
    const { task } = record;
    const found = { kind: 'kept clone' as const, task, taskOpen: await ask(task) };
    jobs.push({ item: await itemOf(found, path), run: gone(path) });
  }
  for (const { path } of await findReady(home)) {
    const owner = identityIn(ownerIn(path.slice(path.lastIndexOf('/') + 1)));
    const found = { kind: 'ready clone' as const, workerAlive: owner !== undefined && isAlive(owner) };
    jobs.push({ item: await itemOf(found, path), run: gone(path) });
  }
  const evicted = new Set((await planEvictions(host)).map(({ path }) => path));
  for (const { item } of jobs) {
    if (item.does !== 'stay' || !evicted.has(item.name)) continue;
    const given = formatSize(config.workstations.disk);
    Object.assign(item, {
      does: 'remove',
      why: `workstations have more than ${given}, or the disk is short`,
    });
  }
  for (const name of await readdir(goingDir(home)).catch(() => [])) {
    const path = join(goingDir(home), name);
    const run = async () => {
      await removeTree(path);
      return undefined;
    };
    jobs.push({ item: await itemOf({ kind: 'remains' }, path), run });
  }
  return jobs;
}

async function itemOf(found: Found, name: string): Promise<CleanupItem> {
  const task = 'task' in found ? { task: found.task } : {};
  return { kind: found.kind, name, ...task, bytes: await bytesBelow([name]), ...verdictOn(found) };
}

async function refJobs(fleet: Fleet, host: Parts, ask: Ask, problems: string[]): Promise<RefJob[]> {
  const name = fleet.config.fleet;
  const planOf = (task: string) => task.slice(0, task.indexOf('/'));
  const live = await runningIds(host.client, name);
  const plans = new Set(live.map((id) => planOf(taskOfWorkflowId(name, id) ?? '/')));
  const jobs: RefJob[] = [];
  const packets = await readPackets(fleet).catch((error: unknown) => {
    problems.push(`change packets cannot be read: ${String(error)}`);
    return [];
  });
  for (const [repository, mirror] of host.mirrors) {
    const refs = await attemptRefsOf(mirror, packets).catch((error: unknown): AttemptRef[] => {
      problems.push(`repository "${repository}": ${error instanceof Error ? error.message : String(error)}`);
      return [];
    });
    for (const ref of refs) {
      const { task, contained, landedAs } = ref;
      const goes = contained || landedAs !== undefined;
      const planOpen = plans.has(planOf(task)) || (goes && (await ask(task)));
      const known = { planOpen, branch: mirror.branch, contained, ...(landedAs ? { landedAs } : {}) };
      const verdict = verdictOn({ kind: 'attempt ref', task, ...known });
      jobs.push({ item: { kind: 'attempt ref', name: ref.ref, task, repository, ...verdict }, mirror, ref });
    }
  }
  return jobs;
}
