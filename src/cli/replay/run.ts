// One run of a replay: an origin, a fleet made for it, a worker under supervision, the plan, and the comparison.

import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { mayBeSeen } from '../../../worker/isolation.js';
import { readFleet } from '../../client/config.js';
import { connect, type ServerAddress } from '../../client/connection.js';
import { FleetClient, type TaskSource } from '../../client/fleet-client.js';
import { git, gitText } from '../../client/git.js';
import { readLedger, readPackets } from '../../client/records.js';
import { Refused } from '../../client/refused.js';
import { audit } from '../../domain/audit.js';
import { rulesOf } from '../../domain/config.js';
import type { Packet } from '../../domain/packet.js';
import type { Isolation } from '../../domain/sandbox.js';
import type { Overview } from '../../domain/views.js';
import { superviseWorker } from '../supervise.js';
import type { History } from './history.js';
import { compareTrees, makeOrigin } from './origin.js';
import { replayTasks } from './plan.js';

export interface ReplayJob {
  source: string;
  history: History;
  agents: number;
  workMs: number;
  isolation: Isolation;
  /** Where the bare repository is made. */
  origin: string;
  /** A folder of its own for everything else. */
  dir: string;
  server: ServerAddress;
  log: (line: string) => void;
  interrupted: Promise<never>;
}

export interface ReplayResult {
  agents: number;
  tasks: number;
  landed: number;
  refused: { task: string; why: string }[];
  /** The longest that a task was held, from its arrival to its first grant. */
  longestWaitMs: number;
  wallMs: number;
  treeEqual: boolean;
  differing: string[];
  violations: string[];
  /** Agents at once, as the coordinator granted them. */
  mostAtOnce: number;
  /** Worker processes that it took. */
  workers: number;
}

/** Every sandbox has the worker's own version of Signalbox, see activities/workstation/sandboxed.ts. */
const INSIDE_NODE = '/signalbox/node';
const INSIDE_AGENT = '/signalbox/dist/src/cli/replay/agent.js';

const BRANCH = 'main';
const ROLE = 'replay';
const PLAN = 'replay';
const PROGRESS_MS = 2_000;

export async function replayOnce(job: ReplayJob): Promise<ReplayResult> {
  const { source, history, origin, dir, server, log } = job;
  await mkdir(dir, { recursive: true });
  await makeOrigin(source, history, origin, BRANCH);
  const config = join(dir, 'signalbox.yaml');
  await writeFile(config, stringify(await configFor(job)));
  const fleet = await readFleet(config);
  const client = await connect(server);
  let workers = 1;
  const worker = await superviseWorker({
    config,
    logFile: join(dir, 'worker.log'),
    env: { TEMPORAL_ADDRESS: server.connection.address ?? '', TEMPORAL_NAMESPACE: server.namespace },
    log: (line) => {
      if (line.endsWith('runs')) workers += 1;
      log(line);
    },
  });
  log(`${job.agents} agents, worker ${worker.pid}, log ${join(dir, 'worker.log')}`);
  try {
    const signalbox = new FleetClient(client, fleet.config);
    const began = Date.now();
    const work = async () => {
      const ids = await submit(signalbox, history);
      await signalbox.wait(ids, progress(ids.length, log));
      return ids;
    };
    const submitted = await Promise.race([work(), job.interrupted]);
    const wallMs = Date.now() - began;
    const [packets, ledger] = [await readPackets(fleet), await readLedger(origin, BRANCH)];
    const { equal, differing } = await compareTrees(origin, BRANCH, source, history.endTree);
    const rules = rulesOf(fleet.config);
    const { ceiling } = rules;
    const violations = audit({
      submitted,
      packets,
      ledger,
      ceiling,
      maxRunning: { [ROLE]: ceiling },
      places: rules,
    });
    return {
      ...figures(submitted, packets),
      agents: job.agents,
      wallMs,
      treeEqual: equal,
      differing,
      violations,
      workers,
    };
  } finally {
    await worker.stop();
    await client.connection.close();
  }
}

