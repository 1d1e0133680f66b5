import { Command, Option } from 'commander';
import { type CommonOptions, fullName, me, print, withFleet } from './context.js';
import { stateOf } from './progress.js';

interface BlockOptions extends CommonOptions {
  on: string;
  until?: 'landed' | 'finished';
}

export const blockCommand = (): Command =>
  new Command('block')
    .description(
      'A live task turned out to depend on another one: its next attempt, or its landing, waits for that. Refused when tasks would wait in a circle.',
    )
    .argument('<task>', 'plan/task, or the id of a task submitted on its own')
    .requiredOption('--on <task>', 'the task that it depends on, of any plan of the fleet')
    .addOption(
      new Option(
        '--until <end>',
        'landed for writers and finished for read-only tasks when left out',
      ).choices(['landed', 'finished']),
    )
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox block spring/billing --on autumn/invoices')
    .action(async (task: string, options: BlockOptions) => {
      await withFleet(options, async ({ signalbox }) => {
        const [id, on] = [fullName(task), fullName(options.on)];
        const { until } = options;
        const story = await signalbox.block(id, { on, by: me(), ...(until ? { until } : {}) });
        const result = { task: id, after: story.after, phase: story.task.phase };
        print(
          options,
          result,
          () => `${id} depends on ${on} too; it is ${stateOf(story.task)}: ${story.task.why ?? ''}`,
        );
      });
    });
