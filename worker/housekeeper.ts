// Keeps this host's folder in order while the worker runs: work that could not be kept elsewhere at the end of its attempt is
// tried again; clones of tasks that are over go; and all together stays within what workstations are given. It asks the
// server about tasks that have a clone here and about no others, and leaves no event in any history.

import { WorkflowNotFoundError } from '@temporalio/client';
import type { Host } from '../activities/host.js';
import { findAbandoned } from '../activities/workstation/abandoned.js';
import { dropKept, findKept } from '../activities/workstation/kept.js';
import { salvage } from '../activities/workstation/salvage.js';
import { makeRoom } from '../activities/workstation/stock.js';
import { taskWorkflowId } from '../src/domain/ids.js';

const EVERY_MS = 60_000;
/** A workstation whose work could not be kept is left alone for so long. */
const AGAIN_MS = 10 * 60_000;
const LONGEST_STOP_MS = 5_000;

type Parts = Omit<Host, 'id' | 'room'>;

export class Housekeeper {
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;
  private looking: Promise<void> = Promise.resolve();
  /** When the work of each workstation was tried to be kept, by performance.now(). */
  private readonly tried = new Map<string, number>();

  constructor(
    private readonly host: Parts,
    private readonly everyMs = EVERY_MS,
  ) {}

  start(): void {
    if (this.stopped) return;
    this.timer = setTimeout(() => {
      this.looking = this.look().then(() => this.start());
    }, this.everyMs).unref();
  }

  /** Resolves when nothing of it goes on any more, or soon: it may be cut short anywhere. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    const soon = new Promise((resolve) => setTimeout(resolve, LONGEST_STOP_MS).unref());
    await Promise.race([this.looking, soon]);
  }

  /** One round. Never rejects: what could not be done is tried in the next one. */
  async look(): Promise<void> {
    for (const work of [this.keepWork, this.dropEnded, makeRoom]) {
      if (this.stopped) return;
      try {
        await work(this.host);
      } catch (error) {
        if (!this.stopped) this.host.log(`workstations could not be looked after: ${String(error)}`);
      }
    }
  }

  private readonly keepWork = async (host: Parts): Promise<void> => {
    const abandoned = await findAbandoned(host.home);
    for (const dir of this.tried.keys())
      if (!abandoned.some((one) => one.dir === dir)) this.tried.delete(dir);
    for (const one of abandoned) {
      const last = this.tried.get(one.dir) ?? Number.NEGATIVE_INFINITY;
      if (this.stopped || performance.now() - last < AGAIN_MS) continue;
      this.tried.set(one.dir, performance.now());
      await salvage(host, one);
    }
  };

  private readonly dropEnded = async (host: Parts): Promise<void> => {
    for (const task of new Set((await findKept(host.home)).map(({ record }) => record.task)))
      if (!this.stopped && !(await isOpen(host, task))) await dropKept(host.home, task);
  };
}

/** Whether the task's workflow runs. Throws when the server does not say. */
export async function isOpen(
  { client, config }: Pick<Host, 'client' | 'config'>,
  task: string,
): Promise<boolean> {
  try {
    const { status } = await client.workflow.getHandle(taskWorkflowId(config.fleet, task)).describe();
    return status.name === 'RUNNING';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}
