// A fleet in virtual time around the very same decide as in production: no server, no agents. A job arrives, runs for
// as long as it takes once decide grants it, lands at once, and is over. How long a job takes is known to nobody before
// it has ended. As landing takes no time, an agent's end and its landing come together. Leases are renewed in time, which
// is why they are so long here.

import type { Rules } from '../src/domain/config.js';
import { decide, type Event, nextDeadline } from '../src/domain/decide.js';
import { Heap } from '../src/domain/heap.js';
import type { PlanRef, TaskReport } from '../src/domain/messages.js';
import { freshState, type State } from '../src/domain/state.js';
import { landingId, type Taken } from '../src/domain/transitions.js';
import { rulesFor } from './rules.js';
import type { Job } from './workload.js';

const FOR_EVER = 1e12;

export interface Arrival extends Job {
  id: string;
  plan: PlanRef;
  /** Full names, in place of positions. */
  upstreams: string[];
  /** Milliseconds from the start. */
  at: number;
}

export interface Outcome {
  /** When the last one ended. */
  makespan: number;
  /** From arrival to start, in the order in which they ended. */
  waits: number[];
  /** Events that decide was asked about. */
  events: number;
}

interface Live {
  job: Arrival;
  report: TaskReport;
  started: number;
}

type Timed = { at: number; order: number; id: string };

const START = 1_000_000;
const ROLE = 'dev';

/** Runs all jobs, which come in the order of their arrival, to their end. Throws when one does not land. */
export function simulate(
  jobs: Iterable<Arrival>,
  options: { agents: number; rules?: Partial<Rules>; keepWaits?: boolean; live?: number },
): Outcome {
  return new Simulation(options.agents, options.rules ?? {}, options.live).run(
    jobs,
    options.keepWaits ?? true,
  );
}

class Simulation {
  private readonly state: State;
  private readonly live = new Map<string, Live>();
  private readonly ends = new Heap<Timed>((a, b) => a.at < b.at || (a.at === b.at && a.order < b.order));
  private now = START;
  private order = 0;
  private events = 0;

  constructor(
    agents: number,
    rules: Partial<Rules>,
    /** So many are live at most: the next one arrives when another has ended. */
    private readonly mostLive = Number.POSITIVE_INFINITY,
  ) {
    this.state = freshState(rulesFor(agents, { lease: FOR_EVER, planTimeout: FOR_EVER, ...rules }), START);
    this.tell({ kind: 'surveyed', live: [], last: true });
  }

  run(jobs: Iterable<Arrival>, keepWaits: boolean): Outcome {
    const waits: number[] = [];
    const coming = jobs[Symbol.iterator]();
    let next = coming.next();
    for (;;) {
      const arrival = next.done || this.live.size >= this.mostLive ? undefined : START + next.value.at;
      const end = this.ends.first?.at;
      if (arrival === undefined && end === undefined) break;
      this.pass(Math.max(this.now, Math.min(arrival ?? FOR_EVER * 2, end ?? FOR_EVER * 2)));
      if (!next.done && arrival !== undefined && arrival <= this.now) {
        this.arrive(next.value);
        next = coming.next();
      } else if (end !== undefined && end <= this.now) {
        const wait = this.end((this.ends.pop() as Timed).id);
        if (keepWaits) waits.push(wait);
      }
    }
    if (this.live.size > 0)
      throw new Error(`${this.live.size} tasks never ran, such as ${[...this.live.keys()][0]}`);
    return { makespan: this.now - START, waits, events: this.events };
  }

  private pass(until: number): void {
    for (
      let due = nextDeadline(this.state);
      due !== undefined && due <= until;
      due = nextDeadline(this.state)
    ) {
      this.now = Math.max(this.now, due);
      this.tell({ kind: 'tick' });
    }
    this.now = until;
  }

  private arrive(job: Arrival): void {
    const report: TaskReport = {
      kind: 'task',
      id: job.id,
      life: `${this.now}.run`,
      number: 1,
      plan: job.plan,
      facts: { role: ROLE, writes: job.paths, reads: [], after: job.upstreams.map((task) => ({ task })) },
      attempt: 1,
      at: 'waiting',
    };
    this.live.set(job.id, { job, report, started: -1 });
    this.tell(report);
  }

  /** The agent has ended: its commits land at once. */
  private end(id: string): number {
    const live = this.live.get(id);
    const record = this.state.tasks.get(id);
    if (!live || !record?.fence) throw new Error(`${id} ended without having run`);
    const { fence } = record;
    const stopped: Event = {
      ...live.report,
      number: 2,
      at: 'stopped',
      fence,
      result: { kind: 'commits', dead: true, base: 'b', commit: 'c', ref: 'r' },
    };
    const landed = { id: landingId(record), kind: 'landed' as const, commit: 'c', entry: 1, behind: 0 };
    this.tell(stopped, {
      kind: 'writer',
      role: ROLE,
      life: '1.run',
      number: ++this.order,
      results: [landed],
    });
    if (record.outcome?.kind !== 'landed') throw new Error(`${id} did not land: ${record.outcome?.text}`);
    this.live.delete(id);
    return live.started - (START + live.job.at);
  }

  private tell(...events: Event[]): void {
    this.events += events.length;
    for (const taken of decide(this.state, events, this.now)) this.heed(taken);
    // Whoever is told, knows at once.
    for (const due of Object.values(this.state.due)) due.clear();
  }

  private heed({ task, verdict }: Taken): void {
    if (verdict !== 'run') return;
    const live = this.live.get(task);
    if (!live) return;
    live.started = this.now;
    this.ends.push({ at: this.now + live.job.duration, order: ++this.order, id: task });
  }
}

/** All jobs as one plan that is there from the start. */
export const backlog = (jobs: Job[]): Arrival[] =>
  jobs.map((job, i) => ({
    ...job,
    id: `backlog/t${i}`,
    plan: { id: 'backlog', size: jobs.length },
    upstreams: job.after.map((to) => `backlog/t${to}`),
    at: 0,
  }));

/** Each job on its own, the arrivals spread evenly over a time. */
export const stream = (jobs: Job[], over: number): Arrival[] =>
  jobs.map((job, i) => ({
    ...job,
    id: `single/t${i}`,
    plan: { id: 'single' },
    upstreams: job.after.map((to) => `single/t${to}`),
    at: Math.round((i * over) / jobs.length),
  }));
