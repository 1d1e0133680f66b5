// Signals on their way. Tasks and writers of this worker tell the coordinator through one outbox: at once when it is
// idle, in batches under load. The coordinator's standings and orders go out as one local activity a batch.

import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import { rulesOf } from '../src/domain/config.js';
import {
  controlQueue,
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
import type { Host } from './host.js';

/** Bytes of JSON in one signal: a payload warns at 512 KB and fails at 2 MB. */
const MOST_BYTES = 256 * 1024;
/** Under load the outbox waits this long between two signals, so that the coordinator can continue as new. */
const GAP_MS = 100;
const PARALLEL = 16;
/** A connection that died unnoticed must not hold back what comes after it. */
const CALL_MS = 10_000;

interface Queued {
  message: Message;
  done: () => void;
  failed: (error: unknown) => void;
}

/** What this worker has to tell the coordinator, which is started by the first word if it does not run. */
export class Outbox {
  private queue: Queued[] = [];
  private sending = false;

  constructor(private readonly host: Pick<Host, 'client' | 'config'>) {}

  /** Resolves when the server has accepted the message. */
  tell(message: Message): Promise<void> {
    return new Promise((done, failed) => {
      this.queue.push({ message, done, failed });
      void this.send();
    });
  }

  private async send(): Promise<void> {
    if (this.sending) return;
    this.sending = true;
    while (this.queue.length > 0) {
      const batch = this.take();
      try {
        await this.signal(batch.map(({ message }) => message));
        for (const { done } of batch) done();
      } catch (error) {
        for (const { failed } of batch) failed(error);
      }
      if (this.queue.length > 1) await new Promise((resolve) => setTimeout(resolve, GAP_MS));
    }
    this.sending = false;
  }

  private take(): Queued[] {
    let bytes = 0;
    let count = 0;
    for (const { message } of this.queue) {
      bytes += JSON.stringify(message).length;
      if (count > 0 && bytes > MOST_BYTES) break;
      count += 1;
    }
    return this.queue.splice(0, count);
  }

  private async signal(messages: Message[]): Promise<void> {
    const { client, config } = this.host;
    await client.withDeadline(Date.now() + CALL_MS, () =>
      client.workflow.signalWithStart(WORKFLOW.coordinator, coordinatorStart(config, messages)),
    );
  }
}

/** The one way to reach the coordinator: it is started if it does not run. */
export function coordinatorStart(config: Host['config'], messages: Message[]) {
  return {
    workflowId: coordinatorId(config.fleet),
    taskQueue: controlQueue(config.fleet),
    args: [{ rules: rulesOf(config) }],
    signal: SIGNAL.tell,
    signalArgs: [messages] as [Message[]],
    staticSummary: `Coordinator of fleet ${config.fleet}`,
  };
}

export interface Delivery {
  standings: { task: string; standing: Standing }[];
  orders: { role: string; orders: Orders }[];
  /** Tasks asked to announce themselves to the coordinator of this epoch. */
  asked: string[];
  epoch: number;
}

export interface Surveyed {
  live: string[];
  /** There was a coordinator of this fleet before, which did not hand its state on. */
  before: boolean;
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
    /** A task's or writer's word to the coordinator. */
    tell: (message: Message): Promise<void> => outbox.tell(message),

    /** Asks Temporal to cancel a task's workflow, which has ended as cancelled and only has to be shown so. */
    async requestCancel(task: string): Promise<void> {
      await client.workflow.getHandle(taskWorkflowId(fleet, task)).cancel();
    },

    /** Sends a batch; gives the tasks whose workflow is closed. Sending it twice does no harm. */
    async deliver(batch: Delivery): Promise<{ gone: { task: string; life: string }[] }> {
      const gone: { task: string; life: string }[] = [];
      await inParallel(batch.standings, async ({ task, standing }) => {
        try {
          await client.workflow.getHandle(taskWorkflowId(fleet, task)).signal(SIGNAL.standing, standing);
        } catch (error) {
          if (!(error instanceof WorkflowNotFoundError)) throw error;
          gone.push({ task, life: standing.life });
        }
      });
      await inParallel(batch.orders, async ({ role, orders }) => {
        await client.workflow.signalWithStart(WORKFLOW.writer, {
          workflowId: writerId(fleet, role),
          taskQueue: controlQueue(fleet),
          args: [{ fleet, role }],
          signal: SIGNAL.orders,
          signalArgs: [orders],
          staticSummary: `Writer of role ${role}`,
        });
      });
      await announce(
        client,
        batch.asked.map((task) => taskWorkflowId(fleet, task)),
        batch.epoch,
      );
      return { gone };
    },

    /** Lists the fleet's live tasks and writers, and asks each to announce itself to the coordinator of the epoch. */
    async survey(epoch: number): Promise<Surveyed> {
      const ids = await runningIds(client, fleet);
      await announce(client, ids, epoch);
      const { count } = await client.workflow.count(
        `WorkflowId = "${coordinatorId(fleet)}" AND ExecutionStatus IN ("Terminated", "Failed", "Canceled", "TimedOut", "Completed")`,
      );
      return { live: ids.flatMap((id) => nameOf(fleet, id) ?? []), before: count > 0 };
    },

    /**
     * Outcomes of closed tasks (`plan/task`) and sizes of plans (`plan:ID`), as Temporal remembers them. What it has
     * forgotten, or never knew to have ended, stands in the change packets.
     */
    async lookUp(names: string[]): Promise<Found> {
      const found: Found = { outcomes: [], plans: [] };
      const unknown: string[] = [];
      await inParallel(names, async (name) => {
        if (name.startsWith('plan:')) {
          const plan = name.slice('plan:'.length);
          const { count } = await client.workflow.count(
            `${SEARCH.fleet} = "${fleet}" AND ${SEARCH.plan} = "${plan}"`,
          );
          found.plans.push({ plan, count });
          return;
        }
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

/** Every live task and writer of the fleet, by workflow id. */
export async function runningIds(client: Client, fleet: string): Promise<string[]> {
  const ids: string[] = [];
  const query = `ExecutionStatus = "Running" AND WorkflowType IN ("${WORKFLOW.task}", "${WORKFLOW.writer}") AND WorkflowId STARTS_WITH "${fleet}/"`;
  for await (const { workflowId } of client.workflow.list({ query })) ids.push(workflowId);
  return ids;
}

/** Asks workflows to announce themselves; who is closed by now is passed over. */
async function announce(client: Client, ids: string[], epoch: number): Promise<void> {
  await inParallel(ids, async (id) => {
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

/** Works on all items, a few at a time. */
export async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const hands = Array.from({ length: Math.min(PARALLEL, queue.length) }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  });
  await Promise.all(hands);
}
