// Turns a history into a plan: one task for each commit, its claims, and what it waits for.
// It guarantees that any two commits that touch the same path, or a path and one below it, are ordered as in the
// history, directly or through others; that nothing else is ordered; and that the claims cover every touched path.
// Pure, and near linear in the number of touched paths.

import { isUtf8 } from 'node:buffer';
import type { History, HistoryCommit } from './history.js';

export interface ReplayTask {
  /** Number and short object id: unique in the plan. */
  id: string;
  /** The full name, plan/id. */
  name: string;
  title: string;
  writes: string[];
  after: { task: string; until: 'landed' }[];
  commit: string;
}

const WHOLE_REPOSITORY = ':(glob)**';
const MAX_CLAIMS = 400;
const MAX_TITLE = 100;
const MIN_DIGITS = 4;
/** Above this many tasks the table that finds implied edges (n²/16 bytes) costs more than the edges it saves. */
const MAX_REDUCED = 40_000;

export function replayTasks(history: History, options: { plan: string }): ReplayTask[] {
  const { commits } = history;
  const digits = Math.max(MIN_DIGITS, String(commits.length).length);
  const ids = commits.map(({ oid }, i) => `${String(i + 1).padStart(digits, '0')}-${oid.slice(0, 8)}`);
  const touched = new TouchedPaths();
  const reach = commits.length <= MAX_REDUCED ? new Reach() : undefined;
  return commits.map((commit, i) => {
    const paths = commit.changes.map(({ path }) => path.toString('latin1').split('/'));
    const upstreams = [...touched.touch(paths, i)].sort((a, b) => b - a);
    const id = ids[i] ?? '';
    return {
      id,
      name: `${options.plan}/${id}`,
      title: title(commit.subject),
      writes: claims(commit),
      after: (reach?.reduce(i, upstreams) ?? upstreams).map((j) => ({ task: ids[j] ?? '', until: 'landed' })),
      commit: commit.oid,
    };
  });
}

