// Assumptions: when they are looked at, and what a broken one does under each policy; landings in what a task reads.

import { describe, expect, test } from 'vitest';
import { type Assumption, expectation, type Finding } from '../src/domain/assumptions.js';
import { ASK_AGAIN, checksOf } from '../src/domain/decide/assume.js';
import type { LandingResult, TaskFacts } from '../src/domain/messages.js';
import { TaskInput } from '../src/domain/plan.js';
import { carry, restore, type State } from '../src/domain/state.js';
import { landingId } from '../src/domain/transitions.js';
import { packetOf, standingOf } from '../src/domain/views.js';
import { Box } from './support/box.js';
import { RULES } from './support/fleet-model.js';

const SHA = 'a'.repeat(64);
const COMMIT = 'c'.repeat(40);
const FILE: Assumption = { kind: 'file', path: 'app/config.json', sha256: SHA };
const IS_SO: Finding = { holds: true, found: 'it is' };
const NOT_SO: Finding = { holds: false, found: 'it has bbbbbbbbbbbb' };
const carried = (state: State): State => restore(JSON.parse(JSON.stringify(carry(state))));

/** A worker looks at all that is due and finds this. */
const look = (box: Box, ...findings: Finding[]) =>
  box.tell({
    kind: 'checked',
    results: checksOf(box.state, box.state.due.checks).map(({ task, life, number }) => ({
      task,
      life,
      number,
      findings,
    })),
  });
const assumes = (...list: Assumption[]): Partial<TaskFacts> => ({ assumes: list });
const landed = (box: Box, id: string, changed: string[]): LandingResult => ({
  id: landingId(box.record(id)),
  kind: 'landed',
  commit: COMMIT,
  entry: 1,
  behind: 0,
  changed,
});
/** Another task lands a change of these files. */
function changes(box: Box, changed: string[], id = 's/other'): void {
  box.writes(id, changed);
  box.commits(id);
  box.orders();
  box.writer([landed(box, id, changed)]);
}
const noted = (box: Box, id: string) =>
  box
    .record(id)
    .decisions.filter(({ verdict }) => verdict === 'note')
    .map(({ code }) => code);

