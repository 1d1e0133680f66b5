import { Command } from 'commander';
import { formatSize } from '../domain/sizes.js';
import { type CommonOptions, EXIT, print, withFleet } from './context.js';
import { table } from './table.js';

export const cleanupCommand = (): Command =>
  new Command('cleanup')
    .description(
      'Remove what tasks that are over have left: clones on this host, and refs of attempts whose commits are on the branch. Nothing goes before its commits are kept.',
    )
    .option('--dry-run', 'say what would go and what would stay, and why; change nothing')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExamples:\n  signalbox cleanup --dry-run\n  signalbox cleanup --json')
    .action(async (options: CommonOptions & { dryRun?: boolean }) => {
      await withFleet(options, async ({ fleet, client }) => {
        // Loaded here alone, as the worker is.
        const { cleanup } = await import('../../worker/cleanup.js');
        const log = (line: string) => process.stderr.write(`signalbox: ${line}\n`);
        const report = await cleanup({ fleet, client, dryRun: options.dryRun === true, log });
        print(options, report, () => printReport(report, fleet.home));
        if (report.problems.length > 0 || report.items.some(({ problem }) => problem !== undefined))
          process.exitCode = EXIT.failed;
      });
    });

type Report = Awaited<ReturnType<typeof import('../../worker/cleanup.js').cleanup>>;

/** Both forms of what becomes of an item: as it will be, and as it was done. */
const SAID = {
  remove: ['would go', 'gone'],
  quarantine: ['would be kept', 'kept'],
  stay: ['stays', 'stays'],
} as const;

function printReport({ dryRun, items, problems }: Report, home: string): string {
  const rows = items.map(({ does, done, name, bytes, why }) => [
    done === false ? 'NOT DONE' : SAID[does][dryRun ? 0 : 1],
    bytes === undefined ? '' : formatSize(bytes),
    name.startsWith(`${home}/`) ? name.slice(home.length + 1) : name,
    why,
  ]);
  const undone = items.flatMap(({ name, problem }) => (problem === undefined ? [] : `${name}: ${problem}`));
  const freed = items.filter(({ does, done }) => does === 'remove' && done !== false);
  const bytes = freed.reduce((sum, item) => sum + (item.bytes ?? 0), 0);
  return [
    ...(rows.length > 0 ? [table(['', 'SIZE', 'WHAT', 'WHY'], rows)] : []),
    ...problems,
    ...undone,
    `${freed.length} ${dryRun ? 'would go' : 'are gone'}, ${formatSize(bytes)} of this host's disk`,
  ].join('\n');
}
