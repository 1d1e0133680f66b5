// Signals on their way from the coordinator: standings and orders go out as one local activity a batch. And what the
// coordinator has to ask Temporal.

import { activityInfo } from '@temporalio/activity';
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import { eachInParallel } from '../src/client/parallel.js';
import { signalWriter } from '../src/client/starts.js';
import { type PlanLookUp, submittedWith } from '../src/domain/decide/plans.js';
import {
  coordinatorId,
  SEARCH,
  SIGNAL,
  taskOfWorkflowId,
  taskWorkflowId,
  WORKFLOW,
  writerId,
} from '../src/domain/ids.js';
import type { Message, Orders, Outcome, Standing } from '../src/domain/messages.js';
import { REASONS, type ReasonCode } from '../src/domain/reasons.js';
import { type Legacy, legacyOf } from './forerunner.js';
import type { Host } from './host.js';
import type { Outbox } from './outbox.js';

/** Calls to the server at once. */
export const PARALLEL = 16;

export interface Delivery {
  standings: { task: string; standing: Standing }[];
  orders: { role: string; orders: Orders }[];
  /** Tasks asked to announce themselves to the coordinator of this epoch. */
  asked: string[];
  epoch: number;
  /** See `begin`. */
  began: string;
  /** Milliseconds that workers should wait between two signals under load. */
  gap: number;
}

export interface Delivered {
  /** Tasks whose workflow is closed. */
  gone: { task: string; life: string }[];
  /** The coordinator was reset to an earlier point of its history: nothing was sent. */
  reset: boolean;
}

/** The run that the history of a coordinator began with. */
export interface Began {
  run: string;
  /** That is another run than the one that asks: it was reset to an earlier point of its history. */
  reset: boolean;
}

/** The coordinator's answer to a report, when it came soon. */
export interface Answered {
  standing?: Standing;
  /** The packet of the outcome in it was kept. */
  kept?: boolean;
}

export interface Surveyed {
  live: string[];
  /** There was a coordinator of this fleet before, which did not hand its state on. */
  before: boolean;
  /** What those before left. */
  legacy: Legacy;
}

/** How a task ended. */
export interface Ended {
  task: string;
  outcome: Outcome;
}

export interface Found {
  outcomes: Ended[];
  plans: { plan: string; count: number }[];
}

/** `keptOutcomes` gives the outcomes of those tasks that have a change packet. */
export function deliveryActivities(
  host: Host,
  outbox: Outbox,
  keptOutcomes: (tasks: string[]) => Promise<Ended[]>,
) {
  const { client } = host;
  const { fleet } = host.config;
  return {
    /** A writer's word to the coordinator. */
    tell: (message: Message): Promise<void> => outbox.tell(message),

    /**
     * Does nothing, and is on record for that. Where a workflow task left no event, Temporal takes the next one together
     * with what keeps it open beyond 8 s when it replays it, at the time of the last: deadlines would have passed that
     * had not. So coordinators and writers, who go by the time, let no workflow task end without an event.
     */
    mark: async (): Promise<void> => undefined,

    /** Gives the run that the history of the workflow that asks began with. */
    async begin(): Promise<Began> {
      const { history } = await client.workflowService.getWorkflowExecutionHistory({
        namespace: client.options.namespace,
        execution: activityInfo().workflowExecution ?? null,
        maximumPageSize: 1,
      });
      const run = history?.events?.[0]?.workflowExecutionStartedEventAttributes?.originalExecutionRunId;
      if (!run) throw new Error('the history does not tell which run it began with');
      return { run, reset: wasReset(run) };
    },

    /** Asks Temporal to cancel a task's workflow, which has ended as cancelled and only has to be shown so. */
    async requestCancel(task: string): Promise<void> {
      await client.workflow.getHandle(taskWorkflowId(fleet, task)).cancel();
    },

    /** Sends a batch. Sending it twice does no harm. */
    async deliver(batch: Delivery): Promise<Delivered> {
      const gone: Delivered['gone'] = [];
      if (wasReset(batch.began)) return { gone, reset: true };
      outbox.serves();
      outbox.pause(batch.gap);
      await eachInParallel(batch.standings, PARALLEL, async ({ task, standing }) => {
        if (outbox.answer(task, standing)) return;
        try {
          await client.workflow.getHandle(taskWorkflowId(fleet, task)).signal(SIGNAL.standing, standing);
        } catch (error) {
          if (!(error instanceof WorkflowNotFoundError)) throw error;
          gone.push({ task, life: standing.life });
        }
      });
      await eachInParallel(batch.orders, PARALLEL, async ({ role, orders }) => {
        await signalWriter(client, fleet, role, SIGNAL.orders, orders);
      });
      await announce(
        client,
        batch.asked.map((task) => taskWorkflowId(fleet, task)),
        batch.epoch,
      );
      return { gone, reset: false };
    },

    /**
     * Lists the fleet's live tasks and writers, and asks each to announce itself to the coordinator of the epoch. Undefined,
     * and nobody is asked, when the coordinator was reset to an earlier point of its history.
     */
    async survey(epoch: number, began: string): Promise<Surveyed | undefined> {
      if (wasReset(began)) return undefined;
      const ids = await runningIds(client, fleet);
      await announce(client, ids, epoch);
      const { count } = await client.workflow.count(
        `WorkflowId = "${coordinatorId(fleet)}" AND ExecutionStatus IN ("Terminated", "Failed", "Canceled", "TimedOut", "Completed")`,
      );
      const legacy = await legacyOf(client, fleet, activityInfo().workflowExecution?.runId ?? '');
      return { live: ids.flatMap((id) => nameOf(fleet, id) ?? []), before: count > 0, legacy };
    },

    /**
     * Outcomes of closed tasks and how many tasks of plans were submitted, as Temporal remembers them. What it has
     * forgotten, or never knew to have ended, stands in the change packets.
     */
    async lookUp({ tasks, plans }: { tasks: string[]; plans: PlanLookUp[] }): Promise<Found> {
      const found: Found = { outcomes: [], plans: [] };
      const unknown: string[] = [];
      await eachInParallel(plans, PARALLEL, async (wanted) => {
        found.plans.push({ plan: wanted.plan, count: await submittedOf(client, fleet, wanted) });
      });
      await eachInParallel(tasks, PARALLEL, async (name) => {
        const known = await closedOutcome(client, taskWorkflowId(fleet, name));
        if (known === 'live') return;
        if (known) found.outcomes.push({ task: name, outcome: known });
        else unknown.push(name);
      });
      if (unknown.length > 0) found.outcomes.push(...(await keptOutcomes(unknown)));
      return found;
    },
  };
}

