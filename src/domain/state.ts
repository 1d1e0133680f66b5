// The coordinator's state: one record per task, plan and role, the indexes over them, and how it is carried over a
// continue-as-new. Everything an index holds can be rebuilt from the records.

import type { Finding } from './assumptions.js';
import { ClaimIndex } from './claim-index.js';
import type { Rules } from './config.js';
import { Deadlines } from './deadlines.js';
import { Demand } from './demand.js';
import type { Fence } from './fence.js';
import type { FreezeRecord, KnownWord } from './freeze.js';
import { Heap } from './heap.js';
import { goesFirst, longerWaiting, type Place } from './line.js';
import type {
  AttemptResult,
  Decision,
  Extend,
  Outcome,
  PeerSaid,
  PeerTold,
  PlanRef,
  TaskFacts,
} from './messages.js';
import { type Pattern, parsePattern } from './paths.js';
import type { Beside, Evidence, ReasonCode } from './reasons.js';
import { ResourceIndex } from './resources.js';

/**
 * held -> running -> landing -> ended, with backoff between two attempts and stopping while an agent is being
 * ended. `hand` is the claim of a person: held or running until it is released.
 */
export type Phase = 'held' | 'running' | 'stopping' | 'backoff' | 'landing' | 'ended';

/** What comes and goes is set to undefined, never deleted: an object that something was deleted from is slow from then on. */
export interface TaskRecord {
  id: string;
  kind: 'task' | 'hand';
  life: string;
  /** Earlier lives: their late messages are ignored. */
  pastLives: string[];
  /** The highest number heard of this life. */
  seen: number;
  plan: PlanRef;
  /** Which submission under the plan's name it came with, when that was not the first. */
  submission?: number;
  facts: TaskFacts;
  repository: string;
  /** Order of arrival. */
  arrived: number;
  /** When this coordinator first heard of it, in milliseconds. */
  came: number;
  phase: Phase;
  /** When the phase began, in milliseconds. */
  since: number;
  attempt: number;
  /** Attempts that ended through no fault of the agent; they do not count against `retry.attempts`. */
  excused: number;
  fence?: Fence;
  /** True from the grant to the release: the claims are in the index. */
  holds: boolean;
  /** All that it claims from its next attempt on, while it still holds less for the sake of agents not seen to end. */
  wanted?: string[];
  leaseUntil?: number | undefined;
  restUntil?: number | undefined;
  /** While no agent runs under its claims: how long they are kept, see decide/pins.ts. */
  pinnedUntil?: number | undefined;
  /** Agents of its attempts that were not seen to end, and until when each of them may live. */
  unseen?: { fence: Fence; until: number }[] | undefined;
  /** The grant whose agent its worker has seen to end, though its workflow has not said so. */
  seenDead?: Fence;
  backoffUntil?: number | undefined;
  /** In phase held: what it waits for, since when, and its turn among those that wait for the same. */
  hold?:
    | {
        code: ReasonCode;
        evidence: Evidence;
        on: string;
        since: number;
        turn: number;
        /** When time alone brings it back, in milliseconds. */
        until?: number;
        /** In line for a slot: what it was ranked by when it was last looked at. */
        score?: number;
      }
    | undefined;
  /** With ifBusy: what it claims was free when it first asked for it, so it waits like any other from then on. */
  wasFree?: true;
  /** Since when it could run but for what others hold, and its turn among all such. Kept until it runs. */
  waits?: { since: number; turn: number } | undefined;
  /** The longest chain of tasks known to wait for it, itself included; 1 when left out. */
  chain?: number;
  /** In phase stopping: what comes after the agent's end. In phase landing: what comes after the withdrawal asked for; `end` is a hand-off. */
  stop?: { verdict: 'cancel' | 'retry' | 'end'; code: ReasonCode; evidence: Evidence } | undefined;
  result?: Extract<AttemptResult, { kind: 'commits' }> | undefined;
  /** In phase running: the extension of its claims that it asks for, and what it was told. */
  extension?:
    | (Extend & {
        answer: 'waiting' | 'granted' | 'refused' | 'retry';
        code?: ReasonCode;
        evidence?: Evidence;
        /** All that it waits for: watcher keys. */
        on?: string[];
      })
    | undefined;
  /** Its peers, as they were judged last, with the number of the latest refusal noted; and what was said of them. */
  peers?: (PeerTold & { refused: number })[];
  peersSaid?: readonly PeerSaid[];
  /** What was found of its assumptions: asked under `number`, which rises with all that may change them, answered up to `answered`. */
  assumed?: {
    number: number;
    answered: number;
    findings: Finding[];
    /** What was found instead and is settled for, by the assumption's position. */
    settled: Record<number, string>;
    againAt?: number;
  };
  /** In phase landing, before it is handed over: the upstream found meanwhile that it waits for. */
  blocked?: { code: 'LANDING_BLOCKED'; evidence: Evidence; since: number; unknown: boolean } | undefined;
  /** Upstreams found meanwhile that would have closed a circle. */
  refused?: string[];
  /** In phase landing: handed to the writer. From then on only the writer can withdraw it. */
  ordered?: boolean | undefined;
  outcome?: Outcome;
  decisions: Decision[];
  /** Full names of what ran beside it, while it held claims or ran. */
  beside: string[];
  by?: string;
  note?: string;
  /** hand: refuse rather than wait. */
  noWait?: boolean;
  /** hand: how long it holds, in milliseconds. */
  handLease?: number;
  /** hand: how often it was renewed. */
  renewed?: number;
  /** Its workflow is closed: there is nobody to tell. */
  gone?: boolean;
}

