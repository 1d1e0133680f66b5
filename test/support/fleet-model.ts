// A simulated fleet around decide: tasks, their agents, workers, writers and a network that loses, doubles, delays and
// reorders. It keeps its own truth (which agents live, what the ledger says) and checks decide against it after
// every event. What the real workflows must do is done here in the same way:
//
// - A task reports its whole state under a rising number at each change and on a slow timer. It starts an agent when
//   it is told `running` under a fence newer than any it ran under; told `stopping` under a fence it never started, it
//   answers `stopped` under that fence; told `held` with a later attempt, it goes back to waiting; told `ended`, it closes.
// - A running task may ask for more paths, one asking at a time, and give some back. It takes the answer to what it asks
//   for at that moment and no other; told `retry` it claims all the paths once its agent was seen to end.
// - A worker renews the leases of its live agents and kills an agent at its lease's end.
// - A writer works on the orders it was told last, asks the ledger first, and repeats its results until they are
//   taken off its orders.

import fc from 'fast-check';
import type { Assumption, Finding, OnBroken } from '../../src/domain/assumptions.js';
import type { AuditInput } from '../../src/domain/audit.js';
import { openCircuits } from '../../src/domain/circuits.js';
import type { Rules } from '../../src/domain/config.js';
import { checksOf } from '../../src/domain/decide/assume.js';
import { lookupsOf, submittedWith } from '../../src/domain/decide/plans.js';
import { decide, type Event, nextDeadline } from '../../src/domain/decide.js';
import { compareFences, type Fence, fenceText, sameFence } from '../../src/domain/fence.js';
import {
  type FleetWord,
  type FreezeRecord,
  isOver,
  kept,
  told,
  wordKept,
  wordTold,
} from '../../src/domain/freeze.js';
import { findCycle } from '../../src/domain/graph.js';
import type { LedgerEntry } from '../../src/domain/ledger.js';
import type {
  AttemptResult,
  CancelRequest,
  Edge,
  Extend,
  FailureCode,
  IssueReport,
  LandingOrder,
  LandingResult,
  Orders,
  Outcome,
  RefusalCode,
  Standing,
  TaskFacts,
  TaskReport,
} from '../../src/domain/messages.js';
import { UNNUMBERED } from '../../src/domain/messages.js';

import { overlaps, type Pattern, parsePattern } from '../../src/domain/paths.js';
import { reservationAt } from '../../src/domain/reservation.js';
import type { Use } from '../../src/domain/resources.js';
import {
  type CarriedState,
  carry,
  freshState,
  type OpenCircuit,
  restore,
  runningOfKind,
  type State,
  type TaskRecord,
} from '../../src/domain/state.js';
import { landingId, type Taken } from '../../src/domain/transitions.js';
import { packetOf, standingOf, takeOrders } from '../../src/domain/views.js';
import { BusyWatch } from './busy-model.js';
import { SimHand } from './hand-model.js';

export const RULES: Rules = {
  fleet: 'f',
  roles: {
    dev: { repository: 'app', maxRunning: 2 },
    ops: { repository: 'app', maxRunning: 1 },
    site: { repository: 'web', maxRunning: 2 },
  },
  repositories: { app: { caseInsensitive: false }, web: { caseInsensitive: true } },
  defaultRepository: 'app',
  agents: { sh: {}, big: { maxRunning: 1 } },
  defaultAgent: 'sh',
  resources: {
    'db:orders': { role: 'dev', capacity: 1, shared: true },
    'pipe:web': { role: 'dev', capacity: 2, shared: false },
    'api:mail': { role: 'dev', capacity: 9, shared: true, rate: { count: 2, window: 10_000, text: '2/10s' } },
  },
  ceiling: 3,
  lease: 60_000,
  lockDelay: 5_000,
  pinned: { backoff: 20_000, landing: 90_000 },
  planTimeout: 120_000,
  reserveAfter: 20_000,
  retry: { attempts: 2, backoff: 1_000, maxBackoff: 10_000 },
  breaker: { failures: 3, spawnFailures: 2, window: 10_000, coolDown: 5_000 },
  issues: { closed: 'cancel', paused: 'hold' },
};

// ---- what a run is made of

export interface Spec {
  plan: 'p' | 'q' | 'single';
  role?: string;
  writes: string[];
  /** Positions of other specs; out of range: a task that nobody submits. */
  after: number[];
  /** It takes over from the first of them, where that has the same role. */
  takesOver?: true;
  issue?: string;
  attempts?: number;
  /** A file of the branch that it assumes to be as it was when the task was submitted, or as it never was. */
  assumes?: { path: string; never: boolean };
  reads?: string[];
  onBroken?: OnBroken;
  agent?: string;
  uses?: Use[];
  lease?: number;
  ifBusy?: 'fail';
}

export type Op =
  | { do: 'submit' | 'announce' | 'sweep' | 'flush' | 'carry' | 'renew' | 'restart' | 'survey' | 'settle' }
  | { do: 'deliver'; pick: number; fate: 'once' | 'once more' | 'lost' }
  | { do: 'deliver together'; most: number }
  | { do: 'pass'; ms: number }
  | { do: 'agent'; pick: number; how: number; dead: boolean }
  | { do: 'write'; pick: number; how: number }
  | { do: 'thaw' | 'kill writer'; pick: number }
  | { do: 'cancel'; pick: number }
  | { do: 'push'; pick: number }
  | { do: 'block'; pick: number; on: number }
  | { do: 'extend'; pick: number; path: string; wait: boolean }
  | { do: 'go without' | 'give back'; pick: number }
  | { do: 'terminate'; pick: number; again: boolean }
  | { do: 'see dead'; pick: number }
  | { do: 'freeze'; thaw: boolean; ms?: number }
  | { do: 'issue'; pick: number; state: string }
  | { do: 'rules'; ceiling: number; pausedGoes: boolean }
  | { do: 'claim' | 'release' | 'renew claim' | 'terminate claim'; pick: number; wait: boolean };

const PATHS = [
  ...['a', 'a/b', 'a/b/c', 'b', 'b/c', ':(glob)**/c', ':(glob)a/*', ':(glob)*/b/**', '.'],
  // In `web`, `A` is `a`; in `app` it is not.
  ...['A', ':(glob)[!a]/b', 'app:a', 'web:a', 'web:B/c', 'web::(glob)?/[A-C]'],
];
const ISSUES = ['I-1', 'I-2'];
const USES: Use[] = [
  { resource: 'db:orders', mode: 'exclusive' },
  { resource: 'db:orders', mode: 'shared' },
  { resource: 'pipe:web', mode: 'exclusive' },
  { resource: 'api:mail', mode: 'exclusive' },
  { resource: 'api:mail', mode: 'shared' },
];
/** Files that tasks assume something of; PATHS cover them. */
const FILES = ['a/b/c', 'b/c'];
const HANDS = ['hand/ann', 'hand/bob'];

const spec: fc.Arbitrary<Spec> = fc
  .record({
    plan: fc.constantFrom('p', 'p', 'q', 'single'),
    role: fc.constantFrom('dev', 'dev', 'ops', 'site', undefined),
    writes: fc.uniqueArray(fc.constantFrom(...PATHS), { maxLength: 3, minLength: 1 }),
    after: fc.uniqueArray(fc.integer({ min: 0, max: 11 }), { maxLength: 2 }),
    takesOver: fc.constantFrom(undefined, true),
    issue: fc.constantFrom(undefined, undefined, ...ISSUES),
    attempts: fc.constantFrom(undefined, 1, 3),
    assumes: fc.option(
      fc.record({ path: fc.constantFrom(...FILES), never: fc.constantFrom(false, false, false, true) }),
      { nil: undefined, freq: 3 },
    ),
    reads: fc.constantFrom<string[] | undefined>(undefined, undefined, ['a'], [':(glob)**/c']),
    onBroken: fc.constantFrom<OnBroken | undefined>(undefined, 'continue', 'retry', 'cancel'),
    agent: fc.constantFrom(undefined, undefined, 'big'),
    uses: fc.uniqueArray(fc.constantFrom(...USES), { maxLength: 2, selector: (use) => use.resource }),
    lease: fc.constantFrom(undefined, undefined, 20_000),
    ifBusy: fc.constantFrom(undefined, undefined, 'fail'),
  })
  .map(({ role, issue, attempts, lease, writes, agent, uses, ifBusy, takesOver, ...rest }) => ({
    ...rest,
    writes: role ? writes : [],
    uses: uses.filter(({ mode }) => mode === 'shared' || role === 'dev'),
    ...(agent ? { agent } : {}),
    ...(role ? { role } : {}),
    ...(issue ? { issue } : {}),
    ...(attempts ? { attempts } : {}),
    ...(lease ? { lease } : {}),
    ...(ifBusy ? { ifBusy } : {}),
    ...(takesOver ? { takesOver } : {}),
  })) as fc.Arbitrary<Spec>;

