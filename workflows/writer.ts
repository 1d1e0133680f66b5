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
import { SIGNAL } from '../src/domain/ids.js';
import type { LandingOrder, LandingResult, Orders } from '../src/domain/messages.js';

export interface WriterInput {
  fleet: string;
  role: string;
  carried?: {
    life: string;
    number: number;
    orders?: Orders;
    results: LandingResult[];
    frozen?: { text: string };
  };
}

export const ordersSignal = defineSignal<[Orders]>(SIGNAL.orders);
export const announceSignal = defineSignal(SIGNAL.announce);
export const resumeSignal = defineSignal<[{ by?: string }]>(SIGNAL.resume);
export const writerQuery = defineQuery<{ frozen?: string; landings: string[]; results: LandingResult[] }>(
  'state',
);

const HISTORY_LIMIT = 2_000;
/** Landings that one activity gets: it does as many of them as go quickly. */
const BATCH = 20;

const { tell } = proxyLocalActivities<ControlActivities>({
  startToCloseTimeout: '30s',
  localRetryThreshold: '1m',
  retry: { initialInterval: '200ms', maximumInterval: '20s' },
});

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
  private frozen: { text: string } | undefined;
  private owed: boolean;
  private doing: string[] = [];

  constructor(private readonly input: WriterInput) {
    const { carried } = input;
    this.role = input.role;
    this.life = carried?.life ?? `${Date.now()}.${workflowInfo().runId}`;
    this.number = carried?.number ?? 0;
    this.orders = carried?.orders;
    this.results = carried?.results ?? [];
    this.frozen = carried?.frozen;
    this.owed = carried === undefined;
    setHandler(ordersSignal, (orders) => this.take(orders));
    setHandler(announceSignal, () => {
      this.owed = true;
    });
    setHandler(resumeSignal, () => {
      this.owed ||= this.frozen !== undefined;
      this.frozen = undefined;
    });
    setHandler(writerQuery, () => ({
      landings: this.doing,
      results: this.results,
      ...(this.frozen ? { frozen: this.frozen.text } : {}),
    }));
  }

  private take(orders: Orders): void {
    const known = this.orders;
    if (
      known &&
      (orders.epoch < known.epoch || (orders.epoch === known.epoch && orders.number <= known.number))
    )
      return;
    this.orders = orders;
    // What is no longer on the orders has been heard of.
    const wanted = new Set(orders.landings.map((order) => order.id));
    this.results = this.results.filter((result) => wanted.has(result.id));
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
    if (!this.input.carried) await takeOver(this.role);
    for (;;) {
      if (this.owed) await this.report();
      const todo = this.todo();
      this.show(todo);
      if (todo.length > 0 && !(this.frozen && todo.every((order) => !order.withdraw))) {
        await this.work(todo);
      } else {
        const { continueAsNewSuggested, historyLength } = workflowInfo();
        if (continueAsNewSuggested || historyLength > HISTORY_LIMIT) await this.continueAsNew();
        await condition(() => this.owed || this.hasWork());
      }
    }
  }

  private hasWork(): boolean {
    const todo = this.todo();
    return todo.length > 0 && (this.frozen === undefined || todo.some((order) => order.withdraw));
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
      await condition(() => over !== undefined || this.owed || wanted());
      if (!over && this.owed) await this.report();
      if (!over && wanted()) {
        scope.cancel();
        await condition(() => over !== undefined);
      }
    }
    this.doing = [];
    const ended = over as { results: Landed[] } | { error: unknown };
    if ('results' in ended) return ended.results;
    if (isCancellation(ended.error)) return [];
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

  private async report(): Promise<void> {
    this.owed = false;
    this.number += 1;
    const { role, life, number, results, frozen } = this;
    await tell({ kind: 'writer', role, life, number, results, ...(frozen ? { frozen } : {}) });
  }

  private show(todo: LandingOrder[]): void {
    const state = this.frozen ? `**frozen**: ${this.frozen.text}` : 'running';
    const lines = todo
      .slice(0, 20)
      .map((order) => `- ${order.task}${order.withdraw ? ' (to be withdrawn)' : ''}`);
    setCurrentDetails(
      [`Writer of role **${this.role}**: ${state}`, '', `${todo.length} landings to do`, ...lines].join('\n'),
    );
  }

  private async continueAsNew(): Promise<void> {
    const { life, number, orders, results, frozen } = this;
    const { fleet, role } = this.input;
    const carried = { life, number, results, ...(orders ? { orders } : {}), ...(frozen ? { frozen } : {}) };
    await continueAsNew<typeof writer>({ fleet, role, carried });
  }
}
