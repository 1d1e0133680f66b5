import { once } from 'node:events';
import { Command } from 'commander';
import { type Fleet, readFleet } from '../client/config.js';
import { connect, findServer, NoServer } from '../client/connection.js';
import { knownHostId } from '../client/host-id.js';
import { type HostLog, LocalLog, type LogReader, logPath, logsIn } from '../client/logs.js';
import { Refused } from '../client/refused.js';
import { segmentsOf } from '../client/segments.js';
import { HostSilent, type LoggedAttempt, type SeenTask, TaskLogs } from '../client/task-logs.js';
import { compareFences } from '../domain/fence.js';
import { clean } from '../domain/packet.js';
import { BadInput, type CommonOptions, fullName } from './context.js';
import { TerminalText } from './terminal.js';

interface LogOptions extends CommonOptions {
  follow?: boolean;
  attempt?: string;
}

/** Between two looks, the longer the less there is to be seen. */
const POLL_MS = 300;
const MOST_POLL_MS = 1_500;
/** So long after the task's end its output may still be written, by an agent that is being ended. */
const ENDING_MS = 15_000;
/** So long a host may be silent after the task's end: its worker may be starting again. */
const SILENT_MS = 30_000;

export const logCommand = (): Command =>
  new Command('log')
    .description(
      "Print an agent's output, from whichever host has it. The task's latest attempt, or the one given.",
    )
    .argument('<task>', 'plan/task, or the id of a task submitted on its own')
    .option('-f, --follow', 'go on until the task has ended')
    .option('--attempt <number>', 'which attempt')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExamples:\n  signalbox log spring/billing\n  signalbox log spring/billing -f')
    .action(async (task: string, options: LogOptions) => {
      if (options.attempt !== undefined && !/^[1-9]\d*$/.test(options.attempt))
        throw new BadInput(`--attempt ${options.attempt}: expected a number, 1 or more`);
      const fleet = await readFleet(options.config);
      const output = new TaskOutput(fleet, fullName(task), options);
      try {
        await output.open();
        if (options.json) await output.list();
        else if (options.follow) await output.follow();
        else await output.print();
      } finally {
        await output.close();
      }
    });

/** An attempt, and the log of it that this host has, if so. */
interface Found extends LoggedAttempt {
  local?: HostLog;
}

class TaskOutput {
  private server: { logs: TaskLogs; close: () => Promise<void> } | undefined;
  private readonly printer = new Printer();
  /** This host's id, once a worker has run here. */
  private ownHost: string | undefined;
  /** Whose silence has been told. */
  private silent: string | undefined;

  constructor(
    private readonly fleet: Fleet,
    private readonly task: string,
    private readonly options: LogOptions,
  ) {}

  /** Without a server there is what this host has. */
  async open(): Promise<void> {
    this.ownHost = await knownHostId(this.fleet.home);
    try {
      const client = await connect(await findServer(this.fleet.home));
      const close = () => client.connection.close();
      this.server = { logs: new TaskLogs(client, this.fleet), close };
    } catch (error) {
      const here = (await this.here()).length > 0;
      if (!(error instanceof NoServer) || this.options.follow || !here) throw error;
    }
  }

  async close(): Promise<void> {
    await this.server?.close();
  }

  async list(): Promise<void> {
    const found = await this.found(await this.look());
    const files = (await Promise.all(found.map(({ local }) => (local ? segmentsOf(local.path) : [])))).flat();
    const attempts = found.map(({ attempt, fence, host }) => ({ attempt, fence, ...(host ? { host } : {}) }));
    const document = { task: this.task, files: files.map(({ file }) => file), attempts };
    process.stdout.write(`${JSON.stringify(document)}\n`);
  }

