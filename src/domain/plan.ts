// A plan and its tasks, as people submit them and as they travel.

import { z } from 'zod';
import { Assumption, ON_BROKEN } from './assumptions.js';
import { agentKind, type Config, Duration, Name, Retry, rulesOf } from './config.js';
import { Claim } from './fields.js';
import { findCycle } from './graph.js';
import { reservedPlan, SINGLE, TASK_NAME, taskNameIn } from './ids.js';
import type { Edge, PlanRef, TaskFacts } from './messages.js';
import { BadPattern, parsePattern, splitRepository } from './paths.js';
import { Peer, peerProblems, planPeerProblems } from './peering-grants.js';
import { Use, useRefused } from './resources.js';
import { rightsOf } from './surfaces.js';
import { handOffProblems, planHandOffProblems } from './taking-over.js';

const PlanName = Name.superRefine((plan, ctx) => {
  const message = reservedPlan(plan);
  if (message) ctx.addIssue({ code: 'custom', message });
});

export const IF_BUSY = ['wait', 'fail'] as const;

export const UNTIL = ['landed', 'finished'] as const;

const Upstream = z
  .string()
  .regex(TASK_NAME, 'the id of a task of this plan, or plan/task for one of another plan of the fleet');

const EdgeSource = z.union([
  Upstream.transform((task): { task: string; until?: (typeof UNTIL)[number] } => ({ task })),
  z.strictObject({
    task: Upstream.describe(
      'The id of a task of this plan, or plan/task for one of another plan of the fleet.',
    ),
    until: z
      .enum(UNTIL)
      .optional()
      .describe('What is waited for: until it has landed (writers) or finished (read-only) when left out.'),
  }),
]);

const SECRET = /(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY)/i;

const Env = z
  .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'the name of an environment variable'), z.string())
  .superRefine((env, ctx) => {
    for (const name of Object.keys(env)) {
      const message = SECRET.test(name)
        ? 'looks like a secret, and a task travels in plain text: list it under `secrets` of signalbox.yaml and name it in those of the agent'
        : name.startsWith('SIGNALBOX_')
          ? 'names that start with SIGNALBOX_ are set by Signalbox'
          : undefined;
      if (message) ctx.addIssue({ code: 'custom', path: [name], message });
    }
  });

export const Task = z.strictObject({
  id: Name.describe('Unique in its plan.'),
  title: z.string().max(200).optional(),
  prompt: z.string().min(1).describe('What the agent is told.'),
  agent: Name.optional().describe(
    'A kind of agent of signalbox.yaml; may be left out when there is one, or one named `default`.',
  ),
  role: Name.optional().describe('The writer that lands the work. Without a role the task is read-only.'),
  repository: Name.optional().describe(
    'For read-only tasks: which repository to read; the first one when left out.',
  ),
  writes: z
    .array(Claim)
    .default([])
    .describe(
      'The paths the task may change: files, directories, or `:(glob)` with `*`, `**`, `?` and `[…]`; `repo:path` in another repository of the fleet.',
    ),
  reads: z
    .array(Claim)
    .default([])
    .describe(
      'The paths the task relies on, never locked: a landing there while it is under way is an upstream event, see onBroken.',
    ),
  assumes: z
    .array(Assumption)
    .max(50)
    .default([])
    .describe('What has to be so when an attempt starts, and is looked at again whenever something lands.'),
  onBroken: z
    .enum(ON_BROKEN)
    .optional()
    .describe(
      'When an assumption is broken, or a landing touches what it reads: continue (noted in the packet), hold until it is so again, retry on the new state, or cancel. When left out: hold for `assumes`, continue for `reads`.',
    ),
  uses: z
    .array(Use)
    .default([])
    .describe(
      "Resources of the fleet that the task needs beside its paths: those of its own role, others' in shared mode only.",
    ),
  after: z
    .array(EdgeSource)
    .default([])
    .describe(
      'The tasks that this one waits for, each until it has landed (writers) or finished (read-only): tasks of this plan by id, those of other plans as plan/task, whatever their repository; they may be submitted later.',
    ),
  takesOver: Name.optional().describe(
    'The id of a task of this plan whose commits this one goes on with, instead of their landing: same role, and all that it claims. It waits for that task until it has finished.',
  ),
  peers: z
    .array(Peer)
    .max(20)
    .default([])
    .describe(
      'Whose trees the task asks to see, each as a filtered read-only snapshot once that is granted: docs/peering.md.',
    ),
  ifBusy: z
    .enum(IF_BUSY)
    .optional()
    .describe(
      'When a path or resource it claims is held, or asked for by an earlier task, at the moment it first asks: wait for its turn, or fail at once. wait when left out.',
    ),
  priority: z
    .int()
    .min(-100)
    .max(100)
    .optional()
    .describe(
      'Of the tasks that may run and have as much waiting behind them, the one with the higher priority goes first; 0 when left out.',
    ),
  issue: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe("The key of the tracker's issue; when that is closed the task is cancelled."),
  retry: Retry.partial().optional(),
  lease: Duration.optional().describe(
    "How long its claims hold without a sign of life from its agent; the role's, or the fleet's, when left out.",
  ),
  timeout: Duration.optional().describe("The longest one attempt may take; the agent kind's when left out."),
  env: Env.default({}).describe('More variables for the agent. Not for secrets.'),
});
export type Task = z.infer<typeof Task>;

