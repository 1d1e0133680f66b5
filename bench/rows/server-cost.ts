// What a task costs on a real server: throughput beside bare one-activity workflows, and events of history.

import { eachInParallel } from '../../src/client/parallel.js';
import { coordinatorId, taskWorkflowId, writerId } from '../../src/domain/ids.js';
import type { Bench, Row } from '../bench.js';
import { spreadOf } from '../bench.js';
import { allClosed, eventsOf, spanOf, total } from '../server/count.js';
import { type NoopFleet, World } from '../server/world.js';

/** Calls to the server at once, as a plan is submitted with. */
const CALLS = 20;
const TASKS = 500;
const REPEATS = 5;
/** Agents at once, and activities of bare workflows. */
const HANDS = 64;
/** Every so many tasks' histories are counted. */
const SAMPLE = 10;

/** Half of them read, half of them write one of 300 files; every third waits for an earlier one. */
const tasks = Array.from({ length: TASKS }, (_, i) => ({
  id: `t${i}`,
  prompt: 'nothing to do',
  ...(i % 2 === 0 ? {} : { role: 'main', writes: [`file${i % 300}`] }),
  after: i > 20 && i % 3 === 0 ? [`t${i - 17}`] : [],
}));

interface Cost {
  read: number[];
  coordinator: number[];
  writer: number[];
}

const bench: Bench = {
  name: 'server-cost',
  about: 'throughput beside bare workflows, and events of history, on a real Temporal server',
  async run({ progress }) {
    const world = await World.open();
    try {
      await world.serveBare(HANDS);
      const ratios: number[] = [];
      const cost: Cost = { read: [], coordinator: [], writer: [] };
      for (let repeat = 1; repeat <= REPEATS; repeat++) {
        const bare = await bareRate(world, `bare${repeat}/`);
        const fleet = await world.serveFleet({ ceiling: HANDS });
        const ours = await fleetRate(world, fleet);
        ratios.push(ours / bare);
        progress(`${repeat} of ${REPEATS}: bare ${bare.toFixed(1)} a second, tasks ${ours.toFixed(1)}`);
        await fleet.stop();
        await count(world, fleet, cost);
      }
      return rows(ratios, cost);
    } finally {
      await world.close();
    }
  },
};
export default bench;

function rows(ratios: number[], cost: Cost): Row[] {
  return [
    {
      row: 'tasks a second / bare one-activity workflows a second',
      ...spreadOf(ratios),
      mustReach: { atLeast: 0.5 },
      aim: { atLeast: 0.65 },
    },
    {
      row: 'events a read-only task (a bare workflow: 11)',
      ...spreadOf(cost.read),
      mustReach: { atMost: 19 },
      aim: { atMost: 15 },
    },
    {
      row: 'events of the coordinator a task',
      ...spreadOf(cost.coordinator),
      mustReach: { atMost: 2 },
      aim: { atMost: 1 },
    },
    {
      row: 'events of the writer a landing',
      ...spreadOf(cost.writer),
      mustReach: { atMost: 25 },
      aim: { atMost: 5 },
    },
  ];
}

async function bareRate(world: World, prefix: string): Promise<number> {
  const ids = Array.from({ length: TASKS }, (_, i) => `${prefix}${i}`);
  await eachInParallel(ids, CALLS, (id) => world.startBare(id, 1));
  await allClosed(world.client, prefix, TASKS);
  return (TASKS * 1_000) / (await spanOf(world.client, prefix));
}

async function fleetRate(world: World, fleet: NoopFleet): Promise<number> {
  await fleet.client.submit('p', tasks);
  const prefix = taskWorkflowId(fleet.name, '');
  await allClosed(world.client, prefix, TASKS);
  return (TASKS * 1_000) / (await spanOf(world.client, prefix));
}

async function count(world: World, fleet: NoopFleet, cost: Cost): Promise<void> {
  const sizes: number[] = [];
  await eachInParallel(
    tasks.filter(({ role }, i) => role === undefined && i % SAMPLE === 0),
    CALLS,
    async ({ id }) => {
      sizes.push(total(await eventsOf(world.client, taskWorkflowId(fleet.name, `p/${id}`))));
    },
  );
  cost.read.push(sizes.reduce((sum, size) => sum + size, 0) / sizes.length);
  cost.coordinator.push(total(await eventsOf(world.client, coordinatorId(fleet.name))) / TASKS);
  const landings = tasks.filter(({ role }) => role !== undefined).length;
  cost.writer.push(total(await eventsOf(world.client, writerId(fleet.name, 'main'))) / landings);
}
