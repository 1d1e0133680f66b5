// What happens when time has passed, the earliest first, and of one moment always in the same order, carried over or
// not. Whoever takes an entry checks that it still holds; those that cannot any more are swept out now and then, before
// they are most of all.

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

/** Of one moment: first what ends others' waiting, last what ends a task for having waited. */
const RANK: Record<Deadline['kind'], number> = {
  thaw: 0,
  wake: 1,
  recovery: 2,
  rest: 3,
  backoff: 4,
  assume: 5,
  lease: 6,
  hand: 7,
  pin: 8,
  upstream: 9,
  plan: 10,
};

function comesFirst(a: Deadline, b: Deadline): boolean {
  if (a.at !== b.at) return a.at < b.at;
  if (a.kind !== b.kind) return RANK[a.kind] < RANK[b.kind];
  return a.id < b.id;
}

/** So few are never swept. */
const FEW = 1_000;

export class Deadlines {
  private sweepAt = FEW;
  private readonly heap = new Heap<Deadline>(comesFirst);

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
