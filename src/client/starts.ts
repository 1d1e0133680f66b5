// How coordinators and writers are reached, by whomever: with a signal that starts the workflow if it does not run.

import type { Client } from '@temporalio/client';
import { type Config, rulesOf } from '../domain/config.js';
import { controlQueue, coordinatorId, WORKFLOW, writerId } from '../domain/ids.js';

/** `words`: the signal's arguments. */
export async function signalCoordinator(
  client: Client,
  config: Config,
  signal: string,
  words: unknown[],
): Promise<void> {
  await client.workflow.signalWithStart(WORKFLOW.coordinator, {
    workflowId: coordinatorId(config.fleet),
    taskQueue: controlQueue(config.fleet),
    args: [{ rules: rulesOf(config) }],
    signal,
    signalArgs: words,
    staticSummary: `Coordinator of fleet ${config.fleet}`,
  });
}

/** `word`: the signal's one argument. */
export async function signalWriter(
  client: Client,
  fleet: string,
  role: string,
  signal: string,
  word: unknown,
): Promise<void> {
  await client.workflow.signalWithStart(WORKFLOW.writer, {
    workflowId: writerId(fleet, role),
    taskQueue: controlQueue(fleet),
    args: [{ fleet, role }],
    signal,
    signalArgs: [word],
    staticSummary: `Writer of role ${role}`,
  });
}
