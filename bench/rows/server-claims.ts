// 200 tasks that ask for the same path at once: by the agents' own timestamps exactly one of them holds it at any time.

import { taskWorkflowId } from '../../src/domain/ids.js';
import type { Bench } from '../bench.js';
import { allClosed } from '../server/count.js';
import { World } from '../server/world.js';

const TASKS = 200;

const bench: Bench = {
  name: 'server-claims',
  about: '200 tasks that claim the same path at once, on a real Temporal server',
  async run({ progress }) {
    const world = await World.open();
    try {
      const fleet = await world.serveFleet({ ceiling: TASKS, agentMs: 5 });
      const tasks = Array.from({ length: TASKS }, (_, i) => ({
        id: `t${i}`,
        prompt: 'nothing to do',
        role: 'main',
        writes: [i % 2 === 0 ? 'src/one.ts' : 'src'],
      }));
      await fleet.client.submit('p', tasks);
      await allClosed(world.client, taskWorkflowId(fleet.name, ''), TASKS, (closed) =>
        progress(`${closed} of ${TASKS}`),
      );
      const agents = [...fleet.agents].sort((a, b) => a.from - b.from);
      const together = agents.slice(1).filter(({ from }, i) => from < (agents[i]?.to ?? 0)).length;
      return [
        { row: 'of 200 claims of one path, granted', figure: agents.length, mustReach: { atLeast: TASKS } },
        { row: 'held by two at a time, times', figure: together, mustReach: { atMost: 0 } },
      ];
    } finally {
      await world.close();
    }
  },
};
export default bench;
