// Clones that are kept between two attempts of a task: with real git, in real sandboxes.

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { Mirror } from '../activities/mirror.js';
import { identityOf } from '../activities/processes.js';
import { probeSandbox } from '../activities/sandbox/host.js';
import { dropKept, findKept, leaveWorkstation, takeKept } from '../activities/workstation/kept.js';
import { workstationDir, writeRecord } from '../activities/workstation/record.js';
import { clearGoing, discard, goingDir } from '../activities/workstation/removal.js';
import { Sandboxes } from '../activities/workstation/sandboxed.js';
import type { StationOptions, Workstation } from '../activities/workstation/station.js';
import { ROOMY_RULES } from '../bench/workstations.js';
import type { Fence } from '../src/domain/fence.js';
import { sandboxTest, undoing } from './support/sandbox.js';

const ROOMY = 1 << 30;

const { undo: cleanups, newHome } = undoing('signalbox-kept-');

const fenceOf = (number: number): Fence => ({ epoch: 1, number });

/** A shared repository and a task whose attempts follow each other on one host. */
class Bench {
  readonly home = newHome();
  private readonly work = join(this.home, 'work');
  readonly mirror: Mirror;
  readonly said: string[] = [];
  readonly sandboxes: Sandboxes;
  private fences = 0;

  constructor() {
    execFileSync('git', ['init', '-q', '-b', 'main', this.work]);
    this.mirror = new Mirror('app', this.work, 'main', join(this.home, 'mirrors', 'app.git'));
    const probe = probeSandbox();
    if ('missing' in probe) throw new Error(probe.missing);
    const log = (line: string) => this.said.push(line);
    const pool = { worthMs: Number.POSITIVE_INFINITY };
    this.sandboxes = new Sandboxes(probe.sandbox, this.home, { log, pool });
    cleanups.push(async () => {
      await this.sandboxes.close();
      await this.mirror.close();
    });
  }

  /** Changes the shared branch, and gives its newest commit. */
  async commit(files: Record<string, string | null>): Promise<string> {
    const git = (...args: string[]) => execFileSync('git', ['-C', this.work, ...args]);
    for (const [name, text] of Object.entries(files)) {
      const path = join(this.work, name);
      rmSync(path, { recursive: true, force: true });
      mkdirSync(dirname(path), { recursive: true });
      if (text?.startsWith('-> ')) symlinkSync(text.slice(3), path);
      else if (text !== null) writeFileSync(path, text);
      if (text?.startsWith('#!')) chmodSync(path, 0o755);
    }
    git('add', '--all', '--force');
    git('-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-q', '-m', 'change');
    return await this.mirror.refresh();
  }

  /** The next attempt's workstation, in the clone that the last one left, if it did. */
  async next(base: string, more: Partial<StationOptions> & { task?: string } = {}): Promise<Workstation> {
    const { task = 'p/t', ...rest } = more;
    const fence = fenceOf(++this.fences);
    const dir = workstationDir(this.home, task, fence);
    const kept = await takeKept(this.home, dir, { task, fence, repository: 'app', most: ROOMY });
    const options = { task, mirror: this.mirror, base, start: base, checkout: true, prompt: 'x' };
    const all = { ...options, agent: 'coder', ...(kept ? { kept } : {}), ...rest };
    const station = await this.sandboxes.make(dir, ROOMY_RULES, all);
    const uid = station.uid === undefined ? {} : { uid: station.uid };
    const record = { task, repository: 'app', fence, base, checkout: true, keep: true as const, ...uid };
    await writeRecord(dir, { ...record, worker: identityOf(process.pid) });
    return station;
  }

  /** Its agent runs the script and ends. */
  async run(station: Workstation, script: string): Promise<string> {
    let said = '';
    const into = () =>
      new Writable({
        write: (chunk: Buffer, _, done) => {
          said += chunk;
          done();
        },
      });
    const { exitCode } = await station.run({
      command: ['sh', '-ec', script],
      env: { PATH: station.paths.path, HOME: station.paths.home },
      output: into(),
      errors: into(),
      keys: new Map(),
      log: () => undefined,
      signal: new AbortController().signal,
      graceMs: 100,
      onStart: () => undefined,
    });
    expect(exitCode, said).toBe(0);
    return said;
  }

