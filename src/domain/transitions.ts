// The one place that moves a task from phase to phase, with the indexes, slots and claims that go with it.

import { besideEvidence } from './beside.js';
import { beginTrials, endTrials } from './circuits.js';
import { fenceText, sameFence } from './fence.js';
import { frozenBy } from './frozen.js';
import { SINGLE } from './ids.js';
import type { Decision, Outcome } from './messages.js';
import { type Evidence, explain, type ReasonCode } from './reasons.js';
import {
  addTo,
  contend,
  countRunning,
  issuesOf,
  leaseOf,
  patternsOf,
  removeFrom,
  type State,
  type TaskRecord,
} from './state.js';

/** Decisions kept per task: the newest; older holds go first. */
const KEPT_DECISIONS = 60;
/** Ended tasks that stay on record after their plan has ended, for status and why. */
const KEPT_ENDED = 500;
/** Ended tasks looked at for each event: more than one, so that their number shrinks. */
const LOOKS = 4;

export interface Taken extends Decision {
  task: string;
}

/** Writes a decision down with the next sequence number. */
export function record(
  state: State,
  task: TaskRecord,
  verdict: Decision['verdict'],
  code: ReasonCode,
  evidence: Evidence,
  now: number,
): Taken {
  const decision: Decision = { seq: ++state.seq, at: now, attempt: task.attempt, verdict, code, evidence };
  task.decisions.push(decision);
  if (task.decisions.length > KEPT_DECISIONS) {
    const hold = task.decisions.findIndex((kept) => kept.verdict === 'hold');
    task.decisions.splice(Math.max(hold, 0), 1);
  }
  state.due.lazy.delete(task.id);
  if (!task.gone) state.due.standings.add(task.id);
  return { ...decision, task: task.id };
}

/** Writes down what the task need not be told: it goes on as before. */
export function note(
  state: State,
  task: TaskRecord,
  code: ReasonCode,
  evidence: Evidence,
  now: number,
): Taken {
  const due = state.due.standings.has(task.id);
  const lazy = state.due.lazy.has(task.id);
  const taken = record(state, task, 'note', code, evidence, now);
  if (!due) state.due.standings.delete(task.id);
  if (lazy) state.due.lazy.add(task.id);
  return taken;
}

/** The newest decision that says what becomes of the task; of one that has only notes, the newest of them. */
export const lastWord = ({ decisions }: TaskRecord): Decision | undefined =>
  decisions.findLast((decision) => decision.verdict !== 'note') ?? decisions.at(-1);

/** Moves every held task that waits for `key` to the tasks to be looked at again. */
export function wake(state: State, key: string): void {
  wakeExtenders(state, key);
  const ids = state.watchers.get(key);
  if (!ids) return;
  state.watchers.delete(key);
  for (const id of ids) state.ready.add(id);
}

/** Extensions that wait for `key` are looked at again. */
export function wakeExtenders(state: State, key: string): void {
  if (state.extenders.size === 0) return;
  for (const id of state.extenders.get(key) ?? []) state.toExtend.add(id);
}

/** What it asked for while it ran is void. */
export function forgetExtension(state: State, task: TaskRecord): void {
  for (const key of task.extension?.on ?? []) removeFrom(state.extenders, key, task.id);
  state.toExtend.delete(task.id);
  task.extension = undefined;
}

/** A task has its outcome, or has it no more: all that wait for it are looked at again, whatever else holds them. */
export function wakeDependents(state: State, id: string): void {
  for (const dependent of state.dependents.get(id) ?? []) {
    const { phase } = state.tasks.get(dependent) ?? {};
    if (phase === 'held' || phase === 'landing') state.ready.add(dependent);
  }
}

/** Landings that wait for the task are looked at again. */
export function wakeBlocked(state: State, id: string): void {
  for (const dependent of state.dependents.get(id) ?? [])
    if (state.blocked.has(dependent)) state.ready.add(dependent);
}

