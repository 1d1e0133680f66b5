// Where an attempt runs: on the host that has its task's clone, when that takes it soon; else on any that has room.

import {
  ActivityCancellationType,
  ActivityFailure,
  proxyActivities,
  TimeoutFailure,
} from '@temporalio/workflow';
import type { TaskActivities } from '../activities/index.js';
import type { AttemptEnd, AttemptInput } from '../activities/reports.js';
import { hostQueue } from '../src/domain/ids.js';
import type { AttemptRecord } from '../src/domain/packet.js';

/** A host that has not taken its attempt by then is gone, or full; the lease runs. Milliseconds. */
const PATIENCE_MS = 15_000;
/** And never more than this part of the lease. */
const PATIENCE_SHARE = 0.1;
const LEAST_PATIENCE_MS = 200;

const OPTIONS = {
  // The activity keeps the task's own timeout; death of its worker shows in the heartbeat.
  startToCloseTimeout: '30 days',
  heartbeatTimeout: '30s',
  retry: { maximumAttempts: 1 },
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
} as const;

export async function runAttempt(
  fleet: string,
  input: AttemptInput,
  earlier: readonly AttemptRecord[],
): Promise<AttemptEnd> {
  // Not one that was handed back by a host without room; after one that was lost with its host, any will do.
  const last = earlier.findLast(({ isolation, host }) => isolation !== undefined || host === undefined);
  const summary = `attempt ${input.attempt} of ${input.task}`;
  if (!last?.cloneKept || last.host === undefined)
    return await proxyActivities<TaskActivities>({ ...OPTIONS, summary }).runAgent(input);
  const began = Date.now();
  try {
    return await proxyActivities<TaskActivities>({
      ...OPTIONS,
      summary: `${summary}, on ${last.host}`,
      taskQueue: hostQueue(fleet, last.host),
      scheduleToStartTimeout: Math.max(
        LEAST_PATIENCE_MS,
        Math.min(PATIENCE_MS, input.lease * PATIENCE_SHARE),
      ),
    }).runAgent(input);
  } catch (error) {
    if (!wasNotTaken(error)) throw error;
  }
  const waited = Date.now() - began;
  return await proxyActivities<TaskActivities>({ ...OPTIONS, summary }).runAgent({ ...input, waited });
}

/** It has begun nowhere. */
const wasNotTaken = (error: unknown): boolean =>
  error instanceof ActivityFailure &&
  error.cause instanceof TimeoutFailure &&
  error.cause.timeoutType === 'SCHEDULE_TO_START';
