// The smallest real fleet: a bare origin, a signalbox.yaml, and workers as processes of their own, like a user's.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { History } from '@temporalio/common/lib/proto-utils.js';
import { Worker } from '@temporalio/worker';
import { afterAll, afterEach, expect, inject } from 'vitest';
import { stringify } from 'yaml';
import { type Fleet, readFleet } from '../../src/client/config.js';
import { connect } from '../../src/client/connection.js';
import { FleetClient, type TaskSource } from '../../src/client/fleet-client.js';
import { dataConverter } from '../../src/client/payload.js';
import { readLedger, readPackets } from '../../src/client/records.js';
import { audit } from '../../src/domain/audit.js';
import { rulesOf } from '../../src/domain/config.js';
import type { TaskLine } from '../../src/domain/views.js';

export const MAIN = resolve('dist/src/cli/main.js');

/** Configuration over a small default; the agent `sh` runs its prompt as a script. */
export interface FleetOptions {
  config?: Record<string, unknown>;
  role?: Record<string, unknown>;
  agents?: Record<string, unknown>;
  files?: Record<string, string>;
  /** Of all its agents; none when left out. */
  isolation?: 'sandbox' | 'none';
}

let count = 0;

const SHELL_AGENT = { command: ['sh', '-c', 'exec sh "$SIGNALBOX_PROMPT_FILE"'] };

/** Most tests look at their agents through files of the host, which a sandbox would not show. */
const withIsolation = (agents: Record<string, object>, isolation: 'sandbox' | 'none') =>
  Object.fromEntries(Object.entries(agents).map(([kind, agent]) => [kind, { isolation, ...agent }]));

export class TestFleet {
  readonly dir = mkdtempSync(join(tmpdir(), 'signalbox-test-'));
  readonly origin = join(this.dir, 'origin.git');
  readonly configFile = join(this.dir, 'signalbox.yaml');
  readonly name = `t${process.pid}-${Date.now().toString(36)}-${count++}`;
  readonly address = inject('temporal');
  readonly workers: ChildProcess[] = [];
  signalbox!: FleetClient;
  fleet!: Fleet;

  static async start(options: FleetOptions = {}, worker = true): Promise<TestFleet> {
    const fleet = new TestFleet();
    await fleet.open(options);
    if (worker) await fleet.startWorker();
    return fleet;
  }

  private async open({
    config = {},
    role = {},
    agents = {},
    files = {},
    isolation = 'none',
  }: FleetOptions): Promise<void> {
    this.git(['init', '-q', '--bare', '-b', 'main', this.origin]);
    this.push({ 'README.md': 'seed\n', ...files }, 'seed');
    const settings = {
      fleet: this.name,
      repositories: { app: { url: './origin.git' } },
      roles: { main: { resources: ['branch:app'], ...role } },
      agents: withIsolation({ sh: SHELL_AGENT, ...agents }, isolation),
      lockDelay: '1s',
      retry: { attempts: 1, backoff: '200ms' },
      ...config,
    };
    writeFileSync(this.configFile, stringify(settings));
    this.fleet = await readFleet(this.configFile);
    const client = await connect({
      connection: { address: this.address },
      namespace: 'default',
      source: 'the tests',
    });
    this.signalbox = new FleetClient(client, this.fleet.config);
  }

