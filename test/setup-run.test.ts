// Setup commands in real workstations: run once, their result brought back for the next with the same key; what fails,
// is cancelled or has an agent's work in it leaves nothing to others. What attackers try there is in test/attack.

import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { markedProcesses } from '../activities/processes.js';
import type { AttemptRecord } from '../src/domain/packet.js';
import { printPacket } from '../src/domain/packet.js';
import { below, edit, replayedFleets, type TestFleet } from './support/fleet.js';
import { sandboxTest } from './support/sandbox.js';

const fleetOf = replayedFleets(1);

const COMMAND = ['sh', '-c', 'exec sh "$SIGNALBOX_PROMPT_FILE"'];
/** Never the same twice. */
const INSTALL = 'mkdir -p deps/sub && tr -dc a-z0-9 < /dev/urandom | head -c 20 > deps/sub/id';
const SETUP = { run: INSTALL, key: ['lock'], keep: ['deps'] };
const SHOW = 'cat deps/sub/id > "$SIGNALBOX_REPORT_FILE"';

const withSetup = (setup: object[], more: object = {}) => ({
  isolation: 'sandbox' as const,
  agents: { sh: { command: COMMAND, setup, ...more } },
});

async function attemptsOf(fleet: TestFleet, task: string): Promise<AttemptRecord[]> {
  const [packet] = await fleet.packets(task);
  return packet?.attempts ?? [];
}

async function lastOf(fleet: TestFleet, task: string): Promise<AttemptRecord> {
  const last = (await attemptsOf(fleet, task)).at(-1);
  if (!last) throw new Error(`${task} has no attempt`);
  return last;
}

/** A task that shows what setup gave it; `more` is its work. */
async function shown(fleet: TestFleet, name: string, more = ''): Promise<AttemptRecord> {
  const prompt = `${SHOW}\n${more}\necho ${name} > src/${name}`;
  const ended = await fleet.run(name, [{ id: 't', prompt, role: 'main', writes: ['src', 'lock'] }]);
  const last = await lastOf(fleet, `${name}/t`);
  expect(ended.t, last.tail).toMatchObject({ outcome: { kind: 'landed' } });
  return last;
}

const kept = (fleet: TestFleet): string[] => {
  const dir = join(fleet.fleet.home, 'setup');
  return existsSync(dir) ? readdirSync(dir) : [];
};

