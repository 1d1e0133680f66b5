// The circuit breaker of a role and of a kind of agent: what opens it, who is tried, what closes it again. Properties over
// random events are in decide.test.ts, through the model.

import { describe, expect, test } from 'vitest';
import { printOverview } from '../src/cli/status.js';
import { openCircuits } from '../src/domain/circuits.js';
import { Config, rulesOf } from '../src/domain/config.js';
import type { FailureCode } from '../src/domain/messages.js';
import { carry, restore } from '../src/domain/state.js';
import { overview } from '../src/domain/views.js';
import { Box } from './support/box.js';
import { RULES } from './support/fleet-model.js';

const FEW = { failures: 3, spawnFailures: 2, window: 10_000, coolDown: 5_000 };
const RULE = { ceiling: 99, roles: { dev: { repository: 'app', maxRunning: 99 } }, breaker: FEW };

/** Read-only tasks of a kind that fail for good, one after the other. */
function failing(box: Box, count: number, code: FailureCode = 'AGENT_FAILED', agent = 'sh'): void {
  for (let i = 0; i < count; i++) {
    const id = `f/${agent}-${box.number('failing')}`;
    box.reads(id, { agent });
    box.fails(id, code, { final: true });
  }
}

describe('a circuit', () => {
  test('opens after so many failures within the window, and says since when and why', () => {
    const box = new Box(RULE);
    failing(box, 2);
    box.reads('s/a', { agent: 'sh' });
    expect(box.phase('s/a'), 'two are not enough').toBe('running');
    failing(box, 1);
    box.reads('s/b', { agent: 'sh' });
    expect([box.why('s/b'), box.sentence('s/b')]).toEqual([
      'CIRCUIT_OPEN',
      `the circuit of agents of kind sh is open since ${new Date(box.now).toISOString()}: 3 attempts failed within 10s, the last one: the agent failed: oops`,
    ]);
    expect(box.phase('s/a'), 'what runs goes on').toBe('running');
    box.reads('s/c', { agent: 'big' });
    expect(box.phase('s/c'), 'other kinds go on').toBe('running');
  });

  test('forgets failures that the window no longer holds', () => {
    const box = new Box(RULE);
    failing(box, 2);
    box.now += FEW.window;
    failing(box, 2);
    box.reads('s/a');
    expect(box.phase('s/a')).toBe('running');
    failing(box, 1);
    box.reads('s/b');
    expect(box.why('s/b')).toBe('CIRCUIT_OPEN');
  });

  test('opens sooner when workstations cannot be made or set up', () => {
    const box = new Box(RULE);
    failing(box, 1, 'WORKSTATION_FAILED');
    failing(box, 1, 'SETUP_FAILED');
    box.reads('s/a');
    expect(box.sentence('s/a')).toContain('2 workstations could not be made or set up within 10s');
  });

  test('does not count what says nothing about agents', () => {
    const box = new Box(RULE);
    failing(box, 5, 'NO_COMMITS');
    failing(box, 5, 'WORKER_LOST');
    for (const [i, code] of (['VERIFY_FAILED', 'LANDING_CONFLICT', 'OUTSIDE_CLAIM'] as const).entries()) {
      box.writes(`s/${i}`, [`p${i}`], { agent: 'sh' });
      box.commits(`s/${i}`);
      box.refuses(`s/${i}`, code);
    }
    box.reads('s/r');
    expect([box.phase('s/r'), box.state.circuits.size]).toEqual(['running', 0]);
  });

  test('of a role holds its tasks of every kind, and no read-only ones', () => {
    const box = new Box(RULE);
    for (const [i, agent] of ['sh', 'sh', 'big'].entries()) {
      box.writes(`f/${i}`, [`f${i}`], { agent });
      box.fails(`f/${i}`, 'AGENT_FAILED', { final: true });
    }
    box.writes('s/a', ['a'], { agent: 'big' });
    box.reads('s/r', { agent: 'big' });
    expect([box.why('s/a'), box.phase('s/r')]).toEqual(['CIRCUIT_OPEN', 'running']);
    expect(box.sentence('s/a')).toContain('the circuit of role dev is open');
  });

  test('tries exactly one task after the cool-down; its success lets all others go', () => {
    const box = new Box(RULE);
    failing(box, 3);
    for (const id of ['s/a', 's/b', 's/c']) box.reads(id);
    box.pass(FEW.coolDown - 1);
    expect(box.phase('s/a')).toBe('held');
    box.pass(1);
    expect(['s/a', 's/b', 's/c'].map(box.phase)).toEqual(['running', 'held', 'held']);
    box.reads('s/d');
    expect(box.why('s/d')).toBe('CIRCUIT_OPEN');
    expect(printOverview(overview(box.state, box.now))).toContain(
      'circuit agent:sh is half-open for 5s, s/a is its trial: 3 attempts failed',
    );
    box.done('s/a');
    expect(['s/b', 's/c', 's/d'].map(box.phase)).toEqual(['running', 'running', 'running']);
    expect(overview(box.state, box.now).circuits).toEqual([]);
    failing(box, 2);
    box.reads('s/e');
    expect(box.phase('s/e'), 'and counts from nothing').toBe('running');
  });

  test('is open for another cool-down when the trial fails, since when it was first', () => {
    const box = new Box(RULE);
    failing(box, 3);
    const since = new Date(box.now).toISOString();
    for (const id of ['s/a', 's/b']) box.reads(id);
    box.pass(FEW.coolDown);
    box.fails('s/a', 'AGENT_FAILED', { final: true });
    expect(box.phase('s/b')).toBe('held');
    expect(box.sentence('s/b')).toContain(`is open since ${since}: the trial failed too`);
    box.pass(FEW.coolDown - 1);
    expect(box.phase('s/b')).toBe('held');
    box.pass(1);
    expect(box.phase('s/b')).toBe('running');
  });

  test('tries another when the trial comes to no end of its own', () => {
    for (const away of ['cancelled', 'lost', 'terminated'] as const) {
      const box = new Box(RULE);
      failing(box, 3);
      for (const id of ['s/a', 's/b', 's/c']) box.reads(id);
      box.pass(FEW.coolDown);
      if (away === 'cancelled') {
        box.cancel('s/a');
        expect(box.phase('s/b'), 'not before its agent has ended').toBe('held');
        box.fails('s/a', 'CANCELLED_BY_REQUEST');
      } else if (away === 'lost') box.fails('s/a', 'WORKER_LOST', { final: true });
      else box.tell({ kind: 'gone', task: 's/a' });
      expect([box.phase('s/b'), box.phase('s/c')], away).toEqual(['running', 'held']);
    }
  });

  test('takes an agent that ended well without commits for a success', () => {
    const box = new Box(RULE);
    failing(box, 3);
    for (const id of ['s/a', 's/b']) box.writes(id, [id]);
    box.pass(FEW.coolDown);
    box.fails('s/a', 'NO_COMMITS', { final: true });
    expect(box.phase('s/b')).toBe('running');
  });

  test('goes by its trial alone: what ran before says nothing any more', () => {
    const box = new Box(RULE);
    for (const id of ['s/old', 's/other']) box.reads(id);
    failing(box, 3);
    box.reads('s/a');
    box.done('s/old');
    expect(box.phase('s/a')).toBe('held');
    box.pass(FEW.coolDown);
    box.reads('s/b');
    box.fails('s/other', 'AGENT_FAILED', { final: true });
    expect([box.phase('s/a'), box.phase('s/b')]).toEqual(['running', 'held']);
    box.done('s/a');
    expect(box.phase('s/b')).toBe('running');
  });

  test('stays as it is over a continue-as-new, open and half-open', () => {
    const box = new Box(RULE);
    const again = () => {
      box.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
    };
    failing(box, 2);
    again();
    failing(box, 1);
    for (const id of ['s/a', 's/b']) box.reads(id);
    again();
    box.pass(FEW.coolDown - 1);
    expect(box.phase('s/a')).toBe('held');
    box.pass(1);
    again();
    expect([box.phase('s/a'), box.phase('s/b')]).toEqual(['running', 'held']);
    box.done('s/a');
    expect(box.phase('s/b')).toBe('running');
  });

  test('holds a retry too, with its claims', () => {
    const box = new Box(RULE);
    box.writes('s/a', ['a'], { retry: { attempts: 3, backoff: 10 } });
    failing(box, 2);
    box.fails('s/a');
    box.pass(10);
    expect([box.why('s/a'), box.record('s/a').holds]).toEqual(['CIRCUIT_OPEN', true]);
    box.pass(FEW.coolDown);
    expect(box.phase('s/a'), 'and it is the trial').toBe('running');
  });
});

