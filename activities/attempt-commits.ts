// The commits of an attempt: those that it starts with, brought onto the newest branch, and those that its agent has made,
// taken out of the clone.

import type { AgentKind } from '../src/domain/config.js';
import type { AttemptRecord } from '../src/domain/packet.js';
import type { AgentInput, StartFrom } from './attempt.js';
import { integrate } from './integrate.js';
import type { Mirror } from './mirror.js';
import { changesBetween, pathText } from './trees.js';
import { commitLeftovers, headOf } from './workstation/leftovers.js';
import { keepCommits } from './workstation/make.js';
import type { Workstation } from './workstation/station.js';

const MOST_CHANGES = 200;

export interface Brought {
  /** None when they do not apply to the branch any more. */
  start?: string;
  commit: string;
}

/**
 * Commits that an attempt of the task has left, on the newest branch. When a task's own do not apply any more its next attempt
 * starts without them, and its agent is told where they are. Undefined when they are not to be found.
 */
export async function broughtForward(
  mirror: Mirror,
  task: string,
  { base, commit }: StartFrom,
  tip: string,
): Promise<Brought | undefined> {
  const refs = `refs/signalbox/attempts/${task}/*`;
  if ((await mirror.find(commit)) === undefined) await mirror.fetch([`+${refs}:${refs}`]);
  if ((await mirror.find(commit)) === undefined) return undefined;
  // What it may change is looked at when it lands.
  const result = await integrate(mirror, { base, commit }, tip, () => ({ kind: 'lands' }), true);
  return result.kind === 'integrated' ? { start: result.commit, commit: result.commit } : { commit };
}

/** Takes the agent's commits out of its clone; undefined when there are none. */
export async function collect(
  mirror: Mirror,
  station: Workstation,
  input: AgentInput,
  agent: AgentKind,
  record: AttemptRecord,
  base: string,
): Promise<{ commit: string; ref: string } | undefined> {
  // Mounted read-only: nothing can have changed.
  if (!input.role && station.isolation.kind === 'sandbox') return undefined;
  if (agent.checkout && (await commitLeftovers(station, station.untouched, input.task)))
    record.committedForAgent = true;
  const commit = await headOf(station);
  if (commit === base) return undefined;
  const ref = await keepCommits(mirror, station, commit, input.task, input.fence);
  const changes = await changesBetween(mirror, base, commit);
  record.changes = changes
    .slice(0, MOST_CHANGES)
    .map(({ path, oldMode, newMode }) => `${letter(oldMode, newMode)} ${pathText(path)}`);
  if (changes.length > MOST_CHANGES) record.changesMore = changes.length - MOST_CHANGES;
  if (!input.role) record.discarded = changes.length;
  return { commit, ref };
}

const letter = (before: string, after: string): string =>
  before === '000000' ? 'A' : after === '000000' ? 'D' : 'M';
