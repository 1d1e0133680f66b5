#!/usr/bin/env node
/**
 * Builds dist/: TypeScript to JavaScript, and the workflows into one bundle that every worker loads.
 * Guarantees: does nothing when dist/ was built from exactly these sources (dist/.stamp; `--force` builds all the
 * same); leaves no output whose source is gone; two builds at once take turns; a failed build leaves no stamp.
 */
import { spawnSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');
const FOLDERS = ['src', 'workflows', 'activities', 'worker', 'bench'];
const CONFIG = ['package-lock.json', 'tsconfig.json', 'scripts/build.mjs'];
const STAMP = join(DIST, '.stamp');
const LOCK = join(DIST, '.lock');
const BUILD_INFO = join(DIST, '.tsbuildinfo');
const BUNDLE = join(DIST, 'workflow-bundle.js');
const CLI = join(DIST, 'src', 'cli', 'main.js');
/** A build takes 20 s; a lock of another host this old is nobody's. */
const LOCK_STALE_MS = 15 * 60_000;

class BuildError extends Error {}

async function main() {
  const force = process.argv.includes('--force');
  mkdirSync(DIST, { recursive: true });
  const unlock = await lock();
  try {
    const stamp = stampOfSources();
    if (!force && readOr(STAMP, '') === stamp && missingOutputs().length === 0) return;
    rmSync(STAMP, { force: true });
    if (force) rmSync(BUILD_INFO, { force: true });
    removeStaleOutputs();
    compile();
    await bundleWorkflows();
    if (existsSync(CLI)) chmodSync(CLI, 0o755);
    writeFileSync(STAMP, stamp);
  } finally {
    unlock();
  }
}

/** Sources change while another build runs: the hash is taken before compiling, so such a change builds again. */
function stampOfSources() {
  const hash = createHash('sha256');
  const files = [
    ...FOLDERS.flatMap((folder) => filesBelow(join(ROOT, folder))),
    ...CONFIG.map((file) => join(ROOT, file)),
  ];
  for (const file of files.filter((path) => existsSync(path))) {
    hash
      .update(`${relative(ROOT, file)}\0`)
      .update(readFileSync(file))
      .update('\0');
  }
  return hash.digest('hex');
}

function filesBelow(folder) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function sources() {
  const files = FOLDERS.flatMap((folder) => filesBelow(join(ROOT, folder)));
  return files.filter((file) => /\.tsx?$/.test(file) && !file.endsWith('.d.ts'));
}

function outputOf(source) {
  return join(DIST, relative(ROOT, source).replace(/\.tsx?$/, '.js'));
}

function missingOutputs() {
  const outputs = sources().map(outputOf);
  if (existsSync(workflowsEntry('.ts'))) outputs.push(BUNDLE);
  return outputs.filter((file) => !existsSync(file));
}

/** tsc never deletes: an import of a module that is gone would go on working. */
function removeStaleOutputs() {
  const wanted = new Set(sources().map(outputOf));
  for (const folder of FOLDERS) {
    for (const file of filesBelow(join(DIST, folder))) {
      if (!wanted.has(file.replace(/\.map$/, ''))) rmSync(file, { force: true });
    }
  }
}

function compile() {
  if (sources().some((source) => !existsSync(outputOf(source)))) {
    // tsc takes its own word for what it has written: without the build info it writes everything.
    rmSync(BUILD_INFO, { force: true });
  }
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const run = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json'], { cwd: ROOT, stdio: 'inherit' });
  if (run.error) throw new BuildError(`TypeScript did not start: ${run.error.message}`);
  if (run.status !== 0) throw new BuildError('TypeScript found the errors above; nothing was bundled.');
}

function workflowsEntry(extension) {
  const base = extension === '.ts' ? ROOT : DIST;
  return join(base, 'workflows', `index${extension}`);
}

async function bundleWorkflows() {
  if (!existsSync(workflowsEntry('.ts'))) {
    throw new BuildError('workflows/index.ts is missing: there is no workflow to bundle.');
  }
  const { bundleWorkflowCode, DefaultLogger } = await import('@temporalio/worker');
  const logger = new DefaultLogger('WARN', ({ level, message }) => console.error(`${level}: ${message}`));
  try {
    const { code } = await bundleWorkflowCode({
      workflowsPath: workflowsEntry('.js'),
      workflowInterceptorModules: [join(DIST, 'workflows', 'early-events.js')],
      // Evaluated once for each worker, not for each workflow, and frozen. The rules are pure: they keep nothing between
      // two calls. Schemas do not work frozen, and workflows use none.
      preloadModules: [
        join(DIST, 'workflows', 'stack-depth.js'),
        ...filesBelow(join(DIST, 'src', 'domain')).filter((file) => file.endsWith('.js')),
      ],
      logger,
    });
    writeWhole(BUNDLE, code);
  } catch (error) {
    throw new BuildError(
      `The workflows could not be bundled: ${error.message}\n` +
        'Workflow code runs in a sandbox: it may import zod, @temporalio/workflow, src/domain and types, nothing of Node.',
    );
  }
}

/** A worker that starts meanwhile reads the old bundle or the new one, never half of one. */
function writeWhole(path, text) {
  const part = `${path}.${process.pid}`;
  writeFileSync(part, text);
  renameSync(part, path);
}

/** Waits for its turn; the lock is a file that appears with its owner in it. Returns what releases it. */
async function lock() {
  const owner = `${hostname()} ${process.pid} ${randomUUID()}`;
  const own = join(DIST, `.lock-${process.pid}`);
  writeFileSync(own, owner);
  try {
    for (let waited = false; !tryLink(own); waited = true) {
      if (!waited) console.error('Another build is running; waiting for it…');
      removeDeadLock();
      await sleep(100);
    }
  } finally {
    rmSync(own, { force: true });
  }
  const unlock = () => {
    if (readOr(LOCK, '') === owner) rmSync(LOCK, { force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => {
      unlock();
      process.kill(process.pid, signal);
    });
  }
  return unlock;
}

function tryLink(own) {
  try {
    linkSync(own, LOCK);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

/** Moved aside first, then looked at: of two that find the same dead lock one removes it, and never a live one. */
function removeDeadLock() {
  const owner = readOr(LOCK, '');
  if (owner === '' || isAlive(owner)) return;
  const aside = `${LOCK}-dead-${process.pid}`;
  try {
    renameSync(LOCK, aside);
    if (readOr(aside, '') !== owner) tryLink(aside);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  rmSync(aside, { force: true });
}

function isAlive(owner) {
  const [host, pid] = owner.split(' ');
  const since = statSync(LOCK, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
  if (host !== hostname()) return Date.now() - since < LOCK_STALE_MS;
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function readOr(path, otherwise) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(`Build failed. ${error.message}`);
  process.exitCode = 1;
}
