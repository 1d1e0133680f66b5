// The replay of real repositories: what is read, what each agent writes, and that any valid order ends at the same tree.

import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type History, readHistory } from '../src/cli/replay/history.js';
import { compareTrees, makeOrigin } from '../src/cli/replay/origin.js';
import { git, gitText } from '../src/client/git.js';
import { replayAtRandom, runAgent, workstation } from './replay-fixture.js';
import { BRANCH, Builder, everything, forgetEverything, temporary } from './replay-repository.js';

afterAll(forgetEverything);

const rawCommit = (dir: string, oid: string): Promise<Buffer> => git(dir, ['cat-file', 'commit', oid]);

/** A raw commit without what the replay must change: tree, parents and signature. */
function essence(raw: Buffer): string {
  return raw
    .toString('latin1')
    .replace(/^(tree|parent) .*\n/gm, '')
    .replace(/^gpgsig .*\n( .*\n)*/m, '');
}

describe.concurrent('a history with everything in it', () => {
  it.each([
    ['sha1', 1],
    ['sha256', 2],
  ] as const)('ends at the same tree in any order: %s, seed %i', async (format, seed) => {
    await temporary(async (dir) => {
      await everything(join(dir, 'real'), format);
      const history = await readHistory(join(dir, 'real'), {});
      expect(history).toMatchObject({ start: undefined, objectFormat: format });
      const { tasks, ...end } = await replayAtRandom(join(dir, 'real'), history, seed);
      expect(end).toEqual({ equal: true, differing: [] });
      expect(tasks.filter(({ after }) => after.length === 0).length).toBeGreaterThan(10);
    });
  });

  it('gives each commit its original author, dates, encoding and message', async () => {
    await temporary(async (dir) => {
      const real = join(dir, 'real');
      const history = await readHistory(await everything(real, 'sha1'), {});
      const [origin, clone] = [join(dir, 'origin'), join(dir, 'clone')];
      await makeOrigin(real, history, origin, BRANCH);
      await workstation(origin, clone);
      for (const { oid } of history.commits) {
        await runAgent(clone, real, oid);
        expect(essence(await rawCommit(clone, 'HEAD'))).toBe(essence(await rawCommit(real, oid)));
        expect(await gitText(clone, ['rev-parse', 'HEAD^{tree}'])).toBe(
          await gitText(real, ['rev-parse', `${oid}^{tree}`]),
        );
      }
      await git(clone, ['fsck', '--connectivity-only']);
      expect((await readdir(clone)).sort()).toEqual(['.git']);
    });
  });

  it('is read as exact first-parent changes', async () => {
    await temporary(async (dir) => {
      const { commits } = await readHistory(await everything(join(dir, 'real'), 'sha1'), {});
      const show = (subject: string): string[] | undefined =>
        commits
          .find((commit) => commit.subject === subject)
          ?.changes.map(({ status, path }) => `${status} ${path.toString('latin1')}`);
      expect(show('')).toEqual(['A README.md', 'A src/a.ts', 'A src/b.ts']);
      expect(show('empty commit')).toEqual([]);
      expect(show('rename')).toEqual(['A lib/a.ts', 'D src/a.ts']);
      expect(show('mode')).toEqual(['M lib/a.ts']);
      expect(show('symlink')).toEqual(['T lib/a.ts']);
      expect(show('café über')).toEqual(['A latin']);
      expect(show('evil')).toEqual(['A evil', 'A side/one', 'M src/b.ts']);
      expect(show('octopus')).toEqual(['A side/three', 'A side/two']);
      expect(show('merge that keeps ours')).toEqual([]);
    });
  });
});

