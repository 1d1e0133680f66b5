// The plan of a replay, without git: edges against a brute-force oracle, claims against the domain's own rules, and speed.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Change, History } from '../src/cli/replay/history.js';
import { type ReplayTask, replayTasks } from '../src/cli/replay/plan.js';
import { covers, parsePattern } from '../src/domain/paths.js';

const change = (path: string): Change => ({
  path: Buffer.from(path, 'latin1'),
  oldMode: '100644',
  newMode: '100644',
  oldOid: 'a'.repeat(40),
  newOid: 'b'.repeat(40),
  status: 'M',
});

function historyOf(commits: readonly (readonly string[])[], subject = 'subject'): History {
  return {
    start: undefined,
    end: 'f'.repeat(40),
    endTree: 'e'.repeat(40),
    objectFormat: 'sha1',
    commits: commits.map((paths, i) => ({
      oid: i.toString(16).padStart(40, '0'),
      parent: undefined,
      subject,
      changes: paths.map(change),
    })),
  };
}

const plan = (commits: readonly (readonly string[])[]): ReplayTask[] =>
  replayTasks(historyOf(commits), { plan: 'p' });
const claimsOf = (paths: readonly string[]): string[] => plan([paths])[0]?.writes ?? [];
const utf8 = (path: string): string => Buffer.from(path, 'utf8').toString('latin1');

const overlap = (a: string, b: string): boolean => a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
const commitsOverlap = (a: readonly string[], b: readonly string[]): boolean =>
  a.some((x) => b.some((y) => overlap(x, y)));

/** For each task all that it waits for, through others too. */
function reachable(tasks: readonly ReplayTask[]): Set<number>[] {
  const index = new Map(tasks.map(({ id }, i) => [id, i]));
  const reach: Set<number>[] = [];
  for (const { after } of tasks) {
    const all = new Set<number>();
    for (const { task } of after) {
      const upstream = index.get(task) ?? -1;
      all.add(upstream);
      for (const further of reach[upstream] ?? []) all.add(further);
    }
    reach.push(all);
  }
  return reach;
}

const component = fc.constantFrom('a', 'b', 'c', '\xff');
const path = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const history = fc.array(fc.uniqueArray(path, { maxLength: 6 }), { maxLength: 25 });

