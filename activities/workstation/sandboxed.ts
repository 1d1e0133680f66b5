// A workstation that is a sandbox: the agent sees a read-only system, its own clone, HOME and folders, and nothing else of
// the host. Git never runs outside on a clone that an agent could write: making the clone, committing what was left in
// it and handing out its commits all happen in sandboxes that see only that clone and the branch's history.

import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { chown, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GIT_ENVIRONMENT, GitError } from '../../src/client/git.js';
import type { AgentKind } from '../../src/domain/config.js';
import type { Mirror } from '../mirror.js';
import { endTree } from '../processes.js';
import { removeEmptyCgroups } from '../sandbox/cgroup.js';
import { INSIDE_PATH, type Limits, type SandboxHost } from '../sandbox/offer.js';
import { isOpen } from '../sandbox/permissions.js';
import {
  argumentsFile,
  type Execution,
  execSandboxed,
  type Place,
  runSandboxed,
  SandboxedFailure,
  scriptOf,
} from '../sandbox/run.js';
import { keyringFilter } from '../sandbox/syscalls.js';
import { nextUid } from '../sandbox/uids.js';
import { type Bind, hiddenOf } from '../sandbox/view.js';
import { writeSecretFiles } from '../secrets.js';
import { Shelf } from '../shelf.js';
import { COMPLETE, GO_ON, MAKE, MAKE_READY, ORIGIN } from './clone-scripts.js';
import { certificates, etcOf, INSIDE, pathInside, prepare, TOOLS, tools } from './inside.js';
import { type Clone, hashed } from './leftovers.js';
import { openNetwork, PROXY_PORT } from './network.js';
import { cloneConfig } from './plain.js';
import { type PoolOptions, type Ready, ReadyClones } from './pool.js';
import { discard } from './removal.js';
import { setupPlace } from './setup-place.js';
import {
  type AgentProcess,
  BadCommits,
  type SecretFile,
  type StationEnd,
  type StationOptions,
  type Workstation,
} from './station.js';

/** What an agent of this kind gets. */
export type StationRules = Pick<
  AgentKind,
  'network' | 'memory' | 'processes' | 'disk' | 'temporary' | 'sees'
> & {
  /** Of the operator's own networks, what allowed names may lead to. */
  reachable: readonly string[];
  /** The task has no role: its clone is mounted read-only. */
  readOnly: boolean;
  /** For commands that make the clone ready: nothing of the task is there. */
  preparing?: true;
};

const SECRETS = '/w/secrets';
const SOCKET = '/w/proxy.sock';
const FORWARDER = [`${TOOLS}/node`, `${TOOLS}/dist/activities/egress/forwarder.js`];

/** What git on a clone of an agent's may take at most. */
const GIT_MS = 10 * 60_000;
/** Making a clone afresh does not take as long as that. */
const GO_ON_MS = 2 * 60_000;
const GIT_BYTES = 64 * 1024 * 1024;
/** Filters that it has planted run then, and trees may be made to need all memory there is. */
const GIT_LIMITS: Limits = { processes: 256, openFiles: 4_096, memory: 2 * 1024 ** 3 };
const OPEN_FILES = 8_192;
const GIT_TEMPORARY = 64 * 1024 * 1024;

/** A clone that is checked out, and what git takes for changed in it. */
interface Made {
  uid: number | undefined;
  status: Buffer;
}

const why = (error: unknown): string =>
  error instanceof SandboxedFailure && error.stderr !== '' ? error.stderr : String(error);

const common = (mirror: Mirror, commit: string): Record<string, string> => ({
  BRANCH: mirror.branch,
  FORMAT: commit.length === 64 ? 'sha256' : 'sha1',
});

export interface SandboxesOptions {
  log?: (line: string) => void;
  pool?: Partial<PoolOptions>;
}

export class Sandboxes {
  private prepared: Promise<void> | undefined;
  private readonly pool: ReadyClones;
  private readonly log: (line: string) => void;

  constructor(
    readonly host: SandboxHost,
    /** Signalbox's folder on this host. */
    private readonly home: string,
    { log = () => undefined, pool }: SandboxesOptions = {},
  ) {
    this.log = log;
    this.pool = new ReadyClones(home, (...args) => this.makeReady(...args), log, pool);
  }

