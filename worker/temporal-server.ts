/**
 * A Temporal development server as a child of this process. Guarantees: it answers when `startTemporalServer`
 * resolves; it never outlives this process, even one killed with -9; Ctrl-C in the terminal does not reach it, so
 * that it is there until `stop()`; `stop()` resolves when it is dead. Where the binary comes from:
 * temporal-binary.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { findTemporalBinary } from './temporal-binary.js';

export { cacheDir, findTemporalBinary, TEMPORAL_CLI_VERSION } from './temporal-binary.js';

export interface TemporalServer {
  /** host:port of the gRPC service. */
  address: string;
  namespace: string;
  uiUrl?: string;
  /** Which of findTemporalBinary's sources the binary came from. */
  source: string;
  /** Of the server itself, not of its guard. */
  pid?: number;
  /** TERM, then KILL after 5 s; resolves when the server is dead; may be called any number of times. */
  stop(): Promise<void>;
}

export interface TemporalServerOptions {
  /** Kept across restarts; in memory when not given. */
  dbFile?: string;
  /** Random when not given. */
  port?: number;
  uiPort?: number;
  /** The server's output is appended here. */
  logFile?: string;
  namespace?: string;
  /** Registered in every namespace that the server creates. */
  searchAttributes?: Record<string, 'Keyword' | 'Int' | 'Text' | 'Bool'>;
  log: (line: string) => void;
}

const IP = '127.0.0.1';
/** A dev server is up in 0.3 s here; slow machines with a large database file need longer. */
const START_MS = 60_000;
const STOP_SECONDS = 5;
const PORT_TRIES = 5;
/** Of the output, what an error shows: the beginning has the cause, the end of a Go panic only its stack. */
const HEAD_CHARS = 3_000;
const TAIL_CHARS = 3_000;
const PORT_TAKEN = /:(\d+): bind: address already in use/;

/** Without these the dev server throttles itself: 84 ms instead of 9 ms a step. One host needs one partition. */
const DYNAMIC_CONFIG = [
  'history.transferProcessorMaxPollRPS=5000',
  'history.timerProcessorMaxPollRPS=5000',
  'matching.numTaskqueueReadPartitions=1',
  'matching.numTaskqueueWritePartitions=1',
];

/**
 * Runs its arguments as a child and reports that pid on fd 3. Standard input is the lifeline: at its end, whatever
 * ended the process that held it, the child gets TERM, and KILL when that does not help.
 */
const GUARD = `
PATH="$PATH:/usr/bin:/bin"
exec 4<&0
"$@" </dev/null 3>&- 4<&- &
server=$!
echo $server >&3
exec 3>&-
(
  while read -r line <&4; do :; done
  kill -TERM $server
  tries=0
  while [ $tries -lt ${STOP_SECONDS * 10} ]; do sleep 0.1; kill -0 $server || exit 0; tries=$((tries + 1)); done
  kill -KILL $server
) >/dev/null 2>&1 &
watcher=$!
wait $server
status=$?
kill $watcher 2>/dev/null
exit $status
`;

/** Starts `temporal server start-dev` with its Web UI. Throws with the server's last output when it does not answer. */
export async function startTemporalServer(opts: TemporalServerOptions): Promise<TemporalServer> {
  const { path, source } = await findTemporalBinary(opts.log);
  const namespace = opts.namespace ?? 'default';
  for (let attempt = 1; ; attempt += 1) {
    const ports = await choosePorts(opts);
    const server = new GuardedServer(path, serverArgs(opts, ports), opts.logFile);
    try {
      await server.answers(ports, namespace);
    } catch (error) {
      await server.stop();
      if (attempt < PORT_TRIES && server.lostAPortRace(fixedPorts(opts))) continue;
      throw error;
    }
    server.onUnexpectedEnd((why) => opts.log(`The Temporal server stopped by itself (${why})`));
    return {
      address: `${IP}:${ports.port}`,
      namespace,
      uiUrl: `http://${IP}:${ports.uiPort}`,
      source,
      ...(server.pid === undefined ? {} : { pid: server.pid }),
      stop: () => server.stop(),
    };
  }
}

