/**
 * Where the `temporal` binary comes from. Guarantees: what is handed out has answered `--version` a moment ago;
 * every source that fails says why in one line; a binary appears in the cache whole or not at all, however many
 * processes fetch it at once; a download that hangs is killed in time and cannot keep this process alive.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

/** The last version that `go install` can build; the download asks for the same one. */
export const TEMPORAL_CLI_VERSION = 'v1.5.1';

const GO_PACKAGE = `github.com/temporalio/cli/cmd/temporal@${TEMPORAL_CLI_VERSION}`;
const OLDEST = { major: 1, minor: 1 };
const VERSION_MS = 20_000;
const DOWNLOAD_SECONDS = 60;
/** A build takes 3 minutes on two cores; this only bounds one that hangs. */
const BUILD_MS = 30 * 60_000;
const ABANDONED_MS = 2 * 60 * 60_000;

export type Log = (line: string) => void;
export interface TemporalBinary {
  path: string;
  source: string;
}

interface Source {
  source: string;
  /** Resolves to a path that may be used; rejects with the reason why there is none. */
  find(log: Log): Promise<string>;
}

/** SIGNALBOX_CACHE, else XDG_CACHE_HOME/signalbox, else ~/.cache/signalbox (macOS: ~/Library/Caches/signalbox). */
export function cacheDir(): string {
  const { SIGNALBOX_CACHE, XDG_CACHE_HOME } = process.env;
  if (SIGNALBOX_CACHE) return SIGNALBOX_CACHE;
  if (XDG_CACHE_HOME) return join(XDG_CACHE_HOME, 'signalbox');
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'signalbox');
  return join(homedir(), '.cache', 'signalbox');
}

/**
 * The first that works of: SIGNALBOX_TEMPORAL_BIN, `temporal` on PATH, the cache, the SDK's download, `go install`.
 * Throws an Error that lists every attempt with its reason and says what to install.
 */
export async function findTemporalBinary(log: Log): Promise<TemporalBinary> {
  const failed: string[] = [];
  for (const { source, find } of sources()) {
    try {
      return { path: await find(log), source };
    } catch (error) {
      const line = `${source}: ${oneLine(error)}`;
      failed.push(line);
      log(`No Temporal server from ${line}`);
    }
  }
  throw new Error(
    [
      'No Temporal server binary was found. Tried, in this order:',
      ...failed.map((line, index) => `  ${index + 1}. ${line}`),
      'Install the Temporal CLI (https://docs.temporal.io/cli, 1.1 or newer) so that `temporal` is on PATH, or install',
      'Go (https://go.dev/dl) and run this again, or set SIGNALBOX_TEMPORAL_BIN to a binary, or set TEMPORAL_ADDRESS',
      'to a Temporal server that runs already.',
    ].join('\n'),
  );
}

function sources(): Source[] {
  const given = process.env.SIGNALBOX_TEMPORAL_BIN;
  const fromEnv: Source[] = given
    ? [{ source: 'SIGNALBOX_TEMPORAL_BIN', find: () => checkBinary(given) }]
    : [];
  return [
    ...fromEnv,
    { source: 'temporal on PATH', find: () => checkBinary(onPath('temporal')) },
    { source: 'the cache', find: () => checkBinary(cachedPath()) },
    { source: "the SDK's download", find: download },
    { source: 'go install', find: goInstall },
  ];
}

function cachedPath(): string {
  return join(cacheDir(), 'bin', 'temporal');
}

