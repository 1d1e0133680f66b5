// What the coordinator tells of its state: to tasks, to writers, and to people who ask.

import { whyBeside } from './beside.js';
import { askBack, mayBeTakenOver, takenOver } from './decide/handoff.js';
import { type FreezeReport, told, wordTold } from './freeze.js';
import type { Decision, Edge, LandingOrder, Orders, Outcome, Standing } from './messages.js';
import { draftOf, type Packet } from './packet.js';
import { explain, type ReasonCode } from './reasons.js';
import { useText } from './resources.js';
import { leaseOf, type Phase, type State, type TaskRecord } from './state.js';
import { landingId, landingOnHold, lastWord, nameOf, restartLanding } from './transitions.js';
import { waitsFor } from './waits.js';

/** The whole standing of a task, under the coordinator's next number. Undefined for one never decided on. */
export function standingOf(state: State, id: string): Standing | undefined {
  const task = state.tasks.get(id);
  const decision = task && lastWord(task);
  if (!task || !decision) return undefined;
  const { attempt, fence, outcome } = task;
  const standing: Standing = {
    life: task.life,
    epoch: state.epoch,
    number: ++state.standingNumber,
    phase: task.phase === 'backoff' ? 'held' : task.phase,
    attempt,
    decision,
    ...(fence ? { fence } : {}),
  };
  if (task.refused) standing.refused = task.refused;
  if (task.phase === 'running') standing.lease = leaseOf(state, task);
  const from = task.phase === 'running' ? takenOver(state, task) : undefined;
  if (from) standing.from = from;
  if (task.kind === 'hand') standing.heard = task.seen;
  if (task.extension) {
    const { number, answer, paths, evidence = {} } = task.extension;
    standing.extension = { number, answer, paths, evidence };
  }
  if (task.peers) standing.peers = task.peers.map(({ refused: _, ...told }) => told);
  if (outcome) Object.assign(standing, { outcome, story: task.decisions, beside: besideOf(state, task) });
  return standing;
}

function besideOf(state: State, task: TaskRecord): NonNullable<Standing['beside']> {
  return task.beside.map((id) => ({ task: id, why: whyBeside(task, state.tasks.get(id)) }));
}

/** All landings that the role's writer has to do, oldest first; they count as handed over from now on. */
export function takeOrders(state: State, role: string, now: number): Orders {
  const tasks = [...(state.landing.get(role) ?? [])]
    .flatMap((id) => state.tasks.get(id) ?? [])
    .filter((task) => !landingOnHold(state, task) && !mayBeTakenOver(state, task))
    .sort((a, b) => a.since - b.since || a.arrived - b.arrived);
  for (const task of tasks) {
    askBack(state, task);
    if (!task.ordered) restartLanding(state, task, now);
    task.ordered = true;
  }
  const frozen = state.roles.get(role)?.frozen;
  return {
    epoch: state.epoch,
    number: ++state.standingNumber,
    landings: tasks.flatMap((task) => orderOf(task) ?? []),
    ...(frozen ? { frozen: told(frozen, now) } : {}),
    ...(state.fleetWord ? { fleet: wordTold(state.fleetWord, now) } : {}),
  };
}

function orderOf(task: TaskRecord): LandingOrder | undefined {
  const { fence, result, facts } = task;
  if (!fence || !result) return undefined;
  const { base, commit, ref } = result;
  return {
    id: landingId(task),
    task: nameOf(task),
    attempt: task.attempt,
    fence,
    base,
    commit,
    ref,
    writes: facts.writes,
    ...(facts.title ? { title: facts.title } : {}),
    ...(facts.issue ? { issue: facts.issue } : {}),
    ...(task.stop ? { withdraw: true } : {}),
  };
}

/** One line of `signalbox status`. Milliseconds throughout. */
export interface TaskLine {
  id: string;
  kind: TaskRecord['kind'];
  title?: string;
  phase: Phase;
  role?: string;
  attempt: number;
  /** How long it has been in its phase, or held for the present reason. */
  forMs: number;
  code?: string;
  why?: string;
  holder?: string;
  outcome?: Outcome;
}

/** What a person's claim says of itself. */
export interface HandState {
  id: string;
  writes: string[];
  repository?: string;
  phase: 'held' | 'running' | 'ended';
  code: ReasonCode;
  why: string;
  holder?: string;
  fence?: string;
  outcome?: Outcome;
  /** The coordinator has answered. */
  heard: boolean;
}

