// Hand-off, by example: what a plan may say of it, and what decide makes of it.

import { describe, expect, test } from 'vitest';
import { factsOf, Plan, SingleTask, TaskInput } from '../src/domain/plan.js';
import { fieldPath, problemsOf } from '../src/domain/problems.js';
import { carry, restore } from '../src/domain/state.js';
import { standingOf } from '../src/domain/views.js';
import { Box } from './support/box.js';
import { RULES } from './support/fleet-model.js';

const A = 's/a';
const T = 's/t';
const FROM_A = { task: A, base: 'b', commit: 'commit-of-s/a' };
const TAKES = { takesOver: A, after: [{ task: A, until: 'finished' as const }] };

/** `s/a` runs and `s/t` is to go on with what it comes to. */
function pair(box = new Box()): Box {
  box.writes(A, ['src']);
  box.writes(T, ['src', 'docs'], TAKES);
  return box;
}

const writesSrc = (id: string, more: object = {}) => ({
  id,
  prompt: 'p',
  role: 'dev',
  writes: ['src'],
  ...more,
});

function complaints(...tasks: object[]): string[] {
  const input = { plan: 'p', tasks };
  const parsed = Plan.safeParse(input);
  if (parsed.success) return [];
  return problemsOf(parsed.error, Plan, input).map(({ path, message }) => `${fieldPath(path)}: ${message}`);
}

describe('a plan says who takes over from whom', () => {
  test('and the taker waits for the other to have finished', () => {
    const tasks = [writesSrc('a'), writesSrc('t', { writes: ['.'], takesOver: 'a' })];
    const [, taker] = Plan.parse({ plan: 'p', tasks }).tasks;
    expect(taker && factsOf(taker, 'p')).toMatchObject({
      takesOver: 'p/a',
      after: [{ task: 'p/a', until: 'finished' }],
    });
  });

  test('one from one: of a task that has the same role, and with all that this claims', () => {
    const taker = (id: string, more: object = {}) => writesSrc(id, { takesOver: 'a', ...more });
    expect(complaints(writesSrc('a'), taker('t'), taker('u'))).toEqual([
      'tasks[2].takesOver: "t" takes over "a" already: commits go on with one task',
    ]);
    expect(complaints({ id: 'a', prompt: 'p' }, taker('t'))).toEqual([
      'tasks[1].takesOver: "a" is read-only: it leaves no commits to go on with',
    ]);
    expect(complaints(writesSrc('a'), { id: 't', prompt: 'p', takesOver: 'a' })).toEqual([
      'tasks[1].takesOver: a task without a role is read-only: it has nothing to go on with',
    ]);
    expect(complaints(writesSrc('a'), taker('t', { role: 'ops' }))).toEqual([
      'tasks[1].takesOver: "a" has the role "dev": who takes it over needs the same',
    ]);
    expect(
      complaints(writesSrc('a', { writes: ['src', 'db'] }), taker('t', { writes: ['src/x', 'db'] })),
    ).toEqual(['tasks[1].writes: has to take in src, which "a" claims: its changes land with this task']);
    expect(complaints(writesSrc('b'), taker('t'))).toEqual([
      'tasks[1].takesOver: no task of this plan is called "a"',
    ]);
    expect(complaints(taker('a'))).toEqual(['tasks[0].takesOver: a task does not take over from itself']);
  });

  test('never in a circle, and nobody waits for a landing that will not be', () => {
    expect(complaints(writesSrc('a', { takesOver: 't' }), writesSrc('t', { takesOver: 'a' }))).toEqual([
      'tasks[0].after: the tasks wait for each other in a circle: a -> t -> a',
    ]);
    expect(
      complaints(writesSrc('a'), writesSrc('t', { takesOver: 'a' }), { id: 'd', prompt: 'p', after: ['a'] }),
    ).toEqual(['tasks[2].after[0]: "a" does not land, for "t" takes it over: wait for "t"']);
    expect(
      complaints(writesSrc('a'), writesSrc('t', { takesOver: 'a' }), {
        id: 'd',
        prompt: 'p',
        after: [{ task: 'a', until: 'finished' }],
      }),
    ).toEqual([]);
  });

  test('in a plan only', () => {
    const single = writesSrc('t', { takesOver: 'a' });
    expect(SingleTask.safeParse(single).error?.issues[0]?.message).toContain('only a task of a plan');
    expect(TaskInput.safeParse({ fleet: 'f', task: single }).success).toBe(false);
    expect(TaskInput.safeParse({ fleet: 'f', plan: { id: 'p' }, task: single }).success).toBe(true);
  });
});

