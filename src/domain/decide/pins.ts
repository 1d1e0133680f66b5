// A lease runs while an agent should be alive. Between two attempts and while a task lands its claims are pinned
// instead, each for a time of its own: over it, a waiting task gives its claims back and asks for them again, and a
// landing is withdrawn through the ledger and the task is tried again.

import { frozenBy } from '../frozen.js';
import type { State, TaskRecord } from '../state.js';
import { freeAt, landingOnHold, pin, record, release, type Taken } from '../transitions.js';
import { fail } from './retry.js';

export function expirePin(state: State, task: TaskRecord, pinnedUntil: number, now: number): Taken[] {
  if (!task.holds) return [];
  if (pinnedUntil > now) {
    pin(state, task, pinnedUntil);
    return [];
  }
  if (task.phase === 'landing') return expireLanding(state, task, now);
  return task.phase === 'backoff' || task.phase === 'held' ? giveUp(state, task, now) : [];
}

/** An agent of it that was not seen to end keeps the claims pinned until its own lease is over. */
function giveUp(state: State, task: TaskRecord, now: number): Taken[] {
  const free = freeAt(state, task);
  if (free > now) {
    pin(state, task, free);
    return [];
  }
  release(state, task);
  if (task.phase === 'held') state.ready.add(task.id);
  return [record(state, task, 'hold', 'PIN_EXPIRED', { within: state.rules.pinned.backoff }, now)];
}

/** A landing's time counts while it is the first of its role: who queues, or waits for a person, is not late. */
function expireLanding(state: State, task: TaskRecord, now: number): Taken[] {
  const role = task.facts.role ?? '';
  const { landing: limit } = state.rules.pinned;
  // The writer is asked already: what it says comes from the ledger, and is waited for.
  if (task.stop) return [];
  const known = state.roles.get(role);
  const first = Math.max(task.since, known?.settledAt ?? 0);
  const waits = frozenBy(state, role) !== undefined || standsBack(state, task) || !isFirst(state, task, role);
  if (waits || first + limit > now) {
    pin(state, task, waits ? now + limit : first + limit);
    return [];
  }
  const evidence = { within: limit };
  if (!task.ordered) return fail(state, task, 'LANDING_OVERDUE', evidence, false, true, now);
  task.stop = { verdict: 'retry', code: 'LANDING_OVERDUE', evidence };
  state.due.orders.add(role);
  return [record(state, task, 'retry', 'LANDING_OVERDUE', evidence, now)];
}

/** Not handed over, because of its issue or of an upstream found meanwhile. */
const standsBack = (state: State, task: TaskRecord): boolean =>
  task.blocked !== undefined || landingOnHold(state, task);

function isFirst(state: State, task: TaskRecord, role: string): boolean {
  for (const id of state.landing.get(role) ?? []) {
    const other = state.tasks.get(id);
    if (!other || standsBack(state, other)) continue;
    if ((other.since - task.since || other.arrived - task.arrived) < 0) return false;
  }
  return true;
}
