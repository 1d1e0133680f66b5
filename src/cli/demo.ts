// `signalbox demo`: the plan of examples/demo on a real server, with the world outside played along, and judged.

import { relative } from 'node:path';
import { Command } from 'commander';
import { whyNoSandbox } from '../../worker/isolation.js';
import { Refused } from '../client/refused.js';
import { EXIT } from './context.js';
import { examine, gather } from './demo/checks.js';
import { asJson, asText, type Ending, lookRound, webUi } from './demo/report.js';
import { Screen } from './demo/screen.js';
import { type Stage, setUp, Undo } from './demo/stage.js';
import { World } from './demo/world.js';
import { readSubmission } from './submissions.js';

interface DemoOptions {
  keep?: boolean;
  json?: boolean;
}

/** As a shell says that a command was ended by Ctrl-C. */
const INTERRUPTED = 130;
/** How long what is under way may take to notice Ctrl-C. */
const GRACE_MS = 10_000;

export const demoCommand = (): Command =>
  new Command('demo')
    .description(
      'Run a small fleet to look at: a real server, worker, origin and web server, and agents that are scripts.',
    )
    .option('--keep', 'leave everything up afterwards to look round, until Ctrl-C')
    .addHelpText(
      'after',
      '\nThe plan is in examples/demo, with a README. Everything it makes is in a temporary folder, which goes at the end.\n\nExamples:\n  signalbox demo\n  signalbox demo --keep',
    )
    .action(async (options: DemoOptions) => {
      const problem = whyNoSandbox();
      if (problem !== undefined) throw new Refused(`agents run in workstations: ${problem}`);
      const undo = new Undo();
      const interrupt = onInterrupt();
      try {
        await interrupt.unless(demo(options, undo, interrupt.signal));
      } catch (error) {
        if (!interrupt.signal.aborted) throw error;
        process.exitCode = INTERRUPTED;
      } finally {
        await undo.all();
        interrupt.off();
      }
      if (interrupt.signal.aborted) process.exit();
    });

async function demo(options: DemoOptions, undo: Undo, signal: AbortSignal): Promise<void> {
  const screen = new Screen(options.json === true);
  screen.remark('Starting a Temporal server, a worker, a bare origin and a web server…');
  const stage = await setUp(undo, signal, (line) => process.stderr.write(`${line}\n`));
  const url = webUi(stage);
  if (url) screen.remark(`Temporal Web UI: ${url}`);
  const ending = await perform(stage, screen, signal, options.keep === true);
  process.stdout.write(
    options.json ? `${JSON.stringify(asJson(ending), undefined, 2)}\n` : `${asText(ending)}\n`,
  );
  if (!ending.findings.every(({ held }) => held)) process.exitCode = EXIT.failed;
  if (!options.keep) return;
  (options.json ? process.stderr : process.stdout).write(`${lookRound(stage, thisCommand())}\n`);
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

/** Submits the plan, plays along until every task has ended, and looks at what came of it. */
async function perform(stage: Stage, screen: Screen, signal: AbortSignal, keep: boolean): Promise<Ending> {
  const { signalbox, fleet } = stage;
  const { plan = '', tasks } = await readSubmission(stage.plan, fleet.config);
  screen.remark(`Submitting the ${tasks.length} tasks of examples/demo/plan.yaml\n`);
  const ids = await signalbox.submit(plan, tasks);
  screen.begin(ids);
  const world = new World(stage, plan, (text) => screen.remark(text), signal);
  await signalbox.wait(ids, (overview) => {
    signal.throwIfAborted();
    screen.show(overview);
    world.look(overview);
  });
  await world.settled();
  screen.end();
  const { took } = screen;
  const evidence = await gather(stage, ids, world.deeds);
  return { stage, evidence, findings: examine(evidence), took, keep };
}

/** How this command was called, to call others alike. */
function thisCommand(): string {
  const script = process.argv[1] ?? 'signalbox';
  const near = relative('.', script);
  return `node ${near.startsWith('..') ? script : near}`;
}

/** Ctrl-C asks everything to end in order; the second one does not wait for that. */
function onInterrupt() {
  const controller = new AbortController();
  const { signal } = controller;
  const asked = () => {
    if (signal.aborted) process.exit(INTERRUPTED);
    controller.abort(new Error('interrupted'));
    process.stderr.write('\nstopping: agents, worker, servers and the temporary folder go\n');
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const name of signals) process.on(name, asked);
  return {
    signal,
    off: () => {
      for (const name of signals) process.off(name, asked);
    },
    /** Waits for the work; after an interrupt only for a while. */
    unless: (work: Promise<void>): Promise<void> => {
      const late = new Promise<void>((_, reject) => {
        signal.addEventListener('abort', () => setTimeout(() => reject(signal.reason), GRACE_MS).unref(), {
          once: true,
        });
      });
      return Promise.race([work, late]);
    },
  };
}
