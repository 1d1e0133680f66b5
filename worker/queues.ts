// The task queues of a fleet, served by one process: agents cannot take the slots of the coordinator and of the writers;
// and the host has a queue of its own, for attempts that go on in a clone that only it has. What the activities do is up
// to whoever serves them.

import { type NativeConnection, Worker, type WorkerOptions, type WorkerTuner } from '@temporalio/worker';
import type { Activities } from '../activities/index.js';
import { dataConverter } from '../src/client/payload.js';
import type { Config } from '../src/domain/config.js';
import { controlQueue, hostQueue, taskQueue } from '../src/domain/ids.js';
import type { Room } from './room.js';

export interface QueueSettings {
  config: Config;
  connection: NativeConnection;
  namespace: string;
  /** As Temporal shows this process. */
  identity: string;
  /** File of the workflow bundle. */
  bundle: string;
  activities: Pick<Activities, 'task' | 'control'>;
  /** The host's id. */
  host: string;
  /** What of the host agents may use. */
  room: Room;
}

export interface ServedQueues {
  /** Resolves when all have stopped; rejects when one failed. */
  done: Promise<void>;
  stop(): Promise<void>;
}

/** Reports of tasks, and their packets. */
const LOCAL_ACTIVITIES = 200;
/** The SDK's own number. */
const WORKFLOW_TASKS = 40;
/** Agents are told to end at once; ending them, and keeping their work, may take as long as this. */
const SHUTDOWN_FORCE = '1m';

export async function serveQueues(settings: QueueSettings): Promise<ServedQueues> {
  const { config, connection, namespace, identity, bundle, activities, host, room } = settings;
  const shared: Partial<WorkerOptions> = {
    connection,
    namespace,
    dataConverter,
    identity,
    shutdownGraceTime: 0,
    shutdownForceTime: SHUTDOWN_FORCE,
    // Bounds the time until a running activity hears of its cancellation.
    maxHeartbeatThrottleInterval: '1s',
    defaultHeartbeatThrottleInterval: '1s',
  };
  const workflowBundle = { codePath: bundle };
  const control = await Worker.create({
    ...shared,
    workflowBundle,
    taskQueue: controlQueue(config.fleet),
    activities: activities.control,
  });
  const tasks = await Worker.create({
    ...shared,
    workflowBundle,
    taskQueue: taskQueue(config.fleet),
    activities: activities.task,
    tuner: tunerWith(room.common),
  });
  const own = await Worker.create({
    ...shared,
    taskQueue: hostQueue(config.fleet, host),
    activities: { runAgent: activities.task.runAgent },
    tuner: tunerWith(room.own),
    maxConcurrentActivityTaskPolls: 1,
  });
  const running = [control.run(), tasks.run(), own.run()];
  const stop = async () => {
    // Tasks first: what they still have to tell goes through the control plane.
    shutDown(tasks);
    shutDown(own);
    await Promise.allSettled(running.slice(1));
    shutDown(control);
    await Promise.allSettled(running);
  };
  const done = Promise.all(running).then(
    () => undefined,
    async (error: unknown) => {
      await stop();
      throw error;
    },
  );
  return { done, stop };
}

const tunerWith = (agents: Room['common']): WorkerTuner => ({
  activityTaskSlotSupplier: agents,
  localActivityTaskSlotSupplier: { type: 'fixed-size', numSlots: LOCAL_ACTIVITIES },
  workflowTaskSlotSupplier: { type: 'fixed-size', numSlots: WORKFLOW_TASKS },
  nexusTaskSlotSupplier: { type: 'fixed-size', numSlots: 1 },
});

function shutDown(worker: Worker): void {
  if (worker.getState() === 'RUNNING') worker.shutdown();
}
