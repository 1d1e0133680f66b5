// Freezes of a role and of the whole fleet: what goes on, what waits and reads why, how they end; then on a real server,
// from the command line. Properties over random events are in decide.test.ts, through the model.

import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { printOverview } from '../src/cli/status.js';
import { requested, together, told } from '../src/domain/freeze.js';
import { coordinatorId, writerId } from '../src/domain/ids.js';
import { UNNUMBERED } from '../src/domain/messages.js';
import { carry, restore } from '../src/domain/state.js';
import { overview } from '../src/domain/views.js';
import { Box } from './support/box.js';
import { edit, MAIN, replayedFleets, type TestFleet } from './support/fleet.js';

const start = replayedFleets(1);

const WIDE = {
  ceiling: 9,
  roles: { dev: { repository: 'app', maxRunning: 9 }, ops: { repository: 'app', maxRunning: 9 } },
};
const frozen = (box: Box) => box.state.fleetWord?.freeze;
const again = (box: Box) => {
  box.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
};

describe('a frozen fleet', () => {
  test('goes by the last word of people, though several come at once and beside a writer’s', () => {
    const box = new Box(WIDE);
    const ahead = box.now + 9_000;
    const freeze = { text: 'release day', by: 'ann' };
    box.together(() => {
      box.fleet({ text: 'by a writer, of a clock that is ahead' }, ahead);
      box.fleet(freeze, UNNUMBERED);
      box.fleet(undefined, UNNUMBERED);
    });
    expect(frozen(box)).toBeUndefined();
    box.together(() => {
      box.fleet(undefined, UNNUMBERED);
      box.fleet(freeze, UNNUMBERED);
    });
    expect(frozen(box)).toMatchObject(freeze);
    box.fleet(undefined, ahead + 3);
    expect(frozen(box), 'older than the last').toMatchObject(freeze);
    box.fleet(undefined, ahead + 5);
    expect(frozen(box), 'of an earlier coordinator, whatever its number').toMatchObject(freeze);
    box.fleet(undefined, UNNUMBERED);
    expect(frozen(box)).toBeUndefined();
  });

  test('is told apart from a word of the same number: that of this coordinator counts, else the freeze', () => {
    const freeze = { text: 'release day', by: 'ann' };
    const own = new Box(WIDE);
    own.fleet(undefined, UNNUMBERED);
    const { number } = own.state.fleetWord ?? { number: 0 };
    own.writer([], { fleet: { number, freeze } });
    expect(frozen(own)).toBeUndefined();
    expect(own.orders().fleet, 'which its writers take').toEqual({ number: number + 1 });
    for (const words of [
      [{}, { freeze }],
      [{ freeze }, {}],
    ]) {
      const box = new Box(WIDE);
      for (const [i, word] of words.entries())
        box.writer([], { role: i === 0 ? 'dev' : 'ops', fleet: { number: 7, ...word } });
      expect(frozen(box)).toMatchObject(freeze);
      for (const role of ['dev', 'ops']) expect(box.orders(role).fleet).toMatchObject({ number: 8, freeze });
    }
  });

  test('lets running tasks go on and grants nothing new, read-only tasks included; all read who, why and for how long', () => {
    const box = new Box(WIDE);
    box.writes('s/a', ['a']);
    box.fleet({ text: 'release day', by: 'ann', duration: 7_200_000 });
    box.writes('s/b', ['b']);
    box.reads('s/r');
    expect(['s/a', 's/b', 's/r'].map(box.phase)).toEqual(['running', 'held', 'held']);
    expect([box.why('s/r'), box.sentence('s/r')]).toEqual([
      'FLEET_FROZEN',
      'the fleet is frozen by ann for 2h: release day',
    ]);
    box.now += 60_000;
    expect(printOverview(overview(box.state, box.now))).toContain(
      'the fleet is FROZEN by ann, 1h 59m left: release day',
    );
    box.fleet();
    expect(['s/b', 's/r'].map(box.phase)).toEqual(['running', 'running']);
    expect(overview(box.state, box.now).frozen).toBeUndefined();
  });

  test('keeps landings back that were not handed over, and hands them over when it is resumed', () => {
    const box = new Box(WIDE);
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b']);
    box.commits('s/a');
    expect(box.orders().landings.map(({ task }) => task)).toEqual(['s/a']);
    box.fleet({ text: 'release day' });
    box.commits('s/b');
    expect([box.why('s/b'), box.sentence('s/b')]).toEqual([
      'FLEET_FROZEN',
      'the fleet is frozen: release day',
    ]);
    expect(
      box.orders().landings.map(({ task }) => task),
      'handed over is handed over',
    ).toEqual(['s/a']);
    box.state.due.orders.clear();
    box.fleet();
    expect([...box.state.due.orders]).toContain('dev');
    expect(box.record('s/b').decisions.map(({ verdict, code }) => `${verdict} ${code}`)).toEqual([
      'run CLAIMS_FREE',
      'land COMMITS_READY',
      'hold FLEET_FROZEN',
      'land COMMITS_READY',
    ]);
    expect(box.orders().landings.map(({ task }) => task)).toEqual(['s/a', 's/b']);
  });

  test('ends by itself, also after a continue-as-new', () => {
    for (const carriedOver of [false, true]) {
      const box = new Box(WIDE);
      box.fleet({ text: 'lunch', duration: 1_000 });
      box.reads('s/r');
      if (carriedOver) again(box);
      box.pass(999);
      expect(box.phase('s/r')).toBe('held');
      box.pass(1);
      expect(box.phase('s/r')).toBe('running');
    }
  });

  test('goes by the last word: an earlier one that comes late is void', () => {
    const box = new Box(WIDE);
    box.fleet(undefined, 7);
    box.fleet({ text: 'late' }, 6);
    box.reads('s/r');
    expect(box.phase('s/r')).toBe('running');
    box.fleet({ text: 'a while', duration: 1_000 }, 8);
    box.fleet({ text: 'longer', duration: 5_000 }, 9);
    box.reads('s/q');
    box.pass(1_000);
    expect(box.phase('s/q'), 'nor does its end count').toBe('held');
    box.pass(4_000);
    expect(box.phase('s/q')).toBe('running');
  });

  test('is known to every writer, and by them to a coordinator that lost its state', () => {
    const box = new Box(WIDE);
    box.fleet({ text: 'release day', by: 'ann', duration: 10_000 }, 5);
    expect([...box.state.due.orders].sort()).toEqual(['dev', 'ops']);
    box.now += 4_000;
    const word = box.orders('ops').fleet;
    expect(word).toEqual({
      number: 5,
      freeze: { text: 'release day', by: 'ann', duration: 10_000, left: 6_000 },
    });
    const next = new Box(WIDE, true);
    next.reads('s/r');
    next.tell({ kind: 'surveyed', live: ['writer:ops'], last: true });
    expect(next.why('s/r')).toBe('RECOVERING');
    if (!word) throw new Error('no word');
    next.writer([], { role: 'ops', fleet: word });
    expect(next.sentence('s/r')).toBe('the fleet is frozen by ann for 10s: release day');
    next.pass(6_000);
    expect(next.phase('s/r'), 'what was left of it').toBe('running');
  });

  test('does not begin again because a writer still remembers it', () => {
    const box = new Box(WIDE);
    box.fleet({ text: 'release day' }, 5);
    box.fleet(undefined, 6);
    box.writer([], { fleet: { number: 5, freeze: { text: 'release day' } } });
    box.reads('s/r');
    expect(box.phase('s/r')).toBe('running');
    expect(box.orders().fleet).toEqual({ number: 6 });
    const over = new Box(WIDE);
    over.writer([], { fleet: { number: 5, freeze: { text: 'release day', duration: 10, left: 0 } } });
    over.reads('s/r');
    expect(over.phase('s/r'), 'nor one that has ended').toBe('running');
  });

  test('does not keep persons from claiming', () => {
    const box = new Box(WIDE);
    box.fleet({ text: 'release day' });
    box.hand('hand/ann', ['src']);
    expect(box.phase('hand/ann')).toBe('running');
  });
});