describe('an assumption', () => {
  test('is one of five kinds, each with what is expected in words', () => {
    const all: Assumption[] = [
      { kind: 'branch-at', commit: COMMIT },
      { kind: 'branch-contains', commit: COMMIT, repository: 'docs' },
      FILE,
      { kind: 'artifact', at: 'https://example.com/app.tgz', sha256: SHA },
      { kind: 'artifact', at: 'task:s/survey', sha256: SHA },
      { kind: 'issue', key: 'I-1', state: 'open', revision: '7' },
    ];
    const input = { fleet: 'f', task: { id: 'a', prompt: 'p', assumes: all, onBroken: 'retry' } };
    expect(TaskInput.parse(input).task.assumes).toEqual(all);
    expect(all.map(expectation)).toEqual([
      'the branch at cccccccccccc',
      'the branch to contain cccccccccccc',
      'app/config.json with the content aaaaaaaaaaaa',
      'https://example.com/app.tgz with the digest aaaaaaaaaaaa',
      'task:s/survey with the digest aaaaaaaaaaaa',
      'issue I-1 to be open at revision 7',
    ]);
    for (const wrong of [
      { kind: 'branch-at', commit: 'abc' },
      { kind: 'file', path: '../x', sha256: SHA },
      { kind: 'file', path: '/x', sha256: SHA },
      { kind: 'file', path: 'x', sha256: 'no' },
      { kind: 'artifact', at: 'relative', sha256: SHA },
      { kind: 'artifact', at: 'task:survey', sha256: SHA },
      { kind: 'artifact', at: 'task:s/a/b', sha256: SHA },
      { kind: 'weather' },
      { ...FILE, more: 1 },
    ])
      expect(
        TaskInput.safeParse({ fleet: 'f', task: { id: 'a', prompt: 'p', assumes: [wrong] } }).success,
        JSON.stringify(wrong),
      ).toBe(false);
  });

  test('is looked at when nothing else stands in the way, and the task runs on the answer', () => {
    const box = new Box({ ceiling: 1 });
    box.reads('s/first');
    box.writes('s/a', ['src'], assumes(FILE));
    expect([box.why('s/a'), [...box.state.due.checks]]).toEqual(['CEILING_REACHED', []]);
    box.done('s/first');
    expect([box.why('s/a'), checksOf(box.state, box.state.due.checks)]).toEqual([
      'ASSUMPTIONS_UNCHECKED',
      [{ task: 's/a', life: '1.run', number: 1, repository: 'app', assumes: [FILE] }],
    ]);
    look(box, IS_SO);
    expect([box.phase('s/a'), [...box.state.due.checks]]).toEqual(['running', []]);
    expect(packetOf(box.state, 's/a')).toBeUndefined();
  });

  test('that a landing may have changed is looked at again: an older answer does not count', () => {
    const box = new Box();
    box.writes('s/a', ['src'], assumes(FILE));
    const asked = checksOf(box.state, box.state.due.checks);
    changes(box, ['app/config.json']);
    box.tell({
      kind: 'checked',
      results: asked.map(({ task, life, number }) => ({ task, life, number, findings: [IS_SO] })),
    });
    expect([box.why('s/a'), [...box.state.due.checks]]).toEqual(['ASSUMPTIONS_UNCHECKED', ['s/a']]);
    box.state = carried(box.state);
    look(box, NOT_SO);
    expect(box.why('s/a')).toBe('ASSUMPTION_BROKEN');
    expect(box.sentence('s/a')).toBe(
      'it assumes app/config.json with the content aaaaaaaaaaaa, but it has bbbbbbbbbbbb; it waits for that to be so again',
    );
  });

  test('of a file is not looked at for a landing elsewhere; of a branch for every landing there', () => {
    const box = new Box();
    box.writes('s/a', ['src'], assumes(FILE));
    look(box, IS_SO);
    box.writes('s/b', ['lib'], assumes({ kind: 'branch-at', commit: COMMIT }));
    look(box, IS_SO);
    box.runs('s/a');
    box.state.due.checks.clear();
    box.now += 1;
    box.done('s/a');
    expect(box.phase('s/a')).toBe('ended');
    box.reads('s/c', assumes(FILE));
    look(box, IS_SO);
    changes(box, ['docs/x']);
    expect([...box.state.due.checks]).toEqual(['s/b']);
  });

  test('that cannot be found out is neither: the task waits, and is asked again after a while', () => {
    const box = new Box();
    box.reads('s/a', assumes(FILE));
    look(box, { found: 'that cannot be found out: the host is down' });
    expect([box.why('s/a'), box.sentence('s/a')]).toEqual([
      'ASSUMPTIONS_UNCHECKED',
      'what it assumes is being looked at: that cannot be found out: the host is down',
    ]);
    box.state = carried(box.state);
    expect([...box.state.due.checks]).toEqual([]);
    box.pass(ASK_AGAIN);
    expect([...box.state.due.checks]).toEqual(['s/a']);
    look(box, IS_SO);
    expect(box.phase('s/a')).toBe('running');
  });

  test('of an issue is known from what was said: state and revision', () => {
    const box = new Box();
    const issue: Assumption = { kind: 'issue', key: 'I-9', state: 'open', revision: '2' };
    box.reads('s/a', assumes(issue));
    expect(box.sentence('s/a')).toContain('nobody has said yet what issue I-9 is');
    const say = (state: string, revision: string) =>
      box.tell({ kind: 'issue', key: 'I-9', state, revision, number: box.number('I-9') });
    say('open', '1');
    expect(box.sentence('s/a')).toContain('but it is open at revision 1');
    say('open', '2');
    expect(box.phase('s/a')).toBe('running');
    say('open', '3');
    expect([box.phase('s/a'), box.why('s/a')]).toEqual(['stopping', 'ASSUMPTION_BROKEN']);
  });
});