function onPath(name: string): string {
  for (const dir of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(dir, name);
    if (dir !== '' && isExecutable(path)) return path;
  }
  throw new Error(`no executable \`${name}\` on PATH`);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Runs `path --version`; rejects when it does not run, is not the Temporal CLI, or is too old. */
async function checkBinary(path: string): Promise<string> {
  if (!isExecutable(path)) throw new Error(`${path} is not there or not executable`);
  const run = await runToEnd(path, ['--version'], { timeoutMs: VERSION_MS });
  if (!run.ok) throw new Error(`${path} --version ${run.why}`);
  const version = /temporal version (\d+)\.(\d+)\.\d+\S*/.exec(run.output);
  if (!version) throw new Error(`${path} is not the Temporal CLI; --version said: ${oneLine(run.output)}`);
  if (isTooOld(Number(version[1]), Number(version[2]))) {
    throw new Error(`${path} is too old (${version[0]}); ${OLDEST.major}.${OLDEST.minor} or newer is needed`);
  }
  return path;
}

/** 0.0 is what a build from source calls itself, of whatever version. */
function isTooOld(major: number, minor: number): boolean {
  if (major === 0 && minor === 0) return false;
  return major < OLDEST.major || (major === OLDEST.major && minor < OLDEST.minor);
}

/**
 * Runs in a process of its own: the SDK's runtime holds off SIGTERM, cannot give up a download, and takes the whole
 * process with it when it crashes. Standard input is the lifeline: at its end the whole process group dies.
 */
const DOWNLOAD_SCRIPT = `
const [, sdk, downloadDir, version] = process.argv;
process.stdin.on('end', () => process.kill(-process.pid, 'SIGKILL')).resume();
const { TestWorkflowEnvironment } = require(sdk);
const executable = { type: 'cached-download', downloadDir, version };
TestWorkflowEnvironment.createLocal({ server: { executable } })
  .then((environment) => environment.teardown())
  .then(() => process.exit(0))
  .catch((error) => { console.error(error.message); process.exit(1); });
`;

async function download(log: Log): Promise<string> {
  const seconds = Number(process.env.SIGNALBOX_DOWNLOAD_SECONDS) || DOWNLOAD_SECONDS;
  const sdk = createRequire(import.meta.url).resolve('@temporalio/testing');
  log(`Downloading the Temporal server, once, ${seconds} seconds at most…`);
  return await intoCache('download', async (dir) => {
    const run = await runToEnd(process.execPath, ['-e', DOWNLOAD_SCRIPT, sdk, dir, TEMPORAL_CLI_VERSION], {
      timeoutMs: seconds * 1000,
      onTimeout: `not done after ${seconds} seconds (SIGNALBOX_DOWNLOAD_SECONDS allows more)`,
    });
    if (!run.ok) throw new Error(run.why);
  });
}

async function goInstall(log: Log): Promise<string> {
  const go = onPath('go');
  log('Building the Temporal server with Go, once, 3 to 5 minutes…');
  return await intoCache('build', async (dir) => {
    const run = await runToEnd(go, ['install', GO_PACKAGE], {
      timeoutMs: BUILD_MS,
      env: { ...process.env, GOBIN: dir, CGO_ENABLED: '0' },
    });
    if (!run.ok) throw new Error(`go install ${GO_PACKAGE} ${run.why}`);
  });
}

/** Lets `fill` put one binary into a private directory, checks it, and renames it to its place in the cache. */
async function intoCache(label: string, fill: (dir: string) => Promise<void>): Promise<string> {
  const bin = join(cacheDir(), 'bin');
  await mkdir(bin, { recursive: true });
  await removeAbandoned(bin);
  const dir = await mkdtemp(join(bin, `.${label}-`));
  try {
    await fill(dir);
    const name = (await readdir(dir)).find((file) => file.startsWith('temporal'));
    if (!name) throw new Error('it ended well but left no binary');
    await checkBinary(join(dir, name));
    await rename(join(dir, name), cachedPath());
    return cachedPath();
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Directories of processes that were killed while they filled them. */
async function removeAbandoned(bin: string): Promise<void> {
  for (const name of await readdir(bin)) {
    if (!/^\.(download|build)-/.test(name)) continue;
    const age = await stat(join(bin, name)).then(
      (found) => Date.now() - found.mtimeMs,
      () => 0,
    );
    if (age > ABANDONED_MS) await rm(join(bin, name), { recursive: true, force: true });
  }
}

interface RunOptions {
  timeoutMs: number;
  onTimeout?: string;
  env?: NodeJS.ProcessEnv;
}

type Run = { ok: true; output: string } | { ok: false; why: string };

/** Runs a command in its own process group, which is dead when this resolves: also after a timeout. Never rejects. */
function runToEnd(command: string, args: string[], options: RunOptions): Promise<Run> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      detached: true,
      env: options.env ?? process.env,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let output = '';
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-4000);
    };
    const end = (run: Run) => {
      clearTimeout(timer);
      forgetInterrupts();
      killGroup(child);
      child.stdin.destroy();
      child.stdout.destroy();
      child.stderr.destroy();
      resolve(run);
    };
    const timer = setTimeout(() => {
      end({ ok: false, why: options.onTimeout ?? `did not end in ${options.timeoutMs / 1000} seconds` });
    }, options.timeoutMs);
    const forgetInterrupts = killWithUs(child);
    child.stdin.on('error', () => {});
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', (error) => end({ ok: false, why: `did not start: ${error.message}` }));
    child.on('close', (code, signal) => {
      if (code === 0) end({ ok: true, output });
      else end({ ok: false, why: `failed (${signal ?? `exit ${code}`}): ${lastWords(output)}` });
    });
  });
}

/** The child's group is not the terminal's: Ctrl-C must reach it through us. Returns what undoes this. */
function killWithUs(child: ChildProcess): () => void {
  const onExit = () => killGroup(child);
  const onSignal = (signal: NodeJS.Signals) => {
    killGroup(child);
    undo();
    // Ours was the only handler: do what the signal does without one.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const undo = () => {
    process.off('exit', onExit);
    for (const signal of signals) process.off(signal, onSignal);
  };
  process.on('exit', onExit);
  for (const signal of signals) process.on(signal, onSignal);
  return undo;
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // The group is gone.
  }
}

function lastWords(output: string): string {
  return oneLine(output.trim().split('\n').slice(-5).join(' | ')) || 'it said nothing';
}

function oneLine(said: unknown): string {
  const text = said instanceof Error ? said.message : String(said);
  return text.replace(/\s+/g, ' ').trim().slice(-600);
}
