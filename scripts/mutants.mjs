#!/usr/bin/env node
/**
 * `npm run mutants [NAME…]`: breaks one rule of decide at a time, by the patches in test/mutants, in a copy of the sources,
 * and runs the tests of the rules on it. Each must make one of them fail. Prints which; exits with 1 when a mutant
 * survives, a patch does not apply any more, or the unbroken rules do not pass.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PATCHES = join(ROOT, 'test', 'mutants');
const COPIED = [
  'src',
  'test',
  'activities',
  'workflows',
  'package.json',
  'tsconfig.json',
  'vitest.rules.config.ts',
];
/** The rules as they are, tried like a mutant. */
const UNBROKEN = 'none';

const known = readdirSync(PATCHES)
  .filter((file) => file.endsWith('.patch'))
  .map((file) => file.slice(0, -'.patch'.length))
  .sort();
const wanted = process.argv.slice(2);
const strange = wanted.filter((name) => !known.includes(name));
if (strange.length > 0) {
  console.error(`no mutant is called ${strange.join(', ')}; there are: ${known.join(', ')}`);
  process.exit(2);
}

const names = [UNBROKEN, ...(wanted.length > 0 ? wanted : known)];
const width = Math.max(...names.map((name) => name.length));
const count = names.length - 1;
let bad = 0;
await Promise.all(Array.from({ length: availableParallelism() }, work));
console.log(
  bad === 0
    ? `${count === known.length ? 'all ' : ''}${count} mutants are killed`
    : `${bad} not as it should be`,
);
process.exitCode = bad === 0 ? 0 : 1;

async function work() {
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    const { ok, text } = await tryOne(name);
    if (!ok) bad += 1;
    console.log(`${ok ? ' ' : '!'} ${name.padEnd(width)}  ${text}`);
  }
}

async function tryOne(name) {
  const dir = mkdtempSync(join(tmpdir(), 'signalbox-mutant-'));
  try {
    for (const path of COPIED) cpSync(join(ROOT, path), join(dir, path), { recursive: true });
    symlinkSync(realpathSync(join(ROOT, 'node_modules')), join(dir, 'node_modules'));
    if (name !== UNBROKEN) {
      const { code, output } = await run(dir, 'patch', ['-p1', '-i', join(PATCHES, `${name}.patch`)]);
      if (code !== 0) return { ok: false, text: `the patch does not apply: ${output.trim()}` };
    }
    const report = join(dir, 'report.json');
    const vitest = join('node_modules', 'vitest', 'vitest.mjs');
    const { code, output } = await run(dir, process.execPath, [
      ...[vitest, 'run', '--config', 'vitest.rules.config.ts'],
      ...['--reporter=json', `--outputFile=${report}`],
    ]);
    if (code === 0) return { ok: name === UNBROKEN, text: name === UNBROKEN ? 'passes' : 'SURVIVES' };
    const killer = killerIn(report);
    if (killer === undefined) return { ok: false, text: `the tests did not run: ${output.slice(-500)}` };
    return { ok: name !== UNBROKEN, text: `${name === UNBROKEN ? 'FAILS' : 'killed by'}: ${killer}` };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function killerIn(report) {
  try {
    const { testResults } = JSON.parse(readFileSync(report, 'utf8'));
    return testResults
      .flatMap(({ assertionResults }) => assertionResults)
      .find(({ status }) => status === 'failed')?.fullName;
  } catch {
    return undefined;
  }
}

function run(cwd, command, args) {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk;
    });
  return new Promise((done) => {
    child.on('error', (error) => done({ code: 1, output: error.message }));
    child.on('close', (code) => done({ code, output }));
  });
}
