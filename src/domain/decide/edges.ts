// Edges that are added to a live task: somebody found that it depends on another one. They count for whatever has not
// begun: a held task waits, a running attempt goes on, and its landing is not handed over before the upstream has come
// to its end. An edge that would close a circle is refused, for the task that it would be added to is live.

import { findCycle, pathBetween } from '../graph.js';
import { judgeGraph } from '../judge.js';
import type { Edge } from '../messages.js';
import { addTo, removeFrom, type State, type TaskRecord } from '../state.js';
import { note, record, type Taken, wakeExtenders } from '../transitions.js';
import { waitsForItself } from '../waits.js';
import { cancelTask } from './cancel.js';
import { handOff, mayHandOff, takerOf } from './handoff.js';
import { fail } from './retry.js';

/** The edges that a task came with. */
export const ownEdges = (edges: readonly Edge[]): Edge[] => edges.filter((edge) => !edge.added);

/** Takes over the edges that the task has been given since it was heard last. */
export function learnEdges(state: State, task: TaskRecord, edges: readonly Edge[], now: number): Taken[] {
  const added = edges.filter((edge) => edge.added);
  if (task.phase === 'ended' || (added.length === 0 && !task.refused)) return [];
  task.refused = task.refused?.filter((name) => added.some((edge) => edge.task === name)) ?? [];
  if (task.refused.length === 0) delete task.refused;
  const taken = added.flatMap((edge) => learnEdge(state, task, edge, now));
  if (task.refused) state.due.standings.add(task.id);
  return taken;
}

function learnEdge(state: State, task: TaskRecord, edge: Edge, now: number): Taken[] {
  const known = task.facts.after.some((other) => other.task === edge.task && other.until === edge.until);
  if (known || task.refused?.includes(edge.task)) return [];
  const upstream = edge.task;
  const circle = pathBetween(upstream, task.id, (id) => upstreamsOf(state, id));
  if (circle) {
    task.refused = [...(task.refused ?? []), upstream];
    return [note(state, task, 'EDGE_REFUSED', { upstream, text: [task.id, ...circle].join(' -> ') }, now)];
  }
  task.facts = { ...task.facts, after: [...task.facts.after, edge] };
  addTo(state.dependents, upstream, task.id);
  if (task.phase === 'held' || task.phase === 'landing') state.ready.add(task.id);
  const until = edge.until ?? (state.tasks.get(upstream)?.facts.role ? 'landed' : 'finished');
  return [
    note(state, task, 'EDGE_ADDED', { upstream, state: until, ...(edge.by ? { by: edge.by } : {}) }, now),
  ];
}

/** Nobody waits for the upstreams of a task that has ended. */
function upstreamsOf(state: State, id: string): string[] {
  const task = state.tasks.get(id);
  return task === undefined || task.phase === 'ended' ? [] : task.facts.after.map((edge) => edge.task);
}

/**
 * Plans are checked before they are submitted; tasks started one by one, and plans that name each other's tasks, can still
 * wait for each other in a circle. An edge that was added gives way; without one, all on the circle are cancelled.
 */
export function refuseCircle(state: State, task: TaskRecord, now: number): Taken[] {
  if (task.facts.after.length === 0 || !state.dependents.has(task.id)) return [];
  const taken: Taken[] = [];
  for (;;) {
    const circle = circleThrough(state, task);
    if (!circle) return taken;
    const given = circle.findIndex((id, i) => addedEdge(state, id, circle[i + 1]) !== undefined);
    const giver = state.tasks.get(circle[given] ?? '');
    const upstream = circle[given + 1];
    if (!giver || upstream === undefined) {
      const why = { code: 'GRAPH_CYCLE' as const, evidence: { text: circle.join(' -> ') } };
      const members = circle.slice(1).flatMap((id) => state.tasks.get(id) ?? []);
      return [...taken, ...members.flatMap((member) => cancelTask(state, member, why, now))];
    }
    giver.facts = { ...giver.facts, after: giver.facts.after.filter((edge) => edge.task !== upstream) };
    giver.refused = [...(giver.refused ?? []), upstream];
    removeFrom(state.dependents, upstream, giver.id);
    if (giver.phase === 'held' || giver.phase === 'landing') state.ready.add(giver.id);
    taken.push(note(state, giver, 'EDGE_REFUSED', { upstream, text: circle.join(' -> ') }, now));
    state.due.standings.add(giver.id);
  }
}

const addedEdge = (state: State, id: string, upstream: string | undefined): Edge | undefined => {
  const edges = state.tasks.get(id)?.facts.after.filter((edge) => edge.task === upstream) ?? [];
  return edges.every((edge) => edge.added) ? edges[0] : undefined;
};

function circleThrough(state: State, task: TaskRecord): string[] | undefined {
  const reach = new Map<string, string[]>();
  const queue = [task.id];
  for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
    if (reach.has(id)) continue;
    const upstreams = upstreamsOf(state, id);
    reach.set(id, upstreams);
    queue.push(...upstreams);
  }
  return findCycle(reach);
}

/** A landing that is not handed over yet is looked at again: it waits for the upstreams found meanwhile, claims pinned. */
export function settleLanding(state: State, task: TaskRecord, now: number): Taken[] {
  if (task.ordered || task.stop) return [];
  const verdict = judgeGraph(state, task);
  if (!verdict || !('hold' in verdict)) {
    task.blocked = undefined;
    state.blocked.delete(task.id);
    if (verdict && 'cancel' in verdict) return cancelTask(state, task, verdict.cancel, now);
    const taker = task.result && mayHandOff(state, task) ? takerOf(state, task) : undefined;
    if (taker && task.result) return handOff(state, task, taker.id, task.result, now);
    if (task.facts.role) state.due.orders.add(task.facts.role);
    return [];
  }
  const unknown = verdict.hold.code === 'UPSTREAM_UNKNOWN';
  const { evidence } = verdict.hold;
  const before = task.blocked;
  if (before?.unknown === unknown && before.evidence.upstream === evidence.upstream) return [];
  task.blocked = { code: 'LANDING_BLOCKED', evidence, since: now, unknown };
  state.blocked.add(task.id);
  wakeExtenders(state, `holder:${task.id}`);
  if (unknown) {
    state.deadlines.push({ at: now + state.rules.planTimeout, kind: 'upstream', id: task.id });
    lookUpUpstreams(state, task);
  }
  return [record(state, task, 'hold', 'LANDING_BLOCKED', evidence, now)];
}

/** A landing whose upstream cannot go on without its claims gives them up; its commits are kept, and it is tried again. */
export function untangle(state: State, now: number): Taken[] {
  for (const id of state.blocked) {
    const task = state.tasks.get(id);
    const upstream = task && waitsForItself(state, task);
    if (task && upstream)
      return fail(state, task, 'UPSTREAM_NEEDS_CLAIM', { upstream, holder: id }, false, true, now);
  }
  return [];
}

/** All of them at once: each may have ended before this coordinator began, or have been forgotten since. */
export function lookUpUpstreams(state: State, task: TaskRecord): void {
  for (const { task: upstream } of task.facts.after)
    if (!state.tasks.has(upstream)) state.due.lookups.add(upstream);
}