export const specs = (): fc.Arbitrary<Spec[]> =>
  fc.array(spec, { minLength: 3, maxLength: 10 }).map((list) =>
    // Mostly edges to earlier tasks, now and then forward (a circle may follow) or to nobody.
    list
      .map((one, i) => ({
        ...one,
        after:
          i === 0 ? [] : one.after.map((to) => (to < 10 ? to % i : to === 10 ? (i + 1) % list.length : 99)),
      }))
      .map((one, _, all) => takingOver(one, all[one.after[0] ?? -1])),
  );

/** Whoever takes over has the role of the other, and its claims, as a plan demands. */
const takingOver = (one: Spec, from: Spec | undefined): Spec =>
  one.takesOver && from?.role
    ? { ...one, plan: from.plan, role: from.role, writes: from.writes, uses: from.uses ?? [] }
    : one;

const pick = fc.nat({ max: 30 });

/** `faults` false: no message is lost, doubled or late, nobody is killed, no time runs away. */
export const ops = (faults: boolean): fc.Arbitrary<Op[]> => {
  const plain: fc.WeightedArbitrary<Op>[] = [
    { weight: 8, arbitrary: fc.constant({ do: 'submit' }) },
    {
      weight: 12,
      arbitrary: fc.record({
        do: fc.constant('agent' as const),
        pick,
        how: fc.nat({ max: 9 }),
        dead: fc.boolean(),
      }),
    },
    {
      weight: 10,
      arbitrary: fc.record({ do: fc.constant('write' as const), pick, how: fc.nat({ max: 11 }) }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('extend' as const),
        pick,
        path: fc.constantFrom(...PATHS),
        wait: fc.boolean(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constantFrom('go without' as const, 'give back' as const), pick }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('thaw' as const), pick }) },
    {
      weight: 3,
      arbitrary: fc
        .record({
          do: fc.constant('freeze' as const),
          thaw: fc.boolean(),
          ms: fc.constantFrom(undefined, 700, 8_000),
        })
        .map(({ ms, ...rest }) => ({ ...rest, ...(ms ? { ms } : {}) })),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), pick }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('push' as const), pick }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('block' as const), pick, on: fc.nat({ max: 11 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('issue' as const),
        pick,
        state: fc.constantFrom('open', 'paused', 'paused', 'closed'),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom('claim', 'claim', 'release', 'renew claim'),
        pick,
        wait: fc.boolean(),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('rules' as const),
        ceiling: fc.integer({ min: 1, max: 4 }),
        pausedGoes: fc.boolean(),
      }),
    },
    { weight: 2, arbitrary: fc.constant({ do: 'flush' }) },
    { weight: 6, arbitrary: fc.constant({ do: 'settle' }) },
    {
      weight: 8,
      arbitrary: fc.record({
        do: fc.constant('deliver together' as const),
        most: fc.integer({ min: 2, max: 6 }),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 500, 3_000) }),
    },
    { weight: 3, arbitrary: fc.constant({ do: 'carry' }) },
  ];
  const bad: fc.WeightedArbitrary<Op>[] = [
    {
      weight: 40,
      arbitrary: fc.record({
        do: fc.constant('deliver' as const),
        pick,
        fate: fc.constantFrom('once', 'once', 'once', 'once', 'once more', 'lost'),
      }),
    },
    { weight: 4, arbitrary: fc.constant({ do: 'announce' }) },
    { weight: 5, arbitrary: fc.constant({ do: 'renew' }) },
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(5_000, 20_000, 62_000) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('terminate' as const), pick, again: fc.boolean() }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('terminate claim' as const), pick, wait: fc.constant(false) }),
    },
    { weight: 3, arbitrary: fc.constant({ do: 'sweep' }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('see dead' as const), pick }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('kill writer' as const), pick }) },
    { weight: 1, arbitrary: fc.constant({ do: 'restart' }) },
    { weight: 3, arbitrary: fc.constant({ do: 'survey' }) },
  ];
  return fc.array(fc.oneof(...plain, ...(faults ? bad : [])), { minLength: 50, maxLength: 160 });
};

// ---- the truth

export interface SimTask {
  id: string;
  spec: Spec;
  life: string;
  facts: TaskFacts;
  number: number;
  attempt: number;
  at: TaskReport['at'];
  fence?: Fence;
  result?: AttemptResult;
  cancel?: CancelRequest;
  asked: number;
  extend?: Extend;
  /** With which paths it starts again, once it has been stopped for that. */
  more?: string[];
  /** The newest standing it has taken. */
  told?: { epoch: number; number: number };
  /** The newest coordinator it has heard of. */
  epoch?: number;
  stopping?: boolean;
  /** Its worker has told the coordinator how the attempt ended, and died before the task heard. */
  unheard?: boolean;
  closed: boolean;
  terminated: boolean;
  outcome?: Outcome;
}

interface Agent {
  task: string;
  life: string;
  fence: Fence;
  patterns: Placed[];
  uses: Use[];
  alive: boolean;
  /** False when its worker has lost sight of it: nobody renews for it. */
  seen: boolean;
  lease: number;
  leaseEnd: number;
}

interface SimWriter {
  role: string;
  life: string;
  number: number;
  frozen?: FreezeRecord;
  fleet?: FleetWord<FreezeRecord>;
  told?: { epoch: number; number: number };
  orders: LandingOrder[];
  results: Map<string, LandingResult>;
}

type Letter =
  | { to: 'coordinator'; event: Event; line?: number; sentAt?: number }
  | { to: 'task'; id: string; standing: Standing; leaseEnd: number }
  | { to: 'anyone'; id: string; epoch: number }
  | { to: 'writer'; role: string; orders: Orders };

export class Broken extends Error {}

const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

/** What decide was asked and told, for replaying it without a fleet. */
export type Step = { events: Event[]; now: number } | { orders: string; now: number } | { standing: string };

export class Fleet {
  now = 1_000_000;
  state: State;
  readonly tasks = new Map<string, SimTask>();
  readonly hands = new Map<string, SimHand>();
  readonly agents: Agent[] = [];
  readonly writers = new Map<string, SimWriter>();
  /** What became of each landing, under its id: the ledger, with refusals written down too. */
  readonly ledger = new Map<string, { result: LandingResult; task: string; life: string }>();
  network: Letter[] = [];
  readonly steps: Step[] = [];
  readonly taken: Taken[] = [];
  /** How many events decide was told. */
  told = 0;
  /** Rises when a coordinator starts without state. */
  line = 0;
  /** With what the present coordinator started. */
  born = { rules: RULES, now: 1_000_000 };
  private rules = RULES;
  private submitted = 0;
  private counters = 0;
  private readonly outcomes = new Map<string, Outcome>();
  private readonly lifeOf = new Map<string, string>();
  private readonly expired = new Set<string>();
  private lastFence: Fence = { epoch: 0, number: 0 };
  /** Every grant of a resource with a rate, whichever coordinator gave it. */
  private readonly rateTruth = new Map<string, number[]>();
  private readonly grantedHere = new Set<string>();
  /** Landings that a coordinator has handed over. */
  private readonly handed = new Set<string>();
  /** The files of the branch, each with the number of its last change. */
  private readonly files = new Map<string, number>();
  private version = 0;
  private readonly pushed = new Set<string>();
  private readonly changes = new Map<string, [string, number][]>();
  private readonly heardOf = new Map<string, number>();
  private readonly asked = new Set<string>();
  private readonly busy = new BusyWatch(clashing);
  private readonly looked = new Map<string, { version: number; findings: Finding[] }>();
  /** Every run of a task's workflow. */
  private readonly starts: { id: string; plan: string; at: number }[] = [];
  /** The newest word on each issue that reached any coordinator: it stands in a history. */
  private readonly said = new Map<string, IssueReport>();
  /** Open circuits, in the memo of the coordinator that knew them. */
  private memo: [string, OpenCircuit][] = [];
  private readonly openUntil = new Map<string, number>();
  /** The present coordinator has not read yet what the one before it left. */
  private unread = false;

  constructor(private readonly specs: Spec[]) {
    this.state = freshState(this.rules, this.now);
    for (const role of Object.keys(this.rules.roles)) this.newWriter(role);
    this.tell({ kind: 'surveyed', live: [], last: true });
  }

  // ---- doing