describe('a task that is taken over', () => {
  test('is over with its commits, which do not land, and its taker starts from them', () => {
    const box = pair();
    expect(box.sentence(T)).toBe('waits for s/a to have finished');
    box.commits(A);
    expect(box.record(A).outcome).toMatchObject({
      kind: 'finished',
      code: 'HANDED_OFF',
      commit: 'commit-of-s/a',
      handed: { to: T, base: 'b' },
    });
    expect(box.sentence(A)).toBe(
      'its commits up to commit-of-s/ go on with s/t: they land with what that makes of them',
    );
    expect(box.phase(T)).toBe('running');
    expect(standingOf(box.state, T)).toMatchObject({ phase: 'running', from: FROM_A });
    expect(box.orders().landings, 'nothing of it is handed to the writer').toEqual([]);
    box.commits(T);
    expect(box.orders().landings).toMatchObject([{ task: T }]);
    box.lands(T);
    expect(box.record(T).outcome?.kind).toBe('landed');
  });

  test('gives its claims to the taker in the same step: nobody comes between, however urgent or old', () => {
    const box = new Box();
    box.writes(A, ['src']);
    box.writes('s/old', ['src'], { priority: 100 });
    box.writes(T, ['src'], TAKES);
    box.pass(RULES.lease / 2);
    const taken = box.commits(A);
    expect(taken.map(({ task, code }) => [task, code])).toEqual([
      [A, 'HANDED_OFF'],
      ['s/old', 'PATH_HELD'],
      [T, 'CLAIMS_FREE'],
    ]);
    box.commits(T);
    box.lands(T);
    expect(box.phase('s/old')).toBe('running');
  });

  test('gives them to a taker that may not run yet: they are kept for it as between two attempts', () => {
    const box = new Box();
    box.writes(A, ['src']);
    box.writes('s/old', ['src'], { role: 'ops' });
    box.writes(T, ['src'], TAKES);
    box.writer([], { frozen: { text: 'the deploy failed' } });
    box.commits(A);
    expect([box.phase('s/old'), box.why(T), box.record(T).holds]).toEqual(['held', 'ROLE_FROZEN', true]);
    box.writer();
    expect([box.phase('s/old'), box.phase(T)]).toEqual(['held', 'running']);

    const other = pair();
    other.writes('s/old', ['src'], { role: 'ops' });
    other.writer([], { frozen: { text: 'the deploy failed' } });
    other.commits(A);
    other.pass(RULES.pinned.backoff);
    expect([other.phase('s/old'), other.record(T).holds], 'not for ever').toEqual(['running', false]);
  });

  test('does not keep a taker that waits for others on its claims', () => {
    const box = new Box();
    box.writes(A, ['src']);
    box.writes('s/late', ['late']);
    box.writes('s/b', ['src']);
    box.writes(T, ['src'], { ...TAKES, after: [...TAKES.after, { task: 's/late' }] });
    box.commits(A);
    expect([box.phase('s/b'), box.phase(T)]).toEqual(['running', 'held']);
    box.commits('s/b');
    box.lands('s/b');
    box.commits('s/late');
    box.lands('s/late');
    expect(standingOf(box.state, T)).toMatchObject({ phase: 'running', from: FROM_A });
  });

  test('may no longer write: whatever it still says is void', () => {
    const box = pair();
    const fence = box.fence(A);
    box.commits(A);
    expect(box.stops(A, { kind: 'commits', dead: true, base: 'b', commit: 'more', ref: 'r' }, fence)).toEqual(
      [],
    );
    expect(box.renew(A, fence)).toEqual([]);
    expect(box.record(A).holds).toBe(false);
    expect(box.orders().landings).toEqual([]);
  });

  test('keeps its claims, and its taker waits, as long as its own landing would wait', () => {
    const box = new Box({ issues: { paused: 'hold' } });
    box.writes(A, ['src'], { issue: 'I-1' });
    box.writes('s/x', ['x']);
    box.writes(T, ['src'], TAKES);
    box.task(A, { at: 'running', fence: box.fence(A), facts: { after: [{ task: 's/x', added: true }] } });
    box.commits(A);
    expect([box.phase(A), box.phase(T)]).toEqual(['landing', 'held']);
    expect(box.record(A).blocked?.code).toBe('LANDING_BLOCKED');
    box.issue('I-1', 'paused');
    box.commits('s/x');
    box.lands('s/x');
    expect(box.orders().landings).toEqual([]);
    expect([box.phase(A), box.phase(T)]).toEqual(['landing', 'held']);
    box.issue('I-1', 'open');
    expect([box.why(A), box.phase(T)]).toEqual(['HANDED_OFF', 'running']);
  });

  test('rests like any other when its agent was not seen to end', () => {
    const box = pair();
    box.commits(A, false);
    expect([box.why(A), box.why(T)]).toEqual(['HANDED_OFF', 'PATHS_RESTING']);
    box.pass(RULES.lease + RULES.lockDelay);
    expect(box.phase(T)).toBe('running');
  });

  test('fails like any other, and its taker is cancelled', () => {
    const box = pair();
    box.fails(A, 'AGENT_FAILED', { final: true });
    expect([box.why(A), box.why(T)]).toEqual(['AGENT_FAILED', 'UPSTREAM_FAILED']);
  });

  test('lands by itself when its taker came too late or is gone', () => {
    const box = new Box();
    box.writes(A, ['src']);
    box.commits(A);
    box.orders();
    box.writes(T, ['src'], TAKES);
    box.lands(A);
    expect(box.record(A).outcome?.kind).toBe('landed');
    expect(standingOf(box.state, T)).toMatchObject({ phase: 'running' });
    expect(standingOf(box.state, T)).not.toHaveProperty('from');

    const other = pair();
    other.cancel(T);
    other.commits(A);
    expect(other.orders().landings).toMatchObject([{ task: A }]);
  });

  test('hands nothing to a task of another role', () => {
    const box = new Box();
    box.writes(A, ['src']);
    box.writes(T, ['docs'], { ...TAKES, role: 'ops' });
    box.commits(A);
    expect(box.orders().landings).toMatchObject([{ task: A }]);
  });

  test('hands its work to one only, and tells others who lands it', () => {
    const box = pair();
    box.writes('s/u', ['src'], TAKES);
    box.reads('s/d', { after: [{ task: A }] });
    box.reads('s/e', { after: [{ task: A, until: 'finished' }] });
    box.commits(A);
    expect([box.phase(T), box.phase('s/e')]).toEqual(['running', 'running']);
    for (const id of ['s/u', 's/d'])
      expect([box.why(id), box.sentence(id)]).toEqual([
        'UPSTREAM_HANDED_OFF',
        's/a, which it waits for, has handed its work to s/t, which lands it: it has to wait for that one',
      ]);
  });
});

