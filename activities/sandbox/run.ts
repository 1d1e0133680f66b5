// Runs commands in sandboxes: an agent for as long as it takes, and short ones of ours, such as git on a clone that an
// agent could write. A sandbox is over when its first process was seen to be gone, for with that the kernel has ended
// all others in it.

import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex, Readable, Writable } from 'node:stream';
import {
  childrenOf,
  endTree,
  identityOf,
  isAlive,
  MARKER,
  type ProcessEnd,
  type ProcessIdentity,
  StillAlive,
} from '../processes.js';
import { Cgroup } from './cgroup.js';
import { INSIDE_PATH, type Limits, type SandboxHost } from './offer.js';
import { keyringFilter } from './syscalls.js';
import { argumentsOf, limited, prefixOf, seenThrough, type View } from './view.js';

/** Where and as whom something is run. */
export interface Place {
  view: View;
  limits: Limits;
  uid: number | undefined;
  hidden: readonly string[];
  /** The folder that the processes work for, see processes.ts. */
  marker: string;
}

export interface SandboxedProcess extends Place {
  command: string | readonly string[];
  /** Names the group of limits; none is made when left out. */
  group?: string;
  output: Writable;
  errors: Writable;
  /** Aborting ends all of it: SIGTERM to every process, after `graceMs` SIGKILL. */
  signal?: AbortSignal;
  graceMs: number;
  /** The processes that keep the sandbox alive; the first is the one that was started. */
  onStart?: (processes: ProcessIdentity[]) => void;
}

export interface SandboxedEnd extends ProcessEnd {
  /** Processes that were ended because the memory limit was reached. */
  outOfMemory: number;
}

/** bubblewrap says of a command that a signal has ended 128 more than its number. */
const BY_SIGNAL = 128;
const SIGNALS: Readonly<Record<number, NodeJS.Signals>> = {
  1: 'SIGHUP',
  2: 'SIGINT',
  3: 'SIGQUIT',
  6: 'SIGABRT',
  7: 'SIGBUS',
  8: 'SIGFPE',
  9: 'SIGKILL',
  11: 'SIGSEGV',
  13: 'SIGPIPE',
  15: 'SIGTERM',
  24: 'SIGXCPU',
  25: 'SIGXFSZ',
};

/** Runs an agent to its end; resolves when no process of the sandbox is left, whatever became of it. */
export async function runSandboxed(host: SandboxHost, spec: SandboxedProcess): Promise<SandboxedEnd> {
  const group = host.cgroup && spec.group !== undefined ? new Cgroup(host.cgroup, spec.group) : undefined;
  const limits = group ? { ...spec.limits, memory: undefined } : spec.limits;
  group?.make(spec.limits);
  try {
    const child = start(host, { ...spec, limits: defined(limits) }, spec.command, { gate: true });
    return { ...(await toItsEnd(child, spec, group)), outOfMemory: group?.outOfMemory ?? 0 };
  } finally {
    group?.remove();
  }
}

const defined = (limits: { [K in keyof Limits]: Limits[K] | undefined }): Limits =>
  Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));

async function toItsEnd(
  { child, status, gate }: Started,
  spec: SandboxedProcess,
  group: Cgroup | undefined,
): Promise<ProcessEnd> {
  const { output, errors, signal, graceMs } = spec;
  const ended = endOf(child);
  child.stdout?.pipe(output, { end: false });
  child.stderr?.pipe(errors, { end: false });
  const closed = new Promise((resolve) => child.once('close', resolve));
  const processes = child.pid === undefined ? [] : [identityOf(child.pid)];
  const first = await Promise.race([firstProcess(status), ended.then(() => undefined)]);
  if (first !== undefined) processes.push(identityOf(first));
  let ending: Promise<void> | undefined;
  const endIn = (ms: number) => {
    ending ??= endSandbox(processes, ms);
    ending.catch(() => undefined);
  };
  const abort = () => endIn(graceMs);
  const unlimited = first === undefined ? undefined : notIn(group, first);
  // Nothing has run yet, and nothing does without its limits.
  if (unlimited) endIn(0);
  if (processes.length > 0) spec.onStart?.(processes);
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort, { once: true });
  if (!unlimited) gate?.end('go');
  const end = await ended;
  signal?.removeEventListener('abort', abort);
  await (ending ?? endSandbox(processes, 0));
  if (ending) await endTree(undefined, spec.marker, 0);
  // With nobody left to write, what is in the pipes comes through at once.
  await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 2_000).unref())]);
  child.stdout?.destroy();
  child.stderr?.destroy();
  // Where it had ended by itself, what it said tells why.
  if (unlimited && end.signal) throw unlimited;
  return end;
}

