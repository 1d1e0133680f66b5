// What Temporal's own records say: how many events a workflow cost, and when the last of many was closed.

import type { Client } from '@temporalio/client';

/**
 * Resolves when so many workflows whose id begins so are closed; calls back at every tenth of them. Asks Temporal's
 * list, not each of them.
 */
export async function allClosed(
  client: Client,
  prefix: string,
  wanted: number,
  onCount?: (closed: number) => void,
): Promise<void> {
  const query = `ExecutionStatus != "Running" AND WorkflowId STARTS_WITH "${prefix}"`;
  for (let told = 0; ; ) {
    const { count } = await client.workflow.count(query);
    if (count >= told + wanted / 10) {
      told = count;
      onCount?.(count);
    }
    if (count >= wanted) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Milliseconds from the first start to the last end. */
export async function spanOf(client: Client, prefix: string): Promise<number> {
  let first = Number.POSITIVE_INFINITY;
  let last = 0;
  for await (const { startTime, closeTime } of client.workflow.list({
    query: `WorkflowId STARTS_WITH "${prefix}"`,
  })) {
    first = Math.min(first, startTime.getTime());
    last = Math.max(last, closeTime?.getTime() ?? 0);
  }
  return last - first;
}

/** Events of a workflow by type, over all its runs. */
export async function eventsOf(client: Client, workflowId: string): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for await (const { runId } of client.workflow.list({ query: `WorkflowId = "${workflowId}"` })) {
    const { events } = await client.workflow.getHandle(workflowId, runId).fetchHistory();
    for (const { eventType } of events ?? []) {
      const type = EVENT_NAMES[Number(eventType)] ?? `type ${eventType}`;
      counts.set(type, (counts.get(type) ?? 0) + 1);
    }
  }
  return counts;
}

export const total = (counts: ReadonlyMap<string, number>): number =>
  [...counts.values()].reduce((sum, count) => sum + count, 0);

/** Temporal's numbers of the kinds of event that occur here. */
const EVENT_NAMES: Readonly<Record<number, string>> = {
  1: 'workflow started',
  2: 'workflow completed',
  3: 'workflow failed',
  5: 'workflow task scheduled',
  6: 'workflow task started',
  7: 'workflow task completed',
  8: 'workflow task timed out',
  9: 'workflow task failed',
  10: 'activity scheduled',
  11: 'activity started',
  12: 'activity completed',
  17: 'timer started',
  18: 'timer fired',
  19: 'activity cancel requested',
  21: 'workflow cancelled',
  25: 'marker recorded',
  26: 'signaled',
  28: 'continued as new',
  40: 'search attributes upserted',
};
