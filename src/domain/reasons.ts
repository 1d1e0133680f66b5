// Every reason code there is, by kind, with its sentence for people. Codes are what programs and search attributes
// use; sentences are filled from the decision's evidence. docs/reasons.md is made from this file (`npm run reasons`).

import { formatDuration } from './durations.js';
import type { Isolation } from './sandbox.js';

export interface Evidence {
  /** Who stands in the way, or which task or person acted. */
  holder?: string;
  /** The holder's claim and the one it overlaps. */
  held?: string;
  path?: string;
  repository?: string;
  /** Claims that were added or given back. */
  paths?: string[];
  upstream?: string;
  issue?: string;
  state?: string;
  role?: string;
  /** A kind of agent. */
  agent?: string;
  resource?: string;
  /** Milliseconds since the epoch, by the coordinator's clock; for people only. */
  since?: number;
  /** All that stand in the way, when they may be several. */
  holders?: string[];
  rate?: string;
  limit?: number;
  arrived?: number;
  size?: number;
  commit?: string;
  /** How many verify commands passed, and where those ran. */
  verified?: number;
  isolation?: Isolation;
  /** Milliseconds that something takes or took. */
  duration?: number;
  /** Milliseconds that something may take. */
  within?: number;
  attempt?: number;
  by?: string;
  /** What the agent, the verify command or the person said. */
  text?: string;
  /** Of a broken assumption, and what its policy says. */
  expected?: string;
  found?: string;
  policy?: string;
  /** Whose tree is looked at, by which name, and what of it. */
  peer?: string;
  as?: string;
  from?: 'commit' | 'worktree';
  /** Tasks that hold claims or run at the moment of a grant, and why each is safe. */
  beside?: Beside[];
  /** How many more ran beside than are listed. */
  besideMore?: number;
}

export interface Beside {
  task: string;
  why: 'disjoint claims' | 'read-only' | 'a resource with room for both';
}

type Sentence = (e: Evidence) => string;

const clock = (ms: number | undefined) => (typeof ms === 'number' ? new Date(ms).toISOString() : `${ms}`);
const time = (ms: number | undefined) => (typeof ms === 'number' ? formatDuration(ms) : `${ms}`);
const listed = (paths: string[] | undefined) => paths?.join(', ') ?? '';
const froze = (e: Evidence) =>
  `${e.by ? ` by ${e.by}` : ''}${e.duration === undefined ? '' : ` for ${time(e.duration)}`}${because(e)}`;
const POLICIES: Record<string, string> = {
  continue: '; it goes on all the same',
  hold: '; it waits for that to be so again',
  retry: '; it is tried on the new state',
  cancel: '; it is cancelled',
};
const then = (e: Evidence) => POLICIES[e.policy ?? ''] ?? '';

const because = (e: Evidence) => (e.text ? `: ${e.text}` : '');

/** Why a task may go on: run, land. */
const ALLOW = {
  CLAIMS_FREE: () => 'nothing it writes is held by another task',
  READ_ONLY: () => 'it is read-only and reads a pinned commit',
  COMMITS_READY: (e) =>
    `its agent has ended with commits up to ${e.commit?.slice(0, 12)}, handed to the writer`,
  EDGE_ADDED: (e) =>
    `${e.by ?? 'somebody'} found that it depends on ${e.upstream}: whatever has not begun yet waits until that has ${e.state}`,
  EDGE_REFUSED: (e) =>
    `it cannot wait for ${e.upstream} too, for then tasks would wait in a circle${because(e)}`,
  EXTENDED: (e) => `its claims grew by ${listed(e.paths)}, which nobody else held`,
  GIVEN_BACK: (e) => `it gave back ${listed(e.paths)} while it ran`,
  CLAIM_KEPT: () =>
    'an earlier coordinator granted it, whose state is lost, and it holds under the same fence',
  TAKEN_OVER: () =>
    'an earlier coordinator granted the attempt, whose state is lost: it is taken over as it is, under the same fence',
  LANDING_UNKNOWN: () =>
    'its worker was lost, and an earlier coordinator, whose state is lost, may have let it land before: its writer is asked',
} satisfies Record<string, Sentence>;

