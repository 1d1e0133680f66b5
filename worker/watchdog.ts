// Looks after what cannot look after itself, without a single event in any history while all is well: a coordinator
// that was terminated is started again; a task or writer that was closed behind the coordinator's back is reported.

import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import { coordinatorStart, runningIds } from '../activities/delivery.js';
import type { Config } from '../src/domain/config.js';
import { coordinatorId, QUERY, SIGNAL, taskWorkflowId, WORKFLOW, writerId } from '../src/domain/ids.js';
import type { Message } from '../src/domain/messages.js';

const CHECK_MS = 3_000;
/** A query of a workflow that is ended at that moment may never be answered. */
const CALL_MS = 10_000;
/** Asked to announce themselves in one sweep. */
const MOST_INTRODUCED = 100;
/** Every so many checks the live tasks are compared with Temporal's list. */
const SWEEP_EVERY = 4;

export class Watchdog {
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;
  private checks = 0;

  constructor(
    private readonly client: Client,
    private readonly config: Config,
    private readonly log: (line: string) => void,
  ) {}

  start(): void {
    this.timer = setTimeout(() => void this.check(), CHECK_MS);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private async check(): Promise<void> {
    try {
      await this.client.withDeadline(Date.now() + CALL_MS, () => this.look());
    } catch (error) {
      if (!this.stopped)
        this.log(`the watchdog could not look: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (!this.stopped) this.start();
  }

  private async look(): Promise<void> {
    if (!(await this.coordinatorRuns())) {
      this.log('the coordinator does not run: starting it again');
      await this.tell([]);
    } else if (++this.checks % SWEEP_EVERY === 0) {
      await this.sweep();
    }
  }

  private async coordinatorRuns(): Promise<boolean> {
    try {
      const { status } = await this.client.workflow.getHandle(coordinatorId(this.config.fleet)).describe();
      return status.name === 'RUNNING';
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  }

  private async sweep(): Promise<void> {
    const { fleet } = this.config;
    const coordinator = this.client.workflow.getHandle(coordinatorId(fleet));
    const live = await coordinator.query<{ task: string; life: string }[]>(QUERY.live);
    const running = new Set(await runningIds(this.client, fleet));
    await this.introduce(
      live.map(({ task }) => taskWorkflowId(fleet, task)),
      running,
    );
    const gone: Message[] = [];
    for (const { task, life } of live) {
      const id = task.startsWith('writer:')
        ? writerId(fleet, task.slice('writer:'.length))
        : taskWorkflowId(fleet, task);
      if (!running.has(id) && (await this.isClosed(id))) gone.push({ kind: 'gone', task, life });
    }
    if (gone.length > 0) await this.tell(gone);
  }

  /** Tasks that run though the coordinator does not know them, for no list had them yet when it started. */
  private async introduce(known: string[], running: ReadonlySet<string>): Promise<void> {
    const heard = new Set(known);
    const tasks = taskWorkflowId(this.config.fleet, '');
    const unknown = [...running]
      .filter((id) => id.startsWith(tasks) && !heard.has(id))
      .slice(0, MOST_INTRODUCED);
    for (const id of unknown) {
      await this.client.workflow
        .getHandle(id)
        .signal(SIGNAL.announce)
        .catch(() => undefined);
    }
  }

  /** The list may lag behind: the workflow itself has the last word. */
  private async isClosed(workflowId: string): Promise<boolean> {
    try {
      return (await this.client.workflow.getHandle(workflowId).describe()).status.name !== 'RUNNING';
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return true;
      throw error;
    }
  }

  private async tell(messages: Message[]): Promise<void> {
    await this.client.workflow.signalWithStart(WORKFLOW.coordinator, coordinatorStart(this.config, messages));
  }
}
