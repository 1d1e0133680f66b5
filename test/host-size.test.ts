// What a host has room for: slots, and memory by kind of agent. First the room by itself, then a real worker whose agents
// write down when they ran.

import { execFile } from 'node:child_process';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Config } from '../src/domain/config.js';
import { formatSize, parseSize } from '../src/domain/sizes.js';
import { Room, sizeRefused } from '../worker/room.js';
import { MAIN, TestFleet } from './support/fleet.js';

const GB = 1_024 ** 3;
const AGENTS = { small: { command: 'x', memory: '1GB' }, big: { command: 'x', memory: '4GB' } };
const config = (agents: object = AGENTS) =>
  Config.parse({ fleet: 'f', repositories: { app: { url: '.' } }, agents });

test('a size is a number and a unit', () => {
  expect([parseSize('512MB'), parseSize('1.5GB'), parseSize('2TB')]).toEqual([
    512 * 1_024 ** 2,
    1.5 * GB,
    2_048 * GB,
  ]);
  for (const wrong of ['8', '8G', 'GB', '-1GB', '8 GB']) expect(parseSize(wrong), wrong).toBeUndefined();
  expect([formatSize(1.5 * GB), formatSize(512 * 1_024 ** 2), formatSize(10)]).toEqual([
    '1.5GB',
    '512MB',
    '0KB',
  ]);
});

test('a host with --memory serves a fleet whose every kind says what it takes, and fits', () => {
  expect(sizeRefused(config(), 4 * GB)).toBeUndefined();
  expect(sizeRefused(config(), 3 * GB)).toBe('--memory 3GB: agents of kind "big" take 4GB each');
  expect(sizeRefused(config({ sh: { command: 'x' } }), GB)).toContain('declare agents.sh.memory');
});

