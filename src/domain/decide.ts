// decide(state, event, now): every coordination rule of the fleet. No clock, no random, no I/O: the same events give
// the same decisions. It updates the state it owns in place, returns the decisions it took, and notes in `state.due`
// who has to be told.

import type { Rules } from './config.js';
import { compareFences, earlierLife, type Fence, sameFence } from './fence.js';
import { arrivedOf, settle } from './grant.js';
import { findCycle } from './graph.js';
import type {
  CancelRequest,
  HandReport,
  IssueReport,
  LandingResult,
  Message,
  Outcome,
  TaskFacts,
  TaskReport,
  WorkerReport,
  WriterReport,
} from './messages.js';
import type { Evidence, ReasonCode } from './reasons.js';
import {
  addTo,
  countRunning,
  indexTask,
  patternsOf,
  removeFrom,
  type State,
  type TaskRecord,
} from './state.js';
import {
  end,
  forgetEnded,
  freeAt,
  landingId,
  landingOnHold,
  leave,
  lostSight,
  record,
  release,
  requeue,
  stop,
  type Taken,
  wake,
  wakeDependents,
} from './transitions.js';

export type Event =
  | Message
  /** Time has passed. */
  | { kind: 'tick' }
  /** A survey of Temporal: tasks and writers (`writer:role`) that are alive. `last`: no further one is coming. */
  | { kind: 'surveyed'; live: string[]; last: boolean }
  /** Looked up in Temporal: outcomes of tasks and how many tasks of a plan were ever started. */
  | {
      kind: 'found';
      outcomes: { task: string; outcome: Outcome['kind']; role?: string }[];
      plans: { plan: string; count: number }[];
    };

/** What is not the agent's failure does not use up its attempts, up to so many times. */
const EXCUSED: ReadonlySet<ReasonCode> = new Set([
  'LANDING_CONFLICT',
  'WORKER_LOST',
  'CLAIM_LOST',
  'FENCE_STALE',
]);
const MOST_EXCUSED = 10;

export function decide(state: State, event: Event, now: number): Taken[] {
  const taken = [...expire(state, now), ...apply(state, event, now), ...settle(state, now)];
  forgetEnded(state);
  return taken;
}

/** When decide wants to be asked again though nothing happened; milliseconds since the epoch. */
export const nextDeadline = (state: State): number | undefined => state.deadlines.next;

function apply(state: State, event: Event, now: number): Taken[] {
  switch (event.kind) {
    case 'task':
      return onTask(state, event, now);
    case 'writer':
      return onWriter(state, event, now);
    case 'hand':
      return onHand(state, event, now);
    case 'issue':
      return onIssue(state, event, now);
    case 'worker':
      return onWorker(state, event, now);
    case 'rules':
      return onRules(state, event.rules, now);
    case 'surveyed':
      return onSurvey(state, event.live, event.last);
    case 'gone':
      return event.task.startsWith('writer:')
        ? onWriterGone(state, event.task)
        : onGone(state, event.task, event.life, now);
    case 'found':
      return onFound(state, event, now);
    case 'tick':
      return [];
  }
}

// ---- tasks

function onTask(state: State, report: TaskReport, now: number): Taken[] {
  const known = state.tasks.get(report.id);
  if (known && known.life !== report.life) {
    if (known.pastLives.includes(report.life) || earlierLife(report.life, known.life)) return [];
    return [...supersede(state, known, now), ...arrive(state, report, known, now)];
  }
  if (!known) return arrive(state, report, undefined, now);
  if (report.number <= known.seen) return [];
  known.seen = report.number;
  heard(state, report.id);
  const taken = follow(state, known, report, now);
  // Whoever says nothing new may have missed what was said: say it once more.
  if (taken.length === 0) state.due.standings.add(known.id);
  return report.cancel ? [...taken, ...cancelTask(state, known, asked(report.cancel), now)] : taken;
}

const asked = (cancel: CancelRequest): { code: ReasonCode; evidence: Evidence } => ({
  code: cancel.code,
  evidence: { ...(cancel.by ? { by: cancel.by } : {}), ...(cancel.text ? { text: cancel.text } : {}) },
});

