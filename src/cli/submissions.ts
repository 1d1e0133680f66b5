// Plan and task files, read and checked against the fleet, ready to be submitted.

import { basename } from 'node:path';
import { readDocument } from '../client/documents.js';
import type { TaskSource } from '../client/fleet-client.js';
import type { Config } from '../domain/config.js';
import { NAME, reservedPlan } from '../domain/ids.js';
import { starProblem } from '../domain/paths.js';
import { checkAgainst, Plan, SingleTask } from '../domain/plan.js';
import { didYouMean, type Problem } from '../domain/problems.js';
import { BadInput } from './context.js';

export interface Submission {
  file: string;
  /** Undefined for a task on its own. */
  plan: string | undefined;
  tasks: TaskSource[];
}

/** Reads a plan or a single task. Throws BadDocument with every problem, before anything is submitted. */
export async function readSubmission(file: string, config: Config): Promise<Submission> {
  const { value, source } = await readDocument(
    file,
    (written) => (isPlan(written) ? Plan : SingleTask),
    (written) => misfits(config, written),
  );
  const plan = 'tasks' in value ? (value.plan ?? planName(file)) : undefined;
  // What travels is what was written: the task's workflow fills in the defaults by the same schema.
  const written = source as { tasks: TaskSource[] } | TaskSource;
  return { file, plan, tasks: upstreamFirst('tasks' in written ? written.tasks : [written]) };
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isPlan = (value: unknown): boolean => isMap(value) && ('tasks' in value || 'plan' in value);

/** What does not fit the fleet, of tasks as they were written, whatever else is wrong with them. */
function misfits(config: Config, source: unknown): Problem[] {
  const inPlan = isPlan(source);
  const tasks = inPlan ? (source as { tasks?: unknown }).tasks : [source];
  if (!Array.isArray(tasks)) return [];
  return tasks.flatMap((task: unknown, index) => {
    if (!isMap(task)) return [];
    const at = (field: (string | number)[]) => (inPlan ? ['tasks', index, ...field] : field);
    const stars = (['writes', 'reads'] as const).flatMap((field) =>
      (Array.isArray(task[field]) ? task[field] : []).flatMap((claim: unknown, i): Problem[] => {
        const message = typeof claim === 'string' ? starProblem(claim) : undefined;
        return message === undefined ? [] : [{ path: at([field, i]), message }];
      }),
    );
    const others = checkAgainst(config, [task]).flatMap(
      ({ path: [, ...field], message, candidates, found }) => {
        const value = field.reduce<unknown>(
          (inner, key) => (isMap(inner) || Array.isArray(inner) ? Reflect.get(inner, key) : undefined),
          task,
        );
        if (value !== undefined && typeof value !== 'string') return [];
        const near = candidates && found ? didYouMean(found, candidates) : undefined;
        const hint = near
          ? `did you mean "${near}"?`
          : candidates && `there are: ${candidates.join(', ') || 'none'}`;
        return [{ path: at(field), message, ...(hint ? { hint } : {}) }];
      },
    );
    return [...stars, ...others];
  });
}

function planName(file: string): string {
  const name = basename(file).replace(/\.[^.]*$/, '');
  const reserved = reservedPlan(name);
  if (reserved || !NAME.test(name))
    throw new BadInput(
      `the plan in ${file} needs a name: add \`plan: some-name\`, for the file's name is not fit for one${reserved ? ` (${reserved})` : ''}`,
    );
  return name;
}

/** Upstream tasks are started before those that wait for them. */
function upstreamFirst(tasks: TaskSource[]): TaskSource[] {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const sorted = new Set<TaskSource>();
  const stack = [...tasks].reverse();
  for (let task = stack.at(-1); task; task = stack.at(-1)) {
    const open = (task.after ?? [])
      .flatMap((edge) => byId.get(typeof edge === 'string' ? edge : edge.task) ?? [])
      .filter((upstream) => !sorted.has(upstream));
    if (sorted.has(task) || open.length === 0) {
      sorted.add(task);
      stack.pop();
    } else {
      stack.push(...open);
    }
  }
  return [...sorted];
}