async function configFor(job: ReplayJob): Promise<object> {
  const { agents, workMs, isolation, origin } = job;
  const inside = isolation === 'sandbox';
  const source = inside ? await openSource(job) : job.source;
  const agent = inside ? INSIDE_AGENT : fileURLToPath(new URL('./agent.js', import.meta.url));
  const command = [inside ? INSIDE_NODE : process.execPath, agent, source, String(workMs)];
  const sees = inside ? await foldersOf(source) : [];
  return {
    fleet: `replay-${process.pid}-${Date.now().toString(36)}`,
    // Histories have everything.
    repositories: { real: { url: origin, branch: BRANCH, anyTree: true } },
    roles: { [ROLE]: { resources: ['branch:real'] } },
    agents: { replay: { command, checkout: false, isolation, sees } },
    ceiling: agents,
    // A dead worker's agents are found when it starts again; what is not found rests for as long as this.
    lease: '1m',
    lockDelay: '1s',
    retry: { attempts: 3, backoff: '1s' },
  };
}

/** The real repository where agents may read it: as root they have user ids of their own, and it may be private. */
async function openSource({ source, dir, log }: ReplayJob): Promise<string> {
  if ((await foldersOf(source)).every(mayBeSeen)) return source;
  log(`agents may not read ${source}: they get a copy`);
  const copy = join(dir, 'real.git');
  const clone = ['clone', '--quiet', '--bare', '--no-hardlinks', '--template=', source, copy];
  await git(dir, clone, { env: { GIT_ALLOW_PROTOCOL: 'file' } });
  return copy;
}

/** Where a repository keeps what it consists of: a working tree may have its repository elsewhere, and that its objects. */
async function foldersOf(source: string): Promise<string[]> {
  const common = await gitText(source, ['rev-parse', '--path-format=absolute', '--git-common-dir']);
  const borrowed = await readFile(join(common, 'objects', 'info', 'alternates'), 'utf8').catch(() => '');
  const objects = borrowed
    .split('\n')
    .filter(Boolean)
    .map((line) => resolve(common, 'objects', line));
  return [...new Set([source, common, ...objects])].filter((path) => existsSync(path));
}

async function submit(signalbox: FleetClient, history: History): Promise<string[]> {
  const tasks: TaskSource[] = replayTasks(history, { plan: PLAN }).map(
    ({ id, title, writes, after, commit }) => ({ id, title, prompt: commit, role: ROLE, writes, after }),
  );
  try {
    return await signalbox.submit(PLAN, tasks);
  } catch (error) {
    throw error instanceof Refused
      ? error
      : new Error(
          `the plan could not be submitted: ${error instanceof Error ? error.message : String(error)}`,
        );
  }
}

function progress(total: number, log: (line: string) => void): (overview: Overview) => void {
  let last = 0;
  return ({ tasks, running, ceiling, recovering }) => {
    if (Date.now() - last < PROGRESS_MS) return;
    last = Date.now();
    const count = (phase: string) => tasks.filter((line) => line.phase === phase).length;
    log(
      `${tasks.length} of ${total} tasks known: ${count('ended')} ended, ${running} of at most ${ceiling} run, ${count('landing')} landing, ${count('held')} held${recovering ? '; recovering' : ''}`,
    );
  };
}

function figures(
  submitted: string[],
  packets: Packet[],
): Pick<ReplayResult, 'tasks' | 'landed' | 'refused' | 'longestWaitMs' | 'mostAtOnce'> {
  const waits = packets.map(({ decisions }) => {
    const granted = decisions.find((decision) => decision.verdict === 'run')?.at;
    const first = decisions[0]?.at;
    return granted === undefined || first === undefined ? 0 : granted - first;
  });
  const changes = packets
    .flatMap(({ decisions }) =>
      decisions.flatMap(({ verdict, at, evidence }) =>
        verdict === 'run'
          ? [[at, 1]]
          : verdict === 'land' || verdict === 'end' || evidence.duration !== undefined
            ? [[at, -1]]
            : [],
      ),
    )
    .sort(([a = 0, x = 0], [b = 0, y = 0]) => a - b || x - y);
  let running = 0;
  let mostAtOnce = 0;
  for (const [, change = 0] of changes) {
    running = Math.max(0, running + change);
    mostAtOnce = Math.max(mostAtOnce, running);
  }
  const landed = packets.filter((packet) => packet.outcome.kind === 'landed');
  const done = new Set(landed.map((packet) => packet.task));
  const why = new Map(packets.map((packet) => [packet.task, packet.outcome.text]));
  return {
    tasks: submitted.length,
    landed: done.size,
    refused: submitted
      .filter((task) => !done.has(task))
      .map((task) => ({ task, why: why.get(task) ?? 'no change packet' })),
    longestWaitMs: Math.max(0, ...waits),
    mostAtOnce,
  };
}