describe('a frozen role', () => {
  const frozen = { text: 'the CDN is down', by: 'ann', duration: 3_600_000 };

  test('holds its own tasks and landings, and no others', () => {
    const box = new Box(WIDE);
    box.writes('s/a', ['a']);
    box.writer([], { frozen });
    box.writes('s/b', ['b']);
    box.writes('s/o', ['o'], { role: 'ops' });
    box.reads('s/r');
    expect(['s/b', 's/o', 's/r'].map(box.phase)).toEqual(['held', 'running', 'running']);
    expect(box.sentence('s/b')).toBe('role dev is frozen by ann for 1h: the CDN is down');
    box.commits('s/a');
    expect([box.why('s/a'), box.orders().landings]).toEqual(['ROLE_FROZEN', []]);
    box.writer();
    expect([box.why('s/a'), box.orders().landings.length, box.phase('s/b')]).toEqual([
      'COMMITS_READY',
      1,
      'running',
    ]);
  });

  test('ends by itself, also after a continue-as-new, and says how much is left', () => {
    const box = new Box(WIDE);
    box.writer([], { frozen: { ...frozen, left: 1_000 } });
    box.writes('s/a', ['a']);
    again(box);
    expect(overview(box.state, box.now + 400).roles[0]?.frozen).toMatchObject({ by: 'ann', left: 600 });
    box.pass(1_000);
    expect(box.phase('s/a')).toBe('running');
  });

  test('tells its tasks when the reason is another one', () => {
    const box = new Box(WIDE);
    box.writer([], { frozen });
    box.writes('s/a', ['a']);
    box.writer([], { frozen: { text: 'the deploy failed; the CDN is down', by: 'ann' } });
    expect(box.sentence('s/a')).toBe('role dev is frozen by ann: the deploy failed; the CDN is down');
  });

  test('is told to a writer of a new life, which cannot know it', () => {
    const box = new Box(WIDE);
    box.writer([], { frozen });
    box.now += 600_000;
    expect(box.orders().frozen).toEqual({ ...frozen, left: 3_000_000 });
    expect(box.orders('ops').frozen).toBeUndefined();
  });

  test('stays frozen when the fleet is resumed', () => {
    const box = new Box(WIDE);
    box.writer([], { frozen });
    box.fleet({ text: 'release day' });
    box.writes('s/a', ['a']);
    expect(box.why('s/a')).toBe('FLEET_FROZEN');
    box.fleet();
    expect(box.why('s/a')).toBe('ROLE_FROZEN');
  });
});

