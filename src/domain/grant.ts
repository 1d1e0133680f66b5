// In which order held tasks are looked at, and what follows. Each held task watches the one thing that stands in its
// way; when that changes, and only then, it is looked at again. So a task that nothing holds overtakes freely.

import { askFor, settleFor } from './decide/assume.js';
import { lookUpUpstreams, settleLanding, untangle } from './decide/edges.js';
import { judge } from './judge.js';
import { runningOfKind, type State, type TaskRecord } from './state.js';
import { end, grant, letGo, record, type Taken, watch } from './transitions.js';
import { waitsForOthers } from './waits.js';

/** Decides every task that has to be looked at, oldest first, until nothing changes any more. */
export function settle(state: State, now: number): Taken[] {
  const taken: Taken[] = [];
  for (;;) {
    const ids = state.ready.size > 0 ? [...state.ready] : slotWaiters(state);
    if (ids.length === 0) {
      const untangled = untangle(state, now);
      if (untangled.length === 0) return taken;
      taken.push(...untangled);
      continue;
    }
    state.ready.clear();
    const tasks = ids.flatMap((id) => state.tasks.get(id) ?? []).sort((a, b) => a.arrived - b.arrived);
    for (const task of tasks) {
      if (task.phase === 'held') taken.push(...settleOne(state, task, now));
      else if (task.phase === 'landing') taken.push(...settleLanding(state, task, now));
    }
  }
}

/** The longest-waiting task for a slot, while there is one: asked one by one, so that a free slot costs one look. */
function slotWaiters(state: State): string[] {
  if (state.running.size < state.rules.ceiling) {
    const first = state.watchers.get('ceiling')?.values().next().value;
    if (first !== undefined) return [first];
  }
  for (const [role, { maxRunning }] of Object.entries(state.rules.roles)) {
    if ((state.runningByRole.get(role) ?? 0) >= maxRunning) continue;
    const first = state.watchers.get(`slots:${role}`)?.values().next().value;
    if (first !== undefined) return [first];
  }
  for (const [kind, { maxRunning = Number.POSITIVE_INFINITY }] of Object.entries(state.rules.agents)) {
    if (!state.watchers.has(`kind:${kind}`) || runningOfKind(state, kind) >= maxRunning) continue;
    const first = state.watchers.get(`kind:${kind}`)?.values().next().value;
    if (first !== undefined) return [first];
  }
  return [];
}

function settleOne(state: State, task: TaskRecord, now: number): Taken[] {
  const verdict = judge(state, task, now);
  if ('run' in verdict) return [...settleFor(state, task, now), grant(state, task, now)];
  if ('cancel' in verdict) {
    const { code, evidence } = verdict.cancel;
    return [end(state, task, { kind: 'cancelled', code }, evidence, true, now)];
  }
  const { code, evidence, on, until } = verdict.hold;
  if (task.holds && waitsForOthers(code)) letGo(state, task, now);
  const before = task.hold;
  const turn = watch(state, task, on);
  const timed = until === undefined ? {} : { until };
  if (until !== undefined && until !== before?.until)
    state.deadlines.push({ at: until, kind: 'wake', id: on });
  const changed = before?.code !== code;
  if (before && !changed && JSON.stringify(before.evidence) === JSON.stringify(evidence)) {
    const { until: _, ...rest } = before;
    task.hold = { ...rest, on, turn, ...timed };
    return [];
  }
  const since = changed || before === undefined ? now : before.since;
  task.hold = { code, evidence, on, turn, since, ...timed };
  if (code === 'UPSTREAM_UNKNOWN') {
    if (changed) state.deadlines.push({ at: now + state.rules.planTimeout, kind: 'upstream', id: task.id });
    lookUpUpstreams(state, task);
  }
  if (code === 'ASSUMPTIONS_UNCHECKED' && evidence.text === undefined) askFor(state, task);
  const unheard = !state.due.standings.has(task.id);
  const taken = record(state, task, 'hold', code, evidence, now);
  // A hold changes nothing for the task: unless it has asked, it is told with others, should it last.
  if (unheard) {
    state.due.standings.delete(task.id);
    if (task.kind === 'task') state.due.lazy.add(task.id);
  }
  return [taken];
}