test('the numbers are configured, and have defaults', () => {
  const config = { fleet: 'f', repositories: { app: { url: '.' } }, agents: { sh: { command: 'x' } } };
  expect(rulesOf(Config.parse(config)).breaker).toEqual({
    failures: 5,
    spawnFailures: 3,
    window: 60_000,
    coolDown: 60_000,
  });
  const breaker = { failures: 2, coolDown: '5m' };
  expect(rulesOf(Config.parse({ ...config, breaker })).breaker).toMatchObject({
    failures: 2,
    coolDown: 300_000,
  });
  expect(RULES.breaker).toEqual(FEW);
});

test('a coordinator that lost its state keeps open what was open, but for roles and kinds that are no more', () => {
  const box = new Box(RULE, true);
  const open = { since: box.now - 1_000, until: box.now + 4_000, why: 'as before' };
  box.tell({
    kind: 'surveyed',
    live: [],
    last: true,
    before: true,
    circuits: ['role:dev', 'agent:big', 'role:gone', 'agent:gone'].map((key) => [key, open]),
  });
  expect(openCircuits(box.state).map(([key]) => key)).toEqual(['role:dev', 'agent:big']);
  box.writes('s/a', ['a']);
  box.reads('s/b', { agent: 'big' });
  box.reads('s/c');
  expect(['s/a', 's/b', 's/c'].map(box.phase)).toEqual(['held', 'held', 'running']);
  expect(box.sentence('s/a')).toContain('as before');
  box.pass(4_000);
  expect(['s/a', 's/b'].map(box.phase)).toEqual(['running', 'running']);
});