/** Asks a person's claim to hold anew: under its fence, when the one who asks has one. */
export interface Renewal {
  fence?: string;
  /** Milliseconds, from now on. */
  lease?: number;
}

export interface ClaimLine {
  holder: string;
  repository: string;
  paths: string[];
  /** Resources: their names, with the mode where it is not exclusive. */
  uses: string[];
  phase: Phase;
  fence?: string;
  forMs: number;
  leaseLeftMs?: number;
  restingMs?: number;
  waiting: string[];
  by?: string;
  note?: string;
}

export interface Overview {
  fleet: string;
  /** When the coordinator last looked at its clock, in milliseconds: durations count up to then. */
  asOf: number;
  epoch: number;
  recovering: boolean;
  running: number;
  ceiling: number;
  tasks: TaskLine[];
  claims: ClaimLine[];
  /** Circuits that are open, or half-open: `trial` is then the task that is tried, if any is. */
  circuits: { of: string; state: 'open' | 'half-open'; forMs: number; why: string; trial?: string }[];
  /** The whole fleet is frozen. */
  frozen?: FreezeReport;
  roles: { role: string; frozen?: FreezeReport; landing: number; running: number; maxRunning: number }[];
}

export function overview(state: State, now: number): Overview {
  const tasks = [...state.tasks.values()].filter((task) => !task.id.includes('~'));
  return {
    fleet: state.rules.fleet,
    asOf: now,
    epoch: state.epoch,
    recovering: state.recovery !== undefined,
    ...(state.fleetWord?.freeze ? { frozen: told(state.fleetWord.freeze, now) } : {}),
    running: state.running.size,
    ceiling: state.rules.ceiling,
    tasks: tasks.filter((task) => task.kind === 'task').map((task) => lineOf(task, now)),
    claims: [...state.tasks.values()].filter((task) => task.holds).map((task) => claimLine(state, task, now)),
    circuits: [...state.circuits].flatMap(([of, { open }]) => {
      if (!open) return [];
      const { since, until, why, trial } = open;
      const half = now >= until ? ('half-open' as const) : ('open' as const);
      return [{ of, state: half, forMs: now - since, why, ...(trial === undefined ? {} : { trial }) }];
    }),
    roles: Object.entries(state.rules.roles).map(([role, { maxRunning }]) => {
      const frozen = state.roles.get(role)?.frozen;
      return {
        role,
        landing: state.landing.get(role)?.size ?? 0,
        running: state.runningByRole.get(role) ?? 0,
        maxRunning,
        ...(frozen === undefined ? {} : { frozen: told(frozen, now) }),
      };
    }),
  };
}

export function lineOf(task: TaskRecord, now: number): TaskLine {
  const { id, kind, phase, attempt, outcome, hold } = task;
  const { title, role } = task.facts;
  const line: TaskLine = { id, kind, phase, attempt, forMs: Math.max(0, now - (hold?.since ?? task.since)) };
  if (title) line.title = title;
  if (role) line.role = role;
  if (outcome) line.outcome = outcome;
  const waits = hold ?? task.blocked ?? waitingExtension(task);
  const last = waits ?? lastWord(task);
  if (last) {
    line.code = last.code;
    line.why = explain(last.code, last.evidence);
    const holder = waits?.evidence.holder ?? waits?.evidence.upstream;
    if (holder) line.holder = holder;
  }
  return line;
}

/** Its agent runs, and waits for more paths. */
function waitingExtension({ extension }: TaskRecord): Pick<Decision, 'code' | 'evidence'> | undefined {
  const { answer, code, evidence = {} } = extension ?? {};
  return answer === 'waiting' && code ? { code, evidence } : undefined;
}

function claimLine(state: State, task: TaskRecord, now: number): ClaimLine {
  const { fence, leaseUntil, restUntil } = task;
  return {
    holder: task.id,
    repository: task.repository,
    paths: task.facts.writes,
    uses: (task.facts.uses ?? []).map(useText),
    phase: task.phase,
    forMs: Math.max(
      0,
      now - (task.decisions.findLast((decision) => decision.verdict === 'run')?.at ?? task.since),
    ),
    waiting: behind(state, task),
    ...(fence ? { fence: `${fence.epoch}.${fence.number}` } : {}),
    ...(task.phase === 'running' && leaseUntil !== undefined
      ? { leaseLeftMs: Math.max(0, leaseUntil - now) }
      : {}),
    ...(restUntil === undefined ? {} : { restingMs: Math.max(0, restUntil - now) }),
    ...(task.by ? { by: task.by } : {}),
    ...(task.note ? { note: task.note } : {}),
  };
}

