// A host under attack: real workstations, made by the code that makes them for agents, in which a script does its worst.
// Canaries lie where no agent may look, and a bystander, another agent, works all the time. After every case it is seen
// that no canary was printed, that nothing on the host has changed, and that the bystander still works.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Mirror } from '../../activities/mirror.js';
import { identityOf, isAlive, type ProcessIdentity } from '../../activities/processes.js';
import { probeSandbox } from '../../activities/sandbox/host.js';
import { leaveWorkstation, takeKept } from '../../activities/workstation/kept.js';
import { commitLeftovers, headOf } from '../../activities/workstation/leftovers.js';
import { keepCommits } from '../../activities/workstation/make.js';
import {
  removeWorkstation,
  type WorkstationRecord,
  workstationDir,
  writeRecord,
} from '../../activities/workstation/record.js';
import { Sandboxes, type StationRules } from '../../activities/workstation/sandboxed.js';
import type { StationEnd, Workstation } from '../../activities/workstation/station.js';
import type { Fence } from '../../src/domain/fence.js';

export const probe = probeSandbox(`attack-${process.pid}`);

/** A case, where this host can make sandboxes; elsewhere it is skipped, and its name says why. */
export const attack = (name: string, run: () => Promise<void>): void =>
  'missing' in probe ? it.skip(`${name} (${probe.missing})`, run) : it(name, run);

export const isRoot = process.getuid?.() === 0;

export const RULES: StationRules = {
  network: 'none',
  processes: 256,
  disk: 200_000_000,
  temporary: 16_000_000,
  memory: 512_000_000,
  sees: [],
  reachable: [],
  readOnly: false,
};

export interface Attempt extends StationEnd {
  output: string;
  /** All bytes that it printed, kept or not. */
  printed: number;
  station: Workstation;
}

export interface AttackOptions {
  task?: string;
  rules?: Partial<StationRules>;
  /** Tells it to end when it has printed this. */
  endAt?: string;
  graceMs?: number;
  env?: Record<string, string>;
  secrets?: { name: string; variable: string; value: string }[];
  onStart?: (processes: ProcessIdentity[]) => void;
}

const MOST_OUTPUT = 4_000_000;

export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  ms = 20_000,
): Promise<void> {
  for (const end = Date.now() + ms; !(await holds()); ) {
    if (Date.now() > end) throw new Error(`never came: ${what}`);
    await sleep(20);
  }
}

export class AttackedHost {
  readonly dir: string;
  readonly origin: string;
  readonly home: string;
  readonly outside: string;
  /** In files of the host, in another agent's clone, environment and arguments, in the worker's own environment. */
  readonly canary = `canary-${randomBytes(12).toString('hex')}`;
  readonly mirror: Mirror;
  readonly sandboxes: Sandboxes;
  private fences = 0;

  constructor(under: string) {
    if ('missing' in probe) throw new Error(probe.missing);
    this.dir = mkdtempSync(join(tmpdir(), under));
    // The user id of an agent is not to be what keeps it out.
    chmodSync(this.dir, 0o755);
    this.origin = join(this.dir, 'origin.git');
    this.outside = join(this.dir, 'outside');
    this.home = join(this.dir, 'home');
    mkdirSync(this.outside);
    mkdirSync(this.home);
    writeFileSync(join(this.outside, 'canary'), this.canary, { mode: 0o666 });
    this.git(['init', '-q', '--bare', '-b', 'main', this.origin]);
    this.push({ 'README.md': 'seed\n', 'src/a.txt': 'a\n', '.gitignore': 'target/\n' });
    this.mirror = new Mirror('app', this.origin, 'main', join(this.home, 'mirrors', 'app.git'));
    this.sandboxes = new Sandboxes(probe.sandbox, this.home);
  }

