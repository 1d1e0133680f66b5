// Which claims others waited for most, and what narrower ones would have saved: computed from the decisions that packets
// and live tasks keep.

import type { Decision } from './messages.js';
import { BadPattern, overlaps, type Pattern, parsePattern } from './paths.js';

/** A task, live or ended, as far as contention needs to know it. */
export interface Contender {
  task: string;
  decisions: readonly Decision[];
  /** The files that its attempts really changed; undefined while that is not known. */
  changed?: readonly string[];
}

export interface Wait {
  task: string;
  holder: string;
  ms: number;
  /** Whether it would have vanished if both had claimed just the files that they changed. */
  avoidable: boolean;
}

export interface Contention {
  /** The holder's claim, or the resource, that was waited for. */
  claim: string;
  kind: 'path' | 'resource';
  waits: number;
  totalMs: number;
  longest: Wait;
  /** Who waited, and who held, the longest first. */
  by: string[];
  held: string[];
  /** Waiting that ends with claims of just the files changed: at most, for something else may stand in the way then. */
  avoidableMs: number;
  /** What the holders really changed under the claim; absent when the claim is as narrow already. */
  split?: string[];
}

/** Files named in one proposal. */
const MOST_NAMED = 20;

/** The most waited for first. `now` ends the waits of live tasks, in milliseconds since the epoch. */
export function contentionOf(contenders: readonly Contender[], now: number): Contention[] {
  const changed = changedFiles(contenders);
  const claims = new Map<string, { kind: Contention['kind']; waits: Wait[] }>();
  for (const { task, decisions } of contenders) {
    for (const [i, { verdict, code, evidence, at }] of decisions.entries()) {
      const claim = code === 'RESOURCE_HELD' ? evidence.resource : evidence.held;
      const { holder, path } = evidence;
      if (verdict !== 'hold' || claim === undefined || holder === undefined) continue;
      const end = decisions.slice(i + 1).find((later) => later.verdict !== 'note')?.at ?? now;
      const kind = code === 'RESOURCE_HELD' ? 'resource' : 'path';
      const theirs = changed.get(holder);
      const ours = changed.get(task) ?? (path === undefined ? undefined : [path]);
      const avoidable = kind === 'path' && theirs !== undefined && ours !== undefined && !meet(theirs, ours);
      const known = claims.get(claim) ?? { kind, waits: [] };
      known.waits.push({ task, holder, ms: Math.max(0, end - at), avoidable });
      claims.set(claim, known);
    }
  }
  return [...claims]
    .map(([claim, { kind, waits }]) => summary(claim, kind, waits, changed))
    .sort((a, b) => b.totalMs - a.totalMs || a.claim.localeCompare(b.claim));
}

function summary(
  claim: string,
  kind: Contention['kind'],
  waits: Wait[],
  changed: Map<string, readonly string[]>,
): Contention {
  const total = (some: readonly Wait[]) => some.reduce((sum, { ms }) => sum + ms, 0);
  const held = ranked(waits, ({ holder }) => holder);
  const avoidableMs = total(waits.filter(({ avoidable }) => avoidable));
  const files =
    avoidableMs > 0
      ? filesUnder(
          claim,
          held.flatMap((holder) => changed.get(holder) ?? []),
        )
      : [];
  const longest = waits.reduce((a, b) => (b.ms > a.ms ? b : a));
  return {
    claim,
    kind,
    waits: waits.length,
    totalMs: total(waits),
    longest,
    by: ranked(waits, ({ task }) => task),
    held,
    avoidableMs,
    ...(files.length > 0 ? { split: files.slice(0, MOST_NAMED) } : {}),
  };
}

/** Names by the time they account for, most first. */
function ranked(waits: readonly Wait[], nameOf: (wait: Wait) => string): string[] {
  const times = new Map<string, number>();
  for (const wait of waits) times.set(nameOf(wait), (times.get(nameOf(wait)) ?? 0) + wait.ms);
  return [...times].sort(([a, x], [b, y]) => y - x || a.localeCompare(b)).map(([name]) => name);
}

/** Over all lives of a task: what one of them changed, the next one would have claimed as well. */
function changedFiles(contenders: readonly Contender[]): Map<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const { task, changed } of contenders)
    if (changed) found.set(task, [...new Set([...(found.get(task) ?? []), ...changed])].sort());
  return found;
}

const meet = (ours: readonly string[], theirs: readonly string[]): boolean => {
  const patterns = theirs.flatMap(read);
  return ours.flatMap(read).some((a) => patterns.some((b) => overlaps(a, b)));
};

function filesUnder(claim: string, files: readonly string[]): string[] {
  const [pattern] = read(claim);
  if (!pattern) return [];
  return [...new Set(files)]
    .filter((file) => file !== claim && read(file).some((path) => overlaps(path, pattern)))
    .sort();
}

/** Claims may name the repository, files do not: here they are compared without it, for waits are within one. */
function read(text: string): Pattern[] {
  try {
    return [parsePattern(text)];
  } catch (error) {
    if (error instanceof BadPattern) return [];
    throw error;
  }
}
