// Whom to run first, and that nobody starves: examples, one for each rule; then what the index of contended paths counts,
// against counting by hand. The properties of decide.test.ts check the reservation at each step.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Demand } from '../src/domain/demand.js';
import { parsePattern } from '../src/domain/paths.js';
import { carry, restore } from '../src/domain/state.js';
import { Box } from './support/box.js';
import { RULES } from './support/fleet-model.js';

const AGE = RULES.reserveAfter;

/** One runs; the others wait for its slot. */
const oneSlot = (): Box => {
  const box = new Box({ ceiling: 1, lease: 10 * AGE });
  box.reads('s/now');
  return box;
};

const running = (box: Box): string[] =>
  [...box.state.tasks.values()].filter((task) => task.phase === 'running').map((task) => task.id);

const lands = (box: Box, id: string): void => {
  box.commits(id);
  box.lands(id);
};

describe('a free slot goes to', () => {
  test('the task with the longest chain behind it, though it came last', () => {
    const box = oneSlot();
    box.reads('s/short');
    box.reads('s/next', { after: [{ task: 's/long' }] });
    box.reads('s/last', { after: [{ task: 's/next' }] });
    box.reads('s/long');
    box.done('s/now');
    expect(running(box)).toEqual(['s/long']);
  });

  test('the chain through another plan', () => {
    const box = oneSlot();
    const plan = (id: string, size: number) => ({ plan: { id, size } });
    box.reads('p/short', {}, plan('p', 1));
    box.reads('q/a', {}, plan('q', 2));
    box.reads('q/b', { after: [{ task: 'q/a' }] }, plan('q', 2));
    box.reads('p/long', { after: [{ task: 'q/b' }] });
    box.reads('r/chain', {}, plan('r', 2));
    box.reads('r/end', { after: [{ task: 'r/chain' }] }, plan('r', 2));
    expect(['q/a', 'q/b', 'r/chain', 'p/short'].map((id) => box.record(id).chain ?? 1)).toEqual([3, 2, 2, 1]);
    box.done('s/now');
    expect(running(box)).toEqual(['q/a']);
  });

  test('a writer of the path that most others want as well', () => {
    const box = oneSlot();
    box.writes('s/cold', ['cold']);
    for (const id of ['s/a', 's/b', 's/c']) box.writes(id, ['hot/file']);
    box.done('s/now');
    expect(running(box)).toEqual(['s/a']);
  });

  test('the higher priority among those as urgent, then to who has waited longest', () => {
    const box = oneSlot();
    box.reads('s/first');
    box.reads('s/second');
    box.reads('s/low', { priority: -5 });
    box.reads('s/high', { priority: 5 });
    const order: string[] = [];
    for (let next = 's/now'; next; next = running(box)[0] ?? '') {
      if (next !== 's/now') order.push(next);
      box.done(next);
    }
    expect(order).toEqual(['s/high', 's/first', 's/second', 's/low']);
  });

  test('one that waits, before a less urgent newcomer whose path becomes free with it', () => {
    const box = new Box({ ceiling: 1 });
    box.writes('s/now', ['a']);
    box.writes('s/newcomer', ['a']);
    box.reads('s/waits', { after: [] });
    box.reads('s/behind', { after: [{ task: 's/waits' }] });
    box.reads('s/behind-that', { after: [{ task: 's/behind' }] });
    box.fails('s/now', 'AGENT_FAILED', { final: true });
    expect(running(box)).toEqual(['s/waits']);
  });

  test('the one that goes first among those that come together, whoever is told of first', () => {
    const box = new Box({ ceiling: 1 });
    box.together(() => {
      box.reads('s/low');
      box.reads('s/high', { priority: 5 });
    });
    expect(running(box)).toEqual(['s/high']);
  });

  test('the next on a hot path, when the agent that held both ends and lands in one', () => {
    const box = new Box({ ceiling: 1 });
    for (const id of ['s/now', 's/next', 's/last']) box.writes(id, ['hot']);
    box.writes('s/cold', ['cold']);
    box.together(() => {
      box.commits('s/now');
      box.lands('s/now');
    });
    expect(running(box)).toEqual(['s/next']);
  });

  test('the same task after a continue-as-new', () => {
    const box = oneSlot();
    for (let i = 0; i < 80; i++) box.writes(`s/t${i}`, [`dir${i % 7}/file${i % 5}`]);
    for (let i = 0; i < 20; i++) {
      const over = new Box();
      over.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
      const next = running(box)[0] ?? '';
      const cancelled = `s/t${i * 3}`;
      box.cancel(cancelled);
      over.cancel(cancelled);
      expect(running(over), `after ${next}`).toEqual(running(box));
      box.state = over.state;
      if (running(box)[0]?.startsWith('s/t')) lands(box, running(box)[0] ?? '');
    }
  });
});

