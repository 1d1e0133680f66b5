// A task: it announces itself, runs an attempt for each grant, tells what came out, and ends with the outcome that the
// coordinator decided. It takes no decision of its own; its own state is the truth about its claims.

import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  continueAsNew,
  proxyActivities,
  proxyLocalActivities,
  setCurrentDetails,
  setHandler,
  upsertMemo,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { StartFrom } from '../activities/attempt.js';
import type { ControlActivities, TaskActivities } from '../activities/index.js';
import type { Accepted, AttemptEnd } from '../activities/reports.js';
import { compareFences, type Fence, fenceText, lifeOf } from '../src/domain/fence.js';
import { CLAIMS_MEMO, controlQueue, SEARCH, TASK_NAME, taskName } from '../src/domain/ids.js';
import type {
  AttemptResult,
  CancelRequest,
  Edge,
  Outcome,
  Standing,
  TakenOver,
  TaskFacts,
  TaskReport,
} from '../src/domain/messages.js';
import { type CarriedClaims, OwnClaims } from '../src/domain/own-claims.js';
import { type CarriedPeers, type Confirmed, OwnPeers, type PeerAsk } from '../src/domain/own-peers.js';
import { type AttemptRecord, draftOf, endedAttempt, packetWith } from '../src/domain/packet.js';
import { factsOf, planOf, type TaskInput } from '../src/domain/plan.js';
import { explain } from '../src/domain/reasons.js';
import { stateOf, taskPage } from '../src/domain/task-page.js';
import { isOver, placeOf, resultOf, workOf } from './attempt-end.js';
import { runAttempt } from './attempt-place.js';
import { LOCAL } from './local.js';
import {
  announceSignal,
  attemptsQuery,
  blockSignal,
  cancelSignal,
  claimAnswerQuery,
  extendSignal,
  giveBackSignal,
  goWithoutSignal,
  grantPeerSignal,
  peerAnswerQuery,
  peersQuery,
  revokePeerSignal,
  standingSignal,
  stateQuery,
} from './task-signals.js';

/** What one run of the workflow hands to the next. */
export interface CarriedTask {
  input: Accepted['input'];
  life: string;
  number: number;
  /** Something to tell the coordinator. */
  owed: boolean;
  report: Pick<TaskReport, 'attempt' | 'at' | 'fence' | 'result' | 'cancel'>;
  attempts: AttemptRecord[];
  /** Upstreams that were found while it was live. */
  blockers?: Edge[];
  standing?: Standing;
  epoch?: number;
  /** What the list of workflows shows. */
  shown: string;
  kept?: boolean;
  /** Once they have changed. */
  claims?: CarriedClaims;
  peers?: CarriedPeers;
  from?: StartFrom;
  takenOver?: TakenOver;
}

const HISTORY_LIMIT = 2_000;
/** Upstreams that may be added to one task while it is live. */
const MOST_BLOCKERS = 100;

const { accept, report, keepPacket, requestCancel } = proxyLocalActivities<TaskActivities>(LOCAL);

export async function agentTask(raw: unknown, carried?: CarriedTask): Promise<Outcome> {
  // Cancel in the Web UI is a request like any other: the coordinator records it, the agent is ended, then it is over.
  const { cancelRequested } = CancellationScope.current();
  return await CancellationScope.nonCancellable(async () => {
    const run = new TaskRun(raw as { task: TaskInput['task'] }, carried ?? (await enter(raw)));
    cancelRequested.catch(() => run.cancelledInTemporal());
    return await run.toTheEnd();
  });
}

/** The first word to the coordinator. */
async function enter(raw: unknown): Promise<CarriedTask> {
  const life = lifeOf(workflowInfo());
  try {
    const { input, standing } = await accept({ raw, life });
    return {
      input,
      life,
      number: 1,
      owed: false,
      report: { attempt: 1, at: 'waiting' },
      attempts: [],
      shown: shownAtStart(),
      ...(standing ? { standing, epoch: standing.epoch } : {}),
    };
  } catch (error) {
    throw error instanceof ActivityFailure && error.cause instanceof ApplicationFailure ? error.cause : error;
  }
}

