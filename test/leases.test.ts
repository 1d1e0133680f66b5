// How long a claim is held: leases of roles and tasks, pins while no agent runs, and the worker that ends its agents in
// time. The properties in decide.test.ts cover the same with faults.

import { describe, expect, test } from 'vitest';
import { Leases } from '../activities/leases.js';
import type { WorkerReport } from '../src/domain/messages.js';
import { carry, restore } from '../src/domain/state.js';
import { Box, MINUTE } from './support/box.js';
import { RULES } from './support/fleet-model.js';

const { backoff, landing } = RULES.pinned;

describe('a lease', () => {
  const roles = {
    ...RULES.roles,
    ops: { repository: 'app', maxRunning: 1, lease: 10_000 },
  };

  test('is the task’s own, else that of its role, else that of the fleet', () => {
    const box = new Box({ roles });
    box.writes('s/fleet', ['a']);
    box.writes('s/role', ['b'], { role: 'ops' });
    box.writes('s/task', ['c'], { lease: 5_000 });
    const phases = () => ['s/task', 's/role', 's/fleet'].map(box.phase);
    box.pass(4_999);
    expect(phases()).toEqual(['running', 'running', 'running']);
    box.pass(1);
    expect(phases()).toEqual(['stopping', 'running', 'running']);
    box.pass(5_000);
    expect(phases()).toEqual(['stopping', 'stopping', 'running']);
    box.pass(50_000);
    expect(phases()).toEqual(['stopping', 'stopping', 'stopping']);
  });

  test('is renewed for as long as it is', () => {
    const box = new Box({ roles });
    box.writes('s/a', ['b'], { role: 'ops' });
    box.pass(9_000);
    box.renew('s/a');
    box.pass(9_999);
    expect(box.phase('s/a')).toBe('running');
    box.pass(1);
    expect(box.why('s/a')).toBe('CLAIM_EXPIRED');
  });

  test('that ran out does not use up an attempt, and the next grant has a higher fence', () => {
    const box = new Box();
    box.writes('s/a', ['a'], { retry: { attempts: 1 } });
    const before = box.fence('s/a');
    box.pass(RULES.lease);
    box.fails('s/a', 'WORKER_LOST');
    box.pass(0);
    expect([box.phase('s/a'), box.record('s/a').attempt]).toEqual(['running', 2]);
    expect(box.fence('s/a').number).toBeGreaterThan(before.number);
  });

  test('of an agent that lives, though its task has not announced itself, keeps a new coordinator waiting', () => {
    const box = new Box({}, true);
    box.tell({ kind: 'surveyed', live: ['s/a'], last: true });
    box.writes('s/b', ['a']);
    box.pass(RULES.lease - 1);
    box.renew('s/a', { epoch: 1, number: 1 });
    box.pass(RULES.lease - 1);
    expect(box.why('s/b')).toBe('RECOVERING');
    box.pass(1);
    expect(box.phase('s/b')).toBe('running');
  });
});

describe('a claim between two attempts', () => {
  const slow = { retry: { attempts: 2, backoff: 50_000, maxBackoff: 50_000 } };

  test('is pinned, for as long as the configuration says: then others get it', () => {
    const box = new Box(slow);
    box.writes('s/a', ['a']);
    box.writes('s/b', ['a']);
    box.fails('s/a');
    box.pass(backoff - 1);
    expect(box.why('s/b')).toBe('PATH_HELD');
    box.pass(1);
    expect([box.phase('s/a'), box.why('s/a'), box.phase('s/b')]).toEqual([
      'backoff',
      'PIN_EXPIRED',
      'running',
    ]);
    expect(box.sentence('s/a')).toContain('no agent of it has run for 20s');
    box.pass(40_000);
    expect(box.why('s/a'), 'and waits for it like any other').toBe('PATH_HELD');
  });

  test('is pinned no longer while its task waits for a slot', () => {
    const box = new Box({ ceiling: 1 });
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b']);
    box.fails('s/a');
    box.hand('hand/ann', ['a'], { wait: true });
    box.pass(1_000);
    expect([box.why('s/a'), box.phase('hand/ann')]).toEqual(['CEILING_REACHED', 'held']);
    box.renew('s/b');
    box.pass(backoff);
    expect([box.phase('hand/ann'), box.record('s/a').holds]).toEqual(['running', false]);
  });

  test('stays pinned until an agent that was not seen to end must have ended', () => {
    const box = new Box({ retry: { attempts: 2, backoff: 10 * MINUTE, maxBackoff: 10 * MINUTE } });
    box.writes('s/a', ['a']);
    box.writes('s/b', ['a']);
    box.fails('s/a', 'AGENT_FAILED', { dead: false });
    box.pass(RULES.lease + RULES.lockDelay - 1);
    expect(box.phase('s/b')).toBe('held');
    box.pass(1);
    expect(box.phase('s/b')).toBe('running');
  });

  test('is pinned no longer than others once that agent is seen dead', () => {
    const box = new Box({ retry: { attempts: 2, backoff: 10 * MINUTE, maxBackoff: 10 * MINUTE } });
    box.writes('s/a', ['a']);
    box.writes('s/b', ['a']);
    const { fence } = box.record('s/a');
    box.fails('s/a', 'AGENT_FAILED', { dead: false });
    box.pass(backoff);
    expect(box.phase('s/b'), 'it may still write').toBe('held');
    box.tell({ kind: 'worker', renew: [], dead: fence ? [{ task: 's/a', fence }] : [] });
    box.pass(backoff);
    expect(box.phase('s/b')).toBe('running');
  });
});

