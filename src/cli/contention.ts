import { Command } from 'commander';
import type { FleetClient } from '../client/fleet-client.js';
import { readPackets } from '../client/records.js';
import { NoAnswer } from '../client/refused.js';
import { type Contender, type Contention, contentionOf } from '../domain/contention.js';
import { formatDuration } from '../domain/durations.js';
import { changedPaths } from '../domain/packet.js';
import { type CommonOptions, print, withFleet } from './context.js';
import { table } from './table.js';

/** Live tasks that are asked for their story: more say little more, and each costs a query. */
const MOST_ASKED = 200;

export const contentionCommand = (): Command =>
  new Command('contention')
    .description(
      'Which claims and resources were waited for most, by whom and for whom, and what narrower claims would have saved. From change packets, and from the coordinator if it answers.',
    )
    .option('--plan <plan>', 'only waits of tasks of this plan')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExamples:\n  signalbox contention\n  signalbox contention --plan spring --json')
    .action(async (options: CommonOptions & { plan?: string }) => {
      await withFleet(options, async ({ signalbox, fleet }) => {
        const packets = await readPackets(fleet);
        const kept = packets.map((packet): Contender => {
          const changed = changedPaths(packet);
          return { task: packet.task, decisions: packet.decisions, ...(changed ? { changed } : {}) };
        });
        const wanted = ({ task }: Contender) => !options.plan || task.startsWith(`${options.plan}/`);
        // Who held is looked up among all tasks, whoever's waits are asked for.
        const all = [...kept, ...(await liveContenders(signalbox))];
        const seen = all.map((one) => (wanted(one) ? one : { ...one, decisions: [] }));
        const found = contentionOf(seen, Date.now());
        print(options, { contention: found }, () => printContention(found));
      });
    });

async function liveContenders(signalbox: FleetClient): Promise<Contender[]> {
  try {
    const { tasks } = await signalbox.overview();
    const live = tasks.filter((line) => line.phase !== 'ended').sort((a, b) => b.forMs - a.forMs);
    const stories = live.slice(0, MOST_ASKED).map((line) => signalbox.story(line.id));
    return (await Promise.all(stories)).flatMap((story) =>
      story ? [{ task: story.task.id, decisions: story.decisions }] : [],
    );
  } catch (error) {
    if (error instanceof NoAnswer) return [];
    throw error;
  }
}

export function printContention(found: readonly Contention[]): string {
  if (found.length === 0) return 'nobody has waited for a claim or a resource';
  const some = (names: readonly string[]) =>
    names.slice(0, 2).join(', ') + (names.length > 2 ? ` and ${names.length - 2} more` : '');
  const rows = found.map((one) => [
    one.claim,
    formatDuration(one.totalMs),
    `${formatDuration(one.longest.ms)} by ${one.longest.task}`,
    some(one.by),
    some(one.held),
    one.avoidableMs > 0 ? `at most ${formatDuration(one.avoidableMs)}` : 'nothing',
  ]);
  const splits = found
    .filter((one) => one.split)
    .map((one) => `instead of ${one.claim} its holders could have claimed: ${one.split?.join(', ')}`);
  return [
    table(['CLAIM', 'WAITED', 'LONGEST', 'WAITING', 'HELD BY', 'A SPLIT SAVES'], rows),
    ...(splits.length > 0 ? ['', ...splits] : []),
  ].join('\n');
}
