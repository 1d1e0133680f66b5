// Clones that are made ready before somebody needs them: with real git, in real sandboxes.

import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Mirror } from '../activities/mirror.js';
import { probeSandbox } from '../activities/sandbox/host.js';
import { nextUid } from '../activities/sandbox/uids.js';
import { clearReady, type PoolOptions } from '../activities/workstation/pool.js';
import { Sandboxes } from '../activities/workstation/sandboxed.js';
import type { StationOptions, Workstation } from '../activities/workstation/station.js';
import { ROOMY_RULES } from '../bench/workstations.js';
import { sandboxTest, undoing } from './support/sandbox.js';

const EAGER: Partial<PoolOptions> = { afterMs: 0, worthMs: 0 };

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !holds(); ) {
    if (Date.now() > end) throw new Error(`still waiting for ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

const { undo: cleanups, newHome } = undoing('signalbox-pool-');

/** A shared repository, its mirror, and sandboxes with a pool. */
class Bench {
  readonly home = newHome();
  private readonly work = join(this.home, 'work');
  readonly mirror: Mirror;
  readonly said: string[] = [];
  readonly sandboxes: Sandboxes;
  private stations = 0;

  constructor(pool: Partial<PoolOptions>) {
    execFileSync('git', ['init', '-q', '-b', 'main', this.work]);
    this.mirror = new Mirror('app', this.work, 'main', join(this.home, 'mirrors', 'app.git'));
    const probe = probeSandbox();
    if ('missing' in probe) throw new Error(probe.missing);
    const log = (line: string) => this.said.push(line);
    this.sandboxes = new Sandboxes(probe.sandbox, this.home, { log, pool: { ...EAGER, ...pool } });
    cleanups.push(async () => {
      await this.sandboxes.close();
      await this.mirror.close();
    });
  }

  /** Changes the shared branch, and gives its newest commit. */
  async commit(change: (dir: string) => void): Promise<string> {
    const git = (...args: string[]) => execFileSync('git', ['-C', this.work, ...args]);
    change(this.work);
    git('add', '--all');
    git('-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-q', '-m', 'change');
    return await this.mirror.refresh();
  }

  station(base: string, more: Partial<StationOptions> = {}): Promise<Workstation> {
    const dir = join(this.home, 'workstations', 'p', 't', String(++this.stations));
    const options = { task: 'p/t', mirror: this.mirror, base, start: base, checkout: true, prompt: 'x' };
    return this.sandboxes.make(dir, ROOMY_RULES, { ...options, agent: 'coder', ...more });
  }

  ready(): string[] {
    const dir = join(this.home, 'ready', 'app');
    const names = existsSync(dir) ? readdirSync(dir) : [];
    return names.filter((name) => !name.startsWith('making.')).map((name) => join(dir, name));
  }
}

/** Everything in a clone: modes, links, contents. Without what tells times: the index, and times in logs. */
function contentsOf(dir: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
    const path = join(dir, name);
    const stat = lstatSync(path);
    const text = () => {
      if (stat.isSymbolicLink()) return readlinkSync(path);
      if (!stat.isFile() || name === '.git/index') return '';
      const bytes = readFileSync(path);
      if (name.startsWith('.git/logs')) return bytes.toString().replace(/> \d+ /g, '> ');
      return createHash('sha256').update(bytes).digest('hex');
    };
    found[name] = `${stat.mode.toString(8)} ${text()}`;
  }
  return found;
}

const seed = (dir: string): void => {
  mkdirSync(join(dir, 'src/deep'), { recursive: true });
  writeFileSync(join(dir, 'src/deep/a'), 'a\n');
  writeFileSync(join(dir, 'src/b'), Buffer.from([0, 255, 13, 10]));
  writeFileSync(join(dir, 'run'), '#!/bin/sh\n');
  chmodSync(join(dir, 'run'), 0o755);
  symlinkSync('src/deep/a', join(dir, 'link'));
  symlinkSync('/nowhere', join(dir, 'dangling'));
  writeFileSync(join(dir, 'gone'), 'gone\n');
};

async function describeStation(station: Workstation) {
  const said = async (...args: string[]) => (await station.git(args)).toString();
  return {
    files: contentsOf(join(station.dir, 'clone')),
    stage: await said('ls-files', '--stage', '-v'),
    refs: await said('for-each-ref', '--format=%(refname) %(objectname)'),
    head: await said('symbolic-ref', 'HEAD'),
    status: await said('status', '--porcelain', '--ignored'),
    fsck: await said('fsck', '--no-dangling'),
  };
}

describe('a clone that was ready', () => {
  sandboxTest('equals one that is made afresh, the branch having moved or not', async () => {
    const one = new Bench({ most: 1 });
    const other = new Bench({ worthMs: Number.POSITIVE_INFINITY });
    const first = await one.commit(seed);
    const fresh = await one.station(first);
    await until('a ready clone', () => one.ready().length === 1);
    const same = await one.station(first);
    expect(one.said).toEqual([]);
    expect(await describeStation(same)).toEqual(await describeStation(fresh));

    await until('the next ready clone', () => one.ready().length === 1);
    const [ready = ''] = one.ready();
    const inode = lstatSync(join(ready, 'clone/src/b'), { bigint: true }).ino;
    const second = await one.commit((dir) => {
      rmSync(join(dir, 'gone'));
      rmSync(join(dir, 'src/deep'), { recursive: true });
      writeFileSync(join(dir, 'src/deep'), 'a file now\n');
      chmodSync(join(dir, 'run'), 0o644);
      rmSync(join(dir, 'link'));
      writeFileSync(join(dir, 'link'), 'no link\n');
      symlinkSync('src/b', join(dir, 'new'));
    });
    const moved = await one.station(second, { agent: 'other' });
    expect(one.said).toEqual([]);
    expect(lstatSync(join(moved.dir, 'clone/src/b'), { bigint: true }).ino, 'it is that one').toBe(inode);
    // The same commits, in a repository where nothing is ever ready.
    const mirror = new Mirror('app', one.mirror.dir, 'main', join(other.home, 'mirrors', 'app.git'));
    expect(await mirror.refresh()).toBe(second);
    const afresh = await other.station(second, { agent: 'other', mirror });
    await mirror.close();
    expect(other.ready()).toEqual([]);
    expect(await describeStation(moved)).toEqual(await describeStation(afresh));
  });

  sandboxTest('is not used where the attributes of files have changed', async () => {
    const bench = new Bench({ most: 1 });
    await bench.station(await bench.commit(seed));
    await until('a ready clone', () => bench.ready().length === 1);
    const station = await bench.station(
      await bench.commit((dir) => writeFileSync(join(dir, '.gitattributes'), 'src/deep/a text eol=crlf\n')),
    );
    expect(readFileSync(join(station.dir, 'clone/src/deep/a'), 'utf8')).toBe('a\r\n');
    expect(bench.said).toEqual([expect.stringContaining('is not used, and one made afresh')]);
  });

  sandboxTest('is not used when somebody has changed it', async () => {
    const bench = new Bench({ most: 1 });
    const base = await bench.commit(seed);
    await bench.station(base);
    await until('a ready clone', () => bench.ready().length === 1);
    writeFileSync(join(bench.ready()[0] ?? '', 'clone/planted'), 'x');
    const station = await bench.station(base);
    expect(existsSync(join(station.dir, 'clone/planted'))).toBe(false);
    expect(bench.said).toEqual([expect.stringContaining('takes files for changed')]);
  });

  sandboxTest('is not used after its time', async () => {
    const bench = new Bench({ most: 1, oldestMs: 0 });
    const base = await bench.commit(seed);
    await bench.station(base);
    await until('a ready clone', () => bench.ready().length === 1);
    const [old = ''] = bench.ready();
    await bench.station(base);
    await until('it to be gone', () => !existsSync(old));
  });

  sandboxTest('goes to one of those who take at the same time', async () => {
    const bench = new Bench({ most: 2 });
    const base = await bench.commit(seed);
    await bench.station(base);
    await until('two ready clones', () => bench.ready().length === 2);
    const inodes = bench.ready().map((path) => lstatSync(join(path, 'clone')).ino);
    const stations = await Promise.all(Array.from({ length: 4 }, () => bench.station(base)));
    const taken = stations.map(({ dir }) => lstatSync(join(dir, 'clone')).ino);
    expect(new Set(taken).size).toBe(4);
    expect(taken).toEqual(expect.arrayContaining(inodes));
    const { uid } = stations[0] ?? {};
    if (uid !== undefined) expect(new Set(stations.map((station) => station.uid)).size).toBe(4);
    expect(bench.said).toEqual([]);
  });

  sandboxTest('goes when nobody asks for its repository any more', async () => {
    const bench = new Bench({ most: 1, demandMs: 4_000 });
    await bench.station(await bench.commit(seed));
    await until('a ready clone', () => bench.ready().length === 1);
    await until('it to be gone', () => bench.ready().length === 0);
    await until('nothing to be left', () => readdirSync(join(bench.home, 'ready/app')).length === 0);
  });

  test('of a worker that was killed is removed, whole or half made; others stay', async () => {
    const home = newHome();
    const pool = resolve('dist/activities/workstation/pool.js');
    const script = `
      const { mkdir } = await import('node:fs/promises');
      const { ReadyClones } = await import(${JSON.stringify(pool)});
      let count = 0;
      const make = async (dir) => {
        await mkdir(dir + '/clone');
        if (++count === 2) await new Promise(() => setInterval(() => {}, 1000));
        return { base: 'b', branch: 'main' };
      };
      const clones = new ReadyClones(${JSON.stringify(home)}, make, console.error, { afterMs: 0 });
      clones.wanted({ name: 'app' });
      setInterval(() => {}, 1000);`;
    const start = () => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
      cleanups.push(() => child.kill('SIGKILL'));
      return child;
    };
    const dir = join(home, 'ready/app');
    const names = () => (existsSync(dir) ? readdirSync(dir) : []);
    const killed = start();
    await until('one clone, and half of another', () =>
      names().some((name) => name.startsWith('making.') && names().length === 2),
    );
    await clearReady(home);
    expect(names(), 'its worker lives').toHaveLength(2);
    const gone = new Promise((done) => killed.once('exit', done));
    killed.kill('SIGKILL');
    await gone;
    await clearReady(home);
    expect(names()).toEqual([]);
  });
});

test('no user id is given out twice, whoever asks at the same time', async () => {
  const home = newHome();
  const uids = await Promise.all(Array.from({ length: 50 }, () => nextUid(home)));
  expect(new Set(uids).size).toBe(50);
  expect(readdirSync(home)).toEqual(['uids']);
});