class TaskRun {
  readonly id: string;
  readonly life: string;
  private readonly input: TaskInput;
  private readonly plan: { id: string; size?: number };
  /** As submitted; `facts` has what was found since as well. */
  private readonly submitted: TaskFacts;
  private blockers: Edge[];
  private readonly claims: OwnClaims;
  private readonly peers: OwnPeers;
  /** The work that the next attempt starts with. */
  private from: StartFrom | undefined;
  /** What it was handed by the task that it takes over: all its attempts go on with that. */
  private takenOver: TakenOver | undefined;
  private number: number;
  private report: CarriedTask['report'];
  private attempts: AttemptRecord[];
  private standing: Standing | undefined;
  /** The newest coordinator heard of. */
  private epoch: number | undefined;
  private shown: string;
  /** The packet of the outcome is kept already. */
  private kept: boolean;
  /** Temporal itself was asked to cancel this workflow. */
  private cancelRequested = false;
  private owed: boolean;
  /** A grant that had to be allowed has been answered. */
  private settled = false;
  /** The standing that has been acted upon. */
  private heeded: Standing | undefined;

  constructor(
    private readonly raw: { task: Pick<TaskInput['task'], 'prompt'> },
    carried: CarriedTask,
  ) {
    const { task } = carried.input;
    this.input = { ...carried.input, task: { ...task, prompt: raw.task.prompt } };
    this.plan = planOf(carried.input);
    this.id = taskName(this.plan.id, task.id);
    this.submitted = factsOf(this.input.task, this.plan.id);
    this.blockers = carried.blockers ?? [];
    this.claims = new OwnClaims(this.submitted.writes, carried.claims);
    this.peers = new OwnPeers(this.id, this.submitted.peers ?? [], carried.peers);
    this.from = carried.from;
    this.takenOver = carried.takenOver;
    this.life = carried.life;
    this.number = carried.number;
    this.owed = carried.owed;
    this.report = carried.report;
    this.attempts = carried.attempts;
    this.standing = carried.standing;
    this.epoch = carried.epoch;
    this.shown = carried.shown;
    this.kept = carried.kept ?? false;
    this.listen();
  }

  get facts(): TaskFacts {
    const { submitted, blockers, claims } = this;
    return { ...submitted, writes: claims.writes, after: [...submitted.after, ...blockers] };
  }

  private listen(): void {
    setHandler(standingSignal, (standing) => this.hear(standing));
    setHandler(blockSignal, (request) => this.addBlocker(request));
    this.listenToClaims();
    this.listenToPeers();
    // What an earlier coordinator still has on its way is void once this is answered: the next one goes by the answer.
    setHandler(announceSignal, (epoch) => {
      this.owed = true;
      if (typeof epoch === 'number') this.epoch = Math.max(this.epoch ?? 0, epoch);
    });
    setHandler(cancelSignal, (request) => {
      const { reason, by } = request ?? {};
      this.askCancel({
        code: 'CANCELLED_BY_REQUEST',
        ...(reason ? { text: String(reason) } : {}),
        ...(by ? { by: String(by) } : {}),
      });
    });
    setHandler(attemptsQuery, () => this.attempts.map(endedAttempt));
    setHandler(stateQuery, () => {
      const { standing } = this;
      return {
        phase: standing?.phase ?? 'held',
        attempt: this.report.attempt,
        ...(standing ? { why: explain(standing.decision.code, standing.decision.evidence) } : {}),
      };
    });
  }

  private listenToClaims(): void {
    const { claims } = this;
    const refusal = (fence: string | undefined) => this.cannotChangeClaims(fence);
    setHandler(extendSignal, (request) => {
      if (claims.ask(request, refusal)) this.owed = true;
    });
    setHandler(goWithoutSignal, (id) => {
      if (claims.goWithout(id)) this.owed = true;
    });
    setHandler(giveBackSignal, (request) => {
      if (claims.giveBack(request, refusal)) this.owed = true;
    });
    setHandler(claimAnswerQuery, claims.answerTo);
  }

