// Whether a held task may run now, and if not, what it waits for. Each held task watches the one thing that stands
// in its way; when that changes, and only then, it is looked at again. So a task that nothing holds overtakes freely.

import type { Evidence, ReasonCode } from './reasons.js';
import { patternsOf, type State, type TaskRecord } from './state.js';
import { end, grant, record, type Taken, watch } from './transitions.js';

interface Hold {
  code: ReasonCode;
  evidence: Evidence;
  /** The watcher key that brings the task back. */
  on: string;
}

type Verdict = { run: true } | { hold: Hold } | { cancel: { code: ReasonCode; evidence: Evidence } };

const hold = (code: ReasonCode, on: string, evidence: Evidence): Verdict => ({
  hold: { code, evidence, on },
});
const cancel = (code: ReasonCode, evidence: Evidence): Verdict => ({ cancel: { code, evidence } });

/** Decides every task that has to be looked at, oldest first, until nothing changes any more. */
export function settle(state: State, now: number): Taken[] {
  const taken: Taken[] = [];
  for (;;) {
    const ids = state.ready.size > 0 ? [...state.ready] : slotWaiters(state);
    if (ids.length === 0) return taken;
    state.ready.clear();
    const tasks = ids.flatMap((id) => state.tasks.get(id) ?? []).sort((a, b) => a.arrived - b.arrived);
    for (const task of tasks) if (task.phase === 'held') taken.push(...settleOne(state, task, now));
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
  return [];
}

function settleOne(state: State, task: TaskRecord, now: number): Taken[] {
  const verdict = judge(state, task);
  if ('run' in verdict) return [grant(state, task, now)];
  if ('cancel' in verdict) {
    const { code, evidence } = verdict.cancel;
    return [end(state, task, { kind: 'cancelled', code }, evidence, true, now)];
  }
  const { code, evidence, on } = verdict.hold;
  const before = task.hold;
  const turn = watch(state, task, on);
  const changed = before?.code !== code;
  if (!changed && JSON.stringify(before?.evidence) === JSON.stringify(evidence)) {
    task.hold = { ...before, on, turn } as NonNullable<TaskRecord['hold']>;
    return [];
  }
  task.hold = { code, evidence, on, turn, since: changed || before === undefined ? now : before.since };
  if (code === 'UPSTREAM_UNKNOWN') {
    if (changed) state.deadlines.push({ at: now + state.rules.planTimeout, kind: 'upstream', id: task.id });
    if (state.recovered) lookUpUpstreams(state, task);
  }
  const unheard = !state.due.standings.has(task.id) && !changed;
  const taken = record(state, task, 'hold', code, evidence, now);
  // Another holder of the same path is no news that must travel at once.
  if (unheard) {
    state.due.standings.delete(task.id);
    if (task.kind === 'task') state.due.lazy.add(task.id);
  }
  return [taken];
}

/** All of them at once: each may have ended before this coordinator began. */
function lookUpUpstreams(state: State, task: TaskRecord): void {
  for (const { task: upstream } of task.facts.after)
    if (!state.tasks.has(upstream)) state.due.lookups.add(upstream);
}

function judge(state: State, task: TaskRecord): Verdict {
  if (state.recovery) return hold('RECOVERING', 'recovery', {});
  return (
    (task.kind === 'task'
      ? (judgePlan(state, task) ?? judgeIssue(state, task) ?? judgeGraph(state, task))
      : undefined) ??
    judgeClaims(state, task) ??
    (task.kind === 'task' ? judgeLimits(state, task) : undefined) ?? { run: true }
  );
}

function judgePlan(state: State, task: TaskRecord): Verdict | undefined {
  const plan = state.plans.get(task.plan.id);
  if (!plan || plan.complete) return undefined;
  return hold('PLAN_INCOMPLETE', `plan:${plan.id}`, {
    arrived: arrivedOf(state, plan.id),
    size: plan.size ?? 0,
  });
}

export function arrivedOf(state: State, plan: string): number {
  return Math.max(state.members.get(plan)?.size ?? 0, state.plans.get(plan)?.lookedUp ?? 0);
}

function judgeIssue(state: State, task: TaskRecord): Verdict | undefined {
  const issue = task.facts.issue;
  const known = issue === undefined ? undefined : state.issues.get(issue);
  if (issue === undefined || !known) return undefined;
  const rule = state.rules.issues[known.state] ?? 'go';
  if (rule === 'cancel') return cancel('ISSUE_CLOSED', { issue, state: known.state });
  if (rule === 'hold') return hold('ISSUE_ON_HOLD', `issue:${issue}`, { issue, state: known.state });
  return undefined;
}

/**
 * What a task waited for once it need not wait for again: it holds its claims between its attempts, and an upstream
 * that was started anew meanwhile may want the very same paths.
 */
function judgeGraph(state: State, task: TaskRecord): Verdict | undefined {
  if (task.fence) return undefined;
  let pending: Verdict | undefined;
  for (const edge of task.facts.after) {
    const upstream = state.tasks.get(edge.task);
    const evidence = { upstream: edge.task };
    if (!upstream) {
      pending ??= hold('UPSTREAM_UNKNOWN', `task:${edge.task}`, evidence);
      continue;
    }
    const until = edge.until ?? (upstream.facts.role ? 'landed' : 'finished');
    const { outcome } = upstream;
    if (!outcome) {
      pending ??= hold('UPSTREAM_PENDING', `task:${edge.task}`, { ...evidence, state: until });
    } else if (outcome.kind === 'failed') {
      return cancel('UPSTREAM_FAILED', evidence);
    } else if (outcome.kind === 'cancelled') {
      return cancel('UPSTREAM_CANCELLED', evidence);
    } else if (until === 'landed' && outcome.kind !== 'landed') {
      return cancel('UPSTREAM_NEVER_LANDS', evidence);
    }
  }
  return pending;
}

function judgeClaims(state: State, task: TaskRecord): Verdict | undefined {
  if (task.holds) return undefined;
  const overlap = state.claims.firstOverlap(task.id, task.repository, patternsOf(state, task));
  if (!overlap) return undefined;
  const holder = state.tasks.get(overlap.holder);
  const evidence = { holder: overlap.holder, held: overlap.theirs, path: overlap.ours };
  if (task.noWait) return cancel('PATH_HELD', evidence);
  return hold(
    holder?.phase === 'ended' ? 'PATHS_RESTING' : 'PATH_HELD',
    `holder:${overlap.holder}`,
    evidence,
  );
}

function judgeLimits(state: State, task: TaskRecord): Verdict | undefined {
  const { role } = task.facts;
  if (role) {
    const rule = state.rules.roles[role];
    if (!rule) return hold('ROLE_UNKNOWN', 'rules', { role });
    const frozen = state.roles.get(role)?.frozen;
    if (frozen) return hold('ROLE_FROZEN', `role:${role}`, { role, text: frozen.text });
    if ((state.runningByRole.get(role) ?? 0) >= rule.maxRunning)
      return hold('ROLE_LIMIT', `slots:${role}`, { role, limit: rule.maxRunning });
  }
  const { ceiling } = state.rules;
  return state.running.size >= ceiling ? hold('CEILING_REACHED', 'ceiling', { limit: ceiling }) : undefined;
}
