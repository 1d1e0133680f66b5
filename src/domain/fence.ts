// Fencing tokens (Kleppmann's term): each grant carries a (epoch, number) pair that only grows. The epoch rises
// whenever a coordinator starts without state, the number with every grant.

import { z } from 'zod';

export const Fence = z.object({ epoch: z.number(), number: z.number() });
export type Fence = z.infer<typeof Fence>;

/** "epoch.number": fit for refs, file names and printing. */
export const fenceText = (fence: Fence): string => `${fence.epoch}.${fence.number}`;

export const sameFence = (a: Fence | undefined, b: Fence | undefined): boolean =>
  a !== undefined && b !== undefined && a.epoch === b.epoch && a.number === b.number;

/** Negative when `a` is older than `b`. */
export const compareFences = (a: Fence, b: Fence): number => a.epoch - b.epoch || a.number - b.number;