/** Why a task waits. */
const HOLD = {
  RECOVERING: () =>
    'the coordinator started without state and waits until every live task has announced itself',
  PLAN_INCOMPLETE: (e) => `${e.arrived} of the plan's ${e.size} tasks have arrived`,
  UPSTREAM_PENDING: (e) => `waits for ${e.upstream} to have ${e.state}`,
  UPSTREAM_UNKNOWN: (e) => `waits for ${e.upstream}, which nobody has submitted yet`,
  ASSUMPTIONS_UNCHECKED: (e) => `what it assumes is being looked at${because(e)}`,
  LANDING_BLOCKED: (e) =>
    `its commits are ready, and its landing waits for ${e.upstream}, which it depends on`,
  ISSUE_ON_HOLD: (e) => `issue ${e.issue} is ${e.state}`,
  PATH_HELD: (e) => `${e.path} overlaps ${e.held}, held by ${e.holder}`,
  PATHS_RESTING: (e) =>
    `${e.path} overlaps ${e.held}, which rests because its holder ${e.holder} was not seen to end`,
  RESOURCE_HELD: (e) =>
    `${e.resource} is held by ${e.holders?.join(', ')}${e.state === 'resting' ? ', and rests because not every holder was seen to end' : ''}`,
  RESOURCE_UNKNOWN: (e) => `the configuration in force has no resource ${e.resource}`,
  RESOURCE_REFUSED: (e) => `${e.resource} ${e.text}`,
  RATE_LIMITED: (e) =>
    `${e.resource} may be used ${e.rate}; the next slot was ${time(e.duration)} away${because(e)}`,
  EXTENSION_REFUSED: (e) =>
    `it asked for ${e.path}, which overlaps ${e.held}, held by ${e.holder}, and did not want to wait`,
  EXTENSION_WAITS: (e) =>
    `it asked for ${e.path}, which overlaps ${e.held}, held by ${e.holder}, and waits with its agent and its claims`,
  PIN_EXPIRED: (e) =>
    `no agent of it has run for ${time(e.within)}: its claims are released, and asked for again`,
  PATH_RESERVED: (e) => `${e.path} overlaps ${e.held}, kept free for ${e.holder}, which has waited longest`,
  CIRCUIT_OPEN: (e) =>
    `the circuit of ${e.role ? `role ${e.role}` : `agents of kind ${e.agent}`} is open since ${clock(e.since)}${because(e)}`,
  ROLE_LIMIT: (e) => `role ${e.role} runs its limit of ${e.limit}`,
  KIND_LIMIT: (e) => `agents of kind ${e.agent} run their limit of ${e.limit}`,
  CEILING_REACHED: (e) => `the fleet runs its ceiling of ${e.limit} agents`,
  FLEET_FROZEN: (e) => `the fleet is frozen${froze(e)}`,
  ROLE_FROZEN: (e) => `role ${e.role} is frozen${froze(e)}`,
  ROLE_UNKNOWN: (e) => `the configuration in force has no role ${e.role}`,
  REPOSITORY_UNKNOWN: (e) =>
    `it claims ${e.path}, and the configuration in force has no repository ${e.repository}`,
} satisfies Record<string, Sentence>;

/** Why an attempt came to nothing. Another one follows, unless the task has used up its attempts. */
const RETRY = {
  AGENT_FAILED: (e) => `the agent failed${because(e)}`,
  AGENT_TIMED_OUT: (e) => `the agent ran into its timeout${because(e)}`,
  AGENT_SILENT: (e) => `the agent printed nothing for too long${because(e)}`,
  DISK_EXCEEDED: (e) => `the agent wrote more to its disk than it may${because(e)}`,
  OUTPUT_EXCEEDED: (e) => `the agent printed more than it may${because(e)}`,
  WORKSTATION_FAILED: (e) => `the workstation could not be made${because(e)}`,
  SETUP_FAILED: (e) => `a setup command of the workstation failed${because(e)}`,
  WORKER_LOST: (e) => `the worker that ran the agent was lost${because(e)}`,
  CLAIM_EXPIRED: () =>
    'its lease ran out before anybody renewed it: no sign of life from its agent, or from the person who claimed',
  CLAIM_LOST: (e) => `after a restart of the coordinator ${e.path} turned out to be held by ${e.holder}`,
  STOP_FORGOTTEN: () =>
    'an earlier coordinator called the attempt off, and why is lost with its state: whatever still speaks against another one is looked at anew',
  LANDING_CONFLICT: (e) => `the branch moved under it${because(e)}`,
  HANDOFF_CONFLICT: (e) => `the commits that it takes over do not apply to the branch any more${because(e)}`,
  LANDING_OVERDUE: (e) => `its landing did not come to an end within ${time(e.within)}`,
  EXTENSION_RETRIED: (e) =>
    `it asked for ${e.path}, held by ${e.holder}, whose end could wait for its own: its claims are released, its work is kept, and it starts again with all the paths`,
  OUTSIDE_CLAIM: (e) => `it changed paths that it does not claim${because(e)}`,
  OTHERS_OWN: (e) => `it changed what is another role's own${because(e)}`,
  REGENERATE_FAILED: (e) => `generated files could not be made anew on the merged tree${because(e)}`,
  VERIFY_FAILED: (e) => `a verify command failed on the merged tree${because(e)}`,
  LANDING_REFUSED: (e) => `the writer could not land it${because(e)}`,
  ASSUMPTION_BROKEN: (e) => `it assumes ${e.expected}, but ${e.found}${then(e)}`,
  READS_CHANGED: (e) =>
    `${e.by} changed ${e.path}, which it reads${e.commit ? `, as commit ${e.commit.slice(0, 12)}` : ''}${then(e)}`,
  UPSTREAM_NEEDS_CLAIM: (e) =>
    `${e.upstream}, which its landing waits for, cannot go on before ${e.holder} gives up what it claims`,
} satisfies Record<string, Sentence>;

