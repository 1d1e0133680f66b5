// What becomes of an attempt: taken over from an earlier coordinator, finished, failed, ended on demand, or handed over
// to land. The task's workflow is the truth about it; only the grant's own fence counts.

import { besideEvidence } from '../beside.js';
import { noteResult } from '../circuits.js';
import { compareFences, type Fence, sameFence } from '../fence.js';
import { frozenBy } from '../frozen.js';
import { judgeGraph } from '../judge.js';
import type { AttemptResult, TaskReport } from '../messages.js';
import type { ReasonCode } from '../reasons.js';
import { addTo, countRunning, leaseOf, patternsOf, type State, type TaskRecord } from '../state.js';
import {
  end,
  freeAt,
  landingOnHold,
  leave,
  lostSight,
  noteRates,
  pin,
  record,
  release,
  stop,
  type Taken,
  takeClaims,
  wake,
} from '../transitions.js';
import { askFor, needsLook } from './assume.js';
import { handOff, inherited, mayHandOff, takeFrom, takerOf } from './handoff.js';
import { heedKnown } from './issues.js';
import { fail } from './retry.js';

/** Brings the record in line with what the task says of itself. */
export function follow(state: State, task: TaskRecord, report: TaskReport, now: number): Taken[] {
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
  takeFrom(state, task);
  const lost = lostTo(state, task);
  leave(state, task);
  task.attempt = report.attempt;
  task.fence = fence;
  task.phase = 'running';
  task.since = now;
  countRunning(state, task, 1);
  const taken = lost ? giveWay(state, task, report, lost, now) : takeOver(state, task, report, now);
  return [...taken, ...heedKnown(state, task, now)];
}

function takeOver(state: State, task: TaskRecord, report: TaskReport, now: number): Taken[] {
  if (!task.holds) takeClaims(state, task);
  noteRates(state, task, now);
  if (task.facts.assumes?.some(needsLook)) askFor(state, task);
  task.leaseUntil = now + leaseOf(state, task);
  state.deadlines.push({ at: task.leaseUntil, kind: 'lease', id: task.id });
  const taken = record(state, task, 'note', 'TAKEN_OVER', besideEvidence(state, task, false), now);
  return report.at === 'stopped' ? [taken, ...stopped(state, task, report, now)] : [taken];
}

interface Lost {
  holder: string;
  path: string;
}

/** Another holds by now what it was granted: the attempt comes to nothing, unless it has landed. */
function giveWay(
  state: State,
  task: TaskRecord,
  { at, result }: TaskReport,
  { holder, path }: Lost,
  now: number,
): Taken[] {
  const evidence = { holder, path };
  if (at !== 'stopped') return [stop(state, task, 'retry', 'CLAIM_LOST', evidence, now)];
  if (result?.kind === 'commits' && task.facts.role) {
    if (holder === takerOf(state, task)?.id) return land(state, task, task.facts.role, result, now);
    // It may have been handed over, and may have landed: its writer knows.
    task.stop = { verdict: 'retry', code: 'CLAIM_LOST', evidence };
    const taken = land(state, task, task.facts.role, result, now);
    return [...taken, record(state, task, 'retry', 'CLAIM_LOST', evidence, now)];
  }
  if (!result?.dead) return [stop(state, task, 'retry', 'CLAIM_LOST', evidence, now)];
  const why = { verdict: 'retry', code: 'CLAIM_LOST', evidence } as const;
  return (
    askWriter(state, task, result, why, now) ?? fail(state, task, 'CLAIM_LOST', evidence, false, true, now)
  );
}

/** Who holds by now what the task says it holds. */
function lostTo(state: State, task: TaskRecord): Lost | undefined {
  const overlap = state.claims.firstOverlap(task.id, task.repository, patternsOf(state, task));
  if (overlap) return { holder: overlap.holder, path: overlap.ours };
  for (const use of task.facts.uses ?? []) {
    const [holder] = state.uses.inTheWay(task.id, use, state.rules.resources[use.resource]?.capacity ?? 1);
    if (holder !== undefined) return { holder, path: use.resource };
  }
  return undefined;
}

