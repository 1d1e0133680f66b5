// Assumptions: when they have to be checked, and what follows from what was found. decide only asks: an activity looks,
// and answers with evidence. A task is granted only on an answer that is newer than everything heard since that could
// have changed it; from then on it is asked again whenever something lands, or was pushed, that touches what it assumes.

import { type Assumption, expectation, type Finding } from '../assumptions.js';
import { overlaps, type Pattern, parsePattern } from '../paths.js';
import type { Evidence } from '../reasons.js';
import type { State, TaskRecord } from '../state.js';
import { note, record, stop, type Taken, wake } from '../transitions.js';
import { cancelTask } from './cancel.js';
import { fail } from './retry.js';

/** What a worker found, for the state of the world that the coordinator knew under the number. */
export interface Checked {
  kind: 'checked';
  results: { task: string; life: string; number: number; findings: Finding[] }[];
}

/** What could not be found out is asked again after this, in milliseconds. */
export const ASK_AGAIN = 30_000;

/** The branch of a repository has moved. */
export interface Move {
  repository: string;
  /** Its newest commit; absent for what was rolled back. */
  commit?: string;
  /** Exact paths, or patterns that cover them. */
  paths: string[];
  /** The task that landed; absent: somebody outside the fleet. */
  by?: string;
}

const OUTSIDER = 'somebody outside the fleet';

/** Everything but issues has to be looked at. */
export const needsLook = (assumption: Assumption): boolean => assumption.kind !== 'issue';

/** Asks for a look at what the task assumes, unless that is under way. */
export function askFor(state: State, task: TaskRecord): void {
  task.assumed ??= { number: 1, answered: 0, findings: [], settled: {} };
  state.due.checks.add(task.id);
}

export function onChecked(state: State, event: Checked, now: number): Taken[] {
  return event.results.flatMap(({ task: id, life, number, findings }) => {
    const task = state.tasks.get(id);
    // Of an earlier life, or asked before something else changed: another look is due already.
    if (task?.life !== life || task.assumed?.number !== number) return [];
    state.due.checks.delete(id);
    task.assumed = { ...task.assumed, answered: number, findings };
    wake(state, `assume:${id}`);
    if (findings.some((finding) => finding.holds === undefined)) {
      task.assumed.againAt = now + ASK_AGAIN;
      state.deadlines.push({ at: now + ASK_AGAIN, kind: 'assume', id });
    } else {
      delete task.assumed.againAt;
    }
    return heed(state, task, now);
  });
}

/** Something could not be found out, and a while has passed. */
export function askAgain(state: State, task: TaskRecord): void {
  delete task.assumed?.againAt;
  if (task.assumed && task.phase !== 'ended') askFor(state, task);
}

/** What the task assumes and is not so, and has not been settled for. */
export function brokenOf(
  state: State,
  task: TaskRecord,
): { index: number; expected: string; found: string }[] {
  return (task.facts.assumes ?? []).flatMap((assumption, index) => {
    const finding =
      assumption.kind === 'issue' ? findIssue(state, assumption) : task.assumed?.findings[index];
    if (finding?.holds !== false || task.assumed?.settled[index] === finding.found) return [];
    return [{ index, expected: expectation(assumption), found: finding.found }];
  });
}

export function findIssue(
  state: State,
  { key, state: wanted, revision }: Extract<Assumption, { kind: 'issue' }>,
): Finding {
  const known = state.issues.get(key);
  if (!known) return { found: `nobody has said yet what issue ${key} is` };
  const at = known.revision === undefined ? '' : ` at revision ${known.revision}`;
  const holds = known.state === wanted && (revision === undefined || revision === known.revision);
  return { holds, found: `it is ${known.state}${at}` };
}

/** The task goes on with things as they were found; whatever else they become counts anew. */
export function settleFor(state: State, task: TaskRecord, now: number): Taken[] {
  return brokenOf(state, task).map(({ index, expected, found }) => {
    task.assumed ??= { number: 1, answered: 1, findings: [], settled: {} };
    task.assumed.settled[index] = found;
    return note(state, task, 'ASSUMPTION_BROKEN', { expected, found, policy: policyOf(task) }, now);
  });
}

const policyOf = (task: TaskRecord) => task.facts.onBroken ?? 'hold';

/** What a broken assumption does to a task that is under way. Who is held is judged anew. */
export function heed(state: State, task: TaskRecord, now: number): Taken[] {
  const [broken] = brokenOf(state, task);
  if (!broken || task.phase === 'held' || task.phase === 'ended') return [];
  const policy = policyOf(task);
  if (policy === 'continue') return settleFor(state, task, now);
  const { expected, found } = broken;
  const evidence = { expected, found, policy };
  if (policy === 'cancel') return cancelTask(state, task, { code: 'ASSUMPTION_BROKEN', evidence }, now);
  const settled = policy === 'retry' ? settleFor(state, task, now) : [];
  return [...settled, ...startAnew(state, task, 'ASSUMPTION_BROKEN', evidence, now)];
}