/** Why a task, or a person's claim, is called off. */
const CANCEL = {
  CANCELLED_BY_REQUEST: (e) => `cancelled${e.by ? ` by ${e.by}` : ''}${because(e)}`,
  CANCELLED_IN_TEMPORAL: () => 'cancelled through Temporal',
  TERMINATED: () => 'its workflow was terminated or reset',
  ISSUE_CLOSED: (e) => `issue ${e.issue} is ${e.state}`,
  UPSTREAM_FAILED: (e) => `${e.upstream}, which it waits for, failed`,
  UPSTREAM_CANCELLED: (e) => `${e.upstream}, which it waits for, was cancelled`,
  UPSTREAM_NEVER_LANDS: (e) => `${e.upstream}, which it waits for, ended without landing`,
  UPSTREAM_HANDED_OFF: (e) =>
    `${e.upstream}, which it waits for, has handed its work to ${e.holder}, which lands it: it has to wait for that one`,
  UPSTREAM_MISSING: (e) => `${e.upstream}, which it waits for, was never submitted`,
  PLAN_NEVER_COMPLETED: (e) => `only ${e.arrived} of the plan's ${e.size} tasks arrived in time`,
  GRAPH_CYCLE: (e) => `tasks wait for each other in a circle${because(e)}`,
  RELEASED: (e) => `released${e.by ? ` by ${e.by}` : ''}`,
} satisfies Record<string, Sentence>;

const shared = (e: Evidence) => `see ${e.peer} as .shared/${e.as}`;

/** What a task may see of another one, and why. Nothing else about either changes. */
const PEER = {
  PEER_UNGRANTED: (e) => `it asks to ${shared(e)}, which nobody has granted`,
  PEER_GRANTED: (e) => `${e.by} lets it ${shared(e)}`,
  PEER_BY_RULE: (e) => `a rule of the configuration (${e.text}) lets it ${shared(e)}`,
  PEER_REVOKED: (e) => `${e.by} does not let it ${shared(e)}: what was there is taken away`,
  PEER_REFUSED: (e) => `${e.by} wanted to let it ${shared(e)}, and was refused${because(e)}`,
  PEER_SHOWN: (e) =>
    `${e.by ?? `a rule of the configuration (${e.text})`} lets ${e.holder} see it, as .shared/${e.as}`,
  PEER_HIDDEN: (e) =>
    `${e.holder} may not see it any longer, as .shared/${e.as}${e.by ? `: so says ${e.by}` : ''}`,
  PEER_NOT_ISOLATED: () => 'whoever looks runs without isolation, where nothing could be held read-only',
  PEER_ELSEWHERE: (e) =>
    `the agent of ${e.peer} runs on another host, and its working tree cannot be seen from here`,
  PEER_NOTHING_KEPT: (e) => `there are no commits of ${e.peer} yet`,
  PEER_FAILED: (e) => `the snapshot of ${e.peer} could not be made${because(e)}`,
} satisfies Record<string, Sentence>;

/** How a task ends by itself. */
const END = {
  LANDED: (e) =>
    `as commit ${e.commit?.slice(0, 12)}${e.isolation === 'none' ? '; NOT ISOLATED: its verify commands ran as the worker' : ''}`,
  FINISHED: () => 'it was read-only, so there is nothing to land',
  HANDED_OFF: (e) =>
    `its commits up to ${e.commit?.slice(0, 12)} go on with ${e.holder}: they land with what that makes of them`,
  CLAIMS_BUSY: (e) =>
    `${e.path === e.held ? `${e.path} was` : `${e.path} overlaps ${e.held},`} ${e.state} by ${e.holder}, which was earlier, and it was not to wait`,
  NO_COMMITS: () => 'the agent ended well but made no commit: there is nothing to land',
  DEPLOY_FAILED: (e) => `the deploy failed and the landing was rolled back${because(e)}`,
  SURFACE_FAILED: (e) => `the public surface did not show the landing, which was rolled back${because(e)}`,
} satisfies Record<string, Sentence>;

/** All codes; each stands in one kind only. */
export const REASONS = { ...ALLOW, ...HOLD, ...RETRY, ...CANCEL, ...PEER, ...END };

export type ReasonCode = keyof typeof REASONS;

export const KINDS = {
  allow: ALLOW,
  hold: HOLD,
  retry: RETRY,
  cancel: CANCEL,
  peer: PEER,
  end: END,
} as const;

export const explain = (code: ReasonCode, evidence: Evidence = {}): string =>
  (REASONS[code] as Sentence)(evidence);
