// Claim patterns and the index of held claims, against brute force over small paths.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ClaimIndex } from '../src/domain/claim-index.js';
import { BadPattern, covers, overlaps, type Pattern, parsePattern } from '../src/domain/paths.js';

const text = (claim: string): string => parsePattern(claim).text;

describe('a claim is normalised', () => {
  test.each([
    ['src/a', 'src/a'],
    ['./src//a/', 'src/a'],
    ['src/./a', 'src/a'],
    ['.', '.'],
    ['./', '.'],
    ['a/../a'.replace('../', ''), 'a/a'],
    [':(glob)src/**/', ':(glob)src/**'],
    [':(glob)./*.ts', ':(glob)*.ts'],
    ['cafe\u0301', 'caf\u00e9'],
    ['a*b', 'a*b'],
    ['docs/a:b', 'docs/a:b'],
    [':(glob)docs/a:*', ':(glob)docs/a:*'],
    [' with space', ' with space'],
  ])('%j is %j', (claim, expected) => {
    expect(text(claim)).toBe(expected);
    expect(text(expected), 'normalising twice changes nothing').toBe(expected);
  });
});

describe('a claim that cannot be right is refused, and told why', () => {
  test.each([
    ['', 'a claim is empty'],
    ['/etc', 'absolute paths are not allowed'],
    [':(glob)/etc/*', 'absolute paths are not allowed'],
    ['C:\\work', 'drive paths are not allowed'],
    ['c:/work', 'drive paths are not allowed'],
    ['src\\a', '"\\" is not allowed'],
    ['src/../b', '".." is not allowed'],
    ['..', '".." is not allowed'],
    ['a\nb', 'control characters'],
    ['a\u007f', 'control characters'],
    [':(exclude)a', 'only the pathspec form :(glob)'],
    [':!a', 'only the pathspec form :(glob)'],
    ['other:src', 'a ":" in the first component'],
    ['./other:src', 'a ":" in the first component'],
    [':(glob)other:src', 'a ":" in the first component'],
    [':(glob)./other:*', 'a ":" in the first component'],
    [':(glob)*:src/**', 'a ":" in the first component'],
    [':(glob)', 'the glob is empty'],
    [':(glob)a?', 'only `*` and `**` are known'],
    [':(glob)[ab]', 'only `*` and `**` are known'],
    [':(glob){a,b}', 'only `*` and `**` are known'],
  ])('%j', (claim, why) => {
    expect(() => parsePattern(claim)).toThrow(BadPattern);
    expect(() => parsePattern(claim)).toThrow(why);
  });
});

// ---- brute force: two names and their compounds, up to four deep

const NAMES = ['a', 'b', 'ab'];

function paths(depth: number): string[][] {
  if (depth === 0) return [];
  const shorter = paths(depth - 1);
  const longest = depth === 1 ? [[]] : shorter.filter((path) => path.length === depth - 1);
  return [...shorter, ...longest.flatMap((path) => NAMES.map((name) => [...path, name]))];
}

const ALL = paths(4).map((path) => path.join('/'));

/** The pattern as a regular expression, written down from the definition and not from the code. */
function regex({ glob, segments }: Pattern): RegExp {
  const quote = (literal: string) => literal.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  if (!glob) return segments.length === 0 ? /^/ : new RegExp(`^${segments.map(quote).join('/')}(/|$)`);
  const last = segments.length - 1;
  const source = segments.map((segment, i) => {
    if (segment === '**') return i === last ? '.+' : '(?:[^/]+/)*';
    const name = segment.split('*').map(quote).join('[^/]*');
    return i === last ? name : `${name}/`;
  });
  return new RegExp(`^${source.join('')}$`);
}

const segment = fc.constantFrom('a', 'b', 'ab', '*', '**', 'a*', '*b', '*a*', 'b*a');
const globText = fc
  .array(segment, { minLength: 1, maxLength: 4 })
  .map((parts) => `:(glob)${parts.join('/')}`);
const plainText = fc.oneof(
  fc.constantFrom(...ALL),
  fc.constant('.'),
  fc.constantFrom('a*', '**', 'a/*', '*/b'),
);
const claim = fc.oneof(globText, plainText);
const RUNS = { numRuns: Number(process.env.SIGNALBOX_RUNS ?? 2_000) };

/** Same, above or below. */
const related = (x: string, y: string): boolean => x === y || x.startsWith(`${y}/`) || y.startsWith(`${x}/`);

const matches = new Map<string, string[]>();
function matchesOf(pattern: Pattern): string[] {
  const known = matches.get(pattern.text);
  if (known) return known;
  const found = ALL.filter((path) => covers(pattern, path));
  matches.set(pattern.text, found);
  return found;
}

