// What a dead worker left behind on this host: agents that still run, workstations with work in them, activities that
// nobody will complete. A starting worker ends the first, keeps the second, and fails the third, so that their tasks
// and writers need not wait for a heartbeat to run out.

import { readdir, rm } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { ActivityNotFoundError, type Client, WorkflowNotFoundError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { eachInParallel } from '../src/client/parallel.js';
import { PARALLEL, runningIds } from './delivery.js';
import type { Host } from './host.js';
import { SCRATCH } from './mirror.js';
import { register, workerIdentity } from './presence.js';
import { endTree, markedProcesses, type ProcessIdentity } from './processes.js';
import { findAbandoned } from './workstation/abandoned.js';
import { clearReady } from './workstation/pool.js';
import { findRecords } from './workstation/record.js';
import { clearGoing } from './workstation/removal.js';
import { salvage } from './workstation/salvage.js';

export const WORKER_DIED = 'WorkerDied';

/** Clears away what dead workers left; `dead` are those whose activities are still to be failed. */
export async function reap(host: Host): Promise<{ stations: number; dead: ProcessIdentity[] }> {
  let stations = 0;
  const { alone, dead } = await register(host);
  if (alone) await clearLocks(host);
  for (const abandoned of await findAbandoned(host.home)) {
    await salvage(host, abandoned);
    stations += 1;
  }
  await endStrays(host);
  await clearReady(host.home);
  await clearGoing(host.home);
  return { stations, dead };
}

/**
 * Fails the activities that Temporal has handed to dead workers of this host. Their agents have been ended, or were
 * never started: an attempt leaves its record before anything else. Gives how many it failed.
 */
export async function failAbandoned(host: Host, dead: readonly ProcessIdentity[]): Promise<number> {
  const { client, config, log } = host;
  const identities = new Set(dead.map(workerIdentity));
  let failed = 0;
  await eachInParallel(await runningIds(client, config.fleet), PARALLEL, async (workflowId) => {
    const pending = await pendingActivities(client, workflowId);
    for (const { activityId, lastWorkerIdentity, activityType } of pending) {
      if (!activityId || !identities.has(lastWorkerIdentity ?? '')) continue;
      const attempt = activityType?.name === 'runAgent';
      const failure = ApplicationFailure.create({
        type: WORKER_DIED,
        message: attempt
          ? 'its worker died; the agent was found and ended'
          : 'its worker died; it is tried again',
        nonRetryable: attempt,
        // Where its log is.
        details: [host.id],
      });
      try {
        await client.activity.fail({ workflowId, activityId }, failure);
        failed += 1;
      } catch (error) {
        // It has timed out or was cancelled meanwhile.
        if (!(error instanceof ActivityNotFoundError))
          log(`${activityType?.name} of ${workflowId} could not be failed at once: ${String(error)}`);
      }
    }
  });
  return failed;
}

async function pendingActivities(client: Client, workflowId: string) {
  try {
    return (await client.workflow.getHandle(workflowId).describe()).raw.pendingActivities ?? [];
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return [];
    throw error;
  }
}

/** Git that a dead worker had started ends by itself, for nobody reads it any more; this is how long that may take. */
const GIT_ENDS_MS = 20_000;

/** What git was doing for a dead worker is waited for; then no lock file in a mirror has an owner. */
async function clearLocks(host: Host): Promise<void> {
  const ours = gitMarker(host.home);
  const end = Date.now() + GIT_ENDS_MS;
  while (
    Date.now() < end &&
    markedProcesses((marker) => marker === ours).some(({ pid }) => pid !== process.pid)
  ) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  for (const { dir } of host.mirrors.values()) {
    const names = await readdir(dir, { recursive: true }).catch(() => []);
    const stale = names.filter(
      (name) => !name.startsWith('objects') && (name.endsWith('.lock') || name.startsWith(SCRATCH)),
    );
    for (const name of stale) {
      host.log(`removing ${name}, left in the mirror by a worker that died`);
      await rm(join(dir, name), { force: true });
    }
  }
}

/** The marker of a worker's own children, git above all. */
export const gitMarker = (home: string): string => join(home, 'worker');

/** Agents whose workstation has lost its record, and what verify and deploy commands of a dead worker left. */
async function endStrays(host: Host): Promise<void> {
  const stations = join(host.home, 'workstations') + sep;
  const known = new Set((await findRecords(host.home)).map(({ dir }) => dir));
  for (const { pid, marker } of markedProcesses((value) => value.startsWith(stations) && !known.has(value))) {
    host.log(`ending process ${pid}, left over from ${marker}`);
    await endTree(undefined, marker, 0);
  }
}
