// Hand-off: a task whose work another one takes over does not land. It is over as soon as it has commits, and they are
// what the other, its taker, starts from. What it held passes to the taker in the same step, so nobody comes between.
//
// What an earlier coordinator may have handed to the writer has perhaps landed: the writer is asked to give it back, and
// only what was given back is handed off.

import { unknownRepository } from '../judge.js';
import type { TakenOver } from '../messages.js';
import { patternsOf, type State, type TaskRecord } from '../state.js';
import { end, issueOnHold, nameOf, pin, release, type Taken, takeClaims } from '../transitions.js';

/** The live task that takes over what this one has come to: the first that asked for it, and has not begun. */
export function takerOf(state: State, task: TaskRecord): TaskRecord | undefined {
  const takers = [...(state.dependents.get(nameOf(task)) ?? [])].flatMap((id) => state.tasks.get(id) ?? []);
  // One that an earlier coordinator let begin has been handed the work already.
  const fits = ({ phase, fence, facts, id }: TaskRecord) =>
    facts.takesOver === nameOf(task) &&
    facts.role === task.facts.role &&
    phase !== 'ended' &&
    !id.includes('~') &&
    (fence === undefined || inherited(state, task));
  return takers.filter(fits).sort((a, b) => a.arrived - b.arrived)[0];
}

/** Granted by an earlier coordinator, which may have handed it over to the writer: only that can withdraw it. */
export const inherited = (state: State, task: TaskRecord): boolean =>
  task.fence !== undefined && task.fence.epoch < state.epoch;

/** What keeps its landing back keeps it from being handed on: a blocker that was found, its issue on hold. */
export const mayHandOff = (state: State, task: TaskRecord): boolean =>
  !task.blocked && !issueOnHold(state, task) && !task.ordered && !task.stop;

/** The task is over, with these commits; `to` goes on with them. */
export function handOff(
  state: State,
  task: TaskRecord,
  to: string,
  { base, commit, dead }: NonNullable<TaskRecord['result']>,
  now: number,
): Taken[] {
  const outcome = { kind: 'finished', code: 'HANDED_OFF', commit, handed: { to, base } } as const;
  const taken = end(state, task, outcome, { commit, holder: to }, dead, now);
  const taker = state.tasks.get(to);
  if (taker && !task.holds) keepFor(state, taker, now);
  return [taken];
}

/** All its claims at once, if nobody has them, as between two attempts: for a time, and given up should it wait for others. */
function keepFor(state: State, taker: TaskRecord, now: number): void {
  if (taker.phase !== 'held' || taker.holds) return;
  const patterns = patternsOf(state, taker);
  if (unknownRepository(state, patterns)) return;
  if (state.claims.firstOverlap(taker.id, taker.repository, patterns)) return;
  for (const use of taker.facts.uses ?? []) {
    const capacity = state.rules.resources[use.resource]?.capacity ?? 0;
    if (state.uses.inTheWay(taker.id, use, capacity).length > 0 || capacity === 0) return;
  }
  takeClaims(state, taker);
  pin(state, taker, now + state.rules.pinned.backoff);
}

/** Until all have been heard it is not known whether a landing of an earlier coordinator's is anybody else's by now. */
export const mayBeTakenOver = (state: State, task: TaskRecord): boolean =>
  state.recovery !== undefined && inherited(state, task) && !task.stop;

/** A landing that an earlier coordinator may have ordered, and that somebody takes over: the writer is to give it back. */
export function askBack(state: State, task: TaskRecord): void {
  if (task.stop || !inherited(state, task)) return;
  const to = takerOf(state, task)?.id;
  if (to !== undefined) task.stop = { verdict: 'end', code: 'HANDED_OFF', evidence: { holder: to } };
}

/** A task that was let begin has been handed the work, though whose that was has not heard it: that holds nothing any more. */
export function takeFrom(state: State, taker: TaskRecord): void {
  const task = state.tasks.get(taker.facts.takesOver ?? '');
  if (task?.phase === 'landing' && inherited(state, task)) release(state, task);
}

/** What the grant of a task that takes over another one's work begins with; undefined when that has landed by itself. */
export function takenOver(state: State, { facts }: TaskRecord): TakenOver | undefined {
  const { takesOver: task = '' } = facts;
  const { handed, commit } = state.tasks.get(task)?.outcome ?? {};
  return handed && commit !== undefined ? { task, base: handed.base, commit } : undefined;
}
