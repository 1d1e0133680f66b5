// What a task says to the coordinator. Its agent's worker says that the attempt is over, at once and before the workflow
// hears of it: so the answer, mostly the outcome, comes back with the attempt's end, and the packet is kept by then. A
// word that is lost on this way is said again by the workflow.

import { Context } from '@temporalio/activity';
import type { TaskReport } from '../src/domain/messages.js';
import { type AttemptRecord, draftOf, type Packet, packetWith } from '../src/domain/packet.js';
import type { AgentInput, AgentRun } from './agent.js';
import type { Answered } from './delivery.js';
import type { Host } from './host.js';
import type { Outbox } from './outbox.js';

/** How long an answer is waited for, in milliseconds: a workflow task is kept open for it, or the slot of an agent. */
const PATIENCE = { workflowTask: 1_000, slot: 5_000 };

export interface AttemptInput extends AgentInput {
  /** What the task says while the attempt runs, under a number that is kept for its end. */
  report: TaskReport;
  earlier: AttemptRecord[];
}

export interface AttemptEnd extends AgentRun, Answered {
  /** The coordinator was told. */
  told: boolean;
}

export interface ReportInput {
  report: TaskReport;
  asks: boolean;
  /** See Standing. */
  gap?: number;
}

export interface PacketInput {
  repository?: string;
  role?: string;
  packet: Packet;
  ifAbsent?: boolean;
}

export interface TaskParts {
  runAgent(input: AgentInput): Promise<AgentRun>;
  keepPacket(input: PacketInput): Promise<void>;
}

/** Nobody waits for this attempt any more: its workflow is closed, or took it for lost. It is not spoken for. */
function isAbandoned(): boolean {
  const details = Context.current().cancellationDetails;
  return details?.notFound === true || details?.timedOut === true;
}

export function reportActivities(host: Pick<Host, 'config' | 'log'>, outbox: Outbox, parts: TaskParts) {
  return {
    /** A task's word to the coordinator; with the answer when it asks for one and that comes soon. */
    async report({ report, asks, gap }: ReportInput): Promise<Answered> {
      if (gap !== undefined) outbox.pause(gap);
      if (!asks) await outbox.tell(report);
      const standing = asks ? await outbox.ask(report, PATIENCE.workflowTask) : undefined;
      return standing ? { standing } : {};
    },

    /** Runs the agent, tells what came out, and keeps the packet when that was the task's end. */
    async runAgent({ report, earlier, ...input }: AttemptInput): Promise<AttemptEnd> {
      const run = await parts.runAgent(input);
      if (isAbandoned()) return { ...run, told: false };
      const end: TaskReport = { ...report, at: 'stopped', result: run.result };
      try {
        const standing = await outbox.ask(end, PATIENCE.slot);
        if (!standing) return { ...run, told: true };
        const { outcome } = standing;
        if (!outcome) return { ...run, told: true, standing };
        const attempts = [...earlier, { ...run.record, result: run.result }];
        const draft = draftOf(end, { fleet: host.config.fleet, prompt: input.prompt, attempts });
        const kept = await parts.keepPacket({ ...input, packet: packetWith(draft, standing, outcome) }).then(
          () => true,
          () => false,
        );
        return { ...run, told: true, standing, kept };
      } catch (error) {
        host.log(`the end of ${input.task} is told by its workflow: ${String(error)}`);
        return { ...run, told: false };
      }
    },
  };
}
