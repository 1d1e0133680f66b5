// The coordinator on a real server with a database of its own, with agents and writers that do nothing: it continues as
// new however often it is signaled, and one that was reset to an earlier point does not go on from there.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allClosed } from '../bench/server/count.js';
import { type NoopFleet, World } from '../bench/server/world.js';
import { rulesOf } from '../src/domain/config.js';
import { decide } from '../src/domain/decide.js';
import { compareFences } from '../src/domain/fence.js';
import { controlQueue, coordinatorId, SIGNAL, taskWorkflowId, WORKFLOW } from '../src/domain/ids.js';
import type { Message } from '../src/domain/messages.js';
import { carry, freshState } from '../src/domain/state.js';
import { replayHistories } from './support/fleet.js';

let world: World;
const dir = mkdtempSync(join(tmpdir(), 'signalbox-coordinator-'));
beforeAll(async () => {
  world = await World.open({ bundle: resolve('dist/workflow-bundle.js'), dbFile: join(dir, 'temporal.db') });
});
afterAll(async () => {
  await world.close();
  rmSync(dir, { recursive: true, force: true });
});

const SAME_PATH = Array.from({ length: 20 }, (_, i) => ({
  id: `t${i}`,
  prompt: 'nothing to do',
  role: 'main',
  writes: ['src/one.ts'],
}));

const NOTHING: Message[] = [{ kind: 'worker', renew: [], dead: [] }];

const coordinator = (fleet: NoopFleet) => world.client.workflow.getHandle(coordinatorId(fleet.name));

async function statuses(fleet: NoopFleet): Promise<string[]> {
  const found: string[] = [];
  const query = `WorkflowId = "${coordinatorId(fleet.name)}"`;
  for await (const { status } of world.client.workflow.list({ query })) found.push(status.name);
  return found;
}

/** One agent at a time, each once, under fences that only grow. */
function expectOneByOne(fleet: NoopFleet): void {
  const agents = [...fleet.agents].sort((a, b) => a.from - b.from);
  expect(new Set(agents.map(({ name }) => name)).size).toBe(agents.length);
  for (const [i, agent] of agents.entries()) {
    const before = agents[i - 1];
    if (!before) continue;
    expect(agent.from).toBeGreaterThanOrEqual(before.to);
    expect(compareFences(agent.fence, before.fence)).toBeGreaterThan(0);
  }
}