  /** The newest attempt that has printed anything. */
  async print(): Promise<void> {
    const seen = await this.look();
    const found = await this.found(seen);
    for (const attempt of found.reverse()) {
      const log = this.readerOf(attempt);
      await this.printer.print(log);
      if (log.found) return await this.printer.end();
    }
    throw new Refused(
      found.length > 0
        ? `there is no output of ${this.task}: it has printed nothing yet, or it was removed`
        : seen
          ? `there is no output of ${this.task}: ${this.options.attempt === undefined ? 'it has not started' : `it has no attempt ${this.options.attempt}`}`
          : `no task ${this.task} in fleet ${this.fleet.config.fleet}`,
    );
  }

  async follow(): Promise<void> {
    let current: { log: string; reader: LogReader } | undefined;
    let idle = 0;
    let endedAt: number | undefined;
    for (;;) {
      const seen = await this.look();
      const newest = (await this.found(seen)).at(-1);
      if (!seen && !newest) throw new Refused(`no task ${this.task} in fleet ${this.fleet.config.fleet}`);
      if (newest && newest.log !== current?.log) {
        // What the one before has printed since.
        if (current) await this.drain(current.reader, false);
        current = { log: newest.log, reader: this.readerOf(newest) };
        this.silent = undefined;
      }
      const running = seen?.running === true;
      if (!running) endedAt ??= Date.now();
      const over = endedAt === undefined ? 0 : Date.now() - endedAt;
      const before = this.printer.bytes;
      const answered = !current || (await this.drain(current.reader, over > SILENT_MS));
      const writing = current?.reader.live === true && current.reader.found && over < ENDING_MS;
      if (!running && answered && !writing) return await this.printer.end();
      idle = this.printer.bytes > before ? 0 : idle + 1;
      await new Promise((resolve) => setTimeout(resolve, Math.min(POLL_MS * 1.2 ** idle, MOST_POLL_MS)));
    }
  }

  /** Prints what there is. Gives false when its host is silent, which is told once; throws that when it is final. */
  private async drain(reader: LogReader, final: boolean): Promise<boolean> {
    try {
      await this.printer.print(reader);
      this.silent = undefined;
      return true;
    } catch (error) {
      if (!(error instanceof HostSilent) || final) throw error;
      if (this.silent === undefined) process.stderr.write(`signalbox: ${clean(error.message)}\n`);
      this.silent = error.message;
      return false;
    }
  }

  private async look(): Promise<SeenTask | undefined> {
    return await this.server?.logs.look(this.task);
  }

  private readerOf(attempt: Found): LogReader {
    const { home } = this.fleet;
    const here = attempt.local ?? (attempt.host !== undefined && attempt.host === this.ownHost);
    if (here) return new LocalLog(logPath(home, this.task, attempt.log));
    if (!this.server) throw new Refused(`this host has no output of ${this.task}`);
    return this.server.logs.read(this.task, attempt);
  }

  private here(): Promise<HostLog[]> {
    return logsIn(this.fleet.home, this.task);
  }

  /** What is wanted of all that is known, oldest first. Files of this host are read as they are. */
  private async found(seen: SeenTask | undefined): Promise<Found[]> {
    const found = new Map<string, Found>((seen?.attempts ?? []).map((one) => [one.log, one]));
    for (const local of await this.here()) {
      const { log, attempt, fence } = local;
      found.set(log, { ...(found.get(log) ?? { log, attempt, fence }), local });
    }
    const { attempt: wanted } = this.options;
    return [...found.values()]
      .filter(({ attempt }) => wanted === undefined || attempt === Number(wanted))
      .sort((a, b) => compareFences(a.fence, b.fence));
  }
}

/** Prints logs one after the other. Control characters are the agent's, not ours to trust. */
class Printer {
  bytes = 0;
  private readonly terminal = process.stdout.isTTY ? new TerminalText() : undefined;

  /** All that there is by now. */
  async print(log: LogReader): Promise<void> {
    for await (const chunk of log.read()) {
      this.bytes += chunk.length;
      await write(this.terminal?.push(chunk) ?? chunk);
    }
  }

  async end(): Promise<void> {
    if (this.terminal) await write(this.terminal.end());
  }
}

async function write(text: string | Buffer): Promise<void> {
  if (text.length > 0 && !process.stdout.write(text)) await once(process.stdout, 'drain');
}