/** The plan as it travels: that of single tasks when there is none. */
export const planOf = ({ plan }: Pick<TaskInput, 'plan'>): PlanRef =>
  plan ? { id: plan.id, ...(plan.size === undefined ? {} : { size: plan.size }) } : { id: SINGLE };

/** What coordination needs to know of a task of the plan. */
export function factsOf(task: Task, plan: string): TaskFacts {
  const { title, agent, role, repository, writes, reads, issue, priority, lease, retry } = task;
  const takesOver = task.takesOver === undefined ? undefined : taskNameIn(plan, task.takesOver);
  const uses = task.uses.length > 0 ? task.uses : undefined;
  const given = Object.fromEntries(
    Object.entries({ title, agent, role, repository, issue, priority, lease, retry, uses, takesOver }).filter(
      ([, value]) => value !== undefined,
    ),
  );
  const after: Edge[] = task.after.map(({ task: id, until }) => ({
    task: taskNameIn(plan, id),
    ...(until ? { until } : {}),
  }));
  if (takesOver !== undefined) after.push({ task: takesOver, until: 'finished' });
  const { assumes, onBroken } = task;
  const relies = { ...(assumes.length > 0 ? { assumes } : {}), ...(onBroken ? { onBroken } : {}) };
  const peers = task.peers.map((peer) => ({ ...peer, task: taskNameIn(plan, peer.task) }));
  const sees = peers.length > 0 ? { peers } : {};
  const busy = task.ifBusy === 'fail' ? { ifBusy: task.ifBusy } : {};
  return { ...given, ...relies, ...busy, ...sees, writes, reads, after };
}

/** One task as it travels: the schema of what `agentTask` takes. */
export const TaskInput = z
  .strictObject({
    fleet: Name,
    plan: z.strictObject({ id: PlanName, size: z.int().min(1).optional() }).optional(),
    task: Task.superRefine(checkTask),
  })
  .superRefine(({ plan, task }, ctx) => {
    for (const { path, ...problem } of handOffProblems(task, plan !== undefined))
      ctx.addIssue({ code: 'custom', path: ['task', ...path], ...problem });
  });

export type TaskInput = z.infer<typeof TaskInput>;

/** A task on its own, checked like one in a plan. */
export const SingleTask = Task.superRefine(checkTask).superRefine((task, ctx) => {
  for (const problem of handOffProblems(task, false)) ctx.addIssue({ code: 'custom', ...problem });
});

function checkTask(task: Task, ctx: z.core.$RefinementCtx): void {
  const complain = (path: (string | number)[], message: string) =>
    ctx.addIssue({ code: 'custom', path, message });
  if (task.role === undefined && task.writes.length > 0)
    complain(['writes'], 'a task without a role is read-only: name its role, or claim nothing');
  if (task.role !== undefined && task.repository !== undefined)
    complain(['repository'], "a task with a role works in its role's repository");
  const names = task.uses.map((use) => use.resource);
  task.uses.forEach(({ resource, mode }, i) => {
    if (names.indexOf(resource) !== i) complain(['uses', i], `"${resource}" is there twice`);
    if (task.role === undefined && mode === 'exclusive')
      complain(['uses', i], 'a task without a role is read-only: it may only use a resource in shared mode');
  });
  if (task.after.some((edge) => edge.task === task.id))
    complain(['after'], `waits for itself: ${task.id} -> ${task.id}`);
  for (const problem of peerProblems(task)) ctx.addIssue({ code: 'custom', ...problem });
}

