// The workflow of a task on a real server, where the test takes the coordinator's part: it says what it likes, when it likes.

import { resolve } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { Outbox } from '../activities/outbox.js';
import { type AcceptInput, reportActivities } from '../activities/reports.js';
import { Config } from '../src/domain/config.js';
import { SIGNAL, taskQueue, taskWorkflowId, WORKFLOW } from '../src/domain/ids.js';
import type { Decision, Outcome, Standing } from '../src/domain/messages.js';
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
const ID = 'single/one';
const fence = { epoch: 1, number: 1 };
const OUTCOME: Outcome = { kind: 'landed', code: 'LANDED', text: 'landed as c', commit: 'c' };

class Gate {
  open!: () => void;
  readonly opened = new Promise<void>((open) => {
    this.open = open;
  });
}

describe('the workflow of a task', () => {
  it('acts upon an outcome that it hears of together with the end of its attempt', async () => {
    const client = new Client({ connection, namespace: 'default' });
    const host = { config, client, log: () => undefined };
    const outbox = new Outbox(host);
    const [running, ending] = [new Gate(), new Gate()];
    const activities = reportActivities(host, outbox, {
      keepPacket: async () => undefined,
      runAgent: async () => {
        running.open();
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
    const workflows = {
      workflowBundle: { codePath: resolve('dist/workflow-bundle.js') },
      activities: {
        ...activities,
        keepPacket: async () => undefined,
        accept: (input: AcceptInput) => {
          life = input.life;
          return activities.accept(input);
        },
      },
      enableNonLocalActivities: false,
    };
    let life = '';
    await serve({ activities });
    const stopWorkflows = await serve(workflows);

    const handle = await client.workflow.start(WORKFLOW.task, {
      workflowId: taskWorkflowId(fleet, ID),
      taskQueue: shared.taskQueue,
      workflowExecutionTimeout: '60s',
      args: [{ fleet, task: { id: 'one', prompt: 'nothing', role: 'main', writes: ['a'] } }],
    });
    while (life === '') await new Promise((done) => setTimeout(done, 20));
    const decision = (verdict: Decision['verdict'], code: Decision['code']): Decision => ({
      seq: 1,
      at: 0,
      attempt: 1,
      verdict,
      code,
      evidence: {},
    });
    const standing = (number: number, more: Pick<Standing, 'phase' | 'decision'>): Standing => ({
      life,
      epoch: 1,
      number,
      attempt: 1,
      fence,
      ...more,
    });
    await handle.signal(SIGNAL.standing, {
      ...standing(1, { phase: 'running', decision: decision('run', 'CLAIMS_FREE') }),
      lease: 60_000,
    });
    await running.opened;
    // Nobody does workflow tasks now: the next one has both.
    await stopWorkflows();
    outbox.serves();
    ending.open();
    const answer = standing(2, { phase: 'landing', decision: decision('run', 'COMMITS_READY') });
    while (!outbox.answer(ID, answer)) await new Promise((done) => setTimeout(done, 20));
    const isOver = async () =>
      (await handle.fetchHistory()).events?.some((event) => event.activityTaskCompletedEventAttributes);
    while (!(await isOver())) await new Promise((done) => setTimeout(done, 20));
    await handle.signal(SIGNAL.standing, {
      ...standing(3, { phase: 'ended', decision: decision('run', 'LANDED') }),
      outcome: OUTCOME,
    });
    await serve(workflows);
    expect(await handle.result()).toEqual(OUTCOME);
  });
});