describe('covers', () => {
  test('is what the regular expression of the pattern says', () => {
    fc.assert(
      fc.property(claim, (one) => {
        const pattern = parsePattern(one);
        const expression = regex(pattern);
        for (const path of ALL) expect(covers(pattern, path), `${one} ${path}`).toBe(expression.test(path));
      }),
      { numRuns: 500 },
    );
  });

  test('does not cross a slash with one star, and does with two', () => {
    expect(covers(parsePattern(':(glob)src/*.ts'), 'src/a.ts')).toBe(true);
    expect(covers(parsePattern(':(glob)src/*.ts'), 'src/x/a.ts')).toBe(false);
    expect(covers(parsePattern(':(glob)src/**/a.ts'), 'src/a.ts')).toBe(true);
    expect(covers(parsePattern(':(glob)src/**/a.ts'), 'src/x/y/a.ts')).toBe(true);
    expect(covers(parsePattern(':(glob)src/**'), 'src')).toBe(false);
  });

  test('takes a directory and what is below it, and no namesake', () => {
    expect(covers(parsePattern('src/carg'), 'src/cargo')).toBe(false);
    expect(covers(parsePattern('src/cargo'), 'src/cargo/a/b.rs')).toBe(true);
    expect(covers(parsePattern('caf\u00e9'), 'cafe\u0301')).toBe(true);
  });
});

describe('overlaps', () => {
  test('never says disjoint when two paths are the same, or one is above the other; it is symmetric', () => {
    fc.assert(
      fc.property(claim, claim, (one, other) => {
        const [a, b] = [parsePattern(one), parsePattern(other)];
        const said = overlaps(a, b);
        expect(overlaps(b, a), 'symmetric').toBe(said);
        const meet = matchesOf(a).some((x) => matchesOf(b).some((y) => related(x, y)));
        if (meet) expect(said, `${one} and ${other} meet`).toBe(true);
      }),
      RUNS,
    );
  });

  test('is exact for literal paths', () => {
    fc.assert(
      fc.property(plainText, plainText, (one, other) => {
        const [a, b] = [text(one), text(other)];
        const expected = a === '.' || b === '.' || related(a, b);
        expect(overlaps(parsePattern(one), parsePattern(other))).toBe(expected);
      }),
      RUNS,
    );
  });

  test.each([
    ['src/a', 'src/a/b.ts', true],
    ['src/a', 'src/ab', false],
    ['.', 'anything', true],
    [':(glob)src/*.ts', 'src', true],
    [':(glob)src/*.ts', 'src/a.ts/below', true],
    [':(glob)src/*.ts', ':(glob)src/*.js', false],
    [':(glob)**/package.json', 'src/a', true],
    [':(glob)src/**', ':(glob)test/**', false],
    [':(glob)a*', ':(glob)*b', true],
    [':(glob)a*', ':(glob)b*', false],
    // A star in a literal path is a name like any other.
    ['a*', ':(glob)ab', false],
    ['a*', ':(glob)a*', true],
    ['**', ':(glob)ab', false],
  ])('%s and %s: %s', (one, other, expected) => {
    expect(overlaps(parsePattern(one), parsePattern(other))).toBe(expected);
    expect(overlaps(parsePattern(other), parsePattern(one))).toBe(expected);
  });
});

describe('ClaimIndex', () => {
  test('finds an overlap exactly when there is one, whoever comes and goes', () => {
    const change = fc.record({
      holder: fc.constantFrom('h1', 'h2', 'h3', 'h4', 'h5'),
      repository: fc.constantFrom('app', 'app', 'web'),
      claims: fc.array(claim, { minLength: 1, maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 5, maxLength: 30 }), (changes) => {
        const index = new ClaimIndex();
        const held = new Map<string, { repository: string; patterns: Pattern[] }>();
        for (const { holder, repository, claims } of changes) {
          const patterns = claims.map(parsePattern);
          const found = index.firstOverlap(holder, repository, patterns);
          const clashes = [...held].filter(
            ([other, theirs]) =>
              other !== holder &&
              theirs.repository === repository &&
              theirs.patterns.some((x) => patterns.some((y) => overlaps(x, y))),
          );
          expect(found !== undefined).toBe(clashes.length > 0);
          if (found) {
            const theirs = held.get(found.holder)?.patterns.find((x) => x.text === found.theirs);
            const ours = patterns.find((x) => x.text === found.ours);
            expect(theirs && ours && overlaps(theirs, ours), 'what it names does overlap').toBe(true);
          }
          const mine = held.get(holder);
          if (mine) {
            index.remove(holder, mine.repository, mine.patterns);
            held.delete(holder);
          } else {
            index.add(holder, repository, patterns);
            held.set(holder, { repository, patterns });
          }
        }
        for (const [holder, { repository, patterns }] of held) index.remove(holder, repository, patterns);
        for (const repository of ['app', 'web'])
          expect(index.firstOverlap('?', repository, [parsePattern('.')])).toBeUndefined();
      }),
      { numRuns: 400 },
    );
  });
});
