import { Command } from 'commander';
import { askAtDesk, deskDir } from '../client/desk.js';
import type { ClaimAnswer } from '../domain/own-claims.js';
import { parsePattern } from '../domain/paths.js';
import {
  BadInput,
  type CommonOptions,
  EXIT,
  fullName,
  print,
  problemWithClaim,
  withFleet,
} from './context.js';

interface ExtendOptions extends CommonOptions {
  task?: string;
  wait?: boolean;
}

export const extendCommand = (): Command =>
  new Command('extend')
    .description(
      'Ask for more paths for a running task: granted when nobody else holds them. An agent asks for its own task, from its workstation.',
    )
    .argument('<path...>', 'files, directories, or `:(glob)` patterns')
    .option('--task <task>', "the task; an agent's own when left out")
    .option(
      '--wait',
      'wait for the paths rather than go without; should that be a deadlock, the attempt ends and starts again with its work and all the paths',
    )
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText(
      'after',
      '\nExamples:\n  signalbox extend services/cart/api.ts          # by an agent\n  signalbox extend services/cart --task spring/billing --wait',
    )
    .action(async (paths: string[], options: ExtendOptions) => {
      const answer = await changeClaims('extend', paths, options);
      tell(options, answer);
    });

/** Asks at the agent's own desk, or the task that is named. Interrupted while it waits, it goes without. */
export async function changeClaims(
  what: 'extend' | 'release',
  paths: string[],
  options: ExtendOptions,
): Promise<ClaimAnswer> {
  const problems = paths.flatMap((path) => problemWithClaim(path) ?? []);
  if (problems.length > 0) throw new BadInput(problems.join('\n'));
  const request = {
    do: what,
    paths: paths.map((path) => parsePattern(path).text),
    wait: options.wait === true,
  };
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const onWait = (answer: ClaimAnswer) => {
    if (!options.json) process.stderr.write(`signalbox: ${answer.text}\n`);
  };
  try {
    const desk = deskDir();
    if (options.task === undefined) {
      if (desk === undefined)
        throw new BadInput('which task? Name it with --task; only an agent in its workstation need not');
      return await askAtDesk(desk, request, { signal: stop.signal, onWait });
    }
    const task = fullName(options.task);
    return await withFleet(options, ({ signalbox }) =>
      signalbox.changeClaims(task, request, { signal: stop.signal, onWait }),
    );
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

export function tell(options: CommonOptions, answer: ClaimAnswer): void {
  const good = answer.answer === 'granted' || answer.answer === 'released';
  print(options, answer, () =>
    good ? `${answer.text}; it claims ${answer.writes.join(', ') || 'nothing'}` : `refused: ${answer.text}`,
  );
  if (!good) process.exitCode = EXIT.refused;
}