describe('a taker', () => {
  test('that failed starts from the same commits when it is retried', () => {
    const box = pair();
    box.commits(A);
    box.fails(T, 'AGENT_FAILED', { final: true });
    box.writes(T, ['src', 'docs'], TAKES, { life: '2.run', number: 1, at: 'waiting', attempt: 1 });
    expect(standingOf(box.state, T)).toMatchObject({ phase: 'running', life: '2.run', from: FROM_A });
  });

  test('learns them from what is looked up, of a coordinator that was not there', () => {
    const box = new Box({}, true);
    box.tell({ kind: 'surveyed', live: [T], last: true });
    box.writes(T, ['src'], TAKES);
    expect([...box.state.due.lookups]).toEqual([A]);
    const outcome = {
      kind: 'finished',
      code: 'HANDED_OFF',
      text: '',
      commit: 'commit-of-s/a',
      handed: { to: T, base: 'b' },
    } as const;
    box.tell({ kind: 'found', outcomes: [{ task: A, outcome }], plans: [] });
    expect(standingOf(box.state, T)).toMatchObject({ phase: 'running', from: FROM_A });
  });

  test('and its claims are carried on', () => {
    const box = new Box({ ceiling: 1 });
    box.writes(A, ['src']);
    box.writes('s/next', ['more'], { priority: 100 });
    box.writes(T, ['src'], TAKES);
    box.commits(A);
    box.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
    expect([box.phase('s/next'), box.record(T).holds]).toEqual(['running', true]);
    box.commits('s/next');
    expect(standingOf(box.state, T)).toMatchObject({ phase: 'running', from: FROM_A });
  });
});

