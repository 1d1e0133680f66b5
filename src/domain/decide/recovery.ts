// A coordinator that starts without state: nothing is granted until all that is alive has been heard of or its time is
// over. What had ended before is looked up in Temporal, and in the change packets.

import { inheritCircuits } from '../circuits.js';
import type { Outcome } from '../messages.js';
import { indexTask, newRecord, type OpenCircuit, type State } from '../state.js';
import { type Taken, wake, wakeDependents } from '../transitions.js';
import { completePlan, PLAN } from './plans.js';

/** A survey of Temporal: tasks and writers (`writer:role`) that are alive. `last`: no further one is coming. */
export interface Survey {
  kind: 'surveyed';
  live: string[];
  last: boolean;
  /** There was a coordinator before this one, whose state is lost. */
  before?: boolean;
  /** Circuits that were open there. */
  circuits?: [string, OpenCircuit][];
}

/** Looked up in Temporal and in the change packets: outcomes of tasks and how many tasks of a plan were ever started. */
export interface Found {
  kind: 'found';
  outcomes: { task: string; outcome: Outcome }[];
  plans: { plan: string; count: number }[];
}

export function onSurvey(
  state: State,
  { live, last, before = false, circuits = [] }: Survey,
  now: number,
): Taken[] {
  const { recovery } = state;
  if (!recovery) return [];
  if (before) state.blindUntil ??= now;
  inheritCircuits(state, circuits);
  const heardOf = (name: string) =>
    name.startsWith('writer:') ? state.roles.has(name.slice('writer:'.length)) : state.tasks.has(name);
  recovery.awaiting = [...new Set([...recovery.awaiting, ...live])].filter((name) => !heardOf(name));
  recovery.live = [...new Set([...recovery.live, ...live])];
  if (live.length > 0) lookBack(state);
  recovery.surveyed ||= last;
  endRecovery(state);
  return [];
}

export function heard(state: State, name: string): void {
  const { recovery } = state;
  if (!recovery) return;
  recovery.awaiting = recovery.awaiting.filter((other) => other !== name);
  endRecovery(state);
}

/** Something was there before this coordinator: what it does not know may have ended, and has to be looked up. */
function lookBack(state: State): void {
  state.recovered = true;
  for (const plan of state.plans.values())
    if (!plan.complete && (plan.size ?? 1) > 1) state.due.lookups.add(PLAN + plan.id);
}

function endRecovery(state: State): void {
  const { recovery } = state;
  if (!recovery?.surveyed || recovery.awaiting.length > 0) return;
  delete state.recovery;
  // Landings of an earlier coordinator's, see handoff.ts.
  for (const role of state.landing.keys()) state.due.orders.add(role);
  wake(state, 'recovery');
}

/** An agent lives whose task has not announced itself: however long its lease is, nothing is granted before it is over. */
export function awaitLonger(state: State, task: string, now: number): void {
  const { recovery } = state;
  if (!recovery?.awaiting.includes(task)) return;
  recovery.until = Math.max(recovery.until, now + state.rules.lease);
}

/** Whoever has not announced itself by now is not waited for any longer. */
export function expireRecovery(state: State, now: number): void {
  if (!state.recovery) return;
  if (state.recovery.until > now) {
    state.deadlines.push({ at: state.recovery.until, kind: 'recovery', id: '' });
    return;
  }
  if (!state.recovery.surveyed) state.blindUntil ??= now;
  state.recovery.awaiting = [];
  state.recovery.surveyed = true;
  lookBack(state);
  endRecovery(state);
}

export function onFound(state: State, event: Found, now: number): Taken[] {
  for (const { plan: id, count } of event.plans) {
    const plan = state.plans.get(id);
    if (!plan) continue;
    plan.lookedUp = Math.max(plan.lookedUp, count);
    completePlan(state, id, false);
  }
  for (const { task, outcome } of event.outcomes) {
    if (state.tasks.has(task)) continue;
    const record = newRecord(
      {
        id: task,
        kind: 'task',
        life: '',
        plan: { id: task.slice(0, task.indexOf('/')) },
        facts: { writes: [], reads: [], after: [] },
        repository: state.rules.defaultRepository,
        phase: 'ended',
        gone: true,
        outcome,
      },
      undefined,
      now,
    );
    indexTask(state, record);
    wakeDependents(state, task);
  }
  return [];
}
