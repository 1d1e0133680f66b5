// Claim patterns: what a claim covers and when two claims overlap.
//
// A claim is a file or directory (`src/a` covers src/a and everything below it) or `:(glob)` with `*` inside a
// path component and `**` across components, as git's glob pathspecs. Two claims overlap when one path can be
// matched by the first and be the same as, above or below a path matched by the second: a file and a path below
// it exclude each other, because a tree cannot hold both. The answer never errs towards "disjoint".

export interface Pattern {
  /** The normalised text, as shown to people. */
  readonly text: string;
  readonly glob: boolean;
  /** Path components; in a glob `**` alone stands for any number of components. */
  readonly segments: readonly string[];
}

export class BadPattern extends Error {}

const GLOB = ':(glob)';

/** Parses and normalises one claim (`./`, `//`, trailing `/`, Unicode NFC). Throws BadPattern, which says what is wrong. */
export function parsePattern(claim: string): Pattern {
  const glob = claim.startsWith(GLOB);
  const body = (glob ? claim.slice(GLOB.length) : claim).normalize('NFC');
  refuse(claim, body, glob);
  const segments = body.split('/').filter((part) => part !== '' && part !== '.');
  if (segments.includes('..'))
    throw new BadPattern('".." is not allowed: write the path from the repository\'s root');
  // What stands before a ":" there names another repository, so no pattern may look like that.
  if (segments[0]?.includes(':')) throw new BadPattern('a ":" in the first component is not allowed here');
  if (glob && segments.length === 0) throw new BadPattern('the glob is empty: write at least `:(glob)**`');
  return { text: (glob ? GLOB : '') + (segments.join('/') || '.'), glob, segments };
}

function refuse(claim: string, body: string, glob: boolean): void {
  if (claim === '') throw new BadPattern('a claim is empty: write a file, a directory, "." or a :(glob)');
  if (body.startsWith('/'))
    throw new BadPattern("absolute paths are not allowed: write the path from the repository's root");
  if (/^[A-Za-z]:[/\\]?/.test(body))
    throw new BadPattern("drive paths are not allowed: write the path from the repository's root");
  if (body.includes('\\')) throw new BadPattern('"\\" is not allowed: separate directories with "/"');
  if (/[\u0000-\u001f\u007f]/.test(body))
    throw new BadPattern('control characters are not allowed in a claim');
  if (!glob && body.startsWith(':')) throw new BadPattern('only the pathspec form :(glob)… is known');
  if (glob && /[?[\]{}]/.test(body)) throw new BadPattern('in a :(glob) only `*` and `**` are known');
}

/** True when the pattern covers the path: for files and directories the path itself or anything below, for globs a full match. */
export function covers(pattern: Pattern, path: string): boolean {
  const parts = path.normalize('NFC').split('/');
  if (pattern.glob) return globMatches(pattern.segments, 0, parts, 0);
  return (
    pattern.segments.length <= parts.length && pattern.segments.every((segment, i) => segment === parts[i])
  );
}

function globMatches(glob: readonly string[], i: number, parts: readonly string[], j: number): boolean {
  const segment = glob[i];
  if (segment === undefined) return j === parts.length;
  if (segment === '**') {
    // A closing `/**` is everything inside, so at least one component; elsewhere `**` may stand for none.
    if (i === glob.length - 1) return j < parts.length;
    for (let k = j; k <= parts.length; k++) if (globMatches(glob, i + 1, parts, k)) return true;
    return false;
  }
  const part = parts[j];
  return part !== undefined && segmentMatches(segment, part) && globMatches(glob, i + 1, parts, j + 1);
}

function segmentMatches(segment: string, part: string): boolean {
  if (!segment.includes('*')) return segment === part;
  const expression = segment.split(/\*+/).map((text) => text.replace(/[.+^$()|]/g, '\\$&'));
  return new RegExp(`^${expression.join('.*')}$`, 's').test(part);
}

/** True unless no path of one pattern can be the same as, above or below a path of the other. Symmetric. */
export function overlaps(a: Pattern, b: Pattern): boolean {
  if (!a.glob && !b.glob) {
    const short = Math.min(a.segments.length, b.segments.length);
    for (let i = 0; i < short; i++) if (a.segments[i] !== b.segments[i]) return false;
    return true;
  }
  return globsMeet(a, b);
}

/** Whether some path lies at or below a match of both: the intersection of `a/**` and `b/**`, by memoised descent. */
function globsMeet({ segments: a, glob: aGlob }: Pattern, { segments: b, glob: bGlob }: Pattern): boolean {
  const width = b.length + 1;
  const known = new Int8Array((a.length + 1) * width);
  const meet = (i: number, j: number): boolean => {
    // One side is used up: whatever the other still asks for can lie below it.
    if (i === a.length || j === b.length) return true;
    const at = i * width + j;
    if (known[at] !== 0) return known[at] === 1;
    known[at] = -1;
    const x = a[i] as string;
    const y = b[j] as string;
    const met =
      (aGlob && x === '**') || (bGlob && y === '**')
        ? meet(i + 1, j) || meet(i, j + 1) || meet(i + 1, j + 1)
        : segmentsMeet(x, aGlob && x.includes('*'), y, bGlob && y.includes('*')) && meet(i + 1, j + 1);
    known[at] = met ? 1 : -1;
    return met;
  };
  return meet(0, 0);
}

/** Whether one name can match both components; in a wild one `*` stands for any characters, else for itself. */
function segmentsMeet(a: string, aWild: boolean, b: string, bWild: boolean): boolean {
  if (!aWild) return bWild ? segmentMatches(b, a) : a === b;
  if (!bWild) return segmentMatches(a, b);
  // Both have wildcards: only what stands before the first and after the last `*` can rule each other out.
  const head = (text: string) => text.slice(0, text.indexOf('*'));
  const tail = (text: string) => text.slice(text.lastIndexOf('*') + 1);
  const fits = (x: string, y: string) => x.startsWith(y) || y.startsWith(x);
  const fitsBack = (x: string, y: string) => x.endsWith(y) || y.endsWith(x);
  return fits(head(a), head(b)) && fitsBack(tail(a), tail(b));
}

/** The components before the first wildcard: where an index keeps the pattern. */
export function literalPrefix(pattern: Pattern): readonly string[] {
  if (!pattern.glob) return pattern.segments;
  const wild = pattern.segments.findIndex((segment) => segment.includes('*'));
  return wild < 0 ? pattern.segments : pattern.segments.slice(0, wild);
}
