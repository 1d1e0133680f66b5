// The policy that others are compared with: whatever does not conflict with what runs overtakes, the oldest first.

import { Heap } from '../src/domain/heap.js';
import type { Arrival } from './simulator.js';

/** From arrival to start of each, for jobs without upstreams whose paths are files. */
export function overtakingWaits(jobs: Arrival[], agents: number): number[] {
  const waits: number[] = [];
  const busy = new Set<string>();
  const ends = new Heap<{ at: number; job: Arrival }>((a, b) => a.at < b.at);
  let waiting: Arrival[] = [];
  let now = 0;
  let next = 0;
  while (next < jobs.length || ends.first) {
    const arrival = jobs[next]?.at ?? Number.POSITIVE_INFINITY;
    now = Math.min(arrival, ends.first?.at ?? Number.POSITIVE_INFINITY);
    for (let job = jobs[next]; job && job.at <= now; job = jobs[++next]) waiting.push(job);
    while (ends.first && ends.first.at <= now)
      for (const path of ends.pop()?.job.paths ?? []) busy.delete(path);
    waiting = waiting.filter((job) => {
      if (ends.size >= agents || job.paths.some((path) => busy.has(path))) return true;
      for (const path of job.paths) busy.add(path);
      ends.push({ at: now + job.duration, job });
      waits.push(now - job.at);
      return false;
    });
  }
  return waits;
}
