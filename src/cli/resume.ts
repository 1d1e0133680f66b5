import { Command } from 'commander';
import { freezeText } from '../domain/freeze.js';
import { type CommonOptions, me, print, withFleet } from './context.js';

export const resumeCommand = (): Command =>
  new Command('resume')
    .description(
      'End the freeze of a role or of the whole fleet, be it that a person or a failed deploy began it.',
    )
    .option('--role <role>', 'the role; the whole fleet when left out')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExamples:\n  signalbox resume\n  signalbox resume --role site')
    .action(async (options: CommonOptions & { role?: string }) => {
      await withFleet(options, async ({ signalbox, fleet }) => {
        const { role } = options;
        const confirmed = await signalbox.resume({ by: me(), ...(role === undefined ? {} : { role }) });
        const what = role === undefined ? `fleet ${fleet.config.fleet}` : `role ${role}`;
        const left = confirmed ? await signalbox.overview() : undefined;
        const still = [
          ...(left?.frozen && role !== undefined
            ? [`the fleet is still frozen ${freezeText(left.frozen)}`]
            : []),
          ...(role === undefined
            ? (left?.roles ?? []).flatMap((line) =>
                line.frozen ? [`role ${line.role} is still frozen ${freezeText(line.frozen)}`] : [],
              )
            : []),
        ];
        print(options, { ...(role === undefined ? {} : { role }), resumed: true, confirmed, still }, () =>
          [confirmed ? `${what} goes on` : `${what} goes on once its worker hears of it`, ...still].join(
            '\n',
          ),
        );
      });
    });
