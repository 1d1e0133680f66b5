// What writers say: whether their role is frozen, and what became of each landing they were handed. A result counts
// once, for the landing with that very fence, whichever life of the task it belongs to.

import { earlierLife } from '../fence.js';
import type { LandingResult, WriterReport } from '../messages.js';
import type { Evidence, ReasonCode } from '../reasons.js';
import type { State, TaskRecord } from '../state.js';
import { end, landingId, type Taken } from '../transitions.js';
import { onFleetWord, onRoleFreeze } from './freezes.js';
import { livesOf } from './lives.js';
import { heard } from './recovery.js';
import { fail } from './retry.js';

export function onWriter(state: State, report: WriterReport, now: number): Taken[] {
  const known = state.roles.get(report.role);
  if (known && known.life === report.life && report.number <= known.seen) return [];
  if (known && earlierLife(report.life, known.life)) return [];
  state.roles.set(report.role, {
    life: report.life,
    seen: report.number,
    ...(known?.settledAt === undefined ? {} : { settledAt: known.settledAt }),
  });
  const fleet = report.fleet ? onFleetWord(state, report.fleet, now) : [];
  const freeze = onRoleFreeze(state, report.role, { report: report.frozen, before: known?.frozen }, now);
  heard(state, `writer:${report.role}`);
  // It may have missed its orders, or have them from an earlier coordinator or in an earlier life: say them once more.
  state.due.orders.add(report.role);
  return [...fleet, ...freeze, ...report.results.flatMap((result) => onLanding(state, result, now))];
}

/** Its landings are handed over once more, which starts a writer of a new life; the ledger tells that one what landed. */
export function onWriterGone(state: State, name: string): Taken[] {
  const role = name.slice('writer:'.length);
  if (role in state.rules.roles) state.due.orders.add(role);
  return [];
}

function onLanding(state: State, result: LandingResult, now: number): Taken[] {
  const task = [...livesOf(state, result.id.slice(0, result.id.lastIndexOf('#')))].find(
    (life) => life.phase === 'landing' && landingId(life) === result.id,
  );
  if (!task) return [];
  const role = task.facts.role === undefined ? undefined : state.roles.get(task.facts.role);
  if (role) role.settledAt = now;
  switch (result.kind) {
    case 'landed': {
      const evidence = { commit: result.commit };
      return [
        end(state, task, { kind: 'landed', code: 'LANDED', commit: result.commit }, evidence, true, now),
      ];
    }
    case 'withdrawn':
      return withdrawn(state, task, task.stop ?? { verdict: 'cancel', code: 'CANCELLED_BY_REQUEST' }, now);
    case 'rolled-back':
      return [end(state, task, { kind: 'failed', code: result.code }, { text: result.text }, true, now)];
    case 'refused':
      return refused(state, task, result, now);
  }
}

function withdrawn(
  state: State,
  task: TaskRecord,
  why: { verdict: 'cancel' | 'retry'; code: ReasonCode; evidence?: Evidence },
  now: number,
): Taken[] {
  const { verdict, code, evidence = {} } = why;
  if (verdict === 'retry') return fail(state, task, code, evidence, false, true, now);
  return [end(state, task, { kind: 'cancelled', code }, evidence, true, now)];
}

function refused(
  state: State,
  task: TaskRecord,
  result: Extract<LandingResult, { kind: 'refused' }>,
  now: number,
): Taken[] {
  if (task.stop) return withdrawn(state, task, task.stop, now);
  const evidence = { text: result.text };
  return fail(state, task, result.code, evidence, false, true, now);
}
