// Claims of persons, and of agents that Signalbox did not launch: holders like all others. The properties in
// decide.test.ts cover the same with faults.

import { describe, expect, test } from 'vitest';
import { standingOf } from '../src/domain/views.js';
import { Box, MINUTE } from './support/box.js';
import { RULES } from './support/fleet-model.js';

describe('the claim of a person', () => {
  test('holds paths like a task, takes no slot, and is released', () => {
    const box = new Box({ ceiling: 1 });
    box.hand('hand/ann', ['src']);
    box.writes('s/a', ['src']);
    box.writes('s/b', ['docs']);
    expect([box.sentence('s/a'), box.phase('s/b')]).toEqual([
      'src overlaps src, held by hand/ann',
      'running',
    ]);
    box.commits('s/b');
    box.hand('hand/ann', []);
    expect([box.why('hand/ann'), box.phase('s/a')]).toEqual(['RELEASED', 'running']);
  });

  test('is refused at once, with the holder, or waits when asked to', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.hand('hand/ann', ['src']);
    box.hand('hand/bob', ['src'], { wait: true });
    expect([box.why('hand/ann'), box.sentence('hand/ann')]).toEqual([
      'PATH_HELD',
      'src overlaps src, held by s/a',
    ]);
    expect(box.why('hand/bob')).toBe('PATH_HELD');
    expect([box.phase('hand/ann'), box.phase('hand/bob')]).toEqual(['ended', 'held']);
    expect([...box.state.due.standings], 'and is told so without delay').toContain('hand/bob');
    box.fails('s/a', 'AGENT_FAILED', { final: true });
    expect(box.phase('hand/bob')).toBe('running');
  });

  test('runs out', () => {
    const box = new Box();
    box.hand('hand/ann', ['src'], { lease: MINUTE });
    box.writes('s/a', ['src']);
    box.pass(MINUTE);
    expect([box.why('hand/ann'), box.why('s/a')]).toEqual(['CLAIM_EXPIRED', 'PATHS_RESTING']);
    box.pass(RULES.lockDelay);
    expect(box.phase('s/a'), 'after the lock-delay, for nobody was seen to end').toBe('running');
    box.hand('hand/ann', ['docs']);
    expect(box.phase('hand/ann'), 'and can be made anew').toBe('running');
  });

  test('does not come back when its release overtook it', () => {
    const box = new Box();
    box.hand('hand/ann', [], { number: 2, life: '5.run' });
    box.hand('hand/ann', ['src'], { number: 1, life: '5.run' });
    expect(box.phase('hand/ann')).toBe('ended');
    box.hand('hand/ann', ['src'], { number: 1, life: '6.run' });
    expect(box.phase('hand/ann')).toBe('running');
  });

  test('under the name of a task changes nothing of the task', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.hand('s/a', [], { number: 99 });
    expect(box.phase('s/a')).toBe('running');
  });

  test('is renewed under its fence, from then on for as long as is asked', () => {
    const box = new Box();
    box.hand('hand/ann', ['src'], { lease: MINUTE });
    const fence = box.fence('hand/ann');
    box.pass(MINUTE - 1);
    box.hand('hand/ann', ['src'], { fence, renewed: 1, lease: 2 * MINUTE });
    expect(standingOf(box.state, 'hand/ann'), 'which is answered').toMatchObject({
      phase: 'running',
      heard: 2,
    });
    box.pass(2 * MINUTE - 1);
    expect(box.phase('hand/ann')).toBe('running');
    box.hand('hand/ann', ['src'], { fence: { ...fence, number: fence.number - 1 }, renewed: 2 });
    box.pass(1);
    expect(box.why('hand/ann'), 'not under another one').toBe('CLAIM_EXPIRED');
  });

  test('is known again to a coordinator that lost its state, for as long as it had left', () => {
    const fence = { epoch: 5, number: 7 };
    const box = new Box({}, true);
    box.writes('s/a', ['src']);
    box.tell({ kind: 'surveyed', live: ['hand/ann', 's/a'], last: true });
    expect(box.why('s/a'), 'which waits for its word').toBe('RECOVERING');
    box.hand('hand/ann', ['src'], { fence, left: 20_000 });
    expect([box.phase('hand/ann'), box.sentence('s/a')]).toEqual([
      'running',
      'src overlaps src, held by hand/ann',
    ]);
    expect(box.fence('hand/ann')).toEqual(fence);
    expect(standingOf(box.state, 'hand/ann'), 'which is answered').toMatchObject({
      phase: 'running',
      fence,
      heard: 1,
      decision: { code: 'CLAIM_KEPT' },
    });
    box.pass(20_000);
    expect(box.why('hand/ann')).toBe('CLAIM_EXPIRED');
  });

  test('that is heard of too late, when another has its paths by then, is lost', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.hand('hand/ann', ['src'], { fence: { epoch: 5, number: 7 }, left: 20_000 });
    expect(box.sentence('hand/ann')).toContain('turned out to be held by s/a');
  });

  test('whose workflow is terminated rests for the lock-delay', () => {
    const box = new Box();
    box.hand('hand/ann', ['src']);
    box.writes('s/a', ['src']);
    box.tell({ kind: 'gone', task: 'hand/ann', life: box.record('hand/ann').life });
    expect([box.why('hand/ann'), box.why('s/a')]).toEqual(['TERMINATED', 'PATHS_RESTING']);
    box.hand('hand/ann', ['src/x'], { wait: true });
    box.pass(RULES.lockDelay);
    expect([box.phase('hand/ann'), box.phase('s/a')].sort(), 'for others than the same person').toEqual([
      'held',
      'running',
    ]);
  });
});
