// Whether a held task may run at this moment, rule by rule: what stands in its way first is what it is told, and what
// it waits for. Each rule gives undefined when it has nothing against it.

import { busyWith } from './busy.js';
import { openCircuit } from './circuits.js';
import { brokenOf, findIssue, needsLook } from './decide/assume.js';
import { frozenBy } from './frozen.js';
import type { Edge } from './messages.js';
import type { Pattern } from './paths.js';
import type { Evidence, ReasonCode } from './reasons.js';
import { reservationAt } from './reservation.js';
import { nextSlot, type Use, useRefused } from './resources.js';
import {
  kindOf,
  type PlanRecord,
  patternsOf,
  runningOfKind,
  type State,
  slotKey,
  type TaskRecord,
} from './state.js';
import { freeAt } from './transitions.js';

interface Hold {
  code: ReasonCode;
  evidence: Evidence;
  /** The watcher key that brings the task back. */
  on: string;
  /** When time alone brings it back, in milliseconds. */
  until?: number;
}

/** Holders named in one reason. */
const MOST_NAMED = 5;

interface Told {
  code: ReasonCode;
  evidence: Evidence;
}

export type Verdict = { run: true } | { hold: Hold } | { cancel: Told } | { fail: Told };

const hold = (code: ReasonCode, on: string, evidence: Evidence): Verdict => ({
  hold: { code, evidence, on },
});
const cancel = (code: ReasonCode, evidence: Evidence): Verdict => ({ cancel: { code, evidence } });

export function judge(state: State, task: TaskRecord, now: number): Verdict {
  if (state.recovery) return hold('RECOVERING', 'recovery', {});
  return (
    (task.kind === 'task'
      ? (judgePlan(state, task) ?? judgeIssue(state, task) ?? judgeGraph(state, task))
      : undefined) ??
    judgeBusy(state, task) ??
    judgeClaims(state, task, now) ??
    judgeResources(state, task) ??
    judgeReservation(state, task, now) ??
    (task.kind === 'task'
      ? (judgeLimits(state, task, now) ?? judgeRates(state, task, now) ?? judgeAssumptions(state, task))
      : undefined) ?? {
      run: true,
    }
  );
}

/** Looked at last, so that it is looked at late and seldom: what was found counts until something moves. */
function judgeAssumptions(state: State, task: TaskRecord): Verdict | undefined {
  const { assumes = [], onBroken: policy = 'hold' } = task.facts;
  if (assumes.length === 0) return undefined;
  const on = `assume:${task.id}`;
  const { assumed } = task;
  if (assumes.some(needsLook) && (!assumed || assumed.answered < assumed.number))
    return hold('ASSUMPTIONS_UNCHECKED', on, {});
  const findings = assumes.map((one, i) =>
    one.kind === 'issue' ? findIssue(state, one) : assumed?.findings[i],
  );
  const unknown = findings.find((finding) => finding?.holds === undefined);
  if (unknown) return hold('ASSUMPTIONS_UNCHECKED', on, { text: unknown.found });
  const [broken] = brokenOf(state, task);
  if (!broken) return undefined;
  const { expected, found } = broken;
  if (policy === 'cancel') return cancel('ASSUMPTION_BROKEN', { expected, found, policy });
  return policy === 'hold' ? hold('ASSUMPTION_BROKEN', on, { expected, found, policy }) : undefined;
}

function judgePlan(state: State, task: TaskRecord): Verdict | undefined {
  const plan = state.plans.get(task.plan.id);
  if (!plan || !waitsForPlan(plan, task)) return undefined;
  return hold('PLAN_INCOMPLETE', `plan:${plan.id}`, {
    arrived: arrivedOf(state, plan.id),
    size: plan.size ?? 0,
  });
}

/** Tasks of an earlier submission have waited for theirs. */
export const waitsForPlan = (plan: PlanRecord, task: TaskRecord): boolean =>
  !plan.complete && (plan.submission === undefined || task.submission === plan.submission);

