// For tasks that would rather end than wait: whether what a task claims is busy at the moment it first asks for it.
// Busy is what is held, or rests, and what somebody has asked for who was earlier. Limits are not: ceiling, roles,
// kinds of agent, rates, freezes. Nor is what the task itself waits for first: its plan, its issue, its upstreams.

import { parsePattern } from './paths.js';
import type { Evidence, ReasonCode } from './reasons.js';
import { ResourceIndex } from './resources.js';
import { claimIndexOf, patternsOf, type State, type TaskRecord } from './state.js';
import { waitsForOthers } from './waits.js';

const EARLY: ReadonlySet<ReasonCode> = new Set([
  'RECOVERING',
  'PLAN_INCOMPLETE',
  'ISSUE_ON_HOLD',
  'UPSTREAM_PENDING',
  'UPSTREAM_UNKNOWN',
]);

/** Held for a reason that comes before any question of claims. */
export const isEarly = (code: ReasonCode): boolean => EARLY.has(code);

/** Held, and what it wants is its claims: whoever comes now comes after it. */
const asks = ({ phase, hold }: TaskRecord): boolean =>
  phase === 'held' && hold !== undefined && !isEarly(hold.code) && !waitsForOthers(hold.code);

/** What of the task's claims is busy, and by whom; undefined when nothing is. */
export function busyWith(state: State, task: TaskRecord): Evidence | undefined {
  const patterns = patternsOf(state, task);
  const held = state.claims.firstOverlap(task.id, task.repository, patterns);
  if (held) return { holder: held.holder, path: held.ours, held: held.theirs, state: 'held' };
  return wanted(state, task) ?? used(state, task);
}

function wanted(state: State, task: TaskRecord): Evidence | undefined {
  // Nobody else wants anything near its paths: there is no need to look at all who wait.
  if (state.demand.heat(task.id) <= 1 && state.extenders.size === 0) return undefined;
  const claims = claimIndexOf(state.rules);
  for (const other of state.tasks.values()) {
    if (asks(other)) claims.add(other.id, other.repository, patternsOf(state, other));
    const { answer, paths = [] } = other.extension ?? {};
    if (answer === 'waiting' && other.phase === 'running')
      claims.add(other.id, other.repository, paths.map(parsePattern));
  }
  const found = claims.firstOverlap(task.id, task.repository, patternsOf(state, task));
  return found && { holder: found.holder, path: found.ours, held: found.theirs, state: 'asked for' };
}

/** A resource is busy when those who use it and those who asked for it leave no room for one more. */
function used(state: State, task: TaskRecord): Evidence | undefined {
  const { uses = [] } = task.facts;
  if (uses.length === 0) return undefined;
  const users = new ResourceIndex();
  const others = [...state.tasks.values()];
  for (const other of others.filter(({ holds }) => holds)) users.add(other.id, other.facts.uses);
  for (const other of others.filter(asks)) users.add(other.id, other.facts.uses);
  for (const use of uses) {
    const { resource } = use;
    if (!Object.hasOwn(state.rules.resources, resource)) continue;
    const [holder] = users.inTheWay(task.id, use, state.rules.resources[resource]?.capacity ?? 1);
    if (holder === undefined) continue;
    const by = state.tasks.get(holder)?.holds ? 'held' : 'asked for';
    return { holder, path: resource, held: resource, resource, state: by };
  }
  return undefined;
}
