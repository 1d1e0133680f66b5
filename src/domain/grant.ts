// In which order held tasks are looked at, and what follows. Each held task watches the one thing that stands in its
// way; when that changes, and only then, it is looked at again. So a task that nothing holds overtakes freely.

import { isEarly } from './busy.js';
import { askFor, settleFor } from './decide/assume.js';
import { lookUpUpstreams, settleLanding, untangle } from './decide/edges.js';
import { Heap } from './heap.js';
import { judge, judgeLimits, NO_SLOT } from './judge.js';
import { goesFirst, type Place } from './line.js';
import { firstInLines, rank, scoreOf } from './order.js';
import type { Evidence } from './reasons.js';
import { reservationAt, waitsFrom, waitsItsTurn } from './reservation.js';
import { lineUp, placeOf, type State, type TaskRecord } from './state.js';
import {
  end,
  endReservation,
  freeAt,
  grant,
  letGo,
  record,
  release,
  type Taken,
  watch,
} from './transitions.js';
import { waitsForOthers } from './waits.js';

/**
 * Decides every task that has to be looked at, and hands out free slots, until nothing changes any more: always the one
 * that goes first among both, so that a newcomer takes no slot from one that has waited and goes before it.
 */
export function settle(state: State, now: number): Taken[] {
  const taken: Taken[] = [];
  if (state.ready.size === 0 && state.lines.size === 0 && state.blocked.size === 0) return taken;
  const contenders = new Heap<Place>(goesFirst);
  for (;;) {
    enter(state, contenders, now);
    const next = first(state, contenders, now);
    if (next?.phase === 'held') taken.push(...settleOne(state, next, now));
    else if (next?.phase === 'landing') taken.push(...settleLanding(state, next, now));
    else if (!next) {
      const untangled = untangle(state, now);
      if (untangled.length === 0) return taken;
      taken.push(...untangled);
    }
  }
}

function enter(state: State, contenders: Heap<Place>, now: number): void {
  if (state.ready.size === 0) return;
  // Alone, with nobody in line, it need not be compared.
  const alone = state.ready.size === 1 && contenders.size === 0 && state.lines.size === 0;
  const reserved = alone ? undefined : reservationAt(state, now)?.task;
  for (const id of state.ready) {
    const task = state.tasks.get(id);
    if (!task) continue;
    if (alone) contenders.push(placeOf(task, 0));
    else contenders.push(task === reserved ? placeOf(task, Number.POSITIVE_INFINITY) : rank(state, task));
  }
  state.ready.clear();
}

function first(state: State, contenders: Heap<Place>, now: number): TaskRecord | undefined {
  const contender = contenders.first;
  const waiter = firstForSlot(state, now);
  if (waiter && (!contender || goesFirst(waiter, contender))) return state.tasks.get(waiter.id);
  contenders.pop();
  return contender && state.tasks.get(contender.id);
}

/** Of those in line for a slot: the one that goes first of all that would get one, or that waits for something else by now. */
function firstForSlot(state: State, now: number): Place | undefined {
  if (state.lines.size === 0 || state.running.size >= state.rules.ceiling) return undefined;
  const free = (task: TaskRecord): boolean => {
    const verdict = judgeLimits(state, task, now);
    return !verdict || !('hold' in verdict) || !NO_SLOT.has(verdict.hold.code);
  };
  const reserved = reservationAt(state, now)?.task;
  if (reserved?.hold && NO_SLOT.has(reserved.hold.code) && free(reserved))
    return placeOf(reserved, Number.POSITIVE_INFINITY);
  let best: Place | undefined;
  for (const task of firstInLines(state)) {
    if (!free(task)) continue;
    const place = placeOf(task, task.hold?.score ?? 0);
    if (!best || goesFirst(place, best)) best = place;
  }
  return best;
}

function settleOne(state: State, task: TaskRecord, now: number): Taken[] {
  if (task.wanted && freeAt(state, task) <= now) release(state, task);
  const verdict = judge(state, task, now);
  if ('run' in verdict) return [...settleFor(state, task, now), grant(state, task, now)];
  if ('cancel' in verdict) {
    const { code, evidence } = verdict.cancel;
    return [end(state, task, { kind: 'cancelled', code }, evidence, true, now)];
  }
  if ('fail' in verdict) {
    const { code, evidence } = verdict.fail;
    return [end(state, task, { kind: 'failed', code }, evidence, true, now)];
  }
  const { code, evidence, on, until } = verdict.hold;
  if (task.facts.ifBusy === 'fail' && !isEarly(code)) task.wasFree = true;
  if (task.holds && waitsForOthers(code)) letGo(state, task, now);
  const before = task.hold;
  const waited = waitsItsTurn(task);
  const turn = watch(state, task, on);
  const timed = until === undefined ? {} : { until };
  if (until !== undefined && until !== before?.until)
    state.deadlines.push({ at: until, kind: 'wake', id: on });
  const changed = before?.code !== code;
  const same = before !== undefined && !changed && sameEvidence(before.evidence, evidence);
  const since = changed || before === undefined ? now : before.since;
  task.hold = { code, evidence: same ? before.evidence : evidence, on, turn, since, ...timed };
  takePlace(state, task, waited, now);
  if (same) return [];
  if (code === 'UPSTREAM_UNKNOWN') {
    if (changed) state.deadlines.push({ at: now + state.rules.planTimeout, kind: 'upstream', id: task.id });
    lookUpUpstreams(state, task);
  }
  if (code === 'ASSUMPTIONS_UNCHECKED' && evidence.text === undefined) askFor(state, task);
  const unheard = !state.due.standings.has(task.id);
  const taken = record(state, task, 'hold', code, evidence, now);
  // A hold changes nothing for a task: unless it has asked, it is told with others, should it last. A person looks on.
  if (unheard && task.kind === 'task') {
    state.due.standings.delete(task.id);
    state.due.lazy.add(task.id);
  }
  return [taken];
}

/** Among those that wait their turn, and in line if it is a slot that it waits for. */
function takePlace(state: State, task: TaskRecord, waited: boolean, now: number): void {
  const waits = waitsItsTurn(task);
  if (waits && !waited) waitsFrom(state, task, now);
  if (waited && !waits) endReservation(state, task);
  if (task.hold && NO_SLOT.has(task.hold.code)) lineUp(state, task, scoreOf(state, task));
}

function sameEvidence(a: Evidence, b: Evidence): boolean {
  return a.holder === b.holder && JSON.stringify(a) === JSON.stringify(b);
}
