// One attempt of an agent, from the empty folder to commits that are kept: the one long activity. It tells what came
// out by what it sees (exit code, commits), and ends only when no process of the agent is left.

import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Context } from '@temporalio/activity';
import { tailOf } from '../src/client/segments.js';
import { REPORT } from '../src/domain/artifact.js';
import { type AgentKind, agentKind, roleRepository } from '../src/domain/config.js';
import { formatDuration } from '../src/domain/durations.js';
import { type Fence, fenceText } from '../src/domain/fence.js';
import { hostQueue } from '../src/domain/ids.js';
import { logName } from '../src/domain/log-reading.js';
import type { AttemptResult, FailureCode, TakenOver } from '../src/domain/messages.js';
import type { AttemptRecord } from '../src/domain/packet.js';
import type { Peer } from '../src/domain/peering-grants.js';
import { type Use, useText } from '../src/domain/resources.js';
import { keepArtifact } from './artifact.js';
import { type Host, mirrorOf } from './host.js';
import { integrate } from './integrate.js';
import type { Leases } from './leases.js';
import { LogBudget } from './log-budget.js';
import type { Mirror } from './mirror.js';
import type { Outbox } from './outbox.js';
import { outputFile } from './output.js';
import { OutputWatch } from './output-watch.js';
import type { PeerSource } from './peer-source.js';
import { askWorkflow, Peers } from './peers.js';
import { allowedEnv, type ProcessEnd, type ProcessIdentity, StillAlive } from './processes.js';
import { Pulse } from './pulse.js';
import { serveRequests } from './requests.js';
import { type Granted, grantSecrets } from './secrets.js';
import { changesBetween, pathText } from './trees.js';
import { DiskWatch } from './workstation/disk-watch.js';
import { bytesOf } from './workstation/guarded.js';
import { leaveWorkstation, markOver } from './workstation/kept.js';
import { commitLeftovers, headOf } from './workstation/leftovers.js';
import { keepCommits, keepsClone, makeWorkstation } from './workstation/make.js';
import { removeWorkstation, workstationDir, writeRecord } from './workstation/record.js';
import { type SetupEnd, setUp } from './workstation/setup.js';
import { SetupStore } from './workstation/setup-store.js';
import { BadCommits, type StationEnd, type Workstation } from './workstation/station.js';

export interface AgentInput {
  /** Full name: plan/task. */
  task: string;
  title?: string;
  prompt: string;
  agent?: string;
  role?: string;
  repository?: string;
  writes: string[];
  uses?: Use[];
  /** Whose trees it asks to see, by full names. */
  peers?: Peer[];
  env: Record<string, string>;
  /** Milliseconds. */
  timeout?: number;
  attempt: number;
  fence: Fence;
  /** Milliseconds. */
  lease: number;
  /** Milliseconds of the lease in which another host could have taken it. */
  waited?: number;
  from?: StartFrom;
  /** What all its attempts go on with, where none of its own has more. */
  takenOver?: TakenOver;
}

/** Work of an earlier attempt that this one goes on with. */
export interface StartFrom {
  base: string;
  commit: string;
}

export interface AgentRun {
  result: AttemptResult;
  record: AttemptRecord;
}

/** An agent that is told to end has this long to do so, and never more than this part of its lease. */
const MOST_GRACE_MS = 5_000;
const ENDING = 0.1;
const graceOf = ({ lease }: Pick<AgentInput, 'lease'>): number => Math.min(MOST_GRACE_MS, lease * ENDING);

const REPORT_BYTES = 16_000;
const TAIL_BYTES = 2_000;
const MOST_CHANGES = 200;
const NO_ROOM = 'it came to a host that had just become full';

export const logFile = (home: string, task: string, attempt: number, fence: Fence): string =>
  join(home, 'logs', task, `${logName(attempt, fence)}.log`);

export interface AgentParts {
  outbox: Outbox;
  leases: Leases;
  peerSource: PeerSource;
  /** What was handed over, for its taker's agent. */
  noteOf: (handed: TakenOver, start: string, signal: AbortSignal) => Promise<string>;
}

