#!/usr/bin/env node
/**
 * From a clean clone to a running command: `node scripts/bootstrap.mjs demo|test|attack|check|bench|properties|mutants|build [args…]`.
 * Guarantees: what is missing is installed, built or fetched first, and nothing twice; exit codes and signals of
 * the command pass through; needs Node and git only, no package.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MODULES = join(ROOT, 'node_modules');
const LOCK_FILE = join(ROOT, 'package-lock.json');
const STAMP = join(MODULES, '.signalbox-lock');
const OLDEST_NODE = { major: 20, minor: 12 };
const ARROW_FOLDERS = ['src', 'workflows', 'activities', 'worker', 'bench'];

/** Says to a person what is wrong and what to do; needs no stack. */
class Trouble extends Error {}

const COMMANDS = {
  async demo(args) {
    await bubblewrap(true);
    await build([]);
    const env = process.env.TEMPORAL_ADDRESS ? {} : { SIGNALBOX_TEMPORAL_BIN: await temporalBinary() };
    return await node([join('dist', 'src', 'cli', 'main.js'), 'demo', ...args], env);
  },
  async test(args) {
    await bubblewrap(false);
    await build([]);
    const env = { SIGNALBOX_TEMPORAL_BIN: await temporalBinary() };
    return await node([join('node_modules', 'vitest', 'vitest.mjs'), 'run', ...args], env);
  },
  /** The attacks on workstations alone; `test` runs them too. */
  async attack(args) {
    await bubblewrap(false);
    await build([]);
    const config = ['--config', 'vitest.attack.config.ts'];
    return await node([join('node_modules', 'vitest', 'vitest.mjs'), 'run', ...config, ...args]);
  },
  check,
  async bench(args) {
    await build([]);
    return await node([join('dist', 'bench', 'run.js'), ...args]);
  },
  properties: (args) => node([join('scripts', 'properties.mjs'), ...args]),
  mutants: (args) => node([join('scripts', 'mutants.mjs'), ...args]),
  async build(args) {
    await build(args);
    return 0;
  },
};

async function main([name, ...args]) {
  const command = Object.hasOwn(COMMANDS, name ?? '') ? COMMANDS[name] : undefined;
  if (!command)
    throw new Trouble(`Usage: node scripts/bootstrap.mjs ${Object.keys(COMMANDS).join('|')} [args…]`);
  await checkTools();
  await installDependencies();
  return await command(args);
}

async function checkTools() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const { major: wanted, minor: least } = OLDEST_NODE;
  if (major < wanted || (major === wanted && minor < least)) {
    throw new Trouble(`Signalbox needs Node ${wanted}.${least} or newer; this is ${process.versions.node}.`);
  }
  if (process.platform === 'win32') {
    throw new Trouble('Signalbox runs on Linux and macOS; on Windows use WSL or docs/docker.md.');
  }
  const git = await run('git', ['--version'], { quiet: true });
  if (git.code !== 0)
    throw new Trouble('Signalbox needs git, and `git --version` does not run. Please install git.');
}

/** `npm ci`, unless what is installed is what package-lock.json says. */
async function installDependencies() {
  const wanted = createHash('sha256').update(readFileSync(LOCK_FILE)).digest('hex');
  if (existsSync(STAMP) && readFileSync(STAMP, 'utf8') === wanted) return;
  if (!isInstalled()) {
    console.log('Installing dependencies…');
    const [command, ...args] = npm();
    const { code, output } = await run(command, [...args, 'ci'], { quiet: true });
    if (code !== 0) throw new Trouble(`${output}\nnpm ci failed (exit ${code}); its output is above.`);
  }
  writeFileSync(STAMP, wanted);
}

/** Someone ran npm by hand: then its own record of what is installed agrees with the lock. */
function isInstalled() {
  const record = join(MODULES, '.package-lock.json');
  if (!existsSync(record)) return false;
  const { packages: installed } = JSON.parse(readFileSync(record, 'utf8'));
  const { packages: wanted } = JSON.parse(readFileSync(LOCK_FILE, 'utf8'));
  return Object.entries(wanted).every(([path, { version, optional, devOptional }]) => {
    return path === '' || optional || devOptional || installed[path]?.version === version;
  });
}

/** The npm that runs us, if one does. */
function npm() {
  const cli = process.env.npm_execpath;
  return cli && basename(cli) === 'npm-cli.js' ? [process.execPath, cli] : ['npm'];
}

async function build(args) {
  const code = await node([join('scripts', 'build.mjs'), ...args]);
  if (code !== 0) throw new Trouble('The build failed; nothing was run.');
}

