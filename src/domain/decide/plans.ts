// None of a plan's tasks starts before all of them have arrived. A plan that stays incomplete is cancelled, planTimeout
// after the last arrival among those that wait.

import { beganAt } from '../fence.js';
import { arrivedOf, waitsForPlan } from '../judge.js';
import type { TaskReport } from '../messages.js';
import { lengthenPlan } from '../order.js';
import type { PlanRecord, State, TaskRecord } from '../state.js';
import { type Taken, wake } from '../transitions.js';
import { cancelTask } from './cancel.js';

/** `task` is new here: its record stands, and its plan is to know of it. */
export function joinPlan(state: State, task: TaskRecord, report: TaskReport, now: number): void {
  const { id, size } = report.plan;
  const begins = report.at === 'waiting' && report.attempt === 1;
  let plan = state.plans.get(id);
  if (!plan) {
    plan = { id, complete: false, until: 0, lookedUp: 0, ...(size === undefined ? {} : { size }) };
    state.plans.set(id, plan);
    waitFor(state, plan, now);
    if (state.recovered && size !== undefined && size > 1) state.due.lookups.add(PLAN + id);
  } else if (plan.complete && begins && size !== undefined && task.pastLives.length === 0) {
    if (isAnother(state, plan, size)) {
      plan.earlier = (state.members.get(id)?.size ?? 1) - 1;
      plan.submission = (plan.submission ?? 0) + 1;
      plan.complete = false;
      plan.lookedUp = 0;
      waitFor(state, plan, now);
    }
    plan.size = size;
  }
  if (plan.submission !== undefined && begins) task.submission = plan.submission;
  completePlan(state, id, size === undefined || !begins);
}

function waitFor(state: State, plan: PlanRecord, now: number): void {
  plan.until = now + state.rules.planTimeout;
  state.deadlines.push({ at: plan.until, kind: 'plan', id: plan.id });
}

/** Another submission under the name of a plan that was complete: of another size, or one task more than that had. */
function isAnother(state: State, plan: PlanRecord, size: number): boolean {
  if (plan.size === undefined) return false;
  const arrived = (state.members.get(plan.id)?.size ?? 0) - (plan.earlier ?? 0);
  return size !== plan.size || arrived > size;
}

/** A plan is complete when all its tasks have arrived, or when one of them says that it once was. */
export function completePlan(state: State, id: string, known: boolean): void {
  const plan = state.plans.get(id);
  if (!plan || plan.complete) return;
  plan.complete = known || arrivedOf(state, id) >= (plan.size ?? 1);
  if (!plan.complete) return;
  lengthenPlan(state, id);
  wake(state, `plan:${id}`);
}

/** What the name of a plan begins with among what is looked up. */
export const PLAN = 'plan:';

/** How many tasks of a plan were ever started has to be looked up. */
export interface PlanLookUp {
  plan: string;
  size: number;
  /** When one of those that wait was started, and how far apart starts of one submission may be; milliseconds. */
  at: number;
  within: number;
}

/** What has to be looked up: outcomes of tasks, and of plans how much of them was submitted. */
export function lookupsOf({ due, plans, members, tasks, rules }: State): {
  tasks: string[];
  plans: PlanLookUp[];
} {
  const names = [...due.lookups].filter((name) => !name.startsWith(PLAN));
  const found = [...due.lookups].flatMap((name): PlanLookUp[] => {
    const plan = name.startsWith(PLAN) ? plans.get(name.slice(PLAN.length)) : undefined;
    if (!plan || plan.complete) return [];
    const waiting = [...(members.get(plan.id) ?? [])]
      .flatMap((id) => tasks.get(id) ?? [])
      .filter((task) => task.phase === 'held' && waitsForPlan(plan, task));
    if (waiting.length === 0) return [];
    const at = Math.min(...waiting.map(({ life }) => beganAt(life)));
    return [{ plan: plan.id, size: plan.size ?? 1, at, within: Math.max(rules.planTimeout, LEAST_GAP) }];
  });
  return { tasks: names, plans: found };
}

/** What was found is no longer looked for; plans are looked up until they are complete. */
export function settleLookups(
  { due, plans, dependents, tasks }: State,
  found: { outcomes: readonly { task: string }[]; plans: readonly { plan: string; count: number }[] },
): void {
  for (const { task } of found.outcomes) due.lookups.delete(task);
  for (const { plan, count } of found.plans)
    if (count >= (plans.get(plan)?.size ?? 0)) due.lookups.delete(PLAN + plan);
  for (const name of due.lookups) {
    const wanted = name.startsWith(PLAN)
      ? plans.get(name.slice(PLAN.length))?.complete === false
      : dependents.has(name) && !tasks.has(name);
    if (!wanted) due.lookups.delete(name);
  }
}

/** Without a worker nobody cancels a plan that waits for its rest, so that may come later than the rules say. */
const LEAST_GAP = 3_600_000;

/**
 * Tasks started in one submission with one that was started then. A life that follows another, or a plan's name that is
 * used again, makes a plan no more complete.
 */
export function submittedWith(
  starts: readonly { id: string; at: number }[],
  { at, within }: PlanLookUp,
): number {
  const times = starts.map((start) => start.at).sort((a, b) => a - b);
  let [from, to] = [at, at];
  for (const time of times) if (time > to && time - to <= within) to = time;
  for (const time of times.reverse()) if (time < from && from - time <= within) from = time;
  return new Set(starts.filter((start) => start.at >= from && start.at <= to).map(({ id }) => id)).size;
}

export function expirePlan(state: State, id: string, now: number): Taken[] {
  const plan = state.plans.get(id);
  if (!plan || plan.complete || plan.until > now) return [];
  const members = [...(state.members.get(id) ?? [])]
    .flatMap((task) => state.tasks.get(task) ?? [])
    .filter((task) => waitsForPlan(plan, task));
  const last = Math.max(...members.filter((task) => task.phase === 'held').map((task) => task.since));
  // Nobody waits. Who arrives later begins to wait anew.
  if (!Number.isFinite(last)) {
    state.plans.delete(id);
    return [];
  }
  if (last + state.rules.planTimeout > now) {
    plan.until = last + state.rules.planTimeout;
    state.deadlines.push({ at: plan.until, kind: 'plan', id });
    return [];
  }
  const evidence = { arrived: arrivedOf(state, id), size: plan.size ?? 0 };
  state.plans.delete(id);
  return members.flatMap((task) => cancelTask(state, task, { code: 'PLAN_NEVER_COMPLETED', evidence }, now));
}