export function agentActivities(host: Host, parts: AgentParts) {
  const { outbox, leases } = parts;
  const logs = new LogBudget(host);
  return {
    async runAgent(input: AgentInput): Promise<AgentRun> {
      const pulse = new Pulse({ host: host.id, attempt: input.attempt, fence: input.fence });
      const stop = new AbortController();
      const { cancellationSignal } = Context.current();
      cancellationSignal.addEventListener('abort', () => stop.abort(), { once: true });
      let lapsed = false;
      const { task, fence, lease } = input;
      const { scheduledTimestampMs } = Context.current().info;
      const spent = Math.max(0, Date.now() - scheduledTimestampMs) + (input.waited ?? 0);
      const letGo = leases.hold({ task, fence, lease, spent }, () => {
        lapsed = true;
        stop.abort();
      });
      const started = new Date().toISOString();
      const record: AttemptRecord = { attempt: input.attempt, fence: input.fence, started, host: host.id };
      try {
        const own = Context.current().info.taskQueue === hostQueue(host.config.fleet, host.id);
        const entry = { agent: input.agent, own, stop: stop.signal };
        const ran = await host.room.holding(entry, () =>
          attempt(host, parts, input, { record, pulse }, stop.signal, () => lapsed),
        );
        const result = ran ?? (stop.signal.aborted ? stopped(lapsed) : failed('WORKER_LOST', NO_ROOM));
        return { result, record: { ...record, ended: new Date().toISOString(), result } };
      } catch (error) {
        // The folder stays: there may be work in it that is kept nowhere else.
        const text = error instanceof Error ? error.message : String(error);
        if (!(error instanceof StillAlive))
          await markOver(host.home, task, fence, text).catch(() => undefined);
        const result: AttemptResult = {
          kind: 'failed',
          dead: !(error instanceof StillAlive),
          code: error instanceof BadCommits ? 'AGENT_FAILED' : 'WORKSTATION_FAILED',
          text,
        };
        return { result, record: { ...record, ended: new Date().toISOString(), result } };
      } finally {
        pulse.stop();
        letGo();
        void logs.ended(logFile(host.home, task, input.attempt, fence));
        await sayDead(outbox, input);
      }
    },
  };
}

/** A workflow that is gone cannot tell that its agent is dead: the worker does. */
async function sayDead(outbox: Outbox, { task, fence }: AgentInput): Promise<void> {
  const details = Context.current().cancellationDetails;
  if (!details || !(details.notFound || details.timedOut)) return;
  await outbox.tell({ kind: 'worker', renew: [], dead: [{ task, fence }] }).catch(() => undefined);
}

