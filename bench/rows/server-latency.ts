// How long a downstream waits once its upstream's agent has ended, on an idle server, beside one bare step: an activity
// and the next one of the same workflow.

import { taskWorkflowId } from '../../src/domain/ids.js';
import type { Bench } from '../bench.js';
import { allClosed } from '../server/count.js';
import { type Stretch, World } from '../server/world.js';

/** In turn, so that both see the same machine. */
const ROUNDS = 5;
const EDGES = 40;

const bench: Bench = {
  name: 'server-latency',
  about: "from an upstream agent's end to its downstream's start, beside a bare sequential activity step",
  async run({ progress }) {
    const world = await World.open();
    try {
      const steps = await world.serveBare(1);
      const fleet = await world.serveFleet({ ceiling: 4 });
      const bare: number[] = [];
      const ours: number[] = [];
      for (let round = 1; round <= ROUNDS; round++) {
        steps.length = 0;
        await world.startBare(`bare${round}/one`, EDGES + 1);
        await allClosed(world.client, `bare${round}/`, 1);
        bare.push(...gaps(steps));
        fleet.agents.length = 0;
        const tasks = Array.from({ length: EDGES + 1 }, (_, i) => ({
          id: `t${i}`,
          prompt: 'nothing to do',
          after: i === 0 ? [] : [`t${i - 1}`],
        }));
        await fleet.client.submit(`p${round}`, tasks);
        await allClosed(world.client, taskWorkflowId(fleet.name, `p${round}/`), tasks.length);
        ours.push(...gaps(fleet.agents));
        progress(
          `${round} of ${ROUNDS}: p50 ${quantile(bare, 0.5).toFixed(1)} and ${quantile(ours, 0.5).toFixed(1)} ms`,
        );
      }
      const ratio = (q: number) => quantile(ours, q) / quantile(bare, q);
      return [
        {
          row: 'upstream ended to downstream started / a bare step, p50 / p50',
          figure: ratio(0.5),
          mustReach: { atMost: 4.5 },
          aim: { atMost: 2.5 },
        },
        {
          row: 'the same, p99 / p99',
          figure: ratio(0.99),
          mustReach: { atMost: 3 },
          aim: { atMost: 1.7 },
        },
      ];
    } finally {
      await world.close();
    }
  },
};
export default bench;

/** Milliseconds between the end of each and the start of the next. */
const gaps = (stretches: readonly Stretch[]): number[] =>
  stretches.slice(1).map(({ from }, i) => from - (stretches[i]?.to ?? from));

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}
