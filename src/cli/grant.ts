import { Command, Option } from 'commander';
import type { PeerResult } from '../client/peer-grants.js';
import { PEER_FROM, type PeerFrom } from '../domain/peering-grants.js';
import { type CommonOptions, EXIT, fullName, me, print, withFleet } from './context.js';

interface GrantOptions extends CommonOptions {
  to: string;
  from?: PeerFrom;
  by: string;
}

export const grantCommand = (): Command =>
  new Command('grant')
    .description(
      "Let a task see another task's tree, as a filtered snapshot, read-only. The task that looks names the other one in its `peers`.",
    )
    .argument('<task>', 'whose tree')
    .requiredOption('--to <task>', 'who may see it')
    .addOption(
      new Option(
        '--from <what>',
        'what of it at most; what the task that looks asks for when left out',
      ).choices(PEER_FROM),
    )
    .option('--by <name>', 'who grants it', me())
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox grant spring/billing --to spring/review')
    .action(async (task: string, options: GrantOptions) => {
      await withFleet(options, async ({ signalbox }) => {
        const { from, by } = options;
        const request = { owner: fullName(task), to: fullName(options.to), by, ...(from ? { from } : {}) };
        const result = await signalbox.peers.grant(request);
        tell(options, result, result.answer === 'granted');
      });
    });

export function tell(options: CommonOptions, result: PeerResult, good: boolean): void {
  const waits = good && result.answer === 'granted' && !result.inForce;
  print(options, result, () =>
    good
      ? `${result.text}${waits ? '; the coordinator has not answered yet: it is in force when that has' : ''}`
      : `refused: ${result.text}`,
  );
  if (!good) process.exitCode = EXIT.refused;
}
