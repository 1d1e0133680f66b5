// What a program can do with a fleet: submit, watch, ask, cancel, retry, claim. All of it is plain Temporal: starts,
// signals and queries that any other client can send as well.

import { randomUUID } from 'node:crypto';
import {
  type Client,
  isGrpcServiceError,
  QueryNotRegisteredError,
  ServiceError,
  WorkflowExecutionAlreadyStartedError,
  type WorkflowExecutionStatusName,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import type { z } from 'zod';
import type { Config } from '../domain/config.js';
import type { Picture } from '../domain/dry-run.js';
import type { FreezeReport } from '../domain/freeze.js';
import {
  CLAIMS_MEMO,
  controlQueue,
  coordinatorId,
  QUERY,
  RENEW,
  reservedPlan,
  SEARCH,
  SIGNAL,
  SINGLE,
  taskName,
  taskQueue,
  taskWorkflowId,
  WORKFLOW,
} from '../domain/ids.js';
import type { Edge, HandReport } from '../domain/messages.js';
import type { ClaimAnswer } from '../domain/own-claims.js';
import type { TaskInput } from '../domain/plan.js';
import { explain } from '../domain/reasons.js';
import {
  aged,
  type HandState,
  type Overview,
  type Renewal,
  type Story,
  type TaskLine,
} from '../domain/views.js';
import { type AskOptions, type DeskRequest, lastAnswer } from './desk.js';
import { eachInParallel } from './parallel.js';
import { type Patience, patienceWith } from './patience.js';
import { decoded } from './payload.js';
import { signalCoordinator, signalWriter } from './starts.js';

/** A task as it is written in a file, before defaults are filled in. */
export type TaskSource = z.input<typeof TaskInput>['task'];

/** Something that cannot be done, for a reason that the message gives; nothing has happened. */
export class Refused extends Error {}

/** Refused because no coordinator answers. */
export class NoAnswer extends Refused {}

/** Refused because no worker runs that could answer. */
export class NoWorker extends NoAnswer {
  constructor(readonly fleet: string) {
    super(`no worker serves fleet ${fleet}: start one with \`signalbox up\` or \`signalbox worker\``);
  }
}

/** How many tasks are started at once: a burst of thousands would starve those that run. */
const SUBMIT_PARALLEL = 20;
/** So many names are asked for one by one. */
const FEW = 20;
const POLL_MS = 250;
/** How long the coordinator may take to answer a person's claim. */
const ANSWER_MS = 30_000;
const CONFIRM_TRIES = 60;
/** Temporal's number for the queue of workflows, which queries take too. */
const WORKFLOW_QUEUE = 1;
/** When Temporal does not say who polls. */
const UNKNOWN_PATIENCE: Patience = { ms: 12_000, gone: false };

/** A person's claim, before it is one. */
export type HandClaim = Pick<HandReport, 'id' | 'by' | 'repository' | 'writes' | 'lease' | 'note' | 'wait'>;

export interface TaskDescription {
  id: string;
  status: WorkflowExecutionStatusName;
  state?: string;
  reason?: string;
  holder?: string;
}

export class FleetClient {
  constructor(
    readonly client: Client,
    readonly config: Config,
  ) {}

  private get fleet(): string {
    return this.config.fleet;
  }

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

  private coordinator() {
    return this.client.workflow.getHandle(coordinatorId(this.fleet));
  }

  /** Throws NoWorker when no worker runs, NoAnswer when no coordinator does or it does not answer. */
  async overview(): Promise<Overview> {
    const overview = await this.ask<Overview>(QUERY.overview);
    return aged(overview, Date.now() - overview.asOf);
  }

  /** All that was decided about a task or a person's claim; undefined when the coordinator does not know it (any more). */
  async story(id: string): Promise<Story | undefined> {
    const story = (await this.ask<Story | null>(QUERY.story, id)) ?? undefined;
    const forMs = story && story.task.forMs + Math.max(0, Date.now() - story.asOf);
    return story && { ...story, task: { ...story.task, forMs: forMs ?? 0 } };
  }

  /** What the coordinator goes by, for a dry run. Throws as overview does, and Refused when that is too much to be told. */
  async picture(): Promise<Picture> {
    const picture = await this.ask<Picture | null>(QUERY.picture);
    if (picture) return picture;
    throw new Refused(
      `fleet ${this.fleet} has so many live tasks that its coordinator cannot tell them all in one answer: no dry run is possible now`,
    );
  }

  private async ask<T>(query: string, ...args: unknown[]): Promise<T> {
    const { ms, gone } = await this.patience();
    try {
      return await this.client.withDeadline(Date.now() + ms, () =>
        this.coordinator().query<T, unknown[]>(query, ...args),
      );
    } catch (error) {
      const absent = error instanceof WorkflowNotFoundError || error instanceof QueryNotRegisteredError;
      if (!absent && !isUnanswered(error)) throw error;
      if (gone) throw new NoWorker(this.fleet);
      throw new NoAnswer(
        absent
          ? `fleet ${this.fleet} has no coordinator yet: start a worker with \`signalbox up\` or \`signalbox worker\``
          : `the coordinator of fleet ${this.fleet} does not answer: does a worker run? (\`signalbox up\` or \`signalbox worker\`)`,
      );
    }
  }

  /** How long the coordinator may take to answer. */
  private async patience(): Promise<Patience> {
    try {
      const { pollers } = await this.client.workflowService.describeTaskQueue({
        namespace: this.client.options.namespace,
        taskQueue: { name: controlQueue(this.fleet) },
        taskQueueType: WORKFLOW_QUEUE,
      });
      const now = Date.now();
      return patienceWith(
        (pollers ?? []).map(({ identity, lastAccessTime }) => ({
          identity: identity ?? '',
          seenMsAgo: now - Number(lastAccessTime?.seconds ?? 0) * 1_000,
        })),
      );
    } catch (error) {
      // Not every user may ask this; the question itself tells what is wrong.
      if (isGrpcServiceError(error)) return UNKNOWN_PATIENCE;
      throw error;
    }
  }

  /** What Temporal itself knows of a task; undefined when it never was, or is beyond the retention. */
  async describe(id: string): Promise<TaskDescription | undefined> {
    try {
      const { status, searchAttributes } = await this.client.workflow
        .getHandle(taskWorkflowId(this.fleet, id))
        .describe();
      const value = (name: string) => searchAttributes[name]?.[0] as string | undefined;
      const [state, reason, holder] = [value(SEARCH.state), value(SEARCH.reason), value(SEARCH.holder)];
      return {
        id,
        status: status.name,
        ...(state ? { state } : {}),
        ...(reason ? { reason } : {}),
        ...(holder ? { holder } : {}),
      };
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  }

  /** Asks for the cancellation; the task ends when its agent has. Throws Refused for a task that is unknown or has ended. */
  async cancel(id: string, reason: string, by?: string): Promise<void> {
    const found = await this.describe(id);
    if (!found) throw new Refused(`no task ${id} in fleet ${this.fleet}`);
    if (found.status !== 'RUNNING')
      throw new Refused(`task ${id} has ended already: ${found.state ?? found.status.toLowerCase()}`);
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
    const found = await this.describe(id);
    if (!found) throw new Refused(`no task ${id} in fleet ${this.fleet}`);
    if (found.status !== 'RUNNING')
      throw new Refused(`task ${id} has ended already: ${found.state ?? found.status.toLowerCase()}`);
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
    const found = await this.describe(task);
    if (!found) throw new Refused(`no task ${task} in fleet ${this.fleet}`);
    if (found.status !== 'RUNNING')
      throw new Refused(`task ${task} has ended already: ${found.state ?? found.status.toLowerCase()}`);
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

  /**
   * A person's claim, by name. Resolves when it is granted, queued (with `wait`) or refused. Claiming the same paths under
   * the same name again renews. Throws Refused when the name is in use for others.
   */
  async claim(claim: HandClaim): Promise<HandState> {
    // Asked first: without a worker the claim would lie in wait and be granted to nobody, whenever one starts.
    await this.story(claim.id);
    const { id, by, note } = claim;
    const workflow = this.client.workflow.getHandle(taskWorkflowId(this.fleet, id));
    try {
      await this.client.workflow.start(WORKFLOW.hand, {
        workflowId: workflow.workflowId,
        taskQueue: taskQueue(this.fleet),
        args: [{ fleet: this.fleet, hand: claim }],
        staticSummary: `claim of ${by}${note ? `: ${note}` : ''}`.slice(0, 150),
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      const known = await this.handState(id);
      const same = JSON.stringify([...claim.writes].sort()) === JSON.stringify([...known.writes].sort());
      if (known.phase === 'ended') {
        await workflow.result();
        return await this.claim(claim);
      }
      if (!same || known.repository !== claim.repository)
        throw new Refused(`${id} holds or waits for a claim already: release it first, or use another name`);
      if (known.phase === 'running') await this.renew(id, { lease: claim.lease });
    }
    for (const end = Date.now() + ANSWER_MS; ; ) {
      const state = await this.handState(id);
      const waits = claim.wait && state.heard && state.code !== 'RECOVERING';
      if (state.phase !== 'held' || waits) return state;
      if (Date.now() > end) throw new NoAnswer(`no answer of the coordinator to the claim ${id}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  private async handState(id: string): Promise<HandState> {
    const workflow = this.client.workflow.getHandle(taskWorkflowId(this.fleet, id));
    return await this.client.withDeadline(Date.now() + ANSWER_MS, () =>
      workflow.query<HandState, []>(QUERY.hand),
    );
  }

  /** The claim's lease runs anew. Throws Refused when there is none, or when it holds under another fence. */
  async renew(id: string, renewal: Renewal): Promise<{ fence: string; lease: number }> {
    await this.story(id);
    await this.refuseNoHand(id);
    try {
      return await this.client.withDeadline(Date.now() + ANSWER_MS, () =>
        this.client.workflow
          .getHandle(taskWorkflowId(this.fleet, id))
          .executeUpdate<{ fence: string; lease: number }, [Renewal]>(RENEW, { args: [renewal] }),
      );
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError && error.cause) throw new Refused(error.cause.message);
      if (error instanceof WorkflowNotFoundError) throw new Refused(`${id} has just ended`);
      if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError)
        throw new NoAnswer(`no answer of the coordinator to the renewal of ${id}`);
      throw error;
    }
  }

  private async refuseNoHand(id: string): Promise<void> {
    const found = await this.describe(id);
    if (found?.status !== 'RUNNING') throw new Refused(`nobody holds a claim called ${id}`);
  }

  /** Gives a person's claim back. Throws Refused when there is none of that name. */
  async release(id: string, by: string): Promise<void> {
    await this.story(id);
    await this.refuseNoHand(id);
    try {
      await this.client.workflow.getHandle(taskWorkflowId(this.fleet, id)).signal(SIGNAL.release, { by });
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return;
      throw error;
    }
    for (const end = Date.now() + ANSWER_MS; Date.now() < end; ) {
      if ((await this.describe(id))?.status !== 'RUNNING') return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    throw new NoAnswer(`no answer of the coordinator to the release of ${id}`);
  }

  /**
   * Waits until all the tasks have ended and their workflows are closed, so that their packets are there too; calls
   * back with every overview, and with what is the matter while nobody answers. Asks the coordinator and Temporal's
   * list, not each task.
   */
  async wait(
    ids: string[],
    onOverview?: (overview: Overview) => void,
    onSilence?: (trouble: NoAnswer) => void,
  ): Promise<Map<string, TaskLine>> {
    const ended = new Map<string, TaskLine>();
    const wanted = new Set(ids);
    for (;;) {
      const overview = await this.overview().catch((error: unknown) => {
        if (!(error instanceof NoAnswer)) throw error;
        onSilence?.(error);
        return undefined;
      });
      if (overview) {
        onOverview?.(overview);
        for (const line of overview.tasks) if (wanted.has(line.id) && line.outcome) ended.set(line.id, line);
        const unknown = ids.filter((id) => !ended.has(id) && !overview.tasks.some((line) => line.id === id));
        await eachInParallel(unknown, SUBMIT_PARALLEL, async (id) => {
          const line = await this.endedLine(id);
          if (line) ended.set(id, line);
        });
      }
      if (ended.size === wanted.size && !(await this.anyRunning(wanted))) return ended;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  private async anyRunning(wanted: ReadonlySet<string>): Promise<boolean> {
    const query = `ExecutionStatus = "Running" AND WorkflowType = "${WORKFLOW.task}" AND WorkflowId STARTS_WITH "${this.fleet}/"`;
    const prefix = taskWorkflowId(this.fleet, '').length;
    for await (const { workflowId } of this.client.workflow.list({ query }))
      if (wanted.has(workflowId.slice(prefix))) return true;
    return false;
  }

  /** A task that the coordinator no longer has on record: its workflow knows. */
  private async endedLine(id: string): Promise<TaskLine | undefined> {
    const found = await this.describe(id);
    if (!found || found.status === 'RUNNING') return undefined;
    const kind =
      (['landed', 'finished', 'failed', 'cancelled'] as const).find((state) => state === found.state) ??
      'cancelled';
    const code = found.reason as NonNullable<TaskLine['outcome']>['code'];
    return {
      id,
      kind: 'task',
      phase: 'ended',
      attempt: 0,
      forMs: 0,
      code,
      outcome: { kind, code, text: found.reason ?? found.status },
    };
  }

  /** Everything that Temporal's list knows of the fleet's tasks: works without a worker. */
  async list(): Promise<TaskDescription[]> {
    const tasks: TaskDescription[] = [];
    const query = `WorkflowType = "${WORKFLOW.task}" AND WorkflowId STARTS_WITH "${this.fleet}/"`;
    for await (const { workflowId, status, searchAttributes } of this.client.workflow.list({ query })) {
      const value = (name: string) => searchAttributes[name]?.[0] as string | undefined;
      const [state, reason, holder] = [value(SEARCH.state), value(SEARCH.reason), value(SEARCH.holder)];
      const id = workflowId.slice(`${this.fleet}/task/`.length);
      tasks.push({
        id,
        status: status.name,
        ...(state ? { state } : {}),
        ...(reason ? { reason } : {}),
        ...(holder ? { holder } : {}),
      });
    }
    return tasks;
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

/** What the server says of a query that no worker took: no poller, no task completed, no time left. */
const isUnanswered = (error: unknown): boolean =>
  /deadline|timed? ?out|CANCELLED|FAILED_PRECONDITION|UNAVAILABLE/i.test(
    String((error as { cause?: unknown })?.cause ?? error),
  );

const frozenIn = (overview: Overview, role: string | undefined): FreezeReport | undefined =>
  role === undefined ? overview.frozen : overview.roles.find((line) => line.role === role)?.frozen;
