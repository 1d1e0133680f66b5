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

  /** An attempt from its reserved slot to its end. */
  function attempt(room: Room, agent: string): { end: () => Promise<void> } {
    let finish = () => {};
    const over = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const done = room.holding(agent, () => over).then(() => room.releaseSlot());
    return {
      end: async () => {
        finish();
        await done;
      },
    };
  }

  test('has so many slots, and gives a free one to whoever has waited longest', async () => {
    const room = new Room(config(), { slots: 2 });
    expect([room.tryReserveSlot(), room.tryReserveSlot(), room.tryReserveSlot()]).toEqual([{}, {}, null]);
    const order: number[] = [];
    const waiting = [1, 2].map((n) => room.reserveSlot(undefined, never).then(() => order.push(n)));
    room.releaseSlot();
    await waiting[0];
    expect(order).toEqual([1]);
    room.releaseSlot();
    await Promise.all(waiting);
    expect(order).toEqual([1, 2]);
  });

  test('a slot takes the largest kind until it is known for which it is', async () => {
    const room = new Room(config(), { slots: 9, memory: 5 * GB });
    expect([room.tryReserveSlot(), room.tryReserveSlot()]).toEqual([{}, null]);
    const small = attempt(room, 'small');
    expect(room.tryReserveSlot(), '1 of 5 GB is taken: the largest still fits').toEqual({});
    const big = attempt(room, 'big');
    expect(room.tryReserveSlot()).toBeNull();
    await small.end();
    expect(room.tryReserveSlot(), '4 of 5 GB').toBeNull();
    await big.end();
    expect(room.tryReserveSlot()).toEqual({});
  });

  test('who no longer wants a slot does not get one', async () => {
    const room = new Room(config(), { slots: 1 });
    room.tryReserveSlot();
    const abort = new AbortController();
    const given = room.reserveSlot(undefined, abort.signal);
    abort.abort();
    await expect(given).rejects.toMatchObject({ name: 'AbortError' });
    const next = room.reserveSlot(undefined, never);
    room.releaseSlot();
    expect(await next).toEqual({});
    await expect(room.reserveSlot(undefined, abort.signal)).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('never holds more than fits, whatever comes and goes, and nobody waits who would fit', async () => {
    const step = fc.record({
      do: fc.constantFrom('reserve', 'reserve', 'start', 'end', 'unused', 'abort'),
      pick: fc.nat({ max: 9 }),
      kind: fc.constantFrom('small', 'big'),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 4, max: 12 }),
        async (steps, slots, memory) => {
          const room = new Room(config(), { slots, memory: memory * GB });
          let reserved = 0;
          const waiting: AbortController[] = [];
          const running: { kind: string; end: () => Promise<void> }[] = [];
          for (const { do: what, pick, kind } of steps) {
            if (what === 'reserve') {
              const abort = new AbortController();
              waiting.push(abort);
              room.reserveSlot(undefined, abort.signal).then(
                () => {
                  reserved += 1;
                  waiting.splice(waiting.indexOf(abort), 1);
                },
                () => waiting.splice(waiting.indexOf(abort), 1),
              );
            } else if (what === 'abort') waiting[pick % Math.max(1, waiting.length)]?.abort();
            else if (what === 'start' && reserved > 0) {
              reserved -= 1;
              running.push({ kind, ...attempt(room, kind) });
            } else if (what === 'unused' && reserved > 0) {
              reserved -= 1;
              room.releaseSlot();
            } else if (what === 'end' && running.length > 0)
              await running.splice(pick % running.length, 1)[0]?.end();
            await new Promise((resolve) => setImmediate(resolve));
            const taken = reserved * 4 + running.reduce((sum, one) => sum + (one.kind === 'big' ? 4 : 1), 0);
            expect(reserved + running.length).toBeLessThanOrEqual(slots);
            expect(taken).toBeLessThanOrEqual(memory);
            if (waiting.length > 0)
              expect(taken + 4 > memory || reserved + running.length === slots).toBe(true);
          }
        },
      ),
      { numRuns: 60 },
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
