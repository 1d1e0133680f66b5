import { Command } from 'commander';
import type { TaskDescription } from '../client/fleet-reader.js';
import { Refused } from '../client/refused.js';
import { formatDuration } from '../domain/durations.js';
import { freezeText } from '../domain/freeze.js';
import type { Overview } from '../domain/views.js';
import { type CommonOptions, print, withFleet } from './context.js';
import { stateOf } from './progress.js';
import { table } from './table.js';

export const statusCommand = (): Command =>
  new Command('status')
    .description('Show every task: who runs, who waits, for whom and since when.')
    .option('--all', 'ended tasks too, all that Temporal still lists')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExamples:\n  signalbox status\n  signalbox status --all --json')
    .action(async (options: CommonOptions & { all?: boolean }) => {
      await withFleet(options, async ({ signalbox }) => {
        let overview: Overview | undefined;
        let trouble: string | undefined;
        try {
          overview = await signalbox.overview();
        } catch (error) {
          if (!(error instanceof Refused)) throw error;
          trouble = error.message;
        }
        if (!overview || options.all) {
          const tasks = await signalbox.list();
          print(options, { ...(overview ?? {}), tasks, ...(trouble ? { trouble } : {}) }, () =>
            [...(trouble ? [trouble] : []), listed(tasks)].join('\n'),
          );
          return;
        }
        const known = overview;
        print(options, known, () => printOverview(known));
      });
    });

/** The fleet in one line, the roles that land or are frozen, and a line for each task. */
export function printOverview(overview: Overview): string {
  const { running, ceiling, recovering, roles, tasks } = overview;
  const lines = [
    `fleet ${overview.fleet}: ${running} of at most ${ceiling} agents run${recovering ? '; recovering: waiting until every live task has announced itself' : ''}`,
  ];
  if (overview.frozen) lines.push(`the fleet is FROZEN ${freezeText(overview.frozen)}`);
  for (const { role, landing, frozen } of roles)
    if (landing > 0 || frozen)
      lines.push(`role ${role}: ${landing} landing${frozen ? `, FROZEN ${freezeText(frozen)}` : ''}`);
  for (const { of, state, forMs, why, trial } of overview.circuits)
    lines.push(
      `circuit ${of} is ${state} for ${formatDuration(forMs)}${trial ? `, ${trial} is its trial` : ''}: ${why}`,
    );
  if (tasks.length === 0) return [...lines, 'no tasks'].join('\n');
  const rows = tasks.map((line) => [line.id, stateOf(line), formatDuration(line.forMs), line.why ?? '']);
  return [...lines, table(['TASK', 'STATE', 'FOR', 'WHY'], rows)].join('\n');
}

const listed = (tasks: TaskDescription[]): string =>
  tasks.length === 0
    ? 'no tasks'
    : table(
        ['TASK', 'STATE', 'REASON', 'HOLDER'],
        tasks.map(({ id, state, status, reason, holder }) => [
          id,
          state ?? status.toLowerCase(),
          reason ?? '',
          holder ?? '',
        ]),
      );
