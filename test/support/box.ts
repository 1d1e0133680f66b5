// A coordinator without a server, and short words for what tasks, writers, workers and persons say to it.

import type { Rules } from '../../src/domain/config.js';
import { decide, type Event, nextDeadline } from '../../src/domain/decide.js';
import type { Fence } from '../../src/domain/fence.js';
import type { FleetWord, FreezeReport } from '../../src/domain/freeze.js';
import type {
  AttemptResult,
  CancelRequest,
  FailureCode,
  HandReport,
  LandingResult,
  Orders,
  PlanRef,
  TaskFacts,
  TaskReport,
} from '../../src/domain/messages.js';
import { explain } from '../../src/domain/reasons.js';
import { freshState, type State, type TaskRecord } from '../../src/domain/state.js';
import { landingId, type Taken } from '../../src/domain/transitions.js';
import { takeOrders } from '../../src/domain/views.js';
import { RULES } from './fleet-model.js';

export const MINUTE = 60_000;

export type Said = Partial<Omit<TaskReport, 'facts' | 'plan'>> & {
  facts?: Partial<TaskFacts>;
  plan?: PlanRef;
};

/** A coordinator, and how tasks, writers and people talk to it. Tasks are named as in `s/a`. */
export class Box {
  now = 1_000_000;
  state: State;
  readonly taken: Taken[] = [];
  private readonly numbers = new Map<string, number>();
  private readonly reports = new Map<string, TaskReport>();
  private readonly hands = new Map<string, HandReport>();
  private lives = 0;

  private batch: Event[] | undefined;

  constructor(rules: Partial<Rules> = {}, recovering = false) {
    this.state = freshState({ ...RULES, ...rules }, this.now);
    if (!recovering) this.tell({ kind: 'surveyed', live: [], last: true });
  }

  tell(...events: Event[]): Taken[] {
    if (this.batch) {
      this.batch.push(...events);
      return [];
    }
    const taken = decide(this.state, events, this.now);
    this.taken.push(...taken);
    return taken;
  }

  /** What is said meanwhile comes to the coordinator all at once. */
  together(say: () => void): Taken[] {
    const batch: Event[] = [];
    this.batch = batch;
    say();
    this.batch = undefined;
    return this.tell(...batch);
  }

  number(of: string): number {
    const next = (this.numbers.get(of) ?? 0) + 1;
    this.numbers.set(of, next);
    return next;
  }

  /** The task's whole state: what it said last, with what has changed. */
  task(id: string, said: Said = {}): Taken[] {
    const last = this.reports.get(id);
    const report: TaskReport = {
      kind: 'task',
      id,
      life: '1.run',
      plan: { id: 's' },
      epoch: this.state.epoch,
      attempt: 1,
      at: 'waiting',
      ...last,
      ...said,
      facts: { writes: [], reads: [], after: [], ...last?.facts, ...said.facts },
      number: said.number ?? this.number(id),
    };
    this.reports.set(id, report);
    return this.tell(report);
  }

  writes(id: string, writes: string[], facts: Partial<TaskFacts> = {}, said: Said = {}): Taken[] {
    return this.task(id, { ...said, facts: { role: 'dev', writes, ...facts } });
  }

  reads(id: string, facts: Partial<TaskFacts> = {}, said: Said = {}): Taken[] {
    return this.task(id, { ...said, facts });
  }

  runs(id: string): Taken[] {
    return this.task(id, { at: 'running', attempt: this.record(id).attempt, fence: this.fence(id) });
  }

  stops(id: string, result: AttemptResult, fence = this.fence(id)): Taken[] {
    return this.task(id, { at: 'stopped', attempt: this.record(id).attempt, fence, result });
  }

  commits = (id: string, dead = true): Taken[] =>
    this.stops(id, { kind: 'commits', dead, base: 'b', commit: `commit-of-${id}`, ref: 'r' });
  done = (id: string): Taken[] => this.stops(id, { kind: 'done', dead: true });
  fails = (
    id: string,
    code: FailureCode = 'AGENT_FAILED',
    more: { dead?: boolean; final?: boolean } = {},
  ): Taken[] => this.stops(id, { kind: 'failed', dead: true, code, text: 'oops', ...more });
  cancel = (id: string, cancel: CancelRequest = { code: 'CANCELLED_BY_REQUEST', by: 'ann' }): Taken[] =>
    this.task(id, { cancel });

