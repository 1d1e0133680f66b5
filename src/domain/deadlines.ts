// What happens when time has passed, the earliest first. Entries are never removed: whoever takes one checks that it
// still holds.

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

export class Deadlines {
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
}
