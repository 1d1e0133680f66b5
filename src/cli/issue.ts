import { Command } from 'commander';
import { type CommonOptions, print, withFleet } from './context.js';

export const issueCommand = (): Command =>
  new Command('issue')
    .description(
      "Say that a tracker's issue has changed its state; its tasks are cancelled, held or let go on.",
    )
    .argument('<key>', "the issue's key, as the tasks name it")
    .requiredOption('--state <state>', 'the new state; `issues` in signalbox.yaml says what each means')
    .option('--revision <revision>', 'which revision of its text, for tasks that assume one')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox issue SHOP-12 --state closed')
    .action(async (key: string, options: CommonOptions & { state: string; revision?: string }) => {
      await withFleet(options, async ({ signalbox, fleet }) => {
        await signalbox.issue(key, options.state, options.revision);
        const means = fleet.config.issues[options.state] ?? 'go';
        const says = { cancel: 'its tasks are cancelled', hold: 'its tasks hold', go: 'its tasks may go on' }[
          means
        ];
        const known = Object.keys(fleet.config.issues);
        const strange =
          options.state === 'open' || known.includes(options.state)
            ? ''
            : ` (signalbox.yaml says nothing of this state; it knows ${known.join(', ')})`;
        print(
          options,
          { issue: key, state: options.state, means },
          () => `issue ${key} is ${options.state}: ${says}${strange}`,
        );
      });
    });
