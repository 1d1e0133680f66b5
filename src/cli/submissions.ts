// Plan and task files, read and checked against the fleet, ready to be submitted.

import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { parse } from 'yaml';
import { readDocument } from '../client/documents.js';
import type { TaskSource } from '../client/fleet-client.js';
import type { Config } from '../domain/config.js';
import { NAME } from '../domain/ids.js';
import { checkAgainst, Plan, SingleTask, type Task } from '../domain/plan.js';
import { didYouMean } from '../domain/problems.js';
import { BadInput } from './context.js';

export interface Submission {
  file: string;
  /** Undefined for a task on its own. */
  plan: string | undefined;
  tasks: TaskSource[];
}

/** Reads a plan or a single task. Throws BadDocument with every problem, before anything is submitted. */
export async function readSubmission(file: string, config: Config): Promise<Submission> {
  const document = await readDocument(file, (value) => (isPlan(value) ? Plan : SingleTask));
  const { value } = document;
  const inPlan = 'tasks' in value;
  const tasks: Task[] = inPlan ? value.tasks : [value];
  const misfits = checkAgainst(config, tasks);
  if (misfits.length > 0) {
    throw document.fail(
      misfits.map(({ path, message, candidates, found }) => {
        const near = candidates && found ? didYouMean(found, candidates) : undefined;
        const hint = near
          ? `did you mean "${near}"?`
          : candidates
            ? `there are: ${candidates.join(', ') || 'none'}`
            : undefined;
        return { path: inPlan ? ['tasks', ...path] : path.slice(1), message, ...(hint ? { hint } : {}) };
      }),
    );
  }
  const plan = inPlan ? (value.plan ?? planName(file)) : undefined;
  // What travels is what was written: the task's workflow fills in the defaults by the same schema.
  const source = parse(await readFile(file, 'utf8'), { maxAliasCount: 100 }) as
    | { tasks: TaskSource[] }
    | TaskSource;
  return { file, plan, tasks: upstreamFirst('tasks' in source ? source.tasks : [source]) };
}

const isPlan = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && ('tasks' in value || 'plan' in value);

function planName(file: string): string {
  const name = basename(file).replace(/\.[^.]*$/, '');
  if (!NAME.test(name))
    throw new BadInput(
      `the plan in ${file} needs a name: add \`plan: some-name\`, for the file's name is not fit for one`,
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
