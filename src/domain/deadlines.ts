// What happens when time has passed, the earliest first. Whoever takes an entry checks that it still holds; those that
// cannot any more are swept out now and then, before they are most of all.

import { Heap } from './heap.js';

export interface Deadline {
  /** Milliseconds since the epoch. */
  at: number;
  kind:
    | 'lease'
    | 'backoff'
    | 'rest'
    | 'pin'
    | 'plan'
    | 'upstream'
    | 'assume'
    | 'hand'
    | 'recovery'
    | 'wake'
    | 'thaw';
  /** A task, a plan; with wake, what is watched; with thaw, a role, or nothing for the fleet. */
  id: string;
}

/** So few are never swept. */
const FEW = 1_000;

export class Deadlines {
  private sweepAt = FEW;
  private readonly heap = new Heap<Deadline>((a, b) => a.at < b.at);

  get next(): number | undefined {
    return this.heap.first?.at;
  }

  push(deadline: Deadline): void {
    this.heap.push(deadline);
  }

  /** Takes the earliest deadline that is due; undefined when none is. */
  take(now: number): Deadline | undefined {
    const { first } = this.heap;
    return first && first.at <= now ? this.heap.pop() : undefined;
  }

  /** Drops those that cannot hold any more, once there are twice as many as were left the last time. */
  sweep(mayHold: (deadline: Deadline) => boolean): void {
    if (this.heap.size < this.sweepAt) return;
    this.heap.keep(mayHold);
    this.sweepAt = Math.max(FEW, 2 * this.heap.size);
  }
}
