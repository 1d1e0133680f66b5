// The workflow of a task on a real server, where the test takes the coordinator's part: it says what it likes, when it likes.

import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { Outbox } from '../activities/outbox.js';
import { type AcceptInput, type PacketInput, reportActivities } from '../activities/reports.js';
import { Config } from '../src/domain/config.js';
import { lifeOf } from '../src/domain/fence.js';
import { SIGNAL, taskQueue, taskWorkflowId, WORKFLOW } from '../src/domain/ids.js';
import type { Decision, Outcome, Standing } from '../src/domain/messages.js';
import type { Packet } from '../src/domain/packet.js';
import { registerSearchAttributes } from '../worker/search-attributes.js';

let connection: Connection;
let native: NativeConnection;
beforeAll(async () => {
  const address = inject('temporal');
  connection = await Connection.connect({ address });
  await registerSearchAttributes(connection, 'default');
  native = await NativeConnection.connect({ address });
});
afterAll(async () => {
  await native.close();
  await connection.close();
});

const fleet = `told${process.pid}-${Date.now().toString(36)}`;
const config = Config.parse({
  fleet,
  repositories: { app: { url: 'nowhere' } },
  roles: { main: { resources: ['branch:app'] } },
  agents: { idle: { command: ['true'] } },
});
const fence = { epoch: 1, number: 1 };
const OUTCOME: Outcome = { kind: 'landed', code: 'LANDED', text: 'landed as c', commit: 'c' };

class Gate {
  open!: () => void;
  readonly opened = new Promise<void>((open) => {
    this.open = open;
  });
}

const decided = (verdict: Decision['verdict'], code: Decision['code']): Decision => ({
  seq: 1,
  at: 0,
  attempt: 1,
  verdict,
  code,
  evidence: {},
});

type HistoryEvent = NonNullable<Awaited<ReturnType<WorkflowHandle['fetchHistory']>>['events']>[number];

/** A task whose agent runs, with all that a test needs to go on as its coordinator. */
async function running(id: string) {
  const client = new Client({ connection, namespace: 'default' });
  const host = { config, client, log: () => undefined };
  const outbox = new Outbox(host);
  const [started, ending] = [new Gate(), new Gate()];
  const packets: Packet[] = [];
  const keepPacket = async ({ packet }: PacketInput) => {
    packets.push(packet);
  };
  const activities = reportActivities(host, outbox, {
    keepPacket,
    runAgent: async () => {
      started.open();
      await ending.opened;
      const result = { kind: 'commits' as const, dead: true, base: 'b', commit: 'c', ref: 'r' };
      return { result, record: { attempt: 1, fence, started: '', result } };
    },
  });
  const shared = { connection: native, namespace: 'default', taskQueue: taskQueue(fleet) };
  const serve = async (options: object) => {
    const worker = await Worker.create({ ...shared, ...options });
    const done = worker.run();
    const stop = async () => {
      if (worker.getState() === 'RUNNING') worker.shutdown();
      await done;
    };
    onTestFinished(stop);
    return stop;
  };
  let life = '';
  const serveWorkflows = () =>
    serve({
      workflowBundle: { codePath: resolve('dist/workflow-bundle.js') },
      activities: {
        ...activities,
        keepPacket,
        accept: (input: AcceptInput) => {
          life = input.life;
          return activities.accept(input);
        },
      },
      enableNonLocalActivities: false,
    });
  await serve({ activities });
  const stopWorkflows = await serveWorkflows();
  const handle = await client.workflow.start(WORKFLOW.task, {
    workflowId: taskWorkflowId(fleet, `single/${id}`),
    taskQueue: shared.taskQueue,
    workflowExecutionTimeout: '60s',
    args: [{ fleet, task: { id, prompt: 'nothing', role: 'main', writes: ['a'] } }],
  });
  while (life === '') await sleep(20);
  const standing = (number: number, more: Pick<Standing, 'phase' | 'decision' | 'outcome'>): Standing => ({
    life,
    epoch: 1,
    number,
    attempt: 1,
    fence,
    ...more,
  });
  await handle.signal(SIGNAL.standing, {
    ...standing(1, { phase: 'running', decision: decided('run', 'CLAIMS_FREE') }),
    lease: 60_000,
  });
  await started.opened;
  /** Whether the attempt waits for an answer, which it has then. */
  const hears = (told: Standing): boolean => outbox.answer(`single/${id}`, told);
  /** Answers who asks, as a delivery from the same process does. */
  const answer = async (told: Standing) => {
    outbox.serves();
    while (!hears(told)) await sleep(20);
  };
  const eventsWith = async (attributes: keyof HistoryEvent): Promise<number> =>
    (await handle.fetchHistory()).events?.filter((event) => event[attributes]).length ?? 0;
  return { handle, ending, packets, standing, hears, answer, eventsWith, serveWorkflows, stopWorkflows };
}

const LANDS = { phase: 'landing', decision: decided('land', 'COMMITS_READY') } as const;
const LANDED = { phase: 'ended', decision: decided('end', 'LANDED'), outcome: OUTCOME } as const;

describe('the workflow of a task', () => {
  it('acts upon an outcome that it hears of together with the end of its attempt', async () => {
    const task = await running('one');
    // Nobody does workflow tasks now: the next one has both.
    await task.stopWorkflows();
    task.ending.open();
    await task.answer(task.standing(2, LANDS));
    while ((await task.eventsWith('activityTaskCompletedEventAttributes')) === 0) await sleep(20);
    await task.handle.signal(SIGNAL.standing, task.standing(3, LANDED));
    await task.serveWorkflows();
    expect(await task.handle.result()).toEqual(OUTCOME);
  });

  it('ends with its attempt when that lands quickly', async () => {
    const task = await running('two');
    task.ending.open();
    await task.answer(task.standing(2, LANDS));
    await task.answer(task.standing(3, LANDED));
    expect(await task.handle.result()).toEqual(OUTCOME);
    expect(await task.eventsWith('workflowExecutionSignaledEventAttributes')).toBe(1);
    expect(await task.eventsWith('workflowTaskScheduledEventAttributes')).toBe(3);
    expect(task.packets.map(({ outcome, attempts }) => [outcome.code, attempts.length])).toEqual([
      ['LANDED', 1],
    ]);
  });

  // That of its first workflow task is another one when that is tried again, and a life more for the coordinator.
  it('has a life that goes by its start', async () => {
    const { handle, standing, ending } = await running('born');
    const { startTime, runId } = await handle.describe();
    expect(standing(2, LANDS).life).toBe(lifeOf({ startTime, runId }));
    await handle.terminate();
    ending.open();
  });

  it('does not wait for a landing that is held', async () => {
    const task = await running('three');
    task.ending.open();
    await task.answer(task.standing(2, { phase: 'landing', decision: decided('hold', 'ROLE_FROZEN') }));
    while ((await task.eventsWith('activityTaskCompletedEventAttributes')) === 0)
      expect(task.hears(task.standing(3, LANDED))).toBe(false);
    await task.handle.signal(SIGNAL.standing, task.standing(3, LANDED));
    expect(await task.handle.result()).toEqual(OUTCOME);
  });
});
