// A lease runs while an agent should be alive. Between two attempts and while a task lands its claims are pinned
// instead, each for a time of its own: over it, a waiting task gives its claims back and asks for them again, and a
// landing is withdrawn through the ledger and the task is tried again.

import { frozenBy } from '../frozen.js';
import type { State, TaskRecord } from '../state.js';
import { freeAt, landingOnHold, pin, record, release, type Taken } from '../transitions.js';

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

/**
 * A landing's time counts while its writer has it and it is the first of its role. Who queues, waits to be handed over,
 * or is frozen, is not late, and its time begins anew when the wait is over.
 */
function expireLanding(state: State, task: TaskRecord, now: number): Taken[] {
  const role = task.facts.role ?? '';
  const { landing: limit } = state.rules.pinned;
  // The writer is asked already: what it says comes from the ledger, and is waited for.
  if (task.stop) return [];
  const known = state.roles.get(role);
  const first = Math.max(task.since, known?.settledAt ?? 0);
  const waits = !task.ordered || frozenBy(state, role) !== undefined || !isFirst(state, task, role);
  if (waits || first + limit > now) {
    pin(state, task, waits ? now + limit : first + limit);
    return [];
  }
  const evidence = { within: limit };
  task.stop = { verdict: 'retry', code: 'LANDING_OVERDUE', evidence };
  state.due.orders.add(role);
  return [record(state, task, 'retry', 'LANDING_OVERDUE', evidence, now)];
}

function isFirst(state: State, task: TaskRecord, role: string): boolean {
  for (const id of state.landing.get(role) ?? []) {
    const other = state.tasks.get(id);
    if (!other || landingOnHold(state, other)) continue;
    if ((other.since - task.since || other.arrived - task.arrived) < 0) return false;
  }
  return true;
}
