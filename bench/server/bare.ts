// What everything here is compared with: a workflow that does nothing but so many activities, one after the other.

import { proxyActivities } from '@temporalio/workflow';
import type { BareActivities } from './world.js';

const { step } = proxyActivities<BareActivities>({ startToCloseTimeout: '1 minute' });

export async function bare(name: string, steps: number): Promise<void> {
  for (let i = 0; i < steps; i++) await step(name);
}
