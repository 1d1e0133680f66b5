// How a task's claims change while it runs: it asks for more paths, waits for them or goes without, and gives back what
// it no longer needs. The properties in decide.test.ts cover the same with faults.

import { describe, expect, test } from 'vitest';
import type { Extend } from '../src/domain/messages.js';
import { carry, restore } from '../src/domain/state.js';
import { standingOf } from '../src/domain/views.js';
import { Box } from './support/box.js';

const roles = { dev: { repository: 'app', maxRunning: 9 }, ops: { repository: 'app', maxRunning: 1 } };

/** A box in which each of the tasks runs and holds what it is named after: `s/a` holds `a`. */
function running(ids: string[], rules: ConstructorParameters<typeof Box>[0] = {}): Box {
  const box = new Box({ ceiling: 9, roles, ...rules });
  for (const id of ids) box.writes(id, [id.slice(2)]);
  for (const id of ids) box.runs(id);
  return box;
}

const asks = (box: Box, id: string, paths: string[], more: Partial<Extend> = {}) =>
  box.task(id, { extend: { number: 1, paths, wait: false, ...more } });
/** The task has taken the answer in: what it claims from now on. */
const claims = (box: Box, id: string, writes: string[]) =>
  box.task(id, { extend: undefined as never, facts: { writes } });
const answer = (box: Box, id: string) => standingOf(box.state, id)?.extension;

describe('an extension', () => {
  test('is granted when nobody else holds the paths, and excludes others from then on', () => {
    const box = running(['s/a']);
    asks(box, 's/a', ['b', 'c']);
    expect(answer(box, 's/a')).toMatchObject({ number: 1, answer: 'granted', paths: ['b', 'c'] });
    box.writes('s/b', ['b/x']);
    expect(box.sentence('s/b')).toBe('b/x overlaps b, held by s/a');
    claims(box, 's/a', ['a', 'b', 'c']);
    expect(box.why('s/b')).toBe('PATH_HELD');
    box.commits('s/a');
    expect(box.orders().landings[0]?.writes, 'and its landing is checked against it').toEqual([
      'a',
      'b',
      'c',
    ]);
    box.lands('s/a');
    expect(box.phase('s/b')).toBe('running');
  });

  test('is refused, all of it, with the holder, and the task goes on without', () => {
    const box = running(['s/a', 's/b']);
    asks(box, 's/a', ['c', 'b/x']);
    expect(answer(box, 's/a')).toMatchObject({
      answer: 'refused',
      evidence: { holder: 's/b', held: 'b', path: 'b/x' },
    });
    expect(box.phase('s/a')).toBe('running');
    box.writes('s/c', ['c']);
    expect(box.phase('s/c')).toBe('running');
  });

  test('waits, with its agent and its claims, for one that comes to its end without it', () => {
    const box = running(['s/a', 's/b']);
    asks(box, 's/a', ['b'], { wait: true });
    expect([answer(box, 's/a')?.answer, box.phase('s/a')]).toEqual(['waiting', 'running']);
    box.writes('s/c', ['b']);
    box.commits('s/b');
    expect(answer(box, 's/a')?.answer, 'while that lands').toBe('waiting');
    box.lands('s/b');
    expect([answer(box, 's/a')?.answer, box.why('s/c')], 'before those who hold nothing yet').toEqual([
      'granted',
      'PATH_HELD',
    ]);
  });

  test('that would wait for itself starts again with all the paths, and with its work', () => {
    const box = running(['s/a', 's/b']);
    asks(box, 's/a', ['b'], { wait: true });
    asks(box, 's/b', ['a'], { wait: true });
    expect([box.phase('s/a'), box.phase('s/b')]).toEqual(['running', 'stopping']);
    expect(answer(box, 's/b')).toMatchObject({ answer: 'retry', evidence: { holder: 's/a' } });
    box.task('s/b', {
      at: 'stopped',
      extend: undefined as never,
      facts: { writes: ['b', 'a'] },
      result: { kind: 'failed', dead: true, code: 'CANCELLED_BY_REQUEST', text: '' },
    });
    expect(answer(box, 's/a')?.answer).toBe('granted');
    box.pass(0);
    expect([box.why('s/b'), box.record('s/b').holds]).toEqual(['PATH_HELD', false]);
    claims(box, 's/a', ['a', 'b']);
    box.commits('s/a');
    box.lands('s/a');
    expect([box.phase('s/b'), box.record('s/b').facts.writes]).toEqual(['running', ['b', 'a']]);
  });

  test('that starts again while an agent of an earlier attempt may live waits for that, and is granted all at once', () => {
    const box = running(['s/a', 's/b'], { lease: 60_000, lockDelay: 1_000 });
    box.fails('s/b', 'WORKER_LOST', { dead: false });
    box.pass(0);
    box.runs('s/b');
    asks(box, 's/a', ['b'], { wait: true });
    asks(box, 's/b', ['a'], { wait: true });
    claims(box, 's/a', ['a']);
    box.task('s/b', {
      at: 'stopped',
      extend: undefined as never,
      facts: { writes: ['b', 'a'] },
      result: { kind: 'failed', dead: true, code: 'CANCELLED_BY_REQUEST', text: '' },
    });
    box.pass(0);
    expect(box.why('s/b')).toBe('PATHS_RESTING');
    box.writes('s/c', ['b']);
    box.renew('s/a');
    box.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
    box.pass(59_000);
    box.renew('s/a');
    box.pass(2_000);
    expect([box.why('s/b'), box.phase('s/c')]).toEqual(['PATH_HELD', 'running']);
    for (const id of ['s/a', 's/c']) {
      expect(box.phase('s/b')).toBe('held');
      box.runs(id);
      box.commits(id);
      box.lands(id);
    }
    expect([box.phase('s/b'), box.record('s/b').facts.writes]).toEqual(['running', ['b', 'a']]);
  });

  test('never waits over several others for itself', () => {
    const box = running(['s/a', 's/b', 's/c']);
    asks(box, 's/a', ['b'], { wait: true });
    asks(box, 's/b', ['c'], { wait: true });
    asks(box, 's/c', ['a'], { wait: true });
    expect(['s/a', 's/b', 's/c'].map(box.phase)).toEqual(['running', 'running', 'stopping']);
  });

  test('does not wait with an agent for one that waits for a slot', () => {
    const box = running(['s/a', 's/b'], { ceiling: 2 });
    asks(box, 's/a', ['b'], { wait: true });
    box.fails('s/b');
    expect([box.phase('s/b'), box.phase('s/a')]).toEqual(['backoff', 'stopping']);
    expect(box.why('s/a')).toBe('EXTENSION_RETRIED');
  });

  test('waits for all that hold something of it, and looks again when any of them changes', () => {
    const box = running(['s/a', 's/b', 's/c']);
    asks(box, 's/a', ['b', 'c'], { wait: true });
    expect(answer(box, 's/a')).toMatchObject({ answer: 'waiting', evidence: { holder: 's/b' } });
    // The one that is not named loses its attempt: it waits for a slot that the asking one may take up.
    box.task('s/c', {
      at: 'stopped',
      result: { kind: 'failed', dead: true, code: 'AGENT_FAILED', text: '' },
    });
    expect(answer(box, 's/a')).toMatchObject({ answer: 'retry', evidence: { holder: 's/c' } });
    expect(box.phase('s/a')).toBe('stopping');
  });

  test('that is no longer wanted is forgotten, and what was granted meanwhile is given back', () => {
    const box = running(['s/a', 's/b']);
    asks(box, 's/a', ['b'], { wait: true });
    claims(box, 's/a', ['a']);
    expect([answer(box, 's/a'), box.state.extenders.size]).toEqual([undefined, 0]);
    asks(box, 's/a', ['c'], { number: 2 });
    box.writes('s/c', ['c']);
    claims(box, 's/a', ['a']);
    expect([box.why('s/a'), box.phase('s/c')]).toEqual(['GIVEN_BACK', 'running']);
  });

  test('waits for a person’s claim, and for one that rests', () => {
    const box = running(['s/a']);
    box.hand('hand/ann', ['b']);
    asks(box, 's/a', ['b'], { wait: true });
    expect(answer(box, 's/a')?.answer).toBe('waiting');
    box.hand('hand/ann', []);
    expect(answer(box, 's/a')?.answer).toBe('granted');
  });

  test('asked again after the coordinator was lost is judged when all are heard of', () => {
    const box = running(['s/a']);
    const fence = box.fence('s/a');
    const next = new Box({ roles }, true);
    next.writes('s/a', ['a'], {}, { at: 'running', fence, extend: { number: 1, paths: ['b'], wait: false } });
    expect(answer(next, 's/a')?.answer).toBe('waiting');
    next.tell({ kind: 'surveyed', live: ['s/a'], last: true });
    expect(answer(next, 's/a')?.answer).toBe('granted');
  });

  test('waits on after the state was carried over', () => {
    const box = running(['s/a', 's/b']);
    asks(box, 's/a', ['b'], { wait: true });
    box.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
    box.fails('s/b', 'AGENT_FAILED', { final: true });
    expect(answer(box, 's/a')?.answer).toBe('granted');
  });

  test('is void when its attempt is over', () => {
    const box = running(['s/a', 's/b']);
    asks(box, 's/a', ['b'], { wait: true });
    box.commits('s/a');
    expect([box.record('s/a').extension, box.state.extenders.size]).toEqual([undefined, 0]);
  });
});

