// What an agent that prints 1 GB costs its worker: its output goes the way that of every agent goes, past five secrets
// into bounded, compressed segments, while the event loop is measured. The agent is a process of its own that prints as
// fast as it is read.

import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { outputFile } from '../../activities/output.js';
import { runProcess } from '../../activities/processes.js';
import { redactor } from '../../activities/redactor.js';
import { type Bench, type Row, spreadOf } from '../bench.js';
import { randomFrom } from '../random.js';

const MB = 1024 * 1024;
const BYTES = 1024 * MB;
const REPEATS = 3;
/** What the agent prints, over and over: long enough that it does not all look alike. */
const LINES = 4_000;
/** How often memory is looked at. */
const LOOK_MS = 20;

const AGENT = `
const lines = Array.from({ length: ${LINES} }, (_, i) =>
  'step ' + i + ': compiled src/part' + (i * 7919) % 977 + '/module.ts in ' + (i * 31) % 1000 + ' ms, ok').join('\\n') + '\\n';
const chunk = Buffer.from(lines);
let left = ${BYTES};
const print = () => {
  while (left > 0) {
    const part = chunk.subarray(0, Math.min(left, chunk.length));
    left -= part.length;
    if (!process.stdout.write(part)) return process.stdout.once('drain', print);
  }
};
print();
`;

interface Cost {
  lag: number;
  memory: number;
  rate: number;
}

async function printed(dir: string, secrets: readonly string[]): Promise<Cost> {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  const before = process.memoryUsage.rss();
  let most = before;
  const look = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, LOOK_MS);
  const began = performance.now();
  delay.enable();
  const output = outputFile(join(dir, '001-1.1.log'), redactor(secrets));
  const end = await runProcess({
    command: [process.execPath, '-e', AGENT],
    cwd: dir,
    env: {},
    marker: dir,
    output: output.stream,
    errors: output.errors,
  });
  const problem = await output.close();
  delay.disable();
  clearInterval(look);
  if (end.exitCode !== 0 || problem) throw new Error(`the agent failed: ${problem ?? JSON.stringify(end)}`);
  const seconds = (performance.now() - began) / 1_000;
  return { lag: delay.percentile(99) / 1e6, memory: (most - before) / MB, rate: BYTES / 1e6 / seconds };
}

async function sizeOf(dir: string): Promise<number> {
  const sizes = await Promise.all(
    (await readdir(dir)).map(async (name) => (await stat(join(dir, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Keys as services hand them out. */
function someSecrets(): string[] {
  const random = randomFrom(5);
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return Array.from({ length: 5 }, () =>
    Array.from({ length: 40 }, () => letters[random.below(letters.length)]).join(''),
  );
}

const bench: Bench = {
  name: 'output',
  about: 'memory and event-loop lag of a worker whose agent prints 1 GB, and how fast it takes that',
  async run({ progress }): Promise<Row[]> {
    const secrets = someSecrets();
    const costs: Cost[] = [];
    for (let i = 0; i < REPEATS; i++) {
      const dir = await mkdtemp(join(tmpdir(), 'signalbox-bench-'));
      try {
        const cost = await printed(dir, secrets);
        costs.push(cost);
        const kept = (await sizeOf(dir)) / MB;
        progress(
          `${cost.rate.toFixed(0)} MB/s, lag p99 ${cost.lag.toFixed(1)} ms, ${cost.memory.toFixed(0)} MB more memory, ${kept.toFixed(1)} MB on disk`,
        );
      } finally {
        await rm(dir, { recursive: true, force: true });
      }
    }
    return [
      {
        row: 'an agent prints 1 GB: event-loop lag of its worker, p99',
        ...spreadOf(costs.map(({ lag }) => lag)),
        unit: ' ms',
        absolute: true,
        mustReach: { atMost: 100 },
        aim: { atMost: 25 },
      },
      {
        // The first one counts: memory that was taken once is used again.
        row: "an agent prints 1 GB: growth of its worker's memory",
        figure: costs[0]?.memory ?? Number.NaN,
        unit: ' MB',
        absolute: true,
        mustReach: { atMost: 64 },
        aim: { atMost: 32 },
      },
      {
        row: 'an agent prints 1 GB: what of it is taken a second',
        ...spreadOf(costs.map(({ rate }) => rate)),
        unit: ' MB',
        absolute: true,
        aim: { atLeast: 200 },
      },
    ];
  },
};

export default bench;
