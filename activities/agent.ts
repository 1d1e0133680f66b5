// One attempt of an agent, from the empty folder to commits that are kept: the one long activity. It tells what came
// out by what it sees (exit code, commits), and ends only when no process of the agent is left.

import { join } from 'node:path';
import { Context } from '@temporalio/activity';
import { tailOf } from '../src/client/segments.js';
import { REPORT } from '../src/domain/artifact.js';
import { agentKind, roleRepository } from '../src/domain/config.js';
import { formatDuration } from '../src/domain/durations.js';
import type { Fence } from '../src/domain/fence.js';
import { hostQueue } from '../src/domain/ids.js';
import { logName } from '../src/domain/log-reading.js';
import type { AttemptResult, FailureCode, TakenOver } from '../src/domain/messages.js';
import type { AttemptRecord } from '../src/domain/packet.js';
import { graceOf, runInStation } from './agent-process.js';
import { keepArtifact } from './artifact.js';
import type { AgentInput, AgentRun } from './attempt.js';
import { type Brought, broughtForward, collect } from './attempt-commits.js';
import { type Host, mirrorOf } from './host.js';
import type { Leases } from './leases.js';
import { LogBudget } from './log-budget.js';
import type { Mirror } from './mirror.js';
import type { Outbox } from './outbox.js';
import { OutputWatch } from './output-watch.js';
import type { PeerSource } from './peer-source.js';
import { askWorkflow, Peers } from './peers.js';
import { type ProcessEnd, StillAlive } from './processes.js';
import { Pulse } from './pulse.js';
import { type Granted, grantSecrets } from './secrets.js';
import { DiskWatch } from './workstation/disk-watch.js';
import { bytesOf } from './workstation/guarded.js';
import { leaveWorkstation, markOver } from './workstation/kept.js';
import { keepsClone, makeWorkstation } from './workstation/make.js';
import { removeWorkstation, workstationDir, writeRecord } from './workstation/record.js';
import { type SetupEnd, setUp } from './workstation/setup.js';
import { SetupStore } from './workstation/setup-store.js';
import { BadCommits, type Workstation } from './workstation/station.js';

const REPORT_BYTES = 16_000;
const TAIL_BYTES = 2_000;
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
    log,
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
