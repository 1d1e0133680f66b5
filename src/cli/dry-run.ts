// `submit --dry-run`: asks the coordinator what it goes by, and has decide say what would come of the files.

import { readFleet } from '../client/config.js';
import { NoServer } from '../client/connection.js';
import { NoAnswer } from '../client/refused.js';
import { rulesOf } from '../domain/config.js';
import { type DryRun, dryRun, emptyFleet, type Picture } from '../domain/dry-run.js';
import { SINGLE, taskName } from '../domain/ids.js';
import { SingleTask } from '../domain/plan.js';
import type { TaskLine } from '../domain/views.js';
import { type CommonOptions, print, withFleet } from './context.js';
import { stateOf } from './progress.js';
import type { Submission } from './submissions.js';
import { table } from './table.js';

/** Prints what would come of the files. Throws Refused when one of the tasks was submitted before. */
export async function tryOut(submissions: readonly Submission[], options: CommonOptions): Promise<void> {
  const asked = submissions.map(({ plan, tasks }) => ({
    plan,
    tasks: tasks.map((task) => SingleTask.parse(task)),
  }));
  const names = asked.flatMap(({ plan, tasks }) => tasks.map(({ id }) => taskName(plan ?? SINGLE, id)));
  const { picture, trouble } = await look(names, options);
  const found = dryRun(picture, asked);
  const empty = trouble === undefined ? {} : { emptyFleet: trouble };
  print(options, { ...empty, ...found }, () => printDryRun(found, trouble));
}

/** The coordinator's picture; without one that answers an empty fleet, and why. */
async function look(
  names: string[],
  options: CommonOptions,
): Promise<{ picture: Picture; trouble?: string }> {
  try {
    return await withFleet(options, async ({ signalbox }) => {
      await signalbox.refuseKnown(names);
      return { picture: await signalbox.picture() };
    });
  } catch (error) {
    if (!(error instanceof NoServer) && !(error instanceof NoAnswer)) throw error;
    const { config } = await readFleet(options.config);
    return { picture: emptyFleet(rulesOf(config), Date.now()), trouble: error.message };
  }
}

export function printDryRun(found: DryRun, trouble: string | undefined): string {
  const { fleet, running, ceiling, run, wait, end, parallel, recovering } = found;
  const all = run.length + wait.length + end.length;
  const part = (title: string, lines: TaskLine[], cells: (line: TaskLine) => string[], head: string[]) =>
    lines.length === 0 ? [] : ['', `${title}:`, table(head, lines.map(cells))];
  return [
    trouble === undefined
      ? `fleet ${fleet}: ${running} of at most ${ceiling} agents run${recovering ? '; recovering' : ''}; nothing was submitted`
      : `decided against an empty fleet, for what runs is not known: ${trouble}`,
    ...part('would run now', run, ({ id, why = '' }) => [id, why], ['TASK', 'WHY']),
    ...part('would wait', wait, ({ id, why = '' }) => [id, why], ['TASK', 'FOR WHAT']),
    ...part('would end at once', end, (line) => [line.id, stateOf(line), line.why ?? ''], [
      'TASK',
      'OUTCOME',
      'WHY',
    ]),
    '',
    `at most ${parallel.atMost} of ${all === 1 ? 'this 1 task' : `these ${all} tasks`} could run at once, were nobody else there`,
  ].join('\n');
}
