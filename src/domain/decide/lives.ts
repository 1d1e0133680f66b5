// The lives of a task's workflow: one is over when its workflow is closed or when a retry or a reset has begun another.
// What is left of a former life stays on record under a name of its own, so that late words about it find it.

import { beganAt } from '../fence.js';
import { indexTask, issuesOf, removeFrom, type State, type TaskRecord } from '../state.js';
import { end, release, type Taken } from '../transitions.js';
import { cancelTask } from './cancel.js';
import { heard } from './recovery.js';

/** By another clock the coordinator before this one may have begun later: tasks would go on heeding that one. */
export function outgrow(state: State, heard = 0): void {
  if (heard > state.epoch) state.epoch = heard + 1;
}

/**
 * An earlier coordinator may still have a word on its way to this workflow: a grant, an outcome. Nothing is built on what
 * it says until it has heard of this coordinator, for from then on it ignores the earlier one.
 */
export const heedsAnother = (state: State, report: { life: string; epoch?: number }): boolean =>
  (report.epoch ?? 0) < state.epoch && beganAt(report.life) < state.epoch;

/** Its workflow is closed: nobody will speak for it again. An agent of it may still live. */
export function onGone(state: State, id: string, life: string | undefined, now: number): Taken[] {
  const task = state.tasks.get(id);
  heard(state, id);
  if (!task || (life !== undefined && life !== task.life)) return [];
  task.gone = true;
  state.due.standings.delete(id);
  state.due.lazy.delete(id);
  if (task.phase === 'ended') return [];
  const alive = task.phase === 'running' || task.phase === 'stopping';
  const why = { code: 'TERMINATED' as const, evidence: {} };
  // Whoever terminates a person's claim speaks for the person, who may not have heard of it yet: the paths rest.
  if (task.kind === 'hand' && task.holds) task.leaseUntil = now;
  if (!alive) return cancelTask(state, task, why, now);
  return [end(state, task, { kind: 'cancelled', code: why.code }, why.evidence, false, now)];
}

/** The earlier life is over. What is left of it, claims that rest or a landing under way, goes on under a name of its own. */
export function supersede(state: State, task: TaskRecord, now: number): Taken[] {
  const taken = task.phase === 'ended' ? [] : onGone(state, task.id, task.life, now);
  state.endedOrder.delete(task.id);
  removeFrom(state.unended, task.plan.id, task.id);
  state.demand.delete(task.id);
  const packet = state.due.packets.delete(task.id);
  if (task.holds || task.phase !== 'ended' || packet) {
    const rest = { ...task, id: pastId(task.id, task.life), plan: { id: `~${task.plan.id}` } };
    release(state, task);
    for (const edge of task.facts.after) removeFrom(state.dependents, edge.task, task.id);
    for (const issue of issuesOf(task)) removeFrom(state.byIssue, issue, task.id);
    for (const peer of task.facts.peers ?? []) removeFrom(state.lookers, peer.task, task.id);
    if (task.facts.role) removeFrom(state.landing, task.facts.role, task.id);
    state.concerned.delete(task.id);
    state.due.checks.delete(task.id);
    indexTask(state, rest);
    if (packet) state.due.packets.add(rest.id);
  }
  return taken;
}

const pastId = (id: string, life: string): string => `${id}~${life}`;

/** The task's record and what is left of its earlier lives. */
export function* livesOf(state: State, id: string): Iterable<TaskRecord> {
  const task = state.tasks.get(id);
  if (!task) return;
  yield task;
  for (const life of task.pastLives) {
    const rest = state.tasks.get(pastId(id, life));
    if (rest) yield rest;
  }
}