describe('a part of a history', () => {
  it('starts at the commit before it, with all that came before', async () => {
    await temporary(async (dir) => {
      const real = await everything(join(dir, 'real'), 'sha1');
      const tip = await gitText(real, ['rev-parse', 'HEAD']);
      const last = await readHistory(real, { last: 9 });
      expect(last.commits).toHaveLength(9);
      expect(last).toMatchObject({ start: await gitText(real, ['rev-parse', `${BRANCH}~9`]), end: tip });
      expect((await replayAtRandom(real, last, 4)).equal).toBe(true);
      const range = await readHistory(join(real, '.git'), { range: `${BRANCH}~25..${BRANCH}~18` });
      expect(range.commits).toHaveLength(7);
      expect((await replayAtRandom(real, range, 5)).equal).toBe(true);
      expect((await readHistory(real, { range: `${BRANCH}~25..`, last: 3 })).commits).toHaveLength(3);
    });
  });

  it('that is a shallow clone takes its boundary as a root, and needs nothing behind it', async () => {
    await temporary(async (dir) => {
      const real = await everything(join(dir, 'real'), 'sha1');
      const shallow = join(dir, 'shallow');
      const env = { GIT_ALLOW_PROTOCOL: 'file' };
      await git(dir, ['clone', '-q', '--bare', '--depth=6', `file://${real}`, shallow], { env });
      const whole = await readHistory(shallow, { last: 100 });
      expect(whole.start).toBeUndefined();
      expect(whole.commits).toHaveLength(6);
      expect((await replayAtRandom(shallow, whole, 6)).equal).toBe(true);
      const part = await readHistory(shallow, { last: 5 });
      expect(part.start).toBe(whole.commits[0]?.oid);
      expect((await replayAtRandom(shallow, part, 7)).equal).toBe(true);
    });
  });

  it('is read from a linked worktree, whatever the caller and the repository have configured', async () => {
    await temporary(async (dir) => {
      const real = await everything(join(dir, 'real'), 'sha1');
      const tip = await gitText(real, ['rev-parse', 'HEAD']);
      const linked = join(dir, 'linked');
      await git(real, ['worktree', 'add', '-q', '--no-checkout', '--detach', linked, `${tip}~3`]);
      const settings = [
        'diff.renames=copies',
        'diff.noprefix=true',
        'diff.relative=true',
        'core.quotePath=true',
      ];
      settings.push('diff.ignoreSubmodules=all', 'i18n.logOutputEncoding=UTF-16', 'diff.orderFile=/nowhere');
      for (const setting of settings) await git(real, ['config', ...setting.split('=')]);
      await git(real, ['replace', `${tip}~4`, `${tip}~9`]);
      process.env.GIT_DIR = join(dir, 'elsewhere');
      try {
        const history = await readHistory(linked, { last: 8 });
        expect(history.end).toBe(await gitText(linked, ['rev-parse', 'HEAD']));
        expect((await replayAtRandom(linked, history, 8)).equal).toBe(true);
      } finally {
        delete process.env.GIT_DIR;
      }
    });
  });
});

describe('an agent', () => {
  it('refuses, and leaves HEAD alone, where HEAD is not what the commit starts from', async () => {
    await temporary(async (dir) => {
      const repo = await Builder.create(join(dir, 'real'));
      const first = await repo.commit({ files: { 'd/f': '1', g: '1' } });
      await repo.commit({ files: { g: '2' } });
      const edit = await repo.commit({ files: { g: '3' } });
      const add = await repo.commit({ files: { n: { content: 'n' } } });
      const file = await repo.commit({ files: { 'd/f': undefined, d: 'now a file' } });
      const below = await repo.commit({ files: { d: undefined, 'd/f/x': 'below' } });
      const history = await readHistory(repo.dir, { range: `${edit}~1..` });
      const [origin, clone] = [join(dir, 'origin'), join(dir, 'clone')];
      await makeOrigin(repo.dir, { ...history, start: first }, origin, BRANCH);
      await workstation(origin, clone);
      const head = await gitText(clone, ['rev-parse', 'HEAD']);
      await expect(runAgent(clone, repo.dir, edit)).rejects.toThrow(/replay agent: g is 100644 \w+ in HEAD/);
      await expect(runAgent(clone, repo.dir, below)).rejects.toThrow(/replay agent: d is absent in HEAD/);
      expect(await gitText(clone, ['rev-parse', 'HEAD'])).toBe(head);
      await runAgent(clone, repo.dir, add);
      await expect(runAgent(clone, repo.dir, add)).rejects.toThrow(/replay agent: n is 100644/);
      await runAgent(clone, repo.dir, file);
      await runAgent(clone, repo.dir, below);
    });
  });

  it('keeps what old tools wrote in the directories it does not touch, and replays over it', async () => {
    await temporary(async (dir) => {
      const repo = await Builder.create(join(dir, 'real'));
      await repo.commit({ files: { a: 'a' } });
      const blob = await gitText(repo.dir, ['rev-parse', 'HEAD:a']);
      const write = (rows: string): Promise<string> => {
        const [input, args] = [
          Buffer.from(rows, 'latin1'),
          ['hash-object', '-t', 'tree', '-w', '--stdin', '--literally'],
        ];
        return gitText(repo.dir, args, { input });
      };
      const raw = Buffer.from(blob, 'hex').toString('latin1');
      const inner = Buffer.from(await write(`100664 f\0${raw}`), 'hex').toString('latin1');
      const empty = Buffer.from(await write(''), 'hex').toString('latin1');
      await repo.commitTree(await write(`100664 a\0${raw}040000 d\0${inner}40000 e\0${empty}`), {});
      await repo.commitTree(
        await write(`100664 a\0${raw}100664 b\0${raw}040000 d\0${inner}40000 e\0${empty}`),
        {},
      );
      await repo.commitTree(await write(`100644 b\0${raw}040000 d\0${inner}100644 e\0${raw}`), {});
      for (const last of [1, 2, 3, 4]) {
        const history = await readHistory(repo.dir, { last });
        expect(await replayAtRandom(repo.dir, history, last)).toMatchObject({ equal: true, differing: [] });
      }
    });
  });
});

