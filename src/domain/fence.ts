// Fencing tokens (Kleppmann's term): each grant carries a (epoch, number) pair that only grows. The epoch rises
// whenever a coordinator starts without state, the number with every grant.

import { z } from 'zod';

export const Fence = z.object({ epoch: z.number(), number: z.number() });
export type Fence = z.infer<typeof Fence>;

/** "epoch.number": fit for refs, file names and printing. */
export const fenceText = (fence: Fence): string => `${fence.epoch}.${fence.number}`;

export const sameFence = (a: Fence | undefined, b: Fence | undefined): boolean =>
  a !== undefined && b !== undefined && a.epoch === b.epoch && a.number === b.number;

/**
 * Whether a life is known to be earlier than another, so that its late messages do not pass for news. Lives tell by
 * starting with the time they began, in milliseconds: `1700000000000.run-id`.
 */
export const earlierLife = (a: string, b: string): boolean => beganAt(a) < beganAt(b);

/** Enough of a run's id to tell runs that began at the same moment; the state of thousands of tasks is carried. */
const RUN_ID = 8;

/**
 * The life that a run of a workflow begins. Its time is that of the start, which never changes: Temporal's `runStartTime`
 * is that of the first workflow task, which is another one when that is tried again.
 */
export const lifeOf = ({ startTime, runId }: { startTime: Date; runId: string }): string =>
  `${startTime.getTime()}.${runId.slice(0, RUN_ID)}`;

/** When a life began, in milliseconds. */
export const beganAt = (life: string): number => Number(life.split('.', 1)[0]);

/** Negative when `a` is older than `b`. */
export const compareFences = (a: Fence, b: Fence): number => a.epoch - b.epoch || a.number - b.number;
