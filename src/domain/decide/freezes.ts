// Freezes begin and end: the fleet's by a person's word, which its writers repeat to a coordinator that lost its state; a
// role's by what its writer says. Whatever waited is looked at again when one is over, and landings are handed over.

import { type FleetWord, type FreezeReport, isOver, kept, wordKept, wordTold } from '../freeze.js';
import { frozenBy, frozenKey } from '../frozen.js';
import { numberOf, UNNUMBERED } from '../messages.js';
import { endFrozenReservation } from '../reservation.js';
import type { RoleRecord, State } from '../state.js';
import { landingOnHold, record, restartLanding, type Taken, wake } from '../transitions.js';

/** The highest number counts; a word without one is the latest. */
export function onFleetWord(state: State, word: FleetWord, now: number): Taken[] {
  const known = state.fleetWord;
  const other = known?.number === word.number && word.freeze?.text !== known.freeze?.text;
  if (known?.own && (word.number > known.number || other)) {
    // An earlier coordinator gave that number: whatever people tell this one was said later.
    known.number = word.number + 1;
    for (const role of Object.keys(state.rules.roles)) state.due.orders.add(role);
    return [];
  }
  // Two earlier coordinators gave the same number: nobody knows which was the later, and a freeze hurts less.
  if (other) return onFleetWord(state, { ...wordTold(known, now), ...word, number: word.number + 1 }, now);
  // An earlier coordinator may have numbered one, which only writers know, up to the moment that this one began.
  const number = numberOf(word, known, Math.max(now, state.epoch + 1));
  if (known && number <= known.number) return [];
  state.fleetWord = wordKept({ ...word, number }, now);
  if (word.number === UNNUMBERED) state.fleetWord.own = true;
  const { freeze } = state.fleetWord;
  if (freeze?.until !== undefined) state.deadlines.push({ at: freeze.until, kind: 'thaw', id: '' });
  wake(state, frozenKey(''));
  endFrozenReservation(state);
  // Every writer keeps it, and hands over no landing meanwhile.
  for (const role of Object.keys(state.rules.roles)) state.due.orders.add(role);
  return known?.freeze && !freeze ? handOver(state, undefined, now) : [];
}

/** What the role's writer says of itself now. */
export function onRoleFreeze(
  state: State,
  role: string,
  { report, before }: { report: FreezeReport | undefined; before: RoleRecord['frozen'] },
  now: number,
): Taken[] {
  const record = state.roles.get(role);
  if (!record) return [];
  delete record.frozen;
  if (report && report.left !== 0) record.frozen = kept(report, now);
  const { frozen } = record;
  if (frozen?.until !== undefined) state.deadlines.push({ at: frozen.until, kind: 'thaw', id: role });
  if (frozen?.text !== before?.text || frozen?.by !== before?.by) wake(state, frozenKey(role));
  endFrozenReservation(state);
  return before && !frozen ? handOver(state, role, now) : [];
}

/** A freeze with an end is over by itself. `role` is empty for that of the fleet. */
export function thaw(state: State, role: string, now: number): Taken[] {
  const owner = role === '' ? state.fleetWord : state.roles.get(role);
  const freeze = owner && ('number' in owner ? owner.freeze : owner.frozen);
  if (!owner || !freeze || !isOver(freeze, now)) return [];
  if ('number' in owner) delete owner.freeze;
  else delete owner.frozen;
  wake(state, frozenKey(role));
  return handOver(state, role === '' ? undefined : role, now);
}

/** Landings of the role, or of all, that a freeze had kept back, those with the writer among them: none is late for it. */
function handOver(state: State, role: string | undefined, now: number): Taken[] {
  return [...state.landing].flatMap(([of, ids]) => {
    if ((role !== undefined && of !== role) || frozenBy(state, of)) return [];
    state.due.orders.add(of);
    return [...ids].flatMap((id) => {
      const task = state.tasks.get(id);
      if (task) restartLanding(state, task, now);
      const code = task?.decisions.at(-1)?.code;
      if (!task?.result || landingOnHold(state, task) || (code !== 'FLEET_FROZEN' && code !== 'ROLE_FROZEN'))
        return [];
      return [record(state, task, 'land', 'COMMITS_READY', { commit: task.result.commit }, now)];
    });
  });
}
