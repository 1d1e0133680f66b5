// What happens because time has passed: leases and persons' claims run out, back-offs and rests end, whoever waited too
// long for an upstream or for a plan is cancelled. A deadline that has moved meanwhile is set anew.

import type { Deadline } from '../deadlines.js';
import type { State, TaskRecord } from '../state.js';
import { letGo, record, release, requeue, stop, type Taken, wake } from '../transitions.js';
import { waitsForOthers } from '../waits.js';
import { askAgain } from './assume.js';
import { cancelTask } from './cancel.js';
import { thaw } from './freezes.js';
import { expireHand } from './hands.js';
import { expirePin } from './pins.js';
import { expirePlan } from './plans.js';
import { expireRecovery } from './recovery.js';

export function expire(state: State, now: number): Taken[] {
  const taken: Taken[] = [];
  state.deadlines.sweep((deadline) => mayHold(state, deadline));
  for (let due = state.deadlines.take(now); due; due = state.deadlines.take(now)) {
    const { id, kind } = due;
    if (kind === 'recovery') {
      expireRecovery(state, now);
    } else if (kind === 'thaw') {
      taken.push(...thaw(state, id, now));
    } else if (kind === 'wake') {
      wake(state, id);
    } else if (kind === 'plan') {
      taken.push(...expirePlan(state, id, now));
    } else {
      const task = state.tasks.get(id);
      if (task) taken.push(...expireTask(state, task, kind, now));
    }
  }
  return taken;
}

const OF_TASKS: ReadonlySet<Deadline['kind']> = new Set([
  'lease',
  'hand',
  'backoff',
  'pin',
  'rest',
  'assume',
  'upstream',
]);

/** Of a task that has ended nothing is due but the rest of its claims. */
function mayHold(state: State, { kind, id }: Deadline): boolean {
  if (!OF_TASKS.has(kind)) return true;
  const task = state.tasks.get(id);
  return task !== undefined && (task.phase !== 'ended' || task.restUntil !== undefined);
}

function expireTask(state: State, task: TaskRecord, kind: string, now: number): Taken[] {
  const { deadlines } = state;
  if (kind === 'lease' && task.leaseUntil !== undefined)
    return expireLease(state, task, task.leaseUntil, now);
  if (kind === 'hand' && task.phase === 'running' && task.leaseUntil !== undefined) {
    if (task.leaseUntil <= now) return expireHand(state, task, now);
    deadlines.push({ at: task.leaseUntil, kind: 'hand', id: task.id });
  }
  if (kind === 'backoff' && task.phase === 'backoff' && (task.backoffUntil ?? 0) <= now)
    requeue(state, task, now);
  if (kind === 'pin' && task.pinnedUntil !== undefined) return expirePin(state, task, task.pinnedUntil, now);
  if (kind === 'rest' && task.phase === 'ended' && task.restUntil !== undefined && task.restUntil <= now)
    release(state, task);
  if (kind === 'assume' && (task.assumed?.againAt ?? Infinity) <= now) askAgain(state, task);
  if (kind === 'rest' && task.phase === 'held' && task.holds && task.hold && waitsForOthers(task.hold.code))
    letGo(state, task, now);
  const waits =
    task.hold?.code === 'UPSTREAM_UNKNOWN' ? task.hold : task.blocked?.unknown ? task.blocked : undefined;
  if (kind === 'upstream' && waits) {
    const at = waits.since + state.rules.planTimeout;
    if (at <= now)
      return cancelTask(state, task, { code: 'UPSTREAM_MISSING', evidence: waits.evidence }, now);
    deadlines.push({ at, kind: 'upstream', id: task.id });
  }
  return [];
}

/** The holder is stopped at the lease's end; if it is not heard of, its paths are free after the lock-delay. */
function expireLease(state: State, task: TaskRecord, leaseUntil: number, now: number): Taken[] {
  const { deadlines, rules } = state;
  if (leaseUntil > now) {
    deadlines.push({ at: leaseUntil, kind: 'lease', id: task.id });
    return [];
  }
  if (task.phase === 'running') {
    deadlines.push({ at: leaseUntil + rules.lockDelay, kind: 'lease', id: task.id });
    return [stop(state, task, 'retry', 'CLAIM_EXPIRED', {}, now)];
  }
  if (task.phase === 'stopping') {
    if (leaseUntil + rules.lockDelay <= now) return letLapse(state, task, now);
    deadlines.push({ at: leaseUntil + rules.lockDelay, kind: 'lease', id: task.id });
  }
  return [];
}

/** The claims of a task whose agent should have ended and was not heard of. Written down, unless that is why it was stopped. */
function letLapse(state: State, task: TaskRecord, now: number): Taken[] {
  const { stop: why, holds } = task;
  release(state, task);
  return holds && why && why.code !== 'CLAIM_EXPIRED'
    ? [record(state, task, why.verdict, 'CLAIM_EXPIRED', {}, now)]
    : [];
}
