// The claim of a person, or of an agent that Signalbox did not launch. It announces itself, holds for its lease, is
// renewed under its fence, and ends when it is released, refused or over. It runs no agent: what it guards is the word
// that it was given, over every death of the coordinator. Time goes into what it says, never into what it does, for a
// replay may read another one (see coordinator.ts).

import {
  ApplicationFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  defineUpdate,
  proxyLocalActivities,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { TaskActivities } from '../activities/index.js';
import { compareFences, type Fence, fenceText, lifeOf } from '../src/domain/fence.js';
import { QUERY, RENEW, SEARCH, SIGNAL } from '../src/domain/ids.js';
import type { HandReport, Outcome, Standing } from '../src/domain/messages.js';
import { BadPattern, parsePattern } from '../src/domain/paths.js';
import { explain } from '../src/domain/reasons.js';
import type { HandState, Renewal } from '../src/domain/views.js';
import { LOCAL } from './local.js';

export type Hand = Pick<HandReport, 'id' | 'by' | 'repository' | 'writes' | 'lease' | 'note' | 'wait'>;

export interface HandInput {
  fleet: string;
  hand: Hand;
  carried?: {
    life: string;
    number: number;
    lease: number;
    renewed: number;
    until: number;
    fence?: Fence;
    standing?: Standing;
    epoch?: number;
  };
}

export const standingSignal = defineSignal<[Standing]>(SIGNAL.standing);
export const announceSignal = defineSignal<[number?]>(SIGNAL.announce);
export const releaseSignal = defineSignal<[{ by?: string }]>(SIGNAL.release);
export const renewUpdate = defineUpdate<{ fence: string; lease: number }, [Renewal]>(RENEW);
export const handQuery = defineQuery<HandState>(QUERY.hand);

const HISTORY_LIMIT = 1_000;

const { tell } = proxyLocalActivities<TaskActivities>(LOCAL);

export async function handClaim(input: HandInput): Promise<Outcome> {
  const run = new HandRun(input);
  CancellationScope.current().cancelRequested.catch(() => run.release('Temporal'));
  return await CancellationScope.nonCancellable(() => run.toTheEnd());
}

/** A renewal that is not answered yet would be lost with this run. */
function isFull(): boolean {
  const { continueAsNewSuggested, historyLength } = workflowInfo();
  return (continueAsNewSuggested || historyLength > HISTORY_LIMIT) && allHandlersFinished();
}

const refused = (message: string) =>
  ApplicationFailure.create({ type: 'Refused', nonRetryable: true, message });

class HandRun {
  private readonly hand: Hand;
  private readonly life: string;
  private number: number;
  private lease: number;
  private renewed: number;
  /** When the lease ends, by this workflow's clock, in milliseconds. */
  private until: number;
  /** The lease has begun anew: `until` is to be set. */
  private anew = false;
  /** Renewals that the coordinator has not answered. */
  private renewing = 0;
  private fence: Fence | undefined;
  private standing: Standing | undefined;
  private epoch: number | undefined;
  private released: { by: string } | undefined;
  private owed: boolean;
  private shown = '';

  constructor(private readonly input: HandInput) {
    const { hand, carried } = input;
    this.hand = hand;
    this.life = carried?.life ?? lifeOf(workflowInfo());
    this.number = carried?.number ?? 0;
    this.lease = carried?.lease ?? hand.lease;
    this.renewed = carried?.renewed ?? 0;
    this.until = carried?.until ?? 0;
    this.fence = carried?.fence;
    this.standing = carried?.standing;
    this.epoch = carried?.epoch;
    this.owed = carried === undefined;
    this.refuseNonsense();
    this.listen();
  }

  private refuseNonsense(): void {
    const { writes, lease } = this.hand;
    try {
      for (const claim of writes) parsePattern(claim);
      if (writes.length === 0 || !(lease > 0)) throw new BadPattern('nothing is claimed, or for no time');
    } catch (error) {
      if (error instanceof BadPattern) throw refused(error.message);
      throw error;
    }
  }

  private listen(): void {
    setHandler(standingSignal, (standing) => this.hear(standing));
    setHandler(announceSignal, (epoch) => {
      this.owed = true;
      if (typeof epoch === 'number') this.epoch = Math.max(this.epoch ?? 0, epoch);
    });
    setHandler(releaseSignal, (request) => this.release(String(request?.by ?? 'somebody')));
    setHandler(handQuery, () => this.state());
    setHandler(renewUpdate, (renewal) => this.renew(renewal));
  }

  private hear(standing: Standing): void {
    const known = this.standing;
    if (standing.life !== this.life || standing.epoch < (this.epoch ?? 0)) return;
    if (known && standing.epoch === known.epoch && standing.number <= known.number) return;
    this.epoch = standing.epoch;
    this.standing = standing;
    const { fence, phase } = standing;
    if (phase !== 'running' || !fence) return;
    if (this.fence && compareFences(fence, this.fence) <= 0) return;
    this.fence = fence;
    this.anew = true;
  }

  release(by: string): void {
    this.released ??= { by };
    this.owed = true;
  }

  /** Resolves when the coordinator has heard of it: until then the lease may have run out all the same. */
  private async renew({ fence, lease }: Renewal): Promise<{ fence: string; lease: number }> {
    const own = this.fence && fenceText(this.fence);
    if (own === undefined) throw refused(`${this.hand.id} waits, and holds nothing that could be renewed`);
    if (fence !== undefined && fence !== own)
      throw refused(`${this.hand.id} holds under fence ${own}: ${fence} is not its fence`);
    if (lease !== undefined && lease > 0) this.lease = lease;
    this.renewed += 1;
    this.renewing += 1;
    this.owed = true;
    const number = this.number + 1;
    await condition(() => this.standing?.outcome !== undefined || (this.standing?.heard ?? 0) >= number);
    this.renewing -= 1;
    this.anew = true;
    const { outcome } = this.standing ?? {};
    if (outcome) throw refused(`${this.hand.id} is over: ${outcome.text}`);
    return { fence: own, lease: this.lease };
  }

  async toTheEnd(): Promise<Outcome> {
    for (;;) {
      if (this.anew) this.until = Date.now() + this.lease;
      this.anew = false;
      this.show();
      const outcome = this.standing?.outcome;
      if (outcome) {
        await condition(allHandlersFinished);
        return outcome;
      }
      if (this.owed) {
        await this.announce();
      } else if (isFull()) {
        await this.continueAsNew();
      } else {
        const { standing } = this;
        await condition(() => this.owed || this.anew || this.standing !== standing || isFull());
      }
    }
  }

  private async announce(): Promise<void> {
    this.owed = false;
    this.number += 1;
    const { hand, life, number, lease, renewed, renewing, until, fence, epoch, released } = this;
    await tell({
      kind: 'hand',
      ...hand,
      life,
      number,
      lease,
      renewed,
      // To a coordinator that has not heard of it before, a renewal that it is asked for counts in full.
      ...(fence ? { fence, left: renewing > 0 ? lease : Math.max(0, until - Date.now()) } : {}),
      ...(epoch === undefined ? {} : { epoch }),
      ...(released ? { released } : {}),
    });
  }

  private state(): HandState {
    const { hand, standing, fence } = this;
    const { code, evidence } = standing?.decision ?? { code: 'RECOVERING' as const, evidence: {} };
    const phase = standing?.phase === 'ended' ? 'ended' : standing?.phase === 'running' ? 'running' : 'held';
    return {
      id: hand.id,
      writes: hand.writes,
      phase,
      code,
      why: explain(code, evidence),
      heard: standing !== undefined,
      ...(hand.repository ? { repository: hand.repository } : {}),
      ...(evidence.holder ? { holder: evidence.holder } : {}),
      ...(fence ? { fence: fenceText(fence) } : {}),
      ...(standing?.outcome ? { outcome: standing.outcome } : {}),
    };
  }

  private show(): void {
    const { id, writes, by, note } = this.hand;
    const { phase, why, holder, fence, outcome } = this.state();
    const state = outcome?.kind ?? phase;
    if (state !== this.shown)
      upsertSearchAttributes({
        [SEARCH.fleet]: [this.input.fleet],
        [SEARCH.state]: [state],
        [SEARCH.holder]: holder && phase === 'held' ? [holder] : [],
      });
    this.shown = state;
    const paths = writes.map((path) => `\`${path}\``).join(', ');
    const lines = [
      `### ${id}: ${state}`,
      '',
      `${paths}, claimed by **${by}**${note ? `: ${note}` : ''}`,
      '',
      why,
    ];
    setCurrentDetails([...lines, ...(fence ? ['', `fence ${fence}`] : [])].join('\n').slice(0, 10_000));
  }

  private async continueAsNew(): Promise<void> {
    const { life, number, lease, renewed, until, fence, standing, epoch } = this;
    await continueAsNew<typeof handClaim>({
      ...this.input,
      carried: {
        life,
        number,
        lease,
        renewed,
        until,
        ...(fence ? { fence } : {}),
        ...(standing ? { standing } : {}),
        ...(epoch === undefined ? {} : { epoch }),
      },
    });
  }
}
