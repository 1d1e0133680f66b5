// What ran beside a task while it held claims or ran, and why that was safe: each grant writes it down, for the packet of
// the one and of the others. A list that is full is never written again. So where very many run, all that are granted
// share one list, until somebody in it leaves: a grant costs what is new in it, not how many run.

import type { Beside, Evidence } from './reasons.js';
import type { FirstRunning, State, TaskRecord } from './state.js';

const KEPT = 200;
/** Those that the decision itself names. */
const NAMED = 20;

/** `first`: the task was never granted before, so its list is empty and no other has it in its own. */
export function besideEvidence(state: State, task: TaskRecord, first: boolean): Evidence {
  const full = first && state.running.size >= KEPT;
  const beside = full ? shareList(state, task) : listOthers(state, task, first);
  for (const id of state.besideOpen) {
    const other = state.tasks.get(id);
    const live = other?.phase === 'running' || other?.phase === 'stopping' || other?.phase === 'landing';
    if (other && live && other.beside.length < KEPT) {
      if (other !== task) remember(other, task.id, first);
    } else state.besideOpen.delete(id);
  }
  let all = state.running.size - (state.running.has(task.id) ? 1 : 0);
  for (const landing of state.landing.values()) all += landing.size;
  return { beside, ...(all > beside.length ? { besideMore: all - beside.length } : {}) };
}

function listOthers(state: State, task: TaskRecord, first: boolean): Beside[] {
  const ids = firstOthers(state, task);
  if (first) task.beside = ids;
  else for (const id of ids) remember(task, id, first);
  return ids.slice(0, NAMED).map((id) => ({ task: id, why: whyBeside(task, state.tasks.get(id)) }));
}

/** Of the others that run or land, as many as a list holds. */
function firstOthers(state: State, task: TaskRecord): string[] {
  const first: string[] = [];
  for (const ids of [state.running, ...state.landing.values()])
    for (const id of ids) {
      if (first.length === KEPT) return first;
      if (id !== task.id) first.push(id);
    }
  return first;
}

const remember = (task: TaskRecord, other: string, first: boolean) => {
  if (task.beside.length < KEPT && (first || !task.beside.includes(other))) task.beside.push(other);
};

function shareList(state: State, task: TaskRecord): Beside[] {
  state.firstRunning ??= firstRunning(state, task);
  const { ids, named } = state.firstRunning;
  task.beside = ids;
  const safe = ids.slice(0, NAMED).map((id) => whyBeside(task, state.tasks.get(id)));
  if (named.length < NAMED || safe.some((why, i) => why !== named[i]?.why))
    state.firstRunning.named = safe.map((why, i) => ({ task: ids[i] ?? '', why }));
  return state.firstRunning.named;
}

function firstRunning(state: State, task: TaskRecord): FirstRunning {
  const ids = firstOthers(state, task);
  return { ids, members: new Set(ids), named: [] };
}

/** Claims are never shared; what is known no longer was a writer like any other. */
export function whyBeside(a: TaskRecord, b: TaskRecord | undefined): Beside['why'] {
  if (!b) return 'disjoint claims';
  const shared = a.facts.uses?.some((use) => b.facts.uses?.some(({ resource }) => resource === use.resource));
  if (shared) return 'a resource with room for both';
  return a.facts.writes.length > 0 && b.facts.writes.length > 0 ? 'disjoint claims' : 'read-only';
}
