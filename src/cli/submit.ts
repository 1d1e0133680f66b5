import { Command, Option } from 'commander';
import { readFleet } from '../client/config.js';
import { type NoAnswer, NoWorker } from '../client/refused.js';
import { SINGLE, taskName } from '../domain/ids.js';
import { IF_BUSY } from '../domain/plan.js';
import type { TaskLine } from '../domain/views.js';
import { BadInput, type CommonOptions, EXIT, print, withFleet } from './context.js';
import { tryOut } from './dry-run.js';
import { liveProgress, stateOf } from './progress.js';
import { readSubmission, type Submission } from './submissions.js';
import { table } from './table.js';

/** A worker that takes over from one that died answers within this. */
const MOMENT_MS = 15_000;

interface SubmitOptions extends CommonOptions {
  wait?: boolean;
  watch?: boolean;
  dryRun?: boolean;
  ifBusy?: (typeof IF_BUSY)[number];
}

export const submitCommand = (): Command =>
  new Command('submit')
    .description(
      'Submit plans or tasks. All files are checked before anything starts; a plan starts when all of it has arrived.',
    )
    .argument('<file...>', 'YAML or JSON: a plan (with `tasks`) or a single task')
    .option('--wait', 'wait until every task has ended; exit code 1 unless all landed or finished')
    .option('--watch', 'as --wait, with live progress')
    .option(
      '--dry-run',
      'start nothing: tell what would run now, what would wait and for what, and how many could run at once',
    )
    .addOption(
      new Option(
        '--if-busy <how>',
        'what a task does when a path or resource it claims is held or asked for by an earlier one at that moment: wait for its turn, or fail at once; whatever the files say',
      ).choices(IF_BUSY),
    )
    .option('--config <file>', 'the fleet; signalbox.yaml of this folder or above when left out')
    .addHelpText(
      'after',
      '\nExamples:\n  signalbox submit plan.yaml --watch\n  signalbox submit fix-typo.yaml --wait --json\n  signalbox submit plan.yaml --dry-run',
    )
    .action(async (files: string[], options: SubmitOptions) => {
      const submissions = (await readAll(files, options)).map((submission) => asked(submission, options));
      if (options.dryRun) {
        if (options.wait || options.watch)
          throw new BadInput('--dry-run starts nothing: there is nothing to --wait for or to --watch');
        await tryOut(submissions, options);
        return;
      }
      await withFleet(options, async ({ signalbox, server }) => {
        const ids: string[] = [];
        // All files are asked about before anything of the first one starts.
        await signalbox.refuseKnown(submissions.flatMap(namesOf));
        for (const { plan, tasks } of submissions) {
          if (plan === undefined)
            for (const task of tasks) ids.push(...(await signalbox.submit(undefined, [task])));
          else ids.push(...(await signalbox.submit(plan, tasks)));
        }
        if (!options.wait && !options.watch) {
          print(options, { submitted: ids }, () =>
            [
              `submitted ${ids.length} task${ids.length === 1 ? '' : 's'}: ${ids.slice(0, 10).join(', ')}${ids.length > 10 ? ', …' : ''}`,
              ...(server.uiUrl ? [`watch at ${server.uiUrl}`] : []),
            ].join('\n'),
          );
          return;
        }
        const progress = options.watch && !options.json ? liveProgress(ids) : undefined;
        const remarks = silenceRemarks(() => progress?.end());
        const ended = await signalbox.wait(
          ids,
          (overview) => {
            remarks.answered();
            progress?.show(overview);
          },
          remarks.silent,
        );
        progress?.end();
        const lines = ids.flatMap((id) => ended.get(id) ?? []);
        print(options, { tasks: lines }, () =>
          table(
            ['TASK', 'OUTCOME', 'WHY'],
            lines.map((line) => [line.id, stateOf(line), line.outcome?.text ?? '']),
          ),
        );
        if (!lines.every(endedWell)) process.exitCode = EXIT.failed;
      });
    });

export const endedWell = (line: TaskLine): boolean =>
  line.outcome?.kind === 'landed' || line.outcome?.kind === 'finished';

/**
 * Says on stderr, once each, that the tasks wait for a worker and that one is there. Between two lives of the
 * coordinator nobody answers for a moment: that is not worth a word.
 */
function silenceRemarks(before: () => void) {
  let said: string | undefined;
  const say = (remark: string) => {
    if (remark === said) return;
    said = remark;
    before();
    process.stderr.write(`signalbox: ${remark}\n`);
  };
  let since: number | undefined;
  return {
    silent(trouble: NoAnswer): void {
      if (trouble instanceof NoWorker) {
        say(
          `no worker serves fleet ${trouble.fleet}; the tasks start, or go on, once one runs (\`signalbox up\` or \`signalbox worker\`)`,
        );
        since = undefined;
        return;
      }
      since ??= Date.now();
      if (Date.now() - since > MOMENT_MS) say(trouble.message);
    },
    answered(): void {
      since = undefined;
      if (said !== undefined) say('a worker answers');
    },
  };
}

async function readAll(files: string[], options: SubmitOptions): Promise<Submission[]> {
  const { config } = await readFleet(options.config);
  const results = await Promise.allSettled(files.map((file) => readSubmission(file, config)));
  const failures = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason as unknown] : [],
  );
  if (failures.length === 1) throw failures[0];
  if (failures.length > 0)
    throw new BadInput(failures.map((error) => (error instanceof Error ? error.message : error)).join('\n'));
  const submissions = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const names = submissions.map((submission) => submission.plan ?? namesOf(submission)[0]);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new BadInput(`"${twice}" is in two of the files`);
  return submissions;
}

/** With what the command line says for all tasks. */
const asked = (submission: Submission, { ifBusy }: SubmitOptions): Submission =>
  ifBusy === undefined
    ? submission
    : { ...submission, tasks: submission.tasks.map((task) => ({ ...task, ifBusy })) };

const namesOf = ({ plan, tasks }: Submission): string[] =>
  tasks.map((task) => taskName(plan ?? SINGLE, task.id));
