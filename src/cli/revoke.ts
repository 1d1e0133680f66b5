import { Command } from 'commander';
import { type CommonOptions, fullName, me, withFleet } from './context.js';
import { tell } from './grant.js';

export const revokeCommand = (): Command =>
  new Command('revoke')
    .description(
      "Let a task see another task's tree no longer, whoever or whatever rule has granted it. Its snapshots are taken away while it runs.",
    )
    .argument('<task>', 'whose tree')
    .requiredOption('--to <task>', 'who may not see it any longer')
    .option('--by <name>', 'who takes it back', me())
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox revoke spring/billing --to spring/review')
    .action(async (task: string, options: CommonOptions & { to: string; by: string }) => {
      await withFleet(options, async ({ signalbox }) => {
        const { to, by } = options;
        const result = await signalbox.peers.revoke({ owner: fullName(task), to: fullName(to), by });
        tell(options, result, result.answer === 'revoked');
      });
    });
