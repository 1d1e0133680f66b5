// signalbox inventory: what it proposes from a history, and that what it prints can be pasted.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { readChangeLog } from '../src/client/change-log.js';
import { Config } from '../src/domain/config.js';
import { type Change, inventoryYaml, type Proposal, propose } from '../src/domain/inventory.js';
import { MAIN } from './support/fleet.js';

const by = (author: string, ...paths: string[]): Change => ({
  author,
  email: `${author.toLowerCase()}@example.org`,
  paths,
});
const often = (count: number, make: (i: number) => Change): Change[] =>
  Array.from({ length: count }, (_, i) => make(i));

/** Three people; a core that all change, a corner of Cleo's, and lockfiles. */
const COMMITS: Change[] = [
  ...often(6, (i) => by(i % 2 ? 'Ann' : 'Bob', 'src/core/a.ts', 'package-lock.json')),
  ...often(6, (i) => by(i % 2 ? 'Ann' : 'Cleo', 'src/core/b.ts')),
  ...often(4, (i) => by(i % 2 ? 'Ann' : 'Bob', 'src/core/c.ts', 'package.json')),
  ...often(5, () => by('Cleo', 'docs/cleo/diary.md', 'web/yarn.lock')),
  ...often(4, (i) => by(i % 2 ? 'Ann' : 'Bob', 'db/migrations/1.sql', 'gone.ts')),
  by('Ann', 'src/cold.ts', 'api/x.gen.ts', 'README.md'),
];
const FILES = [
  ...['src/core/a.ts', 'src/core/b.ts', 'src/core/c.ts', 'src/core/d.ts', 'src/cold.ts', 'README.md'],
  ...['src/e.ts', 'src/f.ts', 'src/g.ts'],
  ...['package.json', 'package-lock.json', 'web/yarn.lock', 'docs/cleo/diary.md', 'docs/cleo/more.md'],
  ...['db/migrations/1.sql', 'AGENTS.md', 'api/x.gen.ts', 'api/y.ts', '.gitattributes', 'odd:name', 'a\nb'],
];
const ATTRIBUTES = [
  { folder: '', text: '# comment linguist-generated\n*.ts text\n/none/*.x linguist-generated\n' },
  { folder: 'api', text: '*.gen.ts linguist-generated=true -diff\ny.ts -linguist-generated\n' },
];
const input = { commits: COMMITS, files: FILES, attributes: ATTRIBUTES };

const paths = (list: { path: string }[]): string[] => list.map(({ path }) => path).sort();

describe('propose', () => {
  const proposal = propose(input);

  test('shared is what several change often, with their directory where that is most of it, and what all rely on', () => {
    expect(paths(proposal.shared)).toEqual(['AGENTS.md', 'db/migrations', 'package.json', 'src/core']);
    expect(proposal.shared[0]).toEqual({
      path: 'src/core',
      commits: 16,
      authors: 3,
      why: 'most of what is in it',
    });
  });

  test('own is a directory with a single author among several', () => {
    expect(proposal.own).toEqual([{ path: 'docs/cleo', author: 'Cleo', commits: 5 }]);
  });

  test('but not of one who makes most of the commits, nor where there is one author', () => {
    const many = [...COMMITS, ...often(40, () => by('Cleo', 'docs/cleo/more.md'))];
    expect(propose({ ...input, commits: many }).own).toEqual([]);
    expect(propose({ ...input, commits: COMMITS.map((one) => by('Ann', ...one.paths)) }).own).toEqual([]);
  });

  test('generated are lockfiles, with the command in their folder, and what is marked so', () => {
    expect(proposal.generated).toEqual([
      {
        path: 'package-lock.json',
        commits: 6,
        authors: 2,
        regenerate: 'npm install --package-lock-only --ignore-scripts',
        why: 'a lockfile',
      },
      {
        path: 'web/yarn.lock',
        commits: 5,
        authors: 1,
        regenerate: 'cd web && yarn install --mode update-lockfile',
        why: 'a lockfile',
      },
      { path: ':(glob)api/**/*.gen.ts', commits: 1, authors: 1, why: 'marked as generated' },
    ]);
  });

  test('files that are gone, or that no claim can name, are not proposed', () => {
    const all = [...proposal.shared, ...proposal.own, ...proposal.generated];
    expect(all.filter(({ path }) => /gone|odd|\n/.test(path))).toEqual([]);
  });

  test('with one author, often is enough; with nothing that is changed often no path loses its claim', () => {
    const alone = propose({ ...input, commits: COMMITS.map((one) => by('Ann', ...one.paths)) });
    expect(paths(alone.shared)).toContain('src/core');
    const young = propose({ ...input, commits: COMMITS.slice(-2) });
    expect(young.shared).toEqual([]);
    expect(inventoryYaml(young, { repository: 'r', role: 'main' })).toContain('every path needs a claim');
  });
});

/** What is printed, pasted into a configuration. */
function pasted(yaml: string): Config['repositories'][string]['claims'] {
  const config = Config.parse({
    fleet: 'f',
    repositories: { app: { url: '.', ...(parse(yaml) as object) } },
    roles: { main: { resources: ['branch:app'] } },
    agents: { sh: { command: 'sh' } },
  });
  return config.repositories.app?.claims;
}