/** Watches one key, and gives the task's turn there. Whoever watches it already keeps its turn. */
export function watch(state: State, task: TaskRecord, key: string): number {
  const { hold } = task;
  if (hold?.on === key && state.watchers.get(key)?.has(task.id)) return hold.turn;
  unwatch(state, task);
  addTo(state.watchers, key, task.id);
  return ++state.turns;
}

function unwatch(state: State, task: TaskRecord): void {
  if (task.hold) removeFrom(state.watchers, task.hold.on, task.id);
}

/** Paths that were kept free for it are not any longer: whoever they were kept from is looked at again. */
export const endReservation = (state: State, task: TaskRecord): void => wake(state, `reserved:${task.id}`);

/** Grants the task its claims, all at once, under the next fence. */
export function grant(state: State, task: TaskRecord, now: number): Taken {
  unwatch(state, task);
  task.hold = undefined;
  task.waits = undefined;
  endReservation(state, task);
  if (!task.holds) {
    takeClaims(state, task);
  }
  noteRates(state, task, now);
  const first = neverGranted(task);
  beginTrials(state, task);
  task.fence = { epoch: state.epoch, number: ++state.fenceNumber };
  task.phase = 'running';
  task.since = now;
  task.leaseUntil = now + leaseOf(state, task);
  task.pinnedUntil = undefined;
  state.deadlines.push({ at: task.leaseUntil, kind: task.kind === 'hand' ? 'hand' : 'lease', id: task.id });
  const evidence = besideEvidence(state, task, first);
  countRunning(state, task, 1);
  return record(
    state,
    task,
    'run',
    task.facts.role || task.kind === 'hand' ? 'CLAIMS_FREE' : 'READ_ONLY',
    evidence,
    now,
  );
}

/** Paths and resources together: all of them are the task's from now on. */
export function takeClaims(state: State, task: TaskRecord): void {
  state.claims.add(task.id, task.repository, patternsOf(state, task));
  state.uses.add(task.id, task.facts.uses);
  task.holds = true;
}

/** Every attempt counts: its agent may use the resource anew. */
export function noteRates(state: State, task: TaskRecord, now: number): void {
  for (const { resource } of task.facts.uses ?? []) {
    const rate = state.rules.resources[resource]?.rate;
    if (rate) state.rateLog.set(resource, [...(state.rateLog.get(resource) ?? []), now].slice(-rate.count));
  }
}

/** Whoever waits for what the task holds is looked at again. */
export function wakeWaiters(state: State, task: TaskRecord): void {
  wake(state, `holder:${task.id}`);
  for (const { resource } of task.facts.uses ?? []) wake(state, `resource:${resource}`);
}

/** An earlier life, or an earlier claim of the same person, may be in others' lists under the same name. */
const neverGranted = (task: TaskRecord): boolean =>
  task.kind === 'task' && task.fence === undefined && task.pastLives.length === 0;

/** Frees the slot of a task whose agent no longer counts as running. */
function freeSlot(state: State, task: TaskRecord): void {
  countRunning(state, task, -1);
  for (const key of endTrials(state, task)) wake(state, `circuit:${key}`);
  state.ready.delete(task.id);
}

/** Takes the claims back; whoever waited for them is looked at again. Happens once for each grant. */
export function release(state: State, task: TaskRecord): void {
  task.restUntil = undefined;
  task.pinnedUntil = undefined;
  task.unseen = undefined;
  if (!task.holds) return;
  task.holds = false;
  state.claims.remove(task.id, task.repository, patternsOf(state, task));
  state.uses.remove(task.id, task.facts.uses);
  wakeWaiters(state, task);
  const { wanted } = task;
  delete task.wanted;
  if (wanted) setWrites(state, task, wanted);
}

