// What writers say: whether their role is frozen, and what became of each landing they were handed. A result counts
// once, for the landing with that very fence, whichever life of the task it belongs to.

import { earlierLife } from '../fence.js';
import type { LandingResult, WriterReport } from '../messages.js';
import type { Evidence } from '../reasons.js';
import type { State, TaskRecord } from '../state.js';
import { end, landingId, nameOf, type Taken } from '../transitions.js';
import { exactPath, onMove } from './assume.js';
import { onFleetWord, onRoleFreeze } from './freezes.js';
import { handOff } from './handoff.js';
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
    ...(known?.outside === undefined ? {} : { outside: known.outside }),
    ...(known?.settledAt === undefined ? {} : { settledAt: known.settledAt }),
  });
  const fleet = report.fleet ? onFleetWord(state, report.fleet, now) : [];
  const freeze = onRoleFreeze(state, report.role, { report: report.frozen, before: known?.frozen }, now);
  heard(state, `writer:${report.role}`);
  // It may have missed its orders, or have them from an earlier coordinator or in an earlier life: say them once more.
  state.due.orders.add(report.role);
  const results = report.results.flatMap((result) => [
    ...onOutside(state, report.role, result, now),
    ...onLanding(state, report.role, result, now),
  ]);
  return [...fleet, ...freeze, ...results];
}

/** Its landings are handed over once more, which starts a writer of a new life; the ledger tells that one what landed. */
export function onWriterGone(state: State, name: string): Taken[] {
  const role = name.slice('writer:'.length);
  heard(state, name);
  if (role in state.rules.roles) state.due.orders.add(role);
  return [];
}

/** Pushes of people, seen by the writer before it landed: told with every result until something of the fleet has landed on them. */
function onOutside(state: State, role: string, { outside }: LandingResult, now: number): Taken[] {
  const known = state.roles.get(role);
  const repository = state.rules.roles[role]?.repository;
  if (!outside || !known || !repository || known.outside === outside.commit) return [];
  known.outside = outside.commit;
  const paths = outside.paths.map((path) => exactPath(repository, path));
  return onMove(state, { repository, commit: outside.commit, paths }, now);
}

function onLanding(state: State, reporter: string, result: LandingResult, now: number): Taken[] {
  const task = [...livesOf(state, result.id.slice(0, result.id.lastIndexOf('#')))].find(
    (life) => life.phase === 'landing' && landingId(life) === result.id,
  );
  if (!task) return onForeignLanding(state, reporter, result, now);
  const role = task.facts.role === undefined ? undefined : state.roles.get(task.facts.role);
  if (role) role.settledAt = now;
  switch (result.kind) {
    case 'landed': {
      const { commit, changed, verified } = result;
      const evidence: Evidence = {
        commit,
        ...(verified ? { verified: verified.commands, isolation: verified.isolation } : {}),
      };
      const move = {
        repository: task.repository,
        commit,
        paths: changed?.map((path) => exactPath(task.repository, path)) ?? task.facts.writes,
        by: nameOf(task),
      };
      return [
        end(state, task, { kind: 'landed', code: 'LANDED', commit }, evidence, true, now),
        ...onMove(state, move, now),
      ];
    }
    case 'withdrawn':
      // What this coordinator has not asked for, an earlier one has.
      return withdrawn(state, task, task.stop ?? { verdict: 'retry', code: 'STOP_FORGOTTEN' }, now);
    case 'rolled-back': {
      const move = { repository: task.repository, paths: task.facts.writes, by: nameOf(task) };
      return [
        end(state, task, { kind: 'failed', code: result.code }, { text: result.text }, true, now),
        ...onMove(state, move, now),
      ];
    }
    case 'refused':
      return refused(state, task, result, now);
  }
}

/** A landing of an earlier coordinator's that this one has nobody for: the branch has moved all the same. */
function onForeignLanding(state: State, role: string, result: LandingResult, now: number): Taken[] {
  const repository = state.rules.roles[role]?.repository;
  if (result.kind !== 'landed' || !repository) return [];
  const by = result.id.slice(0, result.id.lastIndexOf('#'));
  if ([...livesOf(state, by)].some((life) => landingId(life) === result.id)) return [];
  const paths = result.changed?.map((path) => exactPath(repository, path)) ?? ['.'];
  return onMove(state, { repository, commit: result.commit, paths, by }, now);
}

function withdrawn(
  state: State,
  task: TaskRecord,
  why: Omit<NonNullable<TaskRecord['stop']>, 'evidence'> & { evidence?: Evidence },
  now: number,
): Taken[] {
  const { verdict, code, evidence = {} } = why;
  if (verdict === 'end' && task.result && evidence.holder !== undefined)
    return handOff(state, task, evidence.holder, task.result, now);
  if (verdict !== 'cancel') return fail(state, task, code, evidence, false, true, now);
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