  private listenToPeers(): void {
    const { peers } = this;
    setHandler(grantPeerSignal, (request) => {
      const ask = peers.ask(request);
      if (ask) void this.allow(ask);
    });
    setHandler(revokePeerSignal, (request) => {
      if (peers.revoke(request)) this.owed = true;
    });
    setHandler(peerAnswerQuery, peers.answerTo);
    setHandler(peersQuery, () => peers.seen(this.standing));
  }

  /** Whoever grants may have to be asked for more: by a command of the operator's, one peer after the other. */
  private async allow(ask: PeerAsk): Promise<void> {
    const { fleet } = this.input;
    const { confirmGrant } = proxyActivities<ControlActivities>({
      // Not where agents run: they may have taken all slots.
      taskQueue: controlQueue(fleet),
      // The activity keeps the timeout of the configuration; death of its worker shows in the heartbeat.
      startToCloseTimeout: '1h',
      scheduleToStartTimeout: '10m',
      heartbeatTimeout: '30s',
      retry: { maximumAttempts: 1 },
      summary: `may ${this.id} see ${ask.peers[0]?.task}?`,
    });
    const verdicts: Confirmed[] = [];
    try {
      for (const { task, as, from } of ask.peers) {
        const verdict = await confirmGrant({ owner: task, to: this.id, as, from, by: ask.by });
        verdicts.push(verdict);
        if (!verdict.allowed) break;
      }
    } catch (error) {
      const cause = error instanceof ActivityFailure ? (error.cause ?? error) : error;
      const text = `nobody could be asked whether it is allowed: ${cause instanceof Error ? cause.message : String(cause)}`;
      verdicts.push({ allowed: false, text, at: 0 });
    }
    if (this.peers.confirmed(ask, verdicts)) this.owed = true;
    this.settled = true;
  }

  private cannotChangeClaims(fence: string | undefined): string | undefined {
    const { at, fence: own } = this.report;
    if (!this.submitted.role) return `${this.id} has no role: it is read-only`;
    if (at !== 'running' || !own) return `${this.id} does not run: its claims change only while it does`;
    if (fence !== undefined && fence !== fenceText(own))
      return `the attempt of ${this.id} with fence ${fence} is over`;
    return undefined;
  }

  private hear(standing: Standing): void {
    const known = this.standing;
    if (standing.life !== this.life || standing.epoch < (this.epoch ?? 0)) return;
    if (known && standing.epoch === known.epoch && standing.number <= known.number) return;
    this.epoch = standing.epoch;
    this.standing = standing;
    if (this.claims.hear(standing)) this.owed = true;
    this.peers.hear(standing);
    const { refused } = standing;
    if (refused) this.blockers = this.blockers.filter((edge) => !refused.includes(edge.task));
  }

  cancelledInTemporal(): void {
    this.cancelRequested = true;
    if (!this.standing?.outcome) this.askCancel({ code: 'CANCELLED_IN_TEMPORAL' });
  }

  private addBlocker(request: { on?: unknown; until?: unknown; by?: unknown } | undefined): void {
    const { on, until, by } = request ?? {};
    if (typeof on !== 'string' || !on.includes('/') || !TASK_NAME.test(on)) return;
    if (this.blockers.length >= MOST_BLOCKERS || this.blockers.some((edge) => edge.task === on)) return;
    this.blockers.push({
      task: on,
      added: true,
      ...(until === 'landed' || until === 'finished' ? { until } : {}),
      ...(typeof by === 'string' ? { by } : {}),
    });
    this.owed = true;
  }

  private askCancel(cancel: CancelRequest): void {
    this.report.cancel ??= cancel;
    this.owed = true;
  }

  async toTheEnd(): Promise<Outcome> {
    for (;;) {
      const { standing } = this;
      if (this.owed) {
        await this.announce();
      } else if (standing && this.hasNews()) {
        this.heeded = standing;
        if (standing.outcome) return await this.end(standing, standing.outcome);
        await this.heed(standing);
      } else {
        // Not before: each thing shown is an event.
        this.show();
        const { continueAsNewSuggested, historyLength } = workflowInfo();
        const due = continueAsNewSuggested || historyLength > HISTORY_LIMIT;
        if (due && !this.peers.asking) await this.continueAsNew();
        this.settled = false;
        await condition(() => this.owed || this.settled || this.hasNews());
      }
    }
  }