/** Changes what the task claims, and holds if it holds its claims. */
export function setWrites(state: State, task: TaskRecord, writes: string[]): void {
  if (task.holds) state.claims.remove(task.id, task.repository, patternsOf(state, task));
  task.facts = { ...task.facts, writes };
  state.patterns.delete(task.id);
  if (task.holds) state.claims.add(task.id, task.repository, patternsOf(state, task));
  if (task.phase !== 'ended') contend(state, task);
}

/** A held task gives up its claims, as soon as all its agents must be dead. */
export function letGo(state: State, task: TaskRecord, now: number): void {
  const free = freeAt(state, task);
  if (free > now) state.deadlines.push({ at: free, kind: 'rest', id: task.id });
  else release(state, task);
}

/** Leaves the task's phase; the caller enters another at once. */
export function leave(state: State, task: TaskRecord): void {
  if (task.phase === 'running' || task.phase === 'stopping') freeSlot(state, task);
  forgetExtension(state, task);
  // Whoever waits for it with an agent must not, should it need a slot now.
  wakeExtenders(state, `holder:${task.id}`);
  task.ordered = undefined;
  task.blocked = undefined;
  state.blocked.delete(task.id);
  if (task.phase === 'landing' && task.facts.role) {
    removeFrom(state.landing, task.facts.role, task.id);
    state.due.orders.add(task.facts.role);
  }
  if (task.phase === 'held') {
    unwatch(state, task);
    task.hold = undefined;
    task.waits = undefined;
    endReservation(state, task);
  }
  state.ready.delete(task.id);
  task.leaseUntil = undefined;
  task.backoffUntil = undefined;
}

/** Its agent was not seen to end: until its lease ends it may live, whatever becomes of the task. Before `leave`. */
export function lostSight(task: TaskRecord, now: number): void {
  if (!task.holds || !task.fence || sameFence(task.seenDead, task.fence)) return;
  task.unseen = [...(task.unseen ?? []), { fence: task.fence, until: Math.max(task.leaseUntil ?? now, now) }];
}

/** When the claims of a task that ends may be granted again. */
export const freeAt = (state: State, task: TaskRecord): number =>
  (task.unseen ?? []).reduce((free, { until }) => Math.max(free, until + state.rules.lockDelay), 0);

/** No agent runs under its claims from now on: they are kept, but not for longer than this. */
export function pin(state: State, task: TaskRecord, until: number): void {
  if (!task.holds) return;
  task.pinnedUntil = until;
  state.deadlines.push({ at: until, kind: 'pin', id: task.id });
}

/** Nothing keeps its landing back from now on, so its time begins anew. The deadline that is set comes first, and moves. */
export function restartLanding(state: State, task: TaskRecord, now: number): void {
  if (task.pinnedUntil !== undefined) task.pinnedUntil = now + state.rules.pinned.landing;
}

/** The agent is told to end; the slot and the claims stay taken until it has. */
export function stop(
  state: State,
  task: TaskRecord,
  verdict: 'cancel' | 'retry',
  code: ReasonCode,
  evidence: Evidence,
  now: number,
): Taken {
  task.phase = 'stopping';
  task.since = now;
  task.stop = { verdict, code, evidence };
  return record(state, task, verdict, code, evidence, now);
}

/** Back to waiting for a grant, with the next attempt's number. */
export function requeue(state: State, task: TaskRecord, now: number): void {
  leave(state, task);
  task.stop = undefined;
  task.result = undefined;
  task.phase = 'held';
  task.since = now;
  state.ready.add(task.id);
}

/**
 * The task's one outcome. Claims are released at once when all its agents are known to be dead, else they rest until
 * the lease and the lock-delay have passed.
 */
