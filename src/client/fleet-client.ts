// What a program can do with a fleet: submit, cancel, retry, freeze, change claims; what it can ask is in fleet-reader.ts,
// claims of persons are in hand-claims.ts, what tasks may see of each other in peer-grants.ts. All of it is plain Temporal: starts, signals and queries that any other client
// can send as well.

import { randomUUID } from 'node:crypto';
import {
  isGrpcServiceError,
  ServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/client';
import type { z } from 'zod';
import type { FreezeReport } from '../domain/freeze.js';
import {
  CLAIMS_MEMO,
  QUERY,
  reservedPlan,
  SEARCH,
  SIGNAL,
  SINGLE,
  taskName,
  taskQueue,
  taskWorkflowId,
  WORKFLOW,
} from '../domain/ids.js';
import type { Edge, Outcome } from '../domain/messages.js';
import type { ClaimAnswer } from '../domain/own-claims.js';
import type { TaskInput } from '../domain/plan.js';
import { explain } from '../domain/reasons.js';
import type { Overview, Story } from '../domain/views.js';
import { type AskOptions, type DeskRequest, lastAnswer } from './desk.js';
import { FleetReader } from './fleet-reader.js';
import { HandClaims } from './hand-claims.js';
import { eachInParallel } from './parallel.js';
import { decoded } from './payload.js';
import { PeerGrants } from './peer-grants.js';
import { NoAnswer, Refused } from './refused.js';
import { signalCoordinator, signalWriter } from './starts.js';

/** A task as it is written in a file, before defaults are filled in. */
export type TaskSource = z.input<typeof TaskInput>['task'];

/** How many tasks are started at once: a burst of thousands would starve those that run. */
const SUBMIT_PARALLEL = 20;
/** So many names are asked for one by one. */
const FEW = 20;
const POLL_MS = 250;
const CONFIRM_TRIES = 60;
export class FleetClient extends FleetReader {
  /** Claims of persons. */
  readonly hands = new HandClaims(this);
  /** What tasks may see of each other. */
  readonly peers = new PeerGrants(this);

  /**
   * Starts every task of a plan; they hold until all have arrived. Throws Refused when one of them was submitted
   * before, after cancelling those that were started here.
   */
  async submit(
    plan: string | undefined,
    tasks: TaskSource[],
    options: { onStarted?: (id: string) => void } = {},
  ): Promise<string[]> {
    const reserved = plan === undefined ? undefined : reservedPlan(plan);
    if (reserved) throw new Refused(reserved);
    const planId = plan ?? SINGLE;
    const names = tasks.map((task) => taskName(planId, task.id));
    await this.refuseKnown(names);
    const started: string[] = [];
    let failure: unknown;
    await eachInParallel(tasks, SUBMIT_PARALLEL, async (task) => {
      if (failure !== undefined) return;
      const id = taskName(planId, task.id);
      try {
        await this.start(id, {
          fleet: this.fleet,
          ...(plan === undefined ? {} : { plan: { id: plan, size: tasks.length } }),
          task,
        });
        started.push(id);
        options.onStarted?.(id);
      } catch (error) {
        failure ??=
          error instanceof WorkflowExecutionAlreadyStartedError
            ? new Refused(`task ${id} was submitted before`)
            : error;
      }
    });
    if (failure === undefined) return names;
    await eachInParallel(started, SUBMIT_PARALLEL, (id) =>
      this.cancel(id, 'its plan could not be submitted as a whole').catch(() => undefined),
    );
    throw failure;
  }

  /** Throws Refused when one of the tasks, by its full name, was submitted before. */
  async refuseKnown(names: string[]): Promise<void> {
    // One look at the list tells of a new plan. The list may lag behind: then the start itself is refused.
    const plans = new Set(names.map((name) => name.slice(0, name.indexOf('/') + 1)));
    const news = await Promise.all([...plans].map((plan) => this.isNew(plan)));
    if (names.length > FEW && news.every(Boolean)) return;
    const known: string[] = [];
    await eachInParallel(names, SUBMIT_PARALLEL, async (name) => {
      const found = await this.describe(name);
      if (found) known.push(`${name} (${found.state ?? found.status.toLowerCase()})`);
    });
    if (known.length === 0) return;
    const some =
      known.sort().slice(0, 5).join(', ') + (known.length > 5 ? ` and ${known.length - 5} more` : '');
    throw new Refused(
      `submitted before: ${some}. Give the plan another name, or retry failed and cancelled tasks with \`signalbox retry\``,
    );
  }

  private async isNew(planPrefix: string): Promise<boolean> {
    const query = `WorkflowId STARTS_WITH "${taskWorkflowId(this.fleet, planPrefix)}"`;
    return (await this.client.workflow.count(query)).count === 0;
  }

  private async start(
    id: string,
    input: z.input<typeof TaskInput>,
    reuse: 'REJECT_DUPLICATE' | 'ALLOW_DUPLICATE' = 'REJECT_DUPLICATE',
  ): Promise<void> {
    const { title, prompt } = input.task;
    const shown = {
      [SEARCH.fleet]: [this.fleet],
      [SEARCH.plan]: [input.plan?.id ?? SINGLE],
      [SEARCH.state]: ['held'],
      [SEARCH.reason]: ['SUBMITTED'],
    };
    const options = {
      workflowId: taskWorkflowId(this.fleet, id),
      taskQueue: taskQueue(this.fleet),
      args: [input],
      workflowIdReusePolicy: reuse,
      staticSummary: (title ?? firstLine(prompt)).slice(0, 150),
      staticDetails: `Task **${id}** of fleet ${this.fleet}\n\n${prompt.slice(0, 4_000)}`,
    };
    try {
      // Said here it costs the task no event of its own.
      await this.client.workflow.start(WORKFLOW.task, { ...options, searchAttributes: shown });
    } catch (error) {
      if (!lacksSearchAttributes(error)) throw error;
      await this.client.workflow.start(WORKFLOW.task, options);
    }
  }

  /** Asks for the cancellation; the task ends when its agent has. Throws Refused for a task that is unknown or has ended. */
  async cancel(id: string, reason: string, by?: string): Promise<void> {
    await this.refuseEnded(id);
    try {
      await this.client.workflow
        .getHandle(taskWorkflowId(this.fleet, id))
        .signal(SIGNAL.cancel, { reason, ...(by ? { by } : {}) });
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) throw new Refused(`task ${id} has just ended`);
      throw error;
    }
  }

  /**
   * Starts a failed or cancelled task again, as it was submitted, with the paths that it was granted and the upstreams
   * that were found since. Throws Refused for any other.
   */
  async retry(id: string): Promise<void> {
    await this.refuseRetry(id);
    const input = await this.inputOf(id);
    // Its plan was complete once; the new life waits for nobody to arrive.
    await this.start(
      id,
      { ...input, ...(input.plan ? { plan: { id: input.plan.id } } : {}) },
      'ALLOW_DUPLICATE',
    );
  }

  /** Throws Refused when the task is not one that failed or was cancelled. */
  async refuseRetry(id: string): Promise<void> {
    const found = await this.describe(id);
    if (!found) throw new Refused(`no task ${id} in fleet ${this.fleet}`);
    if (found.status === 'RUNNING')
      throw new Refused(`task ${id} has not ended: it is ${found.state ?? 'running'}`);
    if (found.status === 'COMPLETED' && found.reason === 'HANDED_OFF') {
      const handle = this.client.workflow.getHandle(taskWorkflowId(this.fleet, id));
      const { handed } = (await handle.result()) as Outcome;
      throw new Refused(
        `task ${id} has handed its work to ${handed?.to}, which goes on with it: retry that one`,
      );
    }
    if (found.status === 'COMPLETED')
      throw new Refused(`task ${id} ended well: it is ${found.state ?? 'completed'}`);
  }

  /** What was submitted, and what came to it since: a retry must not forget a blocker, nor a path that turned out to be needed. */
  private async inputOf(id: string): Promise<z.input<typeof TaskInput>> {
    const workflow = this.client.workflow.getHandle(taskWorkflowId(this.fleet, id));
    const [history, { memo }] = await Promise.all([workflow.fetchHistory(), workflow.describe()]);
    const events = history.events ?? [];
    const started = events[0]?.workflowExecutionStartedEventAttributes?.input?.payloads ?? [];
    const input = decoded<z.input<typeof TaskInput>>(started[0]);
    if (!input) throw new Refused(`what was submitted as ${id} cannot be read any more`);
    const carried = decoded<{ blockers?: Edge[] }>(started[1])?.blockers ?? [];
    const signalled = events.flatMap(({ workflowExecutionSignaledEventAttributes: signal }) => {
      const request =
        signal?.signalName === SIGNAL.block ? decoded<BlockRequest>(signal.input?.payloads?.[0]) : undefined;
      return request ? [{ task: request.on, ...(request.until ? { until: request.until } : {}) }] : [];
    });
    const known = (input.task.after ?? []).map((edge) => (typeof edge === 'string' ? edge : edge.task));
    const found = [...carried, ...signalled]
      .map(({ task, until }) => ({ task, ...(until ? { until } : {}) }))
      .filter((edge, i, all) => all.findIndex((other) => other.task === edge.task) === i)
      .filter((edge) => !known.includes(edge.task));
    const { after = [], writes = [] } = input.task;
    // Paths that the task gave back are asked for again: it may have failed for want of them.
    const claimed = (memo?.[CLAIMS_MEMO] as string[] | undefined) ?? [];
    const task = {
      ...input.task,
      after: [...after, ...found],
      writes: [...new Set([...writes, ...claimed])],
    };
    return { ...input, task };
  }

  /**
   * A live task turned out to depend on another one: whatever of it has not begun waits for that. Throws Refused when one
   * of them is unknown, the task has ended, or tasks would wait in a circle; the message has the circle.
   */
  async block(
    id: string,
    request: { on: string; until?: 'landed' | 'finished'; by?: string },
    options: { timeoutMs?: number } = {},
  ): Promise<Story> {
    await this.refuseEnded(id);
    if (!(await this.describe(request.on)))
      throw new Refused(`no task ${request.on} in fleet ${this.fleet} that ${id} could wait for`);
    const before = await this.story(id);
    const last = before?.decisions.at(-1)?.seq ?? 0;
    if (before?.after.some((edge) => edge.task === request.on)) return before;
    await this.client.workflow.getHandle(taskWorkflowId(this.fleet, id)).signal(SIGNAL.block, request);
    const end = Date.now() + (options.timeoutMs ?? 30_000);
    for (;;) {
      const story = await this.story(id);
      const answer = story?.decisions.findLast(
        ({ code, seq, evidence }) =>
          seq > last &&
          evidence.upstream === request.on &&
          (code === 'EDGE_ADDED' || code === 'EDGE_REFUSED'),
      );
      if (story && answer?.code === 'EDGE_ADDED') return story;
      if (answer) throw new Refused(explain(answer.code, answer.evidence));
      if (story?.task.outcome) throw new Refused(`task ${id} has just ended`);
      if (Date.now() > end)
        throw new NoAnswer(`no answer of the coordinator: does ${id} wait for ${request.on}?`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** The tracker's state of an issue has changed. */
  async issue(key: string, state: string, revision?: string): Promise<void> {
    const change = { key, state, ...(revision === undefined ? {} : { revision }) };
    await signalCoordinator(this.client, this.config, SIGNAL.issue, [change]);
  }

  /**
   * Freezes a role, or the whole fleet: running tasks go on, nothing new is granted, no landing is handed over. Resolves
   * to false when no worker runs that could confirm it: it holds from the moment that one does.
   */
  async freeze(freeze: { role?: string; reason: string; by?: string; for?: string }): Promise<boolean> {
    const { role, ...request } = freeze;
    this.refuseUnknownRole(role);
    if (role === undefined) await signalCoordinator(this.client, this.config, SIGNAL.freeze, [request]);
    else await signalWriter(this.client, this.fleet, role, SIGNAL.freeze, request);
    return await this.confirmed((found) => found?.text === request.reason && found.by === request.by, role);
  }

  /**
   * Ends the freeze of a role, whoever began it, or that of the whole fleet. Resolves as `freeze` does. Throws Refused
   * when nothing is frozen.
   */
  async resume(target: { role?: string; by?: string } = {}): Promise<boolean> {
    const { role, by } = target;
    this.refuseUnknownRole(role);
    if (!frozenIn(await this.overview(), role))
      throw new Refused(role === undefined ? 'the fleet is not frozen' : `role ${role} is not frozen`);
    const request = by ? { by } : {};
    if (role === undefined) await signalCoordinator(this.client, this.config, SIGNAL.resume, [request]);
    else await signalWriter(this.client, this.fleet, role, SIGNAL.resume, request);
    return await this.confirmed((found) => found === undefined, role);
  }

  private refuseUnknownRole(role: string | undefined): void {
    const roles = Object.keys(this.config.roles);
    if (role !== undefined && !roles.includes(role))
      throw new Refused(`the fleet has no role "${role}"; there are: ${roles.join(', ') || 'none'}`);
  }

  private async confirmed(
    asWanted: (found: FreezeReport | undefined) => boolean,
    role: string | undefined,
  ): Promise<boolean> {
    try {
      for (let tries = 0; tries < CONFIRM_TRIES; tries++) {
        if (asWanted(frozenIn(await this.overview(), role))) return true;
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
    }
    return false;
  }

  /**
   * Asks for more paths for a running task, or gives some back. Resolves with the task's own answer; an extension that
   * waits, when it does so no longer. Throws Refused for a task that is unknown or has ended.
   */
  async changeClaims(task: string, request: DeskRequest, options: AskOptions = {}): Promise<ClaimAnswer> {
    await this.refuseEnded(task);
    const workflow = this.client.workflow.getHandle(taskWorkflowId(this.fleet, task));
    const { do: what, paths, wait } = request;
    const id = randomUUID();
    try {
      await workflow.signal(what === 'extend' ? SIGNAL.extend : SIGNAL.giveBack, { id, paths, wait });
      return await lastAnswer(
        async () => (await workflow.query<ClaimAnswer | null, [string]>(QUERY.claimAnswer, id)) ?? undefined,
        () => workflow.signal(SIGNAL.goWithout, id),
        POLL_MS,
        options,
      );
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) throw new Refused(`task ${task} has just ended`);
      throw error;
    }
  }
}

interface BlockRequest {
  on: string;
  until?: 'landed' | 'finished';
}

/** No worker has registered them in this namespace yet: the task will say what they hold by itself. */
const lacksSearchAttributes = (error: unknown): boolean =>
  error instanceof ServiceError &&
  isGrpcServiceError(error.cause) &&
  /search attribute/i.test(error.cause.details);

const firstLine = (text: string): string => text.trim().split('\n')[0] ?? '';

const frozenIn = (overview: Overview, role: string | undefined): FreezeReport | undefined =>
  role === undefined ? overview.frozen : overview.roles.find((line) => line.role === role)?.frozen;