  /** The attempt is over, its commits are kept: its clone stays. */
  async leave(station: Workstation, task = 'p/t'): Promise<void> {
    const fence = fenceOf(Number(station.dir.split('.').at(-1)));
    const text = readFileSync(join(station.dir, 'workstation.json'), 'utf8');
    expect(station.dir).toBe(workstationDir(this.home, task, fence));
    expect(await leaveWorkstation(this.home, station.dir, JSON.parse(text))).toBe(true);
  }
}

/** All files of a clone, without its repository: modes, links, contents. */
function filesOf(station: Workstation): Record<string, string> {
  const found: Record<string, string> = {};
  const root = join(station.dir, 'clone');
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    if (name === '.git' || name.startsWith('.git/')) continue;
    const path = join(root, name);
    const stat = lstatSync(path);
    const text = stat.isSymbolicLink() ? readlinkSync(path) : stat.isFile() ? readFileSync(path, 'utf8') : '';
    found[name] = `${stat.mode.toString(8)} ${stat.isFile() ? stat.nlink : ''} ${text}`;
  }
  return found;
}

/** Of the repository what decides what git does. */
function repositoryOf(station: Workstation): Record<string, string> {
  const root = join(station.dir, 'clone', '.git');
  const found: Record<string, string> = {};
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    const path = join(root, name);
    const read = lstatSync(path).isFile() && name !== 'index' && !name.startsWith('logs/');
    found[name] = read ? readFileSync(path, 'latin1') : '';
  }
  return found;
}

async function said(station: Workstation) {
  const git = async (...args: string[]) => (await station.git(args)).toString();
  return {
    stage: await git('ls-files', '--stage', '-v'),
    refs: await git('for-each-ref', '--format=%(refname) %(objectname)'),
    head: await git('symbolic-ref', 'HEAD'),
    status: await git('status', '--porcelain'),
  };
}

const SEED = {
  '.gitignore': 'node_modules/\ntarget\n*.log\n',
  '.gitattributes': '*.txt text\n',
  'src/a.txt': 'a\n',
  'src/deep/b': 'b\n',
  'lib/c': 'c\n',
  run: '#!/bin/sh\n',
  link: '-> src/a.txt',
  gone: 'gone\n',
};

