// A Temporal server, a fleet on it whose agents and writers do nothing, and bare workflows beside it. Workflows,
// coordinator, outbox, delivery and watchdog are the real ones; git and agents, which would hide what they cost, are not.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import type { AgentInput, AgentRun } from '../../activities/attempt.js';
import { deliveryActivities } from '../../activities/delivery.js';
import type { Activities } from '../../activities/index.js';
import { Outbox } from '../../activities/outbox.js';
import { reportActivities } from '../../activities/reports.js';
import { askAgain } from '../../src/client/ask-again.js';
import { FleetClient } from '../../src/client/fleet-client.js';
import { dataConverter } from '../../src/client/payload.js';
import { Config, rulesOf } from '../../src/domain/config.js';
import type { Fence } from '../../src/domain/fence.js';
import { coordinatorId, WORKFLOW } from '../../src/domain/ids.js';
import { serveQueues } from '../../worker/queues.js';
import { Room } from '../../worker/room.js';
import { registerSearchAttributes } from '../../worker/search-attributes.js';
import { startTemporalServer, type TemporalServer } from '../../worker/temporal-server.js';
import { Watchdog } from '../../worker/watchdog.js';
import { builtBundle } from '../../worker/worker.js';

/** By the clock of this process, in milliseconds. */
export interface Stretch {
  name: string;
  from: number;
  to: number;
}

export interface AgentStretch extends Stretch {
  fence: Fence;
}

export interface BareActivities {
  step(name: string): Promise<void>;
}

const BARE_QUEUE = 'bare';

let installed = false;

function installRuntime(): void {
  if (installed) return;
  installed = true;
  Runtime.install({
    logger: new DefaultLogger('ERROR'),
    shutdownSignals: [],
    telemetryOptions: { logging: { filter: 'ERROR' } },
  });
}

export class World {
  private readonly closers: (() => Promise<void>)[] = [];
  private fleets = 0;

  private constructor(
    readonly server: TemporalServer,
    readonly client: Client,
    private readonly native: NativeConnection,
    private readonly dir: string,
    private readonly bundle: string,
  ) {}

  /** `bundle`: the workflows; those beside this code when left out. `dbFile`: the server keeps its data in a file. */
  static async open(options: { bundle?: string; dbFile?: string } = {}): Promise<World> {
    installRuntime();
    const server = await startTemporalServer({
      log: () => undefined,
      ...(options.dbFile === undefined ? {} : { dbFile: options.dbFile }),
    });
    const connection = await Connection.connect({ address: server.address });
    const native = await NativeConnection.connect({ address: server.address });
    await registerSearchAttributes(connection, server.namespace);
    const dir = mkdtempSync(join(tmpdir(), 'signalbox-bench-'));
    const client = new Client({
      connection,
      namespace: server.namespace,
      dataConverter,
      interceptors: { workflow: [askAgain] },
    });
    return new World(server, client, native, dir, options.bundle ?? builtBundle());
  }