/** A task that is new to this coordinator, or a new life of one. */
function arrive(state: State, report: TaskReport, earlier: TaskRecord | undefined, now: number): Taken[] {
  const { facts } = report;
  const task: TaskRecord = {
    id: report.id,
    kind: 'task',
    life: report.life,
    pastLives: earlier ? [...earlier.pastLives, earlier.life].slice(-10) : [],
    seen: report.number,
    plan: report.plan,
    facts,
    repository: repositoryOf(state.rules, facts),
    arrived: ++state.arrivals,
    phase: 'held',
    since: now,
    attempt: report.attempt,
    excused: 0,
    holds: false,
    decisions: [],
    beside: [],
  };
  state.patterns.delete(task.id);
  indexTask(state, task);
  heard(state, task.id);
  joinPlan(state, report, now);
  wake(state, `task:${task.id}`);
  const taken = [...refuseCycle(state, task, now), ...follow(state, task, report, now)];
  return report.cancel ? [...taken, ...cancelTask(state, task, asked(report.cancel), now)] : taken;
}

const repositoryOf = (rules: Rules, facts: TaskFacts): string =>
  (facts.role ? rules.roles[facts.role]?.repository : facts.repository) ?? rules.defaultRepository;

/** The earlier life is over. What is left of it, claims that rest or a landing under way, goes on under a name of its own. */
function supersede(state: State, task: TaskRecord, now: number): Taken[] {
  const taken = task.phase === 'ended' ? [] : onGone(state, task.id, task.life, now);
  const ended = state.endedOrder.indexOf(task.id);
  if (ended >= 0) state.endedOrder.splice(ended, 1);
  const packet = state.due.packets.delete(task.id);
  if (task.holds || task.phase !== 'ended' || packet) {
    const rest = { ...task, id: pastId(task.id, task.life), plan: { id: `~${task.plan.id}` } };
    release(state, task);
    for (const edge of task.facts.after) removeFrom(state.dependents, edge.task, task.id);
    if (task.facts.issue) removeFrom(state.byIssue, task.facts.issue, task.id);
    if (task.facts.role) removeFrom(state.landing, task.facts.role, task.id);
    indexTask(state, rest);
    if (packet) state.due.packets.add(rest.id);
  }
  return taken;
}

const pastId = (id: string, life: string): string => `${id}~${life}`;

function joinPlan(state: State, report: TaskReport, now: number): void {
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
function completePlan(state: State, id: string, known: boolean): void {
  const plan = state.plans.get(id);
  if (!plan || plan.complete) return;
  plan.complete = known || arrivedOf(state, id) >= (plan.size ?? 1);
  if (plan.complete) wake(state, `plan:${id}`);
}

/** Plans are checked before they are submitted; tasks started one by one can still wait for each other in a circle. */
function refuseCycle(state: State, task: TaskRecord, now: number): Taken[] {
  if (task.facts.after.length === 0 || !state.dependents.has(task.id)) return [];
  const reach = new Map<string, string[]>();
  const queue = [task.id];
  for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
    if (reach.has(id)) continue;
    const member = state.tasks.get(id);
    // Nobody waits for the upstreams of a task that has ended.
    const upstreams = member?.phase === 'ended' ? [] : (member?.facts.after.map((edge) => edge.task) ?? []);
    reach.set(id, upstreams);
    queue.push(...upstreams);
  }
  const cycle = findCycle(reach);
  if (!cycle) return [];
  return cycle.slice(1).flatMap((id) => {
    const member = state.tasks.get(id);
    return member
      ? cancelTask(state, member, { code: 'GRAPH_CYCLE', evidence: { text: cycle.join(' -> ') } }, now)
      : [];
  });
}

/** Brings the record in line with what the task says of itself. */
function follow(state: State, task: TaskRecord, report: TaskReport, now: number): Taken[] {
  if (report.at === 'waiting' || !report.fence) return [];
  if (task.phase === 'held' || task.phase === 'backoff') {
    if (task.fence && compareFences(report.fence, task.fence) <= 0) return [];
    return adopt(state, task, report, report.fence, now);
  }
  if (report.at !== 'stopped' || !sameFence(report.fence, task.fence)) return [];
  if (task.phase === 'running') return stopped(state, task, report, now);
  if (task.phase === 'stopping') return stoppedOnDemand(state, task, report, now);
  return [];
}