export function end(
  state: State,
  task: TaskRecord,
  outcome: Omit<Outcome, 'text'>,
  evidence: Evidence,
  dead: boolean,
  now: number,
): Taken {
  if (!dead) lostSight(task, now);
  leave(state, task);
  task.stop = undefined;
  task.result = undefined;
  task.pinnedUntil = undefined;
  task.phase = 'ended';
  task.since = now;
  task.outcome = { ...outcome, text: explain(outcome.code, evidence) };
  const taken = record(
    state,
    task,
    outcome.kind === 'cancelled' ? 'cancel' : 'end',
    outcome.code,
    evidence,
    now,
  );
  const free = freeAt(state, task);
  if (task.holds && free > now) {
    task.restUntil = free;
    state.deadlines.push({ at: task.restUntil, kind: 'rest', id: task.id });
    // Whoever waits for them learns that they rest.
    wakeWaiters(state, task);
  } else {
    release(state, task);
  }
  if (task.gone) state.due.packets.add(task.id);
  for (const edge of task.facts.after) removeFrom(state.dependents, edge.task, task.id);
  for (const issue of issuesOf(task)) removeFrom(state.byIssue, issue, task.id);
  for (const peer of task.facts.peers ?? []) removeFrom(state.lookers, peer.task, task.id);
  state.concerned.delete(task.id);
  state.due.checks.delete(task.id);
  wakeDependents(state, task.id);
  removeFrom(state.unended, task.plan.id, task.id);
  state.demand.delete(task.id);
  state.drift += 1;
  task.waits = undefined;
  state.endedOrder.add(task.id);
  return taken;
}

/**
 * Drops the oldest ended records of which nothing is left to tell: whose whole plan has ended, or that were submitted on
 * their own. Those that must stay a while longer go to the end of the line, so that they keep nobody from being dropped.
 */
export function forgetEnded(state: State, events: number): void {
  let looks = Math.min(state.endedOrder.size - KEPT_ENDED, LOOKS * events);
  for (const id of state.endedOrder) {
    if (looks-- <= 0) return;
    state.endedOrder.delete(id);
    const task = state.tasks.get(id);
    if (task?.phase !== 'ended') continue;
    if (forgettable(state, task)) forget(state, task);
    else {
      shorten(task);
      state.endedOrder.add(id);
    }
  }
}

/** Thousands of them are carried: whom each attempt began beside is among all that the task ran beside. */
function shorten(task: TaskRecord): void {
  if (!task.decisions.some(({ evidence }) => evidence.beside)) return;
  task.decisions = task.decisions.map((decision) => {
    const { beside: _, besideMore: __, ...evidence } = decision.evidence;
    return { ...decision, evidence };
  });
}

function forgettable(state: State, task: TaskRecord): boolean {
  const { due } = state;
  if (task.holds || due.standings.has(task.id) || due.packets.has(task.id) || state.dependents.has(task.id))
    return false;
  return task.plan.id === SINGLE || !state.unended.has(task.plan.id);
}

function forget(state: State, task: TaskRecord): void {
  state.tasks.delete(task.id);
  state.patterns.delete(task.id);
  // Who names it as upstream from now on has to look it up.
  state.recovered = true;
  removeFrom(state.members, task.plan.id, task.id);
  if (!state.members.has(task.plan.id)) state.plans.delete(task.plan.id);
}

/** The task's full name, also when the record is what is left of an earlier life of it: `name~life`. */
export const nameOf = (task: TaskRecord): string => task.id.split('~', 1)[0] ?? task.id;

export const landingId = (task: TaskRecord): string =>
  `${nameOf(task)}#${task.fence ? fenceText(task.fence) : ''}`;

/** A landing waits with its claims pinned when, before it was handed to the writer, its issue was put on hold or it was blocked. */
export function landingOnHold(state: State, task: TaskRecord): boolean {
  if (task.blocked) return true;
  if (!task.ordered && frozenBy(state, task.facts.role)) return true;
  return !task.ordered && issueOnHold(state, task);
}

export function issueOnHold(state: State, { facts }: TaskRecord): boolean {
  const known = facts.issue === undefined ? undefined : state.issues.get(facts.issue);
  return known !== undefined && state.rules.issues[known.state] === 'hold';
}
