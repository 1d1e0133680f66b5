// Every name that more than one part must spell the same way: workflow ids, task queues, signals, refs.

/** Fit for workflow ids, file names and refs alike: so no "..", no ".lock" and no dot at the end. */
export const NAME = /^(?!.*\.\.)(?!.*\.lock$)[A-Za-z0-9](?:[A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?$/;

/** A host's id: what it is called, shortened, and something random. */
export const HOST_ID = /^[a-z0-9](?:[a-z0-9-]{0,78}[a-z0-9])?$/;

/** How an edge names a task: by its id, or as plan/task. */
export const TASK_NAME =
  /^(?!.*\.\.)(?!.*\.lock(?:\/|$))[A-Za-z0-9](?:[A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?(?:\/[A-Za-z0-9](?:[A-Za-z0-9._-]{0,78}[A-Za-z0-9_-])?)?$/;

/** The plan of a task that was submitted on its own. */
export const SINGLE = 'single';

/** Instead of a plan's name, what the claims of persons are called by. */
export const HAND = 'hand';

/** What is wrong with a plan's name that means something else; undefined for any other. */
export function reservedPlan(plan: string): string | undefined {
  if (plan === SINGLE)
    return `"${SINGLE}" is the plan of tasks that are submitted on their own: give this plan another name`;
  if (plan === HAND)
    return `"${HAND}" is what the claims of persons are called by: give this plan another name`;
  return undefined;
}

export const taskName = (plan: string, task: string): string => `${plan}/${task}`;

/** The full name of the task that is called so in a plan: plan/task names are full already. */
export const taskNameIn = (plan: string, task: string): string =>
  task.includes('/') ? task : taskName(plan, task);

export const coordinatorId = (fleet: string): string => `${fleet}/coordinator`;
export const writerId = (fleet: string, role: string): string => `${fleet}/writer/${role}`;
/** What a host is asked for its logs by. */
export const logReaderId = (fleet: string, host: string): string => `${fleet}/log/${host}`;
/** `task` is the full name, plan/task. */
export const taskWorkflowId = (fleet: string, task: string): string => `${fleet}/task/${task}`;

/** The full task name in a task's workflow id; undefined for other ids. */
export function taskOfWorkflowId(fleet: string, workflowId: string): string | undefined {
  const prefix = `${fleet}/task/`;
  return workflowId.startsWith(prefix) ? workflowId.slice(prefix.length) : undefined;
}

/** Where agentTask workflows and agents run. */
export const taskQueue = (fleet: string): string => `signalbox-${fleet}`;
/** Where the coordinator and the writers run: apart, so that tasks cannot take their slots. */
export const controlQueue = (fleet: string): string => `signalbox-${fleet}-control`;
/** Where what is bound to one host is asked of it: attempts that go on in their clone, and its logs. */
export const hostQueue = (fleet: string, host: string): string => `signalbox-${fleet}-host-${host}`;

export const WORKFLOW = {
  task: 'agentTask',
  hand: 'handClaim',
  coordinator: 'coordinator',
  writer: 'writer',
  logReader: 'logReader',
} as const;

export const SIGNAL = {
  /** To the coordinator: a list of Messages. */
  tell: 'tell',
  /** To the coordinator, by any client: { key, state, revision? }. */
  issue: 'issue',
  /** To a task, by any client: { reason, by? }. */
  cancel: 'cancelTask',
  /** To a task, by any client: { on, until?, by? }; it turned out to depend on that task too. */
  block: 'block',
  /** To a task, by its agent's worker or any client: a ClaimRequest for more paths, its id to go without, and one for fewer. */
  extend: 'extend',
  goWithout: 'goWithout',
  giveBack: 'giveBack',
  /** To a task that names peers, by any client: PeerRequests. */
  grantPeer: 'grantPeer',
  revokePeer: 'revokePeer',
  /** To a person's claim, by any client: { by }. */
  release: 'release',
  /** To a task or a person's claim, from the coordinator: a Standing. */
  standing: 'standing',
  /** To a task, from a coordinator that starts without state: say again who you are. */
  announce: 'announce',
  /** To a writer, from the coordinator: Orders. */
  orders: 'orders',
  /** To the coordinator for the whole fleet, or to a writer for its role, by any client: { reason, by?, for? }. */
  freeze: 'freeze',
  /** To the coordinator or to a writer that is frozen, by any client: { by? }. */
  resume: 'resume',
} as const;

/** Answered by a person's claim: its lease runs anew. */
export const RENEW = 'renew';

export const QUERY = {
  overview: 'overview',
  story: 'story',
  live: 'live',
  picture: 'picture',
  state: 'state',
  claimAnswer: 'claimAnswer',
  peerAnswer: 'peerAnswer',
  peers: 'peers',
  hand: 'hand',
  /** To a task: the attempts that are over, each with its host. */
  attempts: 'attempts',
  /** To a host's log reader: a LogRequest, answered with a LogAnswer. */
  log: 'log',
} as const;

/** Custom search attributes, all Keyword: state, reason and holder of a task show in the Web UI's list. */
export const SEARCH = {
  fleet: 'SignalboxFleet',
  plan: 'SignalboxPlan',
  state: 'SignalboxState',
  reason: 'SignalboxReason',
  holder: 'SignalboxHolder',
} as const;

/** Memo of a task's workflow: all that it claims, once that is other than what was submitted. A retry goes by it. */
export const CLAIMS_MEMO = 'SignalboxClaims';
/** Memo of a coordinator's workflow: the circuits that are open, once there were any. Another coordinator goes by it. */
export const CIRCUITS_MEMO = 'SignalboxCircuits';

const REFS = 'refs/signalbox';
export const ledgerRef = (branch: string): string => `${REFS}/ledger/${branch}`;
export const PACKETS_REF = `${REFS}/packets`;
/** In a host's mirror only: what a task was shown of another's agent at work. */
export const peerRef = (looker: string, as: string): string => `${REFS}/peers/${looker}/${as}`;
export const ATTEMPTS = `${REFS}/attempts`;
/** Where an attempt's commits are kept until they have landed, and for good when they do not. */
export const attemptRef = (task: string, fence: string): string => `${ATTEMPTS}/${task}/${fence}`;

/** The task and the fence in an attempt's ref; undefined for any other. */
export function attemptRefOf(ref: string): { task: string; fence: string } | undefined {
  const [plan, task, fence, ...more] = ref.startsWith(`${ATTEMPTS}/`)
    ? ref.slice(ATTEMPTS.length + 1).split('/')
    : [];
  if (plan === undefined || task === undefined || fence === undefined || more.length > 0) return undefined;
  return { task: taskName(plan, task), fence };
}

/** What an attempt of a read-only task left in its result folder, for good. */
export const artifactRef = (task: string, fence: string): string => `${REFS}/artifacts/${task}/${fence}`;

/** What a question fails with that comes when a workflow task is due and has not begun. */
export const EARLY = 'asked before what has happened was told to the workflow: ask again';
