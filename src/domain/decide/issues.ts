// What an issue's state does to the tasks that name it: they go on, are held or are cancelled, as the rules say. The
// latest states are kept, for tasks that come later.

import { type IssueReport, numberOf } from '../messages.js';
import type { State, TaskRecord } from '../state.js';
import { type Taken, wake } from '../transitions.js';
import { heed } from './assume.js';
import { cancelTask } from './cancel.js';
import { takerOf } from './handoff.js';

/** Issue states kept, the latest: a task submitted after its issue was closed must not start. */
const KEPT_ISSUES = 5_000;

export function onIssue(state: State, report: IssueReport, now: number): Taken[] {
  const { key } = report;
  const known = state.issues.get(key);
  const number = numberOf(report, known, now);
  if (known && number <= known.number) return [];
  state.issues.delete(key);
  const { revision } = report;
  state.issues.set(key, { state: report.state, number, ...(revision === undefined ? {} : { revision }) });
  if (state.issues.size > KEPT_ISSUES) state.issues.delete(state.issues.keys().next().value as string);
  return heedIssue(state, key, report.state, now);
}

/** What was said of its issues before the coordinator heard of the task, which an earlier one had granted. */
export function heedKnown(state: State, task: TaskRecord, now: number): Taken[] {
  const { issue } = task.facts;
  const known = issue === undefined ? undefined : state.issues.get(issue);
  if (issue !== undefined && known && state.rules.issues[known.state] === 'cancel')
    return cancelTask(state, task, closed(issue, known.state), now);
  return heed(state, task, now);
}

const closed = (issue: string, state: string) => ({
  code: 'ISSUE_CLOSED' as const,
  evidence: { issue, state },
});

export function heedIssue(state: State, key: string, issueState: string, now: number): Taken[] {
  wake(state, `issue:${key}`);
  const rule = state.rules.issues[issueState] ?? 'go';
  return [...(state.byIssue.get(key) ?? [])].flatMap((id) => {
    const task = state.tasks.get(id);
    if (!task) return [];
    if (task.phase === 'held') state.ready.add(id);
    if (task.facts.issue !== key) return heed(state, task, now);
    if (rule === 'cancel') return cancelTask(state, task, closed(key, issueState), now);
    // A landing that waits for its issue goes on; one not yet handed over is held back by takeOrders.
    if (task.phase === 'landing' && task.facts.role) state.due.orders.add(task.facts.role);
    if (task.phase === 'landing' && takerOf(state, task)) state.ready.add(id);
    return heed(state, task, now);
  });
}
