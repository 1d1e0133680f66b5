import { Command } from 'commander';
import { handName } from './claim.js';
import { type CommonOptions, me, print, withFleet } from './context.js';

export const releaseCommand = (): Command =>
  new Command('release')
    .description("Give a person's claim back, or stop waiting for it.")
    .argument('[name]', 'what the claim was called', me())
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExamples:\n  signalbox release\n  signalbox release editor')
    .action(async (name: string, options: CommonOptions) => {
      await withFleet(options, async ({ signalbox }) => {
        const id = name.startsWith('hand/') ? name : handName(name);
        await signalbox.release(id, me());
        print(options, { released: id }, () => `${id} is released`);
      });
    });