  private hasNews(): boolean {
    return this.standing !== undefined && this.standing !== this.heeded;
  }

  private async announce(): Promise<void> {
    this.owed = false;
    const asks = this.report.at === 'stopped';
    const gap = this.standing?.gap;
    const said = { report: this.nextReport(), asks, ...(gap === undefined ? {} : { gap }) };
    const { standing } = await report(said);
    if (standing) this.hear(standing);
  }

  private nextReport(): TaskReport {
    this.number += 1;
    const { id, life, number, plan, facts, epoch } = this;
    const heard = epoch === undefined ? {} : { epoch };
    const { extend } = this.claims;
    const wanted = extend === undefined ? {} : { extend };
    const { said } = this.peers;
    const peers = said.length > 0 ? { peers: said } : {};
    return { kind: 'task', id, life, number, plan, facts, ...heard, ...this.report, ...wanted, ...peers };
  }

  private async heed(standing: Standing): Promise<void> {
    const { fence } = standing;
    const isNew =
      fence !== undefined && (this.report.fence === undefined || compareFences(fence, this.report.fence) > 0);
    if (standing.phase === 'running' && isNew) return await this.attempt(standing, fence);
    if (standing.phase === 'stopping' && isNew) {
      // Stopped before it began: the coordinator waits for that word.
      const result: AttemptResult = { kind: 'failed', dead: true, code: 'CANCELLED_BY_REQUEST', text: '' };
      this.report = { ...this.report, attempt: standing.attempt, at: 'stopped', fence, result };
      this.owed = true;
    }
    if (standing.phase === 'held' && standing.attempt > this.report.attempt) {
      const { cancel, fence: last } = this.report;
      this.report = {
        attempt: standing.attempt,
        at: 'waiting',
        ...(last ? { fence: last } : {}),
        ...(cancel ? { cancel } : {}),
      };
    }
  }

  /** Runs the agent under the grant until it ends, or until the coordinator withdraws the grant. */
  private async attempt(standing: Standing, fence: Fence): Promise<void> {
    const { cancel } = this.report;
    const { attempt, lease } = standing;
    this.takenOver = standing.from ?? this.takenOver;
    this.report = { attempt, at: 'running', fence, ...(cancel ? { cancel } : {}) };
    this.show();
    const scope = new CancellationScope();
    let over: AttemptEnd | undefined;
    const started = new Date().toISOString();
    const last = this.nextReport();
    void scope
      .run(() => this.runAgent(last, fence, lease ?? 0))
      .catch((error: unknown) => ({
        result: resultOf(error),
        record: { attempt, fence, started, ...placeOf(error) },
        told: false,
      }))
      .then((run) => {
        over = run;
      });
    while (!over) {
      await condition(() => over !== undefined || this.owed || this.hasNews());
      if (over) break;
      if (this.owed) await this.announce();
      if (!this.hasNews()) continue;
      this.heeded = this.standing;
      if (this.standing && isOver(this.standing, fence)) scope.cancel();
      this.show();
    }
    // What was heard meanwhile counted for the attempt only: the task has still to act upon it.
    this.heeded = standing;
    const { result, record, told, standing: answer, kept } = over as AttemptEnd;
    this.from = this.claims.over(result.dead) ? workOf(result) : undefined;
    this.attempts.push({ ...record, result });
    this.report = { ...this.report, at: 'stopped', result };
    // What was said meanwhile under a later number has hidden what the worker said.
    if (!told || this.number !== last.number) this.owed = true;
    if (!answer) return;
    this.hear(answer);
    this.kept = kept === true && answer === this.standing;
  }

  private runAgent(last: TaskReport, fence: Fence, lease: number): Promise<AttemptEnd> {
    const { attempt } = last;
    const { task } = this.input;
    const { title, prompt, agent, role, repository, env, timeout } = task;
    const { uses, writes, peers } = this.facts;
    const { from, takenOver } = this;
    const optional = Object.fromEntries(
      Object.entries({ title, agent, role, repository, timeout, uses, peers, from, takenOver }).filter(
        ([, value]) => value !== undefined,
      ),
    );
    const said = { report: last, earlier: this.attempts };
    const input = { task: this.id, prompt, writes, env, attempt, fence, lease, ...said, ...optional };
    return runAttempt(this.input.fleet, input, this.attempts);
  }

