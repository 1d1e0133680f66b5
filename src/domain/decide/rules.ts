// The configuration in force, and what changes with it: where held tasks write, who waits for a role, what the issues
// known already mean.

import type { Rules } from '../config.js';
import type { TaskFacts } from '../messages.js';
import { contend, reindexClaims, type State, type TaskRecord } from '../state.js';
import { type Taken, wake } from '../transitions.js';
import { heedIssue } from './issues.js';
import { peersByRules } from './peers.js';

/** What of the configuration such waiters wait for may be other than it was. */
const OF_RULES = /^(rules$|(resource|rate|reserved):)/;

export function onRules(state: State, rules: Rules, now: number): Taken[] {
  const before = state.rules;
  state.rules = rules;
  if (namesCompareOtherwise(before, rules)) {
    reindexClaims(state);
    for (const key of [...state.watchers.keys()]) if (key.startsWith('holder:')) wake(state, key);
  }
  for (const task of state.tasks.values())
    if (task.kind === 'task' && task.phase === 'held' && !task.holds)
      settleIn(state, task, repositoryOf(rules, task.facts));
  // A slot more, or a role that is no more, is found by settle, in turn.
  for (const key of [...state.watchers.keys()]) if (OF_RULES.test(key)) wake(state, key);
  const seen = peersByRules(state, now);
  return [...seen, ...[...state.issues].flatMap(([key, issue]) => heedIssue(state, key, issue.state, now))];
}

/** Claims that are held stay so, even if they overlap from now on. */
const namesCompareOtherwise = (before: Rules, after: Rules): boolean =>
  [...new Set([...Object.keys(before.repositories), ...Object.keys(after.repositories)])].some(
    (name) =>
      (before.repositories[name]?.caseInsensitive === true) !==
      (after.repositories[name]?.caseInsensitive === true),
  );

function settleIn(state: State, task: TaskRecord, repository: string): void {
  if (task.repository === repository) return;
  task.repository = repository;
  contend(state, task);
}

export const repositoryOf = (rules: Rules, facts: TaskFacts): string =>
  (facts.role ? rules.roles[facts.role]?.repository : facts.repository) ?? rules.defaultRepository;