export interface PlanRecord {
  id: string;
  size?: number;
  complete: boolean;
  /** When to look whether it still waits for tasks, in milliseconds. */
  until: number;
  /** Members seen by an earlier coordinator that this one never heard of. */
  lookedUp: number;
  /** A plan's name that is used again: how often, and how many tasks of it had arrived before. */
  submission?: number;
  earlier?: number;
}

export interface RoleRecord {
  life: string;
  seen: number;
  frozen?: FreezeRecord;
  /** The newest push of others on its branch that was heard of. */
  outside?: string;
  /** When a landing of the role last came to its end. */
  settledAt?: number;
}

export interface KnownIssue {
  state: string;
  revision?: string;
  number: number;
}

/** The circuit breaker of a role or of a kind of agent, see circuits.ts. */
export interface Circuit {
  /** While it is closed: failures that the window still holds, oldest first. */
  failures: { at: number; spawn: boolean }[];
  open?: OpenCircuit & { trial?: string };
}

export interface OpenCircuit {
  since: number;
  /** When it is half-open. */
  until: number;
  why: string;
}

export interface Recovery {
  /** Tasks and writers (`writer:role`) that have not announced themselves yet. */
  awaiting: string[];
  /** Everything that a survey listed. */
  live: string[];
  /** True when the last survey has been read. */
  surveyed: boolean;
  /** In milliseconds: after this the rest is not waited for. */
  until: number;
}

/** The first of those that run, as many as a list holds; forgotten as soon as one of them runs no more. */
export interface FirstRunning {
  ids: string[];
  members: ReadonlySet<string>;
  /** Those that a decision names, with the reasons that held for the last one. */
  named: Beside[];
}

/** What continue-as-new carries. Plain JSON. */
export interface CarriedState {
  rules: Rules;
  epoch: number;
  seq: number;
  fenceNumber: number;
  standingNumber: number;
  arrivals: number;
  turns: number;
  /** How often chains or contended paths have changed since all lines were looked at. */
  drift: number;
  tasks: TaskRecord[];
  plans: PlanRecord[];
  issues: [string, KnownIssue][];
  roles: [string, RoleRecord][];
  recovery?: Recovery;
  /** Whether this line of coordinators ever had to recover: outcomes may then have to be looked up. */
  recovered: boolean;
  fleetWord?: KnownWord;
  /** When resources with a rate were granted, oldest first; no longer than the rate asks for. */
  rateLog?: [string, number[]][];
  /** Of roles and kinds of agent, those with failures to remember. */
  circuits?: [string, Circuit][];
  /** What an earlier coordinator granted up to then is not known, in milliseconds: their rates may be used up. */
  blindUntil?: number;
  due: {
    standings: string[];
    lazy: string[];
    announcements: string[];
    orders: string[];
    packets: string[];
    lookups: string[];
    checks: string[];
  };
}

