// A worker's word that its agents are alive: sent for all of them at once, a third of the shortest lease apart. If it
// cannot be sent, the worker ends its agents, by its own monotonic clock, before the coordinator gives their paths to others.

import { type Fence, fenceText } from '../src/domain/fence.js';
import type { WorkerReport } from '../src/domain/messages.js';

interface Held {
  task: string;
  fence: Fence;
  lease: number;
  /** By performance.now(): renewed until then, and ended at. */
  renewAt: number;
  endAt: number;
  lapse: () => void;
}

export interface Holding {
  task: string;
  fence: Fence;
  /** Milliseconds. */
  lease: number;
  /** Milliseconds of it that had passed before the agent came to this worker. */
  spent: number;
}

/** Part of the lease that is left for an agent to be ended in. */
const MARGIN = 0.2;
/** The longest time between two renewals, however long a lease is. */
const RENEW_MS = 10 * 60_000;
/** A try that did not succeed is followed by another one after this. */
const AGAIN_MS = 1_000;

const renewEvery = (lease: number): number => Math.min(lease / 3, RENEW_MS);
const endAfter = (lease: number): number => lease * (1 - MARGIN);

export class Leases {
  private readonly held = new Map<string, Held>();
  private timer: NodeJS.Timeout | undefined;
  private renewing = false;

  constructor(private readonly outbox: { tell(report: WorkerReport): Promise<void> }) {}

  /** `lapse` is called when the lease is about to run out unrenewed. The result ends the holding. */
  hold({ task, fence, lease, spent }: Holding, lapse: () => void): () => void {
    const key = `${task}#${fenceText(fence)}`;
    const now = performance.now();
    // Whoever waited long for a worker is renewed at once, and ended only if that does not succeed.
    const endAt = now + Math.max(endAfter(lease) - spent, endAfter(lease) / 2);
    this.held.set(key, { task, fence, lease, renewAt: now + renewEvery(lease) - spent, endAt, lapse });
    this.schedule();
    return () => {
      this.held.delete(key);
      this.schedule();
    };
  }

  private schedule(): void {
    clearTimeout(this.timer);
    const times = [...this.held.values()].map(({ renewAt, endAt }) =>
      this.renewing ? endAt : Math.min(renewAt, endAt),
    );
    const next = Math.min(...times);
    if (next === Number.POSITIVE_INFINITY) return;
    this.timer = setTimeout(() => this.look(), Math.max(0, next - performance.now()));
  }

  private look(): void {
    const now = performance.now();
    for (const held of this.held.values()) {
      if (held.endAt > now) continue;
      // Told once: whoever is ended asks for nothing more.
      held.endAt = Number.POSITIVE_INFINITY;
      held.renewAt = Number.POSITIVE_INFINITY;
      held.lapse();
    }
    if ([...this.held.values()].some(({ renewAt }) => renewAt <= now)) void this.renew();
    this.schedule();
  }

  private async renew(): Promise<void> {
    if (this.renewing) return;
    this.renewing = true;
    const renewed = [...this.held.values()].filter(({ endAt }) => endAt !== Number.POSITIVE_INFINITY);
    const sent = performance.now();
    try {
      const renew = renewed.map(({ task, fence }) => ({ task, fence }));
      await this.outbox.tell({ kind: 'worker', renew, dead: [] });
      for (const held of renewed) {
        if (held.endAt === Number.POSITIVE_INFINITY) continue;
        held.endAt = sent + endAfter(held.lease);
        held.renewAt = sent + renewEvery(held.lease);
      }
    } catch {
      for (const held of renewed)
        held.renewAt = Math.max(held.renewAt, performance.now() + Math.min(AGAIN_MS, held.lease / 10));
    } finally {
      this.renewing = false;
      this.schedule();
    }
  }
}
