import { Command } from 'commander';
import { parseDuration } from '../domain/durations.js';
import { BadInput, type CommonOptions, me, print, withFleet } from './context.js';

interface FreezeOptions extends CommonOptions {
  role?: string;
  reason: string;
  until?: string;
}

export const freezeCommand = (): Command =>
  new Command('freeze')
    .description(
      'Freeze a role or the whole fleet: running tasks go on, nothing new starts, no landing is handed over.',
    )
    .requiredOption('--reason <text>', 'why; whoever is held reads it')
    .option('--role <role>', 'the role; the whole fleet, read-only tasks too, when left out')
    .option('--until <duration>', 'it ends by itself after this, such as 2h; else with `resume`')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText(
      'after',
      '\nExamples:\n  signalbox freeze --reason "release day" --until 2h\n  signalbox freeze --role site --reason "the CDN is down"',
    )
    .action(async (options: FreezeOptions) => {
      const { role, reason, until } = options;
      if (until !== undefined && !parseDuration(until))
        throw new BadInput(`--until ${until}: expected a duration such as "30m" or "2h"`);
      if (reason.trim() === '') throw new BadInput('--reason: must not be empty');
      await withFleet(options, async ({ signalbox, fleet }) => {
        const by = me();
        const freeze = { reason, by, ...(role === undefined ? {} : { role }) };
        const confirmed = await signalbox.freeze({
          ...freeze,
          ...(until === undefined ? {} : { for: until }),
        });
        const what = role === undefined ? `fleet ${fleet.config.fleet}` : `role ${role}`;
        print(options, { ...freeze, ...(until === undefined ? {} : { until }), confirmed }, () =>
          confirmed
            ? `${what} is frozen${until === undefined ? '' : ` for ${until}`}: running tasks go on, nothing new starts\nend it with: signalbox resume${role === undefined ? '' : ` --role ${role}`}`
            : `${what} is frozen once a worker runs: none has confirmed it`,
        );
      });
    });