/** A grant of an earlier coordinator: the task's workflow is the truth about it, unless its paths were lost meanwhile. */
function adopt(state: State, task: TaskRecord, report: TaskReport, fence: Fence, now: number): Taken[] {
  state.epoch = Math.max(state.epoch, fence.epoch + 1);
  const overlap = state.claims.firstOverlap(task.id, task.repository, patternsOf(state, task));
  const { result } = report;
  const dead = report.at === 'stopped' && result?.dead === true;
  leave(state, task);
  task.attempt = report.attempt;
  task.fence = fence;
  task.phase = 'running';
  task.since = now;
  countRunning(state, task, 1);
  if (overlap) {
    const lost = { holder: overlap.holder, path: overlap.ours };
    if (report.at === 'stopped' && result?.kind === 'commits' && task.facts.role) {
      // It may have been handed over, and may have landed: its writer knows.
      task.stop = { verdict: 'retry', code: 'CLAIM_LOST', evidence: lost };
      const taken = land(state, task, task.facts.role, result, now);
      return [...taken, record(state, task, 'retry', 'CLAIM_LOST', lost, now)];
    }
    if (dead) return fail(state, task, 'CLAIM_LOST', lost, false, true, now);
    return [stop(state, task, 'retry', 'CLAIM_LOST', lost, now)];
  }
  if (!task.holds) state.claims.add(task.id, task.repository, patternsOf(state, task));
  task.holds = true;
  task.leaseUntil = now + state.rules.lease;
  state.deadlines.push({ at: task.leaseUntil, kind: 'lease', id: task.id });
  return report.at === 'stopped' ? stopped(state, task, report, now) : [];
}

/** Granted by an earlier coordinator, which may have handed it over to the writer: only that can withdraw it. */
const inherited = (state: State, task: TaskRecord): boolean =>
  task.fence !== undefined && task.fence.epoch < state.epoch;

/** The attempt is over, and nobody had asked for that. */
function stopped(state: State, task: TaskRecord, report: TaskReport, now: number): Taken[] {
  const { result } = report;
  if (!result) return [];
  if (result.kind === 'failed') {
    const evidence = result.text ? { text: result.text } : {};
    if (result.code === 'CANCELLED_BY_REQUEST')
      return [end(state, task, { kind: 'cancelled', code: result.code }, evidence, result.dead, now)];
    return fail(state, task, result.code, evidence, result.final === true, result.dead, now);
  }
  if (result.kind === 'done' || !task.facts.role) {
    return [end(state, task, { kind: 'finished', code: 'FINISHED' }, {}, result.dead, now)];
  }
  return land(state, task, task.facts.role, result, now);
}

function land(
  state: State,
  task: TaskRecord,
  role: string,
  result: NonNullable<TaskRecord['result']>,
  now: number,
): Taken[] {
  if (!result.dead) lostSight(task, now);
  leave(state, task);
  task.phase = 'landing';
  task.since = now;
  task.result = result;
  if (inherited(state, task)) task.ordered = true;
  addTo(state.landing, role, task.id);
  state.due.orders.add(role);
  const taken = record(state, task, 'land', 'COMMITS_READY', { commit: result.commit }, now);
  // The task knows that it lands; no message is owed, unless it has to learn whom to believe from now on.
  if (!inherited(state, task)) state.due.standings.delete(task.id);
  const issue = task.facts.issue;
  const known = issue === undefined ? undefined : state.issues.get(issue);
  if (issue === undefined || !known || !landingOnHold(state, task)) return [taken];
  return [taken, record(state, task, 'hold', 'ISSUE_ON_HOLD', { issue, state: known.state }, now)];
}

/** The agent was told to end and has ended. Whatever it brought stays under its attempt's ref and does not land. */
function stoppedOnDemand(state: State, task: TaskRecord, report: TaskReport, now: number): Taken[] {
  const { result } = report;
  const dead = result?.dead === true;
  if (result?.kind === 'commits' && task.facts.role && inherited(state, task))
    return land(state, task, task.facts.role, result, now);
  const { verdict, code, evidence } = task.stop ?? {
    verdict: 'cancel',
    code: 'CANCELLED_BY_REQUEST' as const,
    evidence: {},
  };
  if (verdict === 'cancel') return [end(state, task, { kind: 'cancelled', code }, evidence, dead, now)];
  if (dead && freeAt(state, task) <= now) release(state, task);
  return fail(state, task, code, evidence, false, dead, now);
}

