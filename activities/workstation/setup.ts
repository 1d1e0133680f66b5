// Makes a fresh clone ready to work in: each setup command runs in it before the agent, or its result is brought back from
// the last time. A result is kept for others only where nothing of any agent can be in it: the clone is at the shared
// branch's own commit, held nothing else before, and the agent has not run yet.

import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { formatDuration } from '../../src/domain/durations.js';
import {
  excludeLine,
  type KeyFile,
  runText,
  type SetupCommand,
  type SetupRecord,
  setupKey,
} from '../../src/domain/setup.js';
import type { Mirror } from '../mirror.js';
import { type OutputFile, outputFile } from '../output.js';
import { OutputWatch } from '../output-watch.js';
import { allowedEnv, type ProcessIdentity } from '../processes.js';
import type { Redactor } from '../redactor.js';
import { dirtyFiles } from './leftovers.js';
import type { SetupStore } from './setup-store.js';
import type { StationEnd, Workstation } from './station.js';

export interface SetupJob {
  commands: readonly SetupCommand[];
  mirror: Mirror;
  /** The commit that is checked out. */
  start: string;
  /** It is the shared branch's own: no attempt has added to it. */
  shared: boolean;
  store: SetupStore;
  /** The attempt's log, where their output goes. */
  log: string;
  redactor: Redactor;
  /** Bytes that each may print. */
  output: number | undefined;
  /** Aborting stops it all. */
  signal: AbortSignal;
  graceMs: number;
  tell: (line: string) => void;
  /** Resolves when it is written down who runs. */
  onStart: (processes: ProcessIdentity[]) => Promise<void>;
}

export type SetupEnd =
  /** The workstation as it is now: what setup has left in it is not the agent's. */
  | { kind: 'ready'; station: Workstation; records: SetupRecord[] }
  | { kind: 'stopped'; records: SetupRecord[] }
  | { kind: 'failed'; records: SetupRecord[]; run: string; end: StationEnd; why?: string };

interface Planned {
  command: SetupCommand;
  /** Of its `keep`, what is not part of the repository. */
  apart: string[];
  /** Absent where its result cannot be used again. */
  key?: string;
}

/** Runs the commands one after the other, up to the first that fails. Throws where the clone cannot be looked at. */
export async function setUp(station: Workstation, job: SetupJob): Promise<SetupEnd> {
  const { commands, signal } = job;
  const records: SetupRecord[] = [];
  if (commands.length === 0) return { kind: 'ready', station, records };
  const planned: Planned[] = [];
  for (const command of commands) planned.push(await plan(station, job, command));
  // Whatever becomes of this attempt: these are nobody's work.
  const lines = planned.flatMap(({ apart }) => apart.map(excludeLine));
  if (lines.length > 0) await station.setup.exclude(lines);
  const fresh = job.shared && (await isAnyMissing(job.store, planned)) && (await isFresh(station));
  for (const one of planned) {
    if (signal.aborted) return { kind: 'stopped', records };
    const run = job.redactor.text(runText(one.command.run));
    const began = performance.now();
    const took = () => Math.round(performance.now() - began);
    if (await broughtBack(station, job, one)) {
      records.push({ run, how: 'reused', took: took() });
      continue;
    }
    if (signal.aborted) return { kind: 'stopped', records };
    const { end, why } = await runIt(station, job, one.command);
    if (signal.aborted) return { kind: 'stopped', records };
    const ended = { run, took: took(), ...(end.refused ? { refused: end.refused } : {}) };
    if (end.exitCode !== 0 || why !== undefined) {
      records.push({ ...ended, how: 'failed' });
      return { kind: 'failed', records, run, end, ...(why === undefined ? {} : { why }) };
    }
    const kept = fresh && (await keptForOthers(station, job, one));
    records.push({ ...ended, how: 'ran', ...(kept ? { kept } : {}) });
  }
  if (signal.aborted) return { kind: 'stopped', records };
  return { kind: 'ready', station: { ...station, untouched: await dirtyFiles(station) }, records };
}

async function plan(
  station: Workstation,
  { mirror, start }: SetupJob,
  command: SetupCommand,
): Promise<Planned> {
  const { key, keep } = command;
  const files = await entriesAt(mirror, start, [...key, ...keep]);
  const apart = keep.filter((path) => !files.has(path));
  const named = key.map((path) => ({ path, oid: files.get(path) }));
  // Part of the repository is no result; and without a file of the key nobody knows what the result depends on.
  if (!station.setup.archives || keep.length === 0 || apart.length < keep.length) return { command, apart };
  const digests: KeyFile[] = [];
  for (const { path, oid } of named) {
    if (!oid) return { command, apart };
    const digest = createHash('sha256')
      .update(await mirror.contents(oid))
      .digest('hex');
    digests.push({ path, digest });
  }
  const where = { repository: mirror.name, system: `${process.platform} ${process.arch}` };
  return { command, apart, key: setupKey(command, where, digests) };
}

