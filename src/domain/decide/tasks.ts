// What a task says of itself: it arrives, new or as the next life of a known one; from then on its record follows it, and
// it is cancelled when it asks for that. Within a life only a higher number is news.

import { earlierLife } from '../fence.js';
import type { CancelRequest, TaskReport } from '../messages.js';
import { lengthen } from '../order.js';
import type { Evidence, ReasonCode } from '../reasons.js';
import { indexTask, newRecord, type State, type TaskRecord } from '../state.js';
import { type Taken, wake, wakeBlocked, wakeDependents } from '../transitions.js';
import { follow } from './attempts.js';
import { cancelTask } from './cancel.js';
import { learnEdges, ownEdges, refuseCircle } from './edges.js';
import { followClaims, heedExtension } from './extend.js';
import { heedsAnother, outgrow, supersede } from './lives.js';
import { followPeers, peersOfOwner } from './peers.js';
import { joinPlan } from './plans.js';
import { heard } from './recovery.js';
import { repositoryOf } from './rules.js';

export function onTask(state: State, report: TaskReport, now: number): Taken[] {
  outgrow(state, report.epoch);
  const known = state.tasks.get(report.id);
  if (known?.life !== report.life && heedsAnother(state, report)) {
    if (!state.recovery?.live.includes(report.id)) state.due.announcements.add(report.id);
    return [];
  }
  if (known && known.life !== report.life) {
    if (known.pastLives.includes(report.life) || earlierLife(report.life, known.life)) return [];
    return [...supersede(state, known, now), ...arrive(state, report, known, now)];
  }
  if (!known) return arrive(state, report, undefined, now);
  if (report.number <= known.seen) {
    // Said once more, for the answer to the first was lost; or overtaken, and somebody waits all the same.
    if (report.asks) state.due.standings.add(known.id);
    return [];
  }
  known.seen = report.number;
  heard(state, report.id);
  const learnt = learnEdges(state, known, report.facts.after, now);
  const taken = [...learnt, ...hear(state, known, report, now)];
  // Whoever says nothing new may have missed what was said: say it once more.
  if (taken.length === 0 || report.asks) state.due.standings.add(known.id);
  return report.cancel ? [...taken, ...cancelTask(state, known, asked(report.cancel), now)] : taken;
}

/** Its claims first, for its attempt is judged by them; once more when that has released them; then what it asks for, and whom it may see. */
const hear = (state: State, task: TaskRecord, report: TaskReport, now: number): Taken[] => [
  ...followClaims(state, task, report, now),
  ...follow(state, task, report, now),
  ...followClaims(state, task, report, now),
  ...heedExtension(state, task, report, now),
  ...followPeers(state, task, report.peers ?? [], now),
];

const asked = (cancel: CancelRequest): { code: ReasonCode; evidence: Evidence } => ({
  code: cancel.code,
  evidence: { ...(cancel.by ? { by: cancel.by } : {}), ...(cancel.text ? { text: cancel.text } : {}) },
});

/** A task that is new to this coordinator, or a new life of one. */
function arrive(state: State, report: TaskReport, earlier: TaskRecord | undefined, now: number): Taken[] {
  const facts = { ...report.facts, after: ownEdges(report.facts.after) };
  const { id, life, number: seen, plan, attempt } = report;
  const repository = repositoryOf(state.rules, facts);
  const arrived = ++state.arrivals;
  const task = newRecord(
    { id, kind: 'task', life, seen, plan, facts, repository, arrived, attempt },
    earlier,
    now,
  );
  state.patterns.delete(task.id);
  indexTask(state, task);
  heard(state, task.id);
  joinPlan(state, task, report, now);
  wake(state, `task:${task.id}`);
  // What its earlier life came to does not count any more.
  if (earlier) wakeDependents(state, task.id);
  else wakeBlocked(state, task.id);
  const refused = refuseCircle(state, task, now);
  if (state.plans.get(task.plan.id)?.complete) lengthen(state, task);
  const taken = [
    ...refused,
    ...learnEdges(state, task, report.facts.after, now),
    ...hear(state, task, report, now),
    ...peersOfOwner(state, task.id, now),
  ];
  if (report.asks) state.due.standings.add(task.id);
  return report.cancel ? [...taken, ...cancelTask(state, task, asked(report.cancel), now)] : taken;
}
