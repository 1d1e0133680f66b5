// The logs of a task, whichever hosts have them: where its attempts ran is known from the running one's heartbeats, from
// its workflow, and from its change packet; what they printed is asked of the worker that has the files.

import {
  type Client,
  isGrpcServiceError,
  QueryNotRegisteredError,
  WorkflowExecutionAlreadyStartedError,
  type WorkflowExecutionDescription,
  WorkflowNotFoundError,
} from '@temporalio/client';
import { formatDuration } from '../domain/durations.js';
import { compareFences, type Fence } from '../domain/fence.js';
import { hostQueue, logReaderId, QUERY, taskQueue, taskWorkflowId, WORKFLOW } from '../domain/ids.js';
import {
  type Beat,
  LOG_START,
  type LogAnswer,
  type LogPlace,
  type LogRequest,
  logName,
} from '../domain/log-reading.js';
import type { EndedAttempt } from '../domain/packet.js';
import type { Fleet } from './config.js';
import { FleetReader, isUnanswered } from './fleet-reader.js';
import type { LogReader } from './logs.js';
import { decoded } from './payload.js';
import { readPackets } from './records.js';
import { NoAnswer } from './refused.js';

export interface LoggedAttempt {
  attempt: number;
  fence: Fence;
  /** The name of its log. */
  log: string;
  /** The id of the host that it ran on, when that is known. */
  host?: string;
  /** When its host was heard of last because of it, in milliseconds since the epoch. */
  heard?: number;
}

export interface SeenTask {
  running: boolean;
  /** Oldest first. */
  attempts: LoggedAttempt[];
}

/** The host that has a log does not answer. */
export class HostSilent extends NoAnswer {}

const CALL_MS = 10_000;
/** The reader is closed at once; should nobody take its first step, the server forgets it after this. */
const READER_TIMEOUT = '1m';
const WORKFLOW_QUEUE = 1;
/** Temporal knows who polls for as long as this. */
const POLLERS_KNOWN = '5 minutes';

export class TaskLogs {
  /** The attempts before the one that runs, which has this log. */
  private known: { log: string; ended: EndedAttempt[] } | undefined;
  private readonly reader: FleetReader;
  /** Milliseconds that a host's answer may take. */
  private readonly patience = new Map<string, number>();

  constructor(
    private readonly client: Client,
    private readonly fleet: Fleet,
  ) {
    this.reader = new FleetReader(client, fleet.config);
  }

  private get name(): string {
    return this.fleet.config.fleet;
  }

  /** What is known of a task's attempts; undefined when Temporal has no such task and no packet is kept. */
  async look(task: string): Promise<SeenTask | undefined> {
    const found = await this.describe(task);
    const running = found?.status.name === 'RUNNING';
    const beat = found && beatOf(found);
    const ended = found && (await this.endedBefore(task, running ? beat : undefined));
    // Beyond the retention, or where nobody answers, packets are what is left.
    const kept = ended ?? (running ? [] : await this.packets(task));
    if (!found && kept.length === 0) return undefined;
    const attempts = kept.map(loggedOf);
    if (beat && !attempts.some(({ log }) => log === beat.log)) attempts.push(beat);
    return { running, attempts: attempts.sort((a, b) => compareFences(a.fence, b.fence)) };
  }

  /** Asked again when another attempt runs, or none. */
  private async endedBefore(
    task: string,
    beat: LoggedAttempt | undefined,
  ): Promise<EndedAttempt[] | undefined> {
    if (beat && this.known?.log === beat.log) return this.known.ended;
    const ended = await this.ended(task);
    this.known = beat && ended && { log: beat.log, ended };
    return ended;
  }

