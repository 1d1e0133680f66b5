import { Command } from 'commander';
import { askAtDesk, deskDir } from '../client/desk.js';
import { BadInput, type CommonOptions, EXIT, print } from './context.js';

export const refreshCommand = (): Command =>
  new Command('refresh')
    .description(
      'By an agent in its workstation: make the snapshots of its peers anew, as their trees are now. They are in $SIGNALBOX_SHARED.',
    )
    .argument('[name...]', 'what the peers are called; all that are granted when left out')
    .addHelpText('after', '\nExample:\n  signalbox refresh code')
    .action(async (names: string[], options: CommonOptions) => {
      const desk = deskDir();
      if (desk === undefined)
        throw new BadInput('only an agent can ask for that, in its workstation: it is about what that sees');
      const answer = await askAtDesk(desk, { do: 'refresh', names });
      const good = answer.answer === 'refreshed';
      print(options, answer, () => (good ? answer.text : `refused: ${answer.text}`));
      if (!good) process.exitCode = EXIT.refused;
    });