  perform(op: Op): void {
    switch (op.do) {
      case 'submit':
        this.submit();
        break;
      case 'announce':
        this.announce();
        break;
      case 'sweep':
        this.sweep();
        break;
      case 'flush':
        this.flush();
        break;
      case 'carry':
        this.state = restore(copy(carry(this.state)));
        this.check([]);
        break;
      case 'renew':
        this.renew();
        break;
      case 'restart':
        this.restart();
        break;
      case 'survey':
        this.survey();
        break;
      case 'settle':
        this.settle();
        break;
      case 'deliver':
        this.deliverOne(op.pick, op.fate);
        break;
      case 'deliver together':
        this.deliverTogether(op.most);
        break;
      case 'pass':
        this.pass(op.ms);
        break;
      case 'agent':
        this.endAgent(at(this.runningTasks(), op.pick), op.how, op.dead);
        break;
      case 'write':
        this.write(at(this.openOrders(), op.pick), op.how);
        break;
      case 'thaw':
        this.thaw(at([...this.writers.values()], op.pick));
        break;
      case 'kill writer':
        this.newWriter(at(Object.keys(this.rules.roles), op.pick) ?? 'dev');
        break;
      case 'cancel':
        this.cancel(at(this.live(), op.pick));
        break;
      case 'extend':
        this.extend(at(this.runningTasks(), op.pick), op.path, op.wait);
        break;
      case 'go without':
        this.goWithout(at(this.runningTasks(), op.pick));
        break;
      case 'give back':
        this.giveBack(at(this.runningTasks(), op.pick));
        break;
      case 'push':
        this.push(at(FILES, op.pick) ?? '');
        break;
      case 'block':
        this.block(at(this.live(), op.pick), op.on);
        break;
      case 'terminate':
        this.terminate(at(this.live(), op.pick), op.again);
        break;
      case 'see dead':
        this.seeDead(at(this.agents, op.pick));
        break;
      case 'freeze':
        this.freezeFleet(op.thaw, op.ms);
        break;
      case 'issue':
        this.send({
          kind: 'issue',
          key: at(ISSUES, op.pick) ?? '',
          state: op.state,
          number: ++this.counters,
        });
        break;
      case 'rules':
        this.rules = {
          ...RULES,
          ceiling: op.ceiling,
          issues: { closed: 'cancel', paused: op.pausedGoes ? 'go' : 'hold' },
        };
        this.tell({ kind: 'rules', rules: this.rules });
        break;
      case 'claim':
      case 'release':
      case 'renew claim':
      case 'terminate claim':
        this.hand(op.do, op.pick, op.wait);
        break;
    }
  }

  /** A person's word: the coordinator's workflow numbers it when it comes. */
  private freezeFleet(thaw: boolean, ms?: number): void {
    const freeze = { text: 'release day', by: 'ann', ...(ms ? { duration: ms } : {}) };
    this.tell({ kind: 'fleet', number: UNNUMBERED, ...(thaw ? {} : { freeze }) });
  }

  /** Faults stop and time passes: everything has to come to its end. */
  finish(): void {
    for (const key of ISSUES) this.send({ kind: 'issue', key, state: 'open', number: ++this.counters });
    if (this.state.recovery) this.survey();
    this.settle();
    this.freezeFleet(true);
    for (let round = 0; round < 60; round++) {
      this.settle();
      // Whoever waits for more paths waits until it is answered: nobody may wait for ever.
      for (const task of this.runningTasks()) if (!task.extend || task.stopping) this.endAgent(task, 0, true);
      for (const writer of this.writers.values()) this.thaw(writer);
      for (const [i, { writer, order }] of this.openOrders().entries()) this.write({ writer, order }, i % 2);
      this.settle();
      this.sweep();
      this.flush();
      this.announce();
      this.renew((task) => !task.closed && task.extend !== undefined);
      this.settle();
      // A person looks after what waits for a file to be again as it was.
      for (const task of round > 5 ? this.live() : [])
        if (this.state.tasks.get(task.id)?.hold?.code === 'ASSUMPTION_BROKEN') this.cancel(task);
      this.pass(15_000);
      if (round === 5) for (const pick of HANDS.keys()) this.hand('release', pick, false);
    }
    this.checkEnd();
  }

  /** Everything that is under way arrives, in order. */
  settle(): void {
    for (let i = 0; this.network.length > 0; i++) {
      if (i > 5_000) throw new Broken('messages go round in circles');
      this.deliver(this.network.shift() as Letter);
    }
  }

  private submit(): void {
    const index = this.submitted++;
    const spec = this.specs[index];
    if (!spec) return;
    const after: Edge[] = spec.after.map((to) => ({ task: this.nameOf(to) }));
    const [from] = after;
    const takes =
      spec.takesOver && spec.role !== undefined && this.specs[spec.after[0] ?? -1]?.role === spec.role;
    if (takes && from) from.until = 'finished';
    const facts: TaskFacts = {
      writes: spec.writes,
      reads: spec.reads ?? [],
      after,
      ...(takes && from ? { takesOver: from.task } : {}),
      ...(spec.onBroken ? { onBroken: spec.onBroken } : {}),
      ...(spec.assumes ? { assumes: [this.assumption(spec.assumes)] } : {}),
      ...(spec.uses?.length ? { uses: spec.uses } : {}),
      ...(spec.agent ? { agent: spec.agent } : {}),
      ...(spec.role ? { role: spec.role } : {}),
      ...(spec.issue ? { issue: spec.issue } : {}),
      ...(spec.lease ? { lease: spec.lease } : {}),
      ...(spec.ifBusy ? { ifBusy: spec.ifBusy } : {}),
      ...(spec.attempts ? { retry: { attempts: spec.attempts } } : {}),
    };
    this.start(this.nameOf(index), spec, facts);
  }

  private assumption({ path, never }: { path: string; never: boolean }): Assumption {
    return {
      kind: 'file',
      repository: 'app',
      path,
      sha256: never ? 'never' : String(this.files.get(path) ?? 0),
    };
  }

  private start(id: string, spec: Spec, facts: TaskFacts): void {
    const life = this.newLife();
    this.starts.push({ id, plan: spec.plan, at: this.now });
    const task: SimTask = {
      id,
      spec,
      facts,
      life,
      number: 0,
      asked: 0,
      attempt: 1,
      at: 'waiting',
      closed: false,
      terminated: false,
    };
    this.tasks.set(id, task);
    this.report(task);
  }

  private nameOf(index: number): string {
    const spec = this.specs[index];
    return spec ? `${spec.plan}/t${index}` : 'ghost/t';
  }

  private report(task: SimTask): void {
    const { id, life, attempt, at, fence, result, extend, cancel, facts, spec, epoch } = task;
    const size = this.specs.filter((other) => other.plan === spec.plan).length;
    const plan = { id: spec.plan, ...(spec.plan === 'single' ? {} : { size }) };
    this.send({
      kind: 'task',
      id,
      life,
      number: ++task.number,
      ...(epoch === undefined ? {} : { epoch }),
      // As the workflow does: not for a plan that has to arrive first.
      ...(at === 'stopped' || (task.number === 1 && size < 2) ? { asks: true } : {}),
      plan,
      facts,
      attempt,
      at,
      ...(fence ? { fence } : {}),
      ...(result ? { result } : {}),
      ...(extend ? { extend } : {}),
      ...(cancel ? { cancel } : {}),
    });
  }

  private live = (): SimTask[] => [...this.tasks.values()].filter((task) => !task.closed);
  private runningTasks = (): SimTask[] => this.live().filter((task) => task.at === 'running');

  private announce(): void {
    for (const task of this.live()) this.report(task);
    for (const hand of this.openHands()) this.send(hand.report(this.now));
    for (const writer of this.writers.values()) this.reportWriter(writer);
  }

  /** The coordinator looks whether the workflows of its live tasks are still there. */
  private sweep(): void {
    for (const record of [...this.state.tasks.values()]) {
      if (record.phase === 'ended') continue;
      const task = this.tasks.get(record.id) ?? this.hands.get(record.id);
      if (task && !task.closed && task.life === record.life) continue;
      this.tell({ kind: 'gone', task: record.id, life: record.life });
    }
  }

  /** What the real one reads before any time passes for it, though messages may come first. */
  private readLegacy(): void {
    if (!this.unread) return;
    this.unread = false;
    const words = [...this.said.values()].sort((a, b) => a.number - b.number);
    this.tell(...words, { kind: 'surveyed', live: [], last: false, before: true, circuits: this.memo });
  }

  private survey(): void {
    this.readLegacy();
    const known = [...this.live(), ...this.openHands()].map(({ id }) => id);
    for (const id of known) this.network.push({ to: 'anyone', id, epoch: this.state.epoch });
    const live = [...known, ...Object.keys(this.rules.roles).map((role) => `writer:${role}`)];
    const half = live.length >> 1;
    this.network.push(
      {
        to: 'coordinator',
        line: this.line,
        event: { kind: 'surveyed', live: live.slice(0, half), last: false, before: this.line > 0 },
      },
      {
        to: 'coordinator',
        line: this.line,
        event: { kind: 'surveyed', live: live.slice(half), last: true, before: this.line > 0 },
      },
    );
  }

  private restart(): void {
    this.now += 1;
    this.line += 1;
    this.unread = true;
    this.busy.forget();
    this.grantedHere.clear();
    this.state = freshState(this.rules, this.now);
    this.steps.length = 0;
    this.taken.length = 0;
    this.born = { rules: this.rules, now: this.now };
  }

  // ---- the network

  send(event: Event): void {
    this.network.push({ to: 'coordinator', event: copy(event) });
  }

