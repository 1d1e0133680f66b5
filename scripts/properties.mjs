#!/usr/bin/env node
/**
 * `npm run properties [SEQUENCES]`: the properties of decide over so many random sequences of at least 50 events, 100,000
 * when not said, on all cores. Every process has a seed of its own, which is printed: SIGNALBOX_SEED and SIGNALBOX_RUNS
 * as shown run the same ones again. Exits with 1 when a property does not hold, with 2 when that could not be found out.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Sequences that the properties take together for one of SIGNALBOX_RUNS: four in full and one a third. */
const PER_RUN = 4 + 1 / 3;
const HIGHEST_SEED = 2 ** 31 - 1;

const total = Number(process.argv[2] ?? 100_000);
if (!Number.isInteger(total) || total < 1) {
  console.error('Usage: npm run properties [SEQUENCES]');
  process.exit(2);
}
const cores = availableParallelism();
const runs = Math.ceil(total / cores / PER_RUN);
console.log(`${total} sequences on ${cores} cores, ${runs} runs of each property on each`);
const started = performance.now();
const ended = await Promise.all(Array.from({ length: cores }, () => runOne(randomInt(HIGHEST_SEED))));
const seconds = Math.round((performance.now() - started) / 1_000);
const failed = ended.filter(({ code }) => code !== 0);
for (const { output } of failed) console.log(output);
const broken = failed.filter(({ output }) => output.includes('Property failed'));
if (failed.length === 0) console.log(`every property held, in ${seconds} s`);
else if (broken.length > 0) console.log(`a property does not hold; its seed: ${seedsOf(broken)}`);
else console.log(`the properties could not be tried to their end; the seed: ${seedsOf(failed)}`);
process.exitCode = failed.length === 0 ? 0 : broken.length > 0 ? 1 : 2;

function seedsOf(runs) {
  return runs.map(({ seed }) => seed).join(', ');
}

function runOne(seed) {
  const repeat = `SIGNALBOX_RUNS=${runs} SIGNALBOX_SEED=${seed}`;
  console.log(`seed ${seed}: again with ${repeat} npx vitest run --config vitest.properties.config.ts`);
  const child = spawn(
    process.execPath,
    [join('node_modules', 'vitest', 'vitest.mjs'), 'run', '--config', 'vitest.properties.config.ts'],
    {
      cwd: ROOT,
      env: { ...process.env, SIGNALBOX_RUNS: `${runs}`, SIGNALBOX_SEED: `${seed}` },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output = (output + chunk).slice(-20_000);
    });
  return new Promise((done) => child.on('close', (code) => done({ seed, code, output })));
}