/** An attempt failed: another one after a wait, as long as there are any left. The claims stay pinned meanwhile. */
function fail(
  state: State,
  task: TaskRecord,
  code: ReasonCode,
  evidence: Evidence,
  final: boolean,
  dead: boolean,
  now: number,
): Taken[] {
  const rule = { ...state.rules.retry, ...task.facts.retry };
  const excused = EXCUSED.has(code) && task.excused < MOST_EXCUSED;
  const failures = task.attempt - task.excused;
  if (final || (!excused && failures >= rule.attempts)) {
    return [end(state, task, { kind: 'failed', code }, evidence, dead, now)];
  }
  if (excused) task.excused += 1;
  if (!dead) lostSight(task, now);
  const wait = excused ? 0 : Math.min(rule.backoff * 2 ** (failures - 1), rule.maxBackoff);
  leave(state, task);
  delete task.stop;
  task.phase = 'backoff';
  task.since = now;
  task.backoffUntil = now + wait;
  state.deadlines.push({ at: task.backoffUntil, kind: 'backoff', id: task.id });
  const taken = record(
    state,
    task,
    'retry',
    code,
    { ...evidence, duration: wait, attempt: task.attempt + 1 },
    now,
  );
  task.attempt += 1;
  return [taken];
}

/** Cancelling is: told to stop, seen dead, and only then released; a landing is withdrawn by its writer. */
function cancelTask(
  state: State,
  task: TaskRecord,
  why: { code: ReasonCode; evidence: Evidence },
  now: number,
): Taken[] {
  const { code, evidence } = why;
  switch (task.phase) {
    case 'held':
    case 'backoff':
      return [end(state, task, { kind: 'cancelled', code }, evidence, true, now)];
    case 'running':
      return [stop(state, task, 'cancel', code, evidence, now)];
    case 'stopping':
      if (task.stop?.verdict === 'cancel') return [];
      return [stop(state, task, 'cancel', code, evidence, now)];
    case 'landing':
      if (task.stop?.verdict === 'cancel') return [];
      if (!task.ordered) return [end(state, task, { kind: 'cancelled', code }, evidence, true, now)];
      task.stop = { verdict: 'cancel', code, evidence };
      if (task.facts.role) state.due.orders.add(task.facts.role);
      return [record(state, task, 'cancel', code, evidence, now)];
    case 'ended':
      return [];
  }
}

/** Its workflow is closed: nobody will speak for it again. An agent of it may still live. */
function onGone(state: State, id: string, life: string | undefined, now: number): Taken[] {
  const task = state.tasks.get(id);
  heard(state, id);
  if (task?.kind !== 'task' || (life !== undefined && life !== task.life)) return [];
  task.gone = true;
  state.due.standings.delete(id);
  state.due.lazy.delete(id);
  if (task.phase === 'ended') return [];
  const alive = task.phase === 'running' || task.phase === 'stopping';
  const why = { code: 'TERMINATED' as const, evidence: {} };
  if (!alive) return cancelTask(state, task, why, now);
  return [end(state, task, { kind: 'cancelled', code: why.code }, why.evidence, false, now)];
}

// ---- writers

function onWriter(state: State, report: WriterReport, now: number): Taken[] {
  const known = state.roles.get(report.role);
  if (known && known.life === report.life && report.number <= known.seen) return [];
  if (known && earlierLife(report.life, known.life)) return [];
  state.roles.set(report.role, {
    life: report.life,
    seen: report.number,
    ...(report.frozen ? { frozen: report.frozen } : {}),
  });
  heard(state, `writer:${report.role}`);
  if (known?.frozen && !report.frozen) wake(state, `role:${report.role}`);
  // It may have missed its orders, or have them from an earlier coordinator or in an earlier life: say them once more.
  state.due.orders.add(report.role);
  return report.results.flatMap((result) => onLanding(state, result, now));
}

/** Its landings are handed over once more, which starts a writer of a new life; the ledger tells that one what landed. */
function onWriterGone(state: State, name: string): Taken[] {
  const role = name.slice('writer:'.length);
  if (role in state.rules.roles) state.due.orders.add(role);
  return [];
}

function onLanding(state: State, result: LandingResult, now: number): Taken[] {
  const task = [...livesOf(state, result.id.slice(0, result.id.lastIndexOf('#')))].find(
    (life) => life.phase === 'landing' && landingId(life) === result.id,
  );
  if (!task) return [];
  switch (result.kind) {
    case 'landed': {
      const evidence = { commit: result.commit };
      return [
        end(state, task, { kind: 'landed', code: 'LANDED', commit: result.commit }, evidence, true, now),
      ];
    }
    case 'withdrawn':
      return withdrawn(state, task, task.stop ?? { verdict: 'cancel', code: 'CANCELLED_BY_REQUEST' }, now);
    case 'rolled-back':
      return [end(state, task, { kind: 'failed', code: result.code }, { text: result.text }, true, now)];
    case 'refused':
      return refused(state, task, result, now);
  }
}