  async make(dir: string, rules: StationRules, options: StationOptions): Promise<Workstation> {
    const { mirror, base, start, checkout, prompt, handOff } = options;
    const absent = rules.sees.find((path) => !existsSync(path));
    if (absent !== undefined) throw new Error(`this host has no ${absent}, which \`sees\` names`);
    const closed = rules.sees.find((path) => !isOpen(path));
    if (closed !== undefined)
      throw new Error(
        `agents have a user id of their own, which may not read ${closed}, named in \`sees\`: chmod -R o+rX it`,
      );
    if (this.host.root && (statSync(this.home).mode & 0o001) === 0)
      throw new Error(
        `agents have user ids of their own, which may not enter ${this.home}: chmod o+x it, and start the worker with umask 022`,
      );
    this.prepared ??= prepare(this.home);
    await Promise.all([
      this.prepared,
      Shelf.of(mirror, this.home).hold(base),
      mkdir(dir, { recursive: true, mode: 0o711 }),
    ]);
    const pack = start === base ? undefined : await packOf(mirror, base, start);
    const gone = await this.goneOn(dir, options, pack);
    const ready = gone ?? (checkout ? await this.completed(dir, options, pack) : undefined);
    const began = performance.now();
    const { uid, status } = ready ?? (await this.fresh(dir, options, pack));
    if (checkout) this.pool.wanted(mirror, ready ? undefined : performance.now() - began);
    await this.folders(dir, uid);
    await writeFile(join(dir, 'prompt.md'), prompt, { mode: 0o644 });
    if (handOff !== undefined) await writeFile(join(dir, 'handoff.md'), handOff, { mode: 0o644 });
    const clone = this.open(dir, uid, mirror);
    return {
      ...clone,
      dir,
      ...(uid === undefined ? {} : { uid }),
      paths: { ...INSIDE, path: pathInside(rules.sees) },
      untouched: await hashed(clone, status),
      ...(gone ? { reused: true as const } : {}),
      isolation: {
        kind: 'sandbox',
        by: `bubblewrap ${this.host.version}`,
        limits: this.host.cgroup ? `control groups, version ${this.host.cgroup.version}` : 'for each process',
        network: rules.network === 'none' || rules.network === 'host' ? rules.network : 'allow',
      },
      desk: { requests: join(dir, 'requests'), answers: join(dir, 'answers') },
      peering: { shared: join(dir, 'shared'), aside: join(dir, 'peering') },
      resultDir: join(dir, 'result'),
      keepSecrets: (files) => this.keepSecrets(dir, uid, files),
      run: (agent) => this.run(dir, uid, rules, options, agent),
      setup: setupPlace(
        this.host,
        (binds, limits) => this.bare(dir, uid, binds, limits),
        uid,
        (command) => this.run(dir, uid, setupRules(rules), options, command),
      ),
    };
  }

  private async fresh(dir: string, options: StationOptions, pack: Buffer | undefined): Promise<Made> {
    const uid = await this.newUid();
    await this.ownFolder(join(dir, 'clone'), uid);
    return { uid, status: await this.commits(dir, uid, MAKE, options, pack) };
  }

  /** Out of a clone that was ready. Whatever is odd about that one, it is undefined and the clone is gone. */
  private async completed(
    dir: string,
    options: StationOptions,
    pack: Buffer | undefined,
  ): Promise<Made | undefined> {
    try {
      const ready = await this.pool.take(options.mirror, options.base, dir);
      if (!ready) return undefined;
      const status = await this.commits(dir, ready.uid, COMPLETE, options, pack, ready.base);
      if (status.length > 0) throw new Error('git takes files for changed in it');
      return { uid: ready.uid, status };
    } catch (error) {
      this.log(`a clone that was ready is not used, and one made afresh: ${why(error)}`);
      for (const name of ['clone', 'ready']) await rm(join(dir, name), { recursive: true, force: true });
      return undefined;
    }
  }