  private deliverOne(pick: number, fate: 'once' | 'once more' | 'lost'): void {
    const index = this.network.length === 0 ? -1 : pick % this.network.length;
    const letter = this.network[index];
    if (!letter) return;
    // What the coordinator tells itself (a survey, a lookup) is an activity: late, never lost or doubled.
    const own = letter.to === 'coordinator' && letter.line !== undefined;
    if (fate !== 'once more' || own) this.network.splice(index, 1);
    if (fate !== 'lost' || own) this.deliver(letter);
  }

  private deliver(letter: Letter): void {
    if (letter.to === 'task') {
      this.hear(letter.id, letter.standing, letter.leaseEnd);
      return;
    }
    if (letter.to === 'anyone') {
      this.beAsked(letter.id, letter.epoch);
      return;
    }
    if (letter.to === 'writer') {
      this.obey(letter.role, letter.orders);
      return;
    }
    const event = this.open(letter);
    if (event) this.tell(event);
  }

  /** What is on its way to the coordinator comes in one batch. */
  private deliverTogether(most: number): void {
    const events: Event[] = [];
    for (const letter of [...this.network]) {
      if (letter.to !== 'coordinator' || events.length === most) continue;
      this.network.splice(this.network.indexOf(letter), 1);
      const event = this.open(letter);
      if (event) events.push(event);
    }
    if (events.length > 0) this.tell(...events);
  }

  /** Undefined when it is a late word to a coordinator that is no more. */
  private open(letter: Extract<Letter, { to: 'coordinator' }>): Event | undefined {
    if (letter.line !== undefined && letter.line !== this.line) return undefined;
    const { event, sentAt } = letter;
    if (event.kind === 'worker' && sentAt !== undefined) {
      for (const { fence } of event.renew) {
        const agent = this.agents.find((one) => sameFence(one.fence, fence));
        if (agent) agent.leaseEnd = Math.max(agent.leaseEnd, sentAt + agent.lease);
      }
    }
    return event;
  }

  /** Feeds decide, checks what it did, and sends what is due as the coordinator's workflow does. */
  tell(...events: Event[]): void {
    this.told += 1;
    this.steps.push({ events: copy(events), now: this.now });
    const before = this.busy.look(this.state);
    const taken = decide(this.state, copy(events), this.now);
    this.taken.push(...taken);
    const wrong = this.busy.problem(before, this.state, taken);
    if (wrong) throw new Broken(wrong);
    for (const event of events) {
      this.hearOf(event);
      if (event.kind === 'issue' && event.number > (this.said.get(event.key)?.number ?? 0))
        this.said.set(event.key, event);
    }
    if (!this.unread) this.memo = openCircuits(this.state);
    for (const [key, { until }] of this.memo) this.openUntil.set(key, until);
    for (const { code, task, verdict } of taken) {
      const fence = this.state.tasks.get(task)?.fence;
      if (verdict === 'retry' && (code === 'CLAIM_EXPIRED' || code === 'CLAIM_LOST') && fence)
        this.expired.add(fenceText(fence));
    }
    this.check(taken);
    this.drain();
  }

  private drain(): void {
    const { due } = this.state;
    for (const id of due.standings) this.sendStanding(id);
    due.standings.clear();
    for (const id of due.announcements) this.network.push({ to: 'anyone', id, epoch: this.state.epoch });
    due.announcements.clear();
    if (!this.state.recovery) {
      for (const role of due.orders) {
        this.steps.push({ orders: role, now: this.now });
        const orders = copy(takeOrders(this.state, role, this.now));
        for (const order of orders.landings) this.checkHandOver(order);
        this.network.push({ to: 'writer', role, orders });
      }
      due.orders.clear();
    }
    this.checkAssumptions();
    this.lookUp();
    due.lookups.clear();
    due.packets.clear();
  }

  private sendStanding(id: string): void {
    this.steps.push({ standing: id });
    const standing = standingOf(this.state, id);
    const record = this.state.tasks.get(id);
    if (standing)
      this.network.push({
        to: 'task',
        id,
        standing: copy(standing),
        leaseEnd: record?.leaseUntil ?? this.now,
      });
  }

  private flush(): void {
    const ids = [...this.state.due.lazy];
    this.state.due.lazy.clear();
    for (const id of ids) this.sendStanding(id);
  }

  private lookUp(): void {
    const { tasks, plans } = lookupsOf(this.state);
    const found = plans.map((wanted) => {
      const starts = this.starts.filter(({ plan }) => plan === wanted.plan);
      return { plan: wanted.plan, count: submittedWith(starts, wanted) };
    });
    const outcomes = tasks.flatMap((name) => {
      const task = this.tasks.get(name);
      const outcome = task?.outcome ?? { kind: 'cancelled' as const, code: 'TERMINATED' as const, text: '' };
      return task?.closed === true ? [{ task: name, outcome }] : [];
    });
    if (found.length === 0 && outcomes.length === 0) return;
    this.network.push({
      to: 'coordinator',
      event: { kind: 'found', plans: found, outcomes },
      line: this.line,
    });
  }

  // ---- tasks and their agents

  private beAsked(id: string, epoch: number): void {
    const hand = this.hands.get(id);
    if (hand && !hand.closed) {
      hand.asked(epoch);
      this.send(hand.report(this.now));
    }
    const task = this.tasks.get(id);
    if (!task || task.closed) return;
    task.epoch = Math.max(task.epoch ?? 0, epoch);
    this.report(task);
  }

  /** Lives begin at times of their own, as they do on a real server's clock. */
  private newLife(): string {
    this.now += 1;
    return `${this.now}.run`;
  }

  private hear(id: string, standing: Standing, leaseEnd: number): void {
    this.hands.get(id)?.hear(standing, leaseEnd);
    const task = this.tasks.get(id);
    if (!task || task.closed || standing.life !== task.life) return;
    const { told, epoch = 0 } = task;
    if (standing.epoch < epoch) return;
    if (told && (standing.epoch - told.epoch || standing.number - told.number) <= 0) return;
    task.epoch = standing.epoch;
    task.told = { epoch: standing.epoch, number: standing.number };
    const { fence, refused } = standing;
    if (refused) {
      const after = task.facts.after.filter((edge) => !edge.added || !refused.includes(edge.task));
      task.facts = { ...task.facts, after };
    }
    this.hearAnswer(task, standing);
    if (standing.phase === 'ended') {
      this.close(task, standing.outcome);
      return;
    }
    if (standing.phase === 'running' && fence && (!task.fence || compareFences(fence, task.fence) > 0)) {
      this.startAgent(task, fence, standing, leaseEnd);
      return;
    }
    if (standing.phase === 'stopping' && fence) {
      if (sameFence(fence, task.fence)) task.stopping = task.at === 'running';
      else if (!task.fence || compareFences(fence, task.fence) > 0) {
        this.kill(task);
        task.fence = fence;
        task.attempt = standing.attempt;
        this.stopped(task, { kind: 'failed', dead: true, code: 'WORKER_LOST', text: 'it was never started' });
      }
      return;
    }
    if (standing.phase === 'held' && task.at === 'stopped' && standing.attempt > task.attempt) {
      task.at = 'waiting';
      task.attempt = standing.attempt;
      delete task.result;
      this.report(task);
    }
  }

  private hearAnswer(task: SimTask, { extension, fence }: Standing): void {
    const { extend } = task;
    if (!extend || extension?.number !== extend.number || extension.answer === 'waiting') return;
    delete task.extend;
    if (extension.answer === 'granted' && sameFence(fence, task.fence)) this.claim(task, extend.paths);
    if (extension.answer === 'retry') task.more = extend.paths;
    this.report(task);
  }

  private claim(task: SimTask, paths: string[]): void {
    task.facts = { ...task.facts, writes: [...new Set([...task.facts.writes, ...paths])] };
    const agent = this.agentOf(task);
    if (agent) agent.patterns = placed(task.facts.writes, RULES.roles[task.spec.role ?? '']?.repository);
  }

  private extend(task: SimTask | undefined, path: string, wait: boolean): void {
    if (!task?.spec.role || task.extend || task.more) return;
    task.extend = { number: ++task.asked, paths: [path], wait };
    this.report(task);
  }

  private goWithout(task: SimTask | undefined): void {
    if (!task?.extend) return;
    delete task.extend;
    this.report(task);
  }

  /** Its agent writes no longer there from now on. */
  private giveBack(task: SimTask | undefined): void {
    if (!task || task.facts.writes.length < 2) return;
    task.facts = { ...task.facts, writes: task.facts.writes.slice(1) };
    this.claim(task, []);
    this.report(task);
  }

  private startAgent(task: SimTask, fence: Fence, { attempt, lease = 0 }: Standing, leaseEnd: number): void {
    // A lease that has run out on the way is not worth starting on: the coordinator will say `stopping`.
    if (leaseEnd <= this.now) return;
    this.kill(task);
    task.fence = fence;
    task.attempt = attempt;
    task.at = 'running';
    delete task.result;
    delete task.stopping;
    delete task.unheard;
    this.agents.push({
      task: task.id,
      life: task.life,
      fence,
      patterns: placed(task.facts.writes, RULES.roles[task.spec.role ?? '']?.repository),
      uses: task.facts.uses ?? [],
      alive: true,
      seen: true,
      lease,
      leaseEnd,
    });
    this.report(task);
  }

