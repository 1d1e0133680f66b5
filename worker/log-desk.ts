// Answers who asks this host for its logs, through Temporal alone: `logReader` is a workflow of the host's queue that is
// over after its first step, and a query of it, open or closed, names a task, an attempt and a place; the answer has a
// piece of the log. Queries and their answers are in no history. It speaks with Temporal as every worker does, by polling
// for workflow tasks, but without the SDK's sandbox for workflows, which can read no files.

import type { Client } from '@temporalio/client';
import { readLog } from '../src/client/logs.js';
import { decoded, encoded } from '../src/client/payload.js';
import { hostQueue, QUERY } from '../src/domain/ids.js';
import { LogRequest } from '../src/domain/log-reading.js';

/** The server answers an empty poll after a minute. */
const POLL_MS = 70_000;
/** Before the next poll, after one that failed. */
const AGAIN_MS = 1_000;
const MOST_AGAIN_MS = 10_000;
/** Pieces that are read at once; each is bounded, so memory is too. */
const AT_ONCE = 4;
const CALL_MS = 10_000;
/** Temporal's numbers: of a command, and of a query's result. */
const COMPLETE_WORKFLOW = 4;
const ANSWERED = 1;
const FAILED = 2;

type Service = Client['workflowService'];
type Task = Awaited<ReturnType<Service['pollWorkflowTaskQueue']>>;
type Query = NonNullable<Task['query']>;

interface Desk {
  client: Client;
  fleet: string;
  /** The host's id. */
  host: string;
  /** As Temporal shows this process. */
  identity: string;
  home: string;
  log: (line: string) => void;
}

/** Temporal's WorkflowQueryResult. */
interface Result {
  resultType: number;
  answer?: { payloads: Awaited<ReturnType<typeof encoded>>[] };
  errorMessage?: string;
}

export class LogDesk {
  private stopped = false;
  /** Ends what is being waited for. One for each wait: those of the client stay with their signal. */
  private waiting = new AbortController();
  private readonly busy = new Set<Promise<void>>();
  private done: Promise<void> = Promise.resolve();

  constructor(private readonly desk: Desk) {}

  start(): void {
    this.done = this.serve();
  }

  /** Resolves when all that was asked for is answered. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.waiting.abort();
    await this.done;
    await Promise.all(this.busy);
  }

  private async serve(): Promise<void> {
    let wait = 0;
    while (!this.stopped) {
      this.waiting = new AbortController();
      try {
        const task = await this.poll();
        wait = 0;
        // An empty poll has no token.
        if (task.taskToken?.length) await this.take(task);
      } catch (error) {
        if (this.stopped) return;
        if (wait === 0) this.desk.log(`nobody can ask for logs of this host now: ${textOf(error)}`);
        wait = Math.min(MOST_AGAIN_MS, wait * 2 || AGAIN_MS);
        await this.pause(wait);
      }
    }
  }

  private poll(): Promise<Task> {
    const { client, fleet, host, identity } = this.desk;
    return client.withAbortSignal(this.waiting.signal, () =>
      client.withDeadline(Date.now() + POLL_MS, () =>
        client.workflowService.pollWorkflowTaskQueue({
          namespace: client.options.namespace,
          taskQueue: { name: hostQueue(fleet, host) },
          identity,
        }),
      ),
    );
  }

  /** Resolves when there is room for another one. */
  private async take(task: Task): Promise<void> {
    const answering = this.answer(task)
      .catch((error: unknown) => {
        if (!this.stopped) this.desk.log(`who asked for a log got no answer: ${textOf(error)}`);
      })
      .finally(() => this.busy.delete(answering));
    this.busy.add(answering);
    if (this.busy.size >= AT_ONCE) await Promise.race(this.busy);
  }

  private async answer(task: Task): Promise<void> {
    const { client, identity } = this.desk;
    const { namespace } = client.options;
    const { taskToken, query } = task;
    const call = <T>(send: (service: Service) => Promise<T>) =>
      client.withDeadline(Date.now() + CALL_MS, () => send(client.workflowService));
    if (query) {
      const { resultType: completedType, answer: queryResult, ...why } = await this.resultOf(query);
      await call((service) =>
        service.respondQueryTaskCompleted({
          namespace,
          taskToken,
          completedType,
          ...(queryResult ? { queryResult } : {}),
          ...why,
        }),
      );
      return;
    }
    // Its first step is its last one. Whoever asks before that gets the answer with it.
    const asked = await Promise.all(
      Object.entries(task.queries ?? {}).map(async ([id, one]) => [id, await this.resultOf(one)] as const),
    );
    await call((service) =>
      service.respondWorkflowTaskCompleted({
        namespace,
        taskToken,
        identity,
        commands: [{ commandType: COMPLETE_WORKFLOW, completeWorkflowExecutionCommandAttributes: {} }],
        queryResults: Object.fromEntries(asked),
      }),
    );
  }

  private async resultOf({ queryType, queryArgs }: Query): Promise<Result> {
    try {
      if (queryType !== QUERY.log) throw new Error(`there is no query "${queryType}", only "${QUERY.log}"`);
      const request = LogRequest.safeParse(decoded(queryArgs?.payloads?.[0]));
      if (!request.success) throw new Error('what was asked for is no task, attempt and place');
      const answer = await readLog(this.desk.home, request.data);
      return { resultType: ANSWERED, answer: { payloads: [await encoded(answer)] } };
    } catch (error) {
      return { resultType: FAILED, errorMessage: textOf(error) };
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const over = () => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(over, ms);
      this.waiting.signal.addEventListener('abort', over, { once: true });
    });
  }
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