  /** In the clone that an earlier attempt has left. Whatever is odd about it, it is undefined and the clone is gone. */
  private async goneOn(
    dir: string,
    options: StationOptions,
    pack: Buffer | undefined,
  ): Promise<Made | undefined> {
    if (!options.kept) return undefined;
    const { uid } = options.kept;
    try {
      const status = await this.commits(dir, uid, GO_ON, options, pack, '', GO_ON_MS);
      if (status.length > 0) throw new Error('git takes files for changed in it');
      return { uid, status };
    } catch (error) {
      this.log(`the clone of ${options.task} is not used again, and one made afresh: ${why(error)}`);
      await endTree(undefined, dir, 0);
      await discard(this.home, join(dir, 'clone'));
      return undefined;
    }
  }

  private async commits(
    dir: string,
    uid: number | undefined,
    script: string,
    { mirror, base, start, checkout, agent }: StationOptions,
    pack: Buffer | undefined,
    was = '',
    timeoutMs = GIT_MS,
  ): Promise<Buffer> {
    const execution = { timeoutMs, ...(pack ? { input: pack } : {}) };
    return await this.script(this.gitPlace(dir, uid, mirror), script, execution, {
      ...common(mirror, base),
      BASE: base,
      START: start,
      WAS: was,
      CONFIG: `${cloneConfig(agent)}[remote "origin"]\n\turl = ${ORIGIN}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n`,
      ...(pack ? { PACK: '1' } : {}),
      ...(checkout ? { CHECKOUT: '1' } : {}),
    });
  }

  private async makeReady(dir: string, mirror: Mirror, signal: AbortSignal): Promise<Ready | undefined> {
    const uid = await this.newUid();
    const base = await Shelf.of(mirror, this.home).newest();
    await this.ownFolder(join(dir, 'clone'), uid);
    const env = { ...common(mirror, base), WAS: base };
    const changed = await this.script(this.gitPlace(dir, uid, mirror), MAKE_READY, { signal }, env);
    if (changed.length > 0) return undefined;
    return { base, branch: mirror.branch, ...(uid === undefined ? {} : { uid }) };
  }

  private script(
    place: Place,
    script: string,
    execution: Partial<Execution>,
    more: Record<string, string>,
  ): Promise<Buffer> {
    const made = { ...place, view: { ...place.view, env: { ...place.view.env, ...more } } };
    const whole = { timeoutMs: GIT_MS, most: GIT_BYTES, ...execution };
    return execSandboxed(this.host, made, ['/bin/sh', '-ec', script], whole);
  }

  private async keepSecrets(dir: string, uid: number | undefined, files: readonly SecretFile[]) {
    const folder = join(dir, 'secrets');
    const variables = await writeSecretFiles(folder, [...files], SECRETS);
    if (uid !== undefined && files.length > 0)
      for (const path of [folder, ...files.map(({ name }) => join(folder, name))])
        await chown(path, uid, uid);
    return variables;
  }

  private async run(
    dir: string,
    uid: number | undefined,
    rules: StationRules,
    { mirror }: StationOptions,
    { command, env, keys, log, ...rest }: AgentProcess,
  ): Promise<StationEnd> {
    const network = await openNetwork(rules, uid, keys, log);
    try {
      const binds = network ? [{ from: network.socket, to: SOCKET }] : [];
      const argv = typeof command === 'string' ? ['/bin/sh', '-c', command] : command;
      const end = await runSandboxed(this.host, {
        ...this.agentPlace(dir, uid, mirror, rules, { ...env, ...network?.env }, binds),
        command: network ? [...FORWARDER, SOCKET, String(PROXY_PORT), '--', ...argv] : argv,
        group: createHash('sha256').update(dir).digest('hex').slice(0, 20),
        ...rest,
      });
      const refused = network?.refused() ?? [];
      return { ...end, ...(refused.length > 0 ? { refused } : {}) };
    } finally {
      await network?.close();
    }
  }

  /** Resolves when the clones that are wanted are ready. */
  filled(): Promise<void> {
    return this.pool.filled();
  }

  /** Once no agent runs any more. */
  async close(): Promise<void> {
    await this.pool.close();
    if (this.host.cgroup) removeEmptyCgroups(this.host.cgroup);
  }

