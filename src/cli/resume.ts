import { Command } from 'commander';
import { type CommonOptions, me, print, withFleet } from './context.js';

export const resumeCommand = (): Command =>
  new Command('resume')
    .description('Unfreeze a role, after a look at what froze it.')
    .argument('<role>')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox resume site')
    .action(async (role: string, options: CommonOptions) => {
      await withFleet(options, async ({ signalbox }) => {
        await signalbox.resume(role, me());
        print(options, { role, resumed: true }, () => `role ${role} goes on`);
      });
    });
