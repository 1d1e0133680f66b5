// A worker's word on the agents of its host: alive, which renews leases, or seen dead, which frees paths that rest.
// It moves no task to another phase, and counts only for the fence it names.

import { sameFence } from '../fence.js';
import type { WorkerReport } from '../messages.js';
import { leaseOf, type State, type TaskRecord } from '../state.js';
import { freeAt, pin, type Taken } from '../transitions.js';
import { livesOf } from './lives.js';
import { awaitLonger } from './recovery.js';

export function onWorker(state: State, report: WorkerReport, now: number): Taken[] {
  const { lockDelay } = state.rules;
  for (const { task } of report.renew) awaitLonger(state, task, now);
  for (const { task: id, fence } of report.renew) {
    for (const task of livesOf(state, id)) {
      const lease = leaseOf(state, task);
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
      // It may give up its claims the sooner.
      if (task.phase === 'held') state.ready.add(task.id);
      pinNoLonger(state, task, Math.max(now + state.rules.pinned.backoff, freeAt(state, task)));
      if (task.restUntil === undefined) continue;
      rest(state, task, Math.min(task.restUntil, Math.max(now + lockDelay, freeAt(state, task))));
    }
  }
  return [];
}

/** Claims that were pinned for an agent's sake, which was not seen to end, are kept as long as any now. */
function pinNoLonger(state: State, task: TaskRecord, until: number): void {
  const waits = task.phase === 'held' || task.phase === 'backoff';
  if (waits && task.pinnedUntil !== undefined && task.pinnedUntil > until) pin(state, task, until);
}

function rest(state: State, task: TaskRecord, until: number): void {
  if (until === task.restUntil) return;
  task.restUntil = until;
  state.deadlines.push({ at: until, kind: 'rest', id: task.id });
}
