// What travels between tasks, coordinator and writers. Every message states its sender's whole current state under
// the sender's own rising number, so a lost, late, doubled or reordered one is healed by the next.

import type { Assumption, OnBroken } from './assumptions.js';
import type { Rules } from './config.js';
import type { Fence } from './fence.js';
import type { FleetWord, FreezeReport } from './freeze.js';
import type { PartyFacts, Peer } from './peering-grants.js';
import type { Evidence, ReasonCode } from './reasons.js';
import type { Use } from './resources.js';
import type { Isolation } from './sandbox.js';

/** Of an event that a person's signal caused: the coordinator numbers it when it is decided on. */
export const UNNUMBERED = 0;

/** A word's number; of a person's one that is higher than what is known, so that the last of them counts. */
export const numberOf = (
  { number }: { number: number },
  known: { number: number } | undefined,
  now: number,
): number => (number === UNNUMBERED ? Math.max((known?.number ?? 0) + 1, now) : number);

export interface PlanRef {
  id: string;
  /** How many tasks the plan has; it is complete when so many have arrived. Absent: it is complete already. */
  size?: number;
}

export interface Edge {
  /** Full name: plan/task. */
  task: string;
  until?: 'landed' | 'finished';
  /** Found while the task was live: it counts for every attempt and landing that has not begun. */
  added?: true;
  /** Who found it. */
  by?: string;
}

/** What coordination needs to know of a task. */
export interface TaskFacts {
  title?: string;
  agent?: string;
  role?: string;
  repository?: string;
  writes: string[];
  reads: string[];
  /** Resources it needs beside its paths. */
  uses?: Use[];
  after: Edge[];
  /** The upstream, by its full name, whose commits it goes on with; there is an edge to it as well. */
  takesOver?: string;
  assumes?: Assumption[];
  /** What a broken assumption, or a landing in what it reads, does to it. */
  onBroken?: OnBroken;
  /** End rather than wait for claims that are busy when it first asks for its own, see busy.ts. */
  ifBusy?: 'fail';
  /** Of those that may run and are as urgent, the higher goes first. 0 when left out. */
  priority?: number;
  issue?: string;
  /** Whose trees it asks to see, by full names. */
  peers?: Peer[];
  /** Milliseconds. */
  lease?: number;
  /** Attempts at most; backoff in milliseconds. */
  retry?: { attempts?: number; backoff?: number; maxBackoff?: number };
}

export type FailureCode = Extract<
  ReasonCode,
  | 'AGENT_FAILED'
  | 'AGENT_TIMED_OUT'
  | 'AGENT_SILENT'
  | 'OUTPUT_EXCEEDED'
  | 'DISK_EXCEEDED'
  | 'WORKSTATION_FAILED'
  | 'SETUP_FAILED'
  | 'WORKER_LOST'
  | 'NO_COMMITS'
  | 'HANDOFF_CONFLICT'
  | 'CANCELLED_BY_REQUEST'
>;

/** What came out of an attempt. `dead`: every process of its workstation was seen to be gone. */
export type AttemptResult =
  | { kind: 'commits'; dead: boolean; base: string; commit: string; ref: string }
  | { kind: 'done'; dead: boolean }
  | {
      kind: 'failed';
      dead: boolean;
      code: FailureCode;
      text: string;
      final?: boolean;
      /** What it had done until then, under the attempt's ref. */
      kept?: { base: string; commit: string; ref: string };
    };

export interface CancelRequest {
  code: Extract<ReasonCode, 'CANCELLED_BY_REQUEST' | 'CANCELLED_IN_TEMPORAL'>;
  by?: string;
  text?: string;
}

/** What a running task asks for: more paths. */
export interface Extend {
  /** Rises with each asking of a task's life. */
  number: number;
  paths: string[];
  /** Wait for the paths rather than be refused. */
  wait: boolean;
}

/** A person's word on one peer. */
export interface PeerWord {
  granted: boolean;
  /** Rises with each word of the task's life. */
  number: number;
  by: string;
  /** Milliseconds since the epoch, by the clock of the host that confirmed it; for people only. */
  since?: number;
}

/** All that was said of one peer, and whom the task was told its owner is, for a coordinator that knows neither. */
export interface PeerSaid {
  as: string;
  word?: PeerWord;
  /** The latest grant that was asked for and not allowed. */
  refused?: { number: number; by: string; text: string };
  owner?: PartyFacts;
}

/** What the coordinator states of one peer. */
export interface PeerTold {
  as: string;
  granted: boolean;
  code: ReasonCode;
  evidence: Evidence;
  /** The number of the word that this goes by; 0 when there was none. */
  word: number;
  owner?: PartyFacts;
}

export interface TaskReport {
  kind: 'task';
  id: string;
  /** One life of the task's workflow: a retry or a reset begins another. Starts with its time, see earlierLife. */
  life: string;
  number: number;
  /** The newest coordinator it has heard of: whatever an earlier one still says is ignored from then on. */
  epoch?: number;
  /** It waits for the answer: the standing is said at once, be it a hold. */
  asks?: boolean;
  plan: PlanRef;
  facts: TaskFacts;
  /** The attempt it waits for, runs or has ended. */
  attempt: number;
  at: 'waiting' | 'running' | 'stopped';
  /** The grant it runs or ran under. */
  fence?: Fence;
  result?: AttemptResult;
  /** Until it is answered. */
  extend?: Extend;
  /** What people said of its peers. */
  peers?: PeerSaid[];
  cancel?: CancelRequest;
}