  git(args: string[], input?: string): string {
    const who = {
      GIT_AUTHOR_NAME: 'P',
      GIT_AUTHOR_EMAIL: 'p@x',
      GIT_COMMITTER_NAME: 'P',
      GIT_COMMITTER_EMAIL: 'p@x',
    };
    const env = { ...process.env, ...who, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
    return execFileSync('git', args, {
      encoding: 'utf8',
      env,
      input,
      stdio: ['pipe', 'pipe', 'pipe'],
    }).trim();
  }

  /** A commit on the shared branch by somebody outside. */
  push(files: Record<string, string>): void {
    const clone = mkdtempSync(join(this.dir, 'person-'));
    this.git(['clone', '-q', this.origin, clone]);
    this.git(['-C', clone, 'checkout', '-q', '-B', 'main']);
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(clone, path)), { recursive: true });
      writeFileSync(join(clone, path), text);
    }
    this.git(['-C', clone, 'add', '-A']);
    this.git(['-C', clone, 'commit', '-qm', 'by a person']);
    this.git(['-C', clone, 'push', '-q', 'origin', 'main']);
    rmSync(clone, { recursive: true });
  }

  fenceOf = (): Fence => ({ epoch: 1, number: ++this.fences });

  /** A workstation; where an attempt of the task before has left its clone, in that. */
  async station(task: string, rules: Partial<StationRules> = {}): Promise<Workstation> {
    const base = await this.mirror.refresh();
    const fence = this.fenceOf();
    const dir = workstationDir(this.home, task, fence);
    const kept = await takeKept(this.home, dir, { task, fence, repository: 'app', most: RULES.disk });
    const options = {
      ...(kept ? { kept } : {}),
      task,
      mirror: this.mirror,
      base,
      start: base,
      checkout: true,
      prompt: 'attack',
      agent: 'sh',
    };
    return await this.sandboxes.make(dir, { ...RULES, ...rules }, options);
  }

  /** What an attempt writes down about its workstation. */
  async record({ dir, uid }: Workstation, task: string): Promise<WorkstationRecord> {
    const number = Number(dir.slice(dir.lastIndexOf('.') + 1));
    const known = { task, repository: 'app', fence: { epoch: 1, number }, base: '', checkout: true };
    const record = { ...known, keep: true as const, worker: identityOf(process.pid) };
    const whole = { ...record, ...(uid === undefined ? {} : { uid }) };
    await writeRecord(dir, whole);
    return whole;
  }

  /** The attempt is over: its clone stays for the next one. */
  async leave(station: Workstation, task: string): Promise<void> {
    await leaveWorkstation(this.home, station.dir, await this.record(station, task));
  }

  /** Runs the script as the agent of a workstation of its own, to its end. */
  async attack(script: string, options: AttackOptions = {}): Promise<Attempt> {
    return await this.runIn(await this.station(options.task ?? 'p/attacker', options.rules), script, options);
  }

  async runIn(station: Workstation, script: string, options: AttackOptions = {}): Promise<Attempt> {
    const { endAt, graceMs = 300, env = {}, secrets = [], onStart = () => undefined } = options;
    let [output, printed] = ['', 0];
    const stop = new AbortController();
    const into = () =>
      new Writable({
        write: (chunk: Buffer, _, done) => {
          printed += chunk.length;
          if (output.length < MOST_OUTPUT) output += chunk.toString('latin1');
          if (endAt !== undefined && output.includes(endAt)) stop.abort();
          done();
        },
      });
    const { paths } = station;
    const variables = await station.keepSecrets(secrets);
    const end = await station.run({
      command: ['sh', '-c', script],
      env: {
        ...variables,
        PATH: paths.path,
        HOME: paths.home,
        TMPDIR: paths.tmp,
        SIGNALBOX_RESULT: paths.result,
        SIGNALBOX_REQUESTS: paths.requests,
        SIGNALBOX_ANSWERS: paths.answers,
        SIGNALBOX_SHARED: paths.shared,
        NODE: '/signalbox/node',
        // What the attacker knows anyway, or can guess.
        HOST_CANARY: join(this.outside, 'canary'),
        HOST_HOME: this.home,
        ...env,
      },
      output: into(),
      errors: into(),
      keys: new Map(),
      log: () => undefined,
      signal: stop.signal,
      graceMs,
      onStart,
    });
    expect(output).not.toContain(this.canary);
    return { ...end, output, printed, station };
  }

  /** Takes the commits out of the clone, as after every attempt. Gives the commit. */
  async collect(station: Workstation, task = 'p/attacker'): Promise<string> {
    await commitLeftovers(station, station.untouched, task);
    const commit = await headOf(station);
    await keepCommits(this.mirror, station, commit, task, this.fenceOf());
    return commit;
  }

  /** What is on the host where agents have no business, as text. */
  state(): string {
    const files = readdirSync(this.outside, { recursive: true }).map(String).sort();
    const read = (file: string) => readFileSync(join(this.outside, file), 'utf8');
    const kernel = (name: string) => readFileSync(`/proc/sys/kernel/${name}`, 'utf8');
    return JSON.stringify([
      files.map((file) => [file, read(file)]),
      ['hostname', 'core_pattern', 'domainname'].map(kernel),
      readdirSync(this.dir).sort(),
      this.git(['-C', this.origin, 'for-each-ref', 'refs/heads']),
    ]);
  }
}

