// What is given to a workflow before its workflow task has begun is refused. That this makes replays take the same course
// is seen in cut-off.test.ts and kept-clones-run.test.ts, whose workers are lost while somebody asks.

import type { ActivateInput } from '@temporalio/workflow';
import { expect, test } from 'vitest';
import { interceptors } from '../workflows/early-events.js';

type Activation = ActivateInput['activation'];

/** What a workflow is given, and in what order, when the SDK comes with these. */
function given(activations: Activation[]): string[][] {
  const [interceptor] = interceptors().internals ?? [];
  const seen: string[][] = [];
  for (const activation of activations)
    interceptor?.activate?.({ activation, batchIndex: 0 }, ({ activation: { jobs } }) => {
      seen.push((jobs ?? []).map((job) => Object.keys(job).join()));
    });
  return seen;
}

const at = (ms: number, jobs: NonNullable<Activation['jobs']>, isReplaying = false): Activation => ({
  timestamp: { nanos: ms * 1e6 },
  jobs,
  isReplaying,
});
const SIGNAL = { signalWorkflow: {} };
const TIMER = { fireTimer: {} };
const QUERY = { queryWorkflow: {} };
const LOCAL = { resolveActivity: { isLocal: true } };
const ACTIVITY = { resolveActivity: {} };

test('events at the time of what was before are not given: the workflow is read anew', () => {
  for (const jobs of [[SIGNAL], [TIMER], [ACTIVITY], [LOCAL, TIMER]])
    expect(() => given([at(1, [SIGNAL]), at(1, jobs)])).toThrow('ask again');
});

test('what the worker itself did, what is asked, and what is replayed, comes at once', () => {
  expect(
    given([at(1, [SIGNAL]), at(1, [LOCAL]), at(1, [QUERY]), at(1, [TIMER], true), at(2, [TIMER])]),
  ).toHaveLength(5);
});