describe('the block', () => {
  test('is the proposal, as signalbox.yaml takes it', () => {
    const proposal = propose(input);
    const claims = pasted(inventoryYaml(proposal, { repository: '/r', role: 'main' }));
    expect(claims?.shared).toEqual(proposal.shared.map(({ path }) => path));
    expect(claims?.own).toEqual({ main: ['docs/cleo'] });
    expect(claims?.generated).toEqual(
      proposal.generated.map(({ path, regenerate }) => ({
        paths: [path],
        ...(regenerate && { regenerate }),
      })),
    );
  });

  test('takes names that YAML would take for something else, and comments that would end', () => {
    const odd = [
      '- a',
      'd/a: b',
      '#x',
      'true',
      '1.0',
      'x # y',
      "it's",
      '"q"',
      '@x',
      '[a]',
      'é',
      'a b',
      '*x',
      '.env',
    ];
    const proposal: Proposal = {
      commits: 1,
      authors: 1,
      shared: odd.map((path) => ({ path, commits: 1, authors: 1, why: 'w' })),
      own: [{ path: 'x', author: 'Evil\nown: {}', commits: 1 }],
      generated: odd.map((path) => ({ path, commits: 1, authors: 1, why: 'w' })),
    };
    const claims = pasted(inventoryYaml(proposal, { repository: '/r\nx: y', role: 'main' }));
    expect(claims?.shared).toEqual(odd);
    expect(claims?.generated.map((one) => one.paths[0])).toEqual(odd);
  });
});

describe('signalbox inventory', () => {
  const dir = mkdtempSync(join(tmpdir(), 'signalbox-inventory-'));
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', dir, ...args], {
      encoding: 'utf8',
      env: { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' },
    });
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [MAIN, 'inventory', ...args], { encoding: 'utf8', cwd: dir });

  beforeAll(() => {
    git('init', '-q', '-b', 'main');
    let count = 0;
    const commit = (author: string, files: string[], message = 'm') => {
      for (const file of files) {
        mkdirSync(dirname(join(dir, file)), { recursive: true });
        writeFileSync(join(dir, file), String(++count));
      }
      git('add', '-A');
      const email = `${author.toLowerCase()}@example.org`;
      git('-c', `user.name=${author}`, '-c', `user.email=${email}`, 'commit', '-qm', message);
    };
    for (let i = 0; i < 6; i++) {
      commit(i % 2 ? 'Ann' : 'Bob', ['src/core/a.ts', 'src/core/\u00fc b.ts', 'package-lock.json']);
      commit('Cleo', ['docs/cleo/diary.md']);
    }
    commit('Ann', ['src/one', 'src/two', 'src/three', 'src/four'], 'message\n\nwith\n\nlines');
    writeFileSync(join(dir, '.mailmap'), 'Bob <bob@example.org> <robert@example.org>\n');
    commit('Robert', ['src/core/a.ts']);
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test('prints a block that can be pasted', () => {
    const { status, stdout } = run();
    expect(status).toBe(0);
    expect(stdout).toContain('# From the last 14 commits of ');
    expect(stdout).toContain(', by 3 authors.');
    expect(stdout).toContain('- src/core/a.ts # 7 commits, 2 authors: changed often, by several');
    const claims = pasted(stdout);
    expect(claims?.shared).toEqual(['src/core/a.ts', 'src/core/\u00fc b.ts']);
    expect(claims?.own).toEqual({ main: ['docs/cleo'] });
    expect(claims?.generated.map((one) => one.paths)).toEqual([['package-lock.json']]);
  });

  test('looks at as many commits as it is told, from any folder, and prints JSON', () => {
    const { stdout } = run(join(dir, 'src'), '--last', '2', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ last: 2, commits: 2, shared: [], own: [] });
    expect(run('--role', 'docs').stdout).toContain('\n    docs:\n');
  });

  test('reads each commit with its author and exact paths, and of a bare repository too', async () => {
    const log = await readChangeLog(dir, 3);
    expect(log.commits).toEqual([
      { author: 'Bob', email: 'bob@example.org', paths: ['.mailmap', 'src/core/a.ts'] },
      by('Ann', 'src/four', 'src/one', 'src/three', 'src/two'),
      by('Cleo', 'docs/cleo/diary.md'),
    ]);
    expect(log.files).toContain('src/core/\u00fc b.ts');
    expect((await readChangeLog(join(dir, '.git'), 3)).commits.length).toBe(3);
  });

  test('says what is wrong with what it is given', () => {
    const told = (...args: string[]) => {
      const { status, stderr } = run(...args);
      return `${status} ${stderr}`;
    };
    expect(told('--last', 'x')).toContain('2 signalbox: --last x: expected a whole number');
    expect(told('/nowhere/at/all')).toContain('2 signalbox: there is no /nowhere/at/all');
    expect(told(tmpdir())).toMatch(
      /^2 signalbox: .* has no history that git can read: .*not a git repository/,
    );
  });
});
