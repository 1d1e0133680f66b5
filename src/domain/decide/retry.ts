// Whether a failed attempt is followed by another one, and after what wait. An attempt that failed through no fault of
// the agent is excused: the next one comes at once and is not counted.

import type { Evidence, ReasonCode } from '../reasons.js';
import type { State, TaskRecord } from '../state.js';
import { end, leave, lostSight, pin, record, type Taken } from '../transitions.js';

/** What is not the agent's failure does not use up its attempts, up to so many times. */
const EXCUSED: ReadonlySet<ReasonCode> = new Set([
  'LANDING_CONFLICT',
  'LANDING_OVERDUE',
  'WORKER_LOST',
  'CLAIM_LOST',
  'CLAIM_EXPIRED',
  'STOP_FORGOTTEN',
  'EXTENSION_RETRIED',
  'UPSTREAM_NEEDS_CLAIM',
  'ASSUMPTION_BROKEN',
  'READS_CHANGED',
]);
const MOST_EXCUSED = 10;

/** An attempt failed: another one after a wait, as long as there are any left. The claims stay pinned meanwhile. */
export function fail(
  state: State,
  task: TaskRecord,
  code: ReasonCode,
  evidence: Evidence,
  final: boolean,
  dead: boolean,
  now: number,
): Taken[] {
  const rule = { ...state.rules.retry, ...task.facts.retry };
  const excused = EXCUSED.has(code) && task.excused < MOST_EXCUSED;
  const failures = task.attempt - task.excused;
  if (final || (!excused && failures >= rule.attempts)) {
    return [end(state, task, { kind: 'failed', code }, evidence, dead, now)];
  }
  if (excused) task.excused += 1;
  if (!dead) lostSight(task, now);
  const wait = excused ? 0 : Math.min(rule.backoff * 2 ** (failures - 1), rule.maxBackoff);
  leave(state, task);
  task.stop = undefined;
  task.phase = 'backoff';
  task.since = now;
  task.backoffUntil = now + wait;
  pin(state, task, now + state.rules.pinned.backoff);
  state.deadlines.push({ at: task.backoffUntil, kind: 'backoff', id: task.id });
  const taken = record(
    state,
    task,
    'retry',
    code,
    { ...evidence, duration: wait, attempt: task.attempt + 1 },
    now,
  );
  task.attempt += 1;
  return [taken];
}
