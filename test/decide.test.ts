// decide: first its specification in sentences, one example for each reason it can give; then properties over random
// sequences of events with faults, by the model in support/fleet-model.ts. SIGNALBOX_RUNS sets how many, `npm run properties` takes 100,000.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { audit } from '../src/domain/audit.js';
import { decide, type Event } from '../src/domain/decide.js';
import type { Fence } from '../src/domain/fence.js';
import { type AttemptResult, UNNUMBERED } from '../src/domain/messages.js';
import { carry, freshState, restore, type State } from '../src/domain/state.js';
import { landingId, type Taken } from '../src/domain/transitions.js';
import { overview, packetOf, standingOf, storyOf, takeOrders } from '../src/domain/views.js';
import { Box, MINUTE, type Said } from './support/box.js';
import { Fleet, type Op, ops, RULES, type Spec, type Step, specs } from './support/fleet-model.js';
import { runs } from './support/runs.js';

/** Loses everything that is not carried. */
const carried = (state: State): State => restore(JSON.parse(JSON.stringify(carry(state))));

describe('a task runs', () => {
  test('when nothing that it writes is held by another', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    expect([box.phase('s/a'), box.why('s/a')]).toEqual(['running', 'CLAIMS_FREE']);
    expect(standingOf(box.state, 's/a')).toMatchObject({
      phase: 'running',
      lease: RULES.lease,
      fence: box.fence('s/a'),
    });
  });

  test('at once when it is read-only, and what runs beside it is noted with why that is safe', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    const [run] = box.reads('s/r');
    expect(run).toMatchObject({
      code: 'READ_ONLY',
      evidence: { beside: [{ task: 's/a', why: 'read-only' }] },
    });
    const [other] = box.writes('s/b', ['docs']);
    expect(other?.evidence.beside).toContainEqual({ task: 's/a', why: 'disjoint claims' });
    expect(box.record('s/a').beside).toEqual(['s/r', 's/b']);
  });

  test('and ends: a writer by landing, a read-only one by finishing', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.reads('s/r');
    box.commits('s/a');
    expect([box.phase('s/a'), box.why('s/a')]).toEqual(['landing', 'COMMITS_READY']);
    expect(box.orders().landings).toMatchObject([{ task: 's/a', commit: 'commit-of-s/a', writes: ['src'] }]);
    box.lands('s/a');
    box.done('s/r');
    expect(box.record('s/a').outcome).toMatchObject({
      kind: 'landed',
      code: 'LANDED',
      commit: 'landed-commit',
    });
    expect(box.why('s/r')).toBe('FINISHED');
    expect(box.orders().landings).toEqual([]);
  });
});

describe('a task is held', () => {
  test('by the holder of a path, which is named; and no longer than that', () => {
    const box = new Box();
    box.writes('s/a', ['src/lib']);
    box.writes('s/b', ['docs', ':(glob)src/**/x.ts']);
    expect(box.why('s/b')).toBe('PATH_HELD');
    expect(box.sentence('s/b')).toBe(':(glob)src/**/x.ts overlaps src/lib, held by s/a');
    expect(storyOf(box.state, 's/a', box.now)?.waiting).toEqual(['s/b']);
    expect(overview(box.state, box.now).tasks.find((line) => line.id === 's/b')).toMatchObject({
      holder: 's/a',
    });
    box.commits('s/a');
    expect(box.phase('s/b'), 'until it has landed').toBe('held');
    box.lands('s/a');
    expect(box.phase('s/b')).toBe('running');
  });

  test('with all of its claims or none: what it waits with blocks nobody', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.writes('s/b', ['src', 'docs']);
    box.writes('s/c', ['docs']);
    expect([box.phase('s/b'), box.phase('s/c')]).toEqual(['held', 'running']);
  });

  test('by the ceiling, and the first to wait for a slot gets the first that is free', () => {
    const box = new Box({ ceiling: 1 });
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b']);
    box.writes('s/c', ['c']);
    expect([box.why('s/b'), box.sentence('s/b')]).toEqual([
      'CEILING_REACHED',
      'the fleet runs its ceiling of 1 agents',
    ]);
    box.commits('s/a');
    expect(box.phase('s/b'), 'a landing takes no slot').toBe('running');
    expect(box.phase('s/c')).toBe('held');
  });

  test('by the limit of its role, while other roles go on', () => {
    const box = new Box({ ceiling: 8 });
    for (const id of ['s/a', 's/b', 's/c']) box.writes(id, [id]);
    box.writes('s/d', ['d'], { role: 'ops' });
    expect([box.why('s/c'), box.phase('s/d')]).toEqual(['ROLE_LIMIT', 'running']);
    box.fails('s/a', 'AGENT_FAILED', { final: true });
    expect(box.phase('s/c')).toBe('running');
  });

  test('by a frozen writer, until it thaws', () => {
    const box = new Box();
    box.writer([], { frozen: { text: 'the deploy failed' } });
    box.writes('s/a', ['src']);
    expect([box.why('s/a'), box.sentence('s/a')]).toEqual([
      'ROLE_FROZEN',
      'role dev is frozen: the deploy failed',
    ]);
    box.writer();
    expect(box.phase('s/a')).toBe('running');
  });

  test('by a role that the configuration does not have, until it has', () => {
    const box = new Box();
    box.writes('s/a', ['src'], { role: 'new' });
    expect(box.why('s/a')).toBe('ROLE_UNKNOWN');
    const roles = { ...RULES.roles, new: { repository: 'web', maxRunning: 1 } };
    box.tell({ kind: 'rules', rules: { ...RULES, roles } });
    expect(box.phase('s/a')).toBe('running');
    expect(box.record('s/a').repository, 'its claims are those of the role').toBe('web');
  });

  test('by an issue on hold, and resumes with it', () => {
    const box = new Box();
    box.issue('I-1', 'paused');
    box.writes('s/a', ['src'], { issue: 'I-1' });
    expect([box.why('s/a'), box.sentence('s/a')]).toEqual(['ISSUE_ON_HOLD', 'issue I-1 is paused']);
    box.issue('I-1', 'open');
    expect(box.phase('s/a')).toBe('running');
  });

  test('in its landing by an issue on hold, unless it was handed over; and resumes with it, or with the rules', () => {
    for (const resume of ['issue', 'rules']) {
      const box = new Box();
      box.writes('s/a', ['src'], { issue: 'I-1' });
      box.issue('I-1', 'paused');
      box.commits('s/a');
      expect([box.why('s/a'), box.orders().landings]).toEqual(['ISSUE_ON_HOLD', []]);
      box.state.due.orders.clear();
      if (resume === 'issue') box.issue('I-1', 'open');
      else box.tell({ kind: 'rules', rules: { ...RULES, issues: {} } });
      expect(box.state.due.orders, resume).toContain('dev');
      expect(box.orders().landings).toHaveLength(1);
      box.issue('I-1', 'paused');
      expect(box.orders().landings, 'handed over is handed over').toHaveLength(1);
    }
  });

  test('keeps its turn for a slot while it is looked at again, and over a continue-as-new', () => {
    const box = new Box({ ceiling: 1 });
    box.reads('s/a');
    box.issue('I-2', 'paused');
    box.reads('s/late', { issue: 'I-2' });
    box.reads('s/b', { issue: 'I-1' });
    box.reads('s/c');
    box.issue('I-2', 'open');
    box.issue('I-1', 'open');
    box.tell({ kind: 'rules', rules: box.state.rules });
    box.state = carried(box.state);
    box.done('s/a');
    expect(['s/b', 's/c', 's/late'].map(box.phase)).toEqual(['running', 'held', 'held']);
  });
});

