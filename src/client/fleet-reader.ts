// What can be asked about a fleet: the coordinator by queries, and Temporal's own list, which needs no worker.

import {
  type Client,
  isGrpcServiceError,
  QueryNotRegisteredError,
  type WorkflowExecutionInfo,
  type WorkflowExecutionStatusName,
  WorkflowNotFoundError,
} from '@temporalio/client';
import type { Config } from '../domain/config.js';
import type { Picture } from '../domain/dry-run.js';
import { controlQueue, coordinatorId, QUERY, SEARCH, taskWorkflowId, WORKFLOW } from '../domain/ids.js';
import { aged, type Overview, type Story, type TaskLine } from '../domain/views.js';
import { eachInParallel } from './parallel.js';
import { type Patience, patienceWith } from './patience.js';
import { NoAnswer, NoWorker, Refused } from './refused.js';

/** So many are asked about at once. */
const PARALLEL = 20;
const POLL_MS = 250;
/** Temporal's number for the queue of workflows, which queries take too. */
const WORKFLOW_QUEUE = 1;
/** When Temporal does not say who polls. */
const UNKNOWN_PATIENCE: Patience = { ms: 12_000, gone: false };

export interface TaskDescription {
  id: string;
  status: WorkflowExecutionStatusName;
  state?: string;
  reason?: string;
  holder?: string;
}

export class FleetReader {
  constructor(
    readonly client: Client,
    readonly config: Config,
  ) {}

  get fleet(): string {
    return this.config.fleet;
  }

  private coordinator() {
    return this.client.workflow.getHandle(coordinatorId(this.fleet));
  }

  /** Throws NoWorker when no worker runs, NoAnswer when no coordinator does or it does not answer. */
  async overview(): Promise<Overview> {
    const overview = await this.ask<Overview>(QUERY.overview);
    return aged(overview, Date.now() - overview.asOf);
  }

  /** All that was decided about a task or a person's claim; undefined when the coordinator does not know it (any more). */
  async story(id: string): Promise<Story | undefined> {
    const story = (await this.ask<Story | null>(QUERY.story, id)) ?? undefined;
    const forMs = story && story.task.forMs + Math.max(0, Date.now() - story.asOf);
    return story && { ...story, task: { ...story.task, forMs: forMs ?? 0 } };
  }

  /** What the coordinator goes by, for a dry run. Throws as overview does, and Refused when that is too much to be told. */
  async picture(): Promise<Picture> {
    const picture = await this.ask<Picture | null>(QUERY.picture);
    if (picture) return picture;
    throw new Refused(
      `fleet ${this.fleet} has so many live tasks that its coordinator cannot tell them all in one answer: no dry run is possible now`,
    );
  }

  private async ask<T>(query: string, ...args: unknown[]): Promise<T> {
    const { ms, gone } = await this.patience(controlQueue(this.fleet));
    try {
      return await this.client.withDeadline(Date.now() + ms, () =>
        this.coordinator().query<T, unknown[]>(query, ...args),
      );
    } catch (error) {
      const absent = error instanceof WorkflowNotFoundError || error instanceof QueryNotRegisteredError;
      if (!absent && !isUnanswered(error)) throw error;
      if (gone) throw new NoWorker(this.fleet);
      throw new NoAnswer(
        absent
          ? `fleet ${this.fleet} has no coordinator yet: start a worker with \`signalbox up\` or \`signalbox worker\``
          : `the coordinator of fleet ${this.fleet} does not answer: does a worker run? (\`signalbox up\` or \`signalbox worker\`)`,
      );
    }
  }

  /** How long whoever polls the queue may take to answer. */
  async patience(queue: string): Promise<Patience> {
    try {
      const { pollers } = await this.client.workflowService.describeTaskQueue({
        namespace: this.client.options.namespace,
        taskQueue: { name: queue },
        taskQueueType: WORKFLOW_QUEUE,
      });
      const now = Date.now();
      return patienceWith(
        (pollers ?? []).map(({ identity, lastAccessTime }) => ({
          identity: identity ?? '',
          seenMsAgo: now - Number(lastAccessTime?.seconds ?? 0) * 1_000,
        })),
      );
    } catch (error) {
      // Not every user may ask this; the question itself tells what is wrong.
      if (isGrpcServiceError(error)) return UNKNOWN_PATIENCE;
      throw error;
    }
  }