describe('the clone of the attempt before', () => {
  sandboxTest('goes on with its build caches, and is a fresh checkout of the new base else', async () => {
    const bench = new Bench();
    const first = await bench.next(await bench.commit(SEED));
    expect(first.reused).toBeUndefined();
    await bench.run(
      first,
      `mkdir -p node_modules/x target/deep src/deep/target src/new lib/empty
      echo built > node_modules/x/index.js; echo object > target/deep/o; echo o > src/deep/target/o; echo l > a.log
      echo mine > src/new/file; echo more >> src/a.txt; rm lib/c; chmod 600 src/deep/b; chmod 644 run
      echo secret > "$HOME/secret"; git add -A; git commit -qm work; echo left > src/left`,
    );
    // Held open, so that its number is given to no other file.
    const held = openSync(join(first.dir, 'clone/src/deep/b'), 'r');
    const inode = fstatSync(held).ino;
    await bench.leave(first);
    expect(existsSync(join(bench.home, 'workstations', 'p'))).toBe(false);
    const [kept] = await findKept(bench.home);
    expect(readdirSync(kept?.path ?? '').sort()).toEqual(['clone', 'workstation.json']);

    const base = await bench.commit({
      'src/a.txt': 'newer\n',
      gone: null,
      'src/deep/b': 'b2\n',
      added: 'x\n',
    });
    const second = await bench.next(base);
    expect(bench.said).toEqual([]);
    expect(second.reused).toBe(true);
    expect(second.uid).toBe(first.uid);
    expect(await findKept(bench.home)).toEqual([]);
    const fresh = await bench.next(base, { task: 'p/other' });
    const files = filesOf(second);
    for (const [name, text] of Object.entries({
      'node_modules/x/index.js': 'built\n',
      'target/deep/o': 'object\n',
      'src/deep/target/o': 'o\n',
      'a.log': 'l\n',
    })) {
      expect(files[name]).toMatch(text);
      delete files[name];
    }
    for (const name of ['node_modules', 'node_modules/x', 'target', 'target/deep', 'src/deep/target'])
      delete files[name];
    expect(files).toEqual(filesOf(fresh));
    expect(repositoryOf(second)).toEqual(repositoryOf(fresh));
    expect(await said(second)).toEqual(await said(fresh));
    expect(lstatSync(join(second.dir, 'clone/src/deep/b')).ino).not.toBe(inode);
    closeSync(held);
    expect(await bench.run(second, 'ls -A "$HOME"; ls /w/result; git log --format=%s | head -1')).toBe(
      '.gitconfig\nchange\n',
    );
  });

  sandboxTest('has the commits that the next attempt starts with', async () => {
    const bench = new Bench();
    const base = await bench.commit(SEED);
    const first = await bench.next(base);
    await bench.run(
      first,
      'mkdir target; echo o > target/o; echo mine > mine; git add -A; git commit -qm mine',
    );
    const commit = (await first.git(['rev-parse', 'HEAD'])).toString().trim();
    await first.bring(bench.mirror, commit, 'refs/signalbox/attempts/p/t/1.1');
    await bench.leave(first);
    const second = await bench.next(base, { start: commit });
    expect(second.reused, bench.said.join()).toBe(true);
    expect(await bench.run(second, 'cat mine target/o; git log --format=%s; git status --short')).toBe(
      'mine\no\nmine\nchange\n',
    );
  });

  sandboxTest('keeps the times of files that need not be written again', async () => {
    const bench = new Bench();
    const base = await bench.commit(SEED);
    const first = await bench.next(base);
    const file = join(first.dir, 'clone/src/deep/b');
    utimesSync(file, 1_000_000_000, 1_000_000_000);
    await bench.leave(first);
    const second = await bench.next(base);
    expect(second.reused).toBe(true);
    expect(lstatSync(join(second.dir, 'clone/src/deep/b')).mtimeMs).toBe(1_000_000_000_000);
  });

  sandboxTest('whose agent hid changes from git has them not any more', async () => {
    const bench = new Bench();
    const base = await bench.commit(SEED);
    const first = await bench.next(base);
    await bench.run(
      first,
      `git update-index --assume-unchanged src/a.txt; git update-index --skip-worktree lib/c
      touch -r lib/c /tmp/time; echo A > src/a.txt; echo C > lib/c; touch -r /tmp/time src/a.txt lib/c
      echo '* text eol=crlf' > .gitattributes; printf 'b\\r\\n' > src/deep/b; printf '*\\n!target\\n' > src/.gitignore; printf '*\\n' > lib/.gitignore
      echo '*.txt filter=evil' > src/.gitattributes; mkdir junk; printf '*\\n' > junk/.gitignore; echo j > junk/j
      mkdir target; ln src/deep/b target/b; mkfifo target/pipe lib/pipe; mkdir -p src/.git target/.git; echo evil > src/.git/HEAD
      rm -r src/deep; ln -s ../target src/deep; rm link; mkdir link; echo x > link/x; rm run; mkfifo run; mkdir .gitmodules`,
    );
    await bench.leave(first);
    const second = await bench.next(base);
    expect(bench.said).toEqual([]);
    const fresh = await bench.next(base, { task: 'p/other' });
    const files = filesOf(second);
    expect(files.target).toBeDefined();
    delete files.target;
    expect(files['target/b']).toMatch(/ 1 b\r\n$/);
    delete files['target/b'];
    expect(files).toEqual(filesOf(fresh));
    expect(await said(second)).toEqual(await said(fresh));
  });

  sandboxTest('that is odd is thrown away, and one made afresh', async () => {
    const bench = new Bench();
    const base = await bench.commit(SEED);
    for (const script of [
      'mkdir -p target/closed/in; chmod 000 target/closed',
      'mkdir -p junk/in; touch junk/in/x; chmod 500 junk/in',
      'chmod 000 .',
    ]) {
      const first = await bench.next(base);
      await bench.run(first, script);
      await bench.leave(first);
      const next = await bench.next(base);
      expect(next.reused, script).toBeUndefined();
      expect(bench.said.splice(0).join(), script).toMatch(/is not used again/);
      expect(await bench.run(next, 'git status --short --ignored; cat lib/c')).toBe('c\n');
      expect(readdirSync(goingDir(bench.home))).toEqual([]);
      await leaveWorkstation(bench.home, next.dir, { ...(await recordOf(next)) }, false);
    }
  });

  sandboxTest('is nobody else’s, nor of another repository, nor larger than it may be', async () => {
    const bench = new Bench();
    const base = await bench.commit(SEED);
    const leave = async () => {
      const station = await bench.next(base);
      await bench.run(station, 'mkdir target; head -c 3000000 /dev/zero > target/large');
      await bench.leave(station);
    };
    await leave();
    const take = (more: Partial<Parameters<typeof takeKept>[2]>) =>
      takeKept(bench.home, join(bench.home, 'into'), {
        task: 'p/t',
        fence: fenceOf(100),
        repository: 'app',
        most: ROOMY,
        ...more,
      });
    expect(await take({ task: 'p/u' })).toBeUndefined();
    expect(await take({ fence: fenceOf(1) }), 'an earlier attempt').toBeUndefined();
    expect(await findKept(bench.home)).toHaveLength(1);
    expect(await take({ repository: 'other' })).toBeUndefined();
    await leave();
    expect(await take({ most: 1_000_000 })).toBeUndefined();
    expect(await findKept(bench.home)).toHaveLength(0);
    await leave();
    const both = await Promise.all([take({}), take({})]);
    expect(both.filter(Boolean), 'one of two has it').toHaveLength(1);
  });
});

