// A million tasks through one coordinator's rules, 500 of them live at any time: what has ended must neither pile up nor
// make what comes later dearer. Each claims up to three of 10,000 files, by chance, and takes as long as in the backlog.

import type { Bench, Row } from '../bench.js';
import { randomFrom } from '../random.js';
import { type Arrival, simulate } from '../simulator.js';
import { durationFrom } from '../workload.js';

const TASKS = 1_000_000;
const LIVE = 500;
const AGENTS = 32;
const FILES = 10_000;
const MOST_CLAIMED = 3;

/** Each arrives as soon as there is room for it. */
function* arrivals(progress: (text: string) => void): Iterable<Arrival> {
  const random = randomFrom(11);
  for (let i = 1; i <= TASKS; i++) {
    const claims = Array.from({ length: 1 + random.below(MOST_CLAIMED) }, () => random.below(FILES));
    const paths = [...new Set(claims)].map(
      (file) => `src/part${file % 97}/module${file % 1_009}/file${file}.ts`,
    );
    const plan = { id: 'single' };
    yield {
      id: `single/t${i}`,
      plan,
      paths,
      after: [],
      upstreams: [],
      duration: durationFrom(random),
      at: 0,
    };
    if (i % (TASKS / 10) === 0) progress(`${i} tasks have arrived`);
  }
}

const bench: Bench = {
  name: 'million',
  about: 'a million tasks through the simulator, 500 live at a time: seconds of a processor, and memory',
  // Else the garbage collector uses other cores as well.
  node: ['--single-threaded-gc'],
  run({ progress }): Row[] {
    simulate(arrivals(progress), { agents: AGENTS, live: LIVE, keepWaits: false });
    const { user, system } = process.cpuUsage();
    const row = `${TASKS / 1e6} million tasks through the simulator, ${LIVE} live at a time, one core`;
    return [
      {
        row,
        figure: (user + system) / 1e6,
        unit: ' s',
        absolute: true,
        mustReach: { atMost: 300 },
        aim: { atMost: 60 },
      },
      {
        row: 'the same: memory at its peak',
        figure: process.resourceUsage().maxRSS / 1_024,
        unit: ' MiB',
        absolute: true,
        mustReach: { atMost: 1_024 },
      },
    ];
  },
};

export default bench;
