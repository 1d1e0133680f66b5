// A worker's word that its agents are alive: sent for all of them at once, a third of a lease apart. If it cannot be
// sent, the worker ends its agents, by its own monotonic clock, before the coordinator gives their paths to others.

import { type Fence, fenceText } from '../src/domain/fence.js';
import type { Outbox } from './delivery.js';

interface Held {
  task: string;
  fence: Fence;
  lease: number;
  /** By performance.now(). */
  deadline: number;
  lapse: () => void;
}

/** Part of the lease that is left for an agent to be ended in. */
const MARGIN = 0.1;

export class Leases {
  private readonly held = new Map<string, Held>();
  private timer: NodeJS.Timeout | undefined;
  private renewing = false;

  constructor(private readonly outbox: Outbox) {}

  /** `lapse` is called when the lease is about to run out unrenewed. The result ends the holding. */
  hold(task: string, fence: Fence, lease: number, lapse: () => void): () => void {
    const key = `${task}#${fenceText(fence)}`;
    this.held.set(key, { task, fence, lease, deadline: performance.now() + lease * (1 - MARGIN), lapse });
    this.schedule();
    return () => {
      this.held.delete(key);
      this.schedule();
    };
  }

  private schedule(): void {
    clearTimeout(this.timer);
    if (this.held.size === 0) return;
    const lease = Math.min(...[...this.held.values()].map((held) => held.lease));
    this.timer = setTimeout(() => this.tick(), Math.max(100, Math.min(lease / 3, 10 * 60_000)));
  }

  private tick(): void {
    void this.renew();
    for (const held of this.held.values()) if (performance.now() > held.deadline) held.lapse();
    this.schedule();
  }

  private async renew(): Promise<void> {
    if (this.renewing) return;
    this.renewing = true;
    const renewed = [...this.held.values()];
    const sent = performance.now();
    try {
      await this.outbox.tell({
        kind: 'worker',
        renew: renewed.map(({ task, fence }) => ({ task, fence })),
        dead: [],
      });
      for (const held of renewed) held.deadline = sent + held.lease * (1 - MARGIN);
    } catch {
      // The next try comes in time, or the deadline does.
    } finally {
      this.renewing = false;
    }
  }
}