describe('the dependency graph', () => {
  test('a task waits for its upstream to land', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.writes('s/b', ['docs'], { after: [{ task: 's/a' }] });
    expect([box.why('s/b'), box.sentence('s/b')]).toEqual([
      'UPSTREAM_PENDING',
      'waits for s/a to have landed',
    ]);
    box.commits('s/a');
    expect(box.phase('s/b')).toBe('held');
    box.lands('s/a');
    expect(box.phase('s/b')).toBe('running');
  });

  test('what nothing holds overtakes what waits', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b'], { after: [{ task: 's/a' }] });
    box.writes('s/c', ['b']);
    expect([box.phase('s/b'), box.phase('s/c')]).toEqual(['held', 'running']);
  });

  test('downstream of a cancelled or failed task all are cancelled, down to the last', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b'], { after: [{ task: 's/a' }] });
    box.reads('s/c', { after: [{ task: 's/b' }] });
    box.fails('s/a', 'AGENT_FAILED', { final: true });
    expect(['s/a', 's/b', 's/c'].map(box.why)).toEqual([
      'AGENT_FAILED',
      'UPSTREAM_FAILED',
      'UPSTREAM_CANCELLED',
    ]);
  });

  test('a cancel reaches downstream though another upstream is still unknown', () => {
    const box = new Box();
    box.reads('s/a');
    box.reads('s/b', { after: [{ task: 's/ghost' }, { task: 's/a' }] });
    box.fails('s/a', 'NO_COMMITS', { final: true });
    expect(box.why('s/b')).toBe('UPSTREAM_FAILED');
  });

  test('who waits for a read-only task to land waits for nothing', () => {
    const box = new Box();
    box.reads('s/a');
    box.reads('s/b', { after: [{ task: 's/a', until: 'landed' }] });
    box.done('s/a');
    expect(box.why('s/b')).toBe('UPSTREAM_NEVER_LANDS');
  });

  test('an upstream that nobody submits is waited for in vain', () => {
    const box = new Box();
    box.reads('s/b', { after: [{ task: 's/a' }] });
    expect(box.why('s/b')).toBe('UPSTREAM_UNKNOWN');
    box.pass(RULES.planTimeout - 1);
    expect(box.phase('s/b')).toBe('held');
    box.pass(1);
    expect(box.why('s/b')).toBe('UPSTREAM_MISSING');
  });

  test('an upstream that arrives late is waited for', () => {
    const box = new Box();
    box.reads('s/b', { after: [{ task: 's/a' }] });
    box.reads('s/a');
    expect(box.why('s/b')).toBe('UPSTREAM_PENDING');
    for (let i = 0; i < 3; i++) {
      box.pass(RULES.lease - 1);
      box.renew('s/a');
    }
    expect(box.phase('s/b')).toBe('held');
    box.done('s/a');
    expect(box.phase('s/b')).toBe('running');
  });

  test('tasks that wait for each other in a circle are cancelled, and told the circle', () => {
    const box = new Box();
    box.reads('s/a', { after: [{ task: 's/c' }] });
    box.reads('s/b', { after: [{ task: 's/a' }] });
    box.reads('s/c', { after: [{ task: 's/b' }] });
    expect(['s/a', 's/b', 's/c'].map(box.why)).toEqual(['GRAPH_CYCLE', 'GRAPH_CYCLE', 'GRAPH_CYCLE']);
    expect(box.record('s/a').outcome?.text).toContain('->');
    box.reads('s/self', { after: [{ task: 's/self' }] });
    expect(box.why('s/self')).toBe('GRAPH_CYCLE');
  });

  test('a circle through a task that has ended is none', () => {
    const box = new Box();
    box.reads('s/b', { after: [{ task: 's/a' }] });
    box.reads('s/a');
    box.done('s/a');
    box.runs('s/b');
    box.done('s/b');
    box.reads('s/c', { after: [{ task: 's/a' }] });
    box.task('s/a', { life: '2.run', at: 'waiting', facts: { after: [{ task: 's/b' }] }, number: 1 });
    expect(box.phase('s/a')).toBe('running');
  });
});