  private agentOf = (task: SimTask): Agent | undefined =>
    this.agents.find((one) => one.task === task.id && sameFence(one.fence, task.fence));

  private kill(task: SimTask): void {
    for (const agent of this.agents)
      if (agent.task === task.id && agent.life === task.life) agent.alive = false;
  }

  private close(task: SimTask, outcome: Outcome | undefined): void {
    if (!outcome) throw new Broken(`${task.id} was told that it ended, without an outcome`);
    if (task.outcome) throw new Broken(`${task.id} was told a second outcome`);
    task.outcome = outcome;
    task.closed = true;
    this.kill(task);
  }

  private stopped(task: SimTask, result: AttemptResult): void {
    task.at = 'stopped';
    task.result = result;
    if (result.dead) this.claim(task, task.more ?? []);
    delete task.extend;
    delete task.more;
    delete task.stopping;
    this.report(task);
  }

  private endAgent(task: SimTask | undefined, how: number, dead: boolean): void {
    if (!task?.fence) return;
    const agent = this.agentOf(task);
    if (agent) agent.seen = false;
    if (dead && agent) agent.alive = false;
    const commit = `c${fenceText(task.fence)}`;
    const good: AttemptResult = task.spec.role
      ? { kind: 'commits', dead, base: 'b', commit, ref: 'r' }
      : { kind: 'done', dead };
    const bad = (code: FailureCode, final: boolean): AttemptResult => ({
      kind: 'failed',
      dead,
      code,
      text: 'no',
      ...(final ? { final } : {}),
    });
    if (task.unheard) {
      delete task.unheard;
      this.stopped(task, bad('WORKER_LOST', false));
      return;
    }
    if (how === 4) {
      // The worker has seen its agent end, and says so before anything else.
      if (agent) agent.alive = false;
      task.unheard = true;
      this.report({ ...task, at: 'stopped', result: { ...good, dead: true } });
      task.number += 1;
      return;
    }
    if (task.stopping && how >= 5) {
      this.stopped(task, bad('CANCELLED_BY_REQUEST', false));
      return;
    }
    if (how === 6) {
      this.stopped(task, bad('WORKSTATION_FAILED', false));
      return;
    }
    if (how === 7) {
      this.stopped(task, bad('AGENT_FAILED', false));
      return;
    }
    if (how === 8) {
      this.stopped(task, bad('NO_COMMITS', true));
      return;
    }
    if (how === 9) {
      this.stopped(task, bad('WORKER_LOST', false));
      return;
    }
    this.stopped(task, good);
  }

  private cancel(task: SimTask | undefined): void {
    if (!task) return;
    task.cancel = { code: 'CANCELLED_BY_REQUEST', by: 'ann' };
    this.report(task);
  }

  /** Somebody outside the fleet changes a file of the branch; the next writer to land sees it. */
  private push(path: string): void {
    this.change([path]);
    this.pushed.add(path);
  }

  private change(paths: string[]): void {
    for (const path of paths) this.files.set(path, ++this.version);
  }

  private checkAssumptions(): void {
    const requests = checksOf(this.state, this.state.due.checks);
    const fresh = requests.filter((one) => !this.asked.has(`${this.line} ${one.life} ${one.number}`));
    for (const { task, life, number, assumes } of fresh) {
      this.asked.add(`${this.line} ${life} ${number}`);
      const findings = assumes.map((one): Finding => {
        if (one.kind !== 'file') throw new Broken('only files are assumed here');
        const digest = String(this.files.get(one.path) ?? 0);
        return { holds: digest === one.sha256, found: `it is ${digest}` };
      });
      this.looked.set(`${this.line} ${life} ${number}`, { version: this.version, findings });
      const event: Event = { kind: 'checked', results: [{ task, life, number, findings }] };
      this.network.push({ to: 'coordinator', line: this.line, event });
    }
  }

  /** What a task assumes was so when it was looked at, and nothing that was heard of has changed it since. */
  private checkAssumed(record: TaskRecord): void {
    const { assumes = [], onBroken = 'hold' } = record.facts;
    for (const [i, one] of assumes.entries()) {
      const look = this.looked.get(`${this.line} ${record.life} ${record.assumed?.number}`);
      if (one.kind !== 'file' || !look || record.assumed?.answered !== record.assumed?.number)
        throw new Broken(`${record.id} runs without a look at what it assumes`);
      if (look.version < (this.heardOf.get(one.path) ?? 0))
        throw new Broken(`${record.id} runs on a look that is older than what was heard of ${one.path}`);
      if (!look.findings[i]?.holds && (onBroken === 'hold' || onBroken === 'cancel'))
        throw new Broken(`${record.id} runs though ${one.path} is not as it assumes`);
    }
  }

  /** The coordinator has heard that files have changed, unless it took the word for an old one. */
  private hearOf(event: Event): void {
    if (event.kind !== 'writer') return;
    const { life, seen } = this.state.roles.get(event.role) ?? {};
    if (life !== event.life || seen !== event.number) return;
    for (const result of event.results) {
      for (const [path, version] of this.changes.get(result.id) ?? [])
        this.heardOf.set(path, Math.max(version, this.heardOf.get(path) ?? 0));
    }
  }

  /** Somebody finds that a live task depends on another one, be it one that nobody submits. */
  private block(task: SimTask | undefined, on: number): void {
    const upstream = this.nameOf(on);
    if (!task || task.facts.after.some((edge) => edge.task === upstream)) return;
    task.facts = { ...task.facts, after: [...task.facts.after, { task: upstream, added: true }] };
    this.report(task);
  }

  private terminate(task: SimTask | undefined, again: boolean): void {
    if (!task) return;
    task.closed = true;
    task.terminated = true;
    const after = task.facts.after.map(({ added: _, by: __, ...edge }) => edge);
    if (again) this.start(task.id, task.spec, { ...task.facts, after });
  }

  private renew(whose: (task: SimTask) => boolean = () => true): void {
    const renew = this.agents
      .filter((agent) => agent.alive && agent.seen)
      .filter((agent) => [...this.tasks.values()].some((task) => task.id === agent.task && whose(task)))
      .map(({ task, fence }) => ({ task, fence }));
    if (renew.length > 0)
      this.network.push({ to: 'coordinator', event: { kind: 'worker', renew, dead: [] }, sentAt: this.now });
  }

  private seeDead(agent: Agent | undefined): void {
    if (!agent) return;
    const task = this.tasks.get(agent.task);
    if (task && !task.closed && task.life === agent.life) return;
    agent.alive = false;
    this.send({ kind: 'worker', renew: [], dead: [{ task: agent.task, fence: agent.fence }] });
  }

  // ---- writers

  private newWriter(role: string): void {
    const life = this.newLife();
    const writer: SimWriter = { role, life, number: 0, orders: [], results: new Map() };
    this.writers.set(role, writer);
    this.reportWriter(writer);
  }

  private reportWriter(writer: SimWriter): void {
    const { role, life, frozen, fleet } = writer;
    this.send({
      kind: 'writer',
      role,
      life,
      number: ++writer.number,
      ...(frozen ? { frozen: told(frozen, this.now) } : {}),
      ...(fleet ? { fleet: wordTold(fleet, this.now) } : {}),
      results: [...writer.results.values()],
    });
  }

  private obey(role: string, orders: Orders): void {
    const writer = this.writers.get(role);
    if (!writer) return;
    const { told } = writer;
    if (told && (orders.epoch - told.epoch || orders.number - told.number) <= 0) return;
    if (!told && orders.frozen && !writer.frozen) writer.frozen = kept(orders.frozen, this.now);
    writer.told = { epoch: orders.epoch, number: orders.number };
    writer.orders = orders.landings;
    let news = (writer.fleet?.number ?? 0) > (orders.fleet?.number ?? 0);
    if (orders.fleet && orders.fleet.number > (writer.fleet?.number ?? 0))
      writer.fleet = wordKept(orders.fleet, this.now);
    const ids = new Set(orders.landings.map((order) => order.id));
    for (const id of writer.results.keys()) if (!ids.has(id)) writer.results.delete(id);
    for (const order of orders.landings) {
      const fate = this.ledger.get(order.id);
      if (fate) writer.results.set(order.id, fate.result);
      else if (order.withdraw) this.enter(writer, order, { id: order.id, kind: 'withdrawn' });
      else continue;
      news = true;
    }
    if (news) this.reportWriter(writer);
  }

  private enter(writer: SimWriter, order: LandingOrder, result: LandingResult): void {
    const life = this.lifeOf.get(order.id) ?? '';
    if (result.kind === 'landed') this.checkLanding(order, life);
    const inApp = this.rules.roles[writer.role]?.repository === 'app';
    const told = inApp ? this.tellOfFiles(order, result) : result;
    this.ledger.set(order.id, { result: told, task: order.task, life });
    writer.results.set(order.id, told);
  }

