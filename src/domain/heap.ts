// A binary heap. Nobody takes one entry out of its middle: whoever takes the first checks that it still holds.

export class Heap<T> {
  private readonly entries: T[] = [];

  /** `before` must be a strict order in which no two entries that matter are equal, or ties go by chance. */
  constructor(private readonly before: (a: T, b: T) => boolean) {}

  get size(): number {
    return this.entries.length;
  }

  get first(): T | undefined {
    return this.entries[0];
  }

  push(entry: T): void {
    const { entries, before } = this;
    let i = entries.push(entry) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = entries[parent] as T;
      if (!before(entry, above)) break;
      entries[i] = above;
      i = parent;
    }
    entries[i] = entry;
  }

  pop(): T | undefined {
    const { entries } = this;
    const top = entries[0];
    const last = entries.pop();
    if (last !== undefined && entries.length > 0) this.sink(last);
    return top;
  }

  clear(): void {
    this.entries.length = 0;
  }

  /** Drops all others. */
  keep(wanted: (entry: T) => boolean): void {
    const kept = this.entries.filter(wanted);
    this.clear();
    for (const entry of kept) this.push(entry);
  }

  private sink(entry: T): void {
    const { entries, before } = this;
    let i = 0;
    for (let left = 1; left < entries.length; left = 2 * i + 1) {
      const right = left + 1;
      const least = right < entries.length && before(entries[right] as T, entries[left] as T) ? right : left;
      if (!before(entries[least] as T, entry)) break;
      entries[i] = entries[least] as T;
      i = least;
    }
    entries[i] = entry;
  }
}
