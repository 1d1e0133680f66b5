// What needs a claim and what does not: the rules, and real landings by them.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readLedger } from '../src/client/records.js';
import { Config } from '../src/domain/config.js';
import { checkAgainst, SingleTask } from '../src/domain/plan.js';
import { rightsOf, Surfaces } from '../src/domain/surfaces.js';
import { edit, TestFleet } from './support/fleet.js';

const CLAIMS = {
  shared: ['src', ':(glob)*.md'],
  own: { main: ['notes'], side: ['theirs', 'notes/both'] },
  generated: [{ paths: ['lock.txt', ':(glob)**/gen-*.txt'], regenerate: 'make lock' }, { paths: ['dist'] }],
};

describe('rightsOf', () => {
  const rights = (writes: string[], claims: unknown = CLAIMS, caseInsensitive = false) =>
    rightsOf(writes, {
      repository: 'app',
      caseInsensitive,
      claims: Surfaces.parse(claims),
      role: 'main',
    });

  test('without a word on it every path needs a claim', () => {
    const right = rights(['src/a'], {});
    expect(right('src/a/b')).toEqual({ kind: 'lands' });
    expect(right('src/b')).toEqual({ kind: 'unclaimed' });
  });

  test('claims of other repositories do not count, those that name this one do', () => {
    const right = rights(['web:src', 'app:docs', 'web::(glob)**'], {});
    expect(right('src/a')).toEqual({ kind: 'unclaimed' });
    expect(right('docs/a')).toEqual({ kind: 'lands' });
  });

  test('what is not shared needs none', () => {
    const right = rights(['src/a']);
    expect([right('src/a').kind, right('src/b').kind, right('README.md').kind]).toEqual([
      'lands',
      'unclaimed',
      'unclaimed',
    ]);
    expect([right('misc/x').kind, right('docs/README.md').kind]).toEqual(['lands', 'lands']);
  });

  test("one's own needs none, another's is refused even when it is claimed", () => {
    const right = rights(['theirs/x'], { ...CLAIMS, shared: ['.'] });
    expect(right('notes/a')).toEqual({ kind: 'lands' });
    expect(right('theirs/x')).toEqual({ kind: 'own', of: 'side' });
    expect(right('notes/both/a'), 'of both').toEqual({ kind: 'lands' });
  });

  test('what is generated is set aside by its entry, claimed it lands', () => {
    const right = rights(['x/gen-1.txt']);
    expect(right('lock.txt')).toEqual({ kind: 'generated', entry: 0 });
    expect(right('notes/gen-2.txt')).toEqual({ kind: 'generated', entry: 0 });
    expect(right('dist/a/b.js')).toEqual({ kind: 'generated', entry: 1 });
    expect(right('x/gen-1.txt')).toEqual({ kind: 'lands' });
  });

  test('names compare as the repository says', () => {
    expect(rights(['SRC/A'], CLAIMS, true)('src/a').kind).toBe('lands');
    expect(rights(['SRC/A'])('src/a').kind).toBe('unclaimed');
    expect(rights([], CLAIMS, true)('Theirs/x')).toEqual({ kind: 'own', of: 'side' });
  });
});

describe('signalbox.yaml', () => {
  const config = (claims: unknown) => ({
    fleet: 'f',
    repositories: { app: { url: './app.git', claims }, web: { url: './web.git' } },
    roles: { main: { resources: ['branch:app'] }, side: { resources: ['branch:web'] } },
    agents: { sh: { command: 'sh' } },
  });
  const problems = (claims: unknown): string[] =>
    (Config.safeParse(config(claims)).error?.issues ?? []).map(
      ({ path, message }) => `${path.join('.')}: ${message}`,
    );

  test('says what is wrong with a block', () => {
    expect(problems(CLAIMS)).toEqual([]);
    const at = 'repositories.app.claims';
    expect(problems({ own: { mian: ['a'] } })).toEqual([
      `${at}.own.mian: no role is called "mian"; there are: main, side`,
    ]);
    expect(problems({ shared: ['../x'] })[0]).toContain(`${at}.shared.0: ".." is not allowed`);
    expect(problems({ shared: ['web:x'] })[0]).toContain('leave its name out');
    expect(problems({ generated: [{ paths: [] }] })[0]).toContain(`${at}.generated.0.paths`);
  });

  test("a claim of another role's own is refused before anything is submitted", () => {
    const check = (role: string, ...writes: string[]) =>
      checkAgainst(Config.parse(config(CLAIMS)), [
        SingleTask.parse({ id: 'a', prompt: 'p', role, writes }),
      ]).map(({ path, message }) => `${path.join('.')}: ${message}`);
    expect(check('main', 'src', 'theirs/x', ':(glob)theirs/*.md', ':(glob)**/x', 'notes')).toEqual([
      '0.writes.1: is the own of role "side": nothing else lands there',
      '0.writes.2: is the own of role "side": nothing else lands there',
    ]);
    expect(check('side', 'theirs', 'app:notes/x')).toEqual([
      '0.writes.1: is the own of role "main": nothing else lands there',
    ]);
  });
});