describe('a setup command', () => {
  sandboxTest('runs once, and its result is used again until the key changes', async () => {
    const fleet = await fleetOf({ ...withSetup([SETUP]), files: { lock: '1\n', 'src/a': 'a\n' } });
    const first = await shown(fleet, 'first');
    expect(first).toMatchObject({ setup: [{ run: INSTALL, how: 'ran', kept: true }] });
    expect(first.report).toMatch(/^[a-z0-9]{20}$/);

    const second = await shown(fleet, 'second');
    expect(second).toMatchObject({ report: first.report, setup: [{ how: 'reused' }] });
    const [packet] = await fleet.packets('second/t');
    expect(packet && printPacket(packet)).toMatch(/setup mkdir .*: its result was reused, in \d+s/);

    fleet.push({ lock: '2\n' }, 'a new lockfile');
    const third = await shown(fleet, 'third');
    expect(third).toMatchObject({ setup: [{ how: 'ran', kept: true }] });
    expect(third.report).not.toBe(first.report);
    expect(kept(fleet)).toHaveLength(2);

    // No rule of the repository ignores it, and yet it is nobody's work.
    const tree = fleet.git(['-C', fleet.origin, 'ls-tree', '-r', '--name-only', 'main']);
    expect(tree.split('\n')).toEqual(['README.md', 'lock', 'src/a', 'src/first', 'src/second', 'src/third']);
  });

  sandboxTest('runs again when its result is gone or broken, or a file of its key is missing', async () => {
    const fleet = await fleetOf({ ...withSetup([SETUP]), files: { lock: '1\n', 'src/a': 'a\n' } });
    const first = await shown(fleet, 'first');
    const [name = ''] = kept(fleet);
    writeFileSync(join(fleet.fleet.home, 'setup', name), 'no archive');
    const second = await shown(fleet, 'second');
    expect(second).toMatchObject({ setup: [{ how: 'ran' }] });
    expect(second.report).not.toBe(first.report);
    expect(await shown(fleet, 'third')).toMatchObject({ setup: [{ how: 'ran', kept: true }] });

    rmSync(join(fleet.fleet.home, 'setup'), { recursive: true });
    expect(await shown(fleet, 'fourth', 'rm lock')).toMatchObject({
      setup: [{ how: 'ran', kept: true }],
    });
    const fifth = await shown(fleet, 'fifth');
    expect(fifth.setup).toMatchObject([{ how: 'ran' }]);
    expect(fifth.setup?.[0]?.kept).toBeUndefined();
    expect(kept(fleet)).toHaveLength(1);
  });

  sandboxTest(
    'that makes what is part of the repository keeps nothing, and the work in it lands',
    async () => {
      const setup = [{ ...SETUP, keep: ['deps'] }];
      const fleet = await fleetOf({
        ...withSetup(setup),
        files: { lock: '1\n', 'src/a': 'a\n', 'deps/own': 'x\n' },
      });
      const prompt = 'echo mine > deps/own; echo new > deps/new';
      const { a } = await fleet.run('p', [{ id: 'a', prompt, role: 'main', writes: ['deps'] }]);
      expect(a).toMatchObject({ outcome: { kind: 'landed' } });
      expect((await lastOf(fleet, 'p/a')).setup?.[0]).not.toHaveProperty('kept');
      expect(kept(fleet)).toEqual([]);
      const tree = fleet.git(['-C', fleet.origin, 'ls-tree', '-r', '--name-only', 'main', '--', 'deps']);
      // What setup itself has left there is not the agent's.
      expect(tree.split('\n')).toEqual(['deps/new', 'deps/own']);
    },
  );

  sandboxTest('works in the clone of a read-only task, which its agent cannot change', async () => {
    const fleet = await fleetOf({ ...withSetup([SETUP]), files: { lock: '1\n' } });
    const prompt = `${SHOW}; touch deps/more && echo changed; git status --porcelain`;
    const { one } = await fleet.run('p', [{ id: 'one', prompt }]);
    const { two } = await fleet.run('q', [{ id: 'two', prompt }]);
    expect([one, two]).toMatchObject([{ outcome: { kind: 'finished' } }, { outcome: { kind: 'finished' } }]);
    const [first, second] = [await lastOf(fleet, 'p/one'), await lastOf(fleet, 'q/two')];
    expect(first).toMatchObject({ setup: [{ how: 'ran', kept: true }] });
    expect(second).toMatchObject({ setup: [{ how: 'reused' }], report: first.report });
    expect(second.tail).toContain('Read-only file system');
    expect(second.tail).not.toMatch(/^(changed|\?\? )/m);
  });

  sandboxTest('sees nothing of the task and no secret', async () => {
    const look = 'ls -A /w; env | cut -d= -f1 | sort | xargs; ls "$HOME"';
    const fleet = await fleetOf(
      {
        ...withSetup([{ run: look }], { passEnv: ['FLEET_KEY'], secrets: ['key'] }),
        config: { secrets: { key: { env: 'FLEET_KEY' } } },
      },
      false,
    );
    await fleet.startWorker([], fleet.address, { FLEET_KEY: 'very-secret-value' });
    const { a } = await fleet.run('p', [{ id: 'a', prompt: 'true', env: { OWN: 'of the task' } }]);
    expect(a).toMatchObject({ outcome: { kind: 'finished' } });
    const { tail = '' } = await lastOf(fleet, 'p/a');
    expect(tail).toContain(`[signalbox: setup ${look}]\nhome\norigin\nrepo\n`);
    expect(tail).not.toMatch(/SIGNALBOX_(TASK|PROMPT)|FLEET_KEY|OWN/);
  });

  sandboxTest('that fails ends the attempt with a reason of its own, and keeps nothing', async () => {
    const setup = [{ ...SETUP, run: `${INSTALL}; echo "no such package" >&2; exit 3` }];
    const fleet = await fleetOf({
      ...withSetup(setup),
      files: { lock: '1\n' },
      config: { retry: { attempts: 2, backoff: '100ms' } },
    });
    const { a } = await fleet.run('p', [{ id: 'a', prompt: edit('a', 'x'), role: 'main', writes: ['a'] }]);
    expect(a).toMatchObject({ outcome: { kind: 'failed', code: 'SETUP_FAILED' } });
    expect(a?.outcome?.text).toMatch(/setup command.*: mkdir .*exit code 3: .*no such package/s);
    const attempts = await attemptsOf(fleet, 'p/a');
    expect(attempts).toMatchObject([{ setup: [{ how: 'failed' }] }, { setup: [{ how: 'failed' }] }]);
    expect(attempts[0]?.tail).toContain('no such package');
    expect(attempts[0]?.exitCode, 'its agent never ran').toBeUndefined();
    expect(kept(fleet)).toEqual([]);
    expect(readdirSync(join(fleet.fleet.home, 'workstations'))).toEqual([]);
  });

  sandboxTest('is stopped when its task is cancelled, and keeps nothing', async () => {
    const setup = [{ ...SETUP, run: `${INSTALL}; (trap "" TERM; sleep 1000) & sleep 1000` }];
    const fleet = await fleetOf({ ...withSetup(setup), files: { lock: '1\n' } });
    const [id = ''] = await fleet.submit('p', [{ id: 'a', prompt: 'true', role: 'main', writes: ['a'] }]);
    const stations = join(fleet.fleet.home, 'workstations');
    await fleet.until(
      'setup to be at work',
      () => existsSync(stations) && below(stations).some((name) => name.endsWith('deps/sub/id')),
    );
    await fleet.signalbox.cancel(id, 'not needed', 'ann');
    expect((await fleet.signalbox.wait([id])).get(id)).toMatchObject({ outcome: { kind: 'cancelled' } });
    expect(markedProcesses((marker) => marker.startsWith(stations))).toEqual([]);
    expect(kept(fleet)).toEqual([]);
    expect(readdirSync(stations)).toEqual([]);
  });

  sandboxTest('of an attempt that goes on with earlier work keeps nothing', async () => {
    const fleet = await fleetOf({
      ...withSetup([{ ...SETUP, key: ['src/lock', 'lib/lock'] }]),
      files: { 'src/lock': '1\n', 'lib/lock': '1\n' },
      config: { retry: { attempts: 3, backoff: '100ms' } },
    });
    // Each waits for the other: one is ended, and starts again with its work and all the paths.
    const prompt = (own: string, other: string) =>
      [
        `if grep -q mine ${own}/lock; then exit 0; fi`,
        edit(`${own}/lock`, 'mine'),
        `signalbox extend ${other} --wait`,
      ].join('\n');
    const ended = await fleet.run('p', [
      { id: 'a', prompt: prompt('src', 'lib'), role: 'main', writes: ['src'] },
      { id: 'b', prompt: prompt('lib', 'src'), role: 'main', writes: ['lib'] },
    ]);
    expect(ended).toMatchObject({ a: { outcome: { kind: 'landed' } }, b: { outcome: { kind: 'landed' } } });
    const all = [await attemptsOf(fleet, 'p/a'), await attemptsOf(fleet, 'p/b')];
    const second = all.flat().find(({ attempt }) => attempt === 2);
    expect(second?.setup).toMatchObject([{ how: 'ran' }]);
    expect(second?.setup?.[0]?.kept).toBeUndefined();
    expect(kept(fleet)).toHaveLength(1);
  });

  sandboxTest('may be `npm ci`, whose packages the next workstation has without it', async () => {
    const fleet = await fleetOf({
      ...withSetup([{ run: 'npm ci', key: ['package-lock.json', '.npmrc'], keep: ['node_modules'] }]),
      files: { ...npmFiles(), 'src/a': 'a\n' },
    });
    const prompt = (name: string) =>
      `node -p 'require("dep")("${name}")' > "$SIGNALBOX_REPORT_FILE" && echo > src/${name}`;
    for (const name of ['one', 'two']) {
      const task = { id: 't', prompt: prompt(name), role: 'main', writes: ['src'] };
      const { t } = await fleet.run(name, [task]);
      const last = await lastOf(fleet, `${name}/t`);
      expect(t, last.tail).toMatchObject({ outcome: { kind: 'landed' } });
      expect(last.report).toBe(`I am ${name}\n`);
      expect(last.setup).toMatchObject([name === 'one' ? { how: 'ran', kept: true } : { how: 'reused' }]);
    }
  });
});

