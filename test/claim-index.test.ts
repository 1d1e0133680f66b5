// The index of held claims: exact against comparing with each, and no dearer for ten thousand held claims than for a hundred.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ClaimIndex } from '../src/domain/claim-index.js';
import { overlaps, type Pattern, parsePattern } from '../src/domain/paths.js';

/** In `web`, `A` is `a`. */
const caseInsensitive = (repository: string) => repository === 'web';

const part = fc.constantFrom(
  ...['a', 'A', 'b', 'ab', '*', '**', 'a*', '*b', '*a*', 'b*a', '?', '[ab]', '[!a]', 'a?', '*[A-Z]', '?b*'],
);
const claim = fc
  .tuple(
    fc.constantFrom('', '', 'web:', 'app:'),
    fc.oneof(
      fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => `:(glob)${parts.join('/')}`),
      fc
        .array(fc.constantFrom('a', 'A', 'b', 'ab'), { minLength: 1, maxLength: 4 })
        .map((names) => names.join('/')),
      fc.constant('.'),
    ),
  )
  .map(([repository, path]) => repository + path);

interface Held {
  repository: string;
  patterns: Pattern[];
}

const clash = (one: Held, other: Held): boolean =>
  one.patterns.some((x) =>
    other.patterns.some((y) => {
      const place = x.repository ?? one.repository;
      return place === (y.repository ?? other.repository) && overlaps(x, y, caseInsensitive(place));
    }),
  );

describe('firstOverlap', () => {
  test('finds an overlap exactly when there is one, whoever comes and goes', () => {
    const change = fc.record({
      holder: fc.constantFrom('h1', 'h2', 'h3', 'h4', 'h5'),
      repository: fc.constantFrom('app', 'app', 'web'),
      claims: fc.array(claim, { minLength: 1, maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 5, maxLength: 30 }), (changes) => {
        const index = new ClaimIndex(caseInsensitive);
        const held = new Map<string, Held>();
        for (const { holder, repository, claims } of changes) {
          const asked = { repository, patterns: claims.map(parsePattern) };
          const found = index.firstOverlap(holder, repository, asked.patterns);
          const clashes = [...held].filter(([other, theirs]) => other !== holder && clash(theirs, asked));
          expect(found !== undefined).toBe(clashes.length > 0);
          if (found) {
            const other = held.get(found.holder) as Held;
            const [theirs, ours] = [parsePattern(found.theirs), parsePattern(found.ours)];
            const named = { repository, patterns: [ours] };
            expect(clash({ ...other, patterns: [theirs] }, named), 'what it names does overlap').toBe(true);
          }
          const mine = held.get(holder);
          if (mine) {
            index.remove(holder, mine.repository, mine.patterns);
            held.delete(holder);
          } else {
            index.add(holder, repository, asked.patterns);
            held.set(holder, asked);
          }
        }
        for (const [holder, { repository, patterns }] of held) index.remove(holder, repository, patterns);
        for (const repository of ['app', 'web'])
          expect(index.firstOverlap('?', repository, [parsePattern('.')])).toBeUndefined();
      }),
      { numRuns: 400 },
    );
  });

  test('names both claims by their repository when one of them does', () => {
    const index = new ClaimIndex();
    index.add('writer', 'docs', [parsePattern('guide')]);
    expect(index.firstOverlap('x', 'app', [parsePattern('docs:guide/a.md')])).toEqual({
      holder: 'writer',
      theirs: 'docs:guide',
      ours: 'docs:guide/a.md',
    });
    expect(index.firstOverlap('x', 'docs', [parsePattern('guide/a.md')])).toEqual({
      holder: 'writer',
      theirs: 'guide',
      ours: 'guide/a.md',
    });
    expect(index.firstOverlap('x', 'app', [parsePattern('guide/a.md')])).toBeUndefined();
  });
});

describe('a request costs the same whether 100 or 10,000 claims are held', () => {
  const name = (i: number) => `m${String(i).padStart(5, '0')}`;
  const kinds: Record<string, (i: number) => string> = {
    'files of one directory': (i) => `src/${name(i)}.ts`,
    'files in directories of their own': (i) => `src/${name(i)}/deep/er/file.ts`,
    'globs that differ before the star': (i) => `:(glob)src/${name(i)}*/**`,
    'globs that differ behind the star': (i) => `:(glob)src/x*.${name(i)}`,
    'globs that differ between two stars': (i) => `:(glob)src/x*-${name(i)}-*`,
    'globs that differ in the last component': (i) => `:(glob)src/*/[ab]?/${name(i)}`,
  };
  const requests = [
    'src/zebra/x1/zebra.ts',
    'src/zebra/aa/m',
    'other',
    ':(glob)src/zeb*/zebra/zebra/**',
    ':(glob)src/z*.zebra/a/b',
    ':(glob)src/[y-z]*/a?/[y-z]*',
  ].map(parsePattern);

  const filled = (claim: (i: number) => string, count: number, repository: string): ClaimIndex => {
    const index = new ClaimIndex(caseInsensitive);
    for (let i = 0; i < count; i++) index.add(`h${i}`, repository, [parsePattern(claim(i))]);
    return index;
  };
  const cost = (index: ClaimIndex, repository: string): number => {
    const began = performance.now();
    for (let i = 0; i < 20; i++)
      for (const request of requests)
        if (index.firstOverlap('?', repository, [request])) throw new Error(`${request.text} overlaps`);
    return performance.now() - began;
  };

  for (const repository of ['app', 'web'])
    test.each(Object.entries(kinds))(`${repository}: %s`, (_, claim) => {
      const [few, many] = [filled(claim, 100, repository), filled(claim, 10_000, repository)];
      // The best of interleaved rounds: what else the machine does only ever adds. A scan would be a hundred times as dear.
      const best = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY] as [number, number];
      for (let round = 0; round < 15; round++) {
        best[0] = Math.min(best[0], cost(few, repository));
        best[1] = Math.min(best[1], cost(many, repository));
      }
      expect(best[1] / best[0]).toBeLessThan(3);
    });
});
