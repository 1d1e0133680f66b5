// Keeps what has happened from a workflow until its workflow task has begun.
//
// A query to a workflow that its worker does not have in its cache, because the one before was lost, is answered on its
// whole history. When a workflow task is due but has not begun, Temporal's SDK (1.22) gives the workflow the events that
// it is for all the same, at the time of the one before, and keeps what comes of that. A replay gives them when the task
// begins, at its time, together with what has happened since: it takes another course, and the workflow is stuck for
// good. So such events are held back here, and given with the next ones, in the order in which a replay gives them.

import type {
  ActivateInput,
  Next,
  WorkflowInterceptors,
  WorkflowInternalsInterceptor,
} from '@temporalio/workflow';

type Job = NonNullable<ActivateInput['activation']['jobs']>[number];

/** Of the jobs those that an event in the history brings, and not this worker's own doing. */
const isEvent = ({ fireTimer, signalWorkflow, cancelWorkflow, resolveActivity }: Job): boolean =>
  Boolean(fireTimer || signalWorkflow || cancelWorkflow || (resolveActivity && !resolveActivity.isLocal));

class EarlyEvents implements WorkflowInternalsInterceptor {
  private time: string | undefined;
  private readonly early: Job[] = [];
  private holding = false;

  activate(input: ActivateInput, next: Next<WorkflowInternalsInterceptor, 'activate'>): void {
    const { activation, batchIndex } = input;
    const jobs = activation.jobs ?? [];
    // Questions come on their own, and are answered from what the workflow knows.
    if (jobs.some((job) => job.queryWorkflow)) {
      next(input);
      return;
    }
    if (batchIndex === 0) {
      const time = `${activation.timestamp?.seconds} ${activation.timestamp?.nanos}`;
      // Workflow tasks begin at different times, to the nanosecond.
      this.holding = !activation.isReplaying && time === this.time && jobs.some(isEvent);
      this.time = time;
    }
    if (this.holding) {
      this.early.push(...jobs);
      return;
    }
    if (this.early.length > 0) {
      const all = [...this.early.splice(0), ...jobs];
      activation.jobs = [
        ...all.filter((job) => job.signalWorkflow),
        ...all.filter((job) => !job.signalWorkflow),
      ];
    }
    next(input);
  }
}

export const interceptors = (): WorkflowInterceptors => ({ internals: [new EarlyEvents()] });