export interface State
  extends Omit<CarriedState, 'tasks' | 'plans' | 'issues' | 'roles' | 'rateLog' | 'circuits' | 'due'> {
  tasks: Map<string, TaskRecord>;
  plans: Map<string, PlanRecord>;
  issues: Map<string, KnownIssue>;
  roles: Map<string, RoleRecord>;
  rateLog: Map<string, number[]>;
  circuits: Map<string, Circuit>;
  /**
   * What has to be told: standings at once, standings whose only news is another holder (lazy), tasks to be asked who
   * they are, orders to writers, packets of tasks whose workflow is closed, tasks and plans to look up in Temporal, tasks whose assumptions to look at.
   */
  due: {
    standings: Set<string>;
    lazy: Set<string>;
    announcements: Set<string>;
    orders: Set<string>;
    packets: Set<string>;
    lookups: Set<string>;
    checks: Set<string>;
  };

  // Indexes
  claims: ClaimIndex;
  uses: ResourceIndex;
  /** Tasks in phase running or stopping, in all, by role and by the kind of agent that they name ('' for none). */
  running: Set<string>;
  runningByRole: Map<string, number>;
  runningByKind: Map<string, number>;
  /** Tasks in phase landing, by role. */
  landing: Map<string, Set<string>>;
  /** Landings that wait for an upstream found meanwhile. */
  blocked: Set<string>;
  /** Live tasks that assume or read something. */
  concerned: Set<string>;
  /** Held tasks by what they wait for. */
  watchers: Map<string, Set<string>>;
  /** Running tasks whose extension waits, by what it waits for, and those that have to be looked at again. */
  extenders: Map<string, Set<string>>;
  toExtend: Set<string>;
  /** Held tasks, and landings not handed over, that have to be looked at again. */
  ready: Set<string>;
  /** Held tasks in line for a slot, by `slotKey`. */
  lines: Map<string, Heap<Place>>;
  /** Held tasks that could run but for what others hold, the oldest first. */
  waiters: Heap<Place>;
  /** For whom paths are kept free, see reservation.ts. */
  reserved?: { task: TaskRecord; claims: ClaimIndex; from: number; writes: string[]; repository: string };
  /** What all live tasks claim. */
  demand: Demand;
  dependents: Map<string, Set<string>>;
  /** Live tasks that ask to see the tree of the one. */
  lookers: Map<string, Set<string>>;
  byIssue: Map<string, Set<string>>;
  members: Map<string, Set<string>>;
  /** The members of each plan that have not ended. */
  unended: Map<string, Set<string>>;
  /** Tasks that run or land and whose list of what ran beside them has room; some that have left are still in it. */
  besideOpen: Set<string>;
  /** Only while very many run. */
  firstRunning?: FirstRunning;
  patterns: Map<string, Pattern[]>;
  deadlines: Deadlines;
  /** Ended tasks whose records can be dropped in time, oldest first. */
  endedOrder: Set<string>;
}

/** A coordinator that starts without carried state: it recovers before it grants anything. */
export function freshState(rules: Rules, now: number): State {
  const recovery: Recovery = { awaiting: [], live: [], surveyed: false, until: now + longestLease(rules) };
  return restore({
    rules,
    epoch: now,
    seq: 0,
    fenceNumber: 0,
    standingNumber: 0,
    arrivals: 0,
    turns: 0,
    drift: 0,
    tasks: [],
    plans: [],
    issues: [],
    roles: [],
    recovery,
    recovered: false,
    due: { standings: [], lazy: [], announcements: [], orders: [], packets: [], lookups: [], checks: [] },
  });
}

