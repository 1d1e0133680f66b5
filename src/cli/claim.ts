import { Command } from 'commander';
import { parseDuration } from '../domain/durations.js';
import { HAND, NAME, taskName } from '../domain/ids.js';
import { parsePattern } from '../domain/paths.js';
import { didYouMean } from '../domain/problems.js';
import { BadInput, type CommonOptions, EXIT, me, print, problemWithClaim, withFleet } from './context.js';

/** What claims of persons are called among the holders. */
export const handName = (name: string): string => taskName(HAND, name);

interface ClaimOptions extends CommonOptions {
  name: string;
  for: string;
  note?: string;
  repository?: string;
  wait?: boolean;
}

export const claimCommand = (): Command =>
  new Command('claim')
    .description('Claim paths for a person, or for an agent that Signalbox did not launch.')
    .argument(
      '<path...>',
      'files, directories, or `:(glob)` with `*`, `**`, `?` and `[…]`; repo:path in another repository',
    )
    .option('--name <name>', 'what to call the claim; release takes the same', me())
    .option('--for <duration>', 'how long it holds unless released', '2h')
    .option('--note <text>', 'what it is for')
    .option('--repository <name>', "the repository; the fleet's first one when left out")
    .option('--wait', 'queue for the paths rather than be refused')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText(
      'after',
      '\nExamples:\n  signalbox claim services/billing --for 45m --note "hotfix by hand"\n  signalbox claim docs README.md --name editor --wait',
    )
    .action(async (paths: string[], options: ClaimOptions) => {
      const lease = parseDuration(options.for);
      if (!lease) throw new BadInput(`--for ${options.for}: expected a duration such as "30m" or "2h"`);
      if (!NAME.test(options.name))
        throw new BadInput(`--name ${options.name}: expected letters, digits, ".", "_" and "-"`);
      const problems = paths.flatMap((path) => problemWithClaim(path) ?? []);
      if (problems.length > 0) throw new BadInput(problems.join('\n'));
      await withFleet(options, async ({ signalbox, fleet }) => {
        for (const name of [options.repository, ...paths.map((path) => parsePattern(path).repository)])
          if (name !== undefined) checkRepository(name, Object.keys(fleet.config.repositories));
        const id = handName(options.name);
        const { note, repository } = options;
        const result = await signalbox.hands.claim({
          id,
          by: me(),
          writes: paths,
          lease,
          wait: options.wait === true,
          ...(note ? { note } : {}),
          ...(repository ? { repository } : {}),
        });
        print(options, result, () => {
          if (result.phase === 'running')
            return `${id} holds ${paths.join(', ')} for ${options.for}, fence ${result.fence}\nrenew it with: signalbox renew ${options.name} --fence ${result.fence}\ngive it back with: signalbox release ${options.name}`;
          if (result.phase === 'held')
            return `${id} waits: ${result.why}\nonce it holds, signalbox claims shows its fence\ngive up with: signalbox release ${options.name}`;
          return `refused: ${result.outcome?.text ?? result.why}`;
        });
        if (result.phase === 'ended') process.exitCode = EXIT.refused;
      });
    });

function checkRepository(name: string, known: string[]): void {
  if (known.includes(name)) return;
  const near = didYouMean(name, known);
  throw new BadInput(
    `the fleet has no repository "${name}"; ${near ? `did you mean "${near}"?` : `there are: ${known.join(', ')}`}`,
  );
}
