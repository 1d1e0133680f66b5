// The change packet: the record a reviewer or investigator reads. One JSON document per life of a task, under a ref
// of its own; it outlives Temporal's retention.

import { type ArtifactRecord, artifactLines } from './artifact.js';
import { type Assumption, expectation, type OnBroken } from './assumptions.js';
import { formatDuration } from './durations.js';
import type { Fence } from './fence.js';
import type { AttemptResult, Decision, Edge, Outcome, Standing, TaskReport } from './messages.js';
import type { Peer } from './peering-grants.js';
import { type Beside, explain, type ReasonCode } from './reasons.js';
import { type Use, useText } from './resources.js';
import { type SetupRecord, setupLines } from './setup.js';

export interface AttemptRecord {
  attempt: number;
  fence: Fence;
  /** ISO 8601, by Temporal's clock. */
  started: string;
  ended?: string;
  exitCode?: number;
  signal?: string;
  result?: AttemptResult;
  /** What the agent said in its report file, shortened. */
  report?: string;
  /** The last lines of its output, shortened. */
  tail?: string;
  /** `git diff --numstat`-like lines: paths and what happened to them, at most 200. */
  changes?: string[];
  changesMore?: number;
  /** What was left uncommitted in the clone and was committed for the agent. */
  committedForAgent?: boolean;
  /** A read-only task's changes: not landed. */
  discarded?: number;
  /** A read-only task's: what it left in its result folder beside the report. */
  artifact?: ArtifactRecord;
  /** The id of the host it ran on, which has its log. */
  host?: string;
  isolation?: IsolationRecord;
  /** It went on in the clone that the attempt before it had left on the host. */
  reused?: true;
  /** Its clone stayed there for the next attempt. */
  cloneKept?: true;
  /** What its setup commands came to, in their order. */
  setup?: SetupRecord[];
  /** Processes of it that were ended because the memory limit was reached. */
  outOfMemory?: number;
  /** What it saw of other tasks, each as it was last. */
  peers?: PeerRecord[];
  /** Connections that its network does not allow, and how often each was tried. */
  refused?: { host: string; port: number; why: string; count: number }[];
}

/** Where an attempt ran that is over, and when. */
export type EndedAttempt = Pick<AttemptRecord, 'attempt' | 'fence' | 'host' | 'started' | 'ended'>;

export const endedAttempt = ({ attempt, fence, host, started, ended }: AttemptRecord): EndedAttempt => ({
  attempt,
  fence,
  started,
  ...(ended === undefined ? {} : { ended }),
  ...(host === undefined ? {} : { host }),
});

/** A snapshot that an attempt was given, or why not. */
export interface PeerRecord extends Peer {
  /** ISO 8601, by the clock of the host. */
  at: string;
  /** How often it was made. */
  made: number;
  commit?: string;
  files?: number;
  bytes?: number;
  /** How many entries the owner's tree has that are not in it. */
  leftOut?: number;
  /** Why it was not made, the last time. */
  refused?: { code: ReasonCode; text: string };
}

/** How an attempt was kept apart from its host and from others. */
export type IsolationRecord =
  | { kind: 'none' }
  | {
      kind: 'sandbox';
      /** The program and its version. */
      by: string;
      /** How memory and processes were limited. */
      limits: string;
      network: 'none' | 'allow' | 'host';
    };

export interface Packet {
  version: 1;
  task: string;
  fleet: string;
  life: string;
  title?: string;
  prompt?: string;
  agent?: string;
  role?: string;
  issue?: string;
  writes: string[];
  reads: string[];
  /** Resources it used beside its paths. */
  uses?: Use[];
  after: Edge[];
  /** Whose commits it went on with. */
  takesOver?: string;
  /** Whose trees it asked to see. */
  peers?: Peer[];
  assumes?: Assumption[];
  onBroken?: OnBroken;
  outcome: Outcome;
  attempts: AttemptRecord[];
  decisions: Decision[];
  beside: Beside[];
}

/** What is known of a packet before the outcome. */
export type PacketDraft = Omit<Packet, 'outcome' | 'decisions' | 'beside'>;

export function draftOf(
  { id, life, facts }: Pick<TaskReport, 'id' | 'life' | 'facts'>,
  more: Pick<Packet, 'fleet' | 'attempts'> & Partial<Pick<Packet, 'prompt'>>,
): PacketDraft {
  const { title, agent, role, issue, uses, writes, reads, after, takesOver, peers, assumes, onBroken } =
    facts;
  return {
    version: 1,
    task: id,
    life,
    writes,
    reads,
    after,
    ...more,
    ...(title ? { title } : {}),
    ...(agent ? { agent } : {}),
    ...(role ? { role } : {}),
    ...(issue ? { issue } : {}),
    ...(uses ? { uses } : {}),
    ...(takesOver ? { takesOver } : {}),
    ...(peers ? { peers } : {}),
    ...(assumes ? { assumes } : {}),
    ...(onBroken ? { onBroken } : {}),
  };
}

/** The packet of a task that was told its outcome. */
export const packetWith = (draft: PacketDraft, standing: Standing, outcome: Outcome): Packet => ({
  ...draft,
  outcome,
  decisions: standing.story ?? [standing.decision],
  beside: standing.beside ?? [],
});

/** Where a packet is kept in the tree of the packets ref. */
export const packetPath = (task: string, life: string): string => `${task}/${life}.json`;

/** The files that a task's attempts changed; undefined when that is not known, or not of all of them. */
export function changedPaths({ attempts }: Packet): string[] | undefined {
  const known = attempts.filter((attempt) => attempt.changes);
  if (known.length === 0 || known.some((attempt) => attempt.changesMore)) return undefined;
  const paths = known.flatMap(({ changes = [] }) => changes.map((change) => change.slice(2)));
  return [...new Set(paths)].sort();
}

