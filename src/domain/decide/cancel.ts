// Cancelling a task, whoever asks for it: a person, an issue, a plan, a cycle. What that takes depends on the phase; a
// task that has ended or is being cancelled already stays as it is.

import type { Evidence, ReasonCode } from '../reasons.js';
import type { State, TaskRecord } from '../state.js';
import { end, record, stop, type Taken } from '../transitions.js';

/** Cancelling is: told to stop, seen dead, and only then released; a landing is withdrawn by its writer. */
export function cancelTask(
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