describe('a plan', () => {
  const plan = (size: number): Said => ({ plan: { id: 'p', size } });

  test('starts when all of it has arrived, whatever the order', () => {
    const box = new Box();
    box.reads('p/b', { after: [{ task: 'p/a' }] }, plan(2));
    expect([box.why('p/b'), box.sentence('p/b')]).toEqual([
      'PLAN_INCOMPLETE',
      "1 of the plan's 2 tasks have arrived",
    ]);
    box.reads('p/a', {}, plan(2));
    expect([box.phase('p/a'), box.why('p/b')]).toEqual(['running', 'UPSTREAM_PENDING']);
  });

  test('that never arrives whole is cancelled', () => {
    const box = new Box();
    box.reads('p/a', {}, plan(3));
    box.pass(RULES.planTimeout / 2);
    box.reads('p/b', {}, plan(3));
    box.pass(RULES.planTimeout - 1);
    expect([box.phase('p/a'), box.phase('p/b')]).toEqual(['held', 'held']);
    box.pass(1);
    expect([box.why('p/a'), box.why('p/b')]).toEqual(['PLAN_NEVER_COMPLETED', 'PLAN_NEVER_COMPLETED']);
  });

  test('holds nobody for ever who arrives after that', () => {
    const box = new Box();
    box.reads('p/a', {}, plan(3));
    box.pass(RULES.planTimeout);
    box.reads('p/b', {}, plan(3));
    box.pass(RULES.planTimeout);
    expect(box.why('p/b')).toBe('PLAN_NEVER_COMPLETED');
  });

  test('of another size under the name of one that was complete is waited for in turn', () => {
    const box = new Box({ ceiling: 9 });
    box.reads('p/a', {}, plan(1));
    box.reads('p/b', {}, plan(3));
    box.reads('p/c', {}, plan(3));
    expect([box.phase('p/a'), box.sentence('p/c')]).toEqual([
      'running',
      "2 of the plan's 3 tasks have arrived",
    ]);
    box.reads('p/d', {}, plan(3));
    expect(['p/b', 'p/c', 'p/d'].map(box.phase)).toEqual(['running', 'running', 'running']);
    box.reads('p/e', {}, plan(3));
    expect(box.sentence('p/e'), 'of the same size too').toBe("1 of the plan's 3 tasks have arrived");
  });

  test('that never arrives whole takes nothing with it of what was submitted under its name before', () => {
    const box = new Box({ ceiling: 1 });
    box.reads('p/a', {}, plan(2));
    box.reads('p/b', {}, plan(2));
    box.reads('p/c', {}, plan(4));
    expect(['p/a', 'p/b', 'p/c'].map(box.why)).toEqual(['READ_ONLY', 'CEILING_REACHED', 'PLAN_INCOMPLETE']);
    box.pass(RULES.planTimeout / 2);
    box.renew('p/a');
    box.pass(RULES.planTimeout / 2);
    expect(['p/b', 'p/c'].map(box.why)).toEqual(['CEILING_REACHED', 'PLAN_NEVER_COMPLETED']);
  });

  test('holds nobody for ever when those who came before were cancelled', () => {
    const box = new Box();
    box.reads('p/a', {}, plan(3));
    box.cancel('p/a');
    box.pass(RULES.planTimeout);
    box.reads('p/b', {}, plan(3));
    box.pass(RULES.planTimeout);
    expect(box.why('p/b')).toBe('PLAN_NEVER_COMPLETED');
  });
});

describe('an attempt that fails', () => {
  test('is tried again after a wait that doubles, with its claims pinned; then it has failed', () => {
    const box = new Box({ breaker: { ...RULES.breaker, failures: 9 } });
    box.writes('s/a', ['src'], { retry: { attempts: 3 } });
    const first = box.fence('s/a');
    box.writes('s/b', ['src']);
    const [retry] = box.fails('s/a');
    expect(retry).toMatchObject({
      verdict: 'retry',
      code: 'AGENT_FAILED',
      evidence: { duration: 1_000, attempt: 2 },
    });
    expect([box.phase('s/a'), box.phase('s/b')]).toEqual(['backoff', 'held']);
    expect(standingOf(box.state, 's/a')).toMatchObject({ phase: 'held', attempt: 2 });
    box.pass(999);
    expect(box.phase('s/a')).toBe('backoff');
    box.pass(1);
    expect([box.phase('s/a'), box.record('s/a').attempt, box.fence('s/a').number > first.number]).toEqual([
      'running',
      2,
      true,
    ]);
    expect(box.fails('s/a')[0]?.evidence.duration).toBe(2_000);
    box.pass(2_000);
    box.fails('s/a');
    expect([box.why('s/a'), box.record('s/a').outcome?.kind]).toEqual(['AGENT_FAILED', 'failed']);
    expect(box.phase('s/b')).toBe('running');
  });

  test.each(['AGENT_TIMED_OUT', 'WORKSTATION_FAILED', 'SETUP_FAILED', 'NO_COMMITS'] as const)(
    '%s is a failure like others, and final when it says so',
    (code) => {
      const box = new Box();
      box.writes('s/a', ['src']);
      box.fails('s/a', code, { final: true });
      expect(box.why('s/a')).toBe(code);
    },
  );

  test('does not wait again for what it waited for once: it holds its claims meanwhile', () => {
    const box = new Box();
    box.writes('s/a', ['x']);
    box.writes('s/b', ['x'], { after: [{ task: 's/a' }], retry: { attempts: 2, backoff: 1_000 } });
    box.commits('s/a');
    box.lands('s/a');
    expect(box.phase('s/b')).toBe('running');
    box.task('s/a', { life: '2.run', number: 1, at: 'waiting' });
    expect(box.record('s/a').hold).toMatchObject({ code: 'PATH_HELD', evidence: { holder: 's/b' } });
    box.fails('s/b');
    box.pass(1_000);
    expect(box.phase('s/b')).toBe('running');
  });

  test('WORKER_LOST is not the agent’s failure: it does not use up the attempts', () => {
    const box = new Box();
    box.writes('s/a', ['src'], { retry: { attempts: 1 } });
    box.fails('s/a', 'WORKER_LOST');
    box.pass(0);
    expect([box.phase('s/a'), box.record('s/a').attempt]).toEqual(['running', 2]);
    box.fails('s/a');
    expect(box.why('s/a')).toBe('AGENT_FAILED');
  });

  test('brings nothing more under its fence: late and doubled results are refused', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    const stale = box.fence('s/a');
    box.fails('s/a');
    box.pass(1_000);
    box.stops('s/a', { kind: 'commits', dead: true, base: 'b', commit: 'late', ref: 'r' }, stale);
    expect(box.phase('s/a')).toBe('running');
    expect(box.orders().landings).toEqual([]);
  });

  test('without its agent seen dead: the paths rest when the task ends, until lease and lock-delay have passed', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.writes('s/b', ['src']);
    box.fails('s/a', 'AGENT_FAILED', { dead: false });
    box.cancel('s/a');
    expect([box.why('s/a'), box.why('s/b')]).toEqual(['CANCELLED_BY_REQUEST', 'PATHS_RESTING']);
    box.pass(RULES.lease + RULES.lockDelay - 1);
    expect(box.phase('s/b')).toBe('held');
    box.pass(1);
    expect(box.phase('s/b')).toBe('running');
  });

  test('the same holds for one that lands before its agent is seen dead', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.writes('s/b', ['src']);
    box.commits('s/a', false);
    box.lands('s/a');
    expect([box.why('s/a'), box.why('s/b')]).toEqual(['LANDED', 'PATHS_RESTING']);
    box.dead('s/a');
    box.pass(RULES.lockDelay);
    expect(box.phase('s/b')).toBe('running');
  });
});

