// What tasks may see of each other, as a person grants it and takes it back. Asked of the task that looks: its workflow is the
// truth about what it was granted.

import { randomUUID } from 'node:crypto';
import { QueryNotRegisteredError, WorkflowNotFoundError } from '@temporalio/client';
import { QUERY, SIGNAL, taskWorkflowId } from '../domain/ids.js';
import type { PeerAnswer, PeerRequest, PeerSeen } from '../domain/own-peers.js';
import type { FleetReader } from './fleet-reader.js';
import { NoAnswer, Refused } from './refused.js';

const POLL_MS = 250;
/** How long the coordinator may take to say that a grant is in force. */
const FORCE_MS = 15_000;
/** How long the task's workflow may take to hear of it. */
const HEAR_MS = 30_000;

export type PeerRequested = Omit<PeerRequest, 'id'> & { to: string };

export interface PeerResult extends PeerAnswer {
  /** All peers of the task that looks, as they stand. */
  seen: PeerSeen[];
  /** Of a grant: whether the coordinator has put it in force by now. */
  inForce: boolean;
}

export class PeerGrants {
  constructor(private readonly reader: FleetReader) {}

  /**
   * Lets a task see the tree of another. Resolves when that is in force, or refused by the operator's command. Throws Refused
   * for a task that is unknown, has ended, or does not name the other as its peer.
   */
  async grant(request: PeerRequested): Promise<PeerResult> {
    if (!(await this.reader.describe(request.owner)))
      throw new Refused(`no task ${request.owner} in fleet ${this.reader.fleet}`);
    const answer = await this.ask(SIGNAL.grantPeer, request);
    for (const end = Date.now() + FORCE_MS; ; ) {
      const seen = await this.seen(request.to);
      const wanted = seen.filter(({ as }) => answer.peers.includes(as));
      const inForce = answer.answer === 'granted' && wanted.every(({ granted }) => granted);
      if (answer.answer !== 'granted' || inForce || Date.now() > end) return { ...answer, seen, inForce };
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Takes it back, whoever or whatever had granted it. Throws as `grant` does. */
  async revoke(request: PeerRequested): Promise<PeerResult> {
    const answer = await this.ask(SIGNAL.revokePeer, request);
    return { ...answer, seen: await this.seen(request.to), inForce: false };
  }

  private async ask(signal: string, { to, ...request }: PeerRequested): Promise<PeerAnswer> {
    const { client, fleet } = this.reader;
    const workflow = client.workflow.getHandle(taskWorkflowId(fleet, to));
    const found = await this.reader.describe(to);
    if (!found)
      throw new Refused(`no task ${to} in fleet ${fleet}: it can be granted something once it is submitted`);
    if (found.status !== 'RUNNING')
      throw new Refused(`task ${to} has ended: it is ${found.state ?? found.status.toLowerCase()}`);
    const id = randomUUID();
    try {
      await workflow.signal(signal, { ...request, id } satisfies PeerRequest);
      for (const end = Date.now() + HEAR_MS; ; ) {
        const answer = await workflow.query<PeerAnswer | null, [string]>(QUERY.peerAnswer, id);
        if (answer && answer.answer !== 'asked') {
          // It names no such peer: nothing was done.
          if (answer.peers.length === 0) throw new Refused(answer.text);
          return answer;
        }
        if (!answer && Date.now() > end) throw new NoAnswer(`task ${to} does not answer: does a worker run?`);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) throw new Refused(`task ${to} has just ended`);
      throw error;
    }
  }

  private async seen(to: string): Promise<PeerSeen[]> {
    const { client, fleet } = this.reader;
    try {
      return await client.workflow.getHandle(taskWorkflowId(fleet, to)).query<PeerSeen[], []>(QUERY.peers);
    } catch (error) {
      if (error instanceof WorkflowNotFoundError || error instanceof QueryNotRegisteredError) return [];
      throw error;
    }
  }
}
