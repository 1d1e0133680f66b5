// Claims of persons, by name, as a program makes, renews and releases them.

import {
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import { QUERY, RENEW, SIGNAL, taskQueue, taskWorkflowId, WORKFLOW } from '../domain/ids.js';
import type { HandReport } from '../domain/messages.js';
import type { HandState, Renewal } from '../domain/views.js';
import type { FleetReader } from './fleet-reader.js';
import { NoAnswer, Refused } from './refused.js';

const POLL_MS = 250;
/** How long the coordinator may take to answer. */
const ANSWER_MS = 30_000;

/** A person's claim, before it is one. */
export type HandClaim = Pick<HandReport, 'id' | 'by' | 'repository' | 'writes' | 'lease' | 'note' | 'wait'>;

export class HandClaims {
  constructor(private readonly reader: FleetReader) {}

  private handle(id: string) {
    const { client, fleet } = this.reader;
    return client.workflow.getHandle(taskWorkflowId(fleet, id));
  }

  /**
   * A person's claim, by name. Resolves when it is granted, queued (with `wait`) or refused. Claiming the same paths under
   * the same name again renews. Throws Refused when the name is in use for others.
   */
  async claim(claim: HandClaim): Promise<HandState> {
    // Asked first: without a worker the claim would lie in wait and be granted to nobody, whenever one starts.
    await this.reader.story(claim.id);
    const { id, by, note } = claim;
    const workflow = this.handle(id);
    try {
      await this.reader.client.workflow.start(WORKFLOW.hand, {
        workflowId: workflow.workflowId,
        taskQueue: taskQueue(this.reader.fleet),
        args: [{ fleet: this.reader.fleet, hand: claim }],
        staticSummary: `claim of ${by}${note ? `: ${note}` : ''}`.slice(0, 150),
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      const known = await this.handState(id);
      const same = JSON.stringify([...claim.writes].sort()) === JSON.stringify([...known.writes].sort());
      if (known.phase === 'ended') {
        await workflow.result();
        return await this.claim(claim);
      }
      if (!same || known.repository !== claim.repository)
        throw new Refused(`${id} holds or waits for a claim already: release it first, or use another name`);
      if (known.phase === 'running') await this.renew(id, { lease: claim.lease });
    }
    for (const end = Date.now() + ANSWER_MS; ; ) {
      const state = await this.handState(id);
      const waits = claim.wait && state.heard && state.code !== 'RECOVERING';
      if (state.phase !== 'held' || waits) return state;
      if (Date.now() > end) throw new NoAnswer(`no answer of the coordinator to the claim ${id}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  private async handState(id: string): Promise<HandState> {
    const workflow = this.handle(id);
    return await this.reader.client.withDeadline(Date.now() + ANSWER_MS, () =>
      workflow.query<HandState, []>(QUERY.hand),
    );
  }

  /** The claim's lease runs anew. Throws Refused when there is none, or when it holds under another fence. */
  async renew(id: string, renewal: Renewal): Promise<{ fence: string; lease: number }> {
    await this.reader.story(id);
    await this.refuseNoHand(id);
    try {
      return await this.reader.client.withDeadline(Date.now() + ANSWER_MS, () =>
        this.handle(id).executeUpdate<{ fence: string; lease: number }, [Renewal]>(RENEW, {
          args: [renewal],
        }),
      );
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError && error.cause) throw new Refused(error.cause.message);
      if (error instanceof WorkflowNotFoundError) throw new Refused(`${id} has just ended`);
      if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError)
        throw new NoAnswer(`no answer of the coordinator to the renewal of ${id}`);
      throw error;
    }
  }

  private async refuseNoHand(id: string): Promise<void> {
    const found = await this.reader.describe(id);
    if (found?.status !== 'RUNNING') throw new Refused(`nobody holds a claim called ${id}`);
  }

  /** Gives a person's claim back. Throws Refused when there is none of that name. */
  async release(id: string, by: string): Promise<void> {
    await this.reader.story(id);
    await this.refuseNoHand(id);
    try {
      await this.handle(id).signal(SIGNAL.release, { by });
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return;
      throw error;
    }
    for (const end = Date.now() + ANSWER_MS; Date.now() < end; ) {
      if ((await this.reader.describe(id))?.status !== 'RUNNING') return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    throw new NoAnswer(`no answer of the coordinator to the release of ${id}`);
  }
}
