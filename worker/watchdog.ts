// Looks after what cannot look after itself, without a single event in any history while all is well: a coordinator
// that was terminated, or cannot go on, is started again, and so is a writer; a task or writer that was closed behind the
// coordinator's back is reported.

import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import { runningStates } from '../activities/delivery.js';
import { signalCoordinator } from '../src/client/starts.js';
import type { Config } from '../src/domain/config.js';
import { coordinatorId, QUERY, SIGNAL, taskWorkflowId, writerId } from '../src/domain/ids.js';
import type { Message } from '../src/domain/messages.js';
import type { LiveTask } from '../src/domain/views.js';
import { Singleton } from './singleton.js';

const CHECK_MS = 3_000;
/** A query of a workflow that is ended at that moment may never be answered. */
const CALL_MS = 10_000;
/** Asked to announce themselves in one sweep. */
const MOST_INTRODUCED = 100;
/** What still looks odd is asked about again after this. */
const ASK_AGAIN_MS = 2 * 60_000;
/** Every so many checks the live tasks are compared with Temporal's list. */
const SWEEP_EVERY = 4;

export class Watchdog {
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;
  private checks = 0;
  /** Tasks whose state looked odd at the last sweep, with what was odd. */
  private odd: ReadonlySet<string> = new Set();
  /** When tasks were asked because of what was odd, by performance.now(). */
  private readonly asked = new Map<string, number>();
  private readonly coordinator: Singleton;
  private readonly writers: Singleton[];

  constructor(
    private readonly client: Client,
    private readonly config: Config,
    private readonly log: (line: string) => void,
    /** See Singleton, in milliseconds. */
    patience?: number,
  ) {
    const { fleet, roles } = config;
    const singleton = (id: string) => new Singleton(client, id, log, patience);
    this.coordinator = singleton(coordinatorId(fleet));
    this.writers = Object.keys(roles).map((role) => singleton(writerId(fleet, role)));
  }

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
    if (!(await this.coordinator.runs())) {
      this.log('the coordinator does not run: starting it again');
      await this.tell([]);
    } else if (++this.checks % SWEEP_EVERY === 0) {
      await this.sweep();
    }
  }

  private async sweep(): Promise<void> {
    const { fleet } = this.config;
    // One that has ended is started by its next orders; the coordinator hears below that it has to give them.
    for (const writer of this.writers) await writer.runs();
    const coordinator = this.client.workflow.getHandle(coordinatorId(fleet));
    const live = await coordinator.query<LiveTask[]>(QUERY.live);
    const running = await runningStates(this.client, fleet);
    await this.introduce(live, running);
    const gone: Message[] = [];
    for (const { task, life } of live) {
      const id = task.startsWith('writer:')
        ? writerId(fleet, task.slice('writer:'.length))
        : taskWorkflowId(fleet, task);
      if (!running.has(id) && (await this.isClosed(id))) gone.push({ kind: 'gone', task, life });
    }
    if (gone.length > 0) await this.tell(gone);
  }

  /**
   * Asks tasks to say who they are: those that the coordinator does not know though they run, and those that show
   * another state than it has on record, for a word may have been lost. Not the first time that this is seen, for
   * words are on their way and the list lags behind.
   */
  private async introduce(
    live: readonly LiveTask[],
    running: ReadonlyMap<string, string | undefined>,
  ): Promise<void> {
    const tasks = taskWorkflowId(this.config.fleet, '');
    const known = new Map(live.map(({ task, state }) => [taskWorkflowId(this.config.fleet, task), state]));
    const odd = [...running]
      .filter(([id, shown]) => id.startsWith(tasks) && known.get(id) !== shown)
      .map(([id, shown]) => `${id} ${shown} ${known.get(id)}`);
    const recently = (one: string) =>
      performance.now() - (this.asked.get(one) ?? -ASK_AGAIN_MS) < ASK_AGAIN_MS;
    const still = odd.filter((one) => this.odd.has(one) && !recently(one)).slice(0, MOST_INTRODUCED);
    for (const one of this.asked.keys()) if (!recently(one)) this.asked.delete(one);
    this.odd = new Set(odd);
    for (const one of still) {
      this.asked.set(one, performance.now());
      await this.client.workflow
        .getHandle(one.slice(0, one.indexOf(' ')))
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
    await signalCoordinator(this.client, this.config, SIGNAL.tell, [messages]);
  }
}
