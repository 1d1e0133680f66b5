// A worker of a fleet: queues of their own, so that agents cannot starve the coordinator and the writers; what a dead worker
// left on this host is cleared away first; and a watchdog starts the coordinator again should somebody end it.

import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection, type ConnectionOptions } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import type { Host } from '../activities/host.js';
import { activitiesFor } from '../activities/index.js';
import { mirrorsOf } from '../activities/mirror.js';
import { workerIdentity } from '../activities/presence.js';
import { identityOf, MARKER } from '../activities/processes.js';
import { gitMarker, reap } from '../activities/reaper.js';
import { askAgain } from '../src/client/ask-again.js';
import { hostIdOf } from '../src/client/host-id.js';
import { dataConverter } from '../src/client/payload.js';
import { type Config, rulesOf } from '../src/domain/config.js';
import { Housekeeper } from './housekeeper.js';
import { sandboxesFor } from './isolation.js';
import { LogDesk } from './log-desk.js';
import { serveQueues } from './queues.js';
import { type HostSize, Room } from './room.js';
import { registerSearchAttributes } from './search-attributes.js';
import { Undertaker } from './undertaker.js';
import { Watchdog } from './watchdog.js';

export interface WorkerSettings {
  config: Config;
  /** Signalbox's folder on this host. */
  home: string;
  connection: ConnectionOptions;
  namespace: string;
  log: (line: string) => void;
  /** What of this host agents may use; as many slots as the ceiling when left out. */
  size?: HostSize;
  /** The workflow bundle; the built one when left out. */
  bundle?: string;
}

export interface RunningWorker {
  /** Resolves when the worker has stopped; rejects when it failed. */
  done: Promise<void>;
  /** Ends the agents, hands their tasks back and stops. */
  stop(): Promise<void>;
}

export const builtBundle = (): string => fileURLToPath(new URL('../workflow-bundle.js', import.meta.url));

export async function startWorker(settings: WorkerSettings): Promise<RunningWorker> {
  const { config, home, namespace, log } = settings;
  const bundle = settings.bundle ?? builtBundle();
  if (!existsSync(bundle))
    throw new Error(`the workflow bundle ${bundle} is missing: run \`npm run build\` first`);
  installRuntime(log);
  const connection = await Connection.connect(settings.connection);
  await registerSearchAttributes(connection, namespace);
  const client = new Client({ connection, namespace, dataConverter, interceptors: { workflow: [askAgain] } });
  await prepareHome(home);
  const mirrors = mirrorsOf(home, config.repositories);
  const sandboxes = sandboxesFor(config, home, log);
  const room = new Room(config, settings.size ?? { slots: config.ceiling });
  const id = await hostIdOf(home);
  const host: Host = {
    config,
    home,
    id,
    room,
    mirrors,
    client,
    sandboxes,
    self: identityOf(process.pid),
    log,
  };
  const { stations, dead } = await reap(host);
  // From here on every child carries it, git too; agents and commands of writers get a marker of their own.
  process.env[MARKER] = gitMarker(home);
  if (stations > 0) log(`cleared away ${stations} attempts of a worker that died`);
  const activities = activitiesFor(host);
  const native = await NativeConnection.connect(nativeOptions(settings.connection));
  const identity = workerIdentity(host.self);
  const queues = await serveQueues({
    config,
    connection: native,
    namespace,
    identity,
    bundle,
    activities,
    host: id,
    room,
  });
  const logs = new LogDesk({ client, fleet: config.fleet, host: id, identity, home, log });
  logs.start();
  const watchdog = new Watchdog(client, config, log);
  await activities.outbox.tell({ kind: 'rules', rules: rulesOf(config) });
  watchdog.start();
  const undertaker = new Undertaker(host, dead);
  undertaker.start();
  const housekeeper = new Housekeeper(host);
  housekeeper.start();
  const stop = async () => {
    undertaker.stop();
    watchdog.stop();
    await queues.stop();
  };
  const finished = queues.done.finally(async () => {
    undertaker.stop();
    watchdog.stop();
    await logs.stop();
    await housekeeper.stop();
    for (const mirror of mirrors.values()) await mirror.close();
    if ('close' in sandboxes) await sandboxes.close();
    await native.close().catch(() => undefined);
    await connection.close().catch(() => undefined);
  });
  finished.catch(() => undefined);
  return {
    done: finished,
    stop: async () => {
      await stop();
      await finished.catch(() => undefined);
    },
  };
}

let installed = false;

function installRuntime(log: (line: string) => void): void {
  if (installed) return;
  installed = true;
  const logger = new DefaultLogger('WARN', ({ level, message, meta }) => {
    // A task that ends as failed is an outcome, told where outcomes are told.
    if (message === 'Workflow failed') return;
    // The host's own queue has none that the SDK would run.
    if (message.startsWith('No workflows registered')) return;
    const error = meta && 'error' in meta ? `: ${String((meta as { error: unknown }).error)}` : '';
    log(`temporal ${level.toLowerCase()}: ${message}${error}`);
  });
  Runtime.install({ logger, shutdownSignals: [] });
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** The fleet's folder keeps itself out of the repository it may stand in. */
async function prepareHome(home: string): Promise<void> {
  await mkdir(home, { recursive: true });
  await writeFile(join(home, '.gitignore'), '*\n');
  // What agents find as `signalbox`: the very same version.
  const main = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
  await mkdir(join(home, 'bin'), { recursive: true });
  const script = `#!/bin/sh\nexec ${quoted(process.execPath)} ${quoted(main)} "$@"\n`;
  await writeFile(join(home, 'bin', 'signalbox'), script, { mode: 0o755 });
}

function nativeOptions({
  address,
  tls,
  apiKey,
  metadata,
}: ConnectionOptions): Parameters<typeof NativeConnection.connect>[0] {
  return {
    ...(address === undefined ? {} : { address }),
    ...(tls === undefined || tls === null ? {} : { tls }),
    ...(typeof apiKey === 'string' ? { apiKey } : {}),
    ...(metadata === undefined ? {} : { metadata: metadata as Record<string, string> }),
  };
}