/** The attempt is over, and nobody had asked for that, unless it was an earlier coordinator. */
function stopped(state: State, task: TaskRecord, report: TaskReport, now: number): Taken[] {
  const { result } = report;
  if (!result) return [];
  const ended = result.kind === 'failed' && result.code !== 'NO_COMMITS' ? result : 'well';
  for (const key of noteResult(state, task, ended, now)) wake(state, `circuit:${key}`);
  if (result.kind === 'failed') {
    const evidence = result.text ? { text: result.text } : {};
    if (result.code === 'CANCELLED_BY_REQUEST') {
      if (inherited(state, task)) return fail(state, task, 'STOP_FORGOTTEN', {}, false, result.dead, now);
      return [end(state, task, { kind: 'cancelled', code: result.code }, evidence, result.dead, now)];
    }
    const asked = askWriter(state, task, result, { verdict: 'retry', code: result.code, evidence }, now);
    if (asked) return asked;
    return fail(state, task, result.code, evidence, result.final === true, result.dead, now);
  }
  if (result.kind === 'done' || !task.facts.role) {
    return [end(state, task, { kind: 'finished', code: 'FINISHED' }, {}, result.dead, now)];
  }
  const taker = takerOf(state, task);
  if (taker && !inherited(state, task) && !blockedBy(state, task) && mayHandOff(state, task))
    return handOff(state, task, taker.id, result, now);
  return land(state, task, task.facts.role, result, now);
}

/** Somebody found meanwhile that it waits for others, which have not all ended well. */
const blockedBy = (state: State, task: TaskRecord): boolean => judgeGraph(state, task) !== undefined;

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
  const asked = askWriter(state, task, result, { verdict, code, evidence }, now);
  if (asked) return asked;
  if (verdict === 'cancel') return [end(state, task, { kind: 'cancelled', code }, evidence, dead, now)];
  if (dead && freeAt(state, task) <= now) release(state, task);
  return fail(state, task, code, evidence, false, dead, now);
}

/** How an attempt ends of which the task has not heard how it ended. */
const UNHEARD: ReadonlySet<ReasonCode> = new Set(['WORKER_LOST', 'WORKSTATION_FAILED']);

/**
 * An attempt of an earlier coordinator's, lost with its worker: it may have ended well before that, and been handed over,
 * and have landed, of which its task and this coordinator have not heard. Its writer knows, and gives back what has not
 * landed. Undefined when there is nothing to ask.
 */
function askWriter(
  state: State,
  task: TaskRecord,
  result: AttemptResult | undefined,
  why: NonNullable<TaskRecord['stop']>,
  now: number,
): Taken[] | undefined {
  const { role } = task.facts;
  if (result?.kind !== 'failed' || !UNHEARD.has(result.code) || !role || !inherited(state, task))
    return undefined;
  task.stop = why;
  handOver(state, task, role, { kind: 'commits', dead: result.dead, base: '', commit: '', ref: '' }, now);
  return [record(state, task, 'note', 'LANDING_UNKNOWN', {}, now)];
}

/** From now on its writer has the word. */
function handOver(
  state: State,
  task: TaskRecord,
  role: string,
  result: NonNullable<TaskRecord['result']>,
  now: number,
): void {
  if (!result.dead) lostSight(task, now);
  leave(state, task);
  task.phase = 'landing';
  task.since = now;
  task.result = result;
  pin(state, task, now + state.rules.pinned.landing);
  if (inherited(state, task)) task.ordered = true;
  else if (task.facts.after.some((edge) => edge.added)) state.ready.add(task.id);
  addTo(state.landing, role, task.id);
  state.besideOpen.add(task.id);
  state.due.orders.add(role);
}

function land(
  state: State,
  task: TaskRecord,
  role: string,
  result: NonNullable<TaskRecord['result']>,
  now: number,
): Taken[] {
  handOver(state, task, role, result, now);
  const taken = record(state, task, 'land', 'COMMITS_READY', { commit: result.commit }, now);
  // The task knows that it lands; no message is owed, unless it has to learn whom to believe from now on.
  if (!inherited(state, task)) state.due.standings.delete(task.id);
  const frozen = task.ordered ? undefined : frozenBy(state, role);
  if (frozen) return [taken, record(state, task, 'hold', frozen.code, frozen.evidence, now)];
  const issue = task.facts.issue;
  const known = issue === undefined ? undefined : state.issues.get(issue);
  if (issue === undefined || !known || !landingOnHold(state, task)) return [taken];
  return [taken, record(state, task, 'hold', 'ISSUE_ON_HOLD', { issue, state: known.state }, now)];
}