export function carry(state: State): CarriedState {
  const { rules, epoch, seq, fenceNumber, standingNumber, arrivals, turns, drift, recovery, recovered, due } =
    state;
  const { blindUntil, fleetWord } = state;
  return {
    rules,
    epoch,
    seq,
    fenceNumber,
    standingNumber,
    arrivals,
    turns,
    drift,
    tasks: [...state.tasks.values()],
    plans: [...state.plans.values()],
    issues: [...state.issues],
    roles: [...state.roles],
    ...(recovery ? { recovery } : {}),
    recovered,
    rateLog: [...state.rateLog],
    circuits: [...state.circuits],
    ...(blindUntil === undefined ? {} : { blindUntil }),
    ...(fleetWord ? { fleetWord } : {}),
    due: {
      standings: [...due.standings],
      lazy: [...due.lazy],
      announcements: [...due.announcements],
      orders: [...due.orders],
      packets: [...due.packets],
      lookups: [...due.lookups],
      checks: [...due.checks],
    },
  };
}

export function restore(carried: CarriedState): State {
  const { due } = carried;
  const state: State = {
    ...carried,
    tasks: new Map(),
    plans: new Map(carried.plans.map((plan) => [plan.id, plan])),
    issues: new Map(carried.issues),
    roles: new Map(carried.roles),
    rateLog: new Map(carried.rateLog),
    circuits: new Map(carried.circuits),
    due: {
      standings: new Set(due.standings),
      lazy: new Set(due.lazy),
      announcements: new Set(due.announcements),
      orders: new Set(due.orders),
      packets: new Set(due.packets),
      lookups: new Set(due.lookups),
      checks: new Set(due.checks),
    },
    claims: claimIndexOf(carried.rules),
    uses: new ResourceIndex(),
    running: new Set(),
    runningByRole: new Map(),
    runningByKind: new Map(),
    landing: new Map(),
    blocked: new Set(),
    concerned: new Set(),
    watchers: new Map(),
    extenders: new Map(),
    toExtend: new Set(),
    ready: new Set(),
    lines: new Map(),
    waiters: new Heap(longerWaiting),
    demand: new Demand(caseOf(carried.rules)),
    dependents: new Map(),
    lookers: new Map(),
    byIssue: new Map(),
    members: new Map(),
    unended: new Map(),
    besideOpen: new Set(),
    patterns: new Map(),
    deadlines: new Deadlines(),
    endedOrder: new Set(),
  };
  for (const task of [...carried.tasks].sort((a, b) => a.arrived - b.arrived)) indexTask(state, task);
  // Whoever waits goes on waiting for the same thing, in the same order.
  const held = carried.tasks.flatMap(({ id, hold }) => (hold ? { id, hold } : []));
  for (const { id, hold } of held) {
    state.ready.delete(id);
    addTo(state.watchers, hold.on, id);
    if (hold.until !== undefined) state.deadlines.push({ at: hold.until, kind: 'wake', id: hold.on });
  }
  for (const task of carried.tasks) {
    if (task.hold?.score !== undefined) lineUp(state, task, task.hold.score);
    if (task.hold && task.waits) state.waiters.push(placeOf(task, 0));
  }
  state.drift = carried.drift;
  for (const plan of carried.plans)
    if (!plan.complete) state.deadlines.push({ at: plan.until, kind: 'plan', id: plan.id });
  const frozen = [
    ['', carried.fleetWord?.freeze] as const,
    ...carried.roles.map(([role, record]) => [role, record.frozen] as const),
  ];
  for (const [id, freeze] of frozen)
    if (freeze?.until !== undefined) state.deadlines.push({ at: freeze.until, kind: 'thaw', id });
  if (carried.recovery) state.deadlines.push({ at: carried.recovery.until, kind: 'recovery', id: '' });
  return state;
}

const caseOf =
  ({ repositories }: Rules) =>
  (repository: string): boolean =>
    repositories[repository]?.caseInsensitive === true;