  /**
   * The clone in a workstation that somebody else has made. `desk`: whom the processes work for, and where the scripts lie
   * that start them, when that is not the workstation itself.
   */
  open(dir: string, uid: number | undefined, mirror: Mirror, desk = dir): Clone & Pick<Workstation, 'bring'> {
    const place = { ...this.gitPlace(dir, uid, mirror), marker: desk };
    const run = (command: readonly string[], input?: Buffer, also?: readonly number[]) =>
      execSandboxed(this.host, place, command, {
        timeoutMs: GIT_MS,
        most: GIT_BYTES,
        ...(input ? { input } : {}),
        ...(also ? { also } : {}),
      });
    return {
      git: (args, input) => run(['git', ...QUIET, ...args], input),
      hashes: async (paths) => {
        const hashes = new Map(paths.map((path) => [path, '']));
        const input = Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1');
        // 123: some are gone, or no files.
        const said = await run(['xargs', '-0', 'sha256sum', '-z', '--'], input, [123]);
        for (const line of said.toString('latin1').split('\0').filter(Boolean))
          hashes.set(line.slice(66), line.slice(0, 64));
        return hashes;
      },
      bring: async (into, commit, ref) => {
        const files = { args: join(desk, 'upload-pack.args'), script: join(desk, 'upload-pack.sh') };
        const upload = ['timeout', '-k', '5', String(GIT_MS / 1_000), 'git', 'upload-pack', INSIDE.clone];
        await writeFile(files.args, argumentsFile(place), { mode: 0o600 });
        const filter = keyringFilter();
        const filterFile = filter && join(desk, 'upload-pack.filter');
        if (filterFile) await writeFile(filterFile, filter, { mode: 0o600 });
        const script = scriptOf(this.host, place, upload, files.args, filterFile);
        await writeFile(files.script, script, { mode: 0o700 });
        const fetched = into.run(
          [
            ...['-c', `fetch.fsckObjects=${!into.anyObject}`],
            ...['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--no-auto-gc'],
            `--upload-pack=sh '${files.script.replaceAll("'", "'\\''")}'; :`,
            ...['--end-of-options', join(dir, 'clone'), `+${commit}:${ref}`],
          ],
          { env: { GIT_ALLOW_PROTOCOL: 'file' } },
        );
        await fetched.catch((error: unknown) => {
          const said = error instanceof GitError ? error.stderr : '';
          throw /fsck error/.test(said) ? new BadCommits(said) : error;
        });
      },
    };
  }

  /** The station's own folder is ours; what is in it is the agent's. */
  private async folders(dir: string, uid: number | undefined): Promise<void> {
    for (const name of ['home', 'result', 'requests']) await this.ownFolder(join(dir, name), uid);
    for (const name of ['answers', 'shared']) await mkdir(join(dir, name), { mode: 0o755 });
    const config = join(dir, 'home', '.gitconfig');
    await writeFile(config, `[safe]\n\tdirectory = ${ORIGIN}\n`, { mode: 0o644 });
    if (uid !== undefined) await chown(config, uid, uid);
  }

  private async ownFolder(path: string, uid: number | undefined): Promise<void> {
    await mkdir(path, { mode: 0o700 });
    if (uid !== undefined) await chown(path, uid, uid);
  }

  private newUid = async (): Promise<number | undefined> =>
    this.host.root ? await nextUid(this.home) : undefined;

  private place(
    uid: number | undefined,
    binds: readonly Bind[],
    rest: Omit<Place['view'], 'binds'>,
    limits: Limits,
  ): Place {
    // bubblewrap never runs as root.
    if (this.host.root && uid === undefined) throw new Error('the workstation has no user id');
    const others = binds.map(({ from }) => from).filter((from) => !from.startsWith(`${this.home}/`));
    return {
      view: { ...rest, binds: [...etcOf(this.home), ...binds] },
      limits,
      uid,
      hidden: hiddenOf(this.host, [this.home, ...others]),
      marker: '',
    };
  }