describe('a lease', () => {
  test('that nobody renews runs out: the agent is stopped, its paths are free after the lock-delay, its slot when it has ended', () => {
    const box = new Box({ ceiling: 1 });
    box.writes('s/a', ['src']);
    box.writes('s/b', ['src']);
    box.pass(RULES.lease - 1);
    expect(box.phase('s/a')).toBe('running');
    box.pass(1);
    expect([box.phase('s/a'), box.why('s/a'), box.why('s/b')]).toEqual([
      'stopping',
      'CLAIM_EXPIRED',
      'PATH_HELD',
    ]);
    box.pass(RULES.lockDelay);
    expect(box.why('s/b')).toBe('CEILING_REACHED');
    box.commits('s/a');
    expect([box.phase('s/a'), box.phase('s/b')], 'what it brought late does not land').toEqual([
      'held',
      'running',
    ]);
    expect(box.orders().landings).toEqual([]);
    expect(box.why('s/a'), 'and it waits for its paths like any other').toBe('PATH_HELD');
  });

  test('that runs out while the agent is being cancelled frees the paths after the lock-delay, and that is written down', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.writes('s/b', ['src']);
    box.cancel('s/a');
    box.pass(RULES.lease + RULES.lockDelay - 1);
    expect(box.phase('s/b')).toBe('held');
    box.pass(1);
    expect([box.phase('s/a'), box.why('s/a'), box.phase('s/b')]).toEqual([
      'stopping',
      'CLAIM_EXPIRED',
      'running',
    ]);
    box.commits('s/a');
    expect([box.why('s/a'), box.orders().landings]).toEqual(['CANCELLED_BY_REQUEST', []]);
  });

  test('goes on while its agent is alive, also while that is being stopped', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.writes('s/b', ['src']);
    for (let i = 0; i < 3; i++) {
      box.pass(RULES.lease - 1);
      box.renew('s/a');
    }
    box.cancel('s/a');
    for (let i = 0; i < 3; i++) {
      box.pass(RULES.lease - 1);
      box.renew('s/a');
      expect([box.phase('s/a'), box.phase('s/b')]).toEqual(['stopping', 'held']);
    }
    box.fails('s/a', 'CANCELLED_BY_REQUEST');
    expect([box.why('s/a'), box.phase('s/b')]).toEqual(['CANCELLED_BY_REQUEST', 'running']);
  });

  test('is not renewed under an old fence', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    const stale = box.fence('s/a');
    box.fails('s/a');
    box.pass(1_000);
    box.pass(RULES.lease - 1);
    box.renew('s/a', stale);
    box.pass(1);
    expect(box.phase('s/a')).toBe('stopping');
  });
});

describe('cancelling', () => {
  test('a held task ends at once, a running one when its agent has ended', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.writes('s/b', ['src']);
    box.cancel('s/b');
    box.cancel('s/a');
    expect([box.phase('s/b'), box.phase('s/a')]).toEqual(['ended', 'stopping']);
    box.commits('s/a');
    expect([box.why('s/a'), box.sentence('s/a')]).toEqual(['CANCELLED_BY_REQUEST', 'cancelled by ann']);
    expect(box.orders().landings).toEqual([]);
  });

  test('through Temporal is told apart', () => {
    const box = new Box();
    box.reads('s/a', { after: [{ task: 's/x' }] });
    box.cancel('s/a', { code: 'CANCELLED_IN_TEMPORAL' });
    expect(box.why('s/a')).toBe('CANCELLED_IN_TEMPORAL');
  });

  test('a landing that was not handed over ends at once; a handed-over one is withdrawn by its writer', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b']);
    box.commits('s/a');
    box.cancel('s/a');
    expect(box.why('s/a')).toBe('CANCELLED_BY_REQUEST');
    box.commits('s/b');
    box.orders();
    box.cancel('s/b');
    expect(box.phase('s/b')).toBe('landing');
    expect(box.orders().landings).toMatchObject([{ task: 's/b', withdraw: true }]);
    box.withdrawn('s/b');
    expect(box.why('s/b')).toBe('CANCELLED_BY_REQUEST');
  });

  test('comes too late when the writer has landed it', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.commits('s/a');
    box.orders();
    box.cancel('s/a');
    box.lands('s/a');
    expect(box.why('s/a')).toBe('LANDED');
  });

  test('stands when the writer refuses the landing meanwhile', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.commits('s/a');
    box.orders();
    box.cancel('s/a');
    box.refuses('s/a', 'LANDING_CONFLICT');
    expect(box.why('s/a')).toBe('CANCELLED_BY_REQUEST');
  });

  test('of what people say of an issue at once the last counts', () => {
    const box = new Box();
    box.together(() => {
      for (const state of ['closed', 'open']) box.issue('I-1', state, UNNUMBERED);
    });
    box.reads('s/a', { issue: 'I-1' });
    expect(box.phase('s/a')).toBe('running');
  });

  test('an issue that is closed cancels its tasks in every phase, and those that come later', () => {
    const box = new Box();
    for (const id of ['s/a', 's/b', 's/c']) box.writes(id, [id === 's/c' ? 's/a' : id], { issue: 'I-1' });
    box.commits('s/b');
    box.issue('I-1', 'closed');
    expect(box.phase('s/a')).toBe('stopping');
    expect(['s/b', 's/c'].map(box.why)).toEqual(['ISSUE_CLOSED', 'ISSUE_CLOSED']);
    box.fails('s/a', 'CANCELLED_BY_REQUEST');
    expect([box.why('s/a'), box.sentence('s/a')]).toEqual(['ISSUE_CLOSED', 'issue I-1 is closed']);
    box.writes('s/d', ['d'], { issue: 'I-1' });
    expect(box.why('s/d')).toBe('ISSUE_CLOSED');
  });

  test('a task that ends itself as cancelled is', () => {
    const box = new Box();
    box.reads('s/a');
    box.fails('s/a', 'CANCELLED_BY_REQUEST');
    expect(box.record('s/a').outcome).toMatchObject({ kind: 'cancelled', code: 'CANCELLED_BY_REQUEST' });
  });
});

