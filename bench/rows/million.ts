// A million tasks, one after the other through one coordinator's rules, 500 of them live at any time: what has ended must
// neither pile up nor make what comes later dearer. Their claims are those of cargo-changes again and again, each time
// below a directory of its own, with durations drawn anew.

import type { Bench, Row } from '../bench.js';
import { type Arrival, simulate } from '../simulator.js';
import { jobsOf, readLines, workloadFile } from '../workload.js';

const TASKS = 1_000_000;
const LIVE = 500;
const AGENTS = 32;

/** Each is live as soon as there is room for it. */
function* arrivals(progress: (text: string) => void): Iterable<Arrival> {
  const lines = readLines(workloadFile('cargo-changes.jsonl.gz'));
  for (let i = 0, round = 0; i < TASKS; round++) {
    for (const job of jobsOf(lines, round).slice(0, TASKS - i)) {
      const paths = job.paths.map((path) => `round${round}/${path}`);
      yield { ...job, paths, id: `single/t${i}`, plan: { id: 'single' }, upstreams: [], at: 0 };
      if (++i % (TASKS / 10) === 0) progress(`${i} tasks have arrived`);
    }
  }
}

const bench: Bench = {
  name: 'million',
  about: 'a million tasks through the simulator, 500 live at a time: seconds and memory',
  run({ progress }): Row[] {
    const begin = performance.now();
    simulate(arrivals(progress), { agents: AGENTS, live: LIVE, keepWaits: false });
    return [
      {
        row: `${TASKS.toLocaleString('en').replaceAll(',', ' ')} tasks through the simulator, ${LIVE} live at a time`,
        figure: (performance.now() - begin) / 1_000,
        unit: ' s',
        absolute: true,
        mustReach: { atMost: 300 },
        aim: { atMost: 60 },
      },
      {
        row: 'the same: memory at the most',
        figure: process.resourceUsage().maxRSS / 1_024,
        unit: ' MiB',
        absolute: true,
        mustReach: { atMost: 1_024 },
      },
    ];
  },
};

export default bench;
