// A coordinator whose clock is behind the one before it.

import { describe, expect, test } from 'vitest';
import { compareFences } from '../src/domain/fence.js';
import { standingOf } from '../src/domain/views.js';
import { Box } from './support/box.js';

const LATER = 2_000_000;
const early = () => {
  const box = new Box({}, true);
  expect(box.state.epoch).toBeLessThan(LATER);
  return box;
};
/** The task has heard of this coordinator when it answers. */
const announced = (box: Box, id: string) => {
  expect([...box.state.due.announcements]).toContain(id);
  box.state.due.announcements.clear();
  return box.task(id, { epoch: box.state.epoch });
};

describe('a coordinator that began before the one it follows, by its clock', () => {
  test('grants under fences above all that the other gave', () => {
    const box = early();
    const fence = { epoch: LATER, number: 7 };
    box.writes('s/a', ['a'], {}, { epoch: LATER, at: 'running', fence });
    announced(box, 's/a');
    box.tell({ kind: 'surveyed', live: ['s/a'], last: true });
    expect(box.phase('s/a')).toBe('running');
    box.writes('s/b', ['b']);
    expect(compareFences(box.fence('s/b'), fence)).toBeGreaterThan(0);
  });

  test('outgrows what a claim of a person has heard of, too', () => {
    const box = early();
    box.hand('hand/ann', ['a'], { epoch: LATER, fence: { epoch: LATER, number: 7 }, left: 20_000 });
    expect([...box.state.due.announcements]).toContain('hand/ann');
    box.hand('hand/ann', ['a'], { epoch: box.state.epoch });
    expect(standingOf(box.state, 'hand/ann')?.epoch).toBeGreaterThan(LATER);
    expect(box.phase('hand/ann')).toBe('running');
  });

  test('is heeded by a task that waits and has heard of the other', () => {
    const box = early();
    box.writes('s/a', ['a'], {}, { epoch: LATER });
    announced(box, 's/a');
    box.tell({ kind: 'surveyed', live: ['s/a'], last: true });
    expect(box.phase('s/a')).toBe('running');
    expect(standingOf(box.state, 's/a')?.epoch).toBeGreaterThan(LATER);
  });
});
