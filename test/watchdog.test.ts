// What a worker's watchdog does with a coordinator and a writer that cannot go on: replaced by others, they lose nothing.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { bundleWorkflowCode, DefaultLogger, NativeConnection } from '@temporalio/worker';
import { afterAll, expect, it } from 'vitest';
import { allClosed } from '../bench/server/count.js';
import { type NoopFleet, World } from '../bench/server/world.js';
import { coordinatorId, SIGNAL, taskWorkflowId, writerId } from '../src/domain/ids.js';
import { serveQueues } from '../worker/queues.js';
import { Room } from '../worker/room.js';
import { Watchdog } from '../worker/watchdog.js';
import { replayHistories } from './support/fleet.js';

const dir = mkdtempSync(join(tmpdir(), 'signalbox-watchdog-'));
const world = await World.open({ bundle: resolve('dist/workflow-bundle.js') });
const native = await NativeConnection.connect({ address: world.server.address });
/** No test is so slow. */
const LONG = 10 * 60_000;
afterAll(async () => {
  await native.close();
  await world.close();
  rmSync(dir, { recursive: true, force: true });
});

const otherBuild = await bundled();

async function bundled(): Promise<string> {
  const workflowsPath = resolve('test/support/other-build.ts');
  const { code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') });
  const bundle = join(dir, 'bundle.js');
  writeFileSync(bundle, code);
  return bundle;
}

const serve = (fleet: NoopFleet, bundle: string) =>
  serveQueues({
    config: fleet.config,
    connection: native,
    namespace: world.server.namespace,
    identity: 'another worker',
    bundle,
    activities: fleet.activities,
    host: 'another',
    room: new Room(fleet.config, { slots: fleet.config.ceiling }),
  });

const runOf = async (id: string) => (await world.client.workflow.getHandle(id).describe()).runId;

it('a coordinator and a writer whose every workflow task fails are replaced, and the fleet goes on', async () => {
  const fleet = await world.serveFleet({ ceiling: 4 });
  const first = { id: 'first', prompt: 'nothing to do', role: 'main', writes: ['one'] };
  await fleet.client.submit('p', [first]);
  await allClosed(world.client, taskWorkflowId(fleet.name, ''), 1);
  const ids = [coordinatorId(fleet.name), writerId(fleet.name, 'main')];
  const before = await Promise.all(ids.map(runOf));
  await fleet.stop();

  const log: string[] = [];
  const other = await serve(fleet, otherBuild);
  const watchdog = new Watchdog(world.client, fleet.config, (line) => log.push(line));
  watchdog.start();
  // Both have something to do, and fail at it.
  const [coordinator = '', writer = ''] = ids;
  await world.client.workflow.getHandle(coordinator).signal(SIGNAL.tell, []);
  await world.client.workflow.getHandle(writer).signal(SIGNAL.resume, {});
  await expect
    .poll(() => log.filter((line) => line.includes('cannot go on')).length, { timeout: 180_000 })
    .toBe(2);
  expect(log.join('\n')).toMatch(/nondetermin|\[TMPRL1100\]/i);
  watchdog.stop();
  await other.stop();

  // The coordinator that the other build has begun is no better for ours, and is replaced by one of ours.
  const again = new Watchdog(world.client, fleet.config, (line) => log.push(line));
  const ours = await serve(fleet, resolve('dist/workflow-bundle.js'));
  again.start();
  await fleet.client.submit('q', [{ ...first, id: 'second' }]);
  await allClosed(world.client, taskWorkflowId(fleet.name, ''), 2);
  again.stop();
  expect(fleet.agents.map(({ name }) => name)).toEqual(['p/first', 'q/second']);
  const after = await Promise.all(ids.map(runOf));
  for (const [i, run] of after.entries()) expect(run).not.toBe(before[i]);
  await ours.stop();
});

it('one that fails only for a while is left alone', async () => {
  const fleet = await world.serveFleet({ ceiling: 4 });
  const id = coordinatorId(fleet.name);
  const run = await runOf(id);
  await fleet.stop();
  const log: string[] = [];
  const watchdog = new Watchdog(world.client, fleet.config, (line) => log.push(line), LONG);
  watchdog.start();
  const handle = world.client.workflow.getHandle(id);
  const other = await serve(fleet, otherBuild);
  await handle.signal(SIGNAL.tell, []);
  // It has failed, and is seen to; then the right build comes back in time.
  await expect
    .poll(async () => Number((await handle.describe()).raw.pendingWorkflowTask?.attempt ?? 0), {
      timeout: 60_000,
    })
    .toBeGreaterThan(1);
  await other.stop();
  const ours = await serve(fleet, resolve('dist/workflow-bundle.js'));
  await fleet.client.submit('p', [{ id: 'one', prompt: 'nothing to do' }]);
  await allClosed(world.client, taskWorkflowId(fleet.name, ''), 1);
  watchdog.stop();
  await ours.stop();
  expect(await runOf(id)).toBe(run);
  expect(log).toEqual([]);
  expect(await replayHistories(world.server.address, [fleet.name])).toBeGreaterThan(0);
});
