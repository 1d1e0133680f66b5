// `npm run bench [NAME…]`: runs the benchmarks of rows/, prints their table (with --json one object of the same), and
// exits with 1 when a figure falls short of what it must reach or a benchmark fails, with 2 when it is asked wrongly.

import { fork } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Bench, type Options, type Row, reaches, type Threshold } from './bench.js';

const ROWS = new URL('./rows/', import.meta.url);

/** In the environment of a child: which benchmark it has to run. */
const ONE = 'SIGNALBOX_BENCH';

interface Measured extends Row {
  name: string;
  reached: boolean;
}

interface Failed {
  name: string;
  error: string;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      workload: { type: 'string' },
      agents: { type: 'string' },
    },
  });
  const benches = await findBenches();
  if (values.list) {
    for (const { name, about } of benches) console.log(`${name.padEnd(14)} ${about}`);
    return 0;
  }
  const unknown = positionals.filter((name) => !benches.some((bench) => bench.name === name));
  if (unknown.length > 0)
    throw new Error(`no benchmark is called ${unknown.join(', ')}; there are: ${names(benches)}`);
  const agents = values.agents === undefined ? undefined : Number(values.agents);
  if (agents !== undefined && !(Number.isInteger(agents) && agents > 0))
    throw new Error('--agents takes a whole number above 0');
  const options = {
    ...(values.workload === undefined ? {} : { workload: resolve(values.workload) }),
    ...(agents === undefined ? {} : { agents }),
  };
  const chosen = benches.filter((bench) =>
    positionals.length > 0
      ? positionals.includes(bench.name)
      : values.workload === undefined
        ? !bench.onDemand
        : bench.name === 'workload',
  );
  const measured: Measured[] = [];
  const failed: Failed[] = [];
  for (const bench of chosen) {
    try {
      measured.push(...(await runApart(bench, options)));
    } catch (error) {
      failed.push({ name: bench.name, error: error instanceof Error ? error.message : String(error) });
    }
  }
  const ok = failed.length === 0 && measured.every(({ reached }) => reached);
  const on = { node: process.version, cpus: availableParallelism() };
  if (values.json) console.log(JSON.stringify({ ok, on, rows: measured, failed }, undefined, 2));
  else show(measured, failed);
  return ok ? 0 : 1;
}

async function findBenches(): Promise<Bench[]> {
  const files = readdirSync(ROWS).filter((file) => file.endsWith('.js'));
  const benches: Bench[] = [];
  for (const file of files.sort()) {
    const { default: bench } = (await import(new URL(file, ROWS).href)) as { default?: Bench };
    if (bench) benches.push(bench);
  }
  return benches;
}

const names = (benches: Bench[]): string => benches.map(({ name }) => name).join(', ');

/** Runs a benchmark in a process of its own, whose output goes to stderr. */
function runApart(bench: Bench, options: Omit<Options, 'progress'>): Promise<Measured[]> {
  return new Promise((done, fail) => {
    const child = fork(fileURLToPath(import.meta.url), [], {
      env: { ...process.env, [ONE]: bench.name },
      execArgv: [...(bench.node ?? [])],
      stdio: ['ignore', 2, 2, 'ipc'],
    });
    let rows: Row[] | undefined;
    child.on('message', (message) => {
      rows = message as Row[];
    });
    child.on('error', fail);
    child.on('exit', (code, signal) => {
      if (code !== 0 || !rows) fail(new Error(`it ended with ${signal ?? code}; see above`));
      else
        done(
          rows.map((row) => ({
            name: bench.name,
            ...row,
            reached: row.mustReach === undefined || reaches(row.figure, row.mustReach),
          })),
        );
    });
    child.send(options);
  });
}

/** The child's side: takes the options, runs the one benchmark, sends its rows. */
async function runOne(name: string): Promise<void> {
  const options = await new Promise<Omit<Options, 'progress'>>((got) => {
    process.once('message', (message) => got(message as Omit<Options, 'progress'>));
  });
  const bench = (await findBenches()).find((one) => one.name === name);
  if (!bench) throw new Error(`no benchmark is called ${name}`);
  const rows = await bench.run({
    ...options,
    progress: (text) => process.stderr.write(`${name}: ${text}\n`),
  });
  await new Promise<void>((sent) => process.send?.(rows, () => sent()));
  process.exit(0);
}

function show(measured: Measured[], failed: Failed[]): void {
  const lines = measured.map(({ row, figure, spread, unit = '', absolute, mustReach, aim, reached }) => [
    absolute ? `${row} *` : row,
    `${reached ? '' : '! '}${number(figure)}${unit}`,
    spread ? `${number(spread[0])} to ${number(spread[1])}` : '',
    mustReach ? threshold(mustReach) : '',
    aim ? threshold(aim) : '',
  ]);
  const all = [['row', 'figure', 'spread', 'must reach', 'aim'], ...lines];
  const widths = [0, 1, 2, 3, 4].map((i) => Math.max(...all.map((line) => line[i]?.length ?? 0)));
  for (const line of all)
    console.log(
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  console.log('* absolute, only a guard');
  for (const { row, reached } of measured) if (!reached) console.log(`falls short: ${row}`);
  for (const { name, error } of failed) console.log(`failed: ${name}: ${error}`);
}

const threshold = (wanted: Threshold): string =>
  'atMost' in wanted ? `<= ${number(wanted.atMost)}` : `>= ${number(wanted.atLeast)}`;

/** Four digits that count; whole numbers in full. */
function number(value: number): string {
  if (Number.isInteger(value) || Math.abs(value) >= 1_000)
    return Math.round(value).toLocaleString('en').replaceAll(',', ' ');
  return String(Number(value.toPrecision(4)));
}

const one = process.env[ONE];
if (one !== undefined) await runOne(one);
else
  try {
    process.exitCode = await main();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 2;
  }
