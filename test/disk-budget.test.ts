// What goes first when a host's disk is short, and what a cleanup does with what it finds.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Found, verdictOn } from '../src/domain/cleanup.js';
import { evictions, isShort, roomFor, type Stored } from '../src/domain/disk-budget.js';

const stored = (kind: Stored['kind'], path: string, bytes: number, since = 0): Stored => ({
  path,
  kind,
  bytes,
  since,
});
const names = (gone: readonly Stored[]) => gone.map(({ path }) => path);

describe('the disk that workstations are given', () => {
  const all = [
    stored('kept', 'kept-new', 10, 5),
    stored('running', 'running', 50),
    stored('ready', 'ready-new', 10, 9),
    stored('unkept', 'unkept', 50),
    stored('kept', 'kept-old', 10, 1),
    stored('ready', 'ready-old', 10, 8),
    stored('shared', 'mirror', 10),
  ];

  test('is left alone while all fits', () => {
    expect(evictions(all, 150)).toEqual([]);
  });

  test('is made room in: ready clones first, then kept ones, the oldest first, and no more than has to', () => {
    expect(names(evictions(all, 149))).toEqual(['ready-old']);
    expect(names(evictions(all, 130))).toEqual(['ready-old', 'ready-new']);
    expect(names(evictions(all, 129))).toEqual(['ready-old', 'ready-new', 'kept-old']);
    expect(names(evictions(all, 0))).toEqual(['ready-old', 'ready-new', 'kept-old', 'kept-new']);
  });

  test('never at the cost of what runs, or of commits that are kept nowhere else', () => {
    const kinds = fc.constantFrom<Stored['kind']>('ready', 'kept', 'running', 'unkept', 'shared');
    const one = fc.record({ path: fc.string(), kind: kinds, bytes: fc.nat(1_000), since: fc.nat(10) });
    fc.assert(
      fc.property(fc.array(one), fc.nat(5_000), (some, most) => {
        const gone = evictions(some, most);
        const bytes = (of: readonly Stored[]) => of.reduce((sum, { bytes }) => sum + bytes, 0);
        expect(gone.every(({ kind }) => kind === 'ready' || kind === 'kept')).toBe(true);
        const left = bytes(some) - bytes(gone);
        const mayGo = some.filter(({ kind }) => kind === 'ready' || kind === 'kept');
        expect(left <= most || gone.length === mayGo.length).toBe(true);
        // The last one had to go.
        const last = gone.at(-1);
        if (last) expect(left + last.bytes).toBeGreaterThan(most);
      }),
    );
  });

  test('ends where a tenth of the disk is free', () => {
    expect(roomFor(100, 50, { free: 200, size: 1_000 })).toBe(100);
    expect(roomFor(100, 50, { free: 80, size: 1_000 })).toBe(30);
    expect(roomFor(20, 50, { free: 80, size: 1_000 })).toBe(20);
    expect([isShort({ free: 99, size: 1_000 }), isShort({ free: 100, size: 1_000 })]).toEqual([true, false]);
  });
});

describe('a cleanup', () => {
  const does = (found: Found) => verdictOn(found).does;
  const station = { kind: 'workstation', task: 'p/a', workerAlive: true, taskOpen: true } as const;
  const ref = {
    kind: 'attempt ref',
    task: 'p/a',
    planOpen: false,
    branch: 'main',
    contained: false,
  } as const;

  test('leaves alone what runs, and keeps the work of what does not run any more', () => {
    expect(does(station)).toBe('stay');
    expect(does({ ...station, taskOpen: false })).toBe('stay');
    expect(does({ ...station, workerAlive: false })).toBe('quarantine');
    expect(does({ ...station, workerAlive: false, taskOpen: false })).toBe('quarantine');
    expect(does({ ...station, over: 'the repository could not be reached' })).toBe('quarantine');
  });

  test('removes clones of tasks that are over, and of workers that are dead', () => {
    expect(does({ kind: 'kept clone', task: 'p/a', taskOpen: true })).toBe('stay');
    expect(does({ kind: 'kept clone', task: 'p/a', taskOpen: false })).toBe('remove');
    expect(does({ kind: 'ready clone', workerAlive: true })).toBe('stay');
    expect(does({ kind: 'ready clone', workerAlive: false })).toBe('remove');
    expect(does({ kind: 'remains' })).toBe('remove');
  });

  test('removes an attempt’s ref when its commits, or what they became, are on the branch, and no sooner', () => {
    expect(verdictOn(ref)).toEqual({ does: 'stay', why: 'its commits are not on main' });
    expect(does({ ...ref, contained: true })).toBe('remove');
    expect(does({ ...ref, landedAs: 'abc' })).toBe('remove');
    expect(does({ ...ref, contained: true, planOpen: true })).toBe('stay');
    expect(does({ ...ref, landedAs: 'abc', planOpen: true })).toBe('stay');
  });
});