describe('the room of a host', () => {
  const never = new AbortController().signal;

  type Offers = Room['common'];

  /** An attempt from its reserved slot to its end; `entered` is false when it found no room. */
  function attempt(room: Room, agent: string, offers: Offers = room.common, stop = never) {
    let finish = () => {};
    const over = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const one = {
      running: false,
      done: false,
      entered: Promise.resolve(false),
      end: async () => {
        finish();
        await one.entered;
      },
    };
    const run = async () => {
      one.running = true;
      await over;
      one.running = false;
      return true;
    };
    one.entered = room.holding({ agent, own: offers === room.own, stop }, run).then((ran) => {
      offers.releaseSlot();
      one.done = true;
      return ran === true;
    });
    return one;
  }

  test('has so many slots, and gives a free one to whoever has waited longest', async () => {
    const { common } = new Room(config(), { slots: 2 });
    expect([common.tryReserveSlot(), common.tryReserveSlot(), common.tryReserveSlot()]).toEqual([
      {},
      {},
      null,
    ]);
    const order: number[] = [];
    const waiting = [1, 2].map((n) => common.reserveSlot(undefined, never).then(() => order.push(n)));
    common.releaseSlot();
    await waiting[0];
    expect(order).toEqual([1]);
    common.releaseSlot();
    await Promise.all(waiting);
    expect(order).toEqual([1, 2]);
  });

  test('a slot takes the largest kind until it is known for which it is', async () => {
    const room = new Room(config(), { slots: 9, memory: 5 * GB });
    const { common } = room;
    expect([common.tryReserveSlot(), common.tryReserveSlot()]).toEqual([{}, null]);
    const small = attempt(room, 'small');
    expect(common.tryReserveSlot(), '1 of 5 GB is taken: the largest still fits').toEqual({});
    const big = attempt(room, 'big');
    expect(common.tryReserveSlot()).toBeNull();
    await small.end();
    expect(common.tryReserveSlot(), '4 of 5 GB').toBeNull();
    await big.end();
    expect(common.tryReserveSlot()).toEqual({});
  });

  test('who no longer wants a slot does not get one', async () => {
    const { common } = new Room(config(), { slots: 1 });
    common.tryReserveSlot();
    const abort = new AbortController();
    const given = common.reserveSlot(undefined, abort.signal);
    abort.abort();
    await expect(given).rejects.toMatchObject({ name: 'AbortError' });
    const next = common.reserveSlot(undefined, never);
    common.releaseSlot();
    expect(await next).toEqual({});
    await expect(common.reserveSlot(undefined, abort.signal)).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('what one queue offers the other may take; who comes too late waits, and goes back', async () => {
    const room = new Room(config(), { slots: 1 }, 50);
    expect([room.common.tryReserveSlot(), room.own.tryReserveSlot()]).toEqual([{}, {}]);
    const first = attempt(room, 'big', room.own);
    expect([room.common.tryReserveSlot(), room.own.tryReserveSlot()]).toEqual([null, null]);
    expect(await attempt(room, 'big').entered, 'it found the host full').toBe(false);
    const next = room.common.reserveSlot(undefined, never);
    await first.end();
    expect(await next).toEqual({});
    expect(room.own.tryReserveSlot()).toEqual({});
    const second = attempt(room, 'big');
    const third = attempt(room, 'big', room.own);
    await second.end();
    await third.end();
    expect(await third.entered, 'it waited, and there was room in time').toBe(true);
    expect([room.common.count, room.own.count]).toEqual([0, 0]);
  });

  test('who is stopped while it waits for room does not begin', async () => {
    const room = new Room(config(), { slots: 1 }, 60_000);
    room.common.tryReserveSlot();
    room.own.tryReserveSlot();
    const first = attempt(room, 'big');
    const stop = new AbortController();
    const second = attempt(room, 'big', room.own, stop.signal);
    stop.abort();
    expect(await second.entered).toBe(false);
    await first.end();
    expect(room.own.tryReserveSlot()).toEqual({});
  });

  test('never holds more than fits, whatever comes and goes, and nobody waits who would fit', async () => {
    const step = fc.record({
      do: fc.constantFrom('reserve', 'reserve', 'start', 'start', 'end', 'unused', 'abort'),
      pick: fc.nat({ max: 9 }),
      kind: fc.constantFrom('small', 'big'),
      queue: fc.constantFrom('common', 'own'),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 4, max: 12 }),
        async (steps, slots, memory) => {
          const room = new Room(config(), { slots, memory: memory * GB }, 60_000);
          const reserved = { common: 0, own: 0 };
          const waiting: { queue: 'common' | 'own'; abort: AbortController }[] = [];
          const stop = new AbortController();
          let here: ({ kind: string } & ReturnType<typeof attempt>)[] = [];
          for (const { do: what, pick, kind, queue } of steps) {
            const running = here.filter((one) => one.running);
            if (what === 'reserve') {
              const one = { queue, abort: new AbortController() };
              waiting.push(one);
              const over = () => waiting.splice(waiting.indexOf(one), 1);
              room[queue].reserveSlot(undefined, one.abort.signal).then(() => {
                reserved[queue] += 1;
                over();
              }, over);
            } else if (what === 'abort') waiting[pick % Math.max(1, waiting.length)]?.abort.abort();
            else if (what === 'start' && reserved[queue] > 0) {
              reserved[queue] -= 1;
              here.push(Object.assign(attempt(room, kind, room[queue], stop.signal), { kind }));
            } else if (what === 'unused' && reserved[queue] > 0) {
              reserved[queue] -= 1;
              room[queue].releaseSlot();
            } else if (what === 'end' && running.length > 0) await running[pick % running.length]?.end();
            await new Promise((resolve) => setImmediate(resolve));
            const now = here.filter((one) => one.running);
            const taken = now.reduce((sum, one) => sum + (one.kind === 'big' ? 4 : 1), 0);
            expect(now.length).toBeLessThanOrEqual(slots);
            expect(taken).toBeLessThanOrEqual(memory);
            here = here.filter((one) => !one.done);
            const entering = here.filter((one) => !one.running);
            const [first] = entering;
            if (first)
              expect(now.length === slots || taken + (first.kind === 'big' ? 4 : 1) > memory).toBe(true);
            else
              for (const { queue: wanted } of waiting)
                expect(
                  taken + 4 * (reserved[wanted] + 1) > memory || reserved[wanted] + now.length >= slots,
                ).toBe(true);
          }
          stop.abort();
          for (const one of here) await one.end();
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe('a worker on a real server', () => {
  /** Says when it began and ended, beside its clone; it may wait for what else is to begin. */
  const stamps = (file: string, weight: number, meanwhile = 'sleep 0.7') =>
    `echo "$(date +%s%N) ${weight}" >> '${file}'; ${meanwhile}; echo "$(date +%s%N) -${weight}" >> '${file}'`;

  /** Until one more of that weight has begun, of so many. */
  const another = (file: string, weight: number, of: number) => {
    const begun = `$(grep -c ' ${weight}$' '${file}')`;
    return `before=${begun}; until [ ${begun} -gt $before ] || [ $before -eq ${of} ]; do sleep 0.1; done`;
  };

  /** The most that ran at once, by the agents' own timestamps. */
  function most(file: string): number {
    const lines = readFileSync(file, 'utf8').trim().split('\n');
    const steps = lines.map((line) => line.split(' ').map(Number) as [number, number]);
    let now = 0;
    const sums = steps.sort((a, b) => a[0] - b[0]).map(([, weight]) => (now += weight));
    return Math.max(...sums);
  }

  test('runs no more agents at once than it has slots, though the ceiling is higher', async () => {
    const fleet = await TestFleet.start({}, false);
    try {
      await fleet.startWorker(['--slots', '2']);
      const file = join(fleet.dir, 'stamps');
      appendFileSync(file, '');
      const tasks = [1, 2, 3, 4, 5].map((n) => ({
        id: `t${n}`,
        prompt: stamps(file, 1, n === 1 ? another(file, 1, 5) : undefined),
      }));
      const ended = await fleet.run('p', tasks);
      expect(Object.values(ended).map((line) => line.outcome?.kind)).toEqual(Array(5).fill('finished'));
      expect(most(file)).toBe(2);
    } finally {
      await fleet.stop();
    }
  });

  test('runs no more than fits into its memory: many small agents, few big ones', async () => {
    const command = ['sh', '-c', 'exec sh "$SIGNALBOX_PROMPT_FILE"'];
    const agents = { sh: { command, memory: '1GB' }, big: { command, memory: '3GB' } };
    const fleet = await TestFleet.start({ agents }, false);
    try {
      await fleet.startWorker(['--memory', '5GB']);
      const file = join(fleet.dir, 'stamps');
      const tasks = ['big', 'sh', 'sh', 'big', 'sh', 'sh', 'sh', 'big'].map((agent, n) => ({
        id: `t${n}`,
        agent,
        prompt: stamps(file, agent === 'big' ? 3 : 1, n === 1 ? another(file, 3, 3) : undefined),
      }));
      const ended = await fleet.run('p', tasks);
      expect(Object.values(ended).map((line) => line.outcome?.kind)).toEqual(Array(8).fill('finished'));
      expect(most(file)).toBeLessThanOrEqual(5);
      expect(most(file), 'a big one and another beside it').toBeGreaterThan(3);
    } finally {
      await fleet.stop();
    }
  });

  test('refuses a size that makes no sense, before it starts', async () => {
    const fleet = await TestFleet.start({}, false);
    try {
      const run = (...args: string[]) =>
        new Promise<{ code: number; err: string }>((resolve) => {
          const options = { cwd: fleet.dir, env: fleet.env };
          execFile(process.execPath, [MAIN, ...args], options, (error, _out, err) =>
            resolve({ code: error ? Number(error.code) : 0, err }),
          );
        });
      const [none, much, undeclared] = await Promise.all([
        run('worker', '--slots', '0'),
        run('up', '--memory', 'much'),
        run('worker', '--memory', '8GB'),
      ]);
      expect(none).toMatchObject({ code: 2, err: expect.stringContaining('--slots 0') });
      expect(much).toMatchObject({ code: 2, err: expect.stringContaining('--memory much') });
      expect(undeclared).toMatchObject({ code: 2, err: expect.stringContaining('agents.sh.memory') });
    } finally {
      await fleet.stop();
    }
  });
});