async function attempt(
  host: Host,
  { peerSource, noteOf }: AgentParts,
  input: AgentInput,
  { record, pulse }: { record: AttemptRecord; pulse: Pulse },
  stop: AbortSignal,
  lapsed: () => boolean,
): Promise<AttemptResult> {
  const kind = agentKind(host.config, input.agent);
  const agent = kind === undefined ? undefined : host.config.agents[kind];
  if (kind === undefined || !agent)
    return failed('WORKSTATION_FAILED', `the fleet has no kind of agent "${input.agent ?? 'default'}"`, true);
  const role = input.role === undefined ? undefined : host.config.roles[input.role];
  const repository = role
    ? roleRepository(role)
    : (input.repository ?? Object.keys(host.config.repositories)[0] ?? '');
  const dir = workstationDir(host.home, input.task, input.fence);
  // First of all, before anything can be left behind: whoever comes after a dead worker must find this attempt.
  const note = {
    task: input.task,
    repository,
    fence: input.fence,
    checkout: agent.checkout,
    ...(keepsClone(agent, !role) ? { keep: true as const } : {}),
    ...(agent.isolation === 'none' ? { plain: true as const } : {}),
    worker: host.self,
  };
  await writeRecord(dir, note);
  let mirror: Mirror;
  let station: Workstation;
  let granted: Granted;
  let base: string;
  let earlier: Brought | undefined;
  try {
    granted = await grantSecrets(host.config, agent, { signal: stop });
    mirror = mirrorOf(host, repository);
    base = await mirror.refresh();
    earlier = input.from && (await broughtForward(mirror, input.task, input.from, base));
    const { takenOver } = input;
    const taken = takenOver && (await broughtForward(mirror, takenOver.task, takenOver, base));
    if (takenOver && !taken) throw new Error(`the commits of ${takenOver.task} cannot be found`);
    if (takenOver && !earlier?.start && !taken?.start) {
      await removeWorkstation(dir);
      return failed('HANDOFF_CONFLICT', `${takenOver.commit} of ${takenOver.task}`, true);
    }
    const start = earlier?.start ?? taken?.start ?? base;
    const handOff = takenOver && (await noteOf(takenOver, start, stop));
    station = await makeWorkstation(host, dir, {
      task: input.task,
      mirror,
      base,
      start,
      kind,
      prompt: input.prompt,
      ...(handOff === undefined ? {} : { handOff }),
      readOnly: input.role === undefined,
      fence: input.fence,
    });
  } catch (error) {
    await removeWorkstation(dir);
    if (stop.aborted) return stopped(lapsed());
    return failed('WORKSTATION_FAILED', error instanceof Error ? error.message : String(error));
  }
  record.isolation = station.isolation;
  if (station.reused) record.reused = true;
  const made = { ...note, base, ...(station.uid === undefined ? {} : { uid: station.uid }) };
  await writeRecord(dir, made);
  const disk = new DiskWatch(
    ['clone', 'home', 'result', 'requests'].map((name) => join(dir, name)),
    agent.disk,
  );
  if (station.isolation.kind === 'sandbox') disk.start();
  const { redactor } = granted;
  const log = logFile(host.home, input.task, input.attempt, input.fence);
  const setup = await setUp(station, {
    commands: agent.setup,
    mirror,
    start: earlier?.start ?? base,
    shared: earlier?.start === undefined && !station.reused,
    store: new SetupStore(host.home, host.self, host.config.workstations.setupCache),
    ...{ log, redactor, output: agent.output, tell: host.log, graceMs: graceOf(input) },
    signal: AbortSignal.any([stop, disk.signal]),
    onStart: (processes) => writeRecord(dir, { ...made, processes }),
  }).catch((error: unknown) => {
    disk.stop();
    throw error;
  });
  if (setup.records.length > 0) record.setup = setup.records;
  if (setup.kind !== 'ready') {
    disk.stop();
    record.tail = redactor.text(await tailOf(log, TAIL_BYTES));
    await removeWorkstation(dir);
    return setupFailure(setup, disk, record.tail, lapsed());
  }
  station = setup.station;
  const timeout = input.timeout ?? agent.timeout;
  const limit = AbortSignal.timeout(timeout);
  const watch = new OutputWatch(agent);
  const seat = {
    task: input.task,
    peers: input.peers ?? [],
    shared: station.peering?.shared,
    aside: station.peering?.aside ?? join(dir, 'peering'),
  };
  const peers = new Peers(host, peerSource, seat, askWorkflow(host, input.task));
  const started = { base, ...(earlier ? { earlier: earlier.commit } : {}) };
  const end = await runInStation(
    host,
    { ...input, ...started },
    agent,
    station,
    { granted, watch, pulse, peers },
    AbortSignal.any([stop, limit, watch.signal, disk.signal]),
    (processes) => writeRecord(dir, { ...made, processes }),
  ).finally(async () => {
    disk.stop();
    const seen = await peers.close();
    if (seen.length > 0) record.peers = seen;
  });
  if (end.refused) record.refused = end.refused;
  if (end.outOfMemory) record.outOfMemory = end.outOfMemory;
  if (end.exitCode !== undefined) record.exitCode = end.exitCode;
  if (end.signal !== undefined) record.signal = end.signal;
  record.tail = redactor.text(await tailOf(log, TAIL_BYTES));
  const report = await bytesOf(join(station.resultDir, REPORT), 16 * REPORT_BYTES);
  if (report) record.report = redactor.text(report.toString('utf8')).slice(0, REPORT_BYTES);
  if (!input.role) {
    const of = { task: input.task, fence: input.fence, started: new Date(record.started) };
    const artifact = await keepArtifact(mirror, station.resultDir, granted, of);
    if (artifact) record.artifact = artifact;
  }

  const work = await collect(mirror, station, input, agent, record, base);
  if (record.changes) record.changes = record.changes.map(redactor.text);
  // What has become too large once would be so again.
  if (await leaveWorkstation(host.home, dir, made, made.keep === true && !disk.broken))
    record.cloneKept = true;
  const kept = work && { base, ...work };
  const leaves = kept ? { kept } : {};
  if (Context.current().cancellationSignal.aborted || lapsed()) return { ...stopped(lapsed()), ...leaves };
  if (limit.aborted)
    return { ...failed('AGENT_TIMED_OUT', `it took longer than ${formatDuration(timeout)}`), ...leaves };
  const broken = watch.broken ?? disk.broken;
  if (broken) return { ...failed(broken.code, broken.text), ...leaves };
  if (end.exitCode !== 0) return { ...failed('AGENT_FAILED', describe(end, record.tail)), ...leaves };
  if (!input.role) return { kind: 'done', dead: true };
  if (!kept) return failed('NO_COMMITS', record.tail.trim().slice(-500));
  return { kind: 'commits', dead: true, ...kept };
}

