// Claims of persons, and of agents that Signalbox did not launch: a record like a task's, held or running until it is
// released. Only a higher number is news, so a release that overtakes its claim wins.

import type { HandReport } from '../messages.js';
import { indexTask, type State, type TaskRecord } from '../state.js';
import { end, type Taken } from '../transitions.js';

export function onHand(state: State, report: HandReport, now: number): Taken[] {
  const known = state.tasks.get(report.id);
  if (known && (known.kind !== 'hand' || report.number <= known.seen)) return [];
  const claims = report.writes.length > 0;
  if (known && (known.phase !== 'ended' || !claims)) {
    known.seen = report.number;
    return claims || known.phase === 'ended' ? [] : [letGo(state, known, report.by, now)];
  }
  const hand: TaskRecord = {
    id: report.id,
    kind: 'hand',
    life: String(report.number),
    pastLives: [],
    seen: report.number,
    plan: { id: 'hand' },
    facts: { writes: report.writes, reads: [], after: [] },
    repository: report.repository ?? state.rules.defaultRepository,
    arrived: ++state.arrivals,
    phase: 'held',
    since: now,
    attempt: 1,
    excused: 0,
    holds: false,
    decisions: [],
    beside: [],
    by: report.by,
    handLease: report.lease,
    noWait: !report.wait,
    ...(report.note ? { note: report.note } : {}),
  };
  state.endedOrder.delete(report.id);
  state.patterns.delete(hand.id);
  indexTask(state, hand);
  // A release that came before its claim: noted, so that the claim is known to be the older word.
  return claims ? [] : [letGo(state, hand, report.by, now)];
}

const letGo = (state: State, hand: TaskRecord, by: string, now: number): Taken =>
  end(state, hand, { kind: 'finished', code: 'RELEASED' }, { by }, true, now);
