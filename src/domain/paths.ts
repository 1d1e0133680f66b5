// Claim patterns: what a claim covers and when two claims overlap.
//
// A claim is a file or directory (`src/a` covers src/a and everything below it) or `:(glob)` with `*`, `?` and `[…]`
// inside a path component and `**` across components, as git's glob pathspecs. `docs:src/a` and `docs::(glob)*.md` lie in
// the repository `docs`, others in the repository at hand. Two claims overlap when one path can be matched by the first
// and be the same as, above or below a path matched by the second: a file and a path below it exclude each other, because
// a tree cannot hold both. In a repository that takes `A` for `a`, names are folded before they are compared. The answer
// never errs towards "disjoint".

import { BadComponent, matchesName, parseComponent, type Token, tokensMeet, type Wild } from './component.js';
import { fold } from './folding.js';

/** A component: `**`, a name, or one with wildcards. */
type Part = '**' | string | Wild;
/** What a component other than `**` is compared by: its name, or its tokens. */
export type Key = string | readonly Token[];

export interface Pattern {
  /** The normalised text, as shown to people. */
  readonly text: string;
  /** The repository that the claim names; absent: the one at hand. */
  readonly repository?: string;
  readonly glob: boolean;
  /** Path components as written; in a glob `**` alone stands for any number of components. */
  readonly segments: readonly string[];
  /** The same, read. `**` is the glob's, a name never is. */
  readonly parts: readonly Part[];
  /** The components before the first `**`. */
  readonly keys: readonly Key[];
}

export class BadPattern extends Error {}

const GLOB = ':(glob)';
/** The longest path that systems take. */
const MOST = 4_096;
/** The longest name that file systems take; keeps the cost of comparing two wild components small. */
const MOST_WILD = 255;

/** Parses and normalises one claim (`./`, `//`, trailing `/`, Unicode NFC). Throws BadPattern, which says what is wrong. */
export function parsePattern(claim: string): Pattern {
  const { repository, rest } = splitRepository(claim);
  const glob = rest.startsWith(GLOB);
  const body = (glob ? rest.slice(GLOB.length) : rest).normalize('NFC');
  refuse(rest, body, glob);
  const written = body.split('/').filter((part) => part !== '' && part !== '.');
  if (written.includes('..'))
    throw new BadPattern('".." is not allowed: write the path from the repository\'s root');
  // What stands before a ":" there names another repository, so no pattern may look like that.
  if (repository === undefined && written[0]?.replace(/\[:[a-z]*:\]/g, '').includes(':'))
    throw new BadPattern(
      'a ":" in the first component is not allowed here: what stands before it names a repository (repo:one:two for the path one:two)',
    );
  if (glob && written.length === 0) throw new BadPattern('the glob is empty: write at least `:(glob)**`');
  const segments = glob ? written.map((segment) => segment.replace(/^\*{2,}$/, '**')) : written;
  const parts = glob ? segments.map(globPart) : segments;
  const head = repository === undefined ? '' : `${repository}:`;
  return {
    text: head + (glob ? GLOB : '') + (segments.join('/') || '.'),
    ...(repository === undefined ? {} : { repository }),
    glob,
    segments,
    parts,
    keys: glob
      ? parts.slice(0, endOf(parts)).map((part) => (typeof part === 'string' ? part : part.tokens))
      : segments,
  };
}

const endOf = (parts: readonly Part[]): number => {
  const end = parts.indexOf('**');
  return end < 0 ? parts.length : end;
};

/** `name:` before the pattern. One letter would be a drive. */
const REPOSITORY = /^([A-Za-z0-9][A-Za-z0-9._-]+):(.*)$/s;

/** What a claim says of its repository, and the rest of it. */
/** What to write instead where somebody who writes a star seems to mean a pattern; undefined when it is one, or has none. */
export function starProblem(claim: string): string | undefined {
  const { repository, rest } = splitRepository(claim);
  if (rest.startsWith(GLOB) || !rest.includes('*')) return undefined;
  const head = repository === undefined ? '' : `${repository}:`;
  return `"*" stands for itself here: for a pattern write ${head}${GLOB}${rest}, and [*] in one for a star`;
}

export function splitRepository(claim: string): { repository?: string; rest: string } {
  const [, repository, rest] = REPOSITORY.exec(claim) ?? [];
  return repository === undefined || rest === undefined ? { rest: claim } : { repository, rest };
}

