// signalbox.yaml: what a fleet is. One zod schema; the editor's JSON Schema and every error message come from it.

import { z } from 'zod';
import { keyProblems, type Network, Reachable } from './egress.js';
import { Command, Duration, Name, Size } from './fields.js';
import { Peering, PeerRules, peeringProblems } from './peering-grants.js';
import { parseRate, Resource, ResourceName } from './resources.js';
import { type Isolation, SANDBOX, VerifyPlace } from './sandbox.js';
import { Secrets, SecretUses, secretProblems, VariableName } from './secrets.js';
import { Setup } from './setup.js';
import { Surfaces } from './surfaces.js';

export { Duration, Name };

/** `git check-ref-format --branch`, as far as it can be told from the text alone. */
const Branch = z
  .string()
  .regex(
    /^(?!.*(?:\.\.|\/\/|@\{|\.lock(?:\/|$)|\/\.|\.$|\/$))[^\u0000-\u0020~^:?*[\\\u007f/.-][^\u0000-\u0020~^:?*[\\\u007f]*$/,
    'a branch name that git accepts, such as "main"',
  );

export const Retry = z.strictObject({
  attempts: z
    .int()
    .min(1)
    .max(50)
    .default(2)
    .describe('How often a task is tried at most, the first time included.'),
  backoff: Duration.prefault('10s').describe(
    'Wait before the second attempt; doubles with each further one.',
  ),
  maxBackoff: Duration.prefault('5m').describe('The longest wait between two attempts.'),
});
export type Retry = z.infer<typeof Retry>;

const Pinned = z.strictObject({
  backoff: Duration.prefault('15m').describe(
    'From the end of an attempt to the start of the next; then the claims are released and asked for again.',
  ),
  landing: Duration.prefault('2h').describe(
    'While it is the first to land; then the landing is withdrawn through the ledger and the task is tried again.',
  ),
});

const Breaker = z.strictObject({
  failures: z
    .int()
    .min(1)
    .max(1_000)
    .default(5)
    .describe('So many failed attempts within the window open the circuit.'),
  spawnFailures: z
    .int()
    .min(1)
    .max(1_000)
    .default(3)
    .describe('So many workstations that could not be made or set up within the window open it too.'),
  window: Duration.prefault('60s').describe('How long a failure counts.'),
  coolDown: Duration.prefault('1m').describe('How long an open circuit waits before it tries a single task.'),
});

const Repository = z.strictObject({
  url: z
    .string()
    .min(1)
    .describe(
      'Where the shared repository is: any URL or path that git can fetch from and push to. Relative paths start at this file.',
    ),
  branch: Branch.default('main').describe('The shared branch.'),
  caseInsensitive: z
    .boolean()
    .default(false)
    .describe(
      'true where `A` and `a` are one file, as on the disks of macOS and Windows: claims that differ in case alone overlap.',
    ),
  anyTree: z
    .boolean()
    .default(false)
    .describe(
      'true lets land what is refused otherwise: links that lead out of the repository, new submodules, names with a backslash or control characters, and new names that some disks take for another one in the same folder (case, spelling, closing dots); and objects that git finds malformed, as old histories hold them.',
    ),
  claims: Surfaces.optional().describe(
    'Which paths need a claim; every one when left out. `signalbox inventory` proposes this from the history.',
  ),
});

const Deploy = z.strictObject({
  command: Command,
  timeout: Duration.prefault('10m'),
});

const Surface = z.strictObject({
  url: z
    .url({ protocol: /^https?$/, error: 'an http or https address' })
    .describe('The page the public sees.'),
  contains: z
    .string()
    .min(1)
    .default('{commit}')
    .describe('What the page must hold; {commit} is the commit that was landed.'),
  within: Duration.prefault('1m').describe('How long the page may take to show it.'),
});

const Role = z.strictObject({
  resources: z
    .array(
      z.union([
        z
          .string()
          .regex(/^branch:[A-Za-z0-9][A-Za-z0-9._-]*$/, '"branch:" and the name of a repository above'),
        ResourceName,
      ]),
    )
    .refine(
      (resources) => resources.filter((resource) => resource.startsWith('branch:')).length === 1,
      'exactly one branch, "branch:" and the name of a repository above; beside it any resources of the inventory',
    )
    .describe(
      'What this role alone may write: its branch, and resources of the inventory. Each has one role.',
    ),
  maxRunning: z
    .int()
    .min(1)
    .optional()
    .describe("How many of the role's tasks may run at once; the ceiling when left out."),
  lease: Duration.optional().describe(
    "How long a claim of the role's tasks holds; the fleet's when left out.",
  ),
  verify: z
    .array(Command)
    .default([])
    .describe('Run on the exact tree before it is pushed; each must exit with 0.'),
  verifyTimeout: Duration.prefault('30m'),
  verifyIn: VerifyPlace.prefault({}).describe(
    'Where verify commands run, and those that make generated files anew: they run code of agents.',
  ),
  deploy: Deploy.optional().describe('Run after the push, from a checkout of the landed commit.'),
  surface: Surface.optional().describe('How to see that the deploy reached the public.'),
  passEnv: z
    .array(VariableName)
    .default([])
    .describe(
      "Variables of the worker's host that the deploy command sees. What stands in them is kept out of logs and packets, as with secrets.",
    ),
  secrets: SecretUses,
});

const Agent = z.strictObject({
  command: Command.describe(
    'What runs the agent, in its clone. The prompt is in $SIGNALBOX_PROMPT and in the file $SIGNALBOX_PROMPT_FILE.',
  ),
  passEnv: z
    .array(VariableName)
    .default([])
    .describe(
      "Variables of the worker's host that the agent sees, beside PATH, the locale and the time zone. What stands in them is kept out of logs and packets, as with secrets.",
    ),
  secrets: SecretUses,
  timeout: Duration.prefault('2h').describe('The longest one attempt may take.'),
  silence: Duration.optional().describe(
    'An agent that prints nothing for so long is ended, and the attempt has failed; never when left out.',
  ),
  output: Size.optional().describe(
    'An agent that prints more than this in one attempt is ended, and the attempt has failed; never when left out. What is kept of its output is bounded in any case.',
  ),
  maxRunning: z
    .int()
    .min(1)
    .optional()
    .describe('How many agents of this kind may run at once; the ceiling when left out.'),
  memory: Size.optional().describe(
    'What one agent of this kind takes of its host; a worker with --memory runs no more than fit.',
  ),
  ...SANDBOX,
  checkout: z
    .boolean()
    .default(true)
    .describe("false leaves the clone's working tree empty: for agents that write commits themselves."),
  setup: Setup,
});
export type AgentKind = z.infer<typeof Agent>;

const Workstations = z.strictObject({
  reachable: Reachable.default([]),
  disk: Size.prefault('100GB').describe(
    'How much of its disk a host gives to workstations, with ready and kept clones and the histories they borrow from. Beyond it ready clones go first, then kept ones, the oldest first; never one that an agent runs in, nor one whose commits are kept nowhere else.',
  ),
  logs: Size.prefault('10GB').describe(
    "How much of its disk a host gives to the output of agents. Beyond it the oldest attempts' goes first, never that of a running one.",
  ),
  setupCache: Size.prefault('10GB').describe(
    'How much of its disk a host gives to what setup commands have made. Beyond it, what was not used for longest goes first.',
  ),
});

export const Config = z
  .strictObject({
    fleet: Name.describe('The name of this fleet: part of every workflow id.'),
    repositories: z.record(Name, Repository).describe('The shared repositories by name.'),
    roles: z
      .record(Name, Role)
      .default({})
      .describe('The writers. A task names its role; one without a role is read-only.'),
    agents: z.record(Name, Agent).describe('The kinds of agent that a task can name.'),
    secrets: Secrets,
    workstations: Workstations.prefault({}).describe('What workstations may take of their host.'),
    resources: z
      .record(ResourceName, Resource)
      .default({})
      .describe('The inventory: whatever is shared beside the branches. Each belongs to exactly one role.'),
    peering: Peering.prefault({}).describe('Who may see whose tree, see docs/peering.md.'),
    ceiling: z
      .int()
      .min(1)
      .max(10_000)
      .default(8)
      .describe('How many agents may run at once in the whole fleet.'),
    lease: Duration.prefault('30m').describe(
      'How long a claim is held without a sign of life from its agent.',
    ),
    lockDelay: Duration.prefault('30s').describe(
      'How long the paths of a holder that died rest before they are granted again.',
    ),
    pinned: Pinned.prefault({}).describe(
      'How long a claim is kept at most while no agent runs under it, so that no lease runs either.',
    ),
    planTimeout: Duration.prefault('10m').describe(
      'How long an incomplete plan, or an unknown upstream, is waited for.',
    ),
    reserveAfter: Duration.prefault('1h').describe(
      'From which age on the task that has waited longest gets the next slot, and its paths are kept free for it from those that come later; others overtake it.',
    ),
    retry: Retry.prefault({}),
    breaker: Breaker.prefault({}).describe(
      'Outside the loop of any agent, for each role and each kind of agent: after failures in a row nothing more is started, until a single trial ends well.',
    ),
    issues: z
      .record(z.string().min(1), z.enum(['cancel', 'hold', 'go']))
      .default({ closed: 'cancel', done: 'cancel', paused: 'hold', blocked: 'hold' })
      .describe("What a tracker's issue state means for its tasks; any other state lets them go on."),
  })
  .superRefine((config, ctx) => {
    const complain = (path: (string | number)[], message: string) =>
      ctx.addIssue({ code: 'custom', path, message });
    const networkProblems = (
      place: string[],
      { isolation, network }: { isolation: Isolation; network: Network },
    ) => {
      const at = [...place, 'network'];
      if (isolation === 'none' && network !== 'none')
        complain(at, 'is for sandboxes: without isolation there is the network of the host');
      for (const { path, message, params } of keyProblems(at, network, Object.keys(config.secrets)))
        ctx.addIssue({ code: 'custom', path, message, ...(params ? { params } : {}) });
    };
    if (Object.keys(config.repositories).length === 0)
      complain(['repositories'], 'at least one repository is needed');
    if (Object.keys(config.agents).length === 0) complain(['agents'], 'at least one kind of agent is needed');
    for (const [name, { claims }] of Object.entries(config.repositories))
      for (const role of Object.keys(claims?.own ?? {}))
        if (!Object.hasOwn(config.roles, role))
          complain(
            ['repositories', name, 'claims', 'own', role],
            `no role is called "${role}"; there are: ${Object.keys(config.roles).join(', ')}`,
          );
    for (const [name, { network, isolation, checkout, setup }] of Object.entries(config.agents)) {
      if (setup.length > 0 && !checkout)
        complain(['agents', name, 'setup'], 'works on the files of the clone: `checkout: false` leaves none');
      networkProblems(['agents', name], { isolation, network });
    }
    const writerOf = new Map<string, string>();
    for (const [role, { resources, surface, deploy, verifyIn }] of Object.entries(config.roles)) {
      networkProblems(['roles', role, 'verifyIn'], verifyIn);
      const repository = roleRepository({ resources });
      const at = resources.indexOf(`branch:${repository}`);
      const target = config.repositories[repository];
      if (!target) {
        complain(
          ['roles', role, 'resources', at],
          `no repository is called "${repository}"; there are: ${Object.keys(config.repositories).join(', ')}`,
        );
        continue;
      }
      const branch = `${target.url} ${target.branch}`;
      const other = writerOf.get(branch);
      if (other)
        complain(
          ['roles', role, 'resources', at],
          `branch "${target.branch}" of ${target.url} already has the role "${other}": one branch, one writer`,
        );
      writerOf.set(branch, role);
      if (surface && !deploy) complain(['roles', role, 'surface'], 'a surface check needs a deploy');
    }
    for (const { path, message } of ownership(config)) complain(path, message);
    const [roles, agents] = [Object.keys(config.roles), Object.keys(config.agents)];
    for (const problem of peeringProblems(config.peering, roles, agents))
      ctx.addIssue({ code: 'custom', ...problem });
    const known = Object.keys(config.secrets);
    for (const group of ['roles', 'agents'] as const)
      for (const [name, one] of Object.entries(config[group]))
        for (const problem of secretProblems([group, name], one, known))
          ctx.addIssue({ code: 'custom', ...problem });
    for (const [name, { verifyIn }] of Object.entries(config.roles))
      for (const problem of secretProblems(['roles', name, 'verifyIn'], verifyIn, known))
        ctx.addIssue({ code: 'custom', ...problem });
  });
export type Config = z.infer<typeof Config>;

/** Every resource of the inventory has exactly one role, and a role has no other. */
function ownership(config: {
  roles: Record<string, { resources: string[] }>;
  resources: Record<string, unknown>;
}): { path: (string | number)[]; message: string }[] {
  const found: ReturnType<typeof ownership> = [];
  const owner = new Map<string, string>();
  for (const [role, { resources }] of Object.entries(config.roles))
    resources.forEach((resource, i) => {
      if (resource.startsWith('branch:')) return;
      const path = ['roles', role, 'resources', i];
      const other = owner.get(resource);
      if (!Object.hasOwn(config.resources, resource))
        found.push({ path, message: `"${resource}" is not in the inventory: add it under \`resources\`` });
      else if (other !== undefined)
        found.push({
          path,
          message: `"${resource}" already has the role "${other}": one resource, one role`,
        });
      owner.set(resource, other ?? role);
    });
  for (const resource of Object.keys(config.resources))
    if (!owner.has(resource))
      found.push({
        path: ['resources', resource],
        message: "no role has it: list it in a role's `resources`",
      });
  return found;
}

/** What coordination needs of the configuration; travels with the coordinator. Durations in milliseconds. */
export const Rules = z.object({
  fleet: z.string(),
  roles: z.record(
    z.string(),
    z.object({ repository: z.string(), maxRunning: z.number(), lease: z.number().optional() }),
  ),
  repositories: z.record(z.string(), z.object({ caseInsensitive: z.boolean() })),
  /** The repository of claims that name none, where nothing else says which. */
  defaultRepository: z.string(),
  /** The kinds of agent, and which one a task gets that names none. */
  agents: z.record(z.string(), z.object({ maxRunning: z.number().optional() })),
  defaultAgent: z.string().optional(),
  resources: z.record(
    z.string(),
    z.object({
      role: z.string(),
      capacity: z.number(),
      shared: z.boolean(),
      rate: z.object({ count: z.number(), window: z.number(), text: z.string() }).optional(),
    }),
  ),
  /** Who may see whose tree. */
  peering: PeerRules.optional(),
  ceiling: z.number(),
  lease: z.number(),
  lockDelay: z.number(),
  pinned: z.object({ backoff: z.number(), landing: z.number() }),
  planTimeout: z.number(),
  reserveAfter: z.number(),
  retry: z.object({ attempts: z.number(), backoff: z.number(), maxBackoff: z.number() }),
  /** Milliseconds. */
  breaker: z.object({
    failures: z.number(),
    spawnFailures: z.number(),
    window: z.number(),
    coolDown: z.number(),
  }),
  issues: z.record(z.string(), z.enum(['cancel', 'hold', 'go'])),
});
export type Rules = z.infer<typeof Rules>;

/** The repository that a role writes. */
export const roleRepository = (role: { resources: string[] }): string =>
  (role.resources.find((resource) => resource.startsWith('branch:')) ?? '').slice('branch:'.length);

/** The name of the kind of agent a task gets: its own, the only one, or `default`. */
export function agentKind(config: Pick<Config, 'agents'>, agent: string | undefined): string | undefined {
  if (agent !== undefined) return Object.hasOwn(config.agents, agent) ? agent : undefined;
  const names = Object.keys(config.agents);
  return names.length === 1 ? names[0] : names.find((name) => name === 'default');
}

export function rulesOf(config: Config): Rules {
  const { fleet, ceiling, lease, lockDelay, pinned, planTimeout, reserveAfter, retry, breaker, issues } =
    config;
  const roles: Rules['roles'] = {};
  const resources: Rules['resources'] = {};
  for (const [name, role] of Object.entries(config.roles)) {
    roles[name] = {
      repository: roleRepository(role),
      maxRunning: role.maxRunning ?? ceiling,
      ...(role.lease === undefined ? {} : { lease: role.lease }),
    };
    for (const resource of role.resources) {
      const entry = config.resources[resource];
      if (!entry) continue;
      const rate = entry.rate === undefined ? undefined : parseRate(entry.rate);
      const { capacity, shared } = entry;
      resources[resource] = { role: name, capacity, shared, ...(rate ? { rate } : {}) };
    }
  }
  const agents: Rules['agents'] = {};
  for (const [name, { maxRunning }] of Object.entries(config.agents))
    agents[name] = maxRunning === undefined ? {} : { maxRunning };
  const defaultAgent = agentKind(config, undefined);
  const repositories: Rules['repositories'] = {};
  for (const [name, { caseInsensitive }] of Object.entries(config.repositories))
    repositories[name] = { caseInsensitive };
  const defaultRepository = Object.keys(config.repositories)[0] ?? '';
  return {
    fleet,
    roles,
    repositories,
    defaultRepository,
    agents,
    ...(defaultAgent === undefined ? {} : { defaultAgent }),
    resources,
    ...(config.peering.grants.length > 0 ? { peering: config.peering.grants } : {}),
    ceiling,
    lease,
    lockDelay,
    pinned,
    planTimeout,
    reserveAfter,
    retry,
    breaker,
    issues,
  };
}
