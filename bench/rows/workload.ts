// Anybody's stream of changes: how near the order of grants comes to the bound that no schedule beats.

import type { Bench, Row } from '../bench.js';
import { backlog, simulate } from '../simulator.js';
import { boundOf, jobsOf, readLines, workloadFile } from '../workload.js';

const AGENTS = 32;
const SEED = 1;

const bench: Bench = {
  name: 'workload',
  about: 'a stream of your own as a backlog (--workload FILE, --agents K): makespan / bound, longest wait',
  onDemand: true,
  run({ progress, workload = workloadFile('cargo-changes.jsonl.gz'), agents = AGENTS }): Row[] {
    const jobs = jobsOf(readLines(workload), SEED);
    const bound = boundOf(jobs, agents);
    progress(
      `${jobs.length} tasks of ${workload}, ${agents} agents, bound ${(bound / 60_000).toFixed(0)} min`,
    );
    const { makespan, waits } = simulate(backlog(jobs), { agents });
    const longest = waits.reduce((a, b) => Math.max(a, b), 0);
    return [
      { row: 'makespan / bound', figure: makespan / bound },
      { row: 'longest wait', figure: longest / 60_000, unit: ' min' },
    ];
  },
};

export default bench;
