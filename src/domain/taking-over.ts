// What a plan may say about hand-offs: which task goes on with whose commits. What becomes of them is in decide/handoff.ts.

import { BadPattern, coversClaim, type Pattern, parsePattern } from './paths.js';

interface Step {
  id: string;
  role?: string | undefined;
  writes: readonly string[];
  after: readonly { task: string; until?: 'landed' | 'finished' | undefined }[];
  takesOver?: string | undefined;
}

interface Problem {
  path: (string | number)[];
  message: string;
  params?: { candidates: string[]; found: string };
}

/** What is wrong with a task's own hand-off. */
export function handOffProblems({ id, role, takesOver }: Step, inPlan: boolean): Problem[] {
  if (takesOver === undefined) return [];
  const complain = (message: string): Problem[] => [{ path: ['takesOver'], message }];
  if (takesOver === id) return complain('a task does not take over from itself');
  if (role === undefined) return complain('a task without a role is read-only: it has nothing to go on with');
  return inPlan ? [] : complain('only a task of a plan takes over from another one, of the same plan');
}

/** What is wrong with the hand-offs of a plan's tasks, which name each other by their ids. */
export function planHandOffProblems(tasks: readonly Step[]): Problem[] {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const takers = new Map<string, string>();
  return tasks.flatMap((task, index): Problem[] => {
    const { id, takesOver } = task;
    const field = (name: string | number, message: string): Problem => ({
      path: ['tasks', index, name],
      message,
    });
    const waits = task.after.flatMap((edge, i): Problem[] => {
      const taker = tasks.find((other) => other.takesOver === edge.task)?.id;
      if (taker === undefined || edge.until === 'finished') return [];
      const message = `"${edge.task}" does not land, for "${taker}" takes it over: ${taker === id ? 'that is waited for already' : `wait for "${taker}"`}`;
      return [{ path: ['tasks', index, 'after', i], message }];
    });
    if (takesOver === undefined || takesOver === id) return waits;
    const from = byId.get(takesOver);
    if (!from) {
      const params = { candidates: [...byId.keys()], found: takesOver };
      return [{ ...field('takesOver', `no task of this plan is called "${takesOver}"`), params }, ...waits];
    }
    const earlier = takers.get(takesOver);
    takers.set(takesOver, earlier ?? id);
    return [...waits, ...pairProblems(task, from, earlier).map((text) => field(...text))];
  });
}

function pairProblems(
  { role, writes }: Step,
  from: Step,
  earlier: string | undefined,
): [field: string, message: string][] {
  if (earlier !== undefined)
    return [['takesOver', `"${earlier}" takes over "${from.id}" already: commits go on with one task`]];
  if (from.role === undefined)
    return [['takesOver', `"${from.id}" is read-only: it leaves no commits to go on with`]];
  if (role === undefined) return [];
  if (from.role !== role)
    return [['takesOver', `"${from.id}" has the role "${from.role}": who takes it over needs the same`]];
  const ours = writes.flatMap(parsed);
  const missing = from.writes.flatMap(parsed).filter((claim) => !ours.some((own) => coversClaim(own, claim)));
  return missing.map(({ text }) => [
    'writes',
    `has to take in ${text}, which "${from.id}" claims: its changes land with this task`,
  ]);
}

/** What is no claim has been complained about. */
function parsed(claim: string): Pattern[] {
  try {
    return [parsePattern(claim)];
  } catch (error) {
    if (error instanceof BadPattern) return [];
    throw error;
  }
}
