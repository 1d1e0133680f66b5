// What the order of grants is worth, on streams of changes: how near a backlog comes to the bound that no schedule beats,
// and what the reservation does to those that wait longest.

import { type Bench, type Row, spreadOf } from '../bench.js';
import { overtakingWaits } from '../overtaking.js';
import { backlog, simulate, stream } from '../simulator.js';
import { boundOf, jobsOf, readLines, workloadFile } from '../workload.js';

const SEEDS = [1, 2, 3, 4, 5];
const AGENTS = 32;
const AGENTS_OF_DAG = 64;
/** Of the time that the backlog needs at least, the stream leaves so much free. */
const LOAD = 0.8;

/** Lockfiles and manifests are generated or merged by writers and claimed by nobody. */
const claimed = (path: string): boolean => !/(^|\/)Cargo\.(lock|toml)$/.test(path);

const mean = (list: number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
const most = (list: number[]): number => list.reduce((a, b) => Math.max(a, b), 0);

const bench: Bench = {
  name: 'order',
  about: 'backlog, stream and dependency graph against what no schedule beats (rows A, B, C)',
  run({ progress }): Row[] {
    const lines = readLines(workloadFile('cargo-changes.jsonl.gz'));
    const makespans: number[] = [];
    const longest: number[] = [];
    const means: number[] = [];
    for (const seed of SEEDS) {
      const jobs = jobsOf(lines, seed, claimed);
      const bound = boundOf(jobs, AGENTS);
      makespans.push(simulate(backlog(jobs), { agents: AGENTS }).makespan / bound);
      const arrivals = stream(jobs, bound / LOAD);
      const { waits } = simulate(arrivals, { agents: AGENTS });
      const pure = overtakingWaits(arrivals, AGENTS);
      longest.push(most(waits) / most(pure));
      means.push(mean(waits) / mean(pure));
      progress(
        `seed ${seed}: backlog ${makespans.at(-1)?.toFixed(4)} of the bound; stream: longest wait ${longest.at(-1)?.toFixed(3)} (${(most(pure) / 60_000).toFixed(0)} min with pure overtaking), mean ${means.at(-1)?.toFixed(3)} (${(mean(pure) / 60_000).toFixed(1)} min)`,
      );
    }
    const dag = jobsOf(readLines(workloadFile('hard-dag.jsonl.gz')), 1);
    const { makespan } = simulate(backlog(dag), { agents: AGENTS_OF_DAG });
    return [
      {
        row: 'A: backlog of cargo-changes, 32 agents: makespan / bound',
        ...spreadOf(makespans),
        mustReach: { atMost: 1.01 },
        aim: { atMost: 1.004 },
      },
      {
        row: 'B: the same as a stream: longest wait / that of pure overtaking',
        ...spreadOf(longest),
        mustReach: { atMost: 0.6 },
        aim: { atMost: 0.4 },
      },
      {
        row: 'B: the same as a stream: mean wait / that of pure overtaking',
        ...spreadOf(means),
        mustReach: { atMost: 2.5 },
        aim: { atMost: 1.5 },
      },
      {
        row: 'C: hard-dag, 64 agents: bound / makespan',
        figure: boundOf(dag, AGENTS_OF_DAG) / makespan,
        mustReach: { atLeast: 0.75 },
        aim: { atLeast: 0.82 },
      },
    ];
  },
};

export default bench;
