#!/usr/bin/env node
/**
 * Healthy: this host's worker has asked Temporal for work within the last two minutes (a poll lasts one). Run in the
 * folder of signalbox.yaml, with the worker's environment; says why when the answer is no.
 */
import { hostname } from 'node:os';
import { readFleet } from '../dist/src/client/config.js';
import { connect, findServer } from '../dist/src/client/connection.js';
import { controlQueue } from '../dist/src/domain/ids.js';

const WORKFLOW_QUEUE = 1;
const RECENT_MS = 120_000;

async function secondsSinceLastPoll() {
  const { config, home } = await readFleet();
  const server = await findServer(home);
  const client = await connect(server);
  try {
    const { pollers } = await client.workflowService.describeTaskQueue({
      namespace: server.namespace,
      taskQueue: { name: controlQueue(config.fleet) },
      taskQueueType: WORKFLOW_QUEUE,
    });
    const own = (pollers ?? []).filter(({ identity }) => identity?.endsWith(`@${hostname()}`));
    return Math.min(...own.map(({ lastAccessTime }) => Date.now() / 1000 - Number(lastAccessTime?.seconds)));
  } finally {
    await client.connection.close();
  }
}

try {
  const seconds = await secondsSinceLastPoll();
  if (seconds * 1000 > RECENT_MS) throw new Error('no worker of this host has polled within two minutes');
} catch (error) {
  console.error(`Unhealthy: ${error.message}`);
  process.exitCode = 1;
}
