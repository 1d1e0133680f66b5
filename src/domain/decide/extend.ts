// How a task's claims change: while it runs it may ask for more paths, and give back what it no longer needs. Its
// workflow is the truth about what it claims; paths are added by an answer of the coordinator only.
//
// An extension is granted when nobody else holds the paths. Else the task is told who does, and may go without or
// wait. It waits with its claims pinned while that can be no deadlock: whoever it waits for runs or lands, and does not
// wait for it in turn, over however many others. Else it is stopped, its claims are released, its work is kept, and it
// is tried again with all the paths at once.

import { besideEvidence } from '../beside.js';
import type { Overlap } from '../claim-index.js';
import { sameFence } from '../fence.js';
import { unknownRepository } from '../judge.js';
import type { TaskReport } from '../messages.js';
import { type Pattern, parsePattern } from '../paths.js';
import type { Evidence, ReasonCode } from '../reasons.js';
import { addTo, removeFrom, type State, type TaskRecord } from '../state.js';
import { forgetExtension, note, setWrites, stop, type Taken, wakeWaiters } from '../transitions.js';
import { waitsFor } from '../waits.js';

type Extension = NonNullable<TaskRecord['extension']>;

/** Brings what the record claims in line with what the task says that it claims. */
export function followClaims(state: State, task: TaskRecord, report: TaskReport, now: number): Taken[] {
  const said = report.facts.writes;
  delete task.wanted;
  if (task.phase === 'ended' || sameList(task.facts.writes, said)) return [];
  if (!task.holds) {
    setWrites(state, task, said);
    if (task.phase === 'held') state.ready.add(task.id);
    return [];
  }
  const { extension } = task;
  const unheard =
    extension?.answer === 'granted' && report.extend?.number === extension.number ? extension.paths : [];
  // It starts again with more: that is granted all at once, when nobody runs under what it holds.
  const grown = said.some((path) => !task.facts.writes.includes(path));
  if (grown && (task.phase === 'backoff' || task.phase === 'held')) task.wanted = said;
  const kept = task.facts.writes.filter((path) => said.includes(path) || unheard.includes(path));
  const paths = task.facts.writes.filter((path) => !kept.includes(path));
  if (paths.length === 0) return [];
  setWrites(state, task, kept);
  wakeWaiters(state, task);
  return [note(state, task, 'GIVEN_BACK', { paths }, now)];
}

/** What the task asks for at the moment, once for each asking. */
export function heedExtension(state: State, task: TaskRecord, report: TaskReport, now: number): Taken[] {
  const ask = report.extend;
  if (ask?.number === task.extension?.number) return [];
  forgetExtension(state, task);
  if (!ask || task.phase !== 'running' || !sameFence(report.fence, task.fence)) return [];
  task.extension = { ...ask, answer: 'waiting' };
  return judgeExtension(state, task, task.extension, now);
}

/** Extensions that wait are looked at again when what they wait for has changed, before those who hold nothing yet. */
export function settleExtensions(state: State, now: number): Taken[] {
  if (state.toExtend.size === 0) return [];
  const tasks = [...state.toExtend].flatMap((id) => state.tasks.get(id) ?? []);
  state.toExtend.clear();
  return tasks
    .sort((a, b) => a.arrived - b.arrived)
    .flatMap((task) =>
      task.phase === 'running' && task.extension?.answer === 'waiting'
        ? judgeExtension(state, task, task.extension, now)
        : [],
    );
}

function judgeExtension(state: State, task: TaskRecord, extension: Extension, now: number): Taken[] {
  if (state.recovery) return wait(state, task, extension, ['recovery'], 'RECOVERING', {}, now);
  const wanted = extension.paths.filter((path) => !task.facts.writes.includes(path));
  const patterns = wanted.map(parsePattern);
  const foreign = unknownRepository(state, patterns);
  if (foreign) {
    leaveQueue(state, task, extension);
    Object.assign(extension, { answer: 'refused', evidence: foreign });
    return answer(state, task, 'REPOSITORY_UNKNOWN', foreign, now);
  }
  const inTheWay = holdersOf(state, task, patterns);
  const [overlap] = inTheWay;
  if (!overlap) {
    leaveQueue(state, task, extension);
    extension.answer = 'granted';
    setWrites(state, task, [...task.facts.writes, ...wanted]);
    return answer(state, task, 'EXTENDED', { paths: wanted, ...besideEvidence(state, task, false) }, now);
  }
  if (!extension.wait) {
    const evidence = evidenceOf(overlap);
    leaveQueue(state, task, extension);
    Object.assign(extension, { answer: 'refused', evidence });
    return answer(state, task, 'EXTENSION_REFUSED', evidence, now);
  }
  const never = inTheWay.find(({ holder }) => !mayWait(state, task.id, holder));
  if (!never) {
    const on = inTheWay.map(({ holder }) => `holder:${holder}`);
    return wait(state, task, extension, on, 'EXTENSION_WAITS', evidenceOf(overlap), now);
  }
  const evidence = evidenceOf(never);
  leaveQueue(state, task, extension);
  Object.assign(extension, { answer: 'retry', evidence });
  return [stop(state, task, 'retry', 'EXTENSION_RETRIED', { ...evidence, paths: extension.paths }, now)];
}

/** All that hold something of it, who came first before the others: which one is named is no matter of chance. */
function holdersOf(state: State, task: TaskRecord, patterns: readonly Pattern[]): Overlap[] {
  const arrived = ({ holder }: Overlap) => state.tasks.get(holder)?.arrived ?? 0;
  return state.claims.allOverlaps(task.id, task.repository, patterns).sort((a, b) => arrived(a) - arrived(b));
}

const evidenceOf = ({ holder, theirs, ours }: Overlap): Evidence => ({ holder, held: theirs, path: ours });

/**
 * Whether whoever holds the paths comes to an end without the task: nobody on the way waits for the task itself, nor
 * for a slot, which those who wait with an agent may take up.
 */
function mayWait(state: State, id: string, holder: string): boolean {
  const seen = new Set<string>([holder]);
  for (const name of seen) {
    const other = state.tasks.get(name);
    if (name === id || other?.phase === 'held' || other?.phase === 'backoff') return false;
    for (const next of waitsFor(state, other)) seen.add(next);
  }
  return true;
}

/** What it asked for is known now: unlike other notes this has to be told. */
function answer(state: State, task: TaskRecord, code: ReasonCode, evidence: Evidence, now: number): Taken[] {
  const taken = note(state, task, code, evidence, now);
  state.due.standings.add(task.id);
  return [taken];
}

function wait(
  state: State,
  task: TaskRecord,
  extension: Extension,
  on: string[],
  code: 'RECOVERING' | 'EXTENSION_WAITS',
  evidence: Evidence,
  now: number,
): Taken[] {
  leaveQueue(state, task, extension);
  extension.on = on;
  for (const key of on) addTo(state.extenders, key, task.id);
  if (extension.code === code && JSON.stringify(extension.evidence) === JSON.stringify(evidence)) return [];
  Object.assign(extension, { code, evidence });
  return answer(state, task, code, evidence, now);
}

function leaveQueue(state: State, task: TaskRecord, extension: Extension): void {
  for (const key of extension.on ?? []) removeFrom(state.extenders, key, task.id);
  delete extension.on;
}

const sameList = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((path, i) => path === b[i]);
