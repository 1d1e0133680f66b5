import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { readFleet } from '../client/config.js';
import { connect, findServer } from '../client/connection.js';
import { FleetClient } from '../client/fleet-client.js';
import { Refused } from '../client/refused.js';
import { BadInput, type CommonOptions, fullName } from './context.js';

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
      const files = await logFiles(folder, options.attempt);
      if (options.json) {
        process.stdout.write(
          `${JSON.stringify({ task: id, files: files.map((file) => join(folder, file)) })}\n`,
        );
        return;
      }
      if (files.length === 0 && !options.follow)
        throw new Refused(`this host has no output of ${id}: it has not started, or it ran elsewhere`);
      let file = files.at(-1);
      let at = file ? await printFrom(join(folder, file), 0) : 0;
      if (!options.follow) return;
      const client = await connect(await findServer(fleet.home));
      const signalbox = new FleetClient(client, fleet.config);
      try {
        for (;;) {
          const found = await signalbox.describe(id);
          if (!found && !file) throw new Refused(`no task ${id} in fleet ${fleet.config.fleet}`);
          const newest = (await logFiles(folder, options.attempt)).at(-1);
          if (file && newest) at = await printFrom(join(folder, file), at);
          if (newest !== file) {
            file = newest;
            at = file ? await printFrom(join(folder, file), 0) : 0;
          }
          if (found?.status !== 'RUNNING') return;
          await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        }
      } finally {
        await client.connection.close();
      }
    });

/** Oldest first: names start with the attempt's number, and fences only grow. */
async function logFiles(folder: string, attempt: string | undefined): Promise<string[]> {
  const files = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.log'));
  const wanted =
    attempt === undefined ? files : files.filter((name) => Number(name.split('-')[0]) === Number(attempt));
  return wanted.sort((a, b) => fenceOf(a)[0] - fenceOf(b)[0] || fenceOf(a)[1] - fenceOf(b)[1]);
}

function fenceOf(name: string): [number, number] {
  const [epoch = 0, number = 0] = name
    .replace(/^\d+-|\.log$/g, '')
    .split('.')
    .map(Number);
  return [epoch, number];
}

/** Prints what a file has beyond the offset; gives the new offset. Control characters are the agent's, not ours to trust. */
async function printFrom(file: string, from: number): Promise<number> {
  const { size } = await stat(file);
  if (size <= from) return from;
  for await (const chunk of createReadStream(file, { start: from, end: size - 1 })) {
    process.stdout.write(process.stdout.isTTY ? visible(chunk as Buffer) : (chunk as Buffer));
  }
  return size;
}

/** On a terminal colours may pass; other escape sequences may not. */
const visible = (chunk: Buffer): string =>
  chunk
    .toString('utf8')
    .replace(/\u001b(?!\[[0-9;]*m)|[\u0000-\u0008\u000b\u000c\u000e-\u001a\u007f]/g, '\ufffd');