describe('a landing', () => {
  const landing = (): Box => {
    const box = new Box();
    box.writes('s/a', ['src'], { retry: { attempts: 1 } });
    box.writes('s/b', ['src']);
    box.commits('s/a');
    box.orders();
    return box;
  };

  test('that met a conflict is tried again at once with the claims kept, and that is not the agent’s failure', () => {
    const box = landing();
    const first = landingId(box.record('s/a'));
    box.refuses('s/a', 'LANDING_CONFLICT');
    box.pass(0);
    expect([box.phase('s/a'), box.record('s/a').attempt, box.phase('s/b')]).toEqual(['running', 2, 'held']);
    expect(box.record('s/a').decisions.map(({ code }) => code)).toContain('LANDING_CONFLICT');
    box.writer([{ id: first, kind: 'landed', commit: 'late', entry: 1, behind: 0 }]);
    expect(box.phase('s/a'), 'the refused one is over').toBe('running');
  });

  test('that meets conflicts for ever fails in the end', () => {
    const box = landing();
    for (let i = 0; i < 30 && box.phase('s/a') !== 'ended'; i++) {
      box.refuses('s/a', 'LANDING_CONFLICT');
      box.pass(MINUTE / 6);
      if (box.phase('s/a') === 'running') box.commits('s/a');
    }
    expect(box.why('s/a')).toBe('LANDING_CONFLICT');
  });

  test.each(['VERIFY_FAILED', 'OUTSIDE_CLAIM', 'LANDING_REFUSED'] as const)(
    'that is refused with %s is the agent’s failure',
    (code) => {
      const box = landing();
      box.refuses('s/a', code);
      expect([box.why('s/a'), box.phase('s/b')]).toEqual([code, 'running']);
    },
  );

  test.each(['DEPLOY_FAILED', 'SURFACE_FAILED'] as const)(
    'that is rolled back has failed with %s',
    (code) => {
      const box = landing();
      box.writer([{ id: landingId(box.record('s/a')), kind: 'rolled-back', code, text: 'no' }]);
      expect(box.record('s/a').outcome).toMatchObject({ kind: 'failed', code });
    },
  );

  test('is told to the writer again whenever that speaks: orders may be lost', () => {
    const box = landing();
    box.state.due.orders.clear();
    box.writer();
    expect(box.state.due.orders).toContain('dev');
    box.state.due.orders.clear();
    box.writer([], { life: '2.run' });
    expect(box.state.due.orders).toContain('dev');
  });

  test('is not refused by a late message of a writer’s earlier life', () => {
    const box = landing();
    box.writer([], { life: '2.run' });
    box.writer([
      { id: landingId(box.record('s/a')), kind: 'refused', code: 'LANDING_CONFLICT', text: 'late' },
    ]);
    expect(box.phase('s/a')).toBe('landing');
  });
});