describe('a setup command without isolation', () => {
  it('runs each time, has a limit of time, and keeps nothing that other agents could change', async () => {
    const fleet = await fleetOf({
      agents: {
        sh: { command: COMMAND, setup: [SETUP] },
        slow: { command: COMMAND, setup: [{ run: 'echo begun; sleep 1000', timeout: '1s' }] },
      },
      files: { lock: '1\n', 'src/a': 'a\n' },
    });
    const agent = 'sh';
    const prompt = `${SHOW}; echo > src/b`;
    const { a, b } = await fleet.run('p', [
      { id: 'a', agent, prompt, role: 'main', writes: ['src'] },
      { id: 'b', agent: 'slow', prompt: 'true' },
    ]);
    expect(a).toMatchObject({ outcome: { kind: 'landed' } });
    expect(await lastOf(fleet, 'p/a')).toMatchObject({ setup: [{ how: 'ran' }] });
    expect(b).toMatchObject({ outcome: { kind: 'failed', code: 'SETUP_FAILED' } });
    expect(b?.outcome?.text).toContain('it took longer than 1s');
    expect((await lastOf(fleet, 'p/b')).tail).toContain('begun');
    expect(kept(fleet)).toEqual([]);
    const tree = fleet.git(['-C', fleet.origin, 'ls-tree', '-r', '--name-only', 'main']);
    expect(tree).not.toContain('deps');
  });
});

/** A package that needs another one, which npm installs without a network. */
function npmFiles(): Record<string, string> {
  const dir = mkdtempSync(join(tmpdir(), 'signalbox-npm-'));
  const about = { name: 'app', version: '1.0.0', dependencies: { dep: 'file:lib/dep' } };
  const files: Record<string, string> = {
    '.npmrc': 'offline=true\naudit=false\nfund=false\ninstall-links=true\n',
    'package.json': JSON.stringify(about),
    'lib/dep/package.json': JSON.stringify({ name: 'dep', version: '1.0.0', main: 'main.js' }),
    'lib/dep/main.js': 'module.exports = (name) => "I am " + name;\n',
  };
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(dir, path)), { recursive: true });
      writeFileSync(join(dir, path), text);
    }
    const args = ['install', '--package-lock-only', '--cache', join(dir, 'cache')];
    execFileSync('npm', args, { cwd: dir, stdio: 'pipe' });
    return { ...files, 'package-lock.json': readFileSync(join(dir, 'package-lock.json'), 'utf8') };
  } finally {
    rmSync(dir, { recursive: true });
  }
}