test('a failed deploy and a person freeze a role together: one story, over when both are', () => {
  const deploy = { text: 's/a: the deploy failed' };
  const person = { text: 'release day', by: 'ann', duration: 5, until: 5 };
  expect(together(deploy, person)).toEqual({ text: 's/a: the deploy failed; release day', by: 'ann' });
  expect(together(person, { ...person, by: 'bob', duration: 9, until: 9 })).toMatchObject({
    by: 'ann, bob',
    duration: 9,
    until: 9,
  });
  expect([together(undefined, person), together(deploy, undefined)]).toEqual([person, deploy]);
  expect(told(person, 9)).toMatchObject({ duration: 5, left: 0 });
});

test('a signal that cannot be understood freezes all the same, until somebody resumes', () => {
  expect(requested(undefined)).toEqual({ text: 'no reason was given' });
  const odd = { reason: 7, by: {}, for: 'soon' } as unknown as Parameters<typeof requested>[0];
  expect(requested(odd)).toEqual({ text: 'no reason was given' });
  expect(requested({ reason: 'r', by: 'ann', for: '2h' })).toEqual({
    text: 'r',
    by: 'ann',
    duration: 7_200_000,
  });
});

// ---- on a real server

interface Result {
  code: number;
  out: string;
  err: string;
}

const cli = (fleet: TestFleet, ...args: string[]): Promise<Result> =>
  new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { cwd: fleet.dir, env: fleet.env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });

const role = 'main';

/** A fleet that has just been started holds everything until it has looked round. */
const heldBy = (fleet: TestFleet, id: string, code: string) =>
  fleet.until(`${id} to be held by ${code}`, async () => {
    const line = (await fleet.signalbox.overview()).tasks.find((task) => task.id === id);
    return line?.phase === 'held' && line.code === code;
  });