describe('edges', () => {
  it('order exactly what overlaps, directly or through others', () => {
    fc.assert(
      fc.property(history, (commits) => {
        const tasks = plan(commits);
        const reach = reachable(tasks);
        // The oracle: the transitive closure of "overlaps an earlier one".
        const closure: Set<number>[] = [];
        for (const [i, paths] of commits.entries()) {
          const all = new Set<number>();
          for (let j = 0; j < i; j++) {
            if (!commitsOverlap(paths, commits[j] ?? [])) continue;
            all.add(j);
            for (const further of closure[j] ?? []) all.add(further);
          }
          closure.push(all);
          expect(reach[i]).toEqual(all);
        }
      }),
      { numRuns: 1500 },
    );
  });

  it('are only between overlapping commits, none doubled and none implied by another', () => {
    fc.assert(
      fc.property(history, (commits) => {
        const tasks = plan(commits);
        const reach = reachable(tasks);
        const index = new Map(tasks.map(({ id }, i) => [id, i]));
        for (const [i, { after }] of tasks.entries()) {
          const direct = after.map(({ task }) => index.get(task) ?? -1);
          expect(new Set(direct).size).toBe(direct.length);
          for (const j of direct) {
            expect(j).toBeLessThan(i);
            expect(commitsOverlap(commits[i] ?? [], commits[j] ?? [])).toBe(true);
            expect(direct.some((k) => reach[k]?.has(j))).toBe(false);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it('leave an empty commit free, with no claims', () => {
    const [, empty, third] = plan([['a'], [], ['a']]);
    expect(empty).toMatchObject({ writes: [], after: [] });
    expect(third?.after).toEqual([{ task: '0001-00000000', until: 'landed' }]);
  });

  it('tell raw bytes apart that would be the same text', () => {
    expect(plan([['\xe9'], [utf8('é')], [utf8('e\u0301')]]).flatMap(({ after }) => after)).toEqual([]);
  });
});

describe('names', () => {
  it('are unique, lower-case and fit for a workflow id', () => {
    const tasks = plan(Array.from({ length: 12_000 }, () => []));
    expect(new Set(tasks.map(({ id }) => id)).size).toBe(12_000);
    expect(tasks.every(({ id, name }) => /^\d{5}-[0-9a-f]{8}$/.test(id) && name === `p/${id}`)).toBe(true);
  });

  it('make a title of one safe line from any subject', () => {
    const title = (subject: string): string | undefined =>
      replayTasks(historyOf([[]], subject), { plan: 'p' })[0]?.title;
    expect(title('')).toBe('(no message)');
    expect(title('\u0007 \t')).toBe('(no message)');
    expect(title('a\u001b[31mb\u202ec')).toBe('a [31mb c');
    expect(title(`${'x'.repeat(99)}😀`)).toBe('x'.repeat(99));
    expect(title('y'.repeat(300))).toHaveLength(100);
  });
});

describe('claims', () => {
  it('are the paths where they can be spelt, else the directory above, else everything', () => {
    expect(claimsOf(['src/a.ts', utf8('docs/été *?[x].md'), 'with space'])).toEqual([
      'docs/été *?[x].md',
      'src/a.ts',
      'with space',
    ]);
    expect(claimsOf(['a/b\\c/d', 'e/f\nx', 'g/\xff', utf8('h/e\u0301'), 'i/j:k'])).toEqual([
      'a',
      'e',
      'g',
      'h',
      'i/j:k',
    ]);
    for (const odd of ['\xff', 'a\\b', ':(glob)x', 'C:/x', 'name:y/z', utf8('e\u0301/x'), 'tab\tx']) {
      expect(claimsOf(['src/a.ts', odd])).toEqual([':(glob)**']);
    }
  });

  it('are accepted by the domain, which finds each text path covered', () => {
    const letter = fc.constantFrom(
      'a',
      'é',
      'e\u0301',
      '/',
      '.',
      ':',
      '\\',
      '*',
      '\n',
      '\u0085',
      ' ',
      '😀',
      '[',
    );
    const text = fc
      .array(letter, { minLength: 1, maxLength: 12 })
      .map((letters) =>
        letters
          .join('')
          .split('/')
          .filter((part) => !['', '.', '..'].includes(part))
          .join('/'),
      )
      .filter((path) => path !== '');
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), (paths) => {
        const patterns = claimsOf(paths.map(utf8)).map(parsePattern);
        for (const path of paths) expect(patterns.some((pattern) => covers(pattern, path))).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it('leave out what another claim covers', () => {
    expect(claimsOf(['a', 'a/b', 'a/b/c', 'ab', 'a-b/c'])).toEqual(['a', 'a-b/c', 'ab']);
  });

  it('are at most 400, the deepest directories claimed first', () => {
    const many = Array.from({ length: 500 }, (_, i) => `gen/deep/${i}`);
    expect(claimsOf([...many, 'src/a.ts', 'src/lib/b.ts'])).toEqual(['gen/deep', 'src/a.ts', 'src/lib/b.ts']);
    expect(claimsOf(Array.from({ length: 401 }, (_, i) => `f${i}`))).toEqual([':(glob)**']);
    expect(claimsOf(Array.from({ length: 400 }, (_, i) => `f${i}`))).toHaveLength(400);
  });

  it('cover every touched path, and none covers another, whatever the commit', () => {
    const name = fc.oneof(fc.constantFrom('a', 'b', '..x', 'A', 'deep'), fc.nat(60).map(String));
    const wide = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    fc.assert(
      fc.property(fc.uniqueArray(wide, { minLength: 1, maxLength: 900, size: 'max' }), (paths) => {
        const writes = claimsOf(paths);
        expect(writes.length).toBeLessThanOrEqual(400);
        const covered = (p: string): boolean =>
          writes.some((claim) => claim === ':(glob)**' || p === claim || p.startsWith(`${claim}/`));
        expect(paths.every(covered)).toBe(true);
        expect(writes.some((a) => writes.some((b) => a !== b && a.startsWith(`${b}/`)))).toBe(false);
      }),
      { numRuns: 100 },
    );
  });
});

describe('speed', () => {
  it('plans 20,000 commits and a commit of 100,000 paths in seconds', () => {
    const commits = Array.from({ length: 20_000 }, (_, i) =>
      [1, 7, 31, 101].map((step) => `dir${(i * step) % 97}/sub${(i * step) % 11}/file${(i * step) % 1009}`),
    );
    commits[10_000] = Array.from({ length: 100_000 }, (_, i) => `big${i % 10}/sub${i % 500}/file${i}`);
    commits[15_000] = Array.from({ length: 10 }, (_, i) => `big${i}`);
    const began = performance.now();
    const tasks = plan(commits);
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(tasks).toHaveLength(20_000);
    expect(tasks[10_000]?.writes.length).toBeLessThanOrEqual(400);
    expect(tasks[15_000]?.after.some(({ task }) => task.startsWith('10001-'))).toBe(true);
  });
});