  /** What others have pushed is told with every result until something of the fleet has landed on it. */
  private tellOfFiles(order: LandingOrder, result: LandingResult): LandingResult {
    if (result.kind === 'withdrawn') return result;
    const seen = [...this.pushed];
    const outside = { commit: `o${seen.map((path) => this.files.get(path)).join('.')}`, paths: seen };
    const known = seen.map((path): [string, number] => [path, this.files.get(path) ?? 0]);
    const written = result.kind === 'refused' ? [] : FILES.filter((path) => isWritten(order.writes, path));
    this.change(written);
    if (result.kind !== 'refused') this.pushed.clear();
    const own = written.map((path): [string, number] => [path, this.files.get(path) ?? 0]);
    this.changes.set(order.id, [...known, ...own]);
    const changed = result.kind === 'landed' ? { changed: written } : {};
    return { ...result, ...changed, ...(seen.length > 0 ? { outside } : {}) };
  }

  private openOrders = (): { writer: SimWriter; order: LandingOrder }[] =>
    [...this.writers.values()].flatMap((writer) =>
      writer.frozen || writer.fleet?.freeze
        ? []
        : writer.orders
            .filter((order) => !writer.results.has(order.id) && !this.ledger.has(order.id))
            .map((order) => ({ writer, order })),
    );

  private write(open: { writer: SimWriter; order: LandingOrder } | undefined, how: number): void {
    if (!open) return;
    const { writer, order } = open;
    const refusal = (code: RefusalCode): LandingResult => ({
      id: order.id,
      kind: 'refused',
      code,
      text: 'no',
    });
    if (how === 8) this.enter(writer, order, refusal('LANDING_CONFLICT'));
    else if (how === 9) this.enter(writer, order, refusal('VERIFY_FAILED'));
    else if (how === 10) {
      writer.frozen = { text: 'the deploy failed' };
      this.enter(writer, order, { id: order.id, kind: 'rolled-back', code: 'DEPLOY_FAILED', text: 'no' });
    } else if (how === 11) writer.frozen = kept({ text: 'a pause', by: 'ann', duration: 4_000 }, this.now);
    else
      this.enter(writer, order, { id: order.id, kind: 'landed', commit: order.commit, entry: 1, behind: 0 });
    this.reportWriter(writer);
  }

  private thaw(writer: SimWriter | undefined): void {
    if (!writer?.frozen) return;
    delete writer.frozen;
    this.reportWriter(writer);
  }

  // ---- persons and time

  private hand(
    what: 'claim' | 'release' | 'renew claim' | 'terminate claim',
    pick: number,
    wait: boolean,
  ): void {
    const id = at(HANDS, pick) ?? '';
    const known = this.hands.get(id);
    const open = known && !known.closed ? known : undefined;
    if (what === 'claim') {
      if (open) return;
      const hand = new SimHand(id, this.newLife(), [PATHS[pick % PATHS.length] ?? 'a'], 30_000, wait);
      this.hands.set(id, hand);
      this.send(hand.report(this.now));
      return;
    }
    if (!open) return;
    if (what === 'terminate claim') {
      open.closed = true;
      return;
    }
    if (what === 'release') open.release();
    else open.renew(this.now);
    this.send(open.report(this.now));
  }

  private openHands = (): SimHand[] => [...this.hands.values()].filter((hand) => !hand.closed);

  pass(ms: number): void {
    const until = this.now + ms;
    let ticks = 0;
    for (;;) {
      const next = Math.max(this.now, Math.min(until, nextDeadline(this.state) ?? until));
      this.reap(next);
      this.now = next;
      this.thawDue(next);
      if ((nextDeadline(this.state) ?? Infinity) > this.now) {
        if (this.now >= until) return;
        continue;
      }
      if (++ticks > 2_000) throw new Broken('deadlines never end');
      this.readLegacy();
      this.tell({ kind: 'tick' });
    }
  }

  /** Writers end freezes that have an end, by their own clock. */
  private thawDue(time: number): void {
    for (const writer of this.writers.values()) {
      if (writer.fleet?.freeze && isOver(writer.fleet.freeze, time)) delete writer.fleet.freeze;
      if (writer.frozen && isOver(writer.frozen, time)) this.thaw(writer);
    }
  }

  /** Workers kill their agents at the lease's end, by their own clock. */
  private reap(time: number): void {
    for (const agent of this.agents) {
      if (!agent.alive || agent.leaseEnd > time) continue;
      agent.alive = false;
      const task = this.tasks.get(agent.task);
      if (task && !task.closed && task.at === 'running' && sameFence(task.fence, agent.fence))
        this.stopped(task, { kind: 'failed', dead: true, code: 'WORKER_LOST', text: 'its lease ran out' });
    }
  }

  // ---- checking

  private check(taken: Taken[]): void {
    for (const one of taken) if (one.verdict === 'run') this.checkGrant(one.task, one);
    this.checkOutcomes();
    this.checkGraph();
    this.checkExclusion();
    this.checkIndexes();
    this.checkExtensions();
    this.checkIssues();
    this.checkNothingForgotten();
  }

  private checkGrant(id: string, taken: Taken): void {
    const { state } = this;
    const record = state.tasks.get(id);
    if (!record?.fence) throw new Broken(`${id} was granted without a fence`);
    if (state.recovery) throw new Broken(`${id} was granted during recovery`);
    // Within one decide a task may be granted and more; the fence belongs to the last grant.
    if (compareFences(record.fence, this.lastFence) <= 0) throw new Broken(`the fence of ${id} did not grow`);
    this.lastFence = record.fence;
    this.grantedHere.add(fenceText(record.fence));
    this.lifeOf.set(landingId(record), record.life);
    if (!record.holds) throw new Broken(`${id} runs without its claims`);
    if (record.kind === 'hand') return;
    this.checkAssumed(record);
    if (taken.attempt !== record.attempt) throw new Broken(`${id} was granted for another attempt`);
    for (const edge of record.facts.after) {
      if (taken.attempt > 1 && !edge.added) continue;
      const upstream = state.tasks.get(edge.task)?.outcome?.kind;
      if (upstream !== 'landed' && upstream !== 'finished')
        throw new Broken(`${id} runs though ${edge.task} is ${upstream ?? 'not over'}`);
      const { handed } = state.tasks.get(edge.task)?.outcome ?? {};
      if (handed && record.facts.takesOver === edge.task && handed.to !== id)
        throw new Broken(`${id} goes on with what ${edge.task} has handed to ${handed.to}`);
      if (handed && edge.until !== 'finished' && !edge.added)
        throw new Broken(`${id} runs though ${edge.task} is to land with ${handed.to}`);
      const truth = this.tasks.get(edge.task)?.outcome?.kind;
      if (truth !== undefined && truth !== upstream)
        throw new Broken(`${edge.task} is ${truth}, not ${upstream}`);
    }
    const { plan: name } = this.tasks.get(id)?.spec ?? {};
    const missing = this.specs.findIndex(
      (one, i) => name !== 'single' && one.plan === name && !this.tasks.has(this.nameOf(i)),
    );
    if (missing >= 0) throw new Broken(`${id} runs before ${this.nameOf(missing)} was submitted`);
    const plan = state.plans.get(record.plan.id);
    if (plan && !plan.complete) throw new Broken(`${id} runs before its plan is complete`);
    if (state.running.size > state.rules.ceiling) throw new Broken('more run than the ceiling allows');
    const { role } = record.facts;
    if (role && (state.runningByRole.get(role) ?? 0) > (state.rules.roles[role]?.maxRunning ?? 0))
      throw new Broken(`more of role ${role} run than it allows`);
    const kind = record.facts.agent ?? state.rules.defaultAgent ?? '';
    const most = state.rules.agents[kind]?.maxRunning;
    if (most !== undefined && runningOfKind(state, kind) > most)
      throw new Broken(`more of kind ${kind} run than it allows`);
    for (const { resource } of record.facts.uses ?? []) this.checkRate(resource);
    this.checkTrials(record);
    const freeze = state.fleetWord?.freeze ?? (role ? state.roles.get(role)?.frozen : undefined);
    if (freeze) throw new Broken(`${id} was granted though it is frozen: ${freeze.text}`);
  }

  /** An open circuit lets nobody through before its cool-down is over, and then one at a time. */
  private checkTrials(record: TaskRecord): void {
    const { role, agent = this.state.rules.defaultAgent } = record.facts;
    for (const key of [`role:${role}`, `agent:${agent}`]) {
      if (this.now < (this.openUntil.get(key) ?? 0))
        throw new Broken(`${record.id} was granted though circuit ${key} was open before`);
      const open = this.state.circuits.get(key)?.open;
      if (!open) continue;
      if (this.now < open.until) throw new Broken(`${record.id} was granted though circuit ${key} is open`);
      const trials = [...this.state.running].flatMap((id) => {
        const { facts, decisions } = this.state.tasks.get(id) as TaskRecord;
        const mine =
          key === `role:${facts.role}` || key === `agent:${facts.agent ?? this.state.rules.defaultAgent}`;
        const run = decisions.findLast(({ verdict }) => verdict === 'run');
        return mine && run && run.at >= open.until ? [id] : [];
      });
      if (trials.length !== 1) throw new Broken(`circuit ${key} tries ${trials.join(', ')} at once`);
    }
  }