/** Puts the process, and with it all that it forks from now on, into the group. Gives why that cannot be. */
function notIn(group: Cgroup | undefined, pid: number): Error | undefined {
  try {
    group?.add(pid);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

interface Started {
  child: ChildProcess;
  status: Readable;
  gate?: Writable;
}

function start(
  host: SandboxHost,
  place: Place,
  command: string | readonly string[],
  { gate, stdin }: { gate?: boolean; stdin?: boolean } = {},
): Started {
  const { view, hidden, marker } = place;
  const [program = '', ...prefix] = prefixOf(host, place);
  const argv = typeof command === 'string' ? ['/bin/sh', '-c', command] : command;
  const filter = keyringFilter();
  const fds = ['--args', '3', '--json-status-fd', '4', ...(gate ? ['--block-fd', '5'] : [])];
  if (filter) fds.push('--seccomp', '6');
  const child = spawn(program, [...prefix, ...fds, '--', ...limited(place.limits, argv)], {
    cwd: '/',
    // Not more: the first process in the sandbox shows it.
    env: { PATH: process.env.PATH ?? INSIDE_PATH, [MARKER]: marker },
    detached: true,
    stdio: [
      ...([stdin ? 'pipe' : 'ignore', 'pipe', 'pipe', 'pipe', 'pipe'] as const),
      ...([gate ? 'pipe' : 'ignore', filter ? 'pipe' : 'ignore'] as const),
    ],
  });
  const [args, status, block, calls] = child.stdio.slice(3) as unknown as [
    Writable,
    Readable,
    Writable,
    Writable,
  ];
  // Whoever ends early does not read what is left; the exit code says why.
  for (const stream of [args, status, ...(gate ? [block] : []), ...(filter ? [calls] : [])]) {
    stream.on('error', () => undefined);
    // Each is a socket that reads as well: unread, it would never close.
    (stream as Duplex).resume();
  }
  if (filter) calls.end(filter);
  args.end(
    argumentsOf(view, seenThrough(hidden))
      .map((argument) => `${argument}\0`)
      .join(''),
  );
  return { child, status, ...(gate ? { gate: block } : {}) };
}

function endOf(child: ChildProcess): Promise<ProcessEnd> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ error: error.message }));
    child.once('exit', (code, by) => {
      const signal = by ?? (code !== null && code > BY_SIGNAL ? SIGNALS[code - BY_SIGNAL] : undefined);
      resolve({ ...(code === null ? {} : { exitCode: code }), ...(signal ? { signal } : {}) });
    });
  });
}

/** The process id, on the host, of the first process in the sandbox; undefined when it came to none. */
function firstProcess(status: Readable): Promise<number | undefined> {
  let text = '';
  return new Promise((resolve) => {
    // Read to its end: bubblewrap also says there how the command ended.
    status.on('data', (chunk: Buffer) => {
      text = `${text}${chunk}`.slice(-MOST_STATUS);
      const found = /"child-pid"\s*:\s*(\d+)/.exec(text);
      if (found) resolve(Number(found[1]));
    });
    status.once('close', () => resolve(undefined));
  });
}

const MOST_STATUS = 10_000;
const LONGEST_KILL_MS = 10_000;

/**
 * Ends a sandbox: SIGTERM to everything in it, after the grace SIGKILL. Resolves when its first process is gone, and with
 * that all. Throws StillAlive when the kernel does not end it within ten seconds.
 */