function withdrawn(
  state: State,
  task: TaskRecord,
  why: { verdict: 'cancel' | 'retry'; code: ReasonCode; evidence?: Evidence },
  now: number,
): Taken[] {
  const { verdict, code, evidence = {} } = why;
  if (verdict === 'retry') return fail(state, task, code, evidence, false, true, now);
  return [end(state, task, { kind: 'cancelled', code }, evidence, true, now)];
}

function refused(
  state: State,
  task: TaskRecord,
  result: Extract<LandingResult, { kind: 'refused' }>,
  now: number,
): Taken[] {
  if (task.stop) return withdrawn(state, task, task.stop, now);
  const evidence = { text: result.text };
  return fail(state, task, result.code, evidence, false, true, now);
}

// ---- persons, issues, workers

function onHand(state: State, report: HandReport, now: number): Taken[] {
  const known = state.tasks.get(report.id);
  if (known && (known.kind !== 'hand' || report.number <= known.seen)) return [];
  const claims = report.writes.length > 0;
  if (known && (known.phase !== 'ended' || !claims)) {
    known.seen = report.number;
    return claims || known.phase === 'ended' ? [] : [letGo(state, known, report.by, now)];
  }
  const hand: TaskRecord = {
    id: report.id,
    kind: 'hand',
    life: String(report.number),
    pastLives: [],
    seen: report.number,
    plan: { id: 'hand' },
    facts: { writes: report.writes, reads: [], after: [] },
    repository: report.repository ?? state.rules.defaultRepository,
    arrived: ++state.arrivals,
    phase: 'held',
    since: now,
    attempt: 1,
    excused: 0,
    holds: false,
    decisions: [],
    beside: [],
    by: report.by,
    handLease: report.lease,
    noWait: !report.wait,
    ...(report.note ? { note: report.note } : {}),
  };
  const before = state.endedOrder.indexOf(report.id);
  if (before >= 0) state.endedOrder.splice(before, 1);
  state.patterns.delete(hand.id);
  indexTask(state, hand);
  // A release that came before its claim: noted, so that the claim is known to be the older word.
  return claims ? [] : [letGo(state, hand, report.by, now)];
}

const letGo = (state: State, hand: TaskRecord, by: string, now: number): Taken =>
  end(state, hand, { kind: 'finished', code: 'RELEASED' }, { by }, true, now);

/** Issue states kept, the latest: a task submitted after its issue was closed must not start. */
const KEPT_ISSUES = 5_000;

function onIssue(state: State, report: IssueReport, now: number): Taken[] {
  const { key, number } = report;
  const known = state.issues.get(key);
  if (known && number <= known.number) return [];
  state.issues.delete(key);
  state.issues.set(key, { state: report.state, number });
  if (state.issues.size > KEPT_ISSUES) state.issues.delete(state.issues.keys().next().value as string);
  return heedIssue(state, key, report.state, now);
}

function heedIssue(state: State, key: string, issueState: string, now: number): Taken[] {
  wake(state, `issue:${key}`);
  const rule = state.rules.issues[issueState] ?? 'go';
  return [...(state.byIssue.get(key) ?? [])].flatMap((id) => {
    const task = state.tasks.get(id);
    if (!task) return [];
    if (rule === 'cancel')
      return cancelTask(
        state,
        task,
        { code: 'ISSUE_CLOSED', evidence: { issue: key, state: issueState } },
        now,
      );
    if (task.phase === 'held') state.ready.add(id);
    // A landing that waits for its issue goes on; one not yet handed over is held back by takeOrders.
    if (task.phase === 'landing' && task.facts.role) state.due.orders.add(task.facts.role);
    return [];
  });
}

