// Whether a coordinator or writer runs, and can go on. It cannot when each of its workflow tasks fails, because what it did
// is not what this build would do, or because of an error in it; Temporal would try for ever. It need not be kept: the next
// one learns all that it has to know from the tasks and from the ledger. So it is ended.

import { type Client, WorkflowNotFoundError } from '@temporalio/client';

/** No workflow task has come to its end for so long, by performance.now(): a worker of another build may be about to go. */
const PATIENCE_MS = 15_000;
/** One that is as bad off after it was started anew is not started anew all the time. */
const AGAIN_MS = 60_000;
/** Of the history's end, what is looked at: signals go on coming. */
const EVENTS = 100;

/** WorkflowTaskFailedCause. Others are the way of the world: a signal that came meanwhile, a worker that went away. */
const UNHANDLED_FAILURE = 14;
const NON_DETERMINISTIC = 24;
/** Only the first of tries in a row leaves an event. After so many it does not matter any more why they failed. */
const MOST_TRIES = 10;

/** Where its last workflow task came to an end, and why all since then failed. */
interface Failed {
  at: string;
  why: string;
}

export class Singleton {
  /** Since when it has been stuck at that place. */
  private seen: { run: string; at: string; since: number } | undefined;
  private endedAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly client: Client,
    private readonly workflowId: string,
    private readonly log: (line: string) => void,
    private readonly patience = PATIENCE_MS,
  ) {}

  /** False when it does not run, or did but could not go on. To be asked every few seconds. */
  async runs(): Promise<boolean> {
    try {
      const { status, runId, raw } = await this.client.workflow.getHandle(this.workflowId).describe();
      if (status.name !== 'RUNNING') return false;
      const tries = raw.pendingWorkflowTask?.attempt ?? 0;
      return !(await this.ended(runId, tries > 0 ? await this.failedSince(runId, tries) : undefined));
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }

  /** Ends the run when it has been stuck for long enough; true when it did. */
  private async ended(runId: string, failed: Failed | undefined): Promise<boolean> {
    if (failed === undefined || this.seen?.run !== runId || this.seen.at !== failed.at) {
      this.seen = failed && { run: runId, at: failed.at, since: performance.now() };
      return false;
    }
    const now = performance.now();
    if (now - this.seen.since < this.patience || now - this.endedAt < AGAIN_MS) return false;
    this.endedAt = now;
    this.seen = undefined;
    this.log(`${this.workflowId} cannot go on (${failed.why}): another one takes its place`);
    // The very run that was looked at: somebody else may have done the same.
    await this.client.workflow.getHandle(this.workflowId, runId).terminate(`it cannot go on: ${failed.why}`);
    return true;
  }

  /** Undefined when a workflow task has come to its end, or may yet. */
  private async failedSince(runId: string, tries: number): Promise<Failed | undefined> {
    const { workflowId, client } = this;
    const { history } = await client.workflowService.getWorkflowExecutionHistoryReverse({
      namespace: client.options.namespace,
      execution: { workflowId, runId },
      maximumPageSize: EVENTS,
    });
    let why = tries >= MOST_TRIES ? `tried ${MOST_TRIES} times` : undefined;
    let at = 'before these';
    for (const event of history?.events ?? []) {
      const { eventId, workflowTaskFailedEventAttributes: failure } = event;
      if (event.workflowTaskCompletedEventAttributes) {
        at = String(eventId);
        break;
      }
      if (failure?.cause === UNHANDLED_FAILURE || failure?.cause === NON_DETERMINISTIC)
        why = (failure.failure?.message ?? '').slice(0, 300);
    }
    return why === undefined ? undefined : { at, why };
  }
}