interface Brought {
  /** None when they do not apply to the branch any more. */
  start?: string;
  commit: string;
}

/**
 * Commits that an attempt of the task has left, on the newest branch. When a task's own do not apply any more its next attempt
 * starts without them, and its agent is told where they are. Undefined when they are not to be found.
 */
async function broughtForward(
  mirror: Mirror,
  task: string,
  { base, commit }: StartFrom,
  tip: string,
): Promise<Brought | undefined> {
  const refs = `refs/signalbox/attempts/${task}/*`;
  if ((await mirror.find(commit)) === undefined) await mirror.fetch([`+${refs}:${refs}`]);
  if ((await mirror.find(commit)) === undefined) return undefined;
  // What it may change is looked at when it lands.
  const result = await integrate(mirror, { base, commit }, tip, () => ({ kind: 'lands' }), true);
  return result.kind === 'integrated' ? { start: result.commit, commit: result.commit } : { commit };
}

function setupFailure(
  setup: Exclude<SetupEnd, { kind: 'ready' }>,
  disk: DiskWatch,
  tail: string,
  lapsed: boolean,
): Failed {
  if (Context.current().cancellationSignal.aborted || lapsed) return stopped(lapsed);
  if (disk.broken) return failed(disk.broken.code, disk.broken.text);
  if (setup.kind === 'stopped') return stopped(lapsed);
  return failed('SETUP_FAILED', `${setup.run}: ${setup.why ?? describe(setup.end, tail)}`);
}

type Failed = Extract<AttemptResult, { kind: 'failed' }>;

const failed = (code: FailureCode, text: string, final = false): Failed => ({
  kind: 'failed',
  dead: true,
  code,
  text,
  ...(final ? { final } : {}),
});

/** Ended from outside: by a decision, or because this worker goes away or lost the server. */
function stopped(lapsed: boolean): Failed {
  const details = Context.current().cancellationDetails;
  if (lapsed) return failed('WORKER_LOST', 'the worker could not reach the server for as long as its lease');
  if (details?.workerShutdown) return failed('WORKER_LOST', 'the worker was shut down');
  return failed('CANCELLED_BY_REQUEST', '');
}

function describe(end: ProcessEnd, tail: string): string {
  const how = end.error
    ? `it could not be started: ${end.error}`
    : end.signal
      ? `ended by ${end.signal}`
      : `exit code ${end.exitCode}`;
  const said = tail.trim().split('\n').slice(-3).join('\n').slice(-400);
  return said ? `${how}: ${said}` : how;
}