describe('a coordinator that lost its state', () => {
  const FENCE = { epoch: 5, number: 7 };
  const LATER = { epoch: 5, number: 8 };
  const result = { kind: 'commits', dead: true, base: 'b', commit: 'commit-of-s/a', ref: 'r' } as const;
  const stopped = { at: 'stopped', fence: FENCE, result } as const;

  test('has a landing of the earlier one given back before it is handed off', () => {
    const box = new Box({}, true);
    box.tell({ kind: 'surveyed', live: [A, T], last: true });
    box.writes(A, ['src'], {}, stopped);
    expect(box.orders().landings, 'nobody knows yet who takes it over').toEqual([]);
    box.writes(T, ['src'], TAKES);
    expect(box.orders().landings).toMatchObject([{ task: A, withdraw: true }]);
    expect([box.phase(A), box.phase(T)]).toEqual(['landing', 'held']);
    box.withdrawn(A);
    expect([box.why(A), box.phase(T)]).toEqual(['HANDED_OFF', 'running']);
    expect(standingOf(box.state, T)).toMatchObject({ from: FROM_A });
  });

  test('believes the writer that it has landed', () => {
    const box = new Box({}, true);
    box.tell({ kind: 'surveyed', live: [A, T], last: true });
    box.writes(A, ['src'], {}, stopped);
    box.writes(T, ['src'], TAKES);
    box.orders();
    box.lands(A);
    expect([box.why(A), box.phase(T)]).toEqual(['LANDED', 'running']);
    expect(standingOf(box.state, T)).not.toHaveProperty('from');
  });

  test.each([
    [A, T],
    [T, A],
  ])('leaves the work with the taker that was let begin, whoever is heard first: %s', (first) => {
    const box = new Box({}, true);
    box.tell({ kind: 'surveyed', live: [A, T], last: true });
    const a = () => box.writes(A, ['src'], {}, stopped);
    const t = () => box.writes(T, ['src'], TAKES, { at: 'running', fence: LATER });
    for (const say of first === A ? [a, t] : [t, a]) say();
    expect([box.phase(T), box.record(T).holds, box.record(A).holds]).toEqual(['running', true, false]);
    expect(box.orders().landings).toMatchObject([{ task: A, withdraw: true }]);
    box.withdrawn(A);
    expect([box.why(A), box.phase(T)]).toEqual(['HANDED_OFF', 'running']);
  });

  test('lets a landing go on that nobody takes over', () => {
    const box = new Box({}, true);
    box.tell({ kind: 'surveyed', live: [A, 's/x'], last: true });
    box.writes(A, ['src'], {}, stopped);
    expect(box.orders().landings).toEqual([]);
    box.state.due.orders.clear();
    box.reads('s/x');
    expect([...box.state.due.orders]).toEqual(['dev']);
    expect(box.orders().landings).toMatchObject([{ task: A, commit: 'commit-of-s/a' }]);
    expect(box.orders().landings[0]).not.toHaveProperty('withdraw');
  });
});