export function arrivedOf(state: State, plan: string): number {
  const { earlier = 0, lookedUp = 0 } = state.plans.get(plan) ?? {};
  return Math.max((state.members.get(plan)?.size ?? 0) - earlier, lookedUp);
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
 * What a task waited for before its first attempt it need not wait for again: an upstream that was started anew meanwhile
 * is none of its business. An edge that was added to the live task counts for every attempt, and for its landing.
 */
export function judgeGraph(state: State, task: TaskRecord): Verdict | undefined {
  let pending: Verdict | undefined;
  for (const edge of task.facts.after) {
    if (task.fence && !edge.added) continue;
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
    } else if (outcome.handed && !isEnough(edge, outcome.handed.to, task)) {
      return cancel('UPSTREAM_HANDED_OFF', { ...evidence, holder: outcome.handed.to });
    } else if (until === 'landed' && outcome.kind !== 'landed') {
      return cancel('UPSTREAM_NEVER_LANDS', evidence);
    }
  }
  return pending;
}

/** What was handed to a task is landed by that: who waits for the landing, or wanted to take it over as well, waits in vain. */
const isEnough = (edge: Edge, to: string, { id, facts }: TaskRecord): boolean =>
  edge.until === 'finished' && (facts.takesOver !== edge.task || to === id);

/** Once in its life: the first time that its own claims are in question. */
function judgeBusy(state: State, task: TaskRecord): Verdict | undefined {
  if (task.facts.ifBusy !== 'fail' || task.wasFree || task.fence || task.holds || task.attempt > 1)
    return undefined;
  const evidence = busyWith(state, task);
  return evidence && { fail: { code: 'CLAIMS_BUSY', evidence } };
}

/** The first of the claims that lies in a repository the fleet does not have. */
export function unknownRepository(state: State, patterns: readonly Pattern[]): Evidence | undefined {
  const { repositories } = state.rules;
  const foreign = patterns.find(({ repository }) => repository && !Object.hasOwn(repositories, repository));
  return foreign && { path: foreign.text, repository: foreign.repository ?? '' };
}

