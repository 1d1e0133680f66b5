import { Command } from 'commander';
import { readFleet } from '../client/config.js';
import { readReleased } from '../client/records.js';
import { formatDuration, parseDuration } from '../domain/durations.js';
import type { ReleasedClaim } from '../domain/released.js';
import type { ClaimLine } from '../domain/views.js';
import { BadInput, type CommonOptions, print, withFleet } from './context.js';
import { table } from './table.js';

interface ClaimsOptions extends CommonOptions {
  released?: boolean;
  since?: string;
}

/** Of those who wait behind a holder, so many are named. */
const NAMED = 3;
/** Released claims shown: the latest, and with --since. */
const LATEST = 20;
const MOST_SINCE = 500;

export const claimsCommand = (): Command =>
  new Command('claims')
    .description(
      'Show who holds which paths and resources, since when, under which fence, and who waits behind; or which were released, and with which commit.',
    )
    .option('--released', `the ${LATEST} latest claims of tasks that have ended, from the change packets`)
    .option('--since <duration>', `with --released: all since then ("2h", "1d"), at most ${MOST_SINCE}`)
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExamples:\n  signalbox claims\n  signalbox claims --released --since 1d')
    .action(async (options: ClaimsOptions) => {
      if (options.released) return await showReleased(options);
      if (options.since !== undefined) throw new BadInput('--since: say --released with it');
      await withFleet(options, async ({ signalbox }) => {
        const claims = (await signalbox.overview()).claims.filter(
          (claim) => claim.paths.length > 0 || claim.uses.length > 0,
        );
        print(options, { claims }, () =>
          claims.length === 0
            ? 'nobody holds a claim'
            : table(
                ['HOLDER', 'STATE', 'SINCE', 'LEASE LEFT', 'FENCE', 'WHO WAITS', 'PATHS AND RESOURCES'],
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
    named(waiting),
    `${[...paths, ...uses].join(', ')}${note ? ` (${note})` : ''}`,
  ];
}

const named = (waiting: string[]): string => {
  const more = waiting.length - NAMED;
  return `${waiting.slice(0, NAMED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
};

async function showReleased(options: ClaimsOptions): Promise<void> {
  const { since } = options;
  const ms = since === undefined ? undefined : parseDuration(since);
  if (since !== undefined && ms === undefined)
    throw new BadInput(`--since ${since}: expected a duration such as "30m", "2h" or "1d"`);
  const most = ms === undefined ? LATEST : MOST_SINCE;
  const fleet = await readFleet(options.config);
  const now = Date.now();
  // One more than is shown tells whether there are more.
  const found = await readReleased(fleet, {
    most: most + 1,
    ...(ms === undefined ? {} : { since: now - ms }),
  });
  const released = found.slice(0, most);
  const more = found.length > most;
  print(options, { released: released.map(dated), more }, () => {
    if (released.length === 0)
      return ms === undefined
        ? 'no claim was released yet'
        : `no claim was released within ${formatDuration(ms)}`;
    const lines = table(
      ['HOLDER', 'OUTCOME', 'RELEASED', 'HELD FOR', 'FENCE', 'COMMIT', 'PATHS AND RESOURCES'],
      released.map((claim) => releasedRow(claim, now)),
    );
    return more ? `${lines}\nand earlier ones` : lines;
  });
}

const dated = ({ since, until, ...claim }: ReleasedClaim) => ({
  ...claim,
  since: new Date(since).toISOString(),
  until: new Date(until).toISOString(),
});

function releasedRow(claim: ReleasedClaim, now: number): string[] {
  const { holder, outcome, since, until, fence, commit, paths, uses } = claim;
  return [
    holder,
    outcome,
    `${formatDuration(now - until)} ago`,
    formatDuration(until - since),
    fence ?? '',
    commit?.slice(0, 12) ?? '',
    [...paths, ...uses].join(', '),
  ];
}