describe('an origin', () => {
  it('is complete in itself and takes no directory that is in use', async () => {
    await temporary(async (dir) => {
      const real = await everything(join(dir, 'real'), 'sha1');
      const history = await readHistory(real, { last: 5 });
      const origin = join(dir, 'new', 'origin.git');
      await makeOrigin(real, history, origin, 'release/1.0');
      await rm(real, { recursive: true });
      await git(origin, ['fsck', '--connectivity-only']);
      expect(await gitText(origin, ['symbolic-ref', 'HEAD'])).toBe('refs/heads/release/1.0');
      expect(await gitText(origin, ['rev-parse', 'HEAD'])).toBe(history.start);
      await expect(stat(join(origin, 'objects/info/alternates'))).rejects.toThrow('ENOENT');
      expect(await readFile(join(origin, 'config'), 'utf8')).toContain('bare = true');
      await expect(makeOrigin(real, history, origin, BRANCH)).rejects.toThrow('exists and is not empty');
      await expect(makeOrigin(real, history, join(dir, 'x'), 'a..b')).rejects.toThrow('not a possible name');
    });
  });

  it('is compared by path, mode and content', async () => {
    await temporary(async (dir) => {
      const repo = await Builder.create(join(dir, 'real'));
      await repo.commit({ files: { 'a/x': '1', b: '1', c: '1', 'odd\xff': '1' } });
      const history = await readHistory(repo.dir, { last: 1 });
      const first = await repo.commit({
        files: { 'a/x': undefined, b: { content: '1', mode: '100755' }, d: '2' },
      });
      const second = await repo.commit({ files: { 'odd\xff': '2' } });
      await makeOrigin(repo.dir, { ...history, start: second }, join(dir, 'o'), BRANCH);
      const tree = await gitText(repo.dir, ['rev-parse', `${first}^{tree}`]);
      expect(await compareTrees(join(dir, 'o'), BRANCH, repo.dir, history.endTree)).toEqual({
        equal: false,
        differing: ['D a/x', 'M b', 'A d', 'M "odd\\377"'],
      });
      expect((await compareTrees(join(dir, 'o'), BRANCH, repo.dir, tree)).differing).toEqual([
        'M "odd\\377"',
      ]);
    });
  });
});