  /** A commit on main by somebody outside the fleet. Gives its id. */
  push(files: Record<string, string>, message: string): string {
    const clone = mkdtempSync(join(this.dir, 'person-'));
    this.git(['clone', '-q', this.origin, clone]);
    this.git(['-C', clone, 'checkout', '-q', '-B', 'main']);
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(clone, path)), { recursive: true });
      writeFileSync(join(clone, path), text);
    }
    this.git(['-C', clone, 'add', '-A']);
    this.git([
      '-C',
      clone,
      '-c',
      'user.name=Person',
      '-c',
      'user.email=person@example.com',
      'commit',
      '-qm',
      message,
    ]);
    this.git(['-C', clone, 'push', '-q', 'origin', 'main']);
    const id = this.git(['-C', clone, 'rev-parse', 'HEAD']);
    rmSync(clone, { recursive: true });
    return id;
  }

  git(args: string[]): string {
    const env = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
    return execFileSync('git', args, { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] }).trim();
  }

  /** A file on the shared branch. */
  file(path: string): string {
    return this.git(['-C', this.origin, 'show', `main:${path}`]);
  }

  /** A file that an agent left in the fleet's folder. */
  read(name: string): string {
    return readFileSync(join(this.dir, name), 'utf8');
  }

  packets(task?: string): ReturnType<typeof readPackets> {
    return readPackets(this.fleet, task);
  }

  get env(): NodeJS.ProcessEnv {
    return { ...process.env, TEMPORAL_ADDRESS: this.address, TEMPORAL_NAMESPACE: 'default' };
  }

  /** Resolves when the worker polls. */
  async startWorker(
    args: string[] = [],
    server = this.address,
    env: NodeJS.ProcessEnv = {},
  ): Promise<ChildProcess> {
    const worker = spawn(process.execPath, [MAIN, 'worker', '--config', this.configFile, ...args], {
      env: { ...this.env, TEMPORAL_ADDRESS: server, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.workers.push(worker);
    let said = '';
    const hear = (chunk: Buffer) => {
      said += chunk;
      if (process.env.SIGNALBOX_TEST_LOG) process.stderr.write(chunk);
    };
    worker.stdout?.on('data', hear);
    worker.stderr?.on('data', hear);
    await new Promise<void>((ready, failed) => {
      worker.once('message', () => ready());
      worker.once('exit', (code) => failed(new Error(`the worker ended (${code}): ${said}`)));
    });
    return worker;
  }

  /** Ends a worker by the signal and waits until it is gone. */
  async kill(worker: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    if (worker.exitCode !== null || worker.signalCode !== null) return;
    const gone = new Promise((resolve) => worker.once('exit', resolve));
    worker.kill(signal);
    await gone;
  }

  submit(plan: string, tasks: TaskSource[]): Promise<string[]> {
    return this.signalbox.submit(plan, tasks);
  }

  /** Submits and waits; outcomes by the task's id within the plan. */
  async run(plan: string, tasks: TaskSource[]): Promise<Record<string, TaskLine>> {
    const ids = await this.submit(plan, tasks);
    return byShortId(await this.signalbox.wait(ids));
  }

  async until<T>(
    what: string,
    look: () => Promise<T | undefined | false> | T | undefined | false,
    ms = 60_000,
  ): Promise<T> {
    const end = Date.now() + ms;
    for (;;) {
      const found = await look();
      if (found) return found;
      if (Date.now() > end) throw new Error(`still waiting for: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  phase(id: string, phase: string): Promise<TaskLine> {
    return this.until(`${id} to be ${phase}`, async () => {
      const overview = await this.signalbox.overview().catch(() => undefined);
      return overview?.tasks.find((line) => line.id === id && line.phase === phase);
    });
  }

  /** The invariants, checked on packets and ledger. */
  async violations(submitted: string[]): Promise<string[]> {
    const { config } = this.fleet;
    const [packets, ledger] = [await readPackets(this.fleet), await readLedger(this.origin, 'main')];
    return audit({
      submitted,
      packets,
      ledger,
      ceiling: config.ceiling,
      kinds: rulesOf(config),
      maxRunning: { main: config.roles.main?.maxRunning ?? config.ceiling },
      places: rulesOf(config),
    });
  }

  /** Every fleet is stopped, its endless workflows ended, its folder removed. */
  async stop(): Promise<void> {
    for (const worker of this.workers) await this.kill(worker, 'SIGTERM');
    const { client } = this.signalbox;
    for await (const { workflowId } of client.workflow.list({
      query: `ExecutionStatus = "Running" AND WorkflowId STARTS_WITH "${this.name}/"`,
    })) {
      await client.workflow
        .getHandle(workflowId)
        .terminate('the test is over')
        .catch(() => undefined);
    }
    await client.connection.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** All names below a folder; none when it, or one in it, comes or goes at this moment. */
export function below(dir: string): string[] {
  try {
    return readdirSync(dir, { recursive: true, encoding: 'utf8' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** As the client gives it, with payloads in base64. */
const jsonOf = (history: History): string =>
  JSON.stringify(history, (_, value) =>
    value?.type === 'Buffer'
      ? Buffer.from(value.data).toString('base64')
      : value instanceof Uint8Array
        ? Buffer.from(value).toString('base64')
        : value,
  );

/**
 * Replays every run of every workflow of the fleets against the built bundle, across continue-as-new; throws on the
 * first difference. Gives how many runs that were.
 */
export async function replayHistories(address: string, fleets: readonly string[]): Promise<number> {
  const client = await connect({ connection: { address }, namespace: 'default', source: 'the tests' });
  try {
    const known = new Map<string, History>();
    const histories = async function* () {
      for (const name of fleets) {
        const query = `WorkflowId STARTS_WITH "${name}/"`;
        for await (const { workflowId, runId } of client.workflow.list({ query })) {
          const history = await client.workflow.getHandle(workflowId, runId).fetchHistory();
          known.set(runId, history);
          yield { workflowId, history };
        }
      }
    };
    const bundle = { codePath: resolve('dist/workflow-bundle.js') };
    let replayed = 0;
    for await (const { workflowId, runId, error } of Worker.runReplayHistories(
      { workflowBundle: bundle, dataConverter },
      histories(),
    )) {
      if (error) {
        const kept = join(mkdtempSync(join(tmpdir(), 'signalbox-history-')), 'history.json');
        writeFileSync(kept, jsonOf(known.get(runId) ?? {}));
        throw new Error(
          `${workflowId} takes another course when it is replayed (its history: ${kept}): ${error.message}`,
        );
      }
      replayed += 1;
    }
    return replayed;
  } finally {
    await client.connection.close();
  }
}

/**
 * Starts fleets for the tests of one file, stops those of each test after it, and replays in the end what they did:
 * more than `least` runs of workflows for each fleet.
 */
export function replayedFleets(least: number) {
  const fleets: TestFleet[] = [];
  const names: string[] = [];
  afterEach(async () => {
    for (const fleet of fleets.splice(0)) await fleet.stop();
  });
  afterAll(async () => {
    expect(await replayHistories(inject('temporal'), names)).toBeGreaterThan(least * names.length);
  });
  return async (options: FleetOptions = {}, worker = true): Promise<TestFleet> => {
    const fleet = await TestFleet.start(options, worker);
    fleets.push(fleet);
    names.push(fleet.name);
    return fleet;
  };
}

export const byShortId = (lines: Map<string, TaskLine>): Record<string, TaskLine> =>
  Object.fromEntries([...lines].map(([id, line]) => [id.slice(id.indexOf('/') + 1), line]));

/** A script that changes one file and commits. */
export const edit = (path: string, text: string, before = ''): string =>
  `${before}\nmkdir -p "$(dirname '${path}')"\nprintf '%s\\n' '${text}' >> '${path}'\ngit add -A && git commit -qm 'edit ${path}'`;
