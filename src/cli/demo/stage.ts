// What the demo needs around it, all of it real and all of it in one temporary folder: a bare origin, a web server, a
// Temporal server and a worker. What was put up is taken down in reverse order, also when only half of it is there.

import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startTemporalServer } from '../../../worker/temporal-server.js';
import { CONFIG_FILE, type Fleet, readFleet } from '../../client/config.js';
import { connect, findServer, givenServer, writeServerNote } from '../../client/connection.js';
import { FleetClient } from '../../client/fleet-client.js';
import { superviseWorker } from '../supervise.js';
import { endAgents } from './processes.js';
import { asPerson } from './repository.js';

/** From dist/src/cli/demo: the build leaves the examples where they are. */
const EXAMPLE = fileURLToPath(new URL('../../../../examples/demo', import.meta.url));
/** The address in the example's configuration; the demo takes a free port instead. */
const EXAMPLE_URL = 'http://127.0.0.1:4180/';
const EXAMPLE_FLEET = /^fleet: (.*)$/m;

/** A slow machine's whole start. */
const RECOVERED_MS = 60_000;

export interface Stage {
  /** The temporary folder. */
  dir: string;
  fleet: Fleet;
  /** The bare repository that all share. */
  origin: string;
  plan: string;
  signalbox: FleetClient;
  /** The page that the public sees. */
  shopUrl: string;
  temporal: { address: string; namespace: string; uiUrl?: string; given: boolean };
}

/** What has to be done to take down what was put up. */
export class Undo {
  private readonly steps: (() => unknown)[] = [];

  add(step: () => unknown): void {
    this.steps.push(step);
  }

  /** The last first; a step that fails does not keep the others from being done. */
  async all(): Promise<void> {
    for (let step = this.steps.pop(); step; step = this.steps.pop()) {
      try {
        await step();
      } catch (error) {
        process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
      }
    }
  }
}

/** Puts everything up; `undo` learns of each part as soon as it is there. Throws when `signal` aborts. */
export async function setUp(undo: Undo, signal: AbortSignal, log: (line: string) => void): Promise<Stage> {
  // The demo's fleet lives in its own folder, whatever the environment says of another one.
  delete process.env.SIGNALBOX_HOME;
  const dir = await realpath(await mkdtemp(join(tmpdir(), 'signalbox-demo-')));
  undo.add(() => rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
  // Whoever does not wait for the end in order leaves no folder behind either.
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
  await cp(EXAMPLE, dir, { recursive: true });
  const origin = await makeOrigin(dir);
  const publicDir = join(dir, 'public');
  await mkdir(publicDir);
  signal.throwIfAborted();
  const shopUrl = await startShop(dir, publicDir, undo);
  const given = givenServer();
  await adaptConfig(join(dir, CONFIG_FILE), shopUrl, given !== undefined);
  const fleet = await readFleet(join(dir, CONFIG_FILE));
  await mkdir(fleet.home, { recursive: true });
  signal.throwIfAborted();
  const uiUrl = given ? undefined : await startTemporal(fleet.home, undo, log);
  const server = await findServer(fleet.home);
  const client = await connect(server);
  undo.add(() => client.connection.close());
  const signalbox = new FleetClient(client, fleet.config);
  if (given) undo.add(() => endWorkflows(signalbox));
  signal.throwIfAborted();
  undo.add(() => endAgents(dir));
  const worker = await superviseWorker({
    config: fleet.file,
    logFile: join(fleet.home, 'worker.log'),
    env: { SHOP_PUBLIC: publicDir },
    log,
  });
  undo.add(() => endWork(worker.stop(), dir));
  await recovered(signalbox, signal);
  const temporal = {
    address: server.connection.address ?? '',
    namespace: server.namespace,
    given: given !== undefined,
    ...(uiUrl ? { uiUrl } : {}),
  };
  return { dir, fleet, origin, plan: join(dir, 'plan.yaml'), signalbox, shopUrl, temporal };
}

/** Nobody waits for what agents of the demo may still have to say: they end while the worker stops. */
async function endWork(stopping: Promise<void>, dir: string): Promise<void> {
  let stopped = false;
  const done = stopping.finally(() => {
    stopped = true;
  });
  while (!stopped) {
    await endAgents(dir);
    await Promise.race([done, sleep(100)]);
  }
  await done;
}

/** A coordinator that starts without state first looks whether there are tasks: with none, a matter of a second. */
async function recovered(signalbox: FleetClient, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + RECOVERED_MS;
  for (;;) {
    signal.throwIfAborted();
    const overview = await signalbox.overview().catch(() => undefined);
    if (overview?.recovering === false) return;
    if (Date.now() > deadline) throw new Error('the coordinator is not ready; does the worker run?');
    await sleep(100);
  }
}

async function makeOrigin(dir: string): Promise<string> {
  const origin = join(dir, 'origin.git');
  const seed = join(dir, 'repository');
  const git = asPerson('Ada');
  await git(dir, ['init', '--quiet', '--bare', '--template=', '--initial-branch=main', origin]);
  await git(dir, ['init', '--quiet', '--template=', '--initial-branch=main', seed]);
  await git(seed, ['add', '--all']);
  await git(seed, ['commit', '--quiet', '--message', 'The shop']);
  await git(seed, ['push', '--quiet', origin, 'main']);
  return origin;
}

/** The shop's web server, on a free port. It ends with this process, however that ends. */
async function startShop(dir: string, publicDir: string, undo: Undo): Promise<string> {
  // A group of its own: Ctrl-C must not take it away before the last deploy is over.
  const child = fork(join(dir, 'server.mjs'), [publicDir, '0'], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  undo.add(() => endChild(child));
  return await new Promise((resolve, reject) => {
    child.once('message', (message) => resolve((message as { url: string }).url));
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the shop's web server ended (exit code ${code})`)));
  });
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

async function adaptConfig(file: string, shopUrl: string, shared: boolean): Promise<void> {
  const text = await readFile(file, 'utf8');
  // On a server that others use, a second demo must not meet the tasks of the first.
  const name = (line: string) => (shared ? `${line}-${randomBytes(3).toString('hex')}` : line);
  await writeFile(file, text.replaceAll(EXAMPLE_URL, shopUrl).replace(EXAMPLE_FLEET, name));
}

async function startTemporal(
  home: string,
  undo: Undo,
  log: (line: string) => void,
): Promise<string | undefined> {
  const { address, namespace, uiUrl, stop } = await startTemporalServer({
    logFile: join(home, 'temporal.log'),
    log,
  });
  undo.add(stop);
  // The worker, and every command given this configuration, finds the server by this note.
  await writeServerNote(home, { address, namespace, pid: process.pid, ...(uiUrl ? { uiUrl } : {}) });
  return uiUrl;
}

/** Leaves nothing running on a server that is not ours. */
async function endWorkflows({ client, config }: FleetClient): Promise<void> {
  const query = `ExecutionStatus = "Running" AND WorkflowId STARTS_WITH "${config.fleet}/"`;
  for await (const { workflowId } of client.workflow.list({ query }))
    await client.workflow
      .getHandle(workflowId)
      .terminate('the demo is over')
      .catch(() => undefined);
}