const recordOf = async (station: Workstation) =>
  JSON.parse(readFileSync(join(station.dir, 'workstation.json'), 'utf8'));

describe('a clone that is kept', () => {
  const record = (task: string, fence: number) => ({
    task,
    repository: 'app',
    fence: fenceOf(fence),
    base: 'b',
    checkout: true,
    keep: true as const,
    worker: identityOf(process.pid),
  });

  async function left(home: string, task: string, fence: number): Promise<void> {
    const dir = workstationDir(home, task, fenceOf(fence));
    mkdirSync(join(dir, 'clone'), { recursive: true });
    await writeRecord(dir, record(task, fence));
    await leaveWorkstation(home, dir, record(task, fence));
  }

  test('is the only one of its task, and goes with it', async () => {
    const home = newHome();
    await left(home, 'p/a', 1);
    await left(home, 'p/a', 3);
    await left(home, 'p/a', 2);
    await left(home, 'p/ab', 4);
    const fences = async () => (await findKept(home)).map(({ record }) => [record.task, record.fence.number]);
    expect((await fences()).sort()).toEqual([
      ['p/a', 2],
      ['p/a', 3],
      ['p/ab', 4],
    ]);
    await dropKept(home, 'p/a');
    expect(await fences()).toEqual([['p/ab', 4]]);
    expect(readdirSync(goingDir(home))).toEqual([]);
  });

  test('is removed by one of those who try at once; what a killed one left goes too', async () => {
    const home = newHome();
    await left(home, 'p/a', 1);
    const [kept] = await findKept(home);
    const path = kept?.path ?? '';
    const removed = await Promise.all([discard(home, path), discard(home, path), discard(home, path)]);
    expect(removed.filter(Boolean)).toHaveLength(1);
    mkdirSync(join(goingDir(home), 'half/removed'), { recursive: true });
    await Promise.all([clearGoing(home), clearGoing(home)]);
    expect(readdirSync(goingDir(home))).toEqual([]);
  });
});