function globPart(segment: string): Part {
  if (segment === '**') return segment;
  if (segment.length > MOST_WILD)
    throw new BadPattern(`a component of a :(glob) may have at most ${MOST_WILD} characters`);
  try {
    return parseComponent(segment);
  } catch (error) {
    if (error instanceof BadComponent) throw new BadPattern(error.message);
    throw error;
  }
}

function refuse(claim: string, body: string, glob: boolean): void {
  if (claim === '') throw new BadPattern('a claim is empty: write a file, a directory, "." or a :(glob)');
  if (claim.length > MOST) throw new BadPattern(`a claim may have at most ${MOST} characters`);
  if (body.startsWith('/'))
    throw new BadPattern("absolute paths are not allowed: write the path from the repository's root");
  if (/^[A-Za-z]:[/\\]?/.test(body))
    throw new BadPattern("drive paths are not allowed: write the path from the repository's root");
  if (body.includes('\\')) throw new BadPattern('"\\" is not allowed: separate directories with "/"');
  if (/[\u0000-\u001f\u007f]/.test(body))
    throw new BadPattern('control characters are not allowed in a claim');
  if (!glob && body.startsWith(':')) throw new BadPattern('only the pathspec form :(glob)… is known');
  if (glob && /[{}]/.test(body.replace(/\[[{}]\]/g, '')))
    throw new BadPattern('"{a,b}" is not known in a :(glob): write one claim for each ([{] is a brace)');
}

/**
 * True when the pattern covers the path: for files and directories the path itself or anything below, for globs a full
 * match. Whether they lie in the same repository is for the caller to know.
 */
export function covers(pattern: Pattern, path: string, caseInsensitive = false): boolean {
  const written = path.normalize('NFC').split('/');
  const names = caseInsensitive ? written.map(fold) : written;
  if (pattern.glob) return globCovers(pattern.parts, names, caseInsensitive);
  const keys = keysOf(pattern, caseInsensitive);
  return keys.length <= names.length && keys.every((key, i) => key === names[i]);
}

/** True when whatever the other claim covers is covered by the pattern, as far as that shows from the names alone. */
export function coversClaim(pattern: Pattern, other: Pattern): boolean {
  if (pattern.repository !== other.repository) return false;
  if (pattern.text === other.text) return true;
  return !pattern.glob && pattern.keys.every((key, i) => typeof key === 'string' && key === other.keys[i]);
}

/** One component of the path after the other, with all places of the glob that have been reached so far. */
function globCovers(parts: readonly Part[], names: readonly string[], folded: boolean): boolean {
  const last = parts.length - 1;
  /** A closing `**` is everything inside, so at least one component; elsewhere it may stand for none. */
  const reach = (into: Set<number>, from: number): void => {
    into.add(from);
    for (let i = from; i < last && parts[i] === '**'; i++) into.add(i + 1);
  };
  let reached = new Set<number>();
  reach(reached, 0);
  for (const name of names) {
    const next = new Set<number>();
    for (const i of reached) {
      const part = parts[i];
      if (part === undefined) continue;
      if (part === '**') reach(next, i);
      if (part === '**' ? i === last : keysMeet(keyOf(part, folded), name)) reach(next, i + 1);
    }
    reached = next;
  }
  return reached.has(parts.length);
}

function keyOf(part: string | Wild, folded: boolean): Key {
  if (typeof part === 'string') return folded ? fold(part) : part;
  return folded ? part.folded() : part.tokens;
}

/**
 * The components that decide whether two claims overlap: those before the first `**`. Whatever follows it can lie below
 * any path that begins so, and a path and one below it overlap.
 */
export const keysOf = (pattern: Pattern, caseInsensitive: boolean): readonly Key[] =>
  caseInsensitive
    ? pattern.parts.slice(0, pattern.keys.length).map((part) => keyOf(part, true))
    : pattern.keys;

/**
 * True unless no path of one pattern can be the same as, above or below a path of the other. Symmetric. Whether they lie
 * in the same repository is for the caller to know.
 */
export function overlaps(a: Pattern, b: Pattern, caseInsensitive = false): boolean {
  const [ours, theirs] = [keysOf(a, caseInsensitive), keysOf(b, caseInsensitive)];
  // Where one side is used up, whatever the other still asks for can lie below it.
  return ours.every((key, i) => {
    const other = theirs[i];
    return other === undefined || keysMeet(key, other);
  });
}

/** Whether some name matches both. */
function keysMeet(a: Key, b: Key): boolean {
  if (typeof a === 'string') return typeof b === 'string' ? a === b : matchesName(b, a);
  return typeof b === 'string' ? matchesName(a, b) : tokensMeet(a, b);
}
