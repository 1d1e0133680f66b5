// A plan of 10,000 tasks through the real server: all end, and the coordinator hands its state on many times.

import { gzipSync } from 'node:zlib';
import { coordinatorId, taskWorkflowId } from '../../src/domain/ids.js';
import type { Bench } from '../bench.js';
import { allClosed } from '../server/count.js';
import { World } from '../server/world.js';

const TASKS = 10_000;
const MB = 1024 * 1024;

/** Each waits for up to two of the thirty before it; half of them write one of 1,000 files. */
const tasks = Array.from({ length: TASKS }, (_, i) => ({
  id: `t${i}`,
  prompt: 'nothing to do',
  ...(i % 2 === 0 ? {} : { role: 'main', writes: [`src/part${i % 40}/file${i % 1000}.ts`] }),
  after: [i - 7, i - 29].filter((up, k) => up >= 0 && i % (2 + k) === 0).map((up) => `t${up}`),
}));

const bench: Bench = {
  name: 'server-plan',
  about: 'a plan of 10,000 tasks through a real Temporal server',
  async run({ progress }) {
    const world = await World.open();
    try {
      const fleet = await world.serveFleet({ ceiling: 64 });
      let started = 0;
      await fleet.client.submit('p', tasks, {
        onStarted: () => {
          if (++started % 1_000 === 0) progress(`${started} submitted`);
        },
      });
      await allClosed(world.client, taskWorkflowId(fleet.name, ''), TASKS, (closed) =>
        progress(`${closed} have ended`),
      );
      const query = `WorkflowId STARTS_WITH "${taskWorkflowId(fleet.name, '')}" AND ExecutionStatus = "Completed"`;
      const { count } = await world.client.workflow.count(query);
      const carried = await carriedBytes(world, coordinatorId(fleet.name));
      return [
        { row: 'of 10,000 tasks, ended well', figure: count, mustReach: { atLeast: TASKS } },
        { row: 'the coordinator continued as new, times', figure: carried.length, mustReach: { atLeast: 3 } },
        {
          row: 'its carried state at the largest, gzipped',
          figure: Math.max(...carried) / MB,
          unit: ' MB',
          mustReach: { atMost: 1 },
          aim: { atMost: 0.5 },
        },
      ];
    } finally {
      await world.close();
    }
  },
};
export default bench;

/** Gzipped size of what each run handed to the next. */
async function carriedBytes(world: World, workflowId: string): Promise<number[]> {
  const sizes: number[] = [];
  for await (const { runId } of world.client.workflow.list({ query: `WorkflowId = "${workflowId}"` })) {
    const { events } = await world.client.workflow.getHandle(workflowId, runId).fetchHistory();
    const handed = events?.at(-1)?.workflowExecutionContinuedAsNewEventAttributes?.input?.payloads?.[0]?.data;
    if (handed) sizes.push(gzipSync(handed).length);
  }
  return sizes;
}
