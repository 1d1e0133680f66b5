// No task starves: once the one that has waited longest is past an age, it gets the next slot, and whoever comes from then
// on no longer overtakes it on its paths. Those that were there before may: they are finitely many, and to keep a hot path
// idle for a task of a thousand paths costs all of them. One at a time: whoever does not want its paths overtakes freely
// (as EASY backfill does for one job).

import type { ClaimIndex } from './claim-index.js';
import { frozenBy } from './frozen.js';
import type { ReasonCode } from './reasons.js';
import { claimIndexOf, patternsOf, placeOf, type State, type TaskRecord } from './state.js';
import { endReservation } from './transitions.js';

/** Held by what others hold, so in time it runs: whoever waits for anything else is not waiting its turn. */
const WAITING: ReadonlySet<ReasonCode> = new Set([
  'PATH_HELD',
  'PATHS_RESTING',
  'PATH_RESERVED',
  'RESOURCE_HELD',
  'ROLE_LIMIT',
  'KIND_LIMIT',
  'CEILING_REACHED',
]);

export const waitsItsTurn = (task: TaskRecord): boolean =>
  task.phase === 'held' && task.hold !== undefined && WAITING.has(task.hold.code);

export interface Reservation {
  task: TaskRecord;
  /** What is kept free for it. */
  claims: ClaimIndex;
  /** From those that came then or later. */
  from: number;
}

/** For whom paths are kept free at this moment: the oldest waiter, if that is past the age. */
export function reservationAt(state: State, now: number): Reservation | undefined {
  const task = oldestWaiter(state);
  const from = (task?.waits?.since ?? Number.POSITIVE_INFINITY) + state.rules.reserveAfter;
  if (!task || from > now || isFrozen(state, task)) return undefined;
  const { writes } = task.facts;
  if (
    state.reserved?.task !== task ||
    state.reserved.writes !== writes ||
    state.reserved.repository !== task.repository
  ) {
    const claims = claimIndexOf(state.rules);
    claims.add(task.id, task.repository, patternsOf(state, task));
    state.reserved = { task, claims, from, writes, repository: task.repository };
  }
  return { ...state.reserved, from };
}

function oldestWaiter(state: State): TaskRecord | undefined {
  const { waiters } = state;
  for (let first = waiters.first; first; first = waiters.first) {
    const task = state.tasks.get(first.id);
    if (task?.waits?.turn === first.age && waitsItsTurn(task)) return task;
    waiters.pop();
  }
  return undefined;
}

/** Nothing is kept free for one that would not be granted it; a freeze keeps no person off. */
const isFrozen = (state: State, { kind, facts }: TaskRecord): boolean =>
  kind === 'task' && frozenBy(state, facts.role) !== undefined;

/** Something was frozen: if that was the one for whom paths are kept free, others may have them. */
export function endFrozenReservation(state: State): void {
  const oldest = oldestWaiter(state);
  if (oldest && isFrozen(state, oldest)) endReservation(state, oldest);
}

/** It waits its turn from now on, or does so again: then it may be older than the one for whom paths were kept free. */
export function waitsFrom(state: State, task: TaskRecord, now: number): void {
  const { waits } = task;
  task.waits ??= { since: now, turn: ++state.turns };
  const oldest = waits && oldestWaiter(state);
  state.waiters.push(placeOf(task, 0));
  if (oldest && oldestWaiter(state) !== oldest) endReservation(state, oldest);
}
