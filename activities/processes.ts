// Processes of others: started in a group of their own, ended for certain. Whatever is started here carries a marker
// in its environment; on Linux that finds also what left its process group, and what a dead worker left behind.

import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Writable } from 'node:stream';

/** The variable that names the folder a process works for. */
export const MARKER = 'SIGNALBOX_WORKSTATION';

export interface ProcessSpec {
  command: string | string[];
  cwd: string;
  env: Record<string, string>;
  /** The marker's value: unique to this process tree. */
  marker: string;
  output: Writable;
  /** For its standard error; that goes with the output when left out. */
  errors?: Writable;
  /** Aborting ends the process tree: SIGTERM, after `graceMs` SIGKILL. */
  signal?: AbortSignal;
  graceMs?: number;
  onStart?: (pid: number) => void;
}

/** Processes that SIGKILL does not end: in the kernel, or somebody else's. */
export class StillAlive extends Error {}

export interface ProcessEnd {
  exitCode?: number;
  signal?: string;
  /** Why it could not be started. */
  error?: string;
}

const GRACE_MS = 5_000;

/** Runs a process tree to its end; resolves when no process of it is left, whatever became of it. */
export async function runProcess(spec: ProcessSpec): Promise<ProcessEnd> {
  const { command, cwd, env, marker, output, signal, graceMs = GRACE_MS } = spec;
  const [program, ...args] = typeof command === 'string' ? ['/bin/sh', '-c', command] : command;
  const child = spawn(program ?? '/bin/false', args, {
    cwd,
    env: { ...env, [MARKER]: marker },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once('error', (error) => resolve({ error: error.message }));
    child.once('exit', (code, by) =>
      resolve({ ...(code === null ? {} : { exitCode: code }), ...(by ? { signal: by } : {}) }),
    );
  });
  child.stdout.pipe(output, { end: false });
  child.stderr.pipe(spec.errors ?? output, { end: false });
  const closed = new Promise((resolve) => child.once('close', resolve));
  const { pid } = child;
  if (pid !== undefined) spec.onStart?.(pid);
  const abort = () => {
    if (pid !== undefined) void endTree(pid, marker, graceMs);
  };
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort, { once: true });
  const end = await ended;
  signal?.removeEventListener('abort', abort);
  // Its children may outlive it, and hold its output open.
  if (pid !== undefined) await endTree(pid, marker, signal?.aborted ? graceMs : 0);
  // With nobody left to write, what is in the pipes comes through at once.
  await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 2_000).unref())]);
  child.stdout.destroy();
  child.stderr.destroy();
  return end;
}

/**
 * Ends the group and everything that carries the marker: SIGTERM, after the grace SIGKILL. Resolves when none is left.
 * Throws StillAlive after ten seconds of SIGKILL without success.
 */
export async function endTree(pgid: number | undefined, marker: string, graceMs: number): Promise<void> {
  const began = Date.now();
  for (let round = 0; ; round++) {
    const left = survivors(pgid, marker);
    if (left.length === 0) return;
    const elapsed = Date.now() - began;
    const kill = elapsed >= graceMs;
    if (elapsed > graceMs + 10_000)
      throw new StillAlive(`processes ${left.join(', ')} of ${marker} cannot be ended`);
    if (round === 0 || kill) send(pgid, left, kill ? 'SIGKILL' : 'SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, Math.min(100, 5 * 2 ** Math.min(round, 5))));
  }
}

function send(pgid: number | undefined, pids: number[], signal: NodeJS.Signals): void {
  for (const target of pgid === undefined ? pids : [-pgid, ...pids]) {
    try {
      process.kill(target, signal);
    } catch {
      // It ended meanwhile.
    }
  }
}

function survivors(pgid: number | undefined, marker: string): number[] {
  const marked = markedProcesses((value) => value === marker).map(({ pid }) => pid);
  if (pgid === undefined) return marked;
  if (process.platform === 'linux') return [...new Set([...groupMembers(pgid), ...marked])];
  try {
    process.kill(-pgid, 0);
    return [pgid];
  } catch {
    return [];
  }
}

function groupMembers(pgid: number): number[] {
  return pids().filter((pid) => {
    const fields = statOf(pid);
    return fields !== undefined && fields[2] === String(pgid) && fields[0] !== 'Z';
  });
}

/** Live processes whose marker passes the test. Linux only; elsewhere none is found this way. */
export function markedProcesses(test: (marker: string) => boolean): { pid: number; marker: string }[] {
  if (process.platform !== 'linux') return [];
  return pids().flatMap((pid) => {
    const marker = markerOf(pid);
    return marker !== undefined && test(marker) && statOf(pid)?.[0] !== 'Z' ? [{ pid, marker }] : [];
  });
}

function markerOf(pid: number): string | undefined {
  try {
    const environ = readFileSync(`/proc/${pid}/environ`, 'utf8');
    const at = environ.startsWith(`${MARKER}=`) ? 0 : environ.indexOf(`\0${MARKER}=`) + 1;
    if (at === 0 && !environ.startsWith(`${MARKER}=`)) return undefined;
    const value = environ.slice(at + MARKER.length + 1);
    return value.slice(0, value.indexOf('\0'));
  } catch {
    return undefined;
  }
}

function pids(): number[] {
  try {
    return readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));
  } catch {
    return [];
  }
}

/** All processes below one, however deep. Linux only. */
export function childrenOf(pid: number): number[] {
  const below = new Map<number, number[]>();
  for (const child of pids()) {
    const parent = Number(statOf(child)?.[1]);
    const siblings = below.get(parent);
    if (siblings) siblings.push(child);
    else below.set(parent, [child]);
  }
  const found = below.get(pid) ?? [];
  for (const child of found) found.push(...(below.get(child) ?? []));
  return found;
}

/** Fields of /proc/PID/stat from the third on: state, parent, group, …; undefined when there is no such process. */
function statOf(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** Names one process for ever: its id and when it started, for ids are used again. */
export interface ProcessIdentity {
  pid: number;
  /** Clock ticks since the boot, and the boot; empty where the system does not tell. */
  started: string;
}

export function identityOf(pid: number): ProcessIdentity {
  return { pid, started: process.platform === 'linux' ? `${bootId()} ${statOf(pid)?.[19] ?? ''}` : '' };
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim() + readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

export function isAlive(identity: ProcessIdentity): boolean {
  try {
    process.kill(identity.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  if (identity.started === '') return true;
  return identityOf(identity.pid).started === identity.started && statOf(identity.pid)?.[0] !== 'Z';
}

/** False when the system was started anew since, or the leader's id belongs to another process: the group is not ours. */
export function groupIsOurs(leader: ProcessIdentity): boolean {
  const now = identityOf(leader.pid).started;
  const boot = (started: string) => started.split(' ')[0];
  if (boot(now) !== boot(leader.started)) return false;
  return isAlive(leader) || statOf(leader.pid) === undefined || now === leader.started;
}

const INHERITED = [
  'PATH',
  'LANG',
  'LANGUAGE',
  'LC_ALL',
  'LC_CTYPE',
  'TZ',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'NODE_EXTRA_CA_CERTS',
];

/** The environment of every process started for a fleet: an allow-list, and what was named on top. */
export function allowedEnv(passEnv: readonly string[], more: Record<string, string>): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of [...INHERITED, ...passEnv]) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return { ...env, ...more };
}
