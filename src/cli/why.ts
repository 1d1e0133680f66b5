import { Command } from 'commander';
import { readPackets } from '../client/records.js';
import { NoAnswer, Refused } from '../client/refused.js';
import { formatDuration } from '../domain/durations.js';
import { tellStory } from '../domain/story.js';
import { type CommonOptions, fullName, print, withFleet } from './context.js';
import { stateOf } from './progress.js';

export const whyCommand = (): Command =>
  new Command('why')
    .description('Tell the story of a task: every decision about it, in order, and what it waits for now.')
    .argument('<task>', 'plan/task, or the id of a task submitted on its own')
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText('after', '\nExample:\n  signalbox why spring/billing')
    .action(async (task: string, options: CommonOptions) => {
      await withFleet(options, async ({ signalbox, fleet }) => {
        const id = fullName(task);
        let trouble: NoAnswer | undefined;
        const story = await signalbox.story(id).catch((error: unknown) => {
          if (!(error instanceof NoAnswer)) throw error;
          trouble = error;
          return undefined;
        });
        if (story && story.decisions.length > 0) {
          const { task: line, decisions, waiting } = story;
          print(options, story, () =>
            [
              `${line.id} is ${stateOf(line)}, for ${formatDuration(line.forMs)}: ${line.why ?? ''} [${line.code}]`,
              ...tellStory(decisions, line.outcome ? undefined : Date.now()),
              ...(waiting.length > 0 ? [`behind it wait: ${waiting.join(', ')}`] : []),
            ].join('\n'),
          );
          return;
        }
        // Long ended, or no worker runs: the packet tells the same.
        const lives = await readPackets(fleet, id);
        const packet = lives.at(-1);
        if (!packet)
          throw (
            trouble ?? new Refused(`no task ${id} in fleet ${fleet.config.fleet}, and no change packet of it`)
          );
        print(options, packet, () =>
          lives
            .flatMap((life, i) => [
              ...(i > 0 ? ['', 'started once more:'] : []),
              `${id} ${life.outcome.kind}: ${life.outcome.text} [${life.outcome.code}]`,
              ...tellStory(life.decisions),
            ])
            .join('\n'),
        );
      });
    });
