import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { readFleet } from '../client/config.js';
import { connect, findServer } from '../client/connection.js';
import { FleetClient } from '../client/fleet-client.js';
import { Refused } from '../client/refused.js';
import { SegmentReader } from '../client/segment-reader.js';
import { SEGMENT, segmentsOf } from '../client/segments.js';
import { BadInput, type CommonOptions, fullName } from './context.js';
import { TerminalText } from './terminal.js';

const POLL_MS = 300;

export const logCommand = (): Command =>
  new Command('log')
    .description("Print an agent's output, as this host has it. Its latest attempt, or the one given.")
    .argument('<task>', 'plan/task, or the id of a task submitted on its own')
    .option('-f, --follow', 'go on until the task has ended')
    .option('--attempt <number>', 'which attempt')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExamples:\n  signalbox log spring/billing\n  signalbox log spring/billing -f')
    .action(async (task: string, options: CommonOptions & { follow?: boolean; attempt?: string }) => {
      if (options.attempt !== undefined && !/^[1-9]\d*$/.test(options.attempt))
        throw new BadInput(`--attempt ${options.attempt}: expected a number, 1 or more`);
      const fleet = await readFleet(options.config);
      const id = fullName(task);
      const folder = join(fleet.home, 'logs', id);
      const logs = await logsIn(folder, options.attempt);
      if (options.json) {
        const files = (await Promise.all(logs.map(segmentsOf))).flat().map(({ file }) => file);
        process.stdout.write(`${JSON.stringify({ task: id, files })}\n`);
        return;
      }
      if (logs.length === 0 && !options.follow)
        throw new Refused(`this host has no output of ${id}: it has not started, or it ran elsewhere`);
      const printer = new Printer(logs.at(-1));
      await printer.print();
      if (!options.follow) return await printer.end();
      const client = await connect(await findServer(fleet.home));
      const signalbox = new FleetClient(client, fleet.config);
      try {
        for (;;) {
          const found = await signalbox.describe(id);
          const newest = (await logsIn(folder, options.attempt)).at(-1);
          if (!found && !newest) throw new Refused(`no task ${id} in fleet ${fleet.config.fleet}`);
          await printer.print(newest);
          if (found?.status !== 'RUNNING') return await printer.end();
          await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        }
      } finally {
        await client.connection.close();
      }
    });

/** The logs of the attempts, oldest first: fences only grow. Each by the path of its first segment. */
async function logsIn(folder: string, attempt: string | undefined): Promise<string[]> {
  const fences = new Map<string, [number, number]>();
  for (const name of await readdir(folder).catch(() => [])) {
    const [, stem = '', number, epoch, count] = SEGMENT.exec(name) ?? [];
    if (stem && (attempt === undefined || Number(number) === Number(attempt)))
      fences.set(stem, [Number(epoch), Number(count)]);
  }
  return [...fences]
    .sort(([, a], [, b]) => a[0] - b[0] || a[1] - b[1])
    .map(([stem]) => join(folder, `${stem}.log`));
}

/** Prints logs one after the other, each from where it was left. Control characters are the agent's, not ours to trust. */
class Printer {
  private reader: SegmentReader | undefined;
  private readonly terminal = process.stdout.isTTY ? new TerminalText() : undefined;

  constructor(private path: string | undefined) {}

  /** What there is by now; of the newest log too, when it is another one. */
  async print(newest = this.path): Promise<void> {
    await this.rest();
    if (newest === this.path) return;
    this.path = newest;
    this.reader = undefined;
    await this.rest();
  }

  async end(): Promise<void> {
    if (this.terminal) await write(this.terminal.end());
  }

  private async rest(): Promise<void> {
    if (this.path === undefined) return;
    this.reader ??= new SegmentReader(this.path);
    for await (const chunk of this.reader.read()) await write(this.terminal?.push(chunk) ?? chunk);
  }
}

async function write(text: string | Buffer): Promise<void> {
  if (text.length > 0 && !process.stdout.write(text)) await once(process.stdout, 'drain');
}