/** The attempt is given up for another one on the new state. One that is ending, or waits, has nothing to give up. */
function startAnew(
  state: State,
  task: TaskRecord,
  code: 'ASSUMPTION_BROKEN' | 'READS_CHANGED',
  evidence: Evidence,
  now: number,
): Taken[] {
  if (task.phase === 'running') return [stop(state, task, 'retry', code, evidence, now)];
  if (task.phase !== 'landing' || task.stop) return [];
  if (!task.ordered) return fail(state, task, code, evidence, false, true, now);
  task.stop = { verdict: 'retry', code, evidence };
  if (task.facts.role) state.due.orders.add(task.facts.role);
  return [record(state, task, 'retry', code, evidence, now)];
}

/** A branch has moved: what that may have broken is looked at again, and who reads what changed is told. */
export function onMove(state: State, move: Move, now: number): Taken[] {
  if (state.concerned.size === 0) return [];
  const { repository } = move;
  const touches = touching(state, repository, move.paths.flatMap(parsed));
  return [...state.concerned].flatMap((id) => {
    const task = state.tasks.get(id);
    if (!task || id === move.by) return [];
    if ((task.facts.assumes ?? []).some((assumption) => mayBreak(assumption, task, repository, touches)))
      doubt(state, task);
    return readChanged(state, task, move, touches, now);
  });
}

/** An answer that was given or asked for before does not count any more. */
function doubt(state: State, task: TaskRecord): void {
  if (task.assumed) task.assumed.number += 1;
  // Who is held for another reason is asked when it could run.
  if (task.phase !== 'held' || task.hold?.on === `assume:${task.id}`) askFor(state, task);
}

/** Which of the paths, in the repository, a claim or a path meets. */
type Touches = (other: Pattern, home: string) => Pattern | undefined;

function touching(state: State, repository: string, patterns: Pattern[]): Touches {
  const here = patterns.filter((pattern) => (pattern.repository ?? repository) === repository);
  const folds = state.rules.repositories[repository]?.caseInsensitive;
  return (other, home) =>
    (other.repository ?? home) === repository
      ? here.find((pattern) => overlaps(pattern, other, folds))
      : undefined;
}

function mayBreak(assumption: Assumption, task: TaskRecord, repository: string, touches: Touches): boolean {
  if (assumption.kind === 'issue') return false;
  // What a landing deploys may be anywhere.
  if (assumption.kind === 'artifact') return true;
  const home = assumption.repository ?? task.repository;
  if (assumption.kind !== 'file') return home === repository;
  return parsed(exactPath(home, assumption.path)).some((path) => touches(path, home));
}

/** A landing in what it reads is an upstream event for whoever has begun; the next attempt starts on the new state anyway. */
function readChanged(state: State, task: TaskRecord, move: Move, touches: Touches, now: number): Taken[] {
  const begun = task.phase === 'running' || task.phase === 'landing';
  if (!begun) return [];
  const [touched] = task.facts.reads.flatMap(parsed).flatMap((read) => touches(read, task.repository) ?? []);
  if (!touched) return [];
  const policy = task.facts.onBroken ?? 'continue';
  const { commit, by } = move;
  const evidence = { path: touched.text, by: by ?? OUTSIDER, policy, ...(commit ? { commit } : {}) };
  if (policy === 'continue') return [note(state, task, 'READS_CHANGED', evidence, now)];
  if (policy === 'cancel') return cancelTask(state, task, { code: 'READS_CHANGED', evidence }, now);
  // There is nothing to wait for: what has landed stays. So `hold` too means another attempt, on the new state.
  return startAnew(state, task, 'READS_CHANGED', evidence, now);
}

/** A path of the repository as a claim says it, whatever is in its name. */
export const exactPath = (repository: string, path: string): string =>
  path.startsWith(':') ? '.' : path.includes(':') ? `${repository}:${path}` : path;

/** A path that cannot be told as a pattern may be anywhere. */
function parsed(text: string): Pattern[] {
  try {
    return [parsePattern(text)];
  } catch {
    return [parsePattern('.')];
  }
}

/** What has to be looked at for the tasks whose assumptions are due. */
export function checksOf(state: State, ids: Iterable<string>): CheckRequest[] {
  return [...ids].flatMap((id) => {
    const task = state.tasks.get(id);
    if (!task?.assumed || task.phase === 'ended') return [];
    const { life, repository, assumed } = task;
    return [{ task: id, life, number: assumed.number, repository, assumes: task.facts.assumes ?? [] }];
  });
}

export interface CheckRequest {
  task: string;
  life: string;
  number: number;
  repository: string;
  assumes: Assumption[];
}
