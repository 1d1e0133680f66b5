// What of a host's disk goes first when workstations have more than they are given.

/** Something in the fleet's folder that takes disk. */
export interface Stored {
  path: string;
  /**
   * ready: a clone that nobody has used yet. kept: the clone of an attempt that is over, whose commits are kept elsewhere.
   * running: the workstation of an attempt. unkept: one that is over, whose commits are kept nowhere else. shared: mirrors
   * and histories that clones borrow from.
   */
  kind: 'ready' | 'kept' | 'running' | 'unkept' | 'shared';
  bytes: number;
  /** When it was made or set aside, in milliseconds since the epoch. */
  since: number;
}

/** What may go, in this order. Nothing else ever does. */
const ORDER = ['ready', 'kept'] as const;

/**
 * What has to go, in that order, until all together is no more than `most` bytes: ready clones, which cost no more than
 * making others, then kept clones; of each kind the oldest first. All that may go when even that does not suffice.
 */
export function evictions(stored: readonly Stored[], most: number): Stored[] {
  let bytes = stored.reduce((sum, one) => sum + one.bytes, 0);
  const gone: Stored[] = [];
  for (const kind of ORDER) {
    for (const one of stored.filter((other) => other.kind === kind).sort((a, b) => a.since - b.since)) {
      if (bytes <= most) return gone;
      gone.push(one);
      bytes -= one.bytes;
    }
  }
  return gone;
}

/** This part of the disk is left free, whatever workstations are given. */
const LEAST_FREE = 0.1;

interface Disk {
  free: number;
  size: number;
}

export const isShort = ({ free, size }: Disk): boolean => free < size * LEAST_FREE;

/** What all may take together, so that neither the budget nor the disk is exceeded. Bytes. */
export const roomFor = (budget: number, used: number, disk: Disk): number =>
  isShort(disk) ? Math.min(budget, used - (disk.size * LEAST_FREE - disk.free)) : budget;