/** One line of at most 100 characters without control, line-breaking or direction-changing characters. */
function title(subject: string): string {
  const clean = subject
    .replace(/[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu, ' ')
    .trim()
    .slice(0, MAX_TITLE)
    .replace(/[\ud800-\udbff]$/, '')
    .trimEnd();
  return clean === '' ? '(no message)' : clean;
}

interface Node {
  /** The latest task that touched exactly this path; -1 for none. */
  last: number;
  below: Map<string, Node> | undefined;
}

/**
 * Who touched which path last: a tree by path components, which are raw bytes as latin1 strings. Touching a path
 * forgets what is below it: whoever comes to a path below later overlaps this one. So going down, the numbers never
 * fall, every leaf has one, and only the deepest number on the way down or the leaves below a path are needed: their
 * tasks wait for all the others. And each node is visited once before it is forgotten: near linear.
 */
class TouchedPaths {
  private readonly root: Node = { last: -1, below: undefined };

  /** Records that `task` touches the paths; gives the earlier tasks it must wait for. */
  touch(paths: readonly string[][], task: number): Set<number> {
    const upstreams = new Set<number>();
    for (const path of paths) this.find(path, upstreams);
    for (const path of paths) this.record(path, task);
    return upstreams;
  }

  private find(path: readonly string[], upstreams: Set<number>): void {
    let node: Node | undefined = this.root;
    let deepest = -1;
    for (const component of path) {
      node = node.below?.get(component);
      if (!node) break;
      if (node.last >= 0) deepest = node.last;
    }
    if (node?.below) addLeaves(node, upstreams);
    else if (deepest >= 0) upstreams.add(deepest);
  }

  private record(path: readonly string[], task: number): void {
    let node = this.root;
    for (const component of path) {
      node.below ??= new Map();
      let next: Node | undefined = node.below.get(component);
      if (!next) {
        next = { last: -1, below: undefined };
        node.below.set(component, next);
      }
      node = next;
    }
    node.last = task;
    node.below = undefined;
  }
}

function addLeaves(node: Node, found: Set<number>): void {
  const stack = [node];
  for (let next = stack.pop(); next; next = stack.pop()) {
    if (next.below) for (const node of next.below.values()) stack.push(node);
    else found.add(next.last);
  }
}

/** Which earlier tasks each task waits for through others, as bit sets, to leave out edges that others imply. */
class Reach {
  private readonly rows: Uint32Array[] = [];

  /** The upstreams (latest first) of `task` that no other of them waits for. To be called for 0, 1, 2 … */
  reduce(task: number, upstreams: readonly number[]): number[] {
    const row = new Uint32Array(upstreams.length === 0 ? 0 : ((upstreams[0] ?? 0) >>> 5) + 1);
    const kept: number[] = [];
    for (const upstream of upstreams) {
      const word = upstream >>> 5;
      const bit = 1 << (upstream & 31);
      if (((row[word] ?? 0) & bit) !== 0) continue;
      kept.push(upstream);
      const other = this.rows[upstream] ?? new Uint32Array(0);
      for (let i = 0; i < other.length; i++) row[i] = (row[i] ?? 0) | (other[i] ?? 0);
      row[word] = (row[word] ?? 0) | bit;
    }
    this.rows[task] = row;
    return kept;
  }
}

/** What the commit must claim: its paths as far as they can be spelt as claims, else a directory above them. */
function claims({ changes }: HistoryCommit): string[] {
  const claimed = new Set<string>();
  for (const { path } of changes) claimed.add(claimFor(path));
  const all = collapse(withoutCovered(claimed));
  return [...all].sort();
}

function claimFor(path: Buffer): string {
  const good: string[] = [];
  for (const component of split(path)) {
    if (!claimable(component, good.length === 0)) break;
    good.push(component.toString('utf8'));
  }
  return good.length === 0 ? WHOLE_REPOSITORY : good.join('/');
}

function split(path: Buffer): Buffer[] {
  if (isUtf8(path)) return path.toString('utf8').split('/').map(toBytes);
  return path
    .toString('latin1')
    .split('/')
    .map((component) => Buffer.from(component, 'latin1'));
}

const toBytes = (text: string): Buffer => Buffer.from(text, 'utf8');

/** Whether a claim can hold the component as it is: claims are text, normalised, with their own meaning for a few forms. */
function claimable(bytes: Buffer, first: boolean): boolean {
  if (!isUtf8(bytes)) return false;
  const text = bytes.toString('utf8');
  if (text === '' || text === '.' || text === '..' || text.normalize('NFC') !== text) return false;
  return !/[\\\p{Cc}]/u.test(text) && !(first && text.includes(':'));
}

/** Drops every claim that lies below another one. */
function withoutCovered(claimed: Set<string>): Set<string> {
  if (claimed.has(WHOLE_REPOSITORY)) return new Set([WHOLE_REPOSITORY]);
  const kept = new Set<string>();
  for (const claim of claimed) {
    let slash = claim.indexOf('/');
    while (slash >= 0 && !claimed.has(claim.slice(0, slash))) slash = claim.indexOf('/', slash + 1);
    if (slash < 0) kept.add(claim);
  }
  return kept;
}

/**
 * At most 400 claims: from the deepest level upwards, the claims of the directory that holds most of them are replaced
 * by the directory, until few enough are left. A directory covers all that it replaces, so this only ever claims more
 * than the commit touches: such a task runs beside fewer others, and what waits for what is not changed by it.
 */
function collapse(claimed: Set<string>): Set<string> {
  let depth = 0;
  for (const claim of claimed) depth = Math.max(depth, depthOf(claim));
  for (; claimed.size > MAX_CLAIMS; depth--) {
    if (depth === 1) return new Set([WHOLE_REPOSITORY]);
    collapseLevel(claimed, depth);
  }
  return claimed;
}

function collapseLevel(claimed: Set<string>, depth: number): void {
  const directories = new Map<string, string[]>();
  for (const claim of claimed) {
    if (depthOf(claim) !== depth) continue;
    const directory = claim.slice(0, claim.lastIndexOf('/'));
    const members = directories.get(directory);
    if (members) members.push(claim);
    else directories.set(directory, [claim]);
  }
  const fullest = [...directories].sort(([a, x], [b, y]) => y.length - x.length || (a < b ? -1 : 1));
  for (const [directory, members] of fullest) {
    if (claimed.size <= MAX_CLAIMS) return;
    for (const member of members) claimed.delete(member);
    claimed.add(directory);
  }
}

function depthOf(claim: string): number {
  let depth = 1;
  for (let slash = claim.indexOf('/'); slash >= 0; slash = claim.indexOf('/', slash + 1)) depth++;
  return depth;
}