/** Who waits for something that the task holds. */
function behind(state: State, task: TaskRecord): string[] {
  const key = `holder:${task.id}`;
  const waiting = new Set([...(state.extenders.get(key) ?? []), ...(state.watchers.get(key) ?? [])]);
  if (task.holds)
    for (const { resource } of task.facts.uses ?? [])
      for (const id of state.watchers.get(`resource:${resource}`) ?? [])
        if (state.tasks.get(id)?.hold?.evidence.holders?.includes(task.id)) waiting.add(id);
  return [...waiting];
}

export interface Story {
  /** As in Overview. */
  asOf: number;
  task: TaskLine;
  decisions: Decision[];
  beside: string[];
  /** Whom it depends on, those found since it was submitted among them. */
  after: Edge[];
  waiting: string[];
}

/** All that was decided about a task, or about a person's claim, oldest first. */
export function storyOf(state: State, id: string, now: number): Story | undefined {
  const task = state.tasks.get(id);
  if (!task) return undefined;
  const waiting = [
    ...behind(state, task),
    ...[...(state.dependents.get(id) ?? [])].filter((other) =>
      waitsFor(state, state.tasks.get(other)).includes(id),
    ),
  ];
  return {
    asOf: now,
    task: lineOf(task, now),
    decisions: task.decisions,
    beside: task.beside,
    after: task.facts.after,
    waiting,
  };
}

/** The packet of a task whose workflow is closed and cannot write its own. Undefined while it has not ended. */
export function packetOf(state: State, id: string): Packet | undefined {
  const task = state.tasks.get(id);
  if (!task?.outcome || task.kind !== 'task') return undefined;
  const { life, facts, outcome, decisions } = task;
  return {
    ...draftOf({ id: nameOf(task), life, facts }, { fleet: state.rules.fleet, attempts: [] }),
    outcome,
    decisions,
    beside: besideOf(state, task),
  };
}

export interface LiveTask {
  task: string;
  life: string;
  /** What the task should say of its state; of writers nothing. */
  state?: string;
}

/**
 * Tasks, and writers with landings to do (`writer:role`), whose workflows ought to be alive; and all that a recovering
 * coordinator waits for: one that ended as it was listed will never announce itself.
 */
export function liveTasks(state: State): LiveTask[] {
  const tasks = [...state.tasks.values()]
    .filter((task) => task.phase !== 'ended' && !task.gone)
    .map(({ id, life, phase }) => ({ task: id, life, state: phase === 'backoff' ? 'held' : phase }));
  const writers = [...state.landing.keys()].map((role) => ({ task: `writer:${role}`, life: '' }));
  const awaited = (state.recovery?.awaiting ?? []).map((task) => ({ task, life: '' }));
  return [...tasks, ...writers, ...awaited];
}

/** An overview as it is `ms` later, if nothing has happened since. */
export function aged(overview: Overview, ms: number): Overview {
  if (ms <= 0) return overview;
  return {
    ...overview,
    tasks: overview.tasks.map((line) => ({ ...line, forMs: line.forMs + ms })),
    ...(overview.frozen ? { frozen: agedFreeze(overview.frozen, ms) } : {}),
    roles: overview.roles.map((line) =>
      line.frozen ? { ...line, frozen: agedFreeze(line.frozen, ms) } : line,
    ),
    circuits: overview.circuits.map((line) => ({ ...line, forMs: line.forMs + ms })),
    claims: overview.claims.map((line) => ({
      ...line,
      forMs: line.forMs + ms,
      ...(line.leaseLeftMs === undefined ? {} : { leaseLeftMs: Math.max(0, line.leaseLeftMs - ms) }),
      ...(line.restingMs === undefined ? {} : { restingMs: Math.max(0, line.restingMs - ms) }),
    })),
  };
}

const agedFreeze = (freeze: FreezeReport, ms: number): FreezeReport =>
  freeze.left === undefined ? freeze : { ...freeze, left: Math.max(0, freeze.left - ms) };
