// Lets no workflow have what has happened before its workflow task has begun.
//
// A query to a workflow that its worker does not have in its cache, because the one before was lost, is answered on its
// whole history. When a workflow task is due but has not begun, Temporal's SDK (1.22) gives the workflow the events that
// it is for all the same, at the time of the one before, and keeps what comes of that. A replay gives them when the task
// begins, at its time, and takes another course: the workflow is stuck for good. To hold them back does not do either, for
// when the task begins the SDK takes them for given, and may give the workflow nothing at all. So the activation fails:
// the SDK drops the workflow from its cache, the question fails (clients ask again, see src/client/ask-again.ts), and the
// workflow task finds its whole history.

import type {
  ActivateInput,
  Next,
  WorkflowInterceptors,
  WorkflowInternalsInterceptor,
} from '@temporalio/workflow';
import { EARLY } from '../src/domain/ids.js';

type Job = NonNullable<ActivateInput['activation']['jobs']>[number];

/** Of the jobs those that an event in the history brings, and not this worker's own doing. */
const isEvent = ({ fireTimer, signalWorkflow, cancelWorkflow, resolveActivity }: Job): boolean =>
  Boolean(fireTimer || signalWorkflow || cancelWorkflow || (resolveActivity && !resolveActivity.isLocal));

class EarlyEvents implements WorkflowInternalsInterceptor {
  private time: string | undefined;

  activate(input: ActivateInput, next: Next<WorkflowInternalsInterceptor, 'activate'>): void {
    const { activation, batchIndex } = input;
    const jobs = activation.jobs ?? [];
    // Questions come on their own, and are answered from what the workflow knows.
    if (batchIndex === 0 && !jobs.some((job) => job.queryWorkflow)) {
      const time = `${activation.timestamp?.seconds} ${activation.timestamp?.nanos}`;
      // Workflow tasks begin at different times, to the nanosecond.
      if (!activation.isReplaying && time === this.time && jobs.some(isEvent)) throw new Error(EARLY);
      this.time = time;
    }
    next(input);
  }
}

export const interceptors = (): WorkflowInterceptors => ({ internals: [new EarlyEvents()] });
