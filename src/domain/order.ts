// Whom to run first among those that may: the longer chain of tasks behind it and the hotter its contended paths, both
// together (critical-path list scheduling, and the same for what a path still has to serve), then the higher priority, then
// who has waited longer.
//
// What is known about a chain or a path changes with nearly every event, so the order of those that wait for a slot is
// kept as it was when each was last looked at: a heap per kind of slot whose top is looked at anew when it is taken, and
// which is made anew once as much has changed as half of them.

import type { Heap } from './heap.js';
import type { Place } from './line.js';
import { lineUp, placeOf, type State, type TaskRecord } from './state.js';

/** So few that wait for slots are always in exact order. */
const ALWAYS_EXACT = 32;

/** Both in tasks: how many have to run one after the other until what waits behind this one is done. */
export const scoreOf = (state: State, task: TaskRecord): number =>
  (task.chain ?? 1) + state.demand.heat(task.id);

export const rank = (state: State, task: TaskRecord): Place => placeOf(task, scoreOf(state, task));

// ---- chains

const upstreamsOf = (state: State, task: TaskRecord): TaskRecord[] =>
  task.facts.after.flatMap((edge) => {
    const upstream = state.tasks.get(edge.task);
    return upstream && upstream.phase !== 'ended' ? upstream : [];
  });

/** Who waits for a task may have come before it. */
function chainBehind(state: State, task: TaskRecord): number {
  let chain = task.chain ?? 1;
  for (const id of state.dependents.get(task.id) ?? []) {
    const dependent = state.tasks.get(id);
    if (dependent && dependent.phase !== 'ended') chain = Math.max(chain, (dependent.chain ?? 1) + 1);
  }
  return chain;
}

/** More may wait for a task than was known: so for its upstreams, and theirs. Circles were refused before. */
export function lengthen(state: State, task: TaskRecord): void {
  if (task.phase === 'ended') return;
  setChain(task, chainBehind(state, task));
  const stack = [task];
  for (let top = stack.pop(); top; top = stack.pop()) {
    const chain = (top.chain ?? 1) + 1;
    for (const upstream of upstreamsOf(state, top)) {
      if ((upstream.chain ?? 1) >= chain || chain > state.tasks.size) continue;
      setChain(upstream, chain);
      stack.push(upstream);
    }
  }
}

function setChain(task: TaskRecord, chain: number): void {
  if (chain > 1) task.chain = chain;
}

/** All chains of a plan that has arrived, each task once: from those that nobody of the plan waits for, upwards. */
export function lengthenPlan(state: State, plan: string): void {
  const members = new Map<TaskRecord, number>();
  for (const id of state.unended.get(plan) ?? []) {
    const task = state.tasks.get(id);
    if (!task) continue;
    setChain(task, chainBehind(state, task));
    members.set(task, 0);
  }
  for (const task of members.keys())
    for (const upstream of upstreamsOf(state, task)) {
      const waiting = members.get(upstream);
      if (waiting !== undefined) members.set(upstream, waiting + 1);
    }
  const open = [...members].flatMap(([task, waiting]) => (waiting === 0 ? task : []));
  for (let task = open.pop(); task; task = open.pop()) {
    const chain = (task.chain ?? 1) + 1;
    for (const upstream of upstreamsOf(state, task)) {
      const waiting = members.get(upstream);
      if (waiting === undefined) {
        lengthen(state, upstream);
        continue;
      }
      setChain(upstream, Math.max(upstream.chain ?? 1, chain));
      members.set(upstream, waiting - 1);
      if (waiting === 1) open.push(upstream);
    }
  }
}

// ---- who waits for a slot

/** The first of each line of those that wait for the same slots. */
export function* firstInLines(state: State): Iterable<TaskRecord> {
  if (state.lines.size === 0) return;
  straighten(state);
  for (const [key, line] of state.lines) {
    const first = firstIn(state, line);
    if (first) yield first;
    else state.lines.delete(key);
  }
}

function firstIn(state: State, line: Heap<Place>): TaskRecord | undefined {
  for (let first = line.first; first; first = line.first) {
    const task = state.tasks.get(first.id);
    const hold = task?.hold;
    const valid = hold?.turn === first.turn && hold.score === first.score;
    const score = task && valid ? scoreOf(state, task) : 0;
    if (task && valid && score >= first.score) return task;
    line.pop();
    if (task && valid) lineUp(state, task, score);
  }
  return undefined;
}

/** Looks at all of them anew once the order has drifted too far. */
function straighten(state: State): void {
  let waiting = 0;
  for (const key of state.lines.keys()) waiting += state.watchers.get(key)?.size ?? 0;
  if (state.drift <= Math.max(0, (waiting - ALWAYS_EXACT) / 2)) return;
  state.drift = 0;
  for (const [key, line] of state.lines) {
    line.clear();
    for (const id of state.watchers.get(key) ?? []) {
      const task = state.tasks.get(id);
      if (task) lineUp(state, task, scoreOf(state, task));
    }
  }
}
