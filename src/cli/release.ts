import { Command } from 'commander';
import { deskDir } from '../client/desk.js';
import { handName } from './claim.js';
import { BadInput, type CommonOptions, me, print, withFleet } from './context.js';
import { changeClaims, tell } from './extend.js';

export const releaseCommand = (): Command =>
  new Command('release')
    .description(
      "Give a person's claim back, or stop waiting for it. With --task, or by an agent: paths that the task does not need any more.",
    )
    .argument('[name-or-path...]', 'what the claim was called; of a task the paths', undefined)
    .option('--task <task>', "give back paths of this running task; an agent's own when left out")
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText(
      'after',
      '\nExamples:\n  signalbox release\n  signalbox release editor\n  signalbox release docs --task spring/billing',
    )
    .action(async (names: string[], options: CommonOptions & { task?: string }) => {
      if (options.task !== undefined || deskDir() !== undefined) {
        if (names.length === 0)
          throw new BadInput('which paths? Name those that the task claims and does not need');
        tell(options, await changeClaims('release', names, options));
        return;
      }
      const [name = me(), ...more] = names;
      if (more.length > 0) throw new BadInput("one name at a time; a task's paths need --task");
      await withFleet(options, async ({ signalbox }) => {
        const id = name.startsWith('hand/') ? name : handName(name);
        await signalbox.hands.release(id, me());
        print(options, { released: id }, () => `${id} is released`);
      });
    });