describe('the coordinator', () => {
  it('continues as new under a storm of signals that never pauses', async () => {
    const fleet = await world.serveFleet({ ceiling: 4, agentMs: 20, historyLimit: 60 });
    const before = (await statuses(fleet)).length;
    let storm = true;
    let sent = 0;
    const senders = Array.from({ length: 4 }, async () => {
      for (; storm; sent++) {
        await coordinator(fleet).signal(SIGNAL.tell, NOTHING);
        await new Promise((done) => setTimeout(done, 20));
      }
    });
    try {
      await fleet.client.submit('p', SAME_PATH);
      await allClosed(world.client, taskWorkflowId(fleet.name, ''), SAME_PATH.length);
    } finally {
      storm = false;
      await Promise.all(senders);
    }
    const runs = (await statuses(fleet)).length - before;
    expect(sent).toBeGreaterThan(120);
    // Whoever gets stuck in a run takes all the rest of the storm in it.
    expect(sent / runs).toBeLessThan(120);
    expectOneByOne(fleet);
    await fleet.stop();
  });

  // What it hands on is more than Temporal takes in one payload.
  it('continues as new with thousands of live tasks, and answers with all of them', async () => {
    const fleet = await world.serveFleet({ ceiling: 4 });
    const rules = rulesOf(fleet.config);
    const now = Date.now();
    const state = freshState(rules, now);
    decide(state, { kind: 'surveyed', live: [], last: true }, now);
    const ids = Array.from({ length: 8_000 }, (_, i) => `big/t${i}`);
    for (const id of ids) {
      const facts = { role: 'main', writes: [`src/${id}.ts`], reads: [], after: [] };
      const plan = { id: 'big', size: ids.length + 1 };
      const life = `${now}.${id}`;
      decide(state, { kind: 'task', id, life, number: 1, plan, facts, attempt: 1, at: 'waiting' }, now);
    }
    for (const due of Object.values(state.due)) due.clear();
    const carried = carry(state);
    expect(JSON.stringify(carried).length).toBeGreaterThan(2 * 1024 * 1024);
    const { firstExecutionRunId } = await world.client.workflow.start(WORKFLOW.coordinator, {
      workflowId: coordinatorId(fleet.name),
      taskQueue: controlQueue(fleet.name),
      workflowIdConflictPolicy: 'TERMINATE_EXISTING',
      args: [{ rules, carried, historyLimit: 20 }],
    });
    while ((await coordinator(fleet).describe()).runId === firstExecutionRunId) {
      await coordinator(fleet).signal(SIGNAL.tell, NOTHING);
      await new Promise((done) => setTimeout(done, 50));
    }
    const { tasks } = await fleet.client.overview();
    expect(tasks.map(({ id }) => id)).toEqual(ids);
    await fleet.stop();
  });

  // With local activities as SDK 1.23 and 1.24 run them, it does not.
  it('takes the same course in a replay though queries come while it delivers', async () => {
    const few = SAME_PATH.slice(0, 8);
    const fleet = await world.serveFleet({ ceiling: 2, agentMs: 100, deliverMs: () => Math.random() * 600 });
    let busy = true;
    const hands = [
      () => fleet.client.overview(),
      () => fleet.client.overview(),
      () => coordinator(fleet).signal(SIGNAL.tell, NOTHING),
    ].map(async (act) => {
      while (busy) {
        // A query that comes too late for a workflow task may find that nobody answers it.
        await act().catch(() => undefined);
        await new Promise((done) => setTimeout(done, Math.random() * 200));
      }
    });
    try {
      await fleet.client.submit('p', few);
      await allClosed(world.client, taskWorkflowId(fleet.name, ''), few.length);
    } finally {
      busy = false;
      await Promise.all(hands);
    }
    await fleet.stop();
    expect(await replayHistories(world.server.address, [fleet.name])).toBeGreaterThan(few.length);
  });

  // A workflow task that is kept open for longer than 8 s is replayed at another time.
  it('takes the same course in a replay though a deadline passed while it delivered', async () => {
    let ms = 0;
    const fleet = await world.serveFleet({ ceiling: 2, deliverMs: () => ms });
    const freezeFor = (duration: number): Promise<void> =>
      coordinator(fleet).signal(SIGNAL.tell, [
        { kind: 'fleet', number: Date.now(), freeze: { text: 'a test', duration } },
      ] satisfies Message[]);
    await freezeFor(3_600_000);
    await fleet.client.submit('p', SAME_PATH.slice(0, 1));
    await expect.poll(async () => (await fleet.client.overview()).tasks[0]?.code).toBe('FLEET_FROZEN');
    // It wakes for nothing, and each answer shows that a workflow task is over.
    for (let i = 0; i < 5; i++) {
      await coordinator(fleet).signal(SIGNAL.tell, NOTHING);
      await fleet.client.overview();
    }
    ms = 9_500;
    await freezeFor(4_000);
    await expect.poll(() => fleet.agents.length, { timeout: 60_000 }).toBe(1);
    ms = 0;
    await allClosed(world.client, taskWorkflowId(fleet.name, ''), 1);
    await fleet.stop();
    expect(await replayHistories(world.server.address, [fleet.name])).toBeGreaterThan(1);
  });

  it.each([['its first workflow task'], ['the middle of its history']])(
    'that is reset to %s forgets nothing that counts',
    async (where) => {
      const fleet = await world.serveFleet({ ceiling: 4, agentMs: 100 });
      await fleet.client.submit('p', SAME_PATH);
      while (fleet.agents.length < 8) await new Promise((done) => setTimeout(done, 20));
      const { epoch } = await fleet.client.overview();
      const { events } = await coordinator(fleet).fetchHistory();
      const { runId } = await coordinator(fleet).describe();
      const completed = (events ?? []).filter((event) => event.workflowTaskCompletedEventAttributes);
      const target = where === 'its first workflow task' ? completed[0] : completed[completed.length >> 1];
      await world.client.workflowService.resetWorkflowExecution({
        namespace: world.server.namespace,
        workflowExecution: { workflowId: coordinatorId(fleet.name), runId },
        reason: 'a test',
        requestId: `${where} ${runId}`,
        workflowTaskFinishEventId: target?.eventId ?? null,
      });
      await allClosed(world.client, taskWorkflowId(fleet.name, ''), SAME_PATH.length);
      expect(fleet.agents.length).toBe(SAME_PATH.length);
      expectOneByOne(fleet);
      expect((await fleet.client.overview()).epoch).toBeGreaterThan(epoch);
      await fleet.stop();
    },
  );
});