async function runInStation(
  host: Host,
  input: AgentInput & { base: string; earlier?: string },
  agent: AgentKind,
  station: Workstation,
  { granted, watch, pulse, peers }: { granted: Granted; watch: OutputWatch; pulse: Pulse; peers: Peers },
  signal: AbortSignal,
  onStart: (processes: ProcessIdentity[]) => Promise<void>,
): Promise<StationEnd> {
  if (signal.aborted) return { signal: 'SIGTERM' };
  const log = logFile(host.home, input.task, input.attempt, input.fence);
  await mkdir(dirname(log), { recursive: true });
  const output = outputFile(log, granted.redactor, { watch });
  pulse.shows(output);
  const { paths } = station;
  const more = {
    ...input.env,
    ...granted.env,
    ...(await station.keepSecrets(granted.files)),
    HOME: paths.home,
    TMPDIR: paths.tmp,
    GIT_TERMINAL_PROMPT: '0',
    SIGNALBOX_TASK: input.task,
    SIGNALBOX_ATTEMPT: String(input.attempt),
    SIGNALBOX_FENCE: fenceText(input.fence),
    SIGNALBOX_ROLE: input.role ?? '',
    SIGNALBOX_WRITES: input.writes.join('\n').slice(0, 32_000),
    SIGNALBOX_USES: (input.uses ?? []).map(useText).join('\n'),
    SIGNALBOX_BASE: input.base,
    SIGNALBOX_EARLIER: input.earlier ?? '',
    SIGNALBOX_REUSED: station.reused ? '1' : '',
    ...(input.takenOver ? { SIGNALBOX_HANDOFF_FILE: paths.handOff } : {}),
    SIGNALBOX_REQUESTS: paths.requests,
    SIGNALBOX_ANSWERS: paths.answers,
    SIGNALBOX_RESULT: paths.result,
    SIGNALBOX_SHARED: paths.shared,
    PATH: paths.path,
    SIGNALBOX_PROMPT_FILE: paths.prompt,
    SIGNALBOX_REPORT_FILE: paths.report,
    // The kernel takes at most 128 KiB per variable; the file always has all of it.
    ...(Buffer.byteLength(input.prompt) < 100_000 ? { SIGNALBOX_PROMPT: input.prompt } : {}),
  };
  const recorded: Promise<void>[] = [];
  // What is granted by now is there when it starts.
  await peers.begin(signal);
  const { task, fence } = input;
  const refresh = (names: readonly string[]) => peers.refresh(names);
  const desk = serveRequests(host, station.desk, { task, fence, refresh });
  try {
    return await station.run({
      command: agent.command,
      env: allowedEnv(agent.passEnv, more),
      output: output.stream,
      errors: output.errors,
      keys: granted.keys,
      log: host.log,
      signal,
      graceMs: graceOf(input),
      onStart: (processes) => recorded.push(onStart(processes)),
    });
  } finally {
    await desk.close();
    await Promise.all(recorded);
    await output.close();
  }
}

/** Takes the agent's commits out of its clone; undefined when there are none. */
async function collect(
  mirror: Mirror,
  station: Workstation,
  input: AgentInput,
  agent: AgentKind,
  record: AttemptRecord,
  base: string,
): Promise<{ commit: string; ref: string } | undefined> {
  // Mounted read-only: nothing can have changed.
  if (!input.role && station.isolation.kind === 'sandbox') return undefined;
  if (agent.checkout && (await commitLeftovers(station, station.untouched, input.task)))
    record.committedForAgent = true;
  const commit = await headOf(station);
  if (commit === base) return undefined;
  const ref = await keepCommits(mirror, station, commit, input.task, input.fence);
  const changes = await changesBetween(mirror, base, commit);
  record.changes = changes
    .slice(0, MOST_CHANGES)
    .map(({ path, oldMode, newMode }) => `${letter(oldMode, newMode)} ${pathText(path)}`);
  if (changes.length > MOST_CHANGES) record.changesMore = changes.length - MOST_CHANGES;
  if (!input.role) record.discarded = changes.length;
  return { commit, ref };
}

const letter = (before: string, after: string): string =>
  before === '000000' ? 'A' : after === '000000' ? 'D' : 'M';