describe('what cannot be replayed', () => {
  const objectFile = (dir: string, oid: string): string =>
    join(dir, '.git', 'objects', oid.slice(0, 2), oid.slice(2));

  it('is refused with a reason: no repository, no commits, no such range', async () => {
    await temporary(async (dir) => {
      await expect(readHistory(dir, {})).rejects.toThrow('is not a git repository');
      await expect(readHistory(join(dir, 'none'), {})).rejects.toThrow('is not a git repository');
      const repo = await Builder.create(join(dir, 'real'));
      await expect(readHistory(repo.dir, {})).rejects.toThrow('has no commits');
      await repo.commit({ files: { a: 'a' } });
      await expect(readHistory(repo.dir, { range: 'v1..main' })).rejects.toThrow('knows no commit "v1"');
      await expect(readHistory(repo.dir, { range: '--all..main' })).rejects.toThrow(
        'knows no commit "--all"',
      );
      await expect(readHistory(repo.dir, { range: 'main' })).rejects.toThrow('write A..B');
      await expect(readHistory(repo.dir, { range: 'main...main' })).rejects.toThrow('write A..B');
      await expect(readHistory(repo.dir, { range: 'main..main' })).rejects.toThrow('no commits in the range');
      await expect(readHistory(repo.dir, { last: 0 })).rejects.toThrow('at least 1');
    });
  });

  it('is refused with the commit and the path: a submodule that changes, not one that stays', async () => {
    await temporary(async (dir) => {
      const repo = await Builder.create(dir);
      await repo.commit({ files: { a: 'a' } });
      repo.link('lib/sub', '160000', '1'.repeat(40));
      const added = await repo.commit({ files: { b: 'b' } });
      await repo.commit({ files: { a: 'b', 'lib/c': 'c' } });
      await expect(readHistory(dir, {})).rejects.toThrow(`commit ${added} changes the submodule lib/sub`);
      expect((await replayAtRandom(dir, await readHistory(dir, { last: 1 }), 9)).equal).toBe(true);
      await repo.commit({ files: { 'lib/sub': undefined } });
      await expect(readHistory(dir, { last: 1 })).rejects.toThrow('lib/sub');
    });
  });

  it('is refused when contents are missing, wherever they are', async () => {
    await temporary(async (dir) => {
      const repo = await Builder.create(dir);
      await repo.commit({ files: { old: 'old' } });
      await repo.commit({ files: { old: undefined, lost: 'lost' } });
      await repo.commit({ files: { a: '1' } });
      await repo.commit({ files: { 'dir/a': '2' } });
      const gone = async (name: string): Promise<void> =>
        rm(objectFile(dir, await gitText(dir, ['rev-parse', name])), { force: true });
      await gone('main~3:old');
      await expect(readHistory(dir, {})).rejects.toThrow('lacks the content of old in commit');
      const whole: History = await readHistory(dir, { last: 2 });
      expect((await replayAtRandom(dir, whole, 10)).equal).toBe(true);
      await gone('main~2:lost');
      await expect(replayAtRandom(dir, whole, 10)).rejects.toThrow(`lacks contents of ${whole.start ?? ''}`);
      await gone('main:dir');
      await expect(readHistory(dir, { last: 1 })).rejects.toThrow('damaged or incomplete');
    });
  });
});

describe('a partial clone', () => {
  it('is refused without an attempt to complete it', async () => {
    await temporary(async (dir) => {
      const repo = await Builder.create(join(dir, 'real'));
      await repo.commit({ files: { a: 'a' } });
      await git(repo.dir, ['config', 'uploadpack.allowFilter', 'true']);
      const clone = ['clone', '-q', '--bare', '--filter=blob:none', `file://${repo.dir}`, 'partial'];
      await git(dir, clone, { env: { GIT_ALLOW_PROTOCOL: 'file' } });
      const partial = join(dir, 'partial');
      await expect(readHistory(partial, {})).rejects.toThrow('lacks the content of a in commit');
      const objects = await git(partial, ['cat-file', '--batch-check', '--batch-all-objects']);
      expect(objects.toString()).not.toContain('blob');
    });
  });
});

// For a repository of your own: REPLAY_REPO=/path [REPLAY_LAST=100] [REPLAY_RANGE=A..B] [REPLAY_SEED=1]
describe.skipIf(process.env.REPLAY_REPO === undefined)('the repository in REPLAY_REPO', () => {
  it('ends at the same tree in a random order', { timeout: 3_600_000 }, async () => {
    const { REPLAY_REPO: repo = '', REPLAY_LAST, REPLAY_RANGE, REPLAY_SEED = '1' } = process.env;
    const history = await readHistory(repo, {
      ...(REPLAY_LAST === undefined ? {} : { last: Number(REPLAY_LAST) }),
      ...(REPLAY_RANGE === undefined ? {} : { range: REPLAY_RANGE }),
    });
    expect(await replayAtRandom(repo, history, Number(REPLAY_SEED))).toMatchObject({
      equal: true,
      differing: [],
    });
  });
});