/** What the commit has at these paths: the id of a regular file, '' for anything else. */
async function entriesAt(
  mirror: Mirror,
  commit: string,
  paths: readonly string[],
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  if (paths.length === 0) return found;
  const listing = await mirror.text([
    '--literal-pathspecs',
    'ls-tree',
    '-z',
    '--full-tree',
    commit,
    '--',
    ...paths,
  ]);
  for (const line of listing.split('\0').filter(Boolean)) {
    const [, mode = '', oid = '', path = ''] = /^(\d+) \w+ ([0-9a-f]+)\t(.*)$/s.exec(line) ?? [];
    found.set(path, mode.startsWith('100') ? oid : '');
  }
  return found;
}

async function isAnyMissing(store: SetupStore, planned: readonly Planned[]): Promise<boolean> {
  for (const { key } of planned) if (key !== undefined && (await store.find(key)) === undefined) return true;
  return false;
}

/** Nothing lies in the clone that is not of its commit: no earlier agent's files, not even ignored ones. */
async function isFresh(station: Workstation): Promise<boolean> {
  const status = ['status', '--porcelain=v1', '-z', '--ignored', '--untracked-files=normal', '--no-renames'];
  const entries = (await station.git(status)).toString('latin1').split('\0');
  return !entries.some((entry) => entry.startsWith('??') || entry.startsWith('!!'));
}

async function broughtBack(station: Workstation, job: SetupJob, { command, key }: Planned): Promise<boolean> {
  const { archives } = station.setup;
  const file = key === undefined ? undefined : await job.store.find(key);
  if (!archives || key === undefined || file === undefined) return false;
  const run = runText(command.run);
  try {
    await archives.unpack(command.keep, file, job.signal);
    await write(job, `${run}: its result is brought back from the last time`);
    return true;
  } catch (error) {
    if (job.signal.aborted) return false;
    job.tell(`what ${run} has made could not be brought back, so it runs again: ${String(error)}`);
    await job.store.drop(key);
    await archives.remove(command.keep, job.signal);
    return false;
  }
}

async function runIt(
  { setup, paths }: Workstation,
  job: SetupJob,
  { run, timeout }: SetupCommand,
): Promise<{ end: StationEnd; why?: string }> {
  const watch = new OutputWatch({ output: job.output });
  const output = await logOf(job, watch);
  const limit = AbortSignal.timeout(timeout);
  const recorded: Promise<void>[] = [];
  try {
    output.stream.write(note(runText(run)));
    const end = await setup.run({
      command: run,
      // None of the kind's or the task's own variables: what others get may depend on nothing that the key does not name.
      env: allowedEnv([], {
        HOME: paths.home,
        TMPDIR: paths.tmp,
        PATH: paths.path,
        GIT_TERMINAL_PROMPT: '0',
      }),
      output: output.stream,
      errors: output.errors,
      keys: new Map(),
      log: job.tell,
      signal: AbortSignal.any([job.signal, limit, watch.signal]),
      graceMs: job.graceMs,
      onStart: (processes) => recorded.push(job.onStart(processes)),
    });
    if (limit.aborted) return { end, why: `it took longer than ${formatDuration(timeout)}` };
    return { end, ...(watch.broken ? { why: `it printed ${watch.broken.text}` } : {}) };
  } finally {
    await Promise.all(recorded);
    await output.close();
  }
}

async function keptForOthers(
  station: Workstation,
  job: SetupJob,
  { command, key }: Planned,
): Promise<true | undefined> {
  const { archives } = station.setup;
  if (!archives || key === undefined) return undefined;
  const { store, signal } = job;
  try {
    await store.keep(key, (folder) => archives.pack(command.keep, folder, store.most, signal));
    return true;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (!signal.aborted) await write(job, `${runText(command.run)}: its result is not kept: ${why}`);
    return undefined;
  }
}

const note = (text: string): string => `[signalbox: setup ${text}]\n`;

async function logOf({ log, redactor }: SetupJob, watch?: OutputWatch): Promise<OutputFile> {
  await mkdir(dirname(log), { recursive: true });
  return outputFile(log, redactor, watch ? { watch } : {});
}

async function write(job: SetupJob, text: string): Promise<void> {
  const output = await logOf(job);
  output.stream.write(note(text));
  await output.close();
}