export const claimIndexOf = (rules: Rules): ClaimIndex => new ClaimIndex(caseOf(rules));

/** Makes the index of claims anew, for rules that compare names in another way. */
export function reindexClaims(state: State): void {
  state.claims = claimIndexOf(state.rules);
  state.demand = new Demand(caseOf(state.rules));
  delete state.reserved;
  for (const task of state.tasks.values()) if (task.phase !== 'ended') contend(state, task);
  const holders = [...state.tasks.values()].filter((task) => task.holds);
  for (const task of holders.sort((a, b) => a.arrived - b.arrived))
    state.claims.add(task.id, task.repository, patternsOf(state, task));
}

/** Somebody of whom nothing was decided yet. `earlier`: the record of the life before. */
export function newRecord(
  who: Pick<TaskRecord, 'id' | 'kind' | 'life' | 'plan' | 'facts' | 'repository'> & Partial<TaskRecord>,
  earlier: TaskRecord | undefined,
  now: number,
): TaskRecord {
  return {
    pastLives: earlier ? [...earlier.pastLives, earlier.life].slice(-KEPT_LIVES) : [],
    seen: 0,
    arrived: 0,
    came: now,
    phase: 'held',
    since: now,
    attempt: 1,
    excused: 0,
    holds: false,
    decisions: [],
    beside: [],
    ...who,
  };
}

/** Of earlier lives, so many are remembered. */
const KEPT_LIVES = 10;

/** Puts a record under the state's care; every index that follows from its phase is brought up to date. */
export function indexTask(state: State, task: TaskRecord): void {
  state.tasks.set(task.id, task);
  if (task.kind === 'task') addTo(state.members, task.plan.id, task.id);
  if (task.phase === 'ended') {
    state.endedOrder.add(task.id);
  } else {
    addTo(state.unended, task.plan.id, task.id);
    contend(state, task);
    for (const edge of task.facts.after) addTo(state.dependents, edge.task, task.id);
    for (const issue of issuesOf(task)) addTo(state.byIssue, issue, task.id);
    // What is left of an earlier life looks at nothing.
    if (!task.id.includes('~'))
      for (const peer of task.facts.peers ?? []) addTo(state.lookers, peer.task, task.id);
    if (task.facts.assumes?.length || task.facts.reads.length > 0) state.concerned.add(task.id);
  }
  if (task.holds) {
    state.claims.add(task.id, task.repository, patternsOf(state, task));
    state.uses.add(task.id, task.facts.uses);
  }
  if (task.phase === 'running' || task.phase === 'stopping') countRunning(state, task, 1);
  if (task.phase === 'landing' && task.facts.role) {
    addTo(state.landing, task.facts.role, task.id);
    state.besideOpen.add(task.id);
  }
  if (task.phase === 'held') state.ready.add(task.id);
  for (const key of task.extension?.on ?? []) addTo(state.extenders, key, task.id);
  const { deadlines } = state;
  if (task.leaseUntil !== undefined)
    deadlines.push({ at: task.leaseUntil, kind: task.kind === 'hand' ? 'hand' : 'lease', id: task.id });
  if (task.backoffUntil !== undefined)
    deadlines.push({ at: task.backoffUntil, kind: 'backoff', id: task.id });
  if (task.pinnedUntil !== undefined) deadlines.push({ at: task.pinnedUntil, kind: 'pin', id: task.id });
  if (task.restUntil !== undefined) deadlines.push({ at: task.restUntil, kind: 'rest', id: task.id });
  const unknownSince = task.hold?.code === 'UPSTREAM_UNKNOWN' ? task.hold.since : task.blocked?.since;
  if (unknownSince !== undefined)
    deadlines.push({ at: unknownSince + state.rules.planTimeout, kind: 'upstream', id: task.id });
  if (task.assumed?.againAt !== undefined)
    deadlines.push({ at: task.assumed.againAt, kind: 'assume', id: task.id });
  if (task.blocked) state.blocked.add(task.id);
  // Gives up its claims as soon as all its agents must be dead.
  if (task.phase === 'held' && task.holds && task.unseen?.length)
    deadlines.push({
      at: Math.max(...task.unseen.map(({ until }) => until + state.rules.lockDelay)),
      kind: 'rest',
      id: task.id,
    });
}

