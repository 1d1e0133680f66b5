// Claims of persons, and of agents that Signalbox did not launch. Each is a workflow of its own, the truth about it as a
// task's is about its claims: it says its whole state under a rising number, and says it again to a coordinator that
// lost its state. A hand is held or running until it is released or its lease runs out; nobody's agent is ended for it.

import { earlierLife, type Fence, sameFence } from '../fence.js';
import { HAND } from '../ids.js';
import type { HandReport } from '../messages.js';
import { indexTask, newRecord, patternsOf, type State, type TaskRecord } from '../state.js';
import { end, leave, record, release, type Taken, takeClaims } from '../transitions.js';
import { heedsAnother, outgrow, supersede } from './lives.js';
import { heard } from './recovery.js';

export function onHand(state: State, report: HandReport, now: number): Taken[] {
  outgrow(state, report.epoch);
  const known = state.tasks.get(report.id);
  if (known && known.kind !== 'hand') return [];
  if (known?.life === report.life) {
    if (report.number <= known.seen) return [];
    known.seen = report.number;
    heard(state, known.id);
    // What it says is answered always: whoever renews waits for that.
    state.due.standings.add(known.id);
    return follow(state, known, report, now);
  }
  if (heedsAnother(state, report)) {
    if (!state.recovery?.live.includes(report.id)) state.due.announcements.add(report.id);
    return [];
  }
  if (known && isPast(known, report)) return [];
  // What is left of an earlier claim rests for others, not for the same person.
  if (known?.phase === 'ended') release(state, known);
  const taken = known ? supersede(state, known, now) : [];
  return [...taken, ...arrive(state, report, known, now)];
}

const isPast = (known: TaskRecord, report: HandReport): boolean =>
  known.pastLives.includes(report.life) || earlierLife(report.life, known.life);

function arrive(state: State, report: HandReport, earlier: TaskRecord | undefined, now: number): Taken[] {
  const { id, life, number: seen, writes, repository, by, note, lease: handLease, wait } = report;
  const hand = newRecord(
    {
      id,
      kind: 'hand',
      life,
      seen,
      plan: { id: HAND },
      facts: { writes, reads: [], after: [] },
      repository: repository ?? state.rules.defaultRepository,
      arrived: ++state.arrivals,
      by,
      handLease,
      noWait: !wait,
      ...(note ? { note } : {}),
    },
    earlier,
    now,
  );
  state.patterns.delete(hand.id);
  indexTask(state, hand);
  heard(state, hand.id);
  return follow(state, hand, report, now);
}

function follow(state: State, hand: TaskRecord, report: HandReport, now: number): Taken[] {
  if (hand.phase === 'ended') return [];
  if (report.released)
    return [end(state, hand, { kind: 'finished', code: 'RELEASED' }, report.released, true, now)];
  if (hand.phase === 'held') return report.fence ? adopt(state, hand, report, report.fence, now) : [];
  if (!sameFence(report.fence, hand.fence) || (report.renewed ?? 0) <= (hand.renewed ?? 0)) return [];
  hand.renewed = report.renewed ?? 0;
  hand.handLease = report.lease;
  holdFor(state, hand, report.lease, now);
  return [];
}

/** A grant of an earlier coordinator, for as long as it has left by its own clock. */
function adopt(state: State, hand: TaskRecord, report: HandReport, fence: Fence, now: number): Taken[] {
  const overlap = state.claims.firstOverlap(hand.id, hand.repository, patternsOf(state, hand));
  if (overlap) {
    const evidence = { holder: overlap.holder, path: overlap.ours };
    return [end(state, hand, { kind: 'cancelled', code: 'CLAIM_LOST' }, evidence, true, now)];
  }
  leave(state, hand);
  takeClaims(state, hand);
  hand.fence = fence;
  hand.phase = 'running';
  hand.since = now;
  hand.renewed = report.renewed ?? 0;
  holdFor(state, hand, report.left ?? report.lease, now);
  // Without a decision there would be nothing to answer with, and whoever renews waits for an answer.
  return [record(state, hand, 'note', 'CLAIM_KEPT', {}, now)];
}

function holdFor(state: State, hand: TaskRecord, ms: number, now: number): void {
  hand.leaseUntil = now + ms;
  state.deadlines.push({ at: hand.leaseUntil, kind: 'hand', id: hand.id });
}

/** Its lease has run out: nobody was seen to end, so its paths rest like those of a holder that died. */
export function expireHand(state: State, hand: TaskRecord, now: number): Taken[] {
  return [end(state, hand, { kind: 'cancelled', code: 'CLAIM_EXPIRED' }, {}, false, now)];
}