interface Ports {
  port: number;
  uiPort: number;
}

function serverArgs(opts: TemporalServerOptions, ports: Ports): string[] {
  if (opts.dbFile) mkdirSync(dirname(opts.dbFile), { recursive: true });
  return [
    ...['server', 'start-dev', '--ip', IP, '--port', `${ports.port}`, '--ui-port', `${ports.uiPort}`],
    ...['--log-level', 'error', '--color', 'never'],
    ...(opts.dbFile ? ['--db-filename', opts.dbFile] : []),
    ...(opts.namespace && opts.namespace !== 'default' ? ['--namespace', opts.namespace] : []),
    ...DYNAMIC_CONFIG.flatMap((value) => ['--dynamic-config-value', value]),
    ...Object.entries(opts.searchAttributes ?? {}).flatMap(([name, type]) => [
      '--search-attribute',
      `${name}=${type}`,
    ]),
  ];
}

/** Ours, not the environment's: TEMPORAL_ADDRESS and the like are for clients, and the CLI reads them too. */
function serverEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TEMPORAL_')));
}

function fixedPorts(opts: TemporalServerOptions): number[] {
  return [opts.port, opts.uiPort].filter((port) => port !== undefined);
}

/** Takes both ports for a moment, so that random ones differ and a taken one is told before a server starts. */
async function choosePorts(opts: TemporalServerOptions): Promise<Ports> {
  const holders: Server[] = [];
  try {
    const port = await holdPort(opts.port ?? 0, holders);
    return { port, uiPort: await holdPort(opts.uiPort ?? 0, holders) };
  } finally {
    await Promise.all(holders.map((holder) => new Promise((closed) => holder.close(closed))));
  }
}

function holdPort(wanted: number, holders: Server[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const holder = createServer();
    holder.once('error', (error: NodeJS.ErrnoException) => reject(new Error(portTrouble(wanted, error))));
    holder.listen(wanted, IP, () => {
      holders.push(holder);
      const bound = holder.address();
      resolve(bound !== null && typeof bound === 'object' ? bound.port : wanted);
    });
  });
}

function portTrouble(wanted: number, error: NodeJS.ErrnoException): string {
  if (wanted === 0) return `No free port on ${IP} for the Temporal server: ${error.message}`;
  const why = error.code === 'EADDRINUSE' ? 'another program uses it' : error.message;
  return `The Temporal server cannot have port ${wanted} on ${IP}: ${why}. Choose another port.`;
}

/** A server process under its guard, from spawn to death. */
class GuardedServer {
  pid: number | undefined;
  private head = '';
  private tail = '';
  private takenPort: number | undefined;
  /** Why it ended, once it has. */
  private ended: string | undefined;
  private stopping: Promise<void> | undefined;
  private readonly guard: ChildProcess;
  private readonly dead: Promise<void>;
  private readonly logFile: WriteStream | undefined;
  private readonly watchers: Array<(why: string) => void> = [];

  constructor(path: string, args: string[], logFile: string | undefined) {
    this.logFile = openLog(logFile);
    // Detached: its own process group, so Ctrl-C in the terminal is ours alone to answer.
    this.guard = spawn('/bin/sh', ['-c', GUARD, 'signalbox-temporal', path, ...args], {
      detached: true,
      env: serverEnv(),
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    });
    this.guard.stdin?.on('error', () => {});
    this.guard.stdout?.on('data', (chunk: Buffer) => this.keep(chunk));
    this.guard.stderr?.on('data', (chunk: Buffer) => this.keep(chunk));
    const pids = this.guard.stdio[3] as Readable | null | undefined;
    pids?.on('data', (chunk: Buffer) => {
      this.pid = Number.parseInt(chunk.toString(), 10);
    });
    this.dead = new Promise((resolve) => {
      this.guard.once('error', (error) => this.end(error.message, resolve));
      this.guard.once('close', (code, signal) => this.end(signal ?? `exit ${code}`, resolve));
    });
  }