describe('a task whose workflow is closed', () => {
  test('has its paths rest until its agent is dead: seen dead, a lock-delay; else lease and lock-delay', () => {
    for (const seen of [true, false]) {
      const box = new Box();
      box.writes('s/a', ['src']);
      box.writes('s/b', ['src']);
      box.tell({ kind: 'gone', task: 's/a', life: '1.run' });
      expect([box.why('s/a'), box.why('s/b')]).toEqual(['TERMINATED', 'PATHS_RESTING']);
      expect(box.sentence('s/b')).toContain('which rests because its holder s/a was not seen to end');
      expect(box.state.running.has('s/a')).toBe(false);
      if (seen) box.dead('s/a');
      box.pass((seen ? 0 : RULES.lease) + RULES.lockDelay - 1);
      expect(box.phase('s/b')).toBe('held');
      box.pass(1);
      expect(box.phase('s/b')).toBe('running');
      expect(packetOf(box.state, 's/a')?.outcome.code).toBe('TERMINATED');
      expect(box.state.due.packets).toContain('s/a');
    }
  });

  test('keeps its paths while its agent is heard to live', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.writes('s/b', ['src']);
    box.tell({ kind: 'gone', task: 's/a' });
    box.pass(RULES.lease - 1);
    box.renew('s/a');
    box.pass(RULES.lease);
    expect(box.phase('s/b')).toBe('held');
    box.pass(RULES.lockDelay);
    expect(box.phase('s/b')).toBe('running');
  });

  test('is no longer told anything, and an earlier life that is closed does not end a later one', () => {
    const box = new Box();
    box.reads('s/a');
    box.task('s/a', { life: '2.run', number: 1, at: 'waiting' });
    box.tell({ kind: 'gone', task: 's/a', life: '1.run' });
    expect(box.phase('s/a')).toBe('running');
  });

  test('and that begins again waits for what its earlier life’s agent may still write', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    const fence = box.fence('s/a');
    box.reads('s/b', { after: [{ task: 's/a' }] });
    box.task('s/a', { life: '2.run', number: 1, at: 'waiting' });
    expect([box.why('s/a'), box.why('s/b')]).toEqual(['PATHS_RESTING', 'UPSTREAM_PENDING']);
    expect(packetOf(box.state, [...box.state.due.packets][0] ?? '')).toMatchObject({
      task: 's/a',
      life: '1.run',
      outcome: { code: 'TERMINATED' },
    });
    box.dead('s/a', fence);
    box.pass(RULES.lockDelay);
    expect(box.phase('s/a')).toBe('running');
  });

  test('and that begins again while it lands: the landing is withdrawn, or stands', () => {
    for (const lands of [true, false]) {
      const box = new Box();
      box.writes('s/a', ['src']);
      box.commits('s/a');
      const [order] = box.orders().landings;
      const id = order?.id ?? '';
      box.task('s/a', { life: '2.run', number: 1, at: 'waiting' });
      expect(box.why('s/a')).toBe('PATH_HELD');
      expect(box.orders().landings).toMatchObject([{ id, task: 's/a', withdraw: true }]);
      box.writer([
        lands ? { id, kind: 'landed', commit: 'c', entry: 1, behind: 0 } : { id, kind: 'withdrawn' },
      ]);
      expect(box.phase('s/a')).toBe('running');
      expect(box.record('s/a~1.run').outcome?.code).toBe(lands ? 'LANDED' : 'TERMINATED');
      expect(box.orders().landings).toEqual([]);
    }
  });

  test('and that begins again is not undone by a late message of its earlier life', () => {
    const box = new Box();
    box.reads('s/a', {}, { life: '2.run' });
    box.task('s/a', { life: '1.run', number: 99, at: 'waiting' });
    expect(box.record('s/a').life).toBe('2.run');
  });
});

