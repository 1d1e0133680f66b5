// The workflows of a build whose coordinators and writers do something else: on what ours have done they fail for ever.

import { sleep } from '@temporalio/workflow';

export { agentTask, handClaim } from '../../workflows/index.js';

export const coordinator = (): Promise<void> => sleep('1 hour');
export const writer = (): Promise<void> => sleep('1 hour');