describe('a broken assumption', () => {
  const start = (onBroken?: TaskFacts['onBroken']) => {
    const box = new Box();
    box.writes('s/a', ['src'], { ...assumes(FILE), ...(onBroken ? { onBroken } : {}) });
    look(box, IS_SO);
    expect(box.phase('s/a')).toBe('running');
    box.runs('s/a');
    changes(box, ['app/config.json']);
    expect([...box.state.due.checks]).toEqual(['s/a']);
    look(box, NOT_SO);
    return box;
  };

  test('holds: the attempt ends, and its paths are free until it is so again', () => {
    const box = start();
    expect([box.phase('s/a'), box.why('s/a')]).toEqual(['stopping', 'ASSUMPTION_BROKEN']);
    box.commits('s/a');
    box.pass(0);
    expect([box.why('s/a'), box.record('s/a').holds]).toEqual(['ASSUMPTION_BROKEN', false]);
    changes(box, ['app/config.json'], 's/mended');
    look(box, IS_SO);
    expect([box.phase('s/a'), box.record('s/a').attempt, box.record('s/a').excused]).toEqual([
      'running',
      2,
      1,
    ]);
  });

  test('is noted and settled for with `continue`, once for each thing found instead', () => {
    const box = start('continue');
    expect([box.phase('s/a'), noted(box, 's/a')]).toEqual(['running', ['ASSUMPTION_BROKEN']]);
    expect(standingOf(box.state, 's/a')?.decision.code).toBe('CLAIMS_FREE');
    changes(box, ['app/config.json'], 's/again');
    look(box, NOT_SO);
    expect(noted(box, 's/a')).toHaveLength(1);
    changes(box, ['app/config.json'], 's/other-yet');
    look(box, { holds: false, found: 'it has dddddddddddd' });
    expect(noted(box, 's/a')).toHaveLength(2);
    box.commits('s/a');
    box.orders();
    box.lands('s/a');
    expect(packetOf(box.state, 's/a')?.decisions.map(({ code }) => code)).toContain('ASSUMPTION_BROKEN');
  });

  test('starts the attempt anew on the new state with `retry`', () => {
    const box = start('retry');
    box.commits('s/a');
    box.pass(0);
    expect([box.phase('s/a'), box.record('s/a').attempt]).toEqual(['running', 2]);
  });

  test('cancels with `cancel`, before the start too', () => {
    const box = start('cancel');
    box.commits('s/a');
    expect(box.why('s/a')).toBe('ASSUMPTION_BROKEN');
    expect(box.record('s/a').outcome?.kind).toBe('cancelled');
    box.reads('s/b', { ...assumes(FILE), onBroken: 'cancel' });
    look(box, NOT_SO);
    expect(box.record('s/b').outcome).toMatchObject({ kind: 'cancelled', code: 'ASSUMPTION_BROKEN' });
  });

  test('takes back a landing: not handed over it starts anew, handed over it is withdrawn through the ledger', () => {
    for (const handed of [false, true]) {
      const box = new Box();
      box.writes('s/a', ['src'], assumes(FILE));
      look(box, IS_SO);
      box.commits('s/a');
      if (handed) box.orders();
      box.writer([], { life: '2.run' });
      box.writer([{ id: 's/x#1', kind: 'landed', commit: COMMIT, entry: 1, behind: 0, changed: ['app'] }], {
        life: '2.run',
      });
      look(box, NOT_SO);
      expect(box.phase('s/a')).toBe(handed ? 'landing' : 'held');
      if (!handed) continue;
      expect(box.orders().landings).toMatchObject([{ task: 's/a', withdraw: true }]);
      box.writer([{ id: landingId(box.record('s/a')), kind: 'withdrawn' }], { life: '2.run' });
      expect([box.phase('s/a'), box.record('s/a').excused]).toEqual(['held', 1]);
    }
  });

  test('is found out when a person has pushed, which the writer tells with its next result', () => {
    const box = new Box();
    box.writes('s/a', ['src'], assumes(FILE));
    look(box, IS_SO);
    box.writes('s/b', ['docs']);
    box.commits('s/b');
    const result = {
      ...landed(box, 's/b', ['docs/x']),
      outside: { commit: 'd'.repeat(40), paths: ['app/config.json'] },
    };
    box.orders();
    box.writer([result]);
    expect([...box.state.due.checks]).toEqual(['s/a']);
    look(box, IS_SO);
    box.writer([result]);
    expect([...box.state.due.checks], 'told once').toEqual([]);
  });

  test('is looked for again by a coordinator that lost its state, for what runs', () => {
    const box = new Box();
    box.writes('s/a', ['src'], assumes(FILE));
    look(box, IS_SO);
    const fence = box.fence('s/a');
    const next = new Box({}, true);
    next.now = box.now + 1_000;
    next.writes('s/a', ['src'], assumes(FILE), { at: 'running', fence, epoch: next.state.epoch });
    expect([next.phase('s/a'), [...next.state.due.checks]]).toEqual(['running', ['s/a']]);
  });
});

describe('a landing in what a task reads', () => {
  const start = (onBroken?: TaskFacts['onBroken']) => {
    const box = new Box();
    box.writes('s/a', ['src'], { reads: [':(glob)api/*.proto', 'lib'], ...(onBroken ? { onBroken } : {}) });
    changes(box, ['docs/x'], 's/elsewhere');
    expect([box.phase('s/a'), noted(box, 's/a')]).toEqual(['running', []]);
    changes(box, ['docs/y', 'api/v1.proto']);
    return box;
  };

  test('is noted, and the task goes on', () => {
    const box = start();
    expect([box.phase('s/a'), noted(box, 's/a')]).toEqual(['running', ['READS_CHANGED']]);
    expect(box.record('s/a').decisions.at(-1)?.evidence).toMatchObject({
      path: 'api/v1.proto',
      by: 's/other',
      commit: COMMIT,
    });
  });

  test('starts it anew with `retry`, and with `hold` too, for what has landed stays', () => {
    for (const onBroken of ['retry', 'hold'] as const) {
      const box = start(onBroken);
      expect([box.phase('s/a'), box.why('s/a')]).toEqual(['stopping', 'READS_CHANGED']);
      box.commits('s/a');
      box.pass(0);
      expect([box.phase('s/a'), box.record('s/a').attempt]).toEqual(['running', 2]);
    }
  });

  test('cancels it with `cancel`', () => {
    expect(start('cancel').record('s/a').stop).toMatchObject({ verdict: 'cancel', code: 'READS_CHANGED' });
  });

  test('does not concern a task that has not begun: it starts on the new state', () => {
    const box = new Box({ ...RULES, ceiling: 1 });
    box.writes('s/other', ['api']);
    box.writes('s/a', ['src'], { reads: ['api'], onBroken: 'cancel', after: [{ task: 's/other' }] });
    box.commits('s/other');
    box.orders();
    box.writer([landed(box, 's/other', ['api/x'])]);
    expect([box.phase('s/a'), noted(box, 's/a')]).toEqual(['running', []]);
  });
});