/** One host for the cases of a file, with a bystander; looked at after each of them. */
export function attackedHost(under = 'signalbox-attack-'): () => AttackedHost {
  let host: AttackedHost;
  let before = '';
  let bystander: {
    station: Workstation;
    processes: ProcessIdentity[];
    ended: Promise<unknown>;
    stop: () => void;
  };
  let neighbour: ChildProcess;

  beforeAll(async () => {
    if ('missing' in probe) return;
    host = new AttackedHost(under);
    process.env.SIGNALBOX_TEST_CANARY = host.canary;
    // A process of the host that shows the canary in its arguments and its environment.
    neighbour = spawn(process.execPath, ['-e', 'setInterval(() => 0, 1e6)', host.canary], {
      env: { ...process.env, CANARY: host.canary },
      stdio: 'ignore',
    });
    bystander = await startBystander(host);
    before = host.state();
  });

  afterEach(async () => {
    if ('missing' in probe) return;
    expect(host.state()).toBe(before);
    expect(bystander.processes.every(isAlive)).toBe(true);
    expect(neighbour.exitCode ?? neighbour.signalCode).toBeNull();
    const beat = () => readFileSync(join(bystander.station.resultDir, 'beat'), 'utf8');
    const last = beat();
    await until('the bystander goes on', () => beat() !== last);
    expect(readFileSync(join(bystander.station.dir, 'clone', 'mine'), 'utf8')).toBe(`${host.canary}\n`);
    host.git(['--git-dir', host.mirror.dir, 'fsck', '--connectivity-only']);
  });

  afterAll(async () => {
    if ('missing' in probe) return;
    bystander.stop();
    neighbour.kill('SIGKILL');
    await bystander.ended;
    await host.sandboxes.close();
    await host.mirror.close();
    await removeWorkstation(join(host.home, 'workstations', 'p', 'x'));
    rmSync(host.dir, { recursive: true });
  });

  return () => host;
}

async function startBystander(host: AttackedHost) {
  const station = await host.station('p/bystander', { memory: 256_000_000 });
  const stop = new AbortController();
  const ignored = () => new Writable({ write: (_chunk, _encoding, done) => done() });
  const processes: ProcessIdentity[] = [];
  const script = `echo "$KEY" > mine; "$NODE" -e '
    const { createServer } = require("net");
    const tell = (socket) => socket.end(process.env.KEY);
    createServer(tell).listen(3000, "127.0.0.1");
    createServer(tell).listen("\\0signalbox-bystander");
    let n = 0;
    const beat = () => { require("fs").writeFileSync("/w/result/next", String(++n)); require("fs").renameSync("/w/result/next", "/w/result/beat"); };
    beat();
    setInterval(beat, 100);' -- "$KEY"`;
  const ended = station.run({
    command: ['sh', '-c', script],
    env: { PATH: station.paths.path, NODE: '/signalbox/node', KEY: host.canary },
    output: ignored(),
    errors: ignored(),
    keys: new Map(),
    log: () => undefined,
    signal: stop.signal,
    graceMs: 100,
    onStart: (found) => processes.push(...found),
  });
  await until('the bystander works', () => readdirSync(station.resultDir).includes('beat'));
  return { station, processes, ended, stop: () => stop.abort() };
}