function onWorker(state: State, report: WorkerReport, now: number): Taken[] {
  const { lease, lockDelay } = state.rules;
  for (const { task: id, fence } of report.renew) {
    for (const task of livesOf(state, id)) {
      const live = task.phase === 'running' || task.phase === 'stopping';
      if (live && task.holds && sameFence(task.fence, fence)) task.leaseUntil = now + lease;
      // Told to end or given up, and yet it lives.
      for (const agent of task.unseen ?? []) if (sameFence(agent.fence, fence)) agent.until = now + lease;
      if (task.restUntil !== undefined) rest(state, task, Math.max(task.restUntil, freeAt(state, task)));
    }
  }
  for (const { task: id, fence } of report.dead) {
    for (const task of livesOf(state, id)) {
      // The worker may know before anybody has told that the workflow is closed.
      if (sameFence(task.fence, fence)) task.seenDead = fence;
      const unseen = (task.unseen ?? []).filter((agent) => !sameFence(agent.fence, fence));
      if (unseen.length === task.unseen?.length || !task.unseen) continue;
      task.unseen = unseen;
      if (task.restUntil === undefined) continue;
      rest(state, task, Math.min(task.restUntil, Math.max(now + lockDelay, freeAt(state, task))));
    }
  }
  return [];
}

function rest(state: State, task: TaskRecord, until: number): void {
  if (until === task.restUntil) return;
  task.restUntil = until;
  state.deadlines.push({ at: until, kind: 'rest', id: task.id });
}

/** The task's record and what is left of its earlier lives. */
function* livesOf(state: State, id: string): Iterable<TaskRecord> {
  const task = state.tasks.get(id);
  if (!task) return;
  yield task;
  for (const life of task.pastLives) {
    const rest = state.tasks.get(pastId(id, life));
    if (rest) yield rest;
  }
}

// ---- configuration and recovery

function onRules(state: State, rules: Rules, now: number): Taken[] {
  state.rules = rules;
  for (const task of state.tasks.values())
    if (task.kind === 'task' && task.phase === 'held' && !task.holds)
      task.repository = repositoryOf(rules, task.facts);
  for (const key of [...state.watchers.keys()]) {
    // A slot more is found by settle, in turn; a role that is no more is not.
    const role = key.startsWith('slots:') ? key.slice('slots:'.length) : undefined;
    if (key === 'rules' || (role !== undefined && !Object.hasOwn(rules.roles, role))) wake(state, key);
  }
  return [...state.issues].flatMap(([key, issue]) => heedIssue(state, key, issue.state, now));
}

function onSurvey(state: State, live: string[], last: boolean): Taken[] {
  const { recovery } = state;
  if (!recovery) return [];
  const heardOf = (name: string) =>
    name.startsWith('writer:') ? state.roles.has(name.slice('writer:'.length)) : state.tasks.has(name);
  recovery.awaiting = [...new Set([...recovery.awaiting, ...live])].filter((name) => !heardOf(name));
  recovery.live = [...new Set([...recovery.live, ...live])];
  if (live.length > 0) lookBack(state);
  recovery.surveyed ||= last;
  endRecovery(state);
  return [];
}

/** Something was there before this coordinator: what it does not know may have ended, and has to be looked up. */
function lookBack(state: State): void {
  state.recovered = true;
  for (const plan of state.plans.values())
    if (!plan.complete && (plan.size ?? 1) > 1) state.due.lookups.add(`plan:${plan.id}`);
}

function heard(state: State, name: string): void {
  const { recovery } = state;
  if (!recovery) return;
  recovery.awaiting = recovery.awaiting.filter((other) => other !== name);
  endRecovery(state);
}

function endRecovery(state: State): void {
  const { recovery } = state;
  if (!recovery?.surveyed || recovery.awaiting.length > 0) return;
  delete state.recovery;
  distrustTheUnlisted(state, new Set(recovery.live));
  wake(state, 'recovery');
}

/**
 * A landing that a late message told of, though no list has its task: it may have ended otherwise, told by the earlier
 * coordinator. Its writer withdraws it, unless it has landed. Should it live after all, it is tried once more.
 */
function distrustTheUnlisted(state: State, live: ReadonlySet<string>): void {
  for (const task of state.tasks.values()) {
    if (task.phase !== 'landing' || task.stop || live.has(task.id) || !inherited(state, task)) continue;
    task.stop = { verdict: 'retry', code: 'FENCE_STALE', evidence: {} };
    if (task.facts.role) state.due.orders.add(task.facts.role);
  }
}

