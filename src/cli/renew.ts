import { Command } from 'commander';
import { formatDuration, parseDuration } from '../domain/durations.js';
import { handName } from './claim.js';
import { BadInput, type CommonOptions, me, print, withFleet } from './context.js';

interface RenewOptions extends CommonOptions {
  fence: string;
  for?: string;
}

export const renewCommand = (): Command =>
  new Command('renew')
    .description(
      "A person's claim holds anew, from now on. Refused under any other fence than the one it was given.",
    )
    .argument('[name]', 'what the claim was called', me())
    .requiredOption('--fence <fence>', 'the fence that `claim` printed')
    .option('--for <duration>', 'how long it holds from now on; as before when left out')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox renew editor --fence 1700000000000.7 --for 30m')
    .action(async (name: string, options: RenewOptions) => {
      const lease = options.for === undefined ? undefined : parseDuration(options.for);
      if (options.for !== undefined && !lease)
        throw new BadInput(`--for ${options.for}: expected a duration such as "30m" or "2h"`);
      await withFleet(options, async ({ signalbox }) => {
        const id = name.startsWith('hand/') ? name : handName(name);
        const { fence } = options;
        const renewed = await signalbox.hands.renew(id, { fence, ...(lease ? { lease } : {}) });
        print(
          options,
          { renewed: id, ...renewed },
          () => `${id} holds for ${formatDuration(renewed.lease)} from now on, fence ${renewed.fence}`,
        );
      });
    });