describe('a coordinator that starts without state', () => {
  const live = (box: Box, ...names: string[]): Taken[] =>
    box.tell({ kind: 'surveyed', live: names, last: true });
  const old = (number: number): Fence => ({ epoch: 500, number });
  const adopted = (box: Box, id: string, writes: string[], more: Said = {}): Taken[] =>
    box.writes(id, writes, {}, { at: 'running', fence: old(1), ...more });

  test('grants nothing until all have announced themselves, and takes over what they hold', () => {
    const box = new Box({}, true);
    box.writes('s/b', ['src']);
    expect([box.why('s/b'), box.sentence('s/b').slice(0, 15)]).toEqual(['RECOVERING', 'the coordinator']);
    live(box, 's/a', 's/b', 'writer:dev');
    box.writer();
    expect(box.why('s/b')).toBe('RECOVERING');
    adopted(box, 's/a', ['src']);
    expect([box.phase('s/a'), box.why('s/b')]).toEqual(['running', 'PATH_HELD']);
    expect(box.fence('s/a')).toEqual(old(1));
    box.commits('s/a');
    box.lands('s/a');
    expect(box.phase('s/b')).toBe('running');
    expect(box.fence('s/b').epoch).toBeGreaterThan(old(1).epoch);
  });

  test('waits no longer than a lease for those that are not heard of', () => {
    const box = new Box({}, true);
    live(box, 's/a', 's/b');
    box.writes('s/b', ['src']);
    box.pass(RULES.lease - 1);
    expect(box.phase('s/b')).toBe('held');
    box.pass(1);
    expect(box.phase('s/b')).toBe('running');
  });

  test('does not wait for one that is gone', () => {
    const box = new Box({}, true);
    live(box, 's/a');
    box.writes('s/b', ['src']);
    box.tell({ kind: 'gone', task: 's/a' });
    expect(box.phase('s/b')).toBe('running');
  });

  test('stops one that is heard of too late, whose paths another holds by then', () => {
    const box = new Box({}, true);
    live(box);
    box.writes('s/b', ['src']);
    adopted(box, 's/a', ['src']);
    expect([box.phase('s/a'), box.why('s/a'), box.record('s/a').holds]).toEqual([
      'stopping',
      'CLAIM_LOST',
      false,
    ]);
    box.fails('s/a', 'AGENT_FAILED');
    box.pass(10_000);
    expect(box.why('s/a')).toBe('PATH_HELD');
  });

  test('asks the writer what became of an attempt that was lost with its worker: it may have landed unheard', () => {
    const lost: AttemptResult = { kind: 'failed', dead: true, code: 'WORKER_LOST', text: 'the worker died' };
    const heard: ((box: Box) => void)[] = [
      (box) => adopted(box, 's/a', ['src'], { at: 'stopped', result: lost }),
      (box) => {
        adopted(box, 's/a', ['src']);
        box.stops('s/a', lost);
      },
      // Another has its paths by now.
      (box) => {
        live(box);
        box.writes('s/b', ['src']);
        adopted(box, 's/a', ['src'], { at: 'stopped', result: lost });
      },
      (box) => {
        live(box);
        box.writes('s/b', ['src']);
        adopted(box, 's/a', ['src']);
        box.stops('s/a', lost);
      },
      (box) => {
        adopted(box, 's/a', ['src']);
        box.cancel('s/a');
        box.stops('s/a', lost);
      },
    ];
    for (const hear of heard)
      for (const landed of [true, false]) {
        const box = new Box({}, true);
        hear(box);
        if (box.state.recovery) live(box, 's/a');
        expect(box.phase('s/a')).toBe('landing');
        expect(box.orders().landings).toMatchObject([{ task: 's/a', withdraw: true }]);
        if (landed) box.lands('s/a');
        else box.withdrawn('s/a');
        expect(box.why('s/a') === 'LANDED').toBe(landed);
        if (!landed) expect(['backoff', 'running', 'ended', 'held']).toContain(box.phase('s/a'));
      }
  });

  test('asks nobody of an attempt whose own worker said that it failed, nor of a read-only one', () => {
    const box = new Box({}, true);
    adopted(box, 's/a', ['src']);
    box.reads('s/r', {}, { at: 'running', fence: old(2) });
    live(box, 's/a', 's/r');
    box.fails('s/a', 'AGENT_FAILED');
    box.fails('s/r', 'WORKER_LOST');
    expect(box.state.landing.size).toBe(0);
  });

  test('lets the writer say what became of a landing that is heard of too late', () => {
    for (const landed of [true, false]) {
      const box = new Box({}, true);
      live(box);
      box.writes('s/b', ['src']);
      const result: AttemptResult = { kind: 'commits', dead: true, base: 'b', commit: 'c', ref: 'r' };
      adopted(box, 's/a', ['src'], { at: 'stopped', result });
      expect(box.orders().landings).toMatchObject([{ task: 's/a', withdraw: true }]);
      if (landed) box.lands('s/a');
      else box.withdrawn('s/a');
      box.pass(10_000);
      expect(box.why('s/a')).toBe(landed ? 'LANDED' : 'PATH_HELD');
    }
  });

  test('resumes the fleet at the very moment at which an earlier one froze it', () => {
    const box = new Box({}, true);
    box.fleet(undefined, UNNUMBERED);
    box.writer([], { fleet: { number: box.now, freeze: { text: 'release day' } } });
    expect(box.state.fleetWord?.freeze).toBeUndefined();
    expect(box.orders().fleet?.number, 'so that its writers take it').toBeGreaterThan(box.now);
  });

  test('takes what people tell it for later than what an earlier one numbered, however high', () => {
    const box = new Box({}, true);
    box.fleet(undefined, UNNUMBERED);
    const high = box.now + 1_000;
    box.writer([], { fleet: { number: high, freeze: { text: 'release day' } } });
    expect(box.state.fleetWord?.freeze).toBeUndefined();
    expect(box.orders().fleet?.number, 'so that its writers take it').toBeGreaterThan(high);
  });

  test('cancels one that is heard of too late when its issue was closed meanwhile', () => {
    const ended: AttemptResult[] = [
      { kind: 'failed', dead: true, code: 'AGENT_FAILED', text: '' },
      { kind: 'commits', dead: true, base: 'b', commit: 'c', ref: 'r' },
    ];
    const said: Said[] = [{ at: 'running' }, ...ended.map((result): Said => ({ at: 'stopped', result }))];
    for (const [i, phase] of ['stopping', 'ended', 'landing'].entries()) {
      const box = new Box({}, true);
      live(box);
      box.issue('I-1', 'closed');
      box.writes('s/b', ['src']);
      box.writes('s/a', ['src'], { issue: 'I-1' }, { fence: old(1), ...said[i] });
      expect(box.phase('s/a')).toBe(phase);
      expect(box.record('s/a').decisions.at(-1)).toMatchObject({ verdict: 'cancel', code: 'ISSUE_CLOSED' });
    }
  });

  test('cancels no landing on its own that an earlier one may have handed over', () => {
    const box = new Box({}, true);
    const result: AttemptResult = { kind: 'commits', dead: true, base: 'b', commit: 'c', ref: 'r' };
    adopted(box, 's/a', ['src'], { at: 'stopped', result });
    live(box, 's/a');
    box.cancel('s/a');
    expect(box.phase('s/a')).toBe('landing');
    box.lands('s/a');
    expect(box.why('s/a')).toBe('LANDED');
  });

  test('nor one whose task was heard of as running first: what it said last may come last', () => {
    const box = new Box({}, true);
    adopted(box, 's/a', ['src']);
    live(box, 's/a');
    box.cancel('s/a');
    expect(box.phase('s/a')).toBe('stopping');
    box.commits('s/a');
    expect(box.orders().landings).toMatchObject([{ task: 's/a', withdraw: true }]);
    box.lands('s/a');
    expect(box.why('s/a')).toBe('LANDED');
  });

  test('looks up what has ended before: upstreams, and how many of a plan there were', () => {
    const box = new Box({}, true);
    const plan = { id: 'p', size: 4 };
    box.reads('p/b', { after: [{ task: 'p/a' }] }, { plan });
    expect([...box.state.due.lookups], 'the first to be heard comes before the survey').toEqual([]);
    live(box, 'p/b', 'p/c');
    expect([...box.state.due.lookups]).toEqual(['plan:p']);
    box.reads('p/c', { after: [{ task: 'p/ghost' }, { task: 'p/x' }] }, { plan });
    box.tell({ kind: 'found', outcomes: [], plans: [{ plan: 'p', count: 4 }] });
    expect([...box.state.due.lookups]).toEqual(['plan:p', 'p/a', 'p/ghost', 'p/x']);
    box.tell({
      kind: 'found',
      plans: [],
      outcomes: [
        { task: 'p/a', outcome: { kind: 'landed', code: 'LANDED', text: '', commit: 'c' } },
        { task: 'p/x', outcome: { kind: 'failed', code: 'AGENT_FAILED', text: '' } },
      ],
    });
    expect([box.phase('p/b'), box.why('p/c')]).toEqual(['running', 'UPSTREAM_FAILED']);
  });

  test('asks a task first that may still hear an earlier coordinator, and builds nothing on its late messages', () => {
    const box = new Box({}, true);
    const result = { kind: 'commits' as const, dead: true, base: 'b', commit: 'c', ref: 'r' };
    const late = {
      kind: 'task' as const,
      id: 's/a',
      life: '999999.run',
      number: 4,
      epoch: 999_000,
      plan: { id: 's' },
      facts: { role: 'dev', writes: ['a'], reads: [], after: [] },
      attempt: 1,
      at: 'stopped' as const,
      fence: { epoch: 999_000, number: 1 },
      result,
    };
    box.tell(late);
    box.tell({ kind: 'surveyed', live: [], last: true });
    expect(box.state.tasks.has('s/a')).toBe(false);
    expect([...box.state.due.announcements]).toEqual(['s/a']);
    box.tell({ ...late, number: 5, epoch: box.state.epoch });
    expect(takeOrders(box.state, 'dev', box.now).landings).toMatchObject([{ id: 's/a#999000.1' }]);
    box.tell({ ...late, id: 's/new', life: `${box.state.epoch}.run`, number: 1, epoch: 0 });
    expect(box.state.tasks.has('s/new')).toBe(true);
  });

  test('knows that a plan was complete when one of its tasks has run', () => {
    const box = new Box({}, true);
    adopted(box, 'p/a', ['src'], { plan: { id: 'p', size: 9 } });
    live(box, 'p/a');
    box.reads('p/b', {}, { plan: { id: 'p', size: 9 } });
    expect(box.phase('p/b')).toBe('running');
  });
});