  /** Invariant 4 for a rate: never more grants in a window, whatever the coordinator has forgotten. */
  private checkRate(resource: string): void {
    const rate = this.state.rules.resources[resource]?.rate;
    if (!rate) return;
    const log = [...(this.rateTruth.get(resource) ?? []), this.now];
    this.rateTruth.set(resource, log);
    const recent = log.filter((time) => time > this.now - rate.window);
    if (recent.length > rate.count)
      throw new Broken(`${resource} was granted ${recent.length} times within ${rate.window} ms`);
  }

  /** What is handed over for the first time waits for nothing any more. */
  private checkHandOver(order: LandingOrder): void {
    if (this.handed.has(order.id) || order.fence.epoch < this.state.epoch) return;
    this.handed.add(order.id);
    const record = [...this.state.tasks.values()].find(
      (one) => one.phase === 'landing' && landingId(one) === order.id,
    );
    for (const edge of record?.facts.after ?? []) {
      const upstream = this.state.tasks.get(edge.task)?.outcome?.kind;
      if (edge.added && upstream !== 'landed' && upstream !== 'finished')
        throw new Broken(`${order.id} was handed over though ${edge.task} is ${upstream ?? 'not over'}`);
    }
  }

  /** Whatever coordinator heard that an issue was closed: no task of it goes on. */
  private checkIssues(): void {
    if (this.unread) return;
    for (const { id, kind, phase, stop, facts } of this.state.tasks.values()) {
      const word = kind === 'task' && facts.issue !== undefined ? this.said.get(facts.issue) : undefined;
      if (!word || phase === 'ended' || phase === 'held' || stop?.verdict === 'cancel') continue;
      if (id.includes('~')) continue;
      if (this.state.rules.issues[word.state] === 'cancel')
        throw new Broken(`${id} is ${phase} though its issue ${word.key} is ${word.state}`);
    }
  }

  /** Nobody waits in a circle, and who waits for another's end keeps nothing from others meanwhile. */
  private checkGraph(): void {
    const live = [...this.state.tasks.values()].filter((record) => record.phase !== 'ended');
    const circle = findCycle(live.map(({ id, facts }) => [id, facts.after.map((edge) => edge.task)]));
    if (circle) throw new Broken(`tasks wait in a circle: ${circle.join(' -> ')}`);
    for (const { id, holds, hold, unseen } of live)
      if (
        holds &&
        hold?.code.startsWith('UPSTREAM_') &&
        !unseen?.some(({ until }) => until + this.state.rules.lockDelay > this.now)
      )
        throw new Broken(`${id} waits for ${hold.evidence.upstream} and keeps its claims`);
  }

  private checkOutcomes(): void {
    for (const record of this.state.tasks.values()) {
      if (record.phase === 'ended' && !record.id.includes('~') && !record.outcome?.code)
        throw new Broken(`${record.id} ended without a reason`);
      if (!record.outcome || record.kind === 'hand') continue;
      const key = `${this.line} ${record.id.split('~')[0]} ${record.life}`;
      const known = this.outcomes.get(key);
      if (known && JSON.stringify(known) !== JSON.stringify(record.outcome))
        throw new Broken(`${record.id} has a second outcome: ${known.code}, ${record.outcome.code}`);
      this.outcomes.set(key, record.outcome);
    }
  }

  private checkExclusion(): void {
    const holders = [...this.state.tasks.values()].filter((record) => record.holds);
    for (const [i, a] of holders.entries())
      for (const b of holders.slice(i + 1))
        if (clash(patterns(a), patterns(b))) throw new Broken(`${a.id} and ${b.id} hold overlapping claims`);
    this.checkRoom(holders.map(({ id, facts }) => ({ id, uses: facts.uses ?? [] })));
    for (const hand of this.hands.values())
      if (hand.holdsAt(this.now) && hand.fence && this.grantedHere.has(fenceText(hand.fence)))
        if (!this.state.tasks.get(hand.id)?.holds)
          throw new Broken(`${hand.id} was promised its claim until ${hand.until}, and has lost it`);
    const live = this.agents.filter(
      (agent) =>
        agent.alive &&
        agent.leaseEnd > this.now &&
        this.grantedHere.has(fenceText(agent.fence)) &&
        !this.expired.has(fenceText(agent.fence)),
    );
    for (const [i, a] of live.entries())
      for (const b of live.slice(i + 1))
        if (a.task !== b.task && clash(a.patterns, b.patterns))
          throw new Broken(
            `agents of ${a.task} ${fenceText(a.fence)} and ${b.task} ${fenceText(b.fence)} live on overlapping claims`,
          );
    this.checkRoom(live.map(({ task, uses }) => ({ id: task, uses })));
    for (const agent of live)
      for (const holder of holders) {
        const name = holder.id.split('~')[0];
        if (name !== agent.task && clash(agent.patterns, patterns(holder)))
          throw new Broken(`${holder.id} holds what the live agent of ${agent.task} writes`);
      }
  }

  /** Invariant 1 for resources: within their capacity, and nobody shares beside an exclusive use. */
  private checkRoom(users: { id: string; uses: Use[] }[]): void {
    for (const [resource, { capacity }] of Object.entries(this.state.rules.resources)) {
      const modes = new Map<string, string>();
      for (const { id, uses } of users)
        for (const use of uses) if (use.resource === resource) modes.set(`${id} ${use.mode}`, use.mode);
      const alone = [...modes.values()].filter((mode) => mode === 'exclusive').length;
      if (alone > capacity || (alone > 0 && alone < modes.size))
        throw new Broken(`there is no room in ${resource} for ${[...modes.keys()].join(', ')}`);
    }
  }

  private checkIndexes(): void {
    const { state } = this;
    if (state.ready.size > 0) throw new Broken('decide left work undone');
    const running = new Set<string>();
    const byRole = new Map<string, number>();
    const watched = new Map<string, number>();
    for (const [key, ids] of state.watchers)
      for (const id of ids) {
        watched.set(id, (watched.get(id) ?? 0) + 1);
        const record = state.tasks.get(id);
        if (record?.phase !== 'held') throw new Broken(`${id} watches ${key} though it is ${record?.phase}`);
        if (record.hold?.on !== key) throw new Broken(`${id} watches ${key}, not ${record.hold?.on}`);
      }
    for (const record of state.tasks.values()) {
      const { id, phase, kind } = record;
      const { role } = record.facts;
      if (kind === 'task' && (phase === 'running' || phase === 'stopping')) {
        running.add(id);
        if (role) byRole.set(role, (byRole.get(role) ?? 0) + 1);
      }
      if ((kind === 'hand' || (phase !== 'held' && phase !== 'ended')) && record.decisions.length === 0)
        throw new Broken(`${id} is ${phase}, and nothing says why`);
      if (phase === 'held' && watched.get(id) !== 1) throw new Broken(`${id} is held and watches nothing`);
      if (phase === 'landing' && role && !state.landing.get(role)?.has(id))
        throw new Broken(`${id} is not in landing`);
      if (record.holds) {
        for (const { pattern } of patterns(record))
          if (!state.claims.firstOverlap('?', record.repository, [pattern]))
            throw new Broken(`${id} has lost a claim`);
      }
      this.checkPinned(record);
      if (phase === 'ended' && record.holds && record.restUntil === undefined)
        throw new Broken(`${id} has ended and holds its claims for ever`);
    }
    for (const [role, ids] of state.landing)
      for (const id of ids) {
        const record = state.tasks.get(id);
        if (record?.phase !== 'landing' || record.facts.role !== role)
          throw new Broken(`${id} is no landing`);
      }
    if (running.size !== state.running.size || [...running].some((id) => !state.running.has(id)))
      throw new Broken('the count of running tasks is wrong');
    for (const role of Object.keys(state.rules.roles))
      if ((state.runningByRole.get(role) ?? 0) !== (byRole.get(role) ?? 0))
        throw new Broken(`the count of running tasks of ${role} is wrong`);
  }

