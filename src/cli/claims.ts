import { Command } from 'commander';
import { formatDuration } from '../domain/durations.js';
import type { ClaimLine } from '../domain/views.js';
import { type CommonOptions, print, withFleet } from './context.js';
import { table } from './table.js';

export const claimsCommand = (): Command =>
  new Command('claims')
    .description(
      'Show who holds which paths and resources, since when, under which fence, and who waits behind.',
    )
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox claims')
    .action(async (options: CommonOptions) => {
      await withFleet(options, async ({ signalbox }) => {
        const claims = (await signalbox.overview()).claims.filter(
          (claim) => claim.paths.length > 0 || claim.uses.length > 0,
        );
        print(options, { claims }, () =>
          claims.length === 0
            ? 'nobody holds a claim'
            : table(
                ['HOLDER', 'STATE', 'SINCE', 'LEASE LEFT', 'FENCE', 'WAITING', 'PATHS AND RESOURCES'],
                claims.map(row),
              ),
        );
      });
    });

function row(claim: ClaimLine): string[] {
  const { holder, phase, forMs, leaseLeftMs, restingMs, fence, waiting, paths, uses, note } = claim;
  const left =
    leaseLeftMs === undefined
      ? restingMs === undefined
        ? 'pinned'
        : `rests ${formatDuration(restingMs)}`
      : formatDuration(leaseLeftMs);
  return [
    holder,
    phase,
    formatDuration(forMs),
    left,
    fence ?? '',
    String(waiting.length),
    `${[...paths, ...uses].join(', ')}${note ? ` (${note})` : ''}`,
  ];
}