/** Issues that matter to the task: its own, and those that it assumes something of. */
export function issuesOf({ facts }: TaskRecord): string[] {
  const own = facts.issue === undefined ? [] : [facts.issue];
  const assumed = facts.assumes?.flatMap((one) => (one.kind === 'issue' ? [one.key] : []));
  return assumed ? [...new Set([...own, ...assumed])] : own;
}

export function patternsOf(state: State, task: TaskRecord): Pattern[] {
  let patterns = state.patterns.get(task.id);
  if (!patterns) {
    patterns = task.facts.writes.map(parsePattern);
    state.patterns.set(task.id, patterns);
  }
  return patterns;
}

/** How long its claims hold without renewal, in milliseconds: its own lease, its role's, or the fleet's. */
export const leaseOf = ({ rules }: Pick<State, 'rules'>, { facts, handLease }: TaskRecord): number =>
  handLease ?? facts.lease ?? (facts.role ? rules.roles[facts.role]?.lease : undefined) ?? rules.lease;

const longestLease = ({ lease, roles }: Rules): number =>
  Math.max(lease, ...Object.values(roles).map((role) => role.lease ?? 0));

/** What a task claims counts as contended from its arrival to its end. */
export function contend(state: State, task: TaskRecord): void {
  state.demand.set(task.id, task.repository, patternsOf(state, task));
  state.drift += 1;
}

export const placeOf = (task: TaskRecord, score: number): Place => ({
  id: task.id,
  score,
  priority: task.facts.priority ?? 0,
  age: task.waits?.turn ?? Number.POSITIVE_INFINITY,
  arrived: task.arrived,
  turn: task.hold?.turn ?? 0,
});

/** Tasks of one role and one kind of agent wait for the same slots: the key they watch. */
export const slotKey = ({ facts }: TaskRecord): string => `slot:${facts.role ?? ''}:${facts.agent ?? ''}`;

/** Puts a task that is held for want of a slot in line. */
export function lineUp(state: State, task: TaskRecord, score: number): void {
  if (!task.hold) return;
  task.hold.score = score;
  let line = state.lines.get(task.hold.on);
  if (!line) {
    line = new Heap(goesFirst);
    state.lines.set(task.hold.on, line);
  }
  line.push(placeOf(task, score));
}

/** Persons' claims take no agent's slot. */
export function countRunning(state: State, task: TaskRecord, by: 1 | -1): void {
  if (task.kind === 'hand') return;
  if (by === 1) {
    state.running.add(task.id);
    state.besideOpen.add(task.id);
  } else {
    state.running.delete(task.id);
    if (state.firstRunning?.members.has(task.id)) delete state.firstRunning;
  }
  const { role, agent = '' } = task.facts;
  if (role) state.runningByRole.set(role, (state.runningByRole.get(role) ?? 0) + by);
  state.runningByKind.set(agent, (state.runningByKind.get(agent) ?? 0) + by);
}

/** The kind of agent a task gets; undefined when the configuration does not say. */
export const kindOf = (rules: Rules, facts: TaskFacts): string | undefined =>
  facts.agent ?? rules.defaultAgent;

export const runningOfKind = (state: State, kind: string): number =>
  (state.runningByKind.get(kind) ?? 0) +
  (kind === state.rules.defaultAgent ? (state.runningByKind.get('') ?? 0) : 0);

export function addTo(index: Map<string, Set<string>>, key: string, id: string): void {
  const ids = index.get(key);
  if (ids) ids.add(id);
  else index.set(key, new Set([id]));
}

export function removeFrom(index: Map<string, Set<string>>, key: string, id: string): void {
  const ids = index.get(key);
  if (!ids) return;
  ids.delete(id);
  if (ids.size === 0) index.delete(key);
}