export interface Decision {
  seq: number;
  /** Milliseconds since the epoch, by the coordinator's clock; for people only. */
  at: number;
  attempt: number;
  /** `note`: written down; the task goes on as before. */
  verdict: 'run' | 'hold' | 'cancel' | 'retry' | 'land' | 'end' | 'note';
  code: ReasonCode;
  evidence: Evidence;
}

export interface Outcome {
  kind: 'landed' | 'finished' | 'failed' | 'cancelled';
  code: ReasonCode;
  text: string;
  commit?: string;
  /** HANDED_OFF: to whom, and what its commits began from. */
  handed?: { to: string; base: string };
}

/** Commits of another task that a task goes on with. */
export interface TakenOver {
  /** Whose they are, by its full name. */
  task: string;
  base: string;
  commit: string;
}

/** What the coordinator states to a task. */
export interface Standing {
  /** The life of the task that this is said to; any other ignores it. */
  life: string;
  epoch: number;
  number: number;
  phase: 'held' | 'running' | 'stopping' | 'landing' | 'ended';
  attempt: number;
  decision: Decision;
  fence?: Fence;
  /** Milliseconds. */
  lease?: number;
  /** To a person's claim: the number of the report that this answers. */
  heard?: number;
  /** The answer to what the task asks for. With retry it is stopped, and starts again with all the paths. */
  extension?: Pick<Extend, 'number'> & {
    answer: 'waiting' | 'granted' | 'refused' | 'retry';
    paths: string[];
    evidence: Evidence;
  };
  /** All its peers. */
  peers?: PeerTold[];
  /** With a grant: the commits that it goes on with, of the task that it takes over. */
  from?: TakenOver;
  outcome?: Outcome;
  /** Upstreams that were to be added and would have closed a circle: the task gives them up. */
  refused?: string[];
  /** With the outcome: every decision that was kept, oldest first, and what ran beside. */
  story?: Decision[];
  beside?: Evidence['beside'];
  /** Milliseconds that a worker should wait between two signals to the coordinator under load. */
  gap?: number;
}

export interface LandingOrder {
  /** task#fence: unique for ever. */
  id: string;
  task: string;
  title?: string;
  attempt: number;
  fence: Fence;
  base: string;
  commit: string;
  ref: string;
  writes: string[];
  issue?: string;
  withdraw?: boolean;
}

/** What the coordinator states to a writer: all landings handed over and not yet settled, oldest first. */
export interface Orders {
  epoch: number;
  number: number;
  landings: LandingOrder[];
  /** The role's freeze, for a writer that begins a new life and cannot know it. */
  frozen?: FreezeReport;
  /** The last word on the fleet; the writer keeps it. */
  fleet?: FleetWord;
}

export type RefusalCode = Extract<
  ReasonCode,
  | 'LANDING_CONFLICT'
  | 'OUTSIDE_CLAIM'
  | 'OTHERS_OWN'
  | 'REGENERATE_FAILED'
  | 'VERIFY_FAILED'
  | 'LANDING_REFUSED'
>;

/** Pushes of others that the writer found on the branch: its newest commit, and the paths that changed. */
export interface Outside {
  commit: string;
  paths: string[];
}

export type LandingResult = { outside?: Outside } & (
  | {
      id: string;
      kind: 'landed';
      commit: string;
      entry: number;
      behind: number;
      /** What it changed on the branch; the claims when left out. */
      changed?: string[];
      /** How many verify commands passed, and where they ran; left out where there are none. */
      verified?: { commands: number; isolation: Isolation };
    }
  | { id: string; kind: 'refused'; code: RefusalCode; text: string }
  | { id: string; kind: 'withdrawn' }
  | {
      id: string;
      kind: 'rolled-back';
      code: Extract<ReasonCode, 'DEPLOY_FAILED' | 'SURFACE_FAILED'>;
      text: string;
    }
);

export interface WriterReport {
  kind: 'writer';
  role: string;
  life: string;
  number: number;
  frozen?: FreezeReport;
  /** What it was told of the fleet. */
  fleet?: FleetWord;
  /** Results that the coordinator has not yet taken off its orders. */
  results: LandingResult[];
}

/** A claim of a person, or of an agent that Signalbox did not launch: the whole state of its workflow. */
export interface HandReport {
  kind: 'hand';
  id: string;
  life: string;
  number: number;
  /** As in TaskReport. */
  epoch?: number;
  by: string;
  repository?: string;
  writes: string[];
  /** Milliseconds, from the grant or from the latest renewal. */
  lease: number;
  note?: string;
  /** Wait for the paths rather than be refused at once. */
  wait: boolean;
  /** The grant it holds under, and how long that has left, in milliseconds. */
  fence?: Fence;
  left?: number;
  /** How often it was renewed. */
  renewed?: number;
  released?: { by: string };
}

export interface IssueReport {
  kind: 'issue';
  key: string;
  state: string;
  /** Of its text, as the tracker counts. */
  revision?: string;
  number: number;
}

/** A person has frozen or resumed the whole fleet. */
export interface FleetReport extends FleetWord {
  kind: 'fleet';
}

/** A worker's word on the agents that live on its host. */
export interface WorkerReport {
  kind: 'worker';
  renew: { task: string; fence: Fence }[];
  dead: { task: string; fence: Fence }[];
}

/** A worker saw that a workflow is closed, though the coordinator counts on it. */
export interface GoneReport {
  kind: 'gone';
  /** A task, or `writer:role`. */
  task: string;
  life?: string;
}

/** The configuration in force, said by a worker when it starts. */
export interface RulesReport {
  kind: 'rules';
  rules: Rules;
}

export type Message =
  | RulesReport
  | GoneReport
  | TaskReport
  | WriterReport
  | HandReport
  | IssueReport
  | FleetReport
  | WorkerReport;
