// The two task queues of a fleet, served by one process: agents cannot take the slots of the coordinator and of the
// writers. What the activities do is up to whoever serves them.

import { type NativeConnection, Worker, type WorkerOptions } from '@temporalio/worker';
import type { Activities, TaskActivities } from '../activities/index.js';
import { dataConverter } from '../src/client/payload.js';
import type { Config } from '../src/domain/config.js';
import { controlQueue, taskQueue } from '../src/domain/ids.js';
import { type HostSize, Room } from './room.js';

export interface QueueSettings {
  config: Config;
  connection: NativeConnection;
  namespace: string;
  /** As Temporal shows this process. */
  identity: string;
  /** File of the workflow bundle. */
  bundle: string;
  activities: Pick<Activities, 'task' | 'control'>;
  /** What of the host agents may use; as many slots as the ceiling when left out. */
  size?: HostSize;
}

export interface ServedQueues {
  /** Resolves when both have stopped; rejects when one failed. */
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
  const { config, connection, namespace, identity, bundle, activities } = settings;
  const shared: Partial<WorkerOptions> = {
    connection,
    namespace,
    dataConverter,
    identity,
    workflowBundle: { codePath: bundle },
    shutdownGraceTime: 0,
    shutdownForceTime: SHUTDOWN_FORCE,
    // Bounds the time until a running activity hears of its cancellation.
    maxHeartbeatThrottleInterval: '1s',
    defaultHeartbeatThrottleInterval: '1s',
  };
  const size = settings.size ?? { slots: config.ceiling };
  const room = new Room(config, size);
  const inRoom: TaskActivities['runAgent'] = (input) =>
    room.holding(input.agent, () => activities.task.runAgent(input));
  const control = await Worker.create({
    ...shared,
    taskQueue: controlQueue(config.fleet),
    activities: activities.control,
  });
  const tasks = await Worker.create({
    ...shared,
    taskQueue: taskQueue(config.fleet),
    activities: { ...activities.task, runAgent: inRoom },
    tuner: {
      activityTaskSlotSupplier:
        size.memory === undefined ? { type: 'fixed-size', numSlots: size.slots } : room,
      localActivityTaskSlotSupplier: { type: 'fixed-size', numSlots: LOCAL_ACTIVITIES },
      workflowTaskSlotSupplier: { type: 'fixed-size', numSlots: WORKFLOW_TASKS },
      nexusTaskSlotSupplier: { type: 'fixed-size', numSlots: 1 },
    },
  });
  const running = [control.run(), tasks.run()];
  const stop = async () => {
    // Tasks first: what they still have to tell goes through the control plane.
    shutDown(tasks);
    await Promise.allSettled([running[1]]);
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

function shutDown(worker: Worker): void {
  if (worker.getState() === 'RUNNING') worker.shutdown();
}