describe('from the command line', () => {
  test('a fleet is frozen, outlives its coordinator, and goes on', async () => {
    const fleet = await start();
    const frozen = await cli(fleet, 'freeze', '--reason', 'release day', '--until', '2h');
    expect(frozen).toMatchObject({
      code: 0,
      out: `fleet ${fleet.name} is frozen for 2h: running tasks go on, nothing new starts\nend it with: signalbox resume\n`,
    });
    const ids = await fleet.submit('p', [
      { id: 'w', prompt: edit('a', 'x'), role, writes: ['a'] },
      { id: 'r', prompt: 'true' },
    ]);
    await heldBy(fleet, 'p/r', 'FLEET_FROZEN');
    const { client } = fleet.signalbox;
    const before = (await fleet.signalbox.overview()).epoch;
    await client.workflow.getHandle(coordinatorId(fleet.name)).terminate('the test loses its state');
    await fleet.until('another coordinator', async () => {
      const now = await fleet.signalbox.overview().catch(() => undefined);
      return now && now.epoch > before && !now.recovering;
    });
    for (const id of ids)
      await fleet.until(`${id} to be held again`, async () => {
        const line = (await fleet.signalbox.overview()).tasks.find((task) => task.id === id);
        return line?.code === 'FLEET_FROZEN' && /frozen by \S+ for 2h: release day/.test(line.why ?? '');
      });
    const status = await cli(fleet, 'status');
    expect(status.out).toMatch(/^the fleet is FROZEN by \S+, 1h 59m left: release day$/m);
    const resumed = await cli(fleet, 'resume', '--json');
    expect([resumed.code, JSON.parse(resumed.out)]).toEqual([
      0,
      { resumed: true, confirmed: true, still: [] },
    ]);
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map((line) => line.outcome?.kind).sort()).toEqual(['finished', 'landed']);
    expect(await cli(fleet, 'resume')).toMatchObject({
      code: 3,
      err: 'signalbox: the fleet is not frozen\n',
    });
    expect(await fleet.violations(ids)).toEqual([]);
  });

  test('a role that has no writer yet is frozen, read-only tasks go on, and the freeze ends by itself', async () => {
    const fleet = await start();
    const args = ['freeze', '--role', role, '--reason', 'the CDN is down', '--until', '4s', '--json'];
    const frozen = await cli(fleet, ...args);
    expect([frozen.code, JSON.parse(frozen.out)]).toMatchObject([
      0,
      { role, reason: 'the CDN is down', until: '4s', confirmed: true },
    ]);
    const ids = await fleet.submit('p', [
      { id: 'w', prompt: edit('a', 'x'), role, writes: ['a'] },
      { id: 'r', prompt: 'true' },
    ]);
    await heldBy(fleet, 'p/w', 'ROLE_FROZEN');
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map((line) => line.outcome?.kind).sort()).toEqual(['finished', 'landed']);
    const writer = fleet.signalbox.client.workflow.getHandle(writerId(fleet.name, role));
    expect(await writer.query('state')).not.toHaveProperty('frozen');
    const story = await fleet.signalbox.story('p/w');
    expect(story?.decisions.map(({ code }) => code)).toContain('ROLE_FROZEN');
  });

  test('a role stays frozen when its writer is terminated, until it is resumed', async () => {
    const fleet = await start();
    const go = `${fleet.dir}/go`;
    const prompt = edit('a', 'x', `while [ ! -e '${go}' ]; do sleep 0.05; done`);
    const ids = await fleet.submit('p', [{ id: 'w', prompt, role, writes: ['a'] }]);
    await fleet.phase('p/w', 'running');
    expect((await cli(fleet, 'freeze', '--role', role, '--reason', 'the CDN is down')).code).toBe(0);
    const writer = fleet.signalbox.client.workflow.getHandle(writerId(fleet.name, role));
    await writer.terminate('the test loses its state');
    writeFileSync(go, '');
    const line = await fleet.phase('p/w', 'landing');
    expect(line.code).toBe('ROLE_FROZEN');
    const state = await fleet.until('a writer that knows', () =>
      writer.query<{ frozen?: string }>('state').then(
        (found) => found.frozen,
        () => undefined,
      ),
    );
    expect(state).toMatch(/^by \S+: the CDN is down$/);
    expect((await fleet.signalbox.overview()).roles[0]?.frozen).toBeDefined();
    const resumed = await cli(fleet, 'resume', '--role', role);
    expect(resumed).toMatchObject({ code: 0, out: 'role main goes on\n' });
    expect((await fleet.signalbox.wait(ids)).get('p/w')?.outcome?.kind).toBe('landed');
  });

  test('what makes no sense is refused, and nothing is frozen', async () => {
    const fleet = await start({}, false);
    const [soon, nobody, unknown] = await Promise.all([
      cli(fleet, 'freeze', '--reason', 'x', '--until', 'soon'),
      cli(fleet, 'freeze'),
      cli(fleet, 'freeze', '--role', 'mani', '--reason', 'x'),
    ]);
    expect(soon).toMatchObject({ code: 2, err: expect.stringContaining('--until soon') });
    expect(nobody.code).toBe(2);
    expect(unknown).toMatchObject({ code: 3, err: expect.stringContaining('there are: main') });
    const early = await cli(fleet, 'freeze', '--reason', 'before the first worker');
    expect(early).toMatchObject({ code: 0, out: expect.stringContaining('once a worker runs') });
    await fleet.startWorker();
    await fleet.until('the freeze', async () => (await fleet.signalbox.overview()).frozen);
  });
});