  private async end(standing: Standing, outcome: Outcome): Promise<Outcome> {
    this.show();
    const { role, repository } = this.facts;
    if (!this.kept) {
      const { fleet, task } = this.input;
      const draft = draftOf(this, { fleet, prompt: task.prompt, attempts: this.attempts });
      const packet = packetWith(draft, standing, outcome);
      await keepPacket({ packet, ...(role ? { role } : {}), ...(repository ? { repository } : {}) });
    }
    if (outcome.kind === 'failed') {
      throw ApplicationFailure.create({
        type: outcome.code,
        nonRetryable: true,
        message: outcome.text,
        details: [outcome],
      });
    }
    if (outcome.kind === 'cancelled') {
      // Temporal shows a workflow as cancelled only when somebody asked it to cancel.
      if (!this.cancelRequested) {
        await requestCancel(this.id);
        await condition(() => this.cancelRequested);
      }
      throw new CancelledFailure(outcome.text, [outcome]);
    }
    return outcome;
  }

  private async continueAsNew(): Promise<void> {
    const { life, number, report, attempts, blockers, claims, from, takenOver } = this;
    const { standing, epoch, shown, kept } = this;
    const { prompt: _, ...task } = this.input.task;
    await continueAsNew<typeof agentTask>(this.raw, {
      input: { ...this.input, task },
      life,
      owed: true,
      number,
      report,
      attempts,
      shown,
      kept,
      ...(blockers.length > 0 ? { blockers } : {}),
      ...(claims.changed ? { claims: claims.carry() } : {}),
      ...(this.peers.changed ? { peers: this.peers.carry() } : {}),
      ...(from ? { from } : {}),
      ...(takenOver ? { takenOver } : {}),
      ...(standing ? { standing } : {}),
      ...(epoch === undefined ? {} : { epoch }),
    });
  }

  /** State, reason and holder where the Web UI shows them: search attributes when they change, details always. */
  private show(): void {
    const { standing, report } = this;
    const state = stateOf(standing, report);
    const reason = standing?.decision.code ?? 'SUBMITTED';
    const evidence = standing?.decision.evidence ?? {};
    const holder = state === 'held' ? (evidence.holder ?? evidence.upstream ?? '') : '';
    const shown = [state, reason, holder].join(' ');
    if (shown !== this.shown) this.showInList(state, reason, holder);
    this.shown = shown;
    this.keepClaims();
    setCurrentDetails(
      taskPage({ id: this.id, facts: this.facts, report, standing, last: this.attempts.at(-1) }),
    );
  }

  /** Kept where a retry finds them, though this workflow is terminated. */
  private keepClaims(): void {
    const { writes } = this.claims;
    const known = workflowInfo().memo?.[CLAIMS_MEMO] ?? this.submitted.writes;
    if (JSON.stringify(writes) !== JSON.stringify(known)) upsertMemo({ [CLAIMS_MEMO]: writes });
  }

  private showInList(state: string, reason: string, holder: string): void {
    const { shown } = this;
    const [, , ...holderShown] = shown.split(' ');
    upsertSearchAttributes({
      ...(shown === '' ? { [SEARCH.fleet]: [this.input.fleet], [SEARCH.plan]: [this.plan.id] } : {}),
      [SEARCH.state]: [state],
      [SEARCH.reason]: [reason],
      ...(holderShown.join(' ') === holder ? {} : { [SEARCH.holder]: holder ? [holder] : [] }),
    });
  }
}

/** Who submits may have said already what the list of workflows shows of a task that has just come. */
function shownAtStart(): string {
  const { searchAttributes } = workflowInfo();
  const [state] = searchAttributes[SEARCH.state] ?? [];
  const [reason] = searchAttributes[SEARCH.reason] ?? [];
  return searchAttributes[SEARCH.fleet] && searchAttributes[SEARCH.plan] ? `${state} ${reason} ` : '';
}