describe('a reservation', () => {
  /** `wide` waits for both of two paths, of which one or the other is always taken. */
  const starving = (): Box => {
    const box = new Box({ ceiling: 3, lease: 10 * AGE });
    box.writes('s/a1', ['a']);
    box.writes('s/b1', ['b'], { role: 'ops' });
    box.writes('s/wide', ['a', 'b']);
    return box;
  };

  test('keeps newcomers off the paths of the oldest waiter once it is past the age, and names it', () => {
    const box = starving();
    box.now += AGE - 1;
    lands(box, 's/a1');
    box.writes('s/a2', ['a']);
    expect(box.phase('s/a2'), 'before the age everybody overtakes').toBe('running');
    box.now += 1;
    lands(box, 's/a2');
    box.writes('s/a3', ['a/deep']);
    expect([box.phase('s/a3'), box.why('s/a3'), box.sentence('s/a3')]).toEqual([
      'held',
      'PATH_RESERVED',
      'a/deep overlaps a, kept free for s/wide, which has waited longest',
    ]);
    lands(box, 's/b1');
    expect([box.phase('s/wide'), box.phase('s/a3'), box.why('s/a3')]).toEqual([
      'running',
      'held',
      'PATH_HELD',
    ]);
  });

  test('lets those overtake that were there before the age was reached', () => {
    const box = starving();
    box.writes('s/a2', ['a']);
    box.now += AGE;
    lands(box, 's/a1');
    expect([box.phase('s/a2'), box.phase('s/wide')]).toEqual(['running', 'held']);
  });

  test('lets all others overtake, and is for one at a time', () => {
    const box = starving();
    box.writes('s/wide-too', ['a', 'c']);
    box.now += AGE;
    box.writes('s/elsewhere', ['d']);
    box.writes('s/c', ['c'], { role: 'ops' });
    expect(box.phase('s/elsewhere')).toBe('running');
    expect(box.why('s/c'), 'the second oldest reserves nothing').toBe('ROLE_LIMIT');
  });

  test('ends with its task: who was kept off goes on', () => {
    const box = starving();
    box.now += AGE;
    lands(box, 's/a1');
    box.writes('s/a2', ['a']);
    expect(box.why('s/a2')).toBe('PATH_RESERVED');
    box.cancel('s/wide');
    expect(box.phase('s/a2')).toBe('running');
  });

  test('ends when its task has to wait for an upstream once more', () => {
    const box = new Box({ lease: 10 * AGE });
    box.writes('s/up', ['a']);
    lands(box, 's/up');
    box.writes('s/other', ['b'], { role: 'ops' });
    box.writes('s/wide', ['a', 'b'], { after: [{ task: 's/up' }] });
    expect(box.why('s/wide')).toBe('PATH_HELD');
    box.now += AGE;
    box.task('s/up', { life: '2.run', number: 1, at: 'waiting' });
    expect([box.why('s/wide'), box.phase('s/up')]).toEqual(['UPSTREAM_PENDING', 'running']);
  });

  test('ends when rules reserve later', () => {
    const box = starving();
    box.now += AGE;
    lands(box, 's/a1');
    box.writes('s/a2', ['a']);
    box.tell({ kind: 'rules', rules: { ...box.state.rules, reserveAfter: 5 * AGE } });
    expect(box.phase('s/a2')).toBe('running');
  });

  test('takes the next slot, whoever is more urgent', () => {
    const box = oneSlot();
    box.writes('s/cold', ['cold']);
    for (const id of ['s/a', 's/b', 's/c']) box.writes(id, ['hot']);
    box.now += AGE;
    box.done('s/now');
    expect(running(box)).toEqual(['s/cold']);
  });

  test('is for nobody who waits for a frozen role', () => {
    const box = new Box({ ceiling: 3 });
    box.writer([], { frozen: { text: 'the deploy failed' } });
    box.writes('s/frozen', ['a']);
    box.now += 2 * AGE;
    box.writes('s/other', ['a'], { role: 'ops' });
    expect(box.phase('s/other')).toBe('running');
  });

  test('keeps no person off while its task is frozen', () => {
    const box = starving();
    box.now += AGE;
    lands(box, 's/a1');
    box.hand('hand/ann', ['a'], { wait: true });
    expect(box.why('hand/ann')).toBe('PATH_RESERVED');
    box.fleet({ text: 'release day' });
    expect(box.phase('hand/ann')).toBe('running');
  });

  test('refuses a person who would not wait', () => {
    const box = starving();
    box.now += AGE;
    lands(box, 's/a1');
    box.hand('hand/ann', ['a']);
    expect(box.record('hand/ann').outcome?.code).toBe('PATH_RESERVED');
  });
});

describe('the index of contended paths', () => {
  const paths = fc.uniqueArray(fc.constantFrom('.', 'a', 'a/b', 'a/b/c', 'a/d', 'e', 'e/b'), {
    maxLength: 2,
  });

  test('counts the claims that have to be served one after the other, as counting by hand does', () => {
    const index = fc.record({ task: fc.nat({ max: 9 }), paths: fc.option(paths, { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(index, { maxLength: 60 }), (changes) => {
        const demand = new Demand();
        const claimed = new Map<string, string[]>();
        for (const { task, paths } of changes) {
          const id = `t${task}`;
          if (paths) {
            demand.set(id, 'app', paths.map(parsePattern));
            claimed.set(id, paths);
          } else {
            demand.delete(id);
            claimed.delete(id);
          }
          for (const [one, own] of claimed)
            expect(demand.heat(one), `${one} of ${JSON.stringify([...claimed])}`).toBe(byHand(claimed, own));
        }
      }),
      { numRuns: 300 },
    );
  });

  const above = (path: string, other: string) =>
    path === '.' || other === path || other.startsWith(`${path}/`);

  /** For each path of the task the most claims that lie on one way from the root through it. */
  function byHand(claimed: Map<string, string[]>, own: string[]): number {
    const all = [...claimed.values()].flat();
    const ways = all.map((end) => ({ end, claims: all.filter((claim) => above(claim, end)).length }));
    const through = own.flatMap((path) =>
      ways.filter(({ end }) => above(path, end)).map(({ claims }) => claims),
    );
    return Math.max(0, ...through);
  }
});