function onFound(state: State, event: Extract<Event, { kind: 'found' }>, now: number): Taken[] {
  for (const { plan: id, count } of event.plans) {
    const plan = state.plans.get(id);
    if (!plan) continue;
    plan.lookedUp = Math.max(plan.lookedUp, count);
    completePlan(state, id, false);
  }
  for (const { task, outcome, role } of event.outcomes) {
    if (state.tasks.has(task)) continue;
    const code: ReasonCode =
      outcome === 'landed'
        ? 'LANDED'
        : outcome === 'finished'
          ? 'FINISHED'
          : outcome === 'failed'
            ? 'AGENT_FAILED'
            : 'CANCELLED_BY_REQUEST';
    indexTask(state, {
      id: task,
      kind: 'task',
      life: '',
      pastLives: [],
      seen: 0,
      plan: { id: task.slice(0, task.indexOf('/')) },
      facts: { writes: [], reads: [], after: [], ...(role ? { role } : {}) },
      repository: state.rules.defaultRepository,
      arrived: 0,
      phase: 'ended',
      since: now,
      attempt: 1,
      excused: 0,
      holds: false,
      decisions: [],
      beside: [],
      gone: true,
      outcome: { kind: outcome, code, text: 'looked up after the coordinator was restarted' },
    });
    wakeDependents(state, task);
  }
  return [];
}

// ---- time

function expire(state: State, now: number): Taken[] {
  const taken: Taken[] = [];
  for (let due = state.deadlines.take(now); due; due = state.deadlines.take(now)) {
    const { id, kind } = due;
    if (kind === 'recovery') {
      if (state.recovery) {
        state.recovery.awaiting = [];
        state.recovery.surveyed = true;
        lookBack(state);
        endRecovery(state);
      }
    } else if (kind === 'plan') {
      taken.push(...expirePlan(state, id, now));
    } else {
      const task = state.tasks.get(id);
      if (task) taken.push(...expireTask(state, task, kind, now));
    }
  }
  return taken;
}

function expireTask(state: State, task: TaskRecord, kind: string, now: number): Taken[] {
  const { deadlines } = state;
  if (kind === 'lease' && task.leaseUntil !== undefined)
    return expireLease(state, task, task.leaseUntil, now);
  if (kind === 'hand' && task.phase === 'running' && task.leaseUntil !== undefined) {
    if (task.leaseUntil <= now)
      return [end(state, task, { kind: 'cancelled', code: 'CLAIM_EXPIRED' }, {}, true, now)];
    deadlines.push({ at: task.leaseUntil, kind: 'hand', id: task.id });
  }
  if (kind === 'backoff' && task.phase === 'backoff' && (task.backoffUntil ?? 0) <= now)
    requeue(state, task, now);
  if (kind === 'rest' && task.phase === 'ended' && task.restUntil !== undefined && task.restUntil <= now)
    release(state, task);
  if (kind === 'upstream' && task.phase === 'held' && task.hold?.code === 'UPSTREAM_UNKNOWN') {
    const at = task.hold.since + state.rules.planTimeout;
    if (at <= now)
      return cancelTask(state, task, { code: 'UPSTREAM_MISSING', evidence: task.hold.evidence }, now);
    deadlines.push({ at, kind: 'upstream', id: task.id });
  }
  return [];
}

/** The holder is stopped at the lease's end; if it is not heard of, its paths are free after the lock-delay. */
function expireLease(state: State, task: TaskRecord, leaseUntil: number, now: number): Taken[] {
  const { deadlines, rules } = state;
  if (leaseUntil > now) {
    deadlines.push({ at: leaseUntil, kind: 'lease', id: task.id });
    return [];
  }
  if (task.phase === 'running') {
    deadlines.push({ at: leaseUntil + rules.lockDelay, kind: 'lease', id: task.id });
    return [stop(state, task, 'retry', 'CLAIM_EXPIRED', {}, now)];
  }
  if (task.phase === 'stopping') {
    if (leaseUntil + rules.lockDelay <= now) return letLapse(state, task, now);
    deadlines.push({ at: leaseUntil + rules.lockDelay, kind: 'lease', id: task.id });
  }
  return [];
}

/** The claims of a task whose agent should have ended and was not heard of. Written down, unless that is why it was stopped. */
function letLapse(state: State, task: TaskRecord, now: number): Taken[] {
  const { stop: why, holds } = task;
  release(state, task);
  return holds && why && why.code !== 'CLAIM_EXPIRED'
    ? [record(state, task, why.verdict, 'CLAIM_EXPIRED', {}, now)]
    : [];
}

function expirePlan(state: State, id: string, now: number): Taken[] {
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