  /** Resolves when gRPC describes the namespace and the Web UI answers; rejects at the server's end or after a minute. */
  async answers({ port, uiPort }: Ports, namespace: string): Promise<void> {
    const banner = new RegExp(`Server:\\s+\\S+:${port}\\b`);
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline && this.ended === undefined) {
      // The server prints it when it has bound its ports: before that, whoever answers may be a stranger.
      const ready =
        banner.test(this.head) && (await describes(`${IP}:${port}`, namespace)) && (await showsUi(uiPort));
      if (ready && this.ended === undefined) return;
      await Promise.race([sleep(25), this.dead]);
    }
    const why = this.ended === undefined ? `did not answer in ${START_MS / 1000} s` : `ended (${this.ended})`;
    throw new Error(`The Temporal server ${why}. Its last output:\n${this.output()}`);
  }

  /** The ports the server chose by itself can be taken too; asking again helps unless a fixed port is the trouble. */
  lostAPortRace(fixed: number[]): boolean {
    return this.takenPort !== undefined && !fixed.includes(this.takenPort);
  }

  onUnexpectedEnd(tell: (why: string) => void): void {
    this.watchers.push(tell);
  }

  stop(): Promise<void> {
    this.stopping ??= this.stopOnce();
    return this.stopping;
  }

  private async stopOnce(): Promise<void> {
    this.guard.stdin?.end();
    // Ends by itself, one second after the guard's own KILL at the latest; the group kill is for a guard that hangs.
    const late = setTimeout(() => this.killGroup(), (STOP_SECONDS + 1) * 1000);
    await this.dead;
    clearTimeout(late);
    await this.closeLog();
  }

  private end(why: string, resolve: () => void): void {
    if (this.ended !== undefined) return;
    this.ended = why;
    // Nothing of the group is left after an orderly end; something may be when the guard itself was killed.
    this.killGroup();
    if (this.stopping === undefined) for (const tell of this.watchers) tell(why);
    resolve();
  }

  private keep(chunk: Buffer): void {
    const text = chunk.toString();
    const room = HEAD_CHARS - this.head.length;
    this.head += text.slice(0, room);
    this.tail = (this.tail + text.slice(room)).slice(-TAIL_CHARS);
    this.takenPort ??= Number(PORT_TAKEN.exec(text)?.[1]) || undefined;
    this.logFile?.write(chunk);
  }

  private output(): string {
    const all = this.tail.length < TAIL_CHARS ? this.head + this.tail : `${this.head}\n[…]\n${this.tail}`;
    return all.trim() || '(none)';
  }

  private killGroup(): void {
    if (this.guard.pid === undefined) return;
    try {
      process.kill(-this.guard.pid, 'SIGKILL');
    } catch {
      // The group is gone.
    }
  }

  private closeLog(): Promise<void> {
    const file = this.logFile;
    return new Promise((resolve) => {
      if (!file || file.destroyed) resolve();
      else file.end(() => resolve());
    });
  }
}

function openLog(path: string | undefined): WriteStream | undefined {
  if (!path) return undefined;
  mkdirSync(dirname(path), { recursive: true });
  const file = createWriteStream(path, { flags: 'a' });
  // A full disk must not take the server's user down.
  file.on('error', () => file.destroy());
  return file;
}

/** A real call: the namespace cache of a server that has just started lags behind its ports. */
async function describes(address: string, namespace: string): Promise<boolean> {
  let connection: Connection | undefined;
  try {
    // No proxy, whatever the environment says: the server is on this host.
    const channelArgs = { 'grpc.enable_http_proxy': 0 };
    connection = await Connection.connect({ address, connectTimeout: 2000, channelArgs });
    const open = connection;
    await open.withDeadline(Date.now() + 2000, () => open.workflowService.describeNamespace({ namespace }));
    return true;
  } catch {
    return false;
  } finally {
    await connection?.close();
  }
}

/** It binds its port last, and ends the whole server when it cannot. */
async function showsUi(port: number): Promise<boolean> {
  return await fetch(`http://${IP}:${port}/`, { signal: AbortSignal.timeout(2000) }).then(
    (response) => response.ok,
    () => false,
  );
}
