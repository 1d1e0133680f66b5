// Whose tree a task asks to see, and who lets it: what a plan and signalbox.yaml say about peers, and which rule speaks
// for which task. A declared peer is nothing until somebody grants it.

import { z } from 'zod';
import { Command, Duration, Name } from './fields.js';
import { fold } from './folding.js';
import { findCycle } from './graph.js';
import { TASK_NAME } from './ids.js';
import { VariableName } from './secrets.js';

export const PEER_FROM = ['commit', 'worktree'] as const;
export type PeerFrom = (typeof PEER_FROM)[number];

/** Beside a snapshot lies its manifest, under this ending. */
export const MANIFEST = '.manifest.json';

export const Peer = z.strictObject({
  task: z
    .string()
    .regex(TASK_NAME, 'the id of a task of this plan, or plan/task for one of another plan of the fleet')
    .describe(
      'Whose tree: the id of a task of this plan, or plan/task for one of another plan of the fleet.',
    ),
  as: Name.refine((as) => !fold(as).endsWith(MANIFEST), `a name that does not end in ${MANIFEST}`).describe(
    'The snapshot appears in $SIGNALBOX_SHARED under this name; unique in the task.',
  ),
  from: z
    .enum(PEER_FROM)
    .default('commit')
    .describe(
      'What is seen: the newest kept commits of the other task, or the working tree of its agent as it stands. commit when left out.',
    ),
});
export type Peer = z.infer<typeof Peer>;

/** The name for tasks without a role in a rule. */
export const READ_ONLY = 'read-only';

const Party = z.union([
  Name.describe(`Tasks of this role; "${READ_ONLY}" for those without one.`),
  z.strictObject({ agent: Name.describe('A kind of agent.') }),
]);
type Party = z.infer<typeof Party>;

const Rule = z.strictObject({
  owner: Party.describe('Whose tree may be seen.'),
  to: Party.describe('Who may see it.'),
  from: z
    .enum(PEER_FROM)
    .default('commit')
    .describe('commit: kept commits only; worktree: live working trees too. commit when left out.'),
});
/** Also what travels with the coordinator. */
export const PeerRules = z.array(Rule).max(200);
export type PeerRule = z.infer<typeof Rule>;

const MOST_TIMEOUT_MS = 30 * 60_000;

export const Peering = z.strictObject({
  grants: PeerRules.default([]).describe(
    'Which tasks may see which others, without anybody being asked. A task still has to name the other one in its `peers`.',
  ),
  confirm: Command.optional().describe(
    "Run on a worker's host before what a person grants takes effect: exit code 0 allows it, anything else refuses it with the last line of output. It gets SIGNALBOX_OWNER, SIGNALBOX_TO, SIGNALBOX_AS, SIGNALBOX_FROM, SIGNALBOX_BY and SIGNALBOX_FLEET.",
  ),
  timeout: Duration.prefault('2m')
    .refine((ms) => ms <= MOST_TIMEOUT_MS, 'at most 30m')
    .describe('How long `confirm` may take; then it has refused.'),
  passEnv: z.array(VariableName).default([]).describe("Variables of the worker's host that `confirm` sees."),
});
export type Peering = z.infer<typeof Peering>;

interface Problem {
  path: (string | number)[];
  message: string;
  params?: { candidates: string[]; found: string };
}

/** Rules that name roles or kinds of agent which the fleet does not have. */
export function peeringProblems(
  { grants }: Pick<Peering, 'grants'>,
  roles: readonly string[],
  agents: readonly string[],
): Problem[] {
  return grants.flatMap((rule, i) =>
    (['owner', 'to'] as const).flatMap((side): Problem[] => {
      const party = rule[side];
      const path = ['peering', 'grants', i, side];
      if (party === READ_ONLY)
        return roles.includes(READ_ONLY)
          ? [{ path, message: `"${READ_ONLY}" stands for tasks without a role: give the role another name` }]
          : [];
      const [what, name, known] =
        typeof party === 'string' ? ['role', party, roles] : ['kind of agent', party.agent, agents];
      if (known.includes(name as string)) return [];
      const params = { candidates: [...known], found: name as string };
      return [
        { path, message: `no ${what} is called "${name}"; there are: ${[...known].join(', ')}`, params },
      ];
    }),
  );
}

/** What rules go by. */
export interface PartyFacts {
  role?: string;
  agent?: string;
}

const isParty = (party: Party, { role, agent }: PartyFacts): boolean =>
  typeof party !== 'string'
    ? agent === party.agent
    : party === READ_ONLY
      ? role === undefined
      : role === party;

/** Whether what was granted takes in what is declared: whoever may see a working tree may see the commits. */
export const covers = (granted: PeerFrom | undefined, declared: PeerFrom): boolean =>
  granted !== 'commit' || declared === 'commit';

/** The first rule that lets `to` see `owner`. */
export const ruleFor = (
  rules: readonly PeerRule[],
  owner: PartyFacts,
  to: PartyFacts,
  from: PeerFrom,
): PeerRule | undefined =>
  rules.find((rule) => covers(rule.from, from) && isParty(rule.owner, owner) && isParty(rule.to, to));

const partyText = (party: Party): string =>
  typeof party === 'string'
    ? party === READ_ONLY
      ? READ_ONLY
      : `role ${party}`
    : `agents of kind ${party.agent}`;

export const ruleText = ({ owner, to }: PeerRule): string => `${partyText(owner)} to ${partyText(to)}`;

type Declaring = { id: string; peers: readonly { task: string; as: string }[] };

/** What is wrong with a task's peers by themselves. */
export function peerProblems({ id, peers }: Declaring): Problem[] {
  // Folders of some systems do not tell `A` from `a`.
  const names = peers.map(({ as }) => fold(as));
  return peers.flatMap(({ task, as }, i): Problem[] => [
    ...(task === id ? [{ path: ['peers', i, 'task'], message: 'a task is no peer of its own' }] : []),
    ...(names.indexOf(fold(as)) === i
      ? []
      : [{ path: ['peers', i, 'as'], message: `"${as}" is there twice: each peer has a name of its own` }]),
  ]);
}

/** What is wrong with the peers of a plan's tasks, which name those of the plan by their ids. */
export function planPeerProblems(tasks: readonly Declaring[], written: readonly Declaring[]): Problem[] {
  const ids = tasks.map(({ id }) => id);
  const problems = tasks.flatMap(({ id, peers }, index) =>
    peers.flatMap(({ task }, i): Problem[] => {
      const path = ['tasks', index, 'peers', i, 'task'];
      if (task === id && written[index]?.peers[i]?.task !== id)
        return [{ path, message: 'a task is no peer of its own' }];
      if (task.includes('/') || ids.includes(task)) return [];
      const params = { candidates: ids, found: task };
      return [{ path, message: `no task of this plan is called "${task}"`, params }];
    }),
  );
  const cycle = findCycle(tasks.map(({ id, peers }) => [id, peers.map(({ task }) => task)]));
  if (!cycle || cycle.length <= 2) return problems;
  return [
    ...problems,
    {
      path: ['tasks', ids.indexOf(cycle[0] ?? ''), 'peers'],
      message: `the tasks look at each other in a circle: ${cycle.join(' -> ')}`,
    },
  ];
}
