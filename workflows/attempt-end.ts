// What the end of an attempt's activity says, however it came; and whether an attempt has to end.

import { ActivityFailure, ApplicationFailure, isCancellation, TimeoutFailure } from '@temporalio/workflow';
import type { StartFrom } from '../activities/attempt.js';
import { compareFences, type Fence } from '../src/domain/fence.js';
import type { Beat } from '../src/domain/log-reading.js';
import type { AttemptResult, Standing } from '../src/domain/messages.js';
import type { AttemptRecord } from '../src/domain/packet.js';

/** Whether the grant is withdrawn. A coordinator that is new and has not heard of it yet may say "held": it is not. */
export const isOver = ({ phase, fence: current }: Standing, fence: Fence): boolean =>
  phase === 'stopping' ||
  phase === 'ended' ||
  (phase === 'running' && current !== undefined && compareFences(current, fence) > 0);

/** What an attempt that was ended on demand leaves to the next one. */
export function workOf(result: AttemptResult): StartFrom | undefined {
  const work = result.kind === 'commits' ? result : result.kind === 'failed' ? result.kept : undefined;
  return work && { base: work.base, commit: work.commit };
}

/** The host of an attempt whose worker was lost: from its last sign of life, or from the worker that came after it. */
export function placeOf(error: unknown): Pick<AttemptRecord, 'host'> {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  const said =
    cause instanceof TimeoutFailure
      ? (cause.lastHeartbeatDetails as Partial<Beat> | undefined)?.host
      : cause instanceof ApplicationFailure && cause.type === 'WorkerDied'
        ? cause.details?.[0]
        : undefined;
  return typeof said === 'string' ? { host: said } : {};
}

/** What an activity's failure says about the attempt; whether its agent is known to be dead above all. */
export function resultOf(error: unknown): AttemptResult {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof TimeoutFailure)
    return { kind: 'failed', dead: false, code: 'WORKER_LOST', text: 'no sign of life from its worker' };
  if (isCancellation(error)) return { kind: 'failed', dead: true, code: 'CANCELLED_BY_REQUEST', text: '' };
  if (cause instanceof ApplicationFailure && cause.type === 'WorkerDied')
    return { kind: 'failed', dead: true, code: 'WORKER_LOST', text: cause.message };
  return {
    kind: 'failed',
    dead: false,
    code: 'WORKSTATION_FAILED',
    text: cause instanceof Error ? cause.message : String(cause),
  };
}