export async function endSandbox(processes: readonly ProcessIdentity[], graceMs: number): Promise<void> {
  const [outer, first] = processes;
  const began = Date.now();
  for (let round = 0; ; round++) {
    const left = processes.filter(isAlive);
    if (left.length === 0) return;
    const elapsed = Date.now() - began;
    if (elapsed > graceMs + LONGEST_KILL_MS)
      throw new StillAlive(`processes ${left.map(({ pid }) => pid).join(', ')} cannot be ended`);
    if (elapsed >= graceMs) for (const { pid } of left) send(pid, 'SIGKILL');
    else if (round === 0)
      for (const pid of first && isAlive(first) ? childrenOf(first.pid) : outer ? [outer.pid] : [])
        send(pid, 'SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, Math.min(50, 2 * 2 ** Math.min(round, 5))));
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended meanwhile.
  }
}

/** A command of ours in a sandbox that failed. */
export class SandboxedFailure extends Error {
  constructor(
    message: string,
    readonly code: number | undefined,
    readonly stderr: string,
  ) {
    super(message);
  }
}

export interface Execution {
  input?: Buffer | string;
  timeoutMs: number;
  /** Bytes of output; more is a failure. */
  most: number;
  /** Exit codes that are no failure, beside 0. */
  also?: readonly number[];
  /** Aborting ends it at once, and is a failure. */
  signal?: AbortSignal;
}

const STDERR_TAIL = 2_000;

/** Runs a short command in a sandbox and gives what it wrote to stdout. Throws SandboxedFailure. */
export async function execSandboxed(
  host: SandboxHost,
  place: Place,
  command: readonly string[],
  { input, timeoutMs, most, also = [], signal: stop }: Execution,
): Promise<Buffer> {
  const { child, status } = start(host, place, command, { stdin: true });
  status.resume();
  const chunks: Buffer[] = [];
  let size = 0;
  let problem: string | undefined;
  const give = (why: string) => {
    problem ??= why;
    if (child.pid !== undefined) send(child.pid, 'SIGKILL');
  };
  const timer = setTimeout(() => give(`took longer than ${timeoutMs} ms`), timeoutMs);
  // Killed while it starts, bubblewrap leaves a child that waits for it for ever, and holds the pipes.
  child.once('exit', () => {
    if (problem !== undefined) void endTree(undefined, place.marker, 0).catch(() => undefined);
  });
  const stopped = () => give('was stopped');
  if (stop?.aborted) stopped();
  stop?.addEventListener('abort', stopped, { once: true });
  child.stdout?.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > most) give(`printed more than ${most} bytes`);
    else chunks.push(chunk);
  });
  let stderr = Buffer.alloc(0);
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr = Buffer.concat([stderr, chunk]).subarray(-STDERR_TAIL);
  });
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input ?? '');
  const ended = endOf(child);
  await new Promise((resolve) => child.once('close', resolve).once('error', resolve));
  clearTimeout(timer);
  stop?.removeEventListener('abort', stopped);
  const { exitCode, signal, error } = await ended;
  if (problem === undefined && exitCode !== undefined && (exitCode === 0 || also.includes(exitCode)))
    return Buffer.concat(chunks);
  const how = problem ?? error ?? (signal ? `was ended by ${signal}` : `failed with exit code ${exitCode}`);
  const said = stderr.toString('utf8').trim();
  throw new SandboxedFailure(
    `${command.join(' ').slice(0, 300)} ${how}${said ? `: ${said}` : ''}`,
    exitCode,
    said,
  );
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * The same as a script, for programs that start others themselves: git its upload-pack. `argsFile` is a file of ours
 * that holds `argumentsFile`, and is read before the user id is given up, as is `filterFile` with the `keyringFilter`.
 */
export function scriptOf(
  host: SandboxHost,
  place: Place,
  command: readonly string[],
  argsFile: string,
  filterFile: string | undefined,
): string {
  const words = [
    ...['env', '-i', `PATH=${process.env.PATH ?? INSIDE_PATH}`, `${MARKER}=${place.marker}`],
    ...prefixOf(host, place),
    ...[
      '--args',
      '3',
      ...(filterFile === undefined ? [] : ['--seccomp', '4']),
      '--',
      ...limited(place.limits, command),
    ],
  ];
  const filter = filterFile === undefined ? '' : `exec 4< ${quoted(filterFile)}\n`;
  return `#!/bin/sh\nexec 3< ${quoted(argsFile)}\n${filter}exec ${words.map(quoted).join(' ')}\n`;
}

export const argumentsFile = ({ view, hidden }: Place): string =>
  argumentsOf(view, seenThrough(hidden))
    .map((argument) => `${argument}\0`)
    .join('');