function judgeClaims(state: State, task: TaskRecord, now: number): Verdict | undefined {
  if (task.wanted) return resting(state, task, now);
  if (task.holds) return undefined;
  const patterns = patternsOf(state, task);
  const foreign = unknownRepository(state, patterns);
  if (foreign) {
    return task.noWait ? cancel('REPOSITORY_UNKNOWN', foreign) : hold('REPOSITORY_UNKNOWN', 'rules', foreign);
  }
  const overlap = state.claims.firstOverlap(task.id, task.repository, patterns);
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

/** An agent of an earlier attempt may live, under less than the task wants now. */
function resting(state: State, task: TaskRecord, now: number): Verdict {
  const [path = ''] = task.facts.writes;
  const until = Math.max(freeAt(state, task), now + 1);
  return {
    hold: {
      code: 'PATHS_RESTING',
      on: `holder:${task.id}`,
      evidence: { holder: task.id, held: path, path },
      until,
    },
  };
}

function judgeResources(state: State, task: TaskRecord): Verdict | undefined {
  for (const use of task.facts.uses ?? []) {
    const { resource } = use;
    const rule = Object.hasOwn(state.rules.resources, resource) ? state.rules.resources[resource] : undefined;
    if (!rule) return hold('RESOURCE_UNKNOWN', 'rules', { resource });
    const text = useRefused(rule, use, task.facts.role);
    if (text !== undefined) return hold('RESOURCE_REFUSED', 'rules', { resource, text });
    const holders = task.holds ? [] : state.uses.inTheWay(task.id, use, rule.capacity);
    const [holder] = holders;
    if (holder === undefined) continue;
    const resting = holders.some((id) => state.tasks.get(id)?.phase === 'ended');
    const evidence = { resource, holder, holders: holders.slice(0, MOST_NAMED), limit: rule.capacity };
    return hold('RESOURCE_HELD', `resource:${resource}`, {
      ...evidence,
      ...(resting ? { state: 'resting' } : {}),
    });
  }
  return undefined;
}

/** Newcomers keep off what the oldest waiter waits for. Whoever holds its claims already has nothing to keep off. */
function judgeReservation(state: State, task: TaskRecord, now: number): Verdict | undefined {
  if (task.holds) return undefined;
  const reservation = reservationAt(state, now);
  if (!reservation || reservation.task === task) return undefined;
  if (task.came < reservation.from) return undefined;
  const holder = reservation.task.id;
  const overlap = reservation.claims.firstOverlap(task.id, task.repository, patternsOf(state, task));
  const resource = overlap ? undefined : sharedUse(task.facts.uses, reservation.task.facts.uses);
  if (!overlap && resource === undefined) return undefined;
  const evidence = overlap
    ? { holder, held: overlap.theirs, path: overlap.ours }
    : { holder, held: resource ?? '', path: resource ?? '' };
  return task.noWait
    ? cancel('PATH_RESERVED', evidence)
    : hold('PATH_RESERVED', `reserved:${holder}`, evidence);
}

/** The first resource that both use, not both in shared mode. */
const sharedUse = (ours: Use[] = [], theirs: Use[] = []): string | undefined =>
  ours.find((use) =>
    theirs.some(
      ({ resource, mode }) => resource === use.resource && !(mode === 'shared' && use.mode === 'shared'),
    ),
  )?.resource;

/** After all other limits: a slot of a rate is used up by the grant that follows. */
function judgeRates(state: State, task: TaskRecord, now: number): Verdict | undefined {
  for (const { resource } of task.facts.uses ?? []) {
    const rate = state.rules.resources[resource]?.rate;
    if (!rate) continue;
    const blind = state.blindUntil === undefined ? now : state.blindUntil + rate.window;
    const until = Math.max(blind, nextSlot(state.rateLog.get(resource) ?? [], rate, now) ?? now);
    if (until <= now) continue;
    const evidence = { resource, rate: rate.text, duration: until - now };
    const why =
      blind === until ? { text: 'what was granted before the coordinator lost its state is not known' } : {};
    return {
      hold: { code: 'RATE_LIMITED', on: `rate:${resource}`, evidence: { ...evidence, ...why }, until },
    };
  }
  return undefined;
}

/** The codes that say there is no slot: such tasks wait in line for one. */
export const NO_SLOT: ReadonlySet<ReasonCode> = new Set(['ROLE_LIMIT', 'KIND_LIMIT', 'CEILING_REACHED']);

export function judgeLimits(state: State, task: TaskRecord, now: number): Verdict | undefined {
  const { role } = task.facts;
  if (role) {
    const rule = state.rules.roles[role];
    if (!rule) return hold('ROLE_UNKNOWN', 'rules', { role });
  }
  const frozen = frozenBy(state, role);
  if (frozen) return hold(frozen.code, frozen.on, frozen.evidence);
  const circuit = openCircuit(state, task, now);
  if (circuit) {
    const { key, evidence, ...timed } = circuit;
    return { hold: { code: 'CIRCUIT_OPEN', on: `circuit:${key}`, evidence, ...timed } };
  }
  if (role) {
    const { maxRunning = 0 } = state.rules.roles[role] ?? {};
    if ((state.runningByRole.get(role) ?? 0) >= maxRunning)
      return hold('ROLE_LIMIT', slotKey(task), { role, limit: maxRunning });
  }
  const { ceiling, agents } = state.rules;
  const agent = kindOf(state.rules, task.facts);
  const most = agent !== undefined && Object.hasOwn(agents, agent) ? agents[agent]?.maxRunning : undefined;
  if (agent !== undefined && most !== undefined && runningOfKind(state, agent) >= most)
    return hold('KIND_LIMIT', slotKey(task), { agent, limit: most });
  return state.running.size >= ceiling
    ? hold('CEILING_REACHED', slotKey(task), { limit: ceiling })
    : undefined;
}
