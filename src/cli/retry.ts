import { Command } from 'commander';
import { type CommonOptions, fullName, print, withFleet } from './context.js';

export const retryCommand = (): Command =>
  new Command('retry')
    .description(
      'Start failed or cancelled tasks again, as they were submitted, with the paths that they were granted since.',
    )
    .argument('<task...>', 'plan/task, or the id of a task submitted on its own; upstream ones first')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox retry spring/migration spring/billing')
    .action(async (tasks: string[], options: CommonOptions) => {
      await withFleet(options, async ({ signalbox }) => {
        const ids = tasks.map(fullName);
        // All are asked about before the first starts.
        for (const id of ids) await signalbox.refuseRetry(id);
        for (const id of ids) await signalbox.retry(id);
        print(options, { retried: ids }, () => ids.map((id) => `${id} starts again`).join('\n'));
      });
    });
