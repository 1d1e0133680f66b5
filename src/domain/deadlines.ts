// A binary heap of deadlines. Entries are never removed: whoever takes one checks that it still holds.

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
  private readonly heap: Deadline[] = [];

  get next(): number | undefined {
    return this.heap[0]?.at;
  }

  push(deadline: Deadline): void {
    const { heap } = this;
    let i = heap.push(deadline) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent] as Deadline;
      if (above.at <= deadline.at) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = deadline;
  }

  /** Takes the earliest deadline that is due; undefined when none is. */
  take(now: number): Deadline | undefined {
    const { heap } = this;
    const top = heap[0];
    if (!top || top.at > now) return undefined;
    const last = heap.pop() as Deadline;
    if (heap.length > 0) this.sink(last);
    return top;
  }

  private sink(deadline: Deadline): void {
    const { heap } = this;
    let i = 0;
    for (let left = 1; left < heap.length; left = 2 * i + 1) {
      const right = left + 1;
      const least =
        right < heap.length && (heap[right] as Deadline).at < (heap[left] as Deadline).at ? right : left;
      if ((heap[least] as Deadline).at >= deadline.at) break;
      heap[i] = heap[least] as Deadline;
      i = least;
    }
    heap[i] = deadline;
  }
}
