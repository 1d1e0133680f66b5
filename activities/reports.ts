// What a task says to the coordinator. Its agent's worker says that the attempt is over, at once and before the workflow
// hears of it: so the answer, mostly the outcome, comes back with the attempt's end, and the packet is kept by then. A
// word that is lost on this way is said again by the workflow.

import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { taskName } from '../src/domain/ids.js';
import type { Standing, TaskReport } from '../src/domain/messages.js';
import { type AttemptRecord, draftOf, type Packet, packetWith } from '../src/domain/packet.js';
import { factsOf, planOf, TaskInput } from '../src/domain/plan.js';
import { problemsOf, problemText } from '../src/domain/problems.js';
import type { AgentInput, AgentRun } from './attempt.js';
import type { Answered } from './delivery.js';
import type { Host } from './host.js';
import type { Outbox } from './outbox.js';

/** How long an answer is waited for, in milliseconds: a workflow task is kept open for it, or the slot of an agent. */
const PATIENCE = { workflowTask: 1_000, slot: 5_000, landing: 2_000 };

export interface AttemptInput extends AgentInput {
  /** What the task says while the attempt runs, under a number that is kept for its end. */
  report: TaskReport;
  earlier: AttemptRecord[];
}

export interface AttemptEnd extends AgentRun, Answered {
  /** The coordinator was told. */
  told: boolean;
}

export interface AcceptInput {
  /** What the workflow was started with, by anybody. */
  raw: unknown;
  life: string;
}

/** The task as it was understood, without its prompt, which the history has already. */
export interface Accepted extends Answered {
  input: Omit<TaskInput, 'task'> & { task: Omit<TaskInput['task'], 'prompt'> };
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
  /** A task's word to the coordinator; with the answer when it asks for one and that comes soon. */
  async function report({ report, asks, gap }: ReportInput): Promise<Answered> {
    if (gap !== undefined) outbox.pause(gap);
    if (!asks) await outbox.tell(report);
    const standing = asks ? await outbox.ask(report, PATIENCE.workflowTask) : undefined;
    return standing ? { standing } : {};
  }

  return {
    report,

    /**
     * Checks what a task was started with, and announces it. What was understood is recorded: another schema changes no
     * replay, and the schema is not made anew for each workflow. Throws a failure of type BadTask.
     */
    async accept({ raw, life }: AcceptInput): Promise<Accepted> {
      const { task, ...input } = inputOf(raw);
      const { prompt: _, ...rest } = task;
      const plan = planOf(input);
      const said: TaskReport = {
        kind: 'task',
        id: taskName(plan.id, task.id),
        life,
        number: 1,
        plan,
        facts: factsOf(task, plan.id),
        attempt: 1,
        at: 'waiting',
      };
      // Worth waiting for, unless the answer is that the plan has to arrive first.
      const answered = await report({ report: said, asks: (plan.size ?? 1) === 1 });
      return { input: { ...input, task: rest }, ...answered };
    },

    /** Runs the agent, tells what came out, and keeps the packet when that was the task's end. */
    async runAgent({ report, earlier, ...input }: AttemptInput): Promise<AttemptEnd> {
      const run = await parts.runAgent(input);
      if (isAbandoned()) return { ...run, told: false };
      const end: TaskReport = { ...report, at: 'stopped', result: run.result };
      try {
        const answer = await outbox.ask(end, PATIENCE.slot);
        // A landing that goes quickly is the end of the attempt as well, and costs its task nothing more.
        const lands = answer?.phase === 'landing' && answer.decision.verdict === 'land';
        const standing = (lands ? await outbox.next(end, PATIENCE.landing) : undefined) ?? answer;
        if (!standing) return { ...run, told: true };
        const { outcome } = standing;
        if (!outcome) return { ...run, told: true, standing };
        const attempts = [...earlier, { ...run.record, result: run.result }];
        const draft = draftOf(end, { fleet: host.config.fleet, prompt: input.prompt, attempts });
        const kept = await parts.keepPacket({ ...input, packet: packetWith(draft, standing, outcome) }).then(
          () => true,
          () => false,
        );
        return { ...run, told: true, standing: kept ? withoutStory(standing) : standing, kept };
      } catch (error) {
        host.log(`the end of ${input.task} is told by its workflow: ${String(error)}`);
        return { ...run, told: false };
      }
    },
  };
}

/** What stands in the packet by then need not stand in the history. */
function withoutStory({ story: _, beside: __, ...standing }: Standing): Standing {
  return standing;
}

function inputOf(raw: unknown): TaskInput {
  const parsed = TaskInput.safeParse(raw);
  if (parsed.success) return parsed.data;
  const lines = problemsOf(parsed.error, TaskInput, raw).map((problem) => problemText(problem, 'input'));
  throw ApplicationFailure.create({
    type: 'BadTask',
    nonRetryable: true,
    message: `the task cannot be accepted:\n${lines.join('\n')}`,
  });
}
