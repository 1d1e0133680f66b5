// How long an agent that does not want to end outlives its cancellation: from the moment that the server has accepted
// the request until no process of its workstation is left, through workflows, coordinator and a worker like any other.

import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { markedProcesses } from '../../activities/processes.js';
import { FleetClient } from '../../src/client/fleet-client.js';
import { git } from '../../src/client/git.js';
import { dataConverter } from '../../src/client/payload.js';
import { Config } from '../../src/domain/config.js';
import { startTemporalServer } from '../../worker/temporal-server.js';
import { startWorker } from '../../worker/worker.js';
import { type Bench, type Row, spreadOf } from '../bench.js';
import { sandboxHost, temporaryFolder } from '../workstations.js';

const REPEATS = 10;
/** A tenth of the lease. */
const GRACE_S = 1;
const LOOK_MS = 10;

/** Seconds that only its own processes sleep, so that they are found on the host, whatever they hide behind. */
const TAG = 98_765_000 + (process.pid % 1_000);
const STUBBORN = `
trap '' TERM
(setsid sh -c "sleep ${TAG} & exec sleep ${TAG}" &)
(sh -c "sleep ${TAG} & exec sleep ${TAG}" &)
while :; do sleep ${TAG}; done
`;
const SLEEPERS = 5;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function origin(folder: string): Promise<string> {
  const [bare, tree] = [join(folder, 'origin.git'), join(folder, 'seed')];
  mkdirSync(tree);
  await git(folder, ['init', '--quiet', '--bare', '-b', 'main', bare]);
  await git(tree, ['init', '--quiet', '-b', 'main']);
  const author = ['-c', 'user.name=bench', '-c', 'user.email=bench@example.com'];
  await git(tree, [...author, 'commit', '--quiet', '--allow-empty', '-m', 'seed']);
  await git(tree, ['push', '--quiet', bare, 'main'], { env: { GIT_ALLOW_PROTOCOL: 'file' } });
  return bare;
}

/** Its processes, as the host sees them. */
function sleepers(): number {
  let found = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readFileSync(`/proc/${name}/cmdline`, 'utf8') === `sleep\0${TAG}\0`) found += 1;
    } catch {
      // It ended meanwhile.
    }
  }
  return found;
}

/** Seconds until nothing is left of the task's agent. */
async function outlived(fleet: FleetClient, home: string, id: string): Promise<number> {
  const stations = join(home, 'workstations', 'single', id);
  const left = () => sleepers() + markedProcesses((marker) => marker.startsWith(stations)).length;
  await fleet.submit(undefined, [{ id, prompt: STUBBORN }]);
  for (const end = performance.now() + 60_000; sleepers() < SLEEPERS; await pause(LOOK_MS))
    if (performance.now() > end)
      throw new Error('its processes are not seen, so that they are gone says nothing');
  await fleet.cancel(`single/${id}`, 'measured');
  const accepted = performance.now();
  while (left() > 0) await pause(LOOK_MS);
  return (performance.now() - accepted) / 1_000;
}

const bench: Bench = {
  name: 'workstation-cancel',
  about: 'how long an agent that ignores its cancellation lives on',
  async run({ progress }): Promise<Row[]> {
    // Says what is missing, before anything is started.
    sandboxHost();
    const folder = temporaryFolder();
    const server = await startTemporalServer({ log: () => undefined });
    const config = Config.parse({
      fleet: 'bench',
      repositories: { app: { url: await origin(folder) } },
      roles: {},
      agents: { sh: { command: ['sh', '-c', 'exec sh "$SIGNALBOX_PROMPT_FILE"'] } },
      lease: `${GRACE_S * 10}s`,
    });
    const home = join(folder, 'home');
    const connection = { address: server.address };
    const { namespace } = server;
    const worker = await startWorker({ config, home, connection, namespace, log: () => undefined });
    const client = new Client({ connection: await Connection.connect(connection), namespace, dataConverter });
    const fleet = new FleetClient(client, config);
    const seconds: number[] = [];
    try {
      for (let i = 0; i < REPEATS; i++) seconds.push(await outlived(fleet, home, `t${i}`));
      progress(`${REPEATS} cancelled`);
    } finally {
      await worker.stop();
      await client.connection.close();
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    }
    return [
      {
        row: `cancel accepted by the server, SIGTERM ignored: nothing is left after, grace ${GRACE_S} s`,
        ...spreadOf(seconds),
        unit: ' s',
        absolute: true,
        mustReach: { atMost: GRACE_S + 3 },
        aim: { atMost: GRACE_S + 1 },
      },
    ];
  },
};

export default bench;
