// Tasks that would rather end than wait: what counts as busy, when that is looked at, and what follows. The property over
// random events with faults is in decide.test.ts, through the model (support/busy-model.ts).

import { describe, expect, test } from 'vitest';
import { explain } from '../src/domain/reasons.js';
import { carry, restore } from '../src/domain/state.js';
import { Box } from './support/box.js';

const fail = { ifBusy: 'fail' as const };

describe('a task that is not to wait', () => {
  test('ends at once when a path is held, by a reason of its own that names the holder', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.writes('s/b', ['x', 'a/b'], fail);
    expect(box.record('s/b')).toMatchObject({
      phase: 'ended',
      holds: false,
      outcome: {
        kind: 'failed',
        code: 'CLAIMS_BUSY',
        text: 'a/b overlaps a, held by s/a, which was earlier, and it was not to wait',
      },
    });
    expect(box.record('s/b').decisions.at(-1)?.evidence.holder).toBe('s/a');
    expect(box.state.claims.firstOverlap('?', 'app', [])).toBeUndefined();
  });

  test('runs when nobody is there, beside others and when they have gone', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b'], fail);
    expect(box.phase('s/b')).toBe('running');
    box.commits('s/a');
    box.lands('s/a');
    box.writes('s/c', ['a'], fail);
    expect(box.why('s/c'), 'a role of two is full at most').not.toBe('CLAIMS_BUSY');
    expect(box.phase('s/c')).toBe('running');
  });

  test('ends for a path that rests, that lands, or that a person holds', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.cancel('s/a');
    box.fails('s/a', 'CANCELLED_BY_REQUEST', { dead: false });
    box.writes('s/b', ['a'], fail);
    expect(box.sentence('s/b')).toBe('a was held by s/a, which was earlier, and it was not to wait');
    box.writes('s/c', ['c']);
    box.commits('s/c');
    box.writes('s/d', ['c'], fail);
    expect([box.phase('s/c'), box.why('s/d')]).toEqual(['landing', 'CLAIMS_BUSY']);
    box.hand('hand/ann', ['e']);
    box.writes('s/e', ['e/f'], fail);
    expect(box.why('s/e')).toBe('CLAIMS_BUSY');
  });

  test('ends for what an earlier one has asked for and waits for, whatever holds that up', () => {
    const box = new Box({ ceiling: 1 });
    box.writes('s/a', ['a']);
    box.writes('s/slot', ['b']);
    expect(box.why('s/slot')).toBe('CEILING_REACHED');
    box.writes('s/b', [':(glob)[b]*'], fail);
    expect(box.sentence('s/b')).toBe(
      ':(glob)[b]* overlaps b, asked for by s/slot, which was earlier, and it was not to wait',
    );
    box.writes('s/path', ['c', 'a']);
    box.writes('s/c', ['c'], fail);
    expect(box.record('s/c').outcome?.text).toContain('asked for by s/path');
  });

  test('ends for paths that a running task waits for', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b']);
    box.runs('s/a');
    box.task('s/a', { extend: { number: 1, paths: ['b', 'c'], wait: true } });
    expect(box.record('s/a').extension?.answer).toBe('waiting');
    box.writes('s/c', ['c'], fail);
    expect(box.sentence('s/c')).toBe('c was asked for by s/a, which was earlier, and it was not to wait');
  });

  test('does not end for the ceiling, a limit or a freeze, and waits like any other from then on', () => {
    const box = new Box({ ceiling: 1 });
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b'], fail);
    expect(box.why('s/b')).toBe('CEILING_REACHED');
    box.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
    box.hand('hand/ann', ['b']);
    box.commits('s/a');
    box.lands('s/a');
    expect(box.why('s/b'), 'it was free when it asked').toBe('PATH_HELD');
    box.hand('hand/ann', []);
    expect(box.phase('s/b')).toBe('running');
    const frozen = new Box();
    frozen.fleet({ text: 'release day' });
    frozen.writes('s/a', ['a'], fail);
    expect(frozen.why('s/a')).toBe('FLEET_FROZEN');
  });

  test('does not end for its own plan and upstreams: it asks when those are through', () => {
    const box = new Box();
    const plan = { id: 'p', size: 3 };
    box.writes('p/a', ['a'], {}, { plan });
    box.writes('p/b', ['a'], { ...fail, after: [{ task: 'p/a' }] }, { plan });
    expect(box.why('p/b')).toBe('PLAN_INCOMPLETE');
    box.writes('p/c', ['c'], { after: [{ task: 'p/b' }] }, { plan });
    expect(box.why('p/b')).toBe('UPSTREAM_PENDING');
    box.writes('s/z', ['a/z']);
    expect(box.why('s/z')).toBe('PATH_HELD');
    box.commits('p/a');
    box.lands('p/a');
    expect(box.why('p/b'), 's/z asked before it').toBe('CLAIMS_BUSY');
    expect(box.why('p/c'), 'as for any failure').toBe('UPSTREAM_FAILED');
  });

  test('keeps its place between attempts: only the first one can be too late', () => {
    const box = new Box();
    box.writes('s/a', ['a'], fail);
    box.writes('s/b', ['a']);
    box.fails('s/a');
    expect(box.phase('s/a')).toBe('backoff');
    box.pass(2_000);
    expect([box.phase('s/a'), box.record('s/a').attempt]).toEqual(['running', 2]);
    const other = new Box({}, true);
    other.writes('s/b', ['a']);
    other.writes('s/a', ['a'], fail, { attempt: 2 });
    other.tell({ kind: 'surveyed', live: [], last: true });
    expect(other.why('s/a')).toBe('PATH_HELD');
  });

  test('retried by a person it asks once more', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.writes('s/b', ['a'], fail);
    box.commits('s/a');
    box.lands('s/a');
    box.task('s/b', { life: '2.run' });
    expect(box.phase('s/b')).toBe('running');
  });

  test('ends for a resource without room, counting those who asked for it', () => {
    const box = new Box();
    const uses = (resource: string, mode: 'exclusive' | 'shared' = 'exclusive') => ({
      uses: [{ resource, mode }],
    });
    box.writes('s/a', ['a'], uses('pipe:web'));
    box.writes('s/b', ['b'], { ...uses('pipe:web'), ...fail });
    expect(box.phase('s/b'), 'two places').toBe('running');
    box.writes('s/c', ['c'], { ...uses('pipe:web'), ...fail });
    expect(box.sentence('s/c')).toBe('pipe:web was held by s/a, which was earlier, and it was not to wait');
    box.commits('s/b');
    box.lands('s/b');
    box.writes('s/d', ['a'], uses('pipe:web'));
    expect(box.why('s/d')).toBe('PATH_HELD');
    box.writes('s/e', ['e'], { ...uses('pipe:web'), ...fail });
    expect(box.why('s/e'), 'the second place is asked for').toBe('CLAIMS_BUSY');
    box.reads('s/f', uses('db:orders', 'shared'));
    box.reads('s/g', { ...uses('db:orders', 'shared'), ...fail });
    expect(box.phase('s/g'), 'shared uses go together').toBe('running');
  });
});

test('a sentence for each of both cases', () => {
  const evidence = { path: 'a', held: 'a', holder: 's/a' };
  expect(explain('CLAIMS_BUSY', { ...evidence, state: 'asked for' })).toContain('asked for by s/a');
  expect(explain('CLAIMS_BUSY', { ...evidence, held: ':(glob)*', state: 'held' })).toContain('overlaps');
});
