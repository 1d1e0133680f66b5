// `signalbox replay`: a real history as a fleet's work. Every commit becomes a task; whatever does not touch runs and
// lands in parallel; at the end the branch's tree must be the real one: the oracle that nothing was lost.

import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { whyNoSandbox } from '../../../worker/isolation.js';
import { startTemporalServer } from '../../../worker/temporal-server.js';
import { givenServer, type ServerAddress } from '../../client/connection.js';
import { Refused } from '../../client/refused.js';
import { formatDuration } from '../../domain/durations.js';
import { ISOLATION, type Isolation } from '../../domain/sandbox.js';
import { BadInput, EXIT, print } from '../context.js';
import { type History, readHistory } from './history.js';
import { type ReplayResult, replayOnce } from './run.js';

interface ReplayOptions {
  last?: string;
  range?: string;
  agents: string[];
  workMs: string;
  isolation: Isolation;
  origin?: string;
  keep?: boolean;
  json?: boolean;
}

const DEFAULT_LAST = 100;

export const replayCommand = (): Command =>
  new Command('replay')
    .description(
      "Replay a repository's own first-parent history through a fleet, and check that the tree comes out the same.",
    )
    .argument('<repo>', 'a git repository on this host; it is only read')
    .option('--last <n>', `the last N commits; ${DEFAULT_LAST} when neither this nor --range is given`)
    .option('--range <a..b>', 'the first-parent commits of a range')
    .option(
      '--agents <k...>',
      'agents at once; several numbers, such as 1,8, run one after the other and are compared',
      ['8'],
    )
    .option('--work-ms <m>', 'how long each agent pretends to think, in milliseconds', '0')
    .addOption(
      new Option('--isolation <kind>', 'of the agents')
        .choices(ISOLATION)
        .default('sandbox' satisfies Isolation),
    )
    .option('--origin <dir>', 'keep the resulting bare repository there')
    .option('--keep', 'keep the temporary folder: logs, mirrors, configuration')
    .addHelpText(
      'after',
      '\nExamples:\n  signalbox replay ~/src/redis --last 200 --agents 8\n  signalbox replay . --range v1.0..v1.1 --agents 1,8 --work-ms 500\n\nThe worker is a process of its own and its id is printed: kill it with -9 to see what happens.',
    )
    .action(async (repo: string, options: ReplayOptions) => {
      const agents = numbersOf('--agents', options.agents, 1, 256);
      const [workMs = 0] = numbersOf('--work-ms', [options.workMs], 0, 3_600_000);
      const select = selection(options);
      const source = resolve(repo);
      const problem = options.isolation === 'sandbox' ? whyNoSandbox() : undefined;
      if (problem !== undefined) throw new Refused(problem);
      if (!existsSync(source)) throw new BadInput(`there is no ${source}`);
      const history = await readHistory(source, select).catch((error: unknown) => {
        throw new BadInput(error instanceof Error ? error.message : String(error));
      });
      await replay({ source, history, agents, workMs, options });
    });

function selection({ last, range }: ReplayOptions): { last?: number; range?: string } {
  if (last !== undefined && range !== undefined) throw new BadInput('--last and --range exclude each other');
  if (range !== undefined) return { range };
  const [number = DEFAULT_LAST] = numbersOf('--last', last === undefined ? [] : [last], 1, 10_000_000);
  return { last: number };
}

function numbersOf(flag: string, texts: string[], least: number, most: number): number[] {
  return texts
    .flatMap((text) => text.split(','))
    .map((text) => {
      const number = Number(text);
      if (text.trim() === '' || !Number.isInteger(number) || number < least || number > most)
        throw new BadInput(`${flag} ${text}: expected a whole number from ${least} to ${most}`);
      return number;
    });
}