describe('a landing', () => {
  let fleet: TestFleet;
  const role = 'main';

  beforeAll(async () => {
    fleet = await TestFleet.start(
      {
        files: { 'src/a.dep': 'alpha', 'src/page.txt': 'one\n\n\n\ntwo\n', 'lock.txt': 'alpha\n' },
        config: {
          repositories: {
            app: {
              url: './origin.git',
              claims: {
                ...CLAIMS,
                generated: [
                  {
                    paths: ['lock.txt', 'gen'],
                    regenerate:
                      '! ls src/bad.dep && sort src/*.dep > lock.txt && rm -rf gen && mkdir gen && for f in src/*.dep; do cp $f gen/; done; code=$?; echo x > stray.txt; exit $code',
                  },
                ],
              },
            },
            web: { url: './web.git' },
            later: { url: './origin.git', branch: 'later' },
          },
          roles: {
            main: { resources: ['branch:app'], verify: ['! grep -q wrong lock.txt && test ! -e stray.txt'] },
            side: { resources: ['branch:web'] },
          },
        },
      },
      false,
    );
    fleet.git(['clone', '-q', '--bare', fleet.origin, join(fleet.dir, 'web.git')]);
    await fleet.startWorker();
  });
  afterAll(() => fleet.stop());

  const wrong = edit('lock.txt', 'wrong');

  test('makes anew what is generated and unclaimed, and takes nothing else from the command', async () => {
    const outcomes = await fleet.run('deps', [
      { id: 'b', prompt: `${edit('src/b.dep', 'beta')}\n${wrong}`, role, writes: ['src/b.dep'] },
      { id: 'c', prompt: `${wrong}\n${edit('src/c.dep', 'gamma')}`, role, writes: ['src/c.dep'] },
    ]);
    expect(outcomes).toMatchObject({
      b: { outcome: { kind: 'landed' } },
      c: { outcome: { kind: 'landed' } },
    });
    expect(fleet.file('lock.txt')).toBe('alpha\nbeta\ngamma');
    expect(fleet.file('gen/c.dep')).toBe('gamma');
    expect(fleet.git(['-C', fleet.origin, 'ls-tree', '--name-only', 'main'])).not.toContain('stray');
    const subjects = fleet.git(['-C', fleet.origin, 'log', '--format=%s', 'main']).split('\n');
    expect(subjects.filter((subject) => subject.startsWith('Regenerate ')).length).toBe(2);
    expect(subjects).toContain('edit src/b.dep');
    const landed = (await readLedger(fleet.origin, 'main')).filter((entry) => entry.kind === 'landed');
    expect(landed.map((entry) => entry.regenerated?.includes('lock.txt'))).toEqual([true, true]);
  });

  test('merges what somebody outside the fleet changed too, without what is generated', async () => {
    const go = join(fleet.dir, 'go');
    const runs = join(fleet.dir, 'runs');
    const ids = await fleet.submit('merge', [
      {
        id: 'd',
        prompt: `sed -i 's/two/TWO/' src/page.txt; touch '${runs}'; while [ ! -e '${go}' ]; do sleep 0.05; done\n${edit('src/d.dep', 'delta')}\n${wrong}`,
        role,
        writes: ['src/page.txt', 'src/d.dep'],
      },
    ]);
    await fleet.until('d to run', () => existsSync(runs));
    fleet.push({ 'src/page.txt': 'ONE\n\n\n\ntwo\n', 'lock.txt': 'by a person\n' }, 'by a person');
    writeFileSync(go, '');
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map((line) => line.outcome?.text)).toEqual([
      expect.stringContaining('as commit'),
    ]);
    expect(fleet.file('src/page.txt')).toBe('ONE\n\n\n\nTWO');
    expect(fleet.file('lock.txt')).toBe('alpha\nbeta\ndelta\ngamma');
  });

  test('takes what needs no claim, and what is claimed as it was written', async () => {
    const outcomes = await fleet.run('free', [
      { id: 'free', prompt: `${edit('misc/x', 'x')}\n${edit('notes/n', 'n')}`, role },
      { id: 'hand', prompt: edit('lock.txt', 'written by hand'), role, writes: ['lock.txt'] },
    ]);
    expect(outcomes).toMatchObject({
      free: { outcome: { kind: 'landed' } },
      hand: { outcome: { kind: 'landed' } },
    });
    expect([fleet.file('misc/x'), fleet.file('notes/n')]).toEqual(['x', 'n']);
    expect(fleet.file('lock.txt')).toContain('written by hand');
  });

  test("refuses what is shared and unclaimed, another role's own, and a tree whose files cannot be made anew", async () => {
    const outcomes = await fleet.run('refused', [
      { id: 'shared', prompt: edit('src/new', 'x'), role },
      { id: 'own', prompt: edit('theirs/x', 'x'), role, writes: ['theirs/x'] },
      { id: 'elsewhere', prompt: edit('src/new', 'x'), role, writes: ['web:src/new'] },
      { id: 'bad', prompt: `${edit('src/bad.dep', 'x')}\n${wrong}`, role, writes: ['src/bad.dep'] },
    ]);
    const why = Object.fromEntries(
      Object.entries(outcomes).map(([id, { outcome }]) => [id, `${outcome?.code} ${outcome?.text}`]),
    );
    expect(why.shared).toContain('OUTSIDE_CLAIM it changed paths that it does not claim: src/new');
    expect(why.own).toContain("OTHERS_OWN it changed what is another role's own: theirs/x (side)");
    expect(why.elsewhere).toContain('OUTSIDE_CLAIM');
    expect(why.bad).toMatch(/REGENERATE_FAILED generated files could not be made anew.*exit code/s);
    expect(await fleet.violations([])).toEqual([]);
  });
});
