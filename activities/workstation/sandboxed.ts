// A workstation that is a sandbox: the agent sees a read-only system, its own clone, HOME and folders, and nothing else of
// the host. Git never runs outside on a clone that an agent could write: making the clone, committing what was left in
// it and handing out its commits all happen in sandboxes that see only that clone and the branch's history.

import { createHash } from 'node:crypto';
import { existsSync, realpathSync } from 'node:fs';
import { chown, mkdir, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GIT_ENVIRONMENT } from '../../src/client/git.js';
import type { AgentKind } from '../../src/domain/config.js';
import type { Mirror } from '../mirror.js';
import { removeEmptyCgroups } from '../sandbox/cgroup.js';
import { INSIDE_PATH, isOpen, type SandboxHost, uidOf } from '../sandbox/host.js';
import { argumentsFile, execSandboxed, type Place, runSandboxed, scriptOf } from '../sandbox/run.js';
import { type Bind, hiddenOf, type Limits, SYSTEM_BINDS } from '../sandbox/view.js';
import { writeSecretFiles } from '../secrets.js';
import { Shelf } from '../shelf.js';
import { type Clone, hashed } from './leftovers.js';
import { openNetwork, PROXY_PORT } from './network.js';
import { cloneConfig } from './plain.js';
import type {
  AgentProcess,
  SecretFile,
  StationEnd,
  StationOptions,
  StationPaths,
  Workstation,
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
};

/** The folders of a workstation, as its agent sees them. */
const INSIDE: Omit<StationPaths, 'path'> = {
  clone: '/w/repo',
  home: '/w/home',
  tmp: '/tmp',
  prompt: '/w/prompt.md',
  report: '/w/result/report.md',
  result: '/w/result',
  requests: '/w/requests',
  answers: '/w/answers',
};
const ORIGIN = '/w/origin';
const TOOLS = '/signalbox';
const SECRETS = '/w/secrets';
const SOCKET = '/w/proxy.sock';
const FORWARDER = [`${TOOLS}/node`, `${TOOLS}/dist/activities/egress/forwarder.js`];

/** What git on a clone of an agent's may take at most. */
const GIT_MS = 10 * 60_000;
const GIT_BYTES = 64 * 1024 * 1024;
const GIT_LIMITS: Limits = { processes: 256, openFiles: 4_096 };
const OPEN_FILES = 8_192;
const GIT_TEMPORARY = 64 * 1024 * 1024;

export class Sandboxes {
  private prepared: Promise<void> | undefined;

  constructor(
    readonly host: SandboxHost,
    /** Signalbox's folder on this host. */
    private readonly home: string,
  ) {}

  async make(dir: string, rules: StationRules, options: StationOptions): Promise<Workstation> {
    const { task, mirror, base, start, checkout, prompt, agent } = options;
    const closed = rules.sees.find((path) => !isOpen(path));
    if (closed !== undefined)
      throw new Error(
        `agents have a user id of their own, which may not read ${closed}, named in \`sees\`: chmod -R o+rX it`,
      );
    this.prepared ??= prepare(this.home);
    const shelf = Shelf.of(mirror, this.home);
    await Promise.all([this.prepared, shelf.hold(base), this.folders(dir, task)]);
    await writeFile(join(dir, 'prompt.md'), prompt, { mode: 0o644 });
    const place = this.gitPlace(dir, task, mirror);
    const pack = start === base ? undefined : await packOf(mirror, base, start);
    const env = {
      ...place.view.env,
      BRANCH: mirror.branch,
      BASE: base,
      START: start,
      FORMAT: base.length === 64 ? 'sha256' : 'sha1',
      CONFIG: `${cloneConfig(agent)}[remote "origin"]\n\turl = ${ORIGIN}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n`,
      HOME_CONFIG: `[safe]\n\tdirectory = ${ORIGIN}\n`,
      ...(pack ? { PACK: '1' } : {}),
      ...(checkout ? { CHECKOUT: '1' } : {}),
    };
    const made = { ...place, view: { ...place.view, env } };
    const execution = { timeoutMs: GIT_MS, most: GIT_BYTES, ...(pack ? { input: pack } : {}) };
    const status = await execSandboxed(this.host, made, ['/bin/sh', '-ec', MAKE], execution);
    const clone = this.open(dir, task, mirror);
    return {
      ...clone,
      dir,
      paths: { ...INSIDE, path: pathInside(rules.sees) },
      untouched: await hashed(clone, status),
      isolation: {
        kind: 'sandbox',
        by: `bubblewrap ${this.host.version}`,
        limits: this.host.cgroup ? `control groups, version ${this.host.cgroup.version}` : 'for each process',
        network: rules.network === 'none' || rules.network === 'host' ? rules.network : 'allow',
      },
      desk: { requests: join(dir, 'requests'), answers: join(dir, 'answers') },
      resultDir: join(dir, 'result'),
      keepSecrets: (files) => this.keepSecrets(dir, task, files),
      run: (agent) => this.run(dir, rules, options, agent),
    };
  }