describe('messages', () => {
  test('that are doubled or overtaken change nothing', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.runs('s/a');
    box.commits('s/a');
    const before = JSON.stringify(carry(box.state));
    for (const number of [1, 2, 3]) expect(box.task('s/a', { at: 'waiting', number })).toEqual([]);
    expect(JSON.stringify(carry(box.state))).toBe(before);
  });

  test('that say nothing new are answered: the standing may have been lost', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.state.due.standings.clear();
    box.task('s/a');
    expect([...box.state.due.standings]).toEqual(['s/a']);
  });

  test('about nothing but another holder of the same path need not travel at once', () => {
    const box = new Box();
    box.hand('hand/ann', ['src/a']);
    box.writes('s/b', ['src/b']);
    box.writes('s/c', ['src']);
    box.state.due.standings.clear();
    box.hand('hand/ann', []);
    expect([...box.state.due.standings, '|', ...box.state.due.lazy]).toEqual(['hand/ann', '|', 's/c']);
  });
});

// ---- properties

/** Sequences in `npm test`; `npm run properties` takes more. */
const FEW = 80;
const LEAST_EVENTS = 50;

/** Not every operation is an event for decide: they are done over and over until it had enough. */
const played = (list: Spec[], what: Op[]): Fleet => {
  const fleet = new Fleet(list);
  for (let round = 0; round === 0 || (fleet.told < LEAST_EVENTS && round < 20); round++)
    for (const op of what) fleet.perform(op);
  fc.pre(fleet.told >= LEAST_EVENTS);
  return fleet;
};

/** What was decided of each task, what waits left out: which of two holders is named first is no decision. */
function decisionsOf(taken: Taken[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const { task, verdict, code, attempt, at } of taken) {
    if (verdict === 'hold' || code === 'EXTENSION_WAITS') continue;
    found[task] ??= [];
    found[task].push(`${at} ${verdict} ${code} #${attempt}`);
  }
  return found;
}

/** Tells the steps of a run to a coordinator once more. */
function replay(
  fleet: Fleet,
  how: { carryEach?: number; twice?: boolean } = {},
): { taken: Taken[]; state: State } {
  let state = freshState(fleet.born.rules, fleet.born.now);
  const taken: Taken[] = [];
  const tell = (step: Step): void => {
    if ('orders' in step) takeOrders(state, step.orders, step.now);
    else if ('standing' in step) standingOf(state, step.standing);
    else {
      taken.push(...decide(state, structuredClone(step.events), step.now));
      if (how.twice && step.events.every(({ kind }) => MESSAGES.has(kind)))
        expect(decide(state, structuredClone(step.events), step.now), 'a doubled message').toEqual([]);
      for (const due of Object.values(state.due)) due.clear();
    }
  };
  for (const [i, step] of fleet.steps.entries()) {
    if (how.carryEach && i % how.carryEach === 0) state = carried(state);
    tell(step);
  }
  return { taken, state };
}

const MESSAGES = new Set<Event['kind']>(['task', 'writer', 'hand', 'issue', 'worker']);

describe('properties', () => {
  for (const faults of [false, true]) {
    test(`${faults ? 'with' : 'without'} faults: every invariant holds at each step, and everything comes to its end`, () => {
      fc.assert(
        fc.property(specs(), ops(faults), (list, what) => {
          const fleet = played(list, what);
          fleet.finish();
          // The packets are not whole after a coordinator lost its state, nor of a life that was terminated between
          // its outcome and its hearing of it, when another has followed.
          const again = what.some((op) => op.do === 'terminate' && op.again);
          if (fleet.line === 0 && !again) expect(audit(fleet.auditInput())).toEqual([]);
        }),
        runs(FEW),
      );
    });
  }

  test('the same events give the same decisions', () => {
    fc.assert(
      fc.property(specs(), ops(true), (list, what) => {
        const fleet = played(list, what);
        const [one, other] = [replay(fleet), replay(fleet)];
        expect(one.taken).toEqual(other.taken);
        expect(carry(one.state)).toEqual(carry(other.state));
      }),
      runs(FEW, 1 / 3),
    );
  });

  test('carrying the state over, at any time, changes no decision', () => {
    fc.assert(
      fc.property(specs(), ops(true), fc.integer({ min: 1, max: 7 }), (list, what, carryEach) => {
        const fleet = played(list, what);
        const [straight, over] = [replay(fleet), replay(fleet, { carryEach })];
        expect(decisionsOf(over.taken)).toEqual(decisionsOf(straight.taken));
        for (const [id, { phase, fence, holds, outcome }] of straight.state.tasks)
          expect(over.state.tasks.get(id)).toMatchObject({
            phase,
            holds,
            ...(fence && { fence }),
            ...(outcome && { outcome: { kind: outcome.kind, code: outcome.code } }),
          });
      }),
      runs(FEW),
    );
  });

  test('a message that comes twice changes nothing', () => {
    fc.assert(
      fc.property(specs(), ops(true), (list, what) => {
        const fleet = played(list, what);
        expect(replay(fleet, { twice: true }).taken).toEqual(replay(fleet).taken);
      }),
      runs(FEW),
    );
  });
});