describe('a landing', () => {
  test('over its limit is withdrawn through the ledger, and its task is tried again', () => {
    const box = new Box();
    box.writes('s/a', ['a'], { retry: { attempts: 1 } });
    box.commits('s/a');
    box.orders();
    box.pass(landing - 1);
    expect(box.record('s/a').stop).toBeUndefined();
    box.pass(1);
    expect([box.why('s/a'), box.orders().landings[0]?.withdraw]).toEqual(['LANDING_OVERDUE', true]);
    expect(box.sentence('s/a')).toBe('its landing did not come to an end within 1m 30s');
    box.withdrawn('s/a');
    box.pass(0);
    expect([box.phase('s/a'), box.record('s/a').attempt]).toEqual(['running', 2]);
  });

  test('that the ledger has after all has landed', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.commits('s/a');
    box.orders();
    box.pass(landing);
    box.lands('s/a');
    expect(box.why('s/a')).toBe('LANDED');
  });

  test('is not late while others land before it, or while a person is to look at its role', () => {
    const box = new Box();
    for (const id of ['s/a', 's/b']) {
      box.writes(id, [id.slice(2)]);
      box.commits(id);
      box.now += 1;
    }
    box.orders();
    box.pass(landing - 10);
    box.lands('s/a');
    box.pass(landing - 1);
    expect(box.record('s/b').stop).toBeUndefined();
    box.writer([], { frozen: { text: 'the deploy failed' } });
    box.pass(3 * landing);
    expect(box.record('s/b').stop).toBeUndefined();
    box.writer([]);
    box.pass(landing);
    expect(box.record('s/b').stop?.code).toBe('LANDING_OVERDUE');
  });

  for (const over of [false, true])
    for (const later of [0, 10])
      test(`has all its time once a freeze is over ${later} ms before its limit${over ? ', its state carried over' : ''}`, () => {
        const box = new Box();
        box.writes('s/a', ['a']);
        box.commits('s/a');
        box.orders();
        box.pass(landing - later - 8_000);
        box.fleet({ text: 'release day', duration: 8_000 });
        if (over) box.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
        box.pass(8_000 + landing - 1);
        expect(box.record('s/a').stop).toBeUndefined();
        box.pass(1);
        expect(box.record('s/a').stop?.code).toBe('LANDING_OVERDUE');
      });

  test.each(['issue', 'upstream'])('has all its time once its %s no longer keeps it back', (what) => {
    const box = new Box();
    box.reads('s/up');
    box.writes('s/a', ['a'], { issue: 'I-1' });
    if (what === 'issue') box.issue('I-1', 'paused');
    else box.task('s/a', { facts: { after: [{ task: 's/up', added: true }] } });
    box.commits('s/a');
    expect(box.orders().landings).toEqual([]);
    for (let halves = 0; halves < 4; halves++) {
      box.pass(landing / 2 - 1);
      box.renew('s/up');
    }
    if (what === 'issue') box.issue('I-1', 'open');
    else box.done('s/up');
    expect(box.orders().landings).toHaveLength(1);
    box.pass(landing - 1);
    expect(box.record('s/a').stop).toBeUndefined();
    box.pass(1);
    expect(box.record('s/a').stop?.code).toBe('LANDING_OVERDUE');
  });
});

describe('a worker', () => {
  /** A coordinator that hears, or does not. */
  const outbox = () => {
    const told: number[] = [];
    const box = {
      reached: true,
      told,
      tell(report: WorkerReport): Promise<void> {
        if (!box.reached) return Promise.reject(new Error('no server'));
        told.push(report.renew.length);
        return Promise.resolve();
      },
    };
    return box;
  };
  const fence = (number: number) => ({ epoch: 1, number });
  const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  test('renews all its agents with one word, and ends them before their lease does when it is not heard', async () => {
    const box = outbox();
    const leases = new Leases(box);
    const ended: [string, number][] = [];
    let cut = 0;
    const hold = (task: string, number: number) =>
      leases.hold({ task, fence: fence(number), lease: 900, spent: 0 }, () =>
        ended.push([task, performance.now() - cut]),
      );
    const letGo = [hold('s/a', 1), hold('s/b', 2)];
    await wait(1_300);
    expect(ended, 'a renewed lease does not run out').toEqual([]);
    expect(box.told.length).toBeGreaterThanOrEqual(3);
    expect(new Set(box.told)).toEqual(new Set([2]));
    cut = performance.now();
    box.reached = false;
    await wait(1_000);
    expect(ended.map(([task]) => task).sort()).toEqual(['s/a', 's/b']);
    for (const [, after] of ended) expect(after).toBeLessThan(900);
    for (const end of letGo) end();
  });

  test('renews at once what has waited long for it', async () => {
    const box = outbox();
    const letGo = new Leases(box).hold({ task: 's/a', fence: fence(1), lease: 60_000, spent: 50_000 }, () => {
      throw new Error('ended though it was renewed');
    });
    await wait(100);
    expect(box.told).toEqual([1]);
    letGo();
  });
});