  writer(
    results: LandingResult[] = [],
    more: { role?: string; life?: string; frozen?: FreezeReport; fleet?: FleetWord } = {},
  ): Taken[] {
    const role = more.role ?? 'dev';
    return this.tell({
      kind: 'writer',
      life: '1.run',
      number: this.number(`writer ${role}`),
      results,
      ...more,
      role,
    });
  }

  orders = (role = 'dev'): Orders => takeOrders(this.state, role, this.now);
  lands = (id: string): Taken[] =>
    this.writer([
      { id: landingId(this.record(id)), kind: 'landed', commit: 'landed-commit', entry: 1, behind: 0 },
    ]);
  withdrawn = (id: string): Taken[] => this.writer([{ id: landingId(this.record(id)), kind: 'withdrawn' }]);
  refuses = (
    id: string,
    code: 'LANDING_CONFLICT' | 'VERIFY_FAILED' | 'OUTSIDE_CLAIM' | 'LANDING_REFUSED',
  ): Taken[] => this.writer([{ id: landingId(this.record(id)), kind: 'refused', code, text: 'no' }]);

  /** A claim of a person; without paths it is released. Claimed again it has a life of its own. */
  hand(id: string, writes: string[], more: Partial<HandReport> = {}): Taken[] {
    const last = this.hands.get(id);
    const anew = writes.length > 0 && (last === undefined || this.state.tasks.get(id)?.phase === 'ended');
    const report: HandReport = {
      kind: 'hand',
      id,
      life: `${anew ? ++this.lives : (last?.life ?? ++this.lives)}`,
      by: 'ann',
      lease: 10 * MINUTE,
      wait: false,
      epoch: this.state.epoch,
      ...(anew ? {} : last),
      ...(writes.length > 0 ? { writes } : { writes: last?.writes ?? ['nothing'], released: { by: 'ann' } }),
      ...more,
      number: more.number ?? this.number(id),
    };
    this.hands.set(id, report);
    return this.tell(report);
  }

  /** A person freezes the fleet, or resumes it. */
  fleet = (freeze?: FreezeReport, number = this.number('fleet')): Taken[] =>
    this.tell({ kind: 'fleet', number, ...(freeze ? { freeze } : {}) });
  issue = (key: string, state: string, number = this.number(key)): Taken[] =>
    this.tell({ kind: 'issue', key, state, number });
  renew = (id: string, fence = this.fence(id)): Taken[] =>
    this.tell({ kind: 'worker', renew: [{ task: id, fence }], dead: [] });
  dead = (id: string, fence = this.fence(id)): Taken[] =>
    this.tell({ kind: 'worker', renew: [], dead: [{ task: id, fence }] });

  /** Time passes, and decide is asked whenever it wants to be. */
  pass(ms: number): Taken[] {
    const until = this.now + ms;
    const taken: Taken[] = [];
    for (
      let next = nextDeadline(this.state);
      next !== undefined && next <= until;
      next = nextDeadline(this.state)
    ) {
      this.now = Math.max(this.now, next);
      taken.push(...this.tell({ kind: 'tick' }));
    }
    this.now = until;
    return taken;
  }

  record(id: string): TaskRecord {
    const record = this.state.tasks.get(id);
    if (!record) throw new Error(`nobody knows ${id}`);
    return record;
  }

  fence(id: string): Fence {
    const { fence } = this.record(id);
    if (!fence) throw new Error(`${id} was never granted`);
    return fence;
  }

  phase = (id: string) => this.record(id).phase;
  /** The reason for the task's state: of its outcome, its hold, or its last decision. */
  why = (id: string) => {
    const { outcome, hold, decisions } = this.record(id);
    return outcome?.code ?? hold?.code ?? decisions.at(-1)?.code;
  };
  sentence = (id: string): string => {
    const last = this.record(id).hold ?? this.record(id).decisions.at(-1);
    return last ? explain(last.code, last.evidence) : '';
  };
}