  async close(): Promise<void> {
    for (const closer of this.closers.splice(0).reverse()) await closer();
    await this.native.close();
    await this.client.connection.close();
    await this.server.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** A worker of bare workflows; `hands` activities at once. */
  async serveBare(hands: number): Promise<Stretch[]> {
    const stretches: Stretch[] = [];
    const workflowsPath = fileURLToPath(new URL('./bare.js', import.meta.url));
    const { code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') });
    const codePath = join(this.dir, 'bare.js');
    writeFileSync(codePath, code);
    const activities: BareActivities = {
      async step(name) {
        const now = performance.now();
        stretches.push({ name, from: now, to: now });
      },
    };
    const worker = await Worker.create({
      connection: this.native,
      namespace: this.server.namespace,
      taskQueue: BARE_QUEUE,
      workflowBundle: { codePath },
      activities: { ...activities },
      maxConcurrentActivityTaskExecutions: hands,
    });
    const running = worker.run();
    this.closers.push(async () => {
      worker.shutdown();
      await running;
    });
    return stretches;
  }

  async startBare(workflowId: string, steps: number): Promise<void> {
    await this.client.workflow.start('bare', {
      workflowId,
      taskQueue: BARE_QUEUE,
      args: [workflowId, steps],
    });
  }

  /** A fleet of its own, served, whose coordinator has found out that there was nobody before it. */
  async serveFleet(options: FleetOptions): Promise<NoopFleet> {
    const config = Config.parse({
      fleet: `bench${++this.fleets}`,
      repositories: { app: { url: 'nowhere' } },
      roles: { main: { resources: ['branch:app'] } },
      agents: { idle: { command: ['true'] } },
      ceiling: options.ceiling,
    });
    const fleet = new NoopFleet(this.client, config, options.agentMs ?? 0, options.deliverMs);
    if (options.historyLimit !== undefined) await fleet.startCoordinator(options.historyLimit);
    const queues = await serveQueues({
      config,
      connection: this.native,
      namespace: this.server.namespace,
      identity: `${process.pid}@${hostname()}`,
      bundle: this.bundle,
      activities: fleet.activities,
      host: HOST,
      room: new Room(config, { slots: config.ceiling }),
    });
    await fleet.outbox.tell({ kind: 'rules', rules: rulesOf(config) });
    const watchdog = new Watchdog(this.client, config, () => undefined);
    watchdog.start();
    let stopped: Promise<void> | undefined;
    fleet.stop = () => {
      watchdog.stop();
      stopped ??= queues.stop();
      return stopped;
    };
    this.closers.push(fleet.stop);
    while ((await fleet.client.overview()).recovering)
      await new Promise((resolve) => setTimeout(resolve, 100));
    return fleet;
  }
}

/** The id of the one host that there is. */
const HOST = 'bench';

export interface FleetOptions {
  ceiling: number;
  /** How long an agent takes. */
  agentMs?: number;
  /** How long each delivery takes at least. */
  deliverMs?: () => number;
  /** See CoordinatorInput. */
  historyLimit?: number;
}

export class NoopFleet {
  readonly client: FleetClient;
  readonly outbox: Outbox;
  /** When each agent ran. */
  readonly agents: AgentStretch[] = [];
  readonly activities: Pick<Activities, 'task' | 'control'>;
  stop: () => Promise<void> = async () => undefined;

  constructor(
    private readonly temporal: Client,
    readonly config: Config,
    private readonly agentMs: number,
    deliverMs?: () => number,
  ) {
    this.client = new FleetClient(temporal, config);
    const host = {
      config,
      client: temporal,
      home: '',
      id: HOST,
      room: new Room(config, { slots: config.ceiling }),
      mirrors: new Map(),
      sandboxes: { missing: 'nothing is run here' },
      self: { pid: process.pid, started: '' },
      log: () => undefined,
    };
    this.outbox = new Outbox(host);
    const { requestCancel, ...delivery } = deliveryActivities(host, this.outbox, async () => []);
    const deliver: typeof delivery.deliver = async (batch) => {
      await new Promise((resolve) => setTimeout(resolve, deliverMs?.()));
      return await delivery.deliver(batch);
    };
    const keepPacket = async () => undefined;
    const runAgent = (input: AgentInput) => this.runAgent(input);
    const takeOver = async () => undefined;
    const land: Activities['control']['land'] = async ({ orders }) =>
      orders.map(({ id, commit }) => ({ id, kind: 'landed' as const, commit, entry: 1, behind: 0 }));
    const withdraw: Activities['control']['withdraw'] = async ({ order: { id } }) => ({
      id,
      kind: 'withdrawn',
    });
    const deploy: Activities['control']['deploy'] = async () => ({ ok: true });
    this.activities = {
      task: {
        tell: delivery.tell,
        requestCancel,
        keepPacket,
        ...reportActivities(host, this.outbox, { runAgent, keepPacket }),
      },
      control: {
        ...delivery,
        ...(deliverMs ? { deliver } : {}),
        keepPacket,
        takeOver,
        land,
        withdraw,
        deploy,
        checkAssumptions: async () => [],
        confirmGrant: async () => ({ allowed: true, text: '', at: 0 }),
      },
    };
  }

  get name(): string {
    return this.config.fleet;
  }

  private async runAgent({ task, role, attempt, fence }: AgentInput): Promise<AgentRun> {
    const stretch: AgentStretch = { name: task, from: performance.now(), to: 0, fence };
    if (this.agentMs > 0) await new Promise((resolve) => setTimeout(resolve, this.agentMs));
    const result: AgentRun['result'] = role
      ? { kind: 'commits', dead: true, base: 'base', commit: `commit of ${task}`, ref: 'ref' }
      : { kind: 'done', dead: true };
    const record = { attempt, fence, started: new Date().toISOString(), result };
    stretch.to = performance.now();
    this.agents.push(stretch);
    return { result, record };
  }

  async startCoordinator(historyLimit: number): Promise<void> {
    await this.temporal.workflow.start(WORKFLOW.coordinator, {
      workflowId: coordinatorId(this.config.fleet),
      taskQueue: `signalbox-${this.config.fleet}-control`,
      args: [{ rules: rulesOf(this.config), historyLimit }],
    });
  }
}
