// The writer of one role: the only hand on its branch. It does what the coordinator hands over, one landing after the
// other; push, deploy and settle are one critical section. It knows nothing by heart: the ledger does.

import {
  ActivityCancellationType,
  CancellationScope,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  isCancellation,
  proxyActivities,
  proxyLocalActivities,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { ControlActivities } from '../activities/index.js';
import type { Landed } from '../activities/landing.js';
import { lifeOf } from '../src/domain/fence.js';
import {
  type FleetWord,
  type FreezeRecord,
  type FreezeRequest,
  freezeText,
  isOver,
  kept,
  requested,
  together,
  told,
  wordKept,
  wordTold,
} from '../src/domain/freeze.js';
import { SIGNAL } from '../src/domain/ids.js';
import type { LandingOrder, LandingResult, Orders } from '../src/domain/messages.js';
import { LOCAL } from './local.js';

export interface WriterInput {
  fleet: string;
  role: string;
  carried?: {
    life: string;
    number: number;
    orders?: Orders;
    results: LandingResult[];
    frozen?: FreezeRecord;
    asked?: FreezeRecord;
    fleet?: FleetWord<FreezeRecord>;
  };
}

export const ordersSignal = defineSignal<[Orders]>(SIGNAL.orders);
export const announceSignal = defineSignal(SIGNAL.announce);
export const freezeSignal = defineSignal<[FreezeRequest]>(SIGNAL.freeze);
export const resumeSignal = defineSignal<[{ by?: string }]>(SIGNAL.resume);
export const writerQuery = defineQuery<{ frozen?: string; landings: string[]; results: LandingResult[] }>(
  'state',
);

const HISTORY_LIMIT = 2_000;
/** Landings that one activity gets: it does as many of them as go quickly. */
const BATCH = 20;

const { tell, mark } = proxyLocalActivities<ControlActivities>(LOCAL);

const options = {
  startToCloseTimeout: '12 hours',
  heartbeatTimeout: '15s',
  // Until it is known what became of it: a landing is never given up with its fate unknown.
  retry: { initialInterval: '1s', maximumInterval: '30s' },
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
} as const;

export async function writer(input: WriterInput): Promise<void> {
  await new WriterRun(input).forEver();
}

class WriterRun {
  private readonly role: string;
  private readonly life: string;
  private number: number;
  private orders: Orders | undefined;
  private results: LandingResult[];
  /** Since a deploy failed. */
  private frozen: FreezeRecord | undefined;
  /** By a person. */
  private asked: FreezeRecord | undefined;
  /** A person has frozen or resumed it, in this run. */
  private spoken = false;
  /** What it was told of the fleet, kept for a coordinator that loses its state. */
  private fleet: FleetWord<FreezeRecord> | undefined;
  private owed: boolean;
  /** Orders have come, which may leave nothing to do or to say: every workflow task leaves an event, see the activity `mark`. */
  private woken = false;
  private doing: string[] = [];

  constructor(private readonly input: WriterInput) {
    const { carried } = input;
    this.role = input.role;
    this.life = carried?.life ?? lifeOf(workflowInfo());
    this.number = carried?.number ?? 0;
    this.orders = carried?.orders;
    this.results = carried?.results ?? [];
    this.frozen = carried?.frozen;
    this.asked = carried?.asked;
    this.fleet = carried?.fleet;
    this.owed = carried === undefined;
    setHandler(ordersSignal, (orders) => {
      this.woken = true;
      this.take(orders);
    });
    setHandler(announceSignal, () => {
      this.owed = true;
    });
    setHandler(freezeSignal, (request) => {
      this.asked = kept(requested(request), Date.now());
      this.spoken = true;
      this.owed = true;
    });
    setHandler(resumeSignal, () => {
      this.spoken = true;
      this.owed = true;
      this.frozen = undefined;
      this.asked = undefined;
    });
    setHandler(writerQuery, () => ({
      landings: this.doing,
      results: this.results,
      ...(this.isFrozen() ? { frozen: this.freezeText() } : {}),
    }));
  }

  private take(orders: Orders): void {
    const known = this.orders;
    if (
      known &&
      (orders.epoch < known.epoch || (orders.epoch === known.epoch && orders.number <= known.number))
    )
      return;
    // The first orders of a new life tell what the one before knew; a person may have said something else since.
    if (!known && !this.spoken && orders.frozen) this.asked = kept(orders.frozen, Date.now());
    this.orders = orders;
    this.hearOfFleet(orders.fleet);
    // What is no longer on the orders has been heard of.
    const wanted = new Set(orders.landings.map((order) => order.id));
    this.results = this.results.filter((result) => wanted.has(result.id));
  }

  /** The higher number counts; a coordinator that knows less than this writer is told. */
  private hearOfFleet(word: FleetWord | undefined): void {
    const known = this.fleet?.number ?? 0;
    if (word && word.number > known) this.fleet = wordKept(word, Date.now());
    else if (known > (word?.number ?? 0)) this.owed = true;
  }

  private ownFreeze(): FreezeRecord | undefined {
    return together(this.frozen, this.asked);
  }

  private isFrozen(): boolean {
    return this.ownFreeze() !== undefined || this.fleet?.freeze !== undefined;
  }

  private freezeText(): string {
    const [own, fleet] = [this.ownFreeze(), this.fleet?.freeze];
    return [
      ...(own ? [freezeText(told(own, Date.now()))] : []),
      ...(fleet ? [`with the fleet, ${freezeText(told(fleet, Date.now()))}`] : []),
    ].join('; ');
  }

  /** Freezes with an end are over by themselves. */
  private thaw(): void {
    const now = Date.now();
    if (this.asked && isOver(this.asked, now)) {
      this.asked = undefined;
      this.owed = true;
    }
    if (this.fleet?.freeze && isOver(this.fleet.freeze, now)) delete this.fleet.freeze;
  }

  /** When the next freeze is over by itself. */
  private thawsAt(): number {
    const { asked, fleet } = this;
    return Math.min(
      asked?.until ?? Number.POSITIVE_INFINITY,
      fleet?.freeze?.until ?? Number.POSITIVE_INFINITY,
    );
  }

  private todo(): LandingOrder[] {
    const done = new Set(this.results.map((result) => result.id));
    return (this.orders?.landings ?? []).filter((order) => !done.has(order.id));
  }

  async forEver(): Promise<void> {
    const { takeOver } = proxyActivities<ControlActivities>({
      ...options,
      summary: `take over role ${this.role}`,
    });
    if (!this.input.carried) {
      // Whoever freezes a role that has no writer yet need not wait for its repository.
      if (this.isFrozen()) await this.report();
      await takeOver(this.role);
    }
    for (;;) {
      this.thaw();
      await this.answer();
      const todo = this.todo();
      this.show(todo);
      if (this.hasWork()) {
        await this.work(todo);
      } else {
        const { continueAsNewSuggested, historyLength } = workflowInfo();
        if (continueAsNewSuggested || historyLength > HISTORY_LIMIT) await this.continueAsNew();
        const wanted = () => this.woken || this.owed || this.hasWork();
        const thawsIn = this.thawsAt() - Date.now();
        if (thawsIn === Number.POSITIVE_INFINITY) await condition(wanted);
        else await condition(wanted, Math.max(1, thawsIn));
      }
    }
  }

  private hasWork(): boolean {
    const todo = this.todo();
    return todo.length > 0 && (!this.isFrozen() || todo.some((order) => order.withdraw));
  }

  private async work(todo: LandingOrder[]): Promise<void> {
    const withdrawn = todo.find((order) => order.withdraw);
    const { withdraw } = proxyActivities<ControlActivities>({
      ...options,
      summary: `withdraw ${withdrawn?.task ?? ''}`,
    });
    const done = withdrawn
      ? [await withdraw({ role: this.role, order: withdrawn })]
      : await this.land(todo.slice(0, BATCH));
    for (const { deploy, ...result } of done) {
      const order = todo.find((other) => other.id === result.id);
      this.results.push(
        deploy && order && result.kind === 'landed' ? await this.deploy(order, result) : result,
      );
    }
    if (done.length > 0) this.owed = true;
    const { continueAsNewSuggested, historyLength } = workflowInfo();
    if (continueAsNewSuggested || historyLength > HISTORY_LIMIT) {
      if (this.owed) await this.report();
      await this.continueAsNew();
    }
  }

  /** Lands a batch; a withdrawal that comes meanwhile stops the activity, and the ledger tells how far it came. */
  private async land(batch: LandingOrder[]): Promise<Landed[]> {
    const names = batch.map((order) => order.task);
    this.doing = names;
    const { land } = proxyActivities<ControlActivities>({
      ...options,
      summary:
        names.length === 1
          ? `land ${names[0]}`
          : `land ${names.length} tasks: ${names.join(', ').slice(0, 150)}`,
    });
    const scope = new CancellationScope();
    let stopped = false;
    let over: { results: Landed[] } | { error: unknown } | undefined;
    void scope
      .run(() => land({ role: this.role, orders: batch }))
      .then(
        (results) => {
          over = { results };
        },
        (error: unknown) => {
          over = { error };
        },
      );
    const ids = new Set(batch.map((order) => order.id));
    const wanted = () => this.orders?.landings.some((order) => order.withdraw && ids.has(order.id)) === true;
    while (!over) {
      await condition(() => over !== undefined || this.woken || this.owed || wanted());
      if (!over) await this.answer();
      if (!over && wanted()) {
        stopped = true;
        scope.cancel();
        await condition(() => over !== undefined);
      }
    }
    this.doing = [];
    const ended = over as { results: Landed[] } | { error: unknown };
    if ('results' in ended) return ended.results;
    // However it ended, on a worker that died perhaps: the ledger tells how far it came.
    if (stopped || isCancellation(ended.error)) return [];
    throw ended.error;
  }

  private async deploy(
    order: LandingOrder,
    result: Extract<LandingResult, { kind: 'landed' }>,
  ): Promise<LandingResult> {
    const { deploy } = proxyActivities<ControlActivities>({
      ...options,
      summary: `deploy ${order.task} and verify its surface`,
    });
    const deployed = await deploy({ role: this.role, order, commit: result.commit });
    if (deployed.ok) return result;
    const { code, text } = deployed;
    this.frozen = { text: `${order.task}: ${text}`.slice(0, 2_000) };
    return { id: order.id, kind: 'rolled-back', code, text };
  }

  /** After a signal. */
  private async answer(): Promise<void> {
    const { woken } = this;
    this.woken = false;
    if (this.owed) await this.report();
    else if (woken) await mark();
  }

  private async report(): Promise<void> {
    this.owed = false;
    this.number += 1;
    const { role, life, number, results, fleet } = this;
    const [own, now] = [this.ownFreeze(), Date.now()];
    await tell({
      kind: 'writer',
      role,
      life,
      number,
      results,
      ...(own ? { frozen: told(own, now) } : {}),
      ...(fleet ? { fleet: wordTold(fleet, now) } : {}),
    });
  }

  private show(todo: LandingOrder[]): void {
    const state = this.isFrozen() ? `**frozen** ${this.freezeText()}` : 'running';
    const lines = todo
      .slice(0, 20)
      .map((order) => `- ${order.task}${order.withdraw ? ' (to be withdrawn)' : ''}`);
    setCurrentDetails(
      [`Writer of role **${this.role}**: ${state}`, '', `${todo.length} landings to do`, ...lines].join('\n'),
    );
  }

  private async continueAsNew(): Promise<void> {
    const { life, number, orders, results, frozen, asked, fleet: word } = this;
    const { fleet, role } = this.input;
    const carried = {
      life,
      number,
      results,
      ...(orders ? { orders } : {}),
      ...(frozen ? { frozen } : {}),
      ...(asked ? { asked } : {}),
      ...(word ? { fleet: word } : {}),
    };
    await continueAsNew<typeof writer>({ fleet, role, carried });
  }
}
