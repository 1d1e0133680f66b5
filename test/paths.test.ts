// Claim patterns, against brute force over small paths, against git, and against a library that others wrote.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matchesName, nameTokens, parseComponent, type Token, tokensMeet } from '../src/domain/component.js';
import { fold } from '../src/domain/folding.js';
import {
  BadPattern,
  covers,
  overlaps,
  type Pattern,
  parsePattern,
  starProblem,
} from '../src/domain/paths.js';

const text = (claim: string): string => parsePattern(claim).text;

test('a star outside of a pattern is told from one in it', () => {
  expect(starProblem('docs/*.md')).toBe(
    '"*" stands for itself here: for a pattern write :(glob)docs/*.md, and [*] in one for a star',
  );
  expect(starProblem('app:src/*')).toContain('write app::(glob)src/*,');
  for (const fine of ['docs/a.md', ':(glob)docs/*.md', 'app::(glob)*', '[id].tsx'])
    expect(starProblem(fine)).toBeUndefined();
});

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
    [':(glob)a/***/b', ':(glob)a/**/b'],
    [':(glob)a/[!b-d]?', ':(glob)a/[!b-d]?'],
    ['docs:./src//a/', 'docs:src/a'],
    ['docs:.', 'docs:.'],
    ['docs::(glob)src/*.md', 'docs::(glob)src/*.md'],
    ['docs:one:two', 'docs:one:two'],
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
    ['C:work', 'drive paths are not allowed'],
    ['docs:/etc', 'absolute paths are not allowed'],
    ['docs:c:/work', 'drive paths are not allowed'],
    ['docs:', 'a claim is empty'],
    ['docs:../a', '".." is not allowed'],
    ['docs:a\\b', '"\\" is not allowed'],
    ['docs::!a', 'only the pathspec form :(glob)'],
    ['./other:src', 'a ":" in the first component'],
    ['no name:src', 'a ":" in the first component'],
    [':(glob)other:src', 'a ":" in the first component'],
    [':(glob)./other:*', 'a ":" in the first component'],
    [':(glob)*:src/**', 'a ":" in the first component'],
    [':(glob)', 'the glob is empty'],
    ['docs::(glob)', 'the glob is empty'],
    [':(glob){a,b}', '"{a,b}" is not known'],
    [':(glob)[ab', 'no "]" ends'],
    [':(glob)[a/b]', 'no "]" ends'],
    [':(glob)[]', 'no "]" ends'],
    [':(glob)[z-a]', 'the range z-a in a class is empty'],
    [':(glob)[[:letter:]]', '[:letter:] is no class'],
    [`:(glob)${'*a'.repeat(200)}`, 'at most 255 characters'],
    ['a/'.repeat(3_000), 'at most 4096 characters'],
  ])('%j', (claim, why) => {
    expect(() => parsePattern(claim)).toThrow(BadPattern);
    expect(() => parsePattern(claim)).toThrow(why);
  });
});

// ---- brute force: a few names, up to three deep

const NAMES = ['a', 'A', 'b', 'ab', '-'];

function paths(depth: number): string[][] {
  if (depth === 0) return [];
  const shorter = paths(depth - 1);
  const longest = depth === 1 ? [[]] : shorter.filter((path) => path.length === depth - 1);
  return [...shorter, ...longest.flatMap((path) => NAMES.map((name) => [...path, name]))];
}

const ALL = paths(3).map((path) => path.join('/'));

/** The pattern as a regular expression, written down from the definition and not from the code. */
function regex({ glob, segments }: Pattern, caseInsensitive: boolean): RegExp {
  const flags = caseInsensitive ? 'iu' : 'u';
  const quote = (literal: string) => literal.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
  if (!glob) return segments.length === 0 ? /^/ : new RegExp(`^${segments.map(quote).join('/')}(/|$)`, flags);
  const last = segments.length - 1;
  const source = segments.map((segment, i) => {
    if (segment === '**') return i === last ? '.+' : '(?:[^/]+/)*';
    const name = segment.replace(/\*+|\?|\[[!^]?\]?[^\]]*\]|[^*?[]+/g, (piece) => {
      if (piece.startsWith('*')) return '[^/]*';
      if (piece === '?') return '[^/]';
      if (!piece.startsWith('[')) return quote(piece);
      const negated = piece[1] === '!' || piece[1] === '^';
      const members = piece.slice(negated ? 2 : 1, -1).replace(/^\]/, '\\]');
      return `(?!/)[${negated ? '^' : ''}${members}]`;
    });
    return i === last ? name : `${name}/`;
  });
  return new RegExp(`^${source.join('')}$`, flags);
}

const CLASSES = ['?', '[ab]', '[!a]', '[^b]', '[a-b]', '[A-Z]', '[!A-Z]', '[]a]', '[!]a]'];
const segment = fc.oneof(
  fc.constantFrom('a', 'A', 'b', 'ab', '*', '**', 'a*', '*b', '*a*', 'b*a', 'A*', '***'),
  fc.constantFrom(...CLASSES),
  fc.tuple(fc.constantFrom(...CLASSES), fc.constantFrom('b', '*', '?', '[a-]')).map((two) => two.join('')),
);
const globText = fc
  .array(segment, { minLength: 1, maxLength: 4 })
  .map((parts) => `:(glob)${parts.join('/')}`);