async function temporalBinary() {
  const built = pathToFileURL(join(ROOT, 'dist', 'worker', 'temporal-server.js'));
  const { findTemporalBinary } = await import(built.href);
  const quietly = [];
  try {
    return (await findTemporalBinary(tell)).path;
  } catch (error) {
    throw new Trouble(error.message);
  }
  /** Why the first sources have none is of interest only when something slow follows. */
  function tell(line) {
    if (line.endsWith('…')) console.log([...quietly.splice(0), line].join('\n'));
    else quietly.push(line);
  }
}

/** Agents run in sandboxes made by it. Installed when that may be done without asking; `needed`: nothing goes on without. */
async function bubblewrap(needed) {
  const there = async (program) => (await run(program, ['--version'], { quiet: true })).code === 0;
  if (process.platform !== 'linux' || (await there('bwrap'))) return;
  const install = ['install', '-y', '--no-install-recommends', 'bubblewrap'];
  if (process.getuid() === 0 && (await there('apt-get'))) {
    console.log('Installing bubblewrap, in which agents run…');
    const env = { DEBIAN_FRONTEND: 'noninteractive' };
    const options = { quiet: true, env };
    if ((await run('apt-get', install, options)).code !== 0) {
      await run('apt-get', ['update'], options);
      const { code, output } = await run('apt-get', install, options);
      if (code !== 0) console.log(output.trimEnd());
    }
    if (await there('bwrap')) return;
  }
  const command = (await there('apt-get'))
    ? 'sudo apt-get install -y bubblewrap'
    : (await there('dnf'))
      ? 'sudo dnf install -y bubblewrap'
      : 'install bubblewrap with the package manager of this system';
  if (needed)
    throw new Trouble(`Agents run in sandboxes made by bubblewrap, which is not installed: ${command}`);
  console.log(`bubblewrap is not installed, so tests of sandboxes are left out: ${command}`);
}

async function check(args) {
  if (args.length > 0) throw new Trouble('check takes no arguments.');
  const bin = (name) => join(MODULES, '.bin', name);
  const folders = ARROW_FOLDERS.filter((folder) => existsSync(join(ROOT, folder)));
  const steps = [
    ['types', bin('tsc'), ['-p', 'tsconfig.check.json']],
    ['lint', bin('biome'), ['check', '.', '--error-on-warnings']],
    ['arrows', bin('depcruise'), ['--config', '.dependency-cruiser.cjs', ...folders]],
  ];
  let failed = 0;
  for (const [name, command, commandArgs] of steps) {
    const { code, output } = await run(command, commandArgs, { quiet: true });
    if (code !== 0) console.log(output.trimEnd());
    // .ci/run counts these lines.
    console.log(`check ${name}: ${code === 0 ? 'passed' : 'failed'}`);
    if (code !== 0) failed += 1;
  }
  return failed === 0 ? 0 : 1;
}

async function node(args, env = {}) {
  return (await run(process.execPath, args, { env })).code;
}

/**
 * Runs a command in the project's folder and waits for it, whatever signals arrive; these reach the command too. A
 * command that a signal ends, ends us by the same signal. `quiet` collects the output instead of showing it.
 */
function run(command, args, { quiet = false, env = {} } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      env: { ...process.env, ...env },
      stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    });
    let output = '';
    const keep = (chunk) => {
      output += chunk;
    };
    child.stdout?.setEncoding('utf8').on('data', keep);
    child.stderr?.setEncoding('utf8').on('data', keep);
    const stopPassing = passSignals(child);
    child.on('error', (error) => {
      stopPassing();
      if (quiet) resolve({ code: 127, output: error.message });
      else reject(new Trouble(`${command} did not start: ${error.message}`));
    });
    child.on('close', (code, signal) => {
      stopPassing();
      if (signal) process.kill(process.pid, signal);
      else resolve({ code, output });
    });
  });
}

/** Ctrl-C in a terminal reaches the command by itself: passed on, it would count as a second, impatient one. */
function passSignals(child) {
  const fromTerminal = hasTerminal();
  const handlers = ['SIGINT', 'SIGTERM', 'SIGHUP'].map((signal) => {
    const handler = () => {
      if (signal !== 'SIGINT' || !fromTerminal) child.kill(signal);
    };
    process.on(signal, handler);
    return [signal, handler];
  });
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}

function hasTerminal() {
  try {
    closeSync(openSync('/dev/tty', 'r'));
    return true;
  } catch {
    return false;
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Trouble)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
