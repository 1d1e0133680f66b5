import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { startTemporalServer, type TemporalServer } from '../../worker/temporal-server.js';
import { readFleet } from '../client/config.js';
import {
  connect,
  givenServer,
  readServerNote,
  type ServerAddress,
  serverNoteFile,
  writeServerNote,
} from '../client/connection.js';
import { Refused } from '../client/refused.js';
import { BadInput, type CommonOptions } from './context.js';
import { type SizeOptions, sizeArgs, sizeOf, withSizeOptions } from './host-size.js';
import { superviseWorker } from './supervise.js';

interface UpOptions extends CommonOptions, SizeOptions {
  port?: string;
  uiPort?: string;
}

export const upCommand = (): Command =>
  withSizeOptions(
    new Command('up').description(
      'Run everything: a Temporal server with its Web UI and a database on disk, and a worker. Ctrl-C stops both.',
    ),
  )
    .option('--port <port>', "the server's port; a free one when left out")
    .option('--ui-port <port>', "the Web UI's port; a free one when left out")
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText(
      'after',
      '\nWith TEMPORAL_ADDRESS, or a profile in temporal.toml, that server is used and none is started.\n\nExamples:\n  signalbox up\n  TEMPORAL_ADDRESS=temporal.internal:7233 signalbox up',
    )
    .action(async (options: UpOptions) => {
      const fleet = await readFleet(options.config);
      await sizeOf(fleet.config, options);
      const log = (line: string) => process.stderr.write(`${line}\n`);
      await mkdir(fleet.home, { recursive: true });
      const given = givenServer();
      if (!given) await refuseSecond(fleet.home);
      const server = given ? undefined : await startOwnServer(fleet.home, options, log);
      const stopping = new Promise<void>((resolve) => {
        process.once('SIGINT', resolve);
        process.once('SIGTERM', resolve);
        process.once('SIGHUP', resolve);
      });
      try {
        const worker = await superviseWorker({
          config: fleet.file,
          args: sizeArgs(options),
          logFile: join(fleet.home, 'worker.log'),
          log,
        });
        announce(options, {
          given,
          server,
          fleet: fleet.config.fleet,
          worker: worker.pid,
          log: join(fleet.home, 'worker.log'),
        });
        await stopping;
        log('stopping: agents are ended and their tasks handed back');
        await worker.stop();
      } finally {
        if (server) {
          await rm(serverNoteFile(fleet.home), { force: true });
          await server.stop();
        }
      }
    });

/** Two servers on one database would spoil it. */
async function refuseSecond(home: string): Promise<void> {
  const note = await readServerNote(home);
  if (note === undefined) return;
  const { pid, address, namespace } = note;
  try {
    process.kill(pid, 0);
    // The number may be another process's by now.
    const server = {
      connection: { address, connectTimeout: '2s' as const },
      namespace,
      source: 'the last `up`',
    };
    await (await connect(server)).connection.close();
  } catch {
    return;
  }
  throw new Refused(`this fleet is up already: process ${pid} runs its server at ${address}`);
}

async function startOwnServer(
  home: string,
  options: UpOptions,
  log: (line: string) => void,
): Promise<TemporalServer> {
  const [port, uiPort] = [portOf('--port', options.port), portOf('--ui-port', options.uiPort)];
  const server = await startTemporalServer({
    dbFile: join(home, 'temporal.db'),
    logFile: join(home, 'temporal.log'),
    ...(port === undefined ? {} : { port }),
    ...(uiPort === undefined ? {} : { uiPort }),
    log,
  });
  const { address, namespace, uiUrl } = server;
  await writeServerNote(home, { address, namespace, pid: process.pid, ...(uiUrl ? { uiUrl } : {}) });
  return server;
}

function portOf(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new BadInput(`${flag} ${text}: expected a port, 1 to 65535`);
  return port;
}

function announce(
  options: UpOptions,
  up: {
    given: ServerAddress | undefined;
    server: TemporalServer | undefined;
    fleet: string;
    worker: number | undefined;
    log: string;
  },
): void {
  const address = up.given?.connection.address ?? up.server?.address;
  const uiUrl = up.server?.uiUrl;
  if (options.json) {
    process.stdout.write(
      `${JSON.stringify({ fleet: up.fleet, address, uiUrl, worker: up.worker, pid: process.pid })}\n`,
    );
    return;
  }
  const lines = [
    `fleet ${up.fleet} is up`,
    `  Temporal  ${address} (${up.given ? `from ${up.given.source}` : 'started here, database on disk'})`,
    ...(uiUrl ? [`  Web UI    ${uiUrl}`] : []),
    `  worker    ${up.worker}, its log in ${up.log}`,
    'Ctrl-C stops it. In another terminal: signalbox submit plan.yaml --watch',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