const plainText = fc.oneof(
  fc.constantFrom(...ALL),
  fc.constant('.'),
  fc.constantFrom('a*', '**', 'a/*', '*/b', '[ab]', 'a/?'),
);
const claim = fc.oneof(globText, plainText);
const RUNS = { numRuns: Number(process.env.SIGNALBOX_RUNS ?? 2_000) };

/** Same, above or below. */
const related = (x: string, y: string): boolean => x === y || x.startsWith(`${y}/`) || y.startsWith(`${x}/`);

const matches = new Map<string, string[]>();
function matchesOf(pattern: Pattern, caseInsensitive: boolean): string[] {
  const key = `${caseInsensitive} ${pattern.text}`;
  const known = matches.get(key);
  if (known) return known;
  const found = ALL.filter((path) => covers(pattern, path, caseInsensitive)).map((path) =>
    caseInsensitive ? path.toLowerCase() : path,
  );
  matches.set(key, found);
  return found;
}

describe('covers', () => {
  test('is what the regular expression of the pattern says', () => {
    fc.assert(
      fc.property(claim, fc.boolean(), (one, caseInsensitive) => {
        const pattern = parsePattern(one);
        const expression = regex(pattern, caseInsensitive);
        const wrong = ALL.filter((path) => covers(pattern, path, caseInsensitive) !== expression.test(path));
        expect(wrong, `${one} ${expression}`).toEqual([]);
      }),
      RUNS,
    );
  });

  test('does not cross a slash with one star, and does with two', () => {
    expect(covers(parsePattern(':(glob)src/*.ts'), 'src/a.ts')).toBe(true);
    expect(covers(parsePattern(':(glob)src/*.ts'), 'src/x/a.ts')).toBe(false);
    expect(covers(parsePattern(':(glob)src/**/a.ts'), 'src/a.ts')).toBe(true);
    expect(covers(parsePattern(':(glob)src/**/a.ts'), 'src/x/y/a.ts')).toBe(true);
    expect(covers(parsePattern(':(glob)src/**'), 'src')).toBe(false);
  });

  test('takes a class, a range and a character as git does', () => {
    const taken = (glob: string, names: string[]) =>
      names.filter((name) => covers(parsePattern(`:(glob)${glob}`), name));
    expect(taken('[a-c]?.ts', ['a1.ts', 'd1.ts', 'b.ts', 'cé.ts'])).toEqual(['a1.ts', 'cé.ts']);
    expect(taken('[!a]', ['a', 'b', ']', 'bb', 'b/c'])).toEqual(['b', ']']);
    expect(taken('[]-]', [']', '-', 'a'])).toEqual([']', '-']);
    expect(taken('[*][[]', ['*[', 'a['])).toEqual(['*[']);
    expect(taken('[[:digit:]_]', ['7', '_', 'a', ':'])).toEqual(['7', '_']);
    expect(taken('a?b', ['a/b', 'axb'])).toEqual(['axb']);
  });

  test('says the same as git does of paths in its index', () => {
    const dir = mkdtempSync(join(tmpdir(), 'signalbox-glob-'));
    const git = (args: string[], input = '') =>
      execFileSync('git', ['-C', dir, ...args], { encoding: 'utf8', input, maxBuffer: 1 << 24 });
    try {
      git(['init', '-q']);
      // A tree holds a name once, as a file or as a directory: so the longest paths, and as files what is no directory.
      const blob = git(['hash-object', '-w', '--stdin']).trim();
      const files = [...ALL.filter((path) => path.split('/').length === 3), 'x', 'Ab', 'y/a', 'y/ab', 'y/b-'];
      git(['update-index', '--index-info'], files.map((file) => `100644 ${blob}\t${file}\n`).join(''));
      let compared = 0;
      for (const glob of fc.sample(globText, { numRuns: 150, seed: 7 })) {
        // Without a wildcard git takes a pathspec for a path, and what is below it too.
        if (!parsePattern(glob).parts.some((part) => part === '**' || typeof part !== 'string')) continue;
        for (const icase of [false, true]) {
          const said = git(['ls-files', '--', icase ? glob.replace('glob', 'glob,icase') : glob]);
          const ours = files.filter((file) => covers(parsePattern(glob), file, icase));
          expect(ours.sort(), `${glob} ${icase}`).toEqual(said.split('\n').filter(Boolean).sort());
        }
        compared++;
      }
      expect(compared).toBeGreaterThan(100);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test('takes no longer for patterns made to take long', () => {
    const evil = parsePattern(`:(glob)${'*a'.repeat(120)}b`);
    const deep = parsePattern(`:(glob)${'**/a/'.repeat(60)}b`);
    const began = performance.now();
    expect(covers(evil, 'a'.repeat(250))).toBe(false);
    expect(covers(deep, `${'a/'.repeat(500)}c`)).toBe(false);
    expect(overlaps(evil, parsePattern(`:(glob)${'a*'.repeat(120)}c`))).toBe(false);
    expect(performance.now() - began, 'milliseconds').toBeLessThan(2_000);
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
      fc.property(claim, claim, fc.boolean(), (one, other, caseInsensitive) => {
        const [a, b] = [parsePattern(one), parsePattern(other)];
        const said = overlaps(a, b, caseInsensitive);
        expect(overlaps(b, a, caseInsensitive), 'symmetric').toBe(said);
        const theirs = matchesOf(b, caseInsensitive);
        const meet = matchesOf(a, caseInsensitive).some((x) => theirs.some((y) => related(x, y)));
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

describe('two components', () => {
  const LETTERS = ['a', 'b', 'c', 'd'];
  const words = (length: number): string[] =>
    length === 0 ? [''] : words(length - 1).flatMap((word) => LETTERS.map((letter) => word + letter));
  /** Two patterns of three pieces that meet do so in a name of four letters at most. */
  const WORDS = [1, 2, 3, 4].flatMap(words);
  const piece = fc.constantFrom('a', 'b', '*', '?', '[ab]', '[!a]', '[b-c]', '[!b-c]');
  const component = fc.array(piece, { minLength: 1, maxLength: 3 }).map((pieces) => pieces.join(''));
  const tokens = (text: string): readonly Token[] => {
    const read = parseComponent(text);
    return typeof read === 'string' ? nameTokens(read) : read.tokens;
  };

  test('meet exactly when some name matches both', () => {
    fc.assert(
      fc.property(component, component, (one, other) => {
        const [a, b] = [tokens(one), tokens(other)];
        const witness = WORDS.find((name) => matchesName(a, name) && matchesName(b, name));
        expect(tokensMeet(a, b), `${one} ${other} ${witness}`).toBe(witness !== undefined);
      }),
      RUNS,
    );
  });
});

describe('against glob-intersection', () => {
  /** The pattern that both match, or false. Knows `*`, `**` and `?`, no classes. */
  const intersect = createRequire(import.meta.url)('glob-intersection') as (a: string, b: string) => unknown;
  const one = fc.constantFrom('a', 'b', 'ab', '*', 'a*', '*b', '*a*', 'b*a', '?', 'a?', '?b*', '*a?');
  const glob = (part: fc.Arbitrary<string>) =>
    fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const pattern = (text: string) => parsePattern(`:(glob)${text}`);

  test('globs of equally many components overlap exactly when it finds an intersection', () => {
    const found = { some: 0, none: 0 };
    fc.assert(
      fc.property(glob(one), glob(one), (x, y) => {
        fc.pre(x.split('/').length === y.split('/').length);
        const meet = intersect(x, y) !== false;
        found[meet ? 'some' : 'none']++;
        expect(overlaps(pattern(x), pattern(y)), `${x} ${y}`).toBe(meet);
      }),
      RUNS,
    );
    expect(Math.min(found.some, found.none)).toBeGreaterThan(20);
  });

  test('whenever it finds an intersection, there is an overlap, also across `**`', () => {
    const any = glob(fc.oneof(one, fc.constant('**')));
    fc.assert(
      fc.property(any, any, (x, y) => {
        if (intersect(x, y) !== false) expect(overlaps(pattern(x), pattern(y)), `${x} ${y}`).toBe(true);
      }),
      RUNS,
    );
  });
});

describe('where `A` is `a`', () => {
  test.each([
    ['README.md', 'readme.MD', true],
    ['Straße', 'STRASSE/x', true],
    ['ΟΔΟΣ', 'οδος', true],
    ['ΟΔΟΣ', 'οδοσ', true],
    ['\u212a', 'k', true],
    ['É', 'e\u0301', true],
    ['\u1e96', 'H\u0331', true],
    ['a', 'b', false],
    [':(glob)[A-C]x', 'bX', true],
    [':(glob)[!a]x', 'AX', false],
    [':(glob)[!A-C]', ':(glob)[a-c]', false],
    [':(glob)Ä*', 'äb', true],
    [':(glob)*.TS', ':(glob)*.ts', true],
    [':(glob)[[:upper:]]', 'a', true],
    ['docs:A', 'docs:a', true],
  ])('%s and %s: %s', (one, other, expected) => {
    const [a, b] = [parsePattern(one), parsePattern(other)];
    expect(overlaps(a, b, true)).toBe(expected);
    expect(overlaps(b, a, true)).toBe(expected);
  });

  test('every letter folds as its upper and its lower case do, and only once', () => {
    const wrong: string[] = [];
    for (let code = 1; code <= 0x1ffff; code++) {
      if (code >= 0xd800 && code < 0xe000) continue;
      const letter = String.fromCodePoint(code);
      const folded = fold(letter);
      if (fold(folded) !== folded) wrong.push(`${letter} twice`);
      if (fold(letter.toLowerCase()) !== folded || fold(letter.toUpperCase()) !== folded) wrong.push(letter);
    }
    expect(wrong).toEqual([]);
  });
});