async function submittedOf(client: Client, fleet: string, wanted: PlanLookUp): Promise<number> {
  const query = `${SEARCH.fleet} = "${fleet}" AND ${SEARCH.plan} = "${wanted.plan}"`;
  const { count } = await client.workflow.count(query);
  // Each run counts there, and those of earlier submissions: it tells only that something is missing.
  if (count < wanted.size) return count;
  const starts: { id: string; at: number }[] = [];
  for await (const { workflowId, startTime } of client.workflow.list({ query }))
    starts.push({ id: workflowId, at: startTime.getTime() });
  return submittedWith(starts, wanted);
}

/** Whether the workflow that asks goes on with the history of another run. */
const wasReset = (began: string): boolean => activityInfo().workflowExecution?.runId !== began;

/** Every live task and writer of the fleet, by workflow id. */
export const runningIds = async (client: Client, fleet: string): Promise<string[]> => [
  ...(await runningStates(client, fleet)).keys(),
];

/** The same, with what Temporal's list shows as a task's state. */
export async function runningStates(client: Client, fleet: string): Promise<Map<string, string | undefined>> {
  const states = new Map<string, string | undefined>();
  const query = `ExecutionStatus = "Running" AND WorkflowType IN ("${WORKFLOW.task}", "${WORKFLOW.hand}", "${WORKFLOW.writer}") AND WorkflowId STARTS_WITH "${fleet}/"`;
  for await (const { workflowId, searchAttributes } of client.workflow.list({ query }))
    states.set(workflowId, searchAttributes[SEARCH.state]?.[0] as string | undefined);
  return states;
}

/** Asks workflows to announce themselves; who is closed by now is passed over. */
async function announce(client: Client, ids: string[], epoch: number): Promise<void> {
  await eachInParallel(ids, PARALLEL, async (id) => {
    try {
      await client.workflow.getHandle(id).signal(SIGNAL.announce, epoch);
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
  });
}

function nameOf(fleet: string, workflowId: string): string | undefined {
  const writers = writerId(fleet, '');
  return workflowId.startsWith(writers)
    ? `writer:${workflowId.slice(writers.length)}`
    : taskOfWorkflowId(fleet, workflowId);
}

/** How a task's last life ended, as Temporal remembers it; undefined when it does not. */
async function closedOutcome(client: Client, workflowId: string): Promise<Outcome | 'live' | undefined> {
  try {
    const handle = client.workflow.getHandle(workflowId);
    const { searchAttributes, status } = await handle.describe();
    if (status.name === 'RUNNING') return 'live';
    if (status.name === 'COMPLETED') return (await handle.result()) as Outcome;
    const [state, code] = [searchAttributes[SEARCH.state]?.[0], searchAttributes[SEARCH.reason]?.[0]];
    const kind = (['failed', 'cancelled'] as const).find((one) => one === state);
    if (!kind) return undefined;
    const known = typeof code === 'string' && Object.hasOwn(REASONS, code) ? (code as ReasonCode) : undefined;
    const fallback = kind === 'failed' ? 'AGENT_FAILED' : 'CANCELLED_BY_REQUEST';
    return { kind, code: known ?? fallback, text: 'looked up in Temporal' };
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}