  /** Whoever waits for more paths keeps its agent and its claims: so nobody on the way may wait for it, or for a slot. */
  private checkExtensions(): void {
    const { state } = this;
    if (state.toExtend.size > 0) throw new Broken('decide left an extension undecided');
    for (const [key, ids] of state.extenders)
      for (const id of ids) {
        const record = state.tasks.get(id);
        if (record?.phase !== 'running' && record?.phase !== 'stopping')
          throw new Broken(`${id} waits for more paths though it is ${record?.phase}`);
        if (!record.extension?.on?.includes(key))
          throw new Broken(`${id} waits for ${key}, not ${record.extension?.on}`);
        if (record.phase === 'stopping' || key === 'recovery') continue;
        const seen = new Set([key.slice('holder:'.length)]);
        for (const name of seen) {
          const other = state.tasks.get(name);
          if (name === id) throw new Broken(`${id} waits for itself: ${[...seen].join(', ')}`);
          if (!other?.holds) throw new Broken(`${id} waits for ${name}, which holds nothing`);
          if (other.phase === 'held' || other.phase === 'backoff')
            throw new Broken(`${id} waits with its agent for ${name}, which is ${other.phase}`);
          for (const on of (other.phase === 'running' && other.extension?.on) || [])
            if (on.startsWith('holder:')) seen.add(on.slice('holder:'.length));
        }
      }
  }

  /** No claim is kept for ever while no agent runs under it. */
  private checkPinned({ id, phase, holds, kind, stop, pinnedUntil, unseen = [] }: TaskRecord): void {
    if (!holds || kind === 'hand' || stop || !['backoff', 'held', 'landing'].includes(phase)) return;
    const limit = phase === 'landing' ? RULES.pinned.landing : RULES.pinned.backoff;
    const latest = Math.max(this.now + limit, ...unseen.map(({ until }) => until + RULES.lockDelay));
    if (pinnedUntil === undefined || pinnedUntil > latest || pinnedUntil < this.now)
      throw new Broken(`the claims of ${id}, which is ${phase}, are pinned until ${pinnedUntil}`);
  }

  /** No lost wake-up: looking again at every held task starts and cancels nothing. */
  private checkNothingForgotten(): void {
    if (![...this.state.tasks.values()].some(({ phase, extension }) => phase === 'held' || extension?.on))
      return;
    const again = restore(this.copied());
    const reserved = reservationAt(again, this.now)?.task;
    for (const record of again.tasks.values()) {
      if (record.phase === 'held') again.ready.add(record.id);
      if (record.extension?.on) again.toExtend.add(record.id);
    }
    for (const due = again.deadlines; due.take(this.now); );
    const taken = decide(again, { kind: 'tick' }, this.now);
    // Looked at again, an older one waits its turn that waited for something else: paths are kept free for that instead.
    const moved = reserved && reservationAt(again, this.now)?.task !== reserved;
    const found = taken.find(({ task, verdict, code, evidence }) => {
      const hold = this.state.tasks.get(task)?.hold;
      if (moved && hold?.code === 'PATH_RESERVED' && hold.evidence.holder === reserved.id) return false;
      // Who came to hold something of it later is looked at once those before have let go.
      const { on = [] } = this.state.tasks.get(task)?.extension ?? {};
      if (code === 'EXTENSION_RETRIED' && !on.includes(`holder:${evidence.holder}`)) return false;
      // Another holder of the same path is named now: it waits all the same.
      // Through another holder a circle may show, as it does once the first one has let go: UPSTREAM_NEEDS_CLAIM.
      return verdict !== 'hold' && code !== 'EXTENSION_WAITS' && code !== 'UPSTREAM_NEEDS_CLAIM';
    });
    if (found) throw new Broken(`${found.task} was forgotten: it could ${found.verdict} (${found.code})`);
  }

  /** For decide to change. What it replaces as a whole is shared, and only the last decision is ever looked back at. */
  private copied(): CarriedState {
    const { rules, tasks, ...rest } = carry(this.state);
    const copies = tasks.map(({ facts, decisions, ...task }) => ({
      ...copy({ ...task, decisions: decisions.slice(-1) }),
      facts,
    }));
    return { ...copy({ ...rest }), rules, tasks: copies };
  }

  private checkLanding(order: LandingOrder, life: string): void {
    for (const [id, entry] of this.ledger)
      if (entry.task === order.task && entry.life === life && entry.result.kind === 'landed')
        throw new Broken(`${order.task} lands twice: ${id} and ${order.id}`);
    // A grant of an earlier coordinator that this one has not heard of yet is nothing it could refuse.
    if (!this.grantedHere.has(fenceText(order.fence))) return;
    const record = [...this.state.tasks.values()].find(
      (one) =>
        one.id.split('~')[0] === order.task && one.phase === 'landing' && sameFence(one.fence, order.fence),
    );
    if (!record?.holds) throw new Broken(`a stale result of ${order.task} lands: ${order.id}`);
  }

  private checkEnd(): void {
    const { state } = this;
    for (const record of state.tasks.values())
      if (record.phase !== 'ended') {
        const why = JSON.stringify(record.hold ?? record.stop ?? record.decisions.at(-1));
        throw new Broken(`${record.id} is stuck in ${record.phase}: ${why}`);
      }
    for (const { id } of [...this.live(), ...this.openHands()])
      throw new Broken(`${id} never heard of its outcome`);
    const all = Object.keys(RULES.repositories).map((name) => parsePattern(`${name}:.`));
    const overlap = state.claims.firstOverlap('?', 'app', all);
    if (overlap) throw new Broken(`${overlap.holder} never released ${overlap.theirs}`);
    for (const resource of Object.keys(state.rules.resources)) {
      const [user] = state.uses.inTheWay('?', { resource, mode: 'exclusive' }, 1);
      if (user !== undefined) throw new Broken(`${user} never released ${resource}`);
    }
    if (state.running.size > 0) throw new Broken('slots are still taken');
    if (state.landing.size > 0) throw new Broken('landings are still open');
    if (state.watchers.size > 0) throw new Broken('something still watches');
    for (const task of this.tasks.values()) this.checkTruth(task);
  }

  /** What the audit is given after a run: a packet for each life that has ended, and the ledger. */
  auditInput(): AuditInput {
    const packets = [...this.state.tasks.keys()].flatMap((id) => {
      const packet = packetOf(this.state, id);
      if (!packet) return [];
      const fences = this.agents.filter((agent) => agent.task === packet.task && agent.life === packet.life);
      const attempts = fences.map(({ fence }, i) => ({ attempt: i + 1, fence, started: '' }));
      return [{ ...packet, attempts }];
    });
    const entries = [...this.ledger].filter(([, { result }]) => result.kind === 'landed');
    const ledger = entries.map(([landing, { result, task }], i) => ({
      number: i + 1,
      kind: 'landed' as const,
      landing,
      task,
      fence: this.agents.find((agent) => landing === `${agent.task}#${fenceText(agent.fence)}`)?.fence,
      from: '',
      to: result.kind === 'landed' ? result.commit : '',
    })) as LedgerEntry[];
    const maxRunning = Object.fromEntries(
      Object.entries(this.rules.roles).map(([role, rule]) => [role, rule.maxRunning]),
    );
    // A workflow that was terminated before it could say a word is known to nobody.
    const submitted = [...this.tasks.values()].filter((task) => !task.terminated).map((task) => task.id);
    return { submitted, packets, ledger, ceiling: 4, maxRunning, kinds: this.rules, places: this.rules };
  }

  /** Outcome and ledger tell the same story of a task's life. */
  private checkTruth(task: SimTask): void {
    if (!task.outcome) return;
    if (task.outcome.code === 'CANCELLED_BY_REQUEST' && !task.cancel)
      throw new Broken(`${task.id} was cancelled though nobody asked for it`);
    const landed = [...this.ledger.values()].filter(
      (entry) => entry.task === task.id && entry.life === task.life && entry.result.kind === 'landed',
    );
    if (task.outcome.kind === 'landed') {
      if (landed.length !== 1) throw new Broken(`${task.id} landed ${landed.length} times`);
      const result = landed[0]?.result;
      if (result?.kind === 'landed' && result.commit !== task.outcome.commit)
        throw new Broken(`${task.id} landed as another commit`);
    } else if (landed.length > 0) throw new Broken(`${task.id} is ${task.outcome.code}, but it landed`);
  }
}

const at = <T>(list: readonly T[], index: number): T | undefined =>
  list[list.length === 0 ? 0 : index % list.length];

/** A claim and the repository it lies in. */
interface Placed {
  repository: string;
  pattern: Pattern;
}

const parsed = new Map<string, Pattern>();

function placed(writes: string[], home = RULES.defaultRepository): Placed[] {
  return writes.map((claim) => {
    const pattern = parsed.get(claim) ?? parsePattern(claim);
    parsed.set(claim, pattern);
    return { repository: pattern.repository ?? home, pattern };
  });
}

const patterns = (record: TaskRecord): Placed[] => placed(record.facts.writes, record.repository);

const clashing = (a: TaskRecord, b: TaskRecord): boolean => clash(patterns(a), patterns(b));

const isWritten = (writes: string[], path: string): boolean =>
  clash(placed(writes, 'app'), placed([path], 'app'));

const clash = (a: Placed[], b: Placed[]): boolean =>
  a.some((x) =>
    b.some(
      (y) =>
        x.repository === y.repository &&
        overlaps(x.pattern, y.pattern, RULES.repositories[x.repository]?.caseInsensitive),
    ),
  );