  /** With the given folders and the system, and nothing else. */
  private bare(dir: string, uid: number | undefined, binds: readonly Bind[], limits: Limits): Place {
    const view = {
      env: { PATH: INSIDE_PATH, HOME: INSIDE.tmp },
      chdir: INSIDE.clone,
      network: 'none',
      temporary: GIT_TEMPORARY,
    } as const;
    const clone = { from: join(dir, 'clone'), to: INSIDE.clone, writable: true };
    return { ...this.place(uid, [clone, ...binds], view, limits), marker: dir };
  }

  private gitPlace(dir: string, uid: number | undefined, mirror: Mirror): Place {
    const binds: Bind[] = [
      { from: join(dir, 'clone'), to: INSIDE.clone, writable: true },
      { from: Shelf.of(mirror, this.home).dir, to: ORIGIN },
    ];
    const view = {
      env: { PATH: INSIDE_PATH, HOME: INSIDE.tmp, ...GIT_INSIDE },
      chdir: INSIDE.clone,
      network: 'none',
      temporary: GIT_TEMPORARY,
    } as const;
    return { ...this.place(uid, binds, view, GIT_LIMITS), marker: dir };
  }

  private agentPlace(
    dir: string,
    uid: number | undefined,
    mirror: Mirror,
    rules: StationRules,
    env: Record<string, string>,
    more: readonly Bind[],
  ): Place {
    const binds: Bind[] = [
      ...more,
      { from: join(dir, 'secrets'), to: SECRETS, optional: true },
      { from: join(dir, 'clone'), to: INSIDE.clone, writable: !rules.readOnly },
      { from: join(dir, 'home'), to: INSIDE.home, writable: true },
      { from: join(dir, 'result'), to: INSIDE.result, writable: true },
      { from: join(dir, 'requests'), to: INSIDE.requests, writable: true },
      { from: join(dir, 'answers'), to: INSIDE.answers },
      { from: join(dir, 'shared'), to: INSIDE.shared },
      { from: join(dir, 'prompt.md'), to: INSIDE.prompt },
      { from: join(dir, 'handoff.md'), to: INSIDE.handOff, optional: true },
      { from: Shelf.of(mirror, this.home).dir, to: ORIGIN },
      ...tools(this.home),
      ...[...rules.sees, ...certificates()].map((path) => ({ from: path, to: path })),
    ];
    const view = {
      env,
      chdir: INSIDE.clone,
      network: rules.network === 'host' ? 'host' : 'none',
      temporary: rules.temporary,
    } as const;
    const limits: Limits = {
      processes: rules.processes,
      openFiles: OPEN_FILES,
      fileSize: rules.disk,
      ...(rules.memory === undefined ? {} : { memory: rules.memory }),
    };
    const seen = rules.preparing ? binds.filter(({ to }) => !OF_THE_TASK.has(to)) : binds;
    return { ...this.place(uid, seen, view, limits), marker: dir };
  }
}

const OF_THE_TASK: ReadonlySet<string> = new Set([
  ...[SECRETS, INSIDE.result, INSIDE.requests, INSIDE.answers, INSIDE.shared, INSIDE.prompt],
]);

/** The keys of a network are secrets. */
const setupRules = ({ network, ...rules }: StationRules): StationRules => ({
  ...rules,
  network: typeof network === 'string' ? network : { ...network, keys: [] },
  readOnly: false,
  preparing: true,
});

/** What would run programs of the agent's, or go on in the background. */
const QUIET = ['core.hooksPath=/dev/null', 'core.fsmonitor=false', 'gc.auto=0'].flatMap((one) => ['-c', one]);

/** Git in a sandbox: nobody's configuration but the clone's own, which is the agent's. */
const GIT_INSIDE = {
  ...GIT_ENVIRONMENT,
  GIT_ALLOW_PROTOCOL: 'file',
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'safe.directory',
  GIT_CONFIG_VALUE_0: '*',
  GIT_PROTOCOL: 'version=2',
};

/** What an earlier attempt made, as a thin pack on top of the branch. */
const packOf = (mirror: Mirror, base: string, start: string): Promise<Buffer> =>
  mirror.run(['pack-objects', '--quiet', '--revs', '--thin', '--stdout'], { input: `${start}\n^${base}\n` });