describe('a claim that is given back while its task runs', () => {
  test('is free at once, and its landing is checked without it', () => {
    const box = new Box();
    box.writes('s/a', ['a', 'b']);
    box.runs('s/a');
    box.writes('s/b', ['b']);
    claims(box, 's/a', ['a']);
    expect([box.why('s/a'), box.sentence('s/a')]).toEqual(['GIVEN_BACK', 'it gave back b while it ran']);
    expect(box.phase('s/b')).toBe('running');
    box.commits('s/a');
    expect(box.orders().landings[0]?.writes).toEqual(['a']);
  });

  test('stays when its task was granted it once more meanwhile, and has not heard of that', () => {
    const box = running(['s/a']);
    asks(box, 's/a', ['a']);
    expect(answer(box, 's/a')).toMatchObject({ answer: 'granted' });
    // Given back before the answer came, which brings it again.
    box.task('s/a', { facts: { writes: [] } });
    box.writes('s/b', ['a']);
    claims(box, 's/a', ['a']);
    expect([box.record('s/a').facts.writes, box.phase('s/b')]).toEqual([['a'], 'held']);
  });

  test('cannot be taken back by saying so: paths are added by an extension only', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.runs('s/a');
    box.writes('s/b', ['b']);
    claims(box, 's/a', ['a', 'b']);
    expect([box.record('s/a').facts.writes, box.phase('s/b')]).toEqual([['a'], 'running']);
  });
});
