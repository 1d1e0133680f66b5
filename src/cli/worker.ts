import { Command } from 'commander';
import { readFleet } from '../client/config.js';
import { connect, findServer } from '../client/connection.js';
import type { CommonOptions } from './context.js';
import { type SizeOptions, sizeOf, withSizeOptions } from './host-size.js';

export const workerCommand = (): Command =>
  withSizeOptions(
    new Command('worker').description(
      'Run a worker: the coordinator, the writers and the agents of this host. Ctrl-C ends its agents and stops it.',
    ),
  )
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText(
      'after',
      '\nExamples:\n  TEMPORAL_ADDRESS=temporal.internal:7233 signalbox worker\n  signalbox worker --slots 4 --memory 16GB',
    )
    .action(async (options: CommonOptions & SizeOptions) => {
      const fleet = await readFleet(options.config);
      const size = await sizeOf(fleet.config, options);
      const server = await findServer(fleet.home);
      // Says at once, and clearly, when there is no server.
      await (await connect(server)).connection.close();
      const log = (line: string) => process.stderr.write(`${new Date().toISOString()} ${line}\n`);
      const { config, home } = fleet;
      // Loaded here alone: it takes longer than all that the other commands need.
      const { startWorker } = await import('../../worker/worker.js');
      const worker = await startWorker({
        config,
        home,
        connection: server.connection,
        namespace: server.namespace,
        size,
        log,
      });
      if (options.json)
        process.stdout.write(
          `${JSON.stringify({ ready: true, pid: process.pid, fleet: config.fleet, address: server.connection.address })}\n`,
        );
      else
        log(
          `worker ${process.pid} of fleet ${config.fleet} polls ${server.connection.address} (from ${server.source})`,
        );
      let asked = 0;
      const stop = () => {
        asked += 1;
        if (asked > 1) process.exit(1);
        log('stopping: agents are ended and their tasks handed back');
        void worker.stop();
      };
      process.on('SIGINT', stop);
      process.on('SIGTERM', stop);
      process.on('SIGHUP', stop);
      // Under a supervisor: it is told when this worker polls, and this worker ends with it.
      process.on('disconnect', stop);
      if (process.connected === false) stop();
      else process.send?.('ready');
      await worker.done;
      process.exit(0);
    });
