// The simulated workflow of a person's claim: what workflows/hand-claim.ts does, without a server.

import { compareFences, type Fence } from '../../src/domain/fence.js';
import type { HandReport, Standing } from '../../src/domain/messages.js';

export class SimHand {
  closed = false;
  /** Until when the coordinator has promised that it holds, in milliseconds. */
  until = 0;
  fence: Fence | undefined;
  private number = 0;
  private renewed = 0;
  private released = false;
  /** The latest renewal: asked for at this time, said under this number at the earliest. */
  private asking: { at: number; number: number } | undefined;
  private told: { epoch: number; number: number } | undefined;
  private epoch: number | undefined;

  constructor(
    readonly id: string,
    readonly life: string,
    readonly writes: string[],
    readonly lease: number,
    readonly wait: boolean,
  ) {}

  report(now: number): HandReport {
    const { id, life, writes, lease, wait, fence, renewed, epoch } = this;
    return {
      kind: 'hand',
      id,
      life,
      number: ++this.number,
      by: 'ann',
      writes,
      lease,
      wait,
      renewed,
      ...(epoch === undefined ? {} : { epoch }),
      ...(fence ? { fence, left: this.asking ? lease : Math.max(0, this.until - now) } : {}),
      ...(this.released ? { released: { by: 'ann' } } : {}),
    };
  }

  release(): void {
    this.released = true;
  }

  renew(now: number): void {
    if (!this.fence) return;
    this.renewed += 1;
    this.asking = { at: now, number: this.number + 1 };
  }

  asked(epoch: number): void {
    this.epoch = Math.max(this.epoch ?? 0, epoch);
  }

  hear(standing: Standing, leaseEnd: number): void {
    const { told } = this;
    if (this.closed || standing.life !== this.life || standing.epoch < (this.epoch ?? 0)) return;
    if (told && (standing.epoch - told.epoch || standing.number - told.number) <= 0) return;
    this.epoch = standing.epoch;
    this.told = { epoch: standing.epoch, number: standing.number };
    if (standing.phase === 'ended') this.closed = true;
    const { fence } = standing;
    if (standing.phase !== 'running' || !fence) return;
    if (!this.fence || compareFences(fence, this.fence) > 0) this.fence = fence;
    this.until = Math.max(this.until, leaseEnd);
    const { asking } = this;
    if (!asking || (standing.heard ?? 0) < asking.number) return;
    if (leaseEnd < asking.at + this.lease) throw new Error(`${this.id} was renewed, and not for its lease`);
    this.asking = undefined;
  }

  /** It may count on its claim. */
  holdsAt(now: number): boolean {
    return this.fence !== undefined && !this.closed && !this.released && now < this.until;
  }
}