  private async keepSecrets(dir: string, task: string, files: readonly SecretFile[]) {
    const folder = join(dir, 'secrets');
    const variables = await writeSecretFiles(folder, [...files], SECRETS);
    const uid = this.uid(task);
    if (uid !== undefined && files.length > 0)
      for (const path of [folder, ...files.map(({ name }) => join(folder, name))])
        await chown(path, uid, uid);
    return variables;
  }

  private async run(
    dir: string,
    rules: StationRules,
    { task, mirror }: StationOptions,
    { command, env, keys, log, ...rest }: AgentProcess,
  ): Promise<StationEnd> {
    const network = await openNetwork(rules, this.uid(task), keys, log);
    try {
      const binds = network ? [{ from: network.socket, to: SOCKET }] : [];
      const argv = typeof command === 'string' ? ['/bin/sh', '-c', command] : command;
      const end = await runSandboxed(this.host, {
        ...this.agentPlace(dir, task, mirror, rules, { ...env, ...network?.env }, binds),
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

  /** Once no agent runs any more. */
  close(): void {
    if (this.host.cgroup) removeEmptyCgroups(this.host.cgroup);
  }

  /** The clone in a workstation that somebody else has made. */
  open(dir: string, task: string, mirror: Mirror): Clone & Pick<Workstation, 'bring'> {
    const place = this.gitPlace(dir, task, mirror);
    const run = (command: readonly string[], input?: Buffer, also?: readonly number[]) =>
      execSandboxed(this.host, place, command, {
        timeoutMs: GIT_MS,
        most: GIT_BYTES,
        ...(input ? { input } : {}),
        ...(also ? { also } : {}),
      });
    return {
      git: (args, input) => run(['git', '-c', 'core.hooksPath=/dev/null', '-c', 'gc.auto=0', ...args], input),
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
        const files = { args: join(dir, 'upload-pack.args'), script: join(dir, 'upload-pack.sh') };
        const upload = ['timeout', '-k', '5', String(GIT_MS / 1_000), 'git', 'upload-pack', INSIDE.clone];
        await writeFile(files.args, argumentsFile(place), { mode: 0o600 });
        await writeFile(files.script, scriptOf(this.host, place, upload, files.args), { mode: 0o700 });
        await into.run(
          [
            ...['-c', 'fetch.fsckObjects=true'],
            ...['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--no-auto-gc'],
            `--upload-pack=sh '${files.script.replaceAll("'", "'\\''")}'; :`,
            ...['--end-of-options', join(dir, 'clone'), `+${commit}:${ref}`],
          ],
          { env: { GIT_ALLOW_PROTOCOL: 'file' } },
        );
      },
    };
  }

  /** The station's own folder is ours; what is in it is the agent's. */
  private async folders(dir: string, task: string): Promise<void> {
    await mkdir(dir, { recursive: true, mode: 0o711 });
    const uid = this.uid(task);
    for (const name of ['clone', 'home', 'result', 'requests']) {
      await mkdir(join(dir, name), { mode: 0o700 });
      if (uid !== undefined) await chown(join(dir, name), uid, uid);
    }
    await mkdir(join(dir, 'answers'), { mode: 0o755 });
  }

  private uid = (task: string): number | undefined => (this.host.root ? uidOf(task) : undefined);

  private place(
    task: string,
    binds: readonly Bind[],
    rest: Omit<Place['view'], 'binds'>,
    limits: Limits,
  ): Place {
    const others = binds.map(({ from }) => from).filter((from) => !from.startsWith(`${this.home}/`));
    return {
      view: { ...rest, binds: [...etcOf(this.home), ...binds] },
      limits,
      uid: this.uid(task),
      hidden: hiddenOf(this.host, [this.home, ...others]),
      marker: '',
    };
  }

  private gitPlace(dir: string, task: string, mirror: Mirror): Place {
    const binds: Bind[] = [
      { from: join(dir, 'clone'), to: INSIDE.clone, writable: true },
      { from: join(dir, 'home'), to: INSIDE.home, writable: true },
      { from: Shelf.of(mirror, this.home).dir, to: ORIGIN },
    ];
    const view = {
      env: { PATH: INSIDE_PATH, HOME: INSIDE.tmp, ...GIT_INSIDE },
      chdir: INSIDE.clone,
      network: 'none',
      temporary: GIT_TEMPORARY,
    } as const;
    return { ...this.place(task, binds, view, GIT_LIMITS), marker: dir };
  }

  private agentPlace(
    dir: string,
    task: string,
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
      { from: join(dir, 'prompt.md'), to: INSIDE.prompt },
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
    return { ...this.place(task, binds, view, limits), marker: dir };
  }
}

/** Of the worker's PATH what is there inside, and what a system has. */
function pathInside(sees: readonly string[]): string {
  const inside = [...SYSTEM_BINDS.map(({ to }) => to), ...sees];
  const ours = (process.env.PATH ?? '')
    .split(':')
    .filter((folder) => inside.some((path) => folder === path || folder.startsWith(`${path}/`)));
  return [...new Set([`${TOOLS}/bin`, ...ours, ...INSIDE_PATH.split(':')])].join(':');
}

/** Certificates that the operator's own variables name, see allowedEnv. */
const certificates = (): string[] =>
  ['SSL_CERT_FILE', 'SSL_CERT_DIR', 'NODE_EXTRA_CA_CERTS'].flatMap((name) => {
    const path = process.env[name] ?? '';
    return isAbsolute(path) && existsSync(path) ? [path] : [];
  });

/** Git in a sandbox: nobody's configuration but the clone's own, which is the agent's. */
const GIT_INSIDE = {
  ...GIT_ENVIRONMENT,
  GIT_ALLOW_PROTOCOL: 'file',
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'safe.directory',
  GIT_CONFIG_VALUE_0: '*',
  GIT_PROTOCOL: 'version=2',
};

/** Makes the clone; prints what git takes for changed right after the checkout. */
const MAKE = `
git init --quiet --template= --object-format="$FORMAT" -b "$BRANCH" .
mkdir -p .git/objects/info .git/info
printf '%s\\n' ${ORIGIN}/objects > .git/objects/info/alternates
printf '%s' "$CONFIG" >> .git/config
printf '%s' "$HOME_CONFIG" > ${INSIDE.home}/.gitconfig
if [ -n "$PACK" ]; then git index-pack --stdin --fix-thin > /dev/null; fi
git update-ref "refs/remotes/origin/$BRANCH" "$BASE"
git update-ref HEAD "$START"
if [ -n "$CHECKOUT" ]; then
  git reset --quiet --hard
  exec git status --porcelain=v1 -z --untracked-files=all --no-renames
fi
`;

/** What an earlier attempt made, as a thin pack on top of the branch. */
const packOf = (mirror: Mirror, base: string, start: string): Promise<Buffer> =>
  mirror.run(['pack-objects', '--quiet', '--revs', '--thin', '--stdout'], { input: `${start}\n^${base}\n` });

/** Accounts and names as they are inside; whatever the host has there is nobody's business. */
const ETC: Readonly<Record<string, string>> = {
  passwd: `root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000:agent:${INSIDE.home}:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n`,
  group: 'root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n',
  hosts: '127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 workstation\n',
  hostname: 'workstation\n',
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
};

const etcDir = (home: string): string => join(home, 'inside');

const etcOf = (home: string): Bind[] =>
  Object.keys(ETC).map((name) => ({ from: join(etcDir(home), name), to: `/etc/${name}` }));

async function prepare(home: string): Promise<void> {
  await mkdir(join(etcDir(home), 'bin'), { recursive: true, mode: 0o755 });
  for (const [name, text] of Object.entries(ETC))
    await writeFile(join(etcDir(home), name), text, { mode: 0o644 });
  const script = `#!/bin/sh\nexec ${TOOLS}/node ${TOOLS}/dist/src/cli/main.js "$@"\n`;
  await writeFile(join(etcDir(home), 'bin', 'signalbox'), script, { mode: 0o755 });
}

/** Where this package is, built or not. */
function packageRoot(): string {
  let at = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(at, 'package.json'))) at = dirname(at);
  return at;
}

/** `signalbox` for agents: the very version that runs the worker, read-only. */
function tools(home: string): Bind[] {
  const root = packageRoot();
  const modules = [join(root, 'node_modules'), dirname(root)].find(
    (path) => path.endsWith('node_modules') && existsSync(path),
  );
  return [
    { from: join(etcDir(home), 'bin'), to: `${TOOLS}/bin` },
    { from: process.execPath, to: `${TOOLS}/node` },
    { from: join(root, 'dist'), to: `${TOOLS}/dist` },
    { from: join(root, 'package.json'), to: `${TOOLS}/package.json` },
    ...(modules ? [{ from: realpathSync(modules), to: `${TOOLS}/node_modules` }] : []),
  ];
}