  /** What Temporal itself knows of a task; undefined when it never was, or is beyond the retention. */
  async describe(id: string): Promise<TaskDescription | undefined> {
    try {
      const { status, searchAttributes } = await this.client.workflow
        .getHandle(taskWorkflowId(this.fleet, id))
        .describe();
      return descriptionOf(id, status.name, searchAttributes);
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  }

  /** Throws Refused for a task that is unknown or has ended. */
  async refuseEnded(id: string): Promise<void> {
    const found = await this.describe(id);
    if (!found) throw new Refused(`no task ${id} in fleet ${this.fleet}`);
    if (found.status !== 'RUNNING')
      throw new Refused(`task ${id} has ended already: ${found.state ?? found.status.toLowerCase()}`);
  }

  /** Everything that Temporal's list knows of the fleet's tasks: works without a worker. */
  async list(): Promise<TaskDescription[]> {
    const tasks: TaskDescription[] = [];
    const query = `WorkflowType = "${WORKFLOW.task}" AND WorkflowId STARTS_WITH "${this.fleet}/"`;
    for await (const { workflowId, status, searchAttributes } of this.client.workflow.list({ query })) {
      const id = workflowId.slice(`${this.fleet}/task/`.length);
      tasks.push(descriptionOf(id, status.name, searchAttributes));
    }
    return tasks;
  }

  /**
   * Waits until all the tasks have ended and their workflows are closed, so that their packets are there too; calls
   * back with every overview, and with what is the matter while nobody answers. Asks the coordinator and Temporal's
   * list, not each task.
   */
  async wait(
    ids: string[],
    onOverview?: (overview: Overview) => void,
    onSilence?: (trouble: NoAnswer) => void,
  ): Promise<Map<string, TaskLine>> {
    const ended = new Map<string, TaskLine>();
    const wanted = new Set(ids);
    for (;;) {
      const overview = await this.overview().catch((error: unknown) => {
        if (!(error instanceof NoAnswer)) throw error;
        onSilence?.(error);
        return undefined;
      });
      if (overview) {
        onOverview?.(overview);
        for (const line of overview.tasks) if (wanted.has(line.id) && line.outcome) ended.set(line.id, line);
        const unknown = ids.filter((id) => !ended.has(id) && !overview.tasks.some((line) => line.id === id));
        await eachInParallel(unknown, PARALLEL, async (id) => {
          const line = await this.endedLine(id);
          if (line) ended.set(id, line);
        });
      }
      if (ended.size === wanted.size && !(await this.anyRunning(wanted))) return ended;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  private async anyRunning(wanted: ReadonlySet<string>): Promise<boolean> {
    const query = `ExecutionStatus = "Running" AND WorkflowType = "${WORKFLOW.task}" AND WorkflowId STARTS_WITH "${this.fleet}/"`;
    const prefix = taskWorkflowId(this.fleet, '').length;
    for await (const { workflowId } of this.client.workflow.list({ query }))
      if (wanted.has(workflowId.slice(prefix))) return true;
    return false;
  }

  /** A task that the coordinator no longer has on record: its workflow knows. */
  private async endedLine(id: string): Promise<TaskLine | undefined> {
    const found = await this.describe(id);
    if (!found || found.status === 'RUNNING') return undefined;
    const kind =
      (['landed', 'finished', 'failed', 'cancelled'] as const).find((state) => state === found.state) ??
      'cancelled';
    const code = found.reason as NonNullable<TaskLine['outcome']>['code'];
    return {
      id,
      kind: 'task',
      phase: 'ended',
      attempt: 0,
      forMs: 0,
      code,
      outcome: { kind, code, text: found.reason ?? found.status },
    };
  }
}

/** What the server says of a query that no worker took: no poller, no task completed, no time left. */
export const isUnanswered = (error: unknown): boolean =>
  /deadline|timed? ?out|CANCELLED|FAILED_PRECONDITION|UNAVAILABLE/i.test(
    String((error as { cause?: unknown })?.cause ?? error),
  );

function descriptionOf(
  id: string,
  status: WorkflowExecutionStatusName,
  attributes: WorkflowExecutionInfo['searchAttributes'],
): TaskDescription {
  const value = (name: string) => attributes[name]?.[0] as string | undefined;
  const [state, reason, holder] = [value(SEARCH.state), value(SEARCH.reason), value(SEARCH.holder)];
  return {
    id,
    status,
    ...(state ? { state } : {}),
    ...(reason ? { reason } : {}),
    ...(holder ? { holder } : {}),
  };
}
