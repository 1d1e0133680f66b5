// Who waits for whom: the wait-for graph, which shows whether a landing or an extension that holds its claims while it
// waits stands in its own way (deadlock detection on a wait-for graph).

import { pathBetween } from './graph.js';
import type { ReasonCode } from './reasons.js';
import { patternsOf, type State, type TaskRecord } from './state.js';

const FOR_OTHERS: ReadonlySet<ReasonCode> = new Set([
  'UPSTREAM_PENDING',
  'UPSTREAM_UNKNOWN',
  'ASSUMPTION_BROKEN',
]);

/** Held until something else has happened, perhaps for long: it keeps no claims meanwhile, so nobody waits for it in turn. */
export const waitsForOthers = (code: ReasonCode): boolean => FOR_OTHERS.has(code);

const HOLDER = 'holder:';

/** Whom the task waits for at this moment. */
export function waitsFor(state: State, task: TaskRecord | undefined): string[] {
  const { hold, blocked, extension } = task ?? {};
  if (task?.phase === 'running' && extension?.answer === 'waiting')
    return (extension.on ?? []).flatMap((key) => (key.startsWith(HOLDER) ? key.slice(HOLDER.length) : []));
  if (task && blocked)
    return task.facts.after.flatMap((edge) =>
      edge.added && !state.tasks.get(edge.task)?.outcome ? [edge.task] : [],
    );
  const { holder, holders = [], upstream } = hold?.evidence ?? {};
  // One of several that hold its paths is named, and which one is no matter: it waits for all of them.
  const all =
    task && hold && (hold.code === 'PATH_HELD' || hold.code === 'PATHS_RESTING')
      ? state.claims.allOverlaps(task.id, task.repository, patternsOf(state, task))
      : [];
  const names = [holder, ...holders, ...all.map((overlap) => overlap.holder), upstream];
  return [...new Set(names.flatMap((name) => name ?? []))];
}

/** The first of those whom the task waits for that wait, through whomever, for the task itself. */
export function waitsForItself(state: State, task: TaskRecord): string | undefined {
  return waitsFor(state, task).find((name) =>
    pathBetween(name, task.id, (id) => waitsFor(state, state.tasks.get(id))),
  );
}