/** A packet as people read it. Plain text, no control characters but line ends. */
export function printPacket(packet: Packet): string {
  const { outcome } = packet;
  const lines = [
    `Task      ${packet.task}${packet.title ? `  ${packet.title}` : ''}`,
    `Outcome   ${outcome.kind}: ${outcome.text} [${outcome.code}]`,
    ...(outcome.commit ? [`Commit    ${outcome.commit}`] : []),
    ...(packet.issue ? [`Issue     ${packet.issue}`] : []),
    `Role      ${packet.role ?? 'none: read-only'}`,
    ...(packet.writes.length > 0 ? [`Claims    ${packet.writes.join(', ')}`] : []),
    ...(packet.uses?.length ? [`Uses      ${packet.uses.map(useText).join(', ')}`] : []),
    ...(packet.reads.length > 0 ? [`Reads     ${packet.reads.join(', ')}`] : []),
    ...(packet.after.length > 0 ? [`After     ${packet.after.map((edge) => edge.task).join(', ')}`] : []),
    ...(packet.takesOver ? [`Takes     over from ${packet.takesOver}`] : []),
    ...(packet.assumes ?? []).map((one) => `Assumes   ${expectation(one)}`),
    `Beside    ${packet.beside.length === 0 ? 'nothing ran beside it' : ''}`,
    ...packet.beside.map((other) => `          ${other.task}: safe, ${other.why}`),
    'Attempts',
    ...packet.attempts.flatMap((attempt) => printAttempt(packet.task, attempt)),
    'Decisions',
    ...packet.decisions.map(printDecision),
  ];
  return `${lines.map((line) => clean(line.trimEnd())).join('\n')}\n`;
}

function printAttempt(task: string, attempt: AttemptRecord): string[] {
  const { started, ended, result } = attempt;
  const took = ended ? ` in ${formatDuration(Date.parse(ended) - Date.parse(started))}` : '';
  const came = !result
    ? 'no result'
    : result.kind === 'commits'
      ? `commits up to ${result.commit}`
      : result.kind === 'done'
        ? 'done'
        : result.code === 'CANCELLED_BY_REQUEST'
          ? 'ended on demand'
          : `failed: ${result.text || result.code}`;
  const exit =
    attempt.exitCode !== undefined
      ? ` (exit code ${attempt.exitCode})`
      : attempt.signal
        ? ` (${attempt.signal})`
        : '';
  return [
    `  ${attempt.attempt}. ${came}${exit}${took}, fence ${attempt.fence.epoch}.${attempt.fence.number}${attempt.host ? `, on ${attempt.host}` : ''}`,
    ...isolationLines(attempt),
    ...(attempt.reused ? ['     in the clone of the attempt before it, with its build caches'] : []),
    ...(attempt.peers ?? []).map(peerLine),
    ...setupLines(attempt.setup),
    ...(attempt.committedForAgent ? ['     uncommitted changes were committed for the agent'] : []),
    ...(attempt.discarded
      ? [`     ${attempt.discarded} changed paths of a read-only task were discarded`]
      : []),
    ...(attempt.changes ?? []).map((change) => `     ${change}`),
    ...(attempt.changesMore ? [`     and ${attempt.changesMore} more`] : []),
    ...artifactLines(task, attempt.attempt, attempt.artifact),
    ...(attempt.report
      ? [
          '     report:',
          ...attempt.report
            .trimEnd()
            .split('\n')
            .map((line) => `       ${line}`),
        ]
      : []),
  ];
}

function isolationLines({ isolation, outOfMemory, refused = [] }: AttemptRecord): string[] {
  if (isolation === undefined) return [];
  if (isolation.kind === 'none')
    return ['     NOT ISOLATED: it ran as the worker, with all that the worker can reach'];
  const { by, limits, network } = isolation;
  return [
    `     in a sandbox (${by}), limits ${limits}, network ${network}`,
    ...(outOfMemory ? [`     ${outOfMemory} processes were ended at the memory limit`] : []),
    ...refused.map(({ host, port, why, count }) => `     refused ${count}x ${host}:${port}: ${why}`),
  ];
}

function peerLine({ task, as, commit, files = 0, leftOut = 0, made, refused }: PeerRecord): string {
  const what = commit ? `commit ${commit.slice(0, 12)}` : 'its working tree';
  const saw = `saw ${task} as .shared/${as}: ${what}, ${files} files, ${leftOut} left out${made > 1 ? `, made ${made} times` : ''}`;
  const last = refused ? `: ${refused.text} [${refused.code}]` : '';
  return `     ${made > 0 ? saw : `did not see ${task} as .shared/${as}`}${last}`;
}

export function printDecision(decision: Decision): string {
  return `  #${decision.seq} ${new Date(decision.at).toISOString()} ${decision.verdict.padEnd(6)} ${decision.code}: ${explain(decision.code, decision.evidence)}`;
}

/** Text of others on its way to a terminal: control characters, and what turns the direction of the text, are shown, not obeyed. */
export const clean = (text: string): string =>
  text.replace(
    /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (c) => {
      const code = c.charCodeAt(0);
      if (c === '\t') return '  ';
      return code < 256
        ? `\\x${code.toString(16).padStart(2, '0')}`
        : `\\u${code.toString(16).padStart(4, '0')}`;
    },
  );

/** The same for JSON, which stays the same document: what JSON itself leaves as it is, a terminal may obey. */
export const cleanJson = (json: string): string =>
  json.replace(
    /[\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