  private async describe(task: string): Promise<WorkflowExecutionDescription | undefined> {
    try {
      const handle = this.client.workflow.getHandle(taskWorkflowId(this.name, task));
      return await this.client.withDeadline(Date.now() + CALL_MS, () => handle.describe());
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  }

  /** As the task itself tells; undefined when nobody answers for it. */
  private async ended(task: string): Promise<EndedAttempt[] | undefined> {
    try {
      const handle = this.client.workflow.getHandle(taskWorkflowId(this.name, task));
      const { ms } = await this.reader.patience(taskQueue(this.name));
      return await this.client.withDeadline(Date.now() + ms, () =>
        handle.query<EndedAttempt[]>(QUERY.attempts),
      );
    } catch (error) {
      const absent = error instanceof WorkflowNotFoundError || error instanceof QueryNotRegisteredError;
      if (absent || isUnanswered(error)) return undefined;
      throw error;
    }
  }

  private async packets(task: string): Promise<EndedAttempt[]> {
    const packets = await readPackets(this.fleet, task).catch(() => []);
    return packets.flatMap(({ attempts }) => attempts);
  }

  /** The log of an attempt on another host. */
  read(task: string, attempt: LoggedAttempt): LogReader {
    return new RemoteLog((from) => this.piece(task, attempt, from));
  }

  /** Throws HostSilent. */
  private async piece(task: string, attempt: LoggedAttempt, from: LogPlace): Promise<LogAnswer> {
    const { host, log } = attempt;
    if (host === undefined)
      throw new HostSilent(`it is not known on which host attempt ${attempt.attempt} of ${task} ran`);
    const reader = this.client.workflow.getHandle(logReaderId(this.name, host));
    const request: LogRequest = { task, log, from };
    const ms = this.patience.get(host) ?? (await this.reader.patience(hostQueue(this.name, host))).ms;
    const ask = () =>
      this.client.withDeadline(Date.now() + ms, () =>
        reader.query<LogAnswer, [LogRequest]>(QUERY.log, request),
      );
    this.patience.set(host, ms);
    try {
      return await ask().catch(async (error: unknown) => {
        if (!(error instanceof WorkflowNotFoundError)) throw error;
        await this.startReader(host, ms);
        return await ask();
      });
    } catch (error) {
      if (!isUnanswered(error)) throw error;
      this.patience.delete(host);
      throw new HostSilent(await this.silence(task, attempt, host));
    }
  }

  /** One for each host, once per retention: whoever comes second uses the first one's. */
  private async startReader(host: string, ms: number): Promise<void> {
    try {
      const handle = await this.client.workflow.start(WORKFLOW.logReader, {
        workflowId: logReaderId(this.name, host),
        taskQueue: hostQueue(this.name, host),
        workflowExecutionTimeout: READER_TIMEOUT,
        staticSummary: `asks host ${host} for logs`,
      });
      await this.client.withDeadline(Date.now() + ms, () => handle.result());
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  }

  private async silence(task: string, { attempt, heard }: LoggedAttempt, host: string): Promise<string> {
    const what = `host ${host}, which has the output of attempt ${attempt} of ${task}, does not answer`;
    const last = Math.max(heard ?? 0, (await this.lastPoll(host)) ?? 0);
    if (last === 0) return `${what}: nothing was heard of it for ${POLLERS_KNOWN} or longer`;
    const ago = formatDuration(Math.max(0, Math.round((Date.now() - last) / 1_000) * 1_000));
    return `${what}: it was last heard of at ${new Date(last).toISOString()}, ${ago} ago`;
  }

  private async lastPoll(host: string): Promise<number | undefined> {
    try {
      const { pollers } = await this.client.withDeadline(Date.now() + CALL_MS, () =>
        this.client.workflowService.describeTaskQueue({
          namespace: this.client.options.namespace,
          taskQueue: { name: hostQueue(this.name, host) },
          taskQueueType: WORKFLOW_QUEUE,
        }),
      );
      const seen = (pollers ?? []).map(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1_000);
      return seen.length > 0 ? Math.max(...seen) : undefined;
    } catch (error) {
      // Not every user may ask this.
      if (isGrpcServiceError(error)) return undefined;
      throw error;
    }
  }
}

class RemoteLog implements LogReader {
  live = true;
  found = false;
  private from = LOG_START;

  constructor(private readonly piece: (from: LogPlace) => Promise<LogAnswer>) {}

  async *read(): AsyncGenerator<Buffer> {
    for (;;) {
      const { found, data, next, more, live } = await this.piece(this.from);
      this.live = live;
      // What was removed meanwhile is not begun anew.
      if (!found) return;
      this.found = true;
      if (data !== '') yield Buffer.from(data, 'base64');
      this.from = next;
      if (!more) return;
    }
  }
}

function beatOf({ raw }: WorkflowExecutionDescription): LoggedAttempt | undefined {
  for (const { heartbeatDetails, lastHeartbeatTime } of raw.pendingActivities ?? []) {
    const beat = decoded<Beat>(heartbeatDetails?.payloads?.[0]);
    if (typeof beat?.host !== 'string' || typeof beat.attempt !== 'number' || !beat.fence) continue;
    const { host, attempt, fence } = beat;
    const heard = Number(lastHeartbeatTime?.seconds ?? 0) * 1_000;
    return { attempt, fence, log: logName(attempt, fence), host, ...(heard > 0 ? { heard } : {}) };
  }
  return undefined;
}

function loggedOf({ attempt, fence, host, started, ended }: EndedAttempt): LoggedAttempt {
  const heard = Date.parse(ended ?? started);
  return {
    attempt,
    fence,
    log: logName(attempt, fence),
    ...(host === undefined ? {} : { host }),
    ...(Number.isNaN(heard) ? {} : { heard }),
  };
}
