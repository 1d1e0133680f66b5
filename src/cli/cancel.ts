import { Command } from 'commander';
import { type CommonOptions, fullName, me, print, withFleet } from './context.js';

export const cancelCommand = (): Command =>
  new Command('cancel')
    .description('Cancel a task: its agent is ended, and only then are its claims released.')
    .argument('<task>', 'plan/task, or the id of a task submitted on its own')
    .requiredOption('--reason <text>', 'why; it stands in the change packet')
    .option('--wait', 'wait until the task has ended')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox cancel spring/billing --reason "superseded by #812"')
    .action(async (task: string, options: CommonOptions & { reason: string; wait?: boolean }) => {
      await withFleet(options, async ({ signalbox }) => {
        const id = fullName(task);
        await signalbox.cancel(id, options.reason, me());
        const ended = options.wait ? (await signalbox.wait([id])).get(id) : undefined;
        print(options, { task: id, cancelling: true, ...(ended ? { outcome: ended.outcome } : {}) }, () =>
          ended
            ? `${id} ended: ${ended.outcome?.kind}: ${ended.outcome?.text}`
            : `${id} is told to stop; \`signalbox why ${id}\` shows when it has`,
        );
      });
    });
