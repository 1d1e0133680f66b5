// None of a plan's tasks starts before all of them have arrived. A plan that stays incomplete is cancelled, planTimeout
// after the last arrival among those that wait.

import { arrivedOf } from '../judge.js';
import type { TaskReport } from '../messages.js';
import type { State } from '../state.js';
import { type Taken, wake } from '../transitions.js';
import { cancelTask } from './cancel.js';

export function joinPlan(state: State, report: TaskReport, now: number): void {
  const { id, size } = report.plan;
  let plan = state.plans.get(id);
  if (!plan) {
    const until = now + state.rules.planTimeout;
    plan = { id, complete: false, until, lookedUp: 0, ...(size === undefined ? {} : { size }) };
    state.plans.set(id, plan);
    state.deadlines.push({ at: until, kind: 'plan', id });
    if (state.recovered && size !== undefined && size > 1) state.due.lookups.add(`plan:${id}`);
  }
  completePlan(state, id, size === undefined || report.at !== 'waiting' || report.attempt > 1);
}

/** A plan is complete when all its tasks have arrived, or when one of them says that it once was. */
export function completePlan(state: State, id: string, known: boolean): void {
  const plan = state.plans.get(id);
  if (!plan || plan.complete) return;
  plan.complete = known || arrivedOf(state, id) >= (plan.size ?? 1);
  if (plan.complete) wake(state, `plan:${id}`);
}

export function expirePlan(state: State, id: string, now: number): Taken[] {
  const plan = state.plans.get(id);
  if (!plan || plan.complete || plan.until > now) return [];
  const members = [...(state.members.get(id) ?? [])].flatMap((task) => state.tasks.get(task) ?? []);
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