async function replay(job: {
  source: string;
  history: History;
  agents: number[];
  workMs: number;
  options: ReplayOptions;
}): Promise<void> {
  const { source, history, agents, workMs, options } = job;
  const log = (line: string) => process.stderr.write(`${line}\n`);
  const dir = await mkdtemp(join(tmpdir(), 'signalbox-replay-'));
  const given = givenServer();
  log(`${history.commits.length} commits of ${source}`);
  const interrupted = interruption();
  const started = given ? undefined : await startTemporalServer({ log, logFile: join(dir, 'temporal.log') });
  const server: ServerAddress = given ?? {
    connection: { address: started?.address ?? '' },
    namespace: 'default',
    source: 'this replay',
  };
  if (started?.uiUrl) log(`Web UI ${started.uiUrl}`);
  const results: ReplayResult[] = [];
  let problem = true;
  try {
    for (const [i, count] of agents.entries()) {
      const last = i === agents.length - 1;
      const origin = last && options.origin ? resolve(options.origin) : join(dir, `origin-${i}.git`);
      results.push(
        await replayOnce({
          source,
          history,
          agents: count,
          workMs,
          isolation: options.isolation,
          origin,
          dir: join(dir, `run-${i}`),
          server,
          log,
          interrupted,
        }),
      );
    }
    const good = results.every((result) => result.treeEqual && result.violations.length === 0);
    problem = !good;
    print(
      options,
      {
        ...results.at(-1),
        speedUp: speedUp(results),
        runs: results,
        ...(options.origin ? { origin: resolve(options.origin) } : {}),
      },
      () => shown(results, options),
    );
    if (!good) process.exitCode = EXIT.failed;
  } finally {
    await started?.stop();
    if (options.keep || problem) log(`kept: ${dir}`);
    else await rm(dir, { recursive: true, force: true });
  }
}

/** Rejects at Ctrl-C, so that what was started is stopped on the way out. */
function interruption(): Promise<never> {
  const interrupted = new Promise<never>((_resolve, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => reject(new Error(`interrupted by ${signal}`)));
  });
  interrupted.catch(() => undefined);
  return interrupted;
}

/** Wall time with one agent over that with the most; undefined unless both were asked for. */
function speedUp(results: ReplayResult[]): number | undefined {
  const one = results.find((result) => result.agents === 1);
  const most = results.filter((result) => result.agents > 1).sort((a, b) => b.agents - a.agents)[0];
  return one && most ? Math.round((one.wallMs / most.wallMs) * 100) / 100 : undefined;
}

function shown(results: ReplayResult[], options: ReplayOptions): string {
  const blocks = results.map((result) => {
    const {
      agents,
      tasks,
      landed,
      refused,
      longestWaitMs,
      wallMs,
      treeEqual,
      differing,
      violations,
      workers,
      mostAtOnce,
    } = result;
    return [
      `agents        ${agents} (${mostAtOnce} at once at most)`,
      `tasks         ${tasks}`,
      `landed        ${landed}`,
      `refused       ${refused.length}`,
      ...refused.slice(0, 20).map(({ task, why }) => `  ${task}: ${why}`),
      `longest wait  ${formatDuration(longestWaitMs)}`,
      `wall time     ${(wallMs / 1_000).toFixed(1)}s`,
      ...(workers > 1 ? [`workers       ${workers}, one after the other`] : []),
      treeEqual
        ? 'tree          equal'
        : `tree          DIFFERS in ${differing.length}${differing.length >= 100 ? ' or more' : ''} paths`,
      ...differing.map((path) => `  ${path}`),
      violations.length === 0 ? 'invariants    held' : 'invariants    VIOLATED',
      ...violations.map((violation) => `  ${violation}`),
    ].join('\n');
  });
  const faster = speedUp(results);
  return [
    ...blocks,
    ...(faster === undefined ? [] : [`speed-up      ${faster}x over one agent`]),
    ...(options.origin ? [`origin        ${resolve(options.origin)}`] : []),
  ].join('\n\n');
}