export const Plan = z
  .strictObject({
    plan: PlanName.optional().describe(
      'The name of the plan: part of every workflow id. The name of the file when left out.',
    ),
    tasks: z.array(Task.superRefine(checkTask)).min(1),
  })
  .superRefine(({ plan, tasks: written }, ctx) => {
    // `plan/task` of this very plan means the same as `task`.
    const own = (name: string) => (plan && name.startsWith(`${plan}/`) ? name.slice(plan.length + 1) : name);
    const tasks = written.map((task) => ({
      ...task,
      after: task.after.map((edge) => ({ ...edge, task: own(edge.task) })),
      peers: task.peers.map((peer) => ({ ...peer, task: own(peer.task) })),
    }));
    const first = new Map<string, number>();
    tasks.forEach((task, index) => {
      const earlier = first.get(task.id);
      if (earlier === undefined) first.set(task.id, index);
      else
        ctx.addIssue({
          code: 'custom',
          path: ['tasks', index, 'id'],
          message: `the id "${task.id}" is already that of task ${earlier + 1} of this plan`,
        });
    });
    let known = true;
    tasks.forEach((task, index) => {
      task.after.forEach((edge, i) => {
        const path = ['tasks', index, 'after', i];
        const upstream = first.get(edge.task);
        // Tasks of other plans may not have been submitted yet: the coordinator waits for them.
        if (edge.task.includes('/')) return;
        if (upstream === undefined) {
          known = false;
          ctx.addIssue({
            code: 'custom',
            path,
            message: `no task of this plan is called "${edge.task}"`,
            params: { candidates: [...first.keys()], found: edge.task },
          });
        } else if (edge.until === 'landed' && tasks[upstream]?.role === undefined) {
          ctx.addIssue({
            code: 'custom',
            path,
            message: `"${edge.task}" is read-only and never lands: wait until it has finished`,
          });
        }
      });
    });
    for (const problem of planPeerProblems(tasks, written)) ctx.addIssue({ code: 'custom', ...problem });
    for (const [index, task] of tasks.entries())
      for (const { path, ...problem } of handOffProblems(task, true))
        ctx.addIssue({ code: 'custom', path: ['tasks', index, ...path], ...problem });
    for (const problem of planHandOffProblems(tasks)) ctx.addIssue({ code: 'custom', ...problem });
    const upstreams = ({ after, takesOver }: Task) => [
      ...after.map((edge) => edge.task),
      ...(takesOver === undefined ? [] : [takesOver]),
    ];
    const cycle = known ? findCycle(tasks.map((task) => [task.id, upstreams(task)])) : undefined;
    const at = cycle && first.get(cycle[0] ?? '');
    if (cycle && cycle.length > 2)
      ctx.addIssue({
        code: 'custom',
        path: ['tasks', at ?? 0, 'after'],
        message: `the tasks wait for each other in a circle: ${cycle.join(' -> ')}`,
      });
  });
export type Plan = z.infer<typeof Plan>;

/** What in the tasks does not fit the fleet: agent kinds, roles and repositories that it does not have. */
export function checkAgainst(
  config: Config,
  tasks: (Pick<Task, 'agent' | 'role' | 'repository'> & Partial<Pick<Task, 'uses' | 'writes' | 'reads'>>)[],
): { path: (string | number)[]; message: string; found?: string; candidates?: string[] }[] {
  const agents = Object.keys(config.agents);
  const rules = rulesOf(config);
  const found: ReturnType<typeof checkAgainst> = [];
  const known = (name: string | undefined, names: string[], path: (string | number)[], what: string) => {
    if (name !== undefined && !names.includes(name))
      found.push({
        path,
        message: `the fleet has no ${what} called "${name}"`,
        found: name,
        candidates: names,
      });
  };
  tasks.forEach((task, index) => {
    known(task.agent, agents, [index, 'agent'], 'kind of agent');
    known(task.role, Object.keys(config.roles), [index, 'role'], 'role');
    known(task.repository, Object.keys(config.repositories), [index, 'repository'], 'repository');
    task.uses?.forEach((use, i) => {
      const path = [index, 'uses', i];
      known(use.resource, Object.keys(config.resources), path, 'resource');
      const rule = rules.resources[use.resource];
      const refused = rule && useRefused(rule, use, task.role);
      if (refused) found.push({ path, message: `"${use.resource}" ${refused}` });
    });
    for (const field of ['writes', 'reads'] as const) {
      const claims: unknown = task[field];
      for (const [i, claim] of Array.isArray(claims) ? claims.entries() : [])
        known(repositoryNamed(claim), Object.keys(config.repositories), [index, field, i], 'repository');
    }
    for (const [i, claim] of Array.isArray(task.writes) ? task.writes.entries() : []) {
      const owner = ownerOf(config, task.role, claim);
      if (owner !== undefined)
        found.push({
          path: [index, 'writes', i],
          message: `is the own of role "${owner}": nothing else lands there`,
        });
    }
    if (agentKind(config, task.agent) === undefined && task.agent === undefined) {
      found.push({
        path: [index, 'agent'],
        message: `which agent? The fleet has ${agents.join(', ')}, and none is called "default"`,
      });
    }
  });
  return found;
}

/** The role whose own the whole claim is, when that is another one. */
function ownerOf(config: Config, role: string | undefined, claim: unknown): string | undefined {
  if (typeof claim !== 'string' || role === undefined || !Object.hasOwn(config.roles, role)) return undefined;
  try {
    const { repository = rulesOf(config).roles[role]?.repository ?? '', keys } = parsePattern(claim);
    const place = config.repositories[repository];
    const end = keys.findIndex((key) => typeof key !== 'string');
    const names = end < 0 ? keys : keys.slice(0, end);
    if (!place || names.length === 0) return undefined;
    const right = rightsOf([], { ...place, repository, role })(names.join('/'));
    return right.kind === 'own' ? right.of : undefined;
  } catch (error) {
    if (error instanceof BadPattern) return undefined;
    throw error;
  }
}

/** The repository that a claim names, also one that cannot be right in other ways. */
const repositoryNamed = (claim: unknown): string | undefined =>
  typeof claim === 'string' ? splitRepository(claim).repository : undefined;
