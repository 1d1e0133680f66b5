// The command line as a user has it: processes of their own on a real fleet; what they print, and how they end.

import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { CommanderError } from 'commander';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { stringify } from 'yaml';
import { program } from '../src/cli/main.js';
import { readFleet } from '../src/client/config.js';
import { NoWorker } from '../src/client/refused.js';
import type { Overview, Story, TaskLine } from '../src/domain/views.js';
import { edit, MAIN, TestFleet } from './support/fleet.js';

const role = 'main';
const tmp = mkdtempSync(join(tmpdir(), 'signalbox-test-cli-'));
const running = new Set<Cli>();

afterAll(async () => {
  for (const cli of running) {
    cli.child.kill('SIGKILL');
    await cli.ended;
  }
  rmSync(tmp, { recursive: true, force: true });
});

interface Where {
  cwd?: string;
  env?: Record<string, string>;
}

/** No server, no configuration of this host's user; commits are a person's. */
function environment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^(TEMPORAL|GIT)_/.test(name));
  return {
    ...Object.fromEntries(own),
    XDG_CONFIG_HOME: join(tmp, 'config'),
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CEILING_DIRECTORIES: tmpdir(),
    ...extra,
  };
}

/** A command that runs. */
class Cli {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  out = '';
  err = '';

  constructor(args: string[], { cwd = tmp, env }: Where = {}) {
    // A process group of its own, as a shell gives to every command.
    this.child = spawn(process.execPath, [MAIN, ...args], {
      cwd,
      env: environment(env),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.out += chunk;
    });
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.err += chunk;
    });
    running.add(this);
    this.ended = new Promise((resolve) =>
      this.child.once('close', (code) => {
        running.delete(this);
        resolve(code);
      }),
    );
  }

  async shows(text: string | RegExp): Promise<void> {
    await until(`${text} in ${this.child.spawnargs.slice(2).join(' ')}`, () => {
      const said = this.out + this.err;
      if (typeof text === 'string' ? said.includes(text) : text.test(said)) return true;
      if (this.child.exitCode !== null)
        throw new Error(`ended (${this.child.exitCode}) without ${text}: ${said}`);
      return false;
    });
  }

  /** Ctrl-C in a terminal: every process of the group gets it. */
  interrupt(): void {
    process.kill(-(this.child.pid ?? 0), 'SIGINT');
  }
}

interface Result {
  code: number | null;
  out: string;
  err: string;
}

async function run(args: string[], where?: Where): Promise<Result> {
  const cli = new Cli(args, where);
  return { code: await cli.ended, out: cli.out, err: cli.err };
}

async function until(what: string, look: () => Promise<unknown> | unknown, ms = 60_000): Promise<void> {
  for (const end = Date.now() + ms; !(await look()); ) {
    if (Date.now() > end) throw new Error(`still waiting for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

const json = <T>({ out }: Result): T => JSON.parse(out) as T;

/** The commands of a fleet, from its folder. */
const at =
  (fleet: TestFleet) =>
  (...args: string[]): Promise<Result> =>
    run(args, { cwd: fleet.dir, env: { TEMPORAL_ADDRESS: fleet.address } });

function write(folder: string, name: string, content: string | object): string {
  writeFileSync(join(folder, name), typeof content === 'string' ? content : stringify(content));
  return name;
}

/** A script that makes `<name>.runs` outside its clone and waits for `<name>.go`. */
const gate = (folder: string, name: string) =>
  `touch '${folder}/${name}.runs'; while [ ! -e '${folder}/${name}.go' ]; do sleep 0.05; done`;

/** Live processes that have to do with the folder. */
const processesOf = (folder: string): string[] =>
  readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .flatMap((pid) => {
      try {
        const about = ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'utf8'));
        const touches = [...about, readlinkSync(`/proc/${pid}/cwd`)].some((text) => text.includes(folder));
        return touches ? [`${pid} ${about[0]?.replaceAll('\0', ' ')}`] : [];
      } catch {
        return [];
      }
    });

describe.concurrent('help and usage', () => {
  it('of every command says what it does, gives an example and the exit codes', async () => {
    for (const { name } of program().commands.map((command) => ({ name: command.name() }))) {
      const all = program();
      let text = '';
      for (const command of [all, ...all.commands])
        command.configureOutput({
          writeOut: (chunk) => {
            text += chunk;
          },
        });
      await expect(all.parseAsync(['node', 'signalbox', name, '--help'])).rejects.toThrow(CommanderError);
      expect(text, name).toContain(`Usage: signalbox ${name}`);
      expect(text, name).toMatch(/\nExamples?:\n {2}(.* && |TEMPORAL_ADDRESS=\S+ )?signalbox /);
      expect(text, name).toMatch(/\nExit codes:\n {2}0 .*\n {2}1 .*\n {2}2 .*\n {2}3 .*\n {2}4 /);
      expect(text, name).toContain('--json');
    }
  });

  it('goes to stdout when asked for, and may be cut off by its reader', async () => {
    const help = await run(['submit', '--help']);
    expect(help).toMatchObject({ code: 0, err: '' });
    expect(help.out).toContain('Usage: signalbox submit');
    const version = await run(['--version']);
    expect(version).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
    const pipe = spawn(
      'sh',
      ['-c', '{ "$0" "$1" --help; echo "exit $?" >&2; } | true', process.execPath, MAIN],
      {
        env: environment(),
      },
    );
    let said = '';
    pipe.stderr.on('data', (chunk: Buffer) => {
      said += chunk;
    });
    await new Promise((resolve) => pipe.once('close', resolve));
    expect(said).toBe('exit 0\n');
  });

  it('is 2 for wrong usage, on stderr, with what was meant', async () => {
    const [nothing, command, option, missing, file] = await Promise.all([
      run([]),
      run(['stauts']),
      run(['status', '--jsn']),
      run(['why']),
      run(['status', '--config', 'nowhere.yaml']),
    ]);
    expect(nothing).toMatchObject({ code: 2, out: '', err: expect.stringContaining('Usage: signalbox') });
    expect(command).toMatchObject({ code: 2, out: '' });
    expect(command.err).toContain("unknown command 'stauts'\n(Did you mean status?)");
    expect(option).toMatchObject({ code: 2, err: expect.stringContaining("unknown option '--jsn'") });
    expect(missing).toMatchObject({
      code: 2,
      err: expect.stringContaining("missing required argument 'task'"),
    });
    expect(file).toMatchObject({ code: 2, err: expect.stringContaining('there is no such file') });
  });

  it('says what to do where there is no fleet and where its file is wrong', async () => {
    const empty = mkdtempSync(join(tmp, 'no-fleet-'));
    const none = await run(['status'], { cwd: empty });
    expect(none).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('`signalbox init` writes one'),
    });
    write(
      empty,
      'signalbox.yaml',
      'fleet: f\nrepositories: {app: {url: .}}\nrolls: {}\nagents: {a: {comand: x}}\n',
    );
    const wrong = await run(['status', '--json'], { cwd: empty });
    expect(wrong.code).toBe(2);
    expect(wrong.err).toMatch(/signalbox\.yaml:3:1: rolls: unknown key "rolls"; did you mean "roles"\?/);
    expect(wrong.err).toMatch(
      /signalbox\.yaml:4:14: agents\.a\.comand: unknown key "comand"; did you mean "command"\?/,
    );
    expect(json(wrong)).toEqual({ error: expect.stringContaining('unknown key "rolls"'), exitCode: 2 });
  });
});

describe.concurrent('schema', () => {
  it('prints three JSON Schemas that a validator accepts and that judge as Signalbox does', async () => {
    const [config, plan, task, unknown] = await Promise.all(
      ['config', 'plan', 'task', 'constructor'].map((what) => run(['schema', what])),
    );
    for (const result of [config, plan, task]) expect(result).toMatchObject({ code: 0, err: '' });
    expect(unknown).toMatchObject({ code: 2, err: expect.stringContaining('there are config, plan, task') });
    const judge = (result: Result | undefined) =>
      new Ajv2020({ strict: false, validateFormats: false }).compile(JSON.parse(result?.out ?? ''));
    const fleet = { fleet: 'f', repositories: { app: { url: '.' } }, agents: { a: { command: 'x' } } };
    expect(judge(config)(fleet)).toBe(true);
    expect(judge(config)({ ...fleet, rolls: {} })).toBe(false);
    expect(
      judge(plan)({ tasks: [{ id: 'a', prompt: 'x', after: ['b', { task: 'c', until: 'landed' }] }] }),
    ).toBe(true);
    expect(judge(plan)({ tasks: [] })).toBe(false);
    expect(judge(task)({ id: 'a', prompt: 'x', timeout: '5m' })).toBe(true);
    expect(judge(task)({ id: 'a', prompt: 'x', timeout: 'soon' })).toBe(false);
  });
});

/** A repository of a person's own. */
async function repository(name: string, remote?: string): Promise<string> {
  const folder = join(mkdtempSync(join(tmp, 'repo-')), name);
  mkdirSync(folder);
  await sh(folder, `git init -q -b trunk . ${remote ? `&& git remote add origin '${remote}'` : ''}`);
  return folder;
}

async function sh(cwd: string, script: string): Promise<void> {
  const child = spawn('sh', ['-ec', script], {
    cwd,
    env: environment(),
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  expect(code, script).toBe(0);
}

describe.concurrent('init', () => {
  it('writes a commented file for a repository with a remote, once', async () => {
    const url = 'https://example.com/shop.git';
    const folder = await repository('my shop', url);
    write(folder, '.gitignore', 'node_modules');
    mkdirSync(join(folder, 'deep'));
    const first = await run(['init'], { cwd: join(folder, 'deep') });
    expect(first).toMatchObject({ code: 0, err: '' });
    expect(first.out).toContain(
      `wrote ${join(folder, 'signalbox.yaml')}\n  repository  ${url}\n  branch      trunk\n`,
    );
    expect(first.out).toContain('Next: name your agent in it, then `signalbox up`.');
    const text = readFileSync(join(folder, 'signalbox.yaml'), 'utf8');
    expect(text.split('\n').filter((line) => line.includes('#')).length).toBeGreaterThan(20);
    const { config } = await readFleet(join(folder, 'signalbox.yaml'));
    expect(config).toMatchObject({
      fleet: 'my-shop',
      repositories: { app: { url, branch: 'trunk' } },
      roles: { main: { resources: ['branch:app'] } },
    });
    expect(readFileSync(join(folder, '.gitignore'), 'utf8')).toBe('node_modules\n.signalbox/\n');
    write(folder, 'signalbox.yaml', `${text}# mine\n`);
    const second = await run(['init', '--json'], { cwd: folder });
    expect(second).toMatchObject({ code: 3, err: expect.stringContaining('overwrite it with --force') });
    expect(json(second)).toMatchObject({ exitCode: 3 });
    expect(readFileSync(join(folder, 'signalbox.yaml'), 'utf8')).toContain('# mine');
    const forced = await run(['init', '--force', '--json'], { cwd: folder });
    expect(forced).toMatchObject({ code: 0, err: '' });
    expect(json(forced)).toEqual({
      file: join(folder, 'signalbox.yaml'),
      url,
      branch: 'trunk',
      remote: true,
      credentialsLeftOut: false,
    });
    expect(readFileSync(join(folder, 'signalbox.yaml'), 'utf8')).toBe(text);
    expect(readFileSync(join(folder, '.gitignore'), 'utf8')).toBe('node_modules\n.signalbox/\n');
  });

  it('says what it takes when there is no remote, whatever the folder is called', async () => {
    for (const name of ['2024', `${'long'.repeat(30)}.d`]) {
      const folder = await repository(name);
      const result = await run(['init'], { cwd: folder });
      expect(result).toMatchObject({
        code: 0,
        out: expect.stringContaining('this repository has no remote'),
      });
      const { config } = await readFleet(join(folder, 'signalbox.yaml'));
      expect(config.repositories.app?.url).toBe(folder);
      expect(name.startsWith(config.fleet)).toBe(true);
    }
  });

  it('copies no secret from the URL of the remote', async () => {
    const remotes = [
      ['https://ann:s3cret@example.com/shop.git', 'https://example.com/shop.git'],
      ['https://s3cret@example.com:8443/shop.git', 'https://example.com:8443/shop.git'],
      ['https://ann:s3cret@hunter2@example.com/a@b.git', 'https://example.com/a@b.git'],
      ['ssh://git:s3cret@example.com/shop.git', 'ssh://git@example.com/shop.git'],
    ];
    for (const [index, [remote, url]] of remotes.entries()) {
      const folder = await repository('shop', remote);
      const result = await run(index === 0 ? ['init'] : ['init', '--json'], { cwd: folder });
      expect(result).toMatchObject({ code: 0, err: '' });
      if (index > 0) expect(json(result)).toMatchObject({ url, credentialsLeftOut: true });
      else expect(result.out).toContain(`${url}\n  without the credentials that the remote's URL holds`);
      const { config } = await readFleet(join(folder, 'signalbox.yaml'));
      expect(config.repositories.app?.url).toBe(url);
      expect(result.out + readFileSync(join(folder, 'signalbox.yaml'), 'utf8')).not.toMatch(/s3cret|hunter2/);
    }
    for (const remote of ['git@example.com:shop.git', 'ssh://git@example.com/shop.git']) {
      const result = await run(['init', '--json'], { cwd: await repository('shop', remote) });
      expect(json(result)).toMatchObject({ url: remote, credentialsLeftOut: false });
    }
  });

  it('refuses a folder that is in no repository', async () => {
    const result = await run(['init'], { cwd: mkdtempSync(join(tmp, 'plain-')) });
    expect(result).toMatchObject({
      code: 3,
      out: '',
      err: expect.stringContaining('not in a git repository'),
    });
  });
});

describe.concurrent('without a server', () => {
  it('is 4, with what to do', async () => {
    const folder = mkdtempSync(join(tmp, 'serverless-'));
    write(folder, 'signalbox.yaml', 'fleet: f\nrepositories: {app: {url: .}}\nagents: {a: {command: x}}\n');
    write(folder, 'task.yaml', { id: 'a', prompt: 'x' });
    const unknown = 'no Temporal server is known: start one with `signalbox up`, or set TEMPORAL_ADDRESS';
    const results = await Promise.all([
      run(['worker'], { cwd: folder }),
      run(['submit', 'task.yaml'], { cwd: folder }),
      run(['claims', '--json'], { cwd: folder }),
      run(['worker'], { cwd: folder, env: { TEMPORAL_ADDRESS: '127.0.0.1:1' } }),
    ]);
    for (const result of results) expect(result.code).toBe(4);
    for (const { err } of results.slice(0, 3)) expect(err).toBe(`signalbox: ${unknown}\n`);
    expect(JSON.parse(results[2]?.out ?? '')).toEqual({ error: unknown, exitCode: 4 });
    expect(results[3]?.err).toContain('127.0.0.1:1 (from TEMPORAL_ADDRESS) does not answer');
  });

  it('is 4 where the namespace is unknown or the note of `up` is damaged, 2 for a damaged profile', async () => {
    const folder = mkdtempSync(join(tmp, 'damaged-'));
    write(folder, 'signalbox.yaml', 'fleet: f\nrepositories: {app: {url: .}}\nagents: {a: {command: x}}\n');
    mkdirSync(join(folder, '.signalbox'));
    const note = join(folder, '.signalbox', 'server.json');
    write(folder, '.signalbox/server.json', '{"address": "local", "namespace": 5, "pid": 1}');
    write(folder, 'temporal.toml', '[profile.default');
    const address = inject('temporal');
    const [status, worker, up, namespace, profile] = await Promise.all([
      run(['status', '--json'], { cwd: folder }),
      run(['worker'], { cwd: folder }),
      run(['up'], { cwd: folder }),
      run(['status'], { cwd: folder, env: { TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: 'shp' } }),
      run(['status'], { cwd: folder, env: { TEMPORAL_CONFIG_FILE: join(folder, 'temporal.toml') } }),
    ]);
    for (const result of [status, worker, up])
      expect(result).toMatchObject({ code: 4, err: expect.stringContaining(`${note} cannot be accepted`) });
    expect(json(status)).toMatchObject({ exitCode: 4 });
    for (const part of [
      'server.json:1:13: address: expected host:port (found "local")',
      'server.json:1:35: namespace: expected string, found a number (found 5)',
      'delete the file, and start `signalbox up` again; or set TEMPORAL_ADDRESS',
    ])
      expect(status.err).toContain(part);
    expect(namespace).toMatchObject({ code: 4, out: '' });
    expect(namespace.err).toContain(
      `the Temporal server at ${address} (from TEMPORAL_ADDRESS) has no namespace "shp"; there are: default.`,
    );
    expect(namespace.err).toContain('temporal operator namespace create --namespace shp');
    expect(profile).toMatchObject({ code: 2, out: '' });
    expect(profile.err).toContain(`${join(folder, 'temporal.toml')} cannot be accepted: 1 problem\n`);
    write(folder, '.signalbox/server.json', '{"address": "127.0.0.1:');
    const torn = await run(['status'], { cwd: folder });
    expect(torn).toMatchObject({ code: 4, err: expect.stringContaining('server.json:1:') });
    expect(torn.err).toContain('delete the file');
  });
});

describe.concurrent('up', () => {
  it('runs everything; Ctrl-C leaves nothing running and loses nothing', async () => {
    const home = mkdtempSync(join(tmp, 'up-'));
    await sh(home, 'git init -q --bare -b trunk origin.git');
    const folder = join(home, 'shop');
    const person = 'git -c user.name=P -c user.email=p@example.com';
    await sh(
      home,
      `git clone -q origin.git shop 2>/dev/null; cd shop; git checkout -q -B trunk; ${person} commit -q --allow-empty -m seed; git push -q origin trunk`,
    );
    expect(await run(['init'], { cwd: folder })).toMatchObject({ code: 0 });
    // Its agents are looked at through files of the host.
    const config = join(folder, 'signalbox.yaml');
    writeFileSync(
      config,
      readFileSync(config, 'utf8').replace('    timeout: 2h', '    isolation: none\n    timeout: 2h'),
    );
    write(folder, 'hello.yaml', {
      id: 'hello',
      prompt: edit('hello.txt', 'hello'),
      role,
      writes: ['hello.txt'],
    });
    write(folder, 'long.yaml', {
      id: 'long',
      prompt: `${gate(home, 'long')}\n${edit('long.txt', 'long')}`,
      role,
      writes: ['long.txt'],
    });

    const up = new Cli(['up'], { cwd: folder });
    await up.shows('In another terminal: signalbox submit');
    expect(up.out).toMatch(
      /^fleet shop is up\n {2}Temporal {2}127\.0\.0\.1:\d+ \(started here, database on disk\)\n {2}Web UI {4}http:\S+\n {2}worker {4}\d+, its log in /,
    );
    const [landed, second, port] = await Promise.all([
      run(['submit', 'hello.yaml', '--wait'], { cwd: folder }),
      run(['up'], { cwd: folder }),
      run(['up', '--port', '99999'], { cwd: folder, env: { SIGNALBOX_HOME: join(home, 'other') } }),
    ]);
    expect(landed, landed.err).toMatchObject({
      code: 0,
      out: expect.stringContaining('single/hello  landed'),
    });
    expect(second).toMatchObject({
      code: 3,
      err: expect.stringContaining(`is up already: process ${up.child.pid}`),
    });
    expect(port).toMatchObject({ code: 2, err: expect.stringContaining('--port 99999: expected a port') });
    const submitted = await run(['submit', 'long.yaml'], { cwd: folder });
    expect(submitted.out).toMatch(/^submitted 1 task: single\/long\nwatch at http:\/\/127\.0\.0\.1:\d+\n$/);
    await until('the agent', () => existsSync(join(home, 'long.runs')));
    up.interrupt();
    expect(await up.ended, up.err).toBe(0);
    expect(up.err).toContain('stopping: agents are ended and their tasks handed back');
    const log = readFileSync(join(folder, '.signalbox', 'worker.log'), 'utf8');
    expect(processesOf(home), log).toEqual([]);
    expect(existsSync(join(folder, '.signalbox', 'server.json'))).toBe(false);
    expect(await run(['status'], { cwd: folder })).toMatchObject({ code: 4 });

    const again = new Cli(['up', '--json'], { cwd: folder });
    await until('up again', () => again.out.includes('}\n'));
    expect(JSON.parse(again.out)).toEqual({
      fleet: 'shop',
      address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      uiUrl: expect.stringMatching(/^http:/),
      worker: expect.any(Number),
      pid: again.child.pid,
    });
    writeFileSync(join(home, 'long.go'), '');
    await until('the long task to land', async () =>
      (await run(['status', '--all'], { cwd: folder })).out.match(/single\/long +landed/),
    );
    const all = await run(['status', '--all', '--json'], { cwd: folder });
    expect(json<Overview>(all).tasks).toContainEqual(
      expect.objectContaining({ id: 'single/hello', status: 'COMPLETED', state: 'landed' }),
    );
    expect((await run(['why', 'hello'], { cwd: folder })).out).toMatch(/ends: as commit .* \[LANDED\]/);
    // Killed itself, it leaves nothing either.
    again.child.kill('SIGKILL');
    await again.ended;
    await until('nothing to be left', () => processesOf(home).length === 0);
    expect(await run(['up', '--port', '1x'], { cwd: folder })).toMatchObject({ code: 2 });
  });

  it('uses the server that is given', async () => {
    const fleet = await TestFleet.start({}, false);
    try {
      const up = new Cli(['up'], { cwd: fleet.dir, env: { TEMPORAL_ADDRESS: fleet.address } });
      await up.shows('Ctrl-C stops it');
      expect(up.out).toContain(
        `fleet ${fleet.name} is up\n  Temporal  ${fleet.address} (from TEMPORAL_ADDRESS)\n`,
      );
      expect(up.out).not.toContain('Web UI');
      expect(existsSync(join(fleet.dir, '.signalbox', 'server.json'))).toBe(false);
      expect(existsSync(join(fleet.dir, '.signalbox', 'temporal.db'))).toBe(false);
      expect(await at(fleet)('status')).toMatchObject({
        code: 0,
        err: '',
        out: expect.stringMatching(/^fleet \S+: 0 of at most 8 agents run.*\nno tasks\n$/),
      });
      up.child.kill('SIGTERM');
      expect(await up.ended).toBe(0);
      await until('nothing to be left', () => processesOf(fleet.dir).length === 0, 5_000);
    } finally {
      await fleet.stop();
    }
  });
});

describe.concurrent('a fleet whose worker comes late', () => {
  it('is told about from the list, and a submission that was killed half way leaves nothing', async () => {
    const fleet = await TestFleet.start({ config: { planTimeout: '10s', ceiling: 40 } }, false);
    try {
      const cli = at(fleet);
      const start = (...args: string[]) =>
        new Cli(args, { cwd: fleet.dir, env: { TEMPORAL_ADDRESS: fleet.address } });
      const [status, claims, why, claim, packet, resume] = await Promise.all([
        cli('status'),
        cli('claims', '--json'),
        cli('why', 'p/unknown'),
        cli('claim', 'docs'),
        cli('packet', 'p/unknown'),
        cli('resume', '--role', role),
      ]);
      const trouble = `no worker serves fleet ${fleet.name}: start one with \`signalbox up\` or \`signalbox worker\``;
      expect(status).toMatchObject({ code: 0, out: `${trouble}\nno tasks\n`, err: '' });
      expect(json(claims)).toEqual({ error: trouble, exitCode: 4 });
      for (const result of [claims, why, claim, resume])
        expect(result).toMatchObject({ code: 4, err: `signalbox: ${trouble}\n` });
      expect(packet).toMatchObject({
        code: 3,
        err: expect.stringContaining('no change packet of p/unknown'),
      });

      const size = 800;
      const tasks = Array.from({ length: size }, (_, i) => ({
        id: `t${i}`,
        prompt: `touch '${fleet.dir}/ran'`,
      }));
      write(fleet.dir, 'large.yaml', { tasks });
      write(fleet.dir, 'late.yaml', { id: 'late', prompt: 'true' });
      const late = start('submit', 'late.yaml', '--wait');
      const waits = `signalbox: no worker serves fleet ${fleet.name}; the tasks start, or go on, once one runs (\`signalbox up\` or \`signalbox worker\`)\n`;
      await late.shows(waits);
      const submit = start('submit', 'large.yaml');
      await until('the first task', () => fleet.signalbox.describe('large/t0'));
      submit.child.kill('SIGKILL');
      await submit.ended;
      const submitted = async () =>
        (await fleet.signalbox.list()).map(({ id }) => id).filter((id) => id.startsWith('large/'));
      const worker = start('worker', '--json');
      await until('the worker', () => worker.out.includes('}\n'));
      expect(JSON.parse(worker.out)).toEqual({
        ready: true,
        pid: worker.child.pid,
        fleet: fleet.name,
        address: fleet.address,
      });
      // The plan's time begins anew with each arrival, so that all have arrived when it is up.
      const started = await fleet.until('all that was submitted to arrive', async () => {
        const known = (await fleet.signalbox.overview()).tasks.filter(({ id }) => id.startsWith('large/'));
        const names = await submitted();
        return known.length === names.length && names;
      });
      expect(started.length).toBeGreaterThan(0);
      expect(started.length).toBeLessThan(size);
      const ended = [...(await fleet.signalbox.wait(started)).values()];
      expect(await submitted()).toHaveLength(started.length);
      expect(new Set(ended.map((line) => line.outcome?.code))).toEqual(new Set(['PLAN_NEVER_COMPLETED']));
      expect(existsSync(join(fleet.dir, 'ran'))).toBe(false);
      expect((await cli('status')).out).toMatch(
        new RegExp(
          `large/t0 +cancelled .*only ${started.length} of the plan's ${size} tasks arrived in time`,
        ),
      );
      expect(await late.ended).toBe(0);
      expect(late.err).toBe(`${waits}signalbox: a worker answers\n`);
      expect(late.out).toMatch(/\nsingle\/late +finished /);
      worker.child.kill('SIGTERM');
      expect(await worker.ended, worker.err).toBe(0);
      // Temporal lists the worker for minutes yet: its process is known to have ended.
      const stopped = Date.now();
      await expect(fleet.signalbox.overview()).rejects.toThrow(NoWorker);
      expect(Date.now() - stopped, 'two seconds and what a loaded machine adds').toBeLessThan(6_000);
      const [told, silence, gone] = await Promise.all([
        cli('why', 'large/t0'),
        cli('claims'),
        cli('log', 'large/t0', '-f'),
      ]);
      // The coordinator is silent; the packet is there.
      expect(told, told.err).toMatchObject({ code: 0, err: '' });
      expect(told.out).toMatch(
        /^large\/t0 cancelled: only .* \[PLAN_NEVER_COMPLETED\]\n\d{4}-\d\d-\d\d \S+ +#\d+ /,
      );
      expect(silence).toMatchObject({ code: 4, err: `signalbox: ${trouble}\n` });
      expect(gone).toMatchObject({ code: 0, out: '' });
    } finally {
      await fleet.stop();
    }
  });
});

describe.concurrent('a fleet', () => {
  let fleet: TestFleet;
  let cli: (...args: string[]) => Promise<Result>;
  const start = (args: string[]) =>
    new Cli(args, { cwd: fleet.dir, env: { TEMPORAL_ADDRESS: fleet.address } });
  const open = (name: string) => writeFileSync(join(fleet.dir, `${name}.go`), '');

  beforeAll(async () => {
    fleet = await TestFleet.start({
      config: { ceiling: 40, lease: '10m' },
      agents: { python: { command: ['python3', '-'] } },
    });
    // Two kinds of agent: tasks name theirs.
    cli = at(fleet);
  });
  afterAll(async () => {
    await fleet?.stop();
  });

  const agent = 'sh';

  it('lands a plan and finishes a task on its own, with --wait and --watch', async () => {
    write(fleet.dir, 'spring.yaml', {
      tasks: [
        { id: 'next', agent, prompt: edit('spring/b', 'b'), role, writes: ['spring/b'], after: ['first'] },
        { id: 'first', agent, prompt: edit('spring/a', 'a'), role, writes: ['spring/a'] },
      ],
    });
    write(fleet.dir, 'look.json', JSON.stringify({ id: 'look', agent, prompt: 'true' }));
    write(fleet.dir, 'fails.yaml', { id: 'fails', agent, prompt: 'echo "no way" >&2; exit 3' });
    const [watched, waited, failed] = await Promise.all([
      cli('submit', 'spring.yaml', '--watch'),
      cli('submit', 'look.json', '--wait', '--json'),
      cli('submit', 'fails.yaml', '--wait'),
    ]);
    expect(watched, watched.err).toMatchObject({ code: 0, err: '' });
    expect(watched.out).toMatch(
      /^ +\d+\.\ds {2}spring\/next {2}held: waits for spring\/first to have landed/m,
    );
    expect(watched.out).toMatch(/^ +\d+\.\ds {2}spring\/first {2}landed: .*[0-9a-f]{12}$/m);
    expect(watched.out).toMatch(
      /\nTASK +OUTCOME +WHY\nspring\/first +landed +.*[0-9a-f]{12}\nspring\/next +landed /,
    );
    expect(watched.out).not.toContain('\u001b');
    expect(waited.code).toBe(0);
    expect(json(waited)).toMatchObject({
      tasks: [{ id: 'single/look', phase: 'ended', outcome: { kind: 'finished', code: 'FINISHED' } }],
    });
    expect(failed).toMatchObject({ code: 1, err: '' });
    expect(failed.out).toMatch(/single\/fails +failed +the agent failed: .*no way/);
  });

  it('shows who holds what, who waits for whom, and the story of a task while and after it lives', async () => {
    write(fleet.dir, 'held.yaml', {
      tasks: [
        {
          id: 'one',
          agent,
          prompt: `echo begun\n${gate(fleet.dir, 'one')}\n${edit('held/a', '1')}`,
          role,
          writes: ['held'],
        },
      ],
    });
    const second = {
      id: 'two',
      title: 'The second',
      agent,
      prompt: edit('held/a', '2'),
      role,
      writes: ['held/a'],
    };
    write(fleet.dir, 'queue.yaml', { tasks: [second] });
    const submitted = await cli('submit', 'held.yaml', '--json');
    expect(submitted).toMatchObject({ code: 0, err: '' });
    expect(json(submitted)).toEqual({ submitted: ['held/one'] });
    await fleet.until('the agent', () => existsSync(join(fleet.dir, 'one.runs')));
    expect((await cli('submit', 'queue.yaml')).out).toBe('submitted 1 task: queue/two\n');
    await fleet.phase('queue/two', 'held');
    const follow = start(['log', 'held/one', '--follow']);
    const because = 'held/a overlaps held, held by held/one';
    const [status, why, story, claims, lines, log, files] = await Promise.all([
      cli('status'),
      cli('why', 'queue/two'),
      cli('why', 'held/one', '--json'),
      cli('claims'),
      cli('claims', '--json'),
      cli('log', 'held/one'),
      cli('log', 'held/one', '--json'),
    ]);
    for (const result of [status, why, story, claims, lines, log, files])
      expect(result).toMatchObject({ code: 0, err: '' });
    expect(status.out).toMatch(
      /^fleet \S+: \d+ of at most 40 agents run\n(role .*\n)*TASK +STATE +FOR +WHY\n/,
    );
    expect(status.out).toMatch(/\nheld\/one +running +\d+s +nothing it writes is held by another task\n/);
    expect(status.out).toContain(because);
    expect(why.out).toMatch(new RegExp(`^queue/two is held, for \\d+s: ${because} \\[PATH_HELD\\]\n`));
    expect(why.out).toMatch(
      /^\d{4}-\d\d-\d\d \S+ +#\d+ +waits: held\/a overlaps held, held by held\/one .*\[PATH_HELD\]$/m,
    );
    expect(json<Story>(story)).toMatchObject({
      task: { id: 'held/one', phase: 'running' },
      waiting: ['queue/two'],
    });
    expect(claims.out).toMatch(/^HOLDER +STATE +SINCE +LEASE LEFT +FENCE +WHO WAITS +PATHS AND RESOURCES\n/);
    expect(claims.out).toMatch(/\nheld\/one +running +\d+s +\S.* +\d+\.\d+ +queue\/two +held\n/);
    expect(json<Overview>(lines).claims.find(({ holder }) => holder === 'held/one')).toMatchObject({
      paths: ['held'],
      waiting: ['queue/two'],
    });
    expect(log.out).toBe('begun\n');
    const { task, files: found } = json<{ task: string; files: string[] }>(files);
    expect(task).toBe('held/one');
    expect(found.map((file) => readFileSync(file, 'utf8'))).toEqual(['begun\n']);
    expect((await run(['log', 'held/one', '--attempt', 'x'], { cwd: fleet.dir })).code).toBe(2);
    expect(await cli('log', 'queue/two')).toMatchObject({
      code: 3,
      err: expect.stringContaining('has not started'),
    });
    expect(await cli('packet', 'held/one')).toMatchObject({
      code: 3,
      err: expect.stringContaining('it has not ended'),
    });
    await follow.shows('begun');

    open('one');
    await fleet.signalbox.wait(['held/one', 'queue/two']);
    expect(await follow.ended).toBe(0);
    expect(follow.out).toBe('begun\n');
    const [after, packet, document, unknown, strange] = await Promise.all([
      cli('why', 'queue/two'),
      cli('packet', 'queue/two'),
      cli('packet', 'queue/two', '--json'),
      cli('packet', 'held/three', '--json'),
      cli('why', 'held/three'),
    ]);
    expect(after.code).toBe(0);
    expect(after.out).toContain('queue/two is landed');
    expect(after.out).toContain(because);
    expect(packet.code).toBe(0);
    expect(packet.out).toMatch(
      /^Task {6}queue\/two {2}The second\nOutcome {3}landed: .* \[LANDED\]\nCommit {4}[0-9a-f]{40}\n/,
    );
    for (const part of ['Claims    held/a', 'Beside', 'Attempts\n  1. commits up to', 'Decisions\n'])
      expect(packet.out).toContain(part);
    expect(packet.out).toContain(because);
    expect(json(document)).toMatchObject({
      version: 1,
      task: 'queue/two',
      outcome: { kind: 'landed' },
      writes: ['held/a'],
    });
    expect(unknown).toMatchObject({
      code: 3,
      err: expect.stringContaining('no change packet of held/three'),
    });
    expect(json(unknown)).toMatchObject({ exitCode: 3 });
    expect(strange).toMatchObject({ code: 3, err: expect.stringContaining('no task held/three') });
    const [released, since, claimed, refused] = await Promise.all([
      cli('claims', '--released'),
      cli('claims', '--released', '--since', '1s'),
      cli('claims', '--released', '--since', '1h', '--json'),
      cli('claims', '--since', '1h'),
    ]);
    expect(released).toMatchObject({ code: 0, err: '' });
    expect(released.out).toMatch(
      /^HOLDER +OUTCOME +RELEASED +HELD FOR +FENCE +COMMIT +PATHS AND RESOURCES\n/,
    );
    expect(released.out).toMatch(
      /\nqueue\/two +landed +\d.* ago +\d.* +\d+\.\d+ +[0-9a-f]{12} +held\/a\n(.*\n)*held\/one +landed .* held\n/,
    );
    expect(since.code).toBe(0);
    const { released: gone } = json<{ released: { holder: string }[] }>(claimed);
    expect(gone.find(({ holder }) => holder === 'queue/two')).toMatchObject({
      code: 'LANDED',
      commit: json<{ outcome: { commit: string } }>(document).outcome.commit,
      paths: ['held/a'],
    });
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('--released') });
    const all = await cli('status', '--all');
    expect(all.out).toMatch(/^TASK +STATE +REASON +HOLDER\n/);
    expect(all.out).toMatch(/\nqueue\/two +landed +LANDED\b/);
  });

  it('says all that is wrong with a submission at once, and starts nothing of it', async () => {
    write(
      fleet.dir,
      'bad.yaml',
      `plan: bad
tasks:
  - id: one
    prompt: x
    agent: hs
    role: mian
    wirtes: [a]
  - id: two
    prompt: ""
    agent: claude
    timeout: soon
    role: main
    writes: [ok, ../x, apq:y]
    retry: {attempts: 0}
  - id: two
    prompt: x
    agent: sh
    after: [oen]
  - id: 5
    prompt: x
`,
    );
    write(fleet.dir, 'circle.yaml', {
      tasks: [
        { id: 'a', agent, prompt: 'x', after: ['c'] },
        { id: 'b', agent, prompt: 'x', after: ['a'] },
        { id: 'c', agent, prompt: 'x', after: ['b'] },
      ],
    });
    write(fleet.dir, 'fine.yaml', { id: 'fine', agent, prompt: 'true' });
    write(fleet.dir, 'syntax.yaml', 'tasks: [\n');
    write(fleet.dir, 'single.yaml', { tasks: [{ id: 'fine', agent, prompt: 'true' }] });
    write(fleet.dir, 'named.yaml', { plan: 'single', tasks: [{ id: 'fine', agent, prompt: 'true' }] });
    write(fleet.dir, 'my plan.yaml', { tasks: [{ id: 'a', agent, prompt: 'x' }] });
    const [bad, several, syntax, missing, name, twice, single, named] = await Promise.all([
      cli('submit', 'bad.yaml'),
      cli('submit', 'fine.yaml', 'circle.yaml', 'bad.yaml', '--json'),
      cli('submit', 'syntax.yaml'),
      cli('submit', 'missing.yaml'),
      cli('submit', 'my plan.yaml'),
      cli('submit', 'fine.yaml', 'fine.yaml'),
      cli('submit', 'single.yaml'),
      cli('submit', 'named.yaml'),
    ]);
    const problems = [
      '5:12: tasks[0].agent: the fleet has no kind of agent called "hs"; did you mean "sh"?',
      '6:11: tasks[0].role: the fleet has no role called "mian"; did you mean "main"?',
      '7:5: tasks[0].wirtes: unknown key "wirtes"; did you mean "writes"?',
      '9:13: tasks[1].prompt: must not be empty (found "")',
      '10:12: tasks[1].agent: the fleet has no kind of agent called "claude"; there are: sh, python',
      '11:14: tasks[1].timeout: expected a duration such as "30s", "10m" or "2h" (found "soon")',
      '13:18: tasks[1].writes[1]: ".." is not allowed: write the path from the repository\'s root (found "../x")',
      '13:24: tasks[1].writes[2]: the fleet has no repository called "apq"; did you mean "app"?',
      '14:23: tasks[1].retry.attempts: must be at least 1 (found 0)',
    ];
    expect(bad).toMatchObject({ code: 2, out: '' });
    for (const problem of problems) expect(bad.err).toContain(`\n  bad.yaml:${problem}\n`);
    expect(bad.err).toMatch(/bad\.yaml:19:9: tasks\[3\]\.id: expected string, found a number \(found 5\)/);
    expect(bad.err).toMatch(/bad\.yaml:19:5: tasks\[3\]\.agent: which agent\? The fleet has sh, python/);
    expect(bad.err).not.toMatch(/^ +at /m);
    const { error, exitCode } = json<{ error: string; exitCode: number }>(several);
    expect(exitCode).toBe(2);
    expect(error).toContain(
      'circle.yaml:6:7: tasks[0].after: the tasks wait for each other in a circle: a -> c -> b -> a',
    );
    expect(error).toContain(`bad.yaml:${problems[0]}`);
    expect(several).toMatchObject({ code: 2, err: `signalbox: ${error}\n` });
    expect(syntax).toMatchObject({
      code: 2,
      err: expect.stringMatching(/syntax\.yaml:\d:\d: Flow sequence/),
    });
    expect(missing).toMatchObject({ code: 2, err: expect.stringContaining('there is no such file') });
    expect(name).toMatchObject({ code: 2, err: expect.stringContaining('add `plan: some-name`') });
    expect(twice).toMatchObject({
      code: 2,
      err: expect.stringContaining('"single/fine" is in two of the files'),
    });
    const reserved = '"single" is the plan of tasks that are submitted on their own';
    for (const result of [single, named])
      expect(result).toMatchObject({ code: 2, err: expect.stringContaining(reserved) });
    expect(named.err).toContain('named.yaml:1:7: plan: ');
    for (const id of ['single/fine', 'bad/one', 'circle/a'])
      expect(await fleet.signalbox.describe(id)).toBeUndefined();
  });

  it('refuses a plan called as single tasks are, whoever starts it', async () => {
    const task = { id: 'raw', agent, prompt: 'true' };
    const reserved = '"single" is the plan of tasks that are submitted on their own';
    await expect(fleet.signalbox.submit('single', [task])).rejects.toThrow(reserved);
    const handle = await fleet.signalbox.client.workflow.start('agentTask', {
      workflowId: `${fleet.name}/task/raw-single`,
      taskQueue: `signalbox-${fleet.name}`,
      args: [{ fleet: fleet.name, plan: { id: 'single', size: 1 }, task }],
    });
    const failure = await handle.result().then(
      () => 'no failure',
      (error: Error) => String(error.cause),
    );
    expect(failure).toContain(`plan.id: ${reserved}: give this plan another name (found "single")`);
    expect((await fleet.signalbox.overview()).tasks.some(({ id }) => id === 'single/raw')).toBe(false);
  });

  it('finds ids that stand twice and tasks that nobody knows', async () => {
    write(
      fleet.dir,
      'graph.yaml',
      `tasks:
  - {id: a, agent: sh, prompt: x}
  - {id: bill, agent: sh, prompt: x, after: [a]}
  - {id: bill, agent: sh, prompt: x, after: [bil]}
  - {id: d, agent: sh, prompt: x, after: [{task: a, until: landed}]}
`,
    );
    const { code, err } = await cli('submit', 'graph.yaml');
    expect(code).toBe(2);
    expect(err).toContain(
      'graph.yaml:4:10: tasks[2].id: the id "bill" is already that of task 2 of this plan',
    );
    expect(err).toContain('graph.yaml:4:46: tasks[2].after[0]: no task of this plan is called "bil"');
    expect(err).toContain('did you mean "bill"?');
    expect(err).toContain('graph.yaml:5:43: tasks[3].after[0]: "a" is read-only and never lands');
  });

  it('submits several files and a pipe, and refuses all of them when one was submitted before', async () => {
    const plan = (name: string) =>
      write(fleet.dir, `${name}.yaml`, { plan: name, tasks: [{ id: 'a', agent, prompt: 'true' }] });
    const old = plan('old');
    expect((await cli('submit', old, '--wait')).code).toBe(0);
    const refused = await cli('submit', plan('new'), old, '--json');
    expect(refused.code).toBe(3);
    expect(json(refused)).toEqual({
      error: expect.stringContaining('submitted before: old/a (finished)'),
      exitCode: 3,
    });
    expect(refused.err).toContain('`signalbox retry`');
    expect(await fleet.signalbox.describe('new/a')).toBeUndefined();
    const both = await cli('submit', plan('new'), plan('newer'), '--wait', '--json');
    expect(both.code).toBe(0);
    expect(json<{ tasks: TaskLine[] }>(both).tasks.map(({ id }) => id)).toEqual(['new/a', 'newer/a']);
    await sh(
      fleet.dir,
      `echo '{"id": "piped", "agent": "sh", "prompt": "true"}' | TEMPORAL_ADDRESS=${fleet.address} '${process.execPath}' '${MAIN}' submit /dev/stdin`,
    );
    expect(await fleet.signalbox.describe('single/piped')).toBeDefined();
  });

  it('gives paths to persons, refuses and queues them by the name of the holder', async () => {
    const granted = await cli('claim', 'hand/docs', '--name', 'ann', '--for', '45m', '--note', 'by hand');
    expect(granted).toMatchObject({ code: 0, err: '' });
    expect(granted.out).toMatch(
      /^hand\/ann holds hand\/docs for 45m, fence (\d+\.\d+)\nrenew it with: signalbox renew ann --fence \1\ngive it back with: signalbox release ann\n$/,
    );
    write(fleet.dir, 'behind.yaml', {
      id: 'behind',
      agent,
      prompt: edit('hand/docs/x', 'x'),
      role,
      writes: ['hand/docs/x'],
    });
    const behind = start(['submit', 'behind.yaml', '--wait']);
    const [refused, refusedJson, again, queued, claims] = await Promise.all([
      cli('claim', 'hand/docs/x.md', '--name', 'bob'),
      cli('claim', 'hand', '--name', 'bo', '--json'),
      cli('claim', 'hand/other', '--name', 'ann'),
      cli('claim', 'hand/docs/q', '--name', 'cyd', '--wait'),
      cli('claims'),
    ]);
    expect(refused).toMatchObject({ code: 3, err: '' });
    expect(refused.out).toBe('refused: hand/docs/x.md overlaps hand/docs, held by hand/ann\n');
    expect(refusedJson.code).toBe(3);
    expect(json(refusedJson)).toMatchObject({ id: 'hand/bo', phase: 'ended', code: 'PATH_HELD' });
    expect(again).toMatchObject({
      code: 3,
      err: expect.stringContaining('release it first, or use another name'),
    });
    expect(queued).toMatchObject({ code: 0, err: '' });
    expect(queued.out).toBe(
      'hand/cyd waits: hand/docs/q overlaps hand/docs, held by hand/ann\nonce it holds, signalbox claims shows its fence\ngive up with: signalbox release cyd\n',
    );
    expect(claims.out).toMatch(/\nhand\/ann +running +\d+s +4[45]m.* +\d+\.\d+ .*hand\/docs \(by hand\)\n/);
    await fleet.phase('single/behind', 'held');
    expect((await cli('why', 'behind')).out).toContain('overlaps hand/docs, held by hand/ann');

    const [, fence = ''] = /fence (\S+)/.exec(granted.out) ?? [];
    const [wrong, waiting, unknown, renewedFor] = await Promise.all([
      cli('renew', 'ann', '--fence', '1.1'),
      cli('renew', 'cyd', '--fence', fence),
      cli('renew', 'nobody', '--fence', fence, '--json'),
      cli('renew', 'ann', '--fence', fence, '--for', '50m'),
    ]);
    expect(wrong).toMatchObject({ code: 3, out: '' });
    expect(wrong.err).toContain(`hand/ann holds under fence ${fence}: 1.1 is not its fence`);
    expect(waiting).toMatchObject({ code: 3, err: expect.stringContaining('hand/cyd waits') });
    expect(json(unknown)).toEqual({ error: 'nobody holds a claim called hand/nobody', exitCode: 3 });
    expect(renewedFor).toMatchObject({
      code: 0,
      out: `hand/ann holds for 50m from now on, fence ${fence}\n`,
      err: '',
    });

    const released = await cli('release', 'ann');
    expect(released).toMatchObject({ code: 0, out: 'hand/ann is released\n', err: '' });
    expect(await behind.ended, behind.out + behind.err).toBe(0);
    await fleet.until('cyd', async () =>
      json<Overview>(await cli('claims', '--json')).claims.some(({ holder }) => holder === 'hand/cyd'),
    );
    const renewed = await cli('claim', 'hand/docs/new', '--name', 'ann', '--json');
    expect(renewed.code).toBe(0);
    expect(json(renewed)).toMatchObject({
      id: 'hand/ann',
      phase: 'running',
      fence: expect.stringMatching(/^\d+\.\d+$/),
    });
    const ends = await Promise.all([
      cli('release', 'cyd', '--json'),
      cli('release', 'hand/ann'),
      cli('release', 'nobody'),
      cli('why', 'hand/bob'),
    ]);
    expect(ends.map(({ code }) => code)).toEqual([0, 0, 3, 0]);
    expect(ends[0]?.out && JSON.parse(ends[0].out)).toEqual({ released: 'hand/cyd' });
    expect(ends[2]?.err).toContain('nobody holds a claim called hand/nobody');
  });

  it('refuses claims that cannot be', async () => {
    const [paths, lease, name, where, fence, longer] = await Promise.all([
      cli('claim', '../up', '/etc', 'fine'),
      cli('claim', 'a', '--for', '0s'),
      cli('claim', 'a', '--name', 'a b'),
      cli('claim', 'a', '--repository', 'apps'),
      cli('renew', 'ann'),
      cli('renew', 'ann', '--fence', '1.1', '--for', 'ever'),
    ]);
    for (const result of [paths, lease, name, where, fence, longer])
      expect(result).toMatchObject({ code: 2, out: '' });
    expect(paths.err).toContain('claim "../up": ".." is not allowed');
    expect(paths.err).toContain('claim "/etc": absolute paths are not allowed');
    expect(lease.err).toContain('--for 0s: expected a duration such as "30m" or "2h"');
    expect(name.err).toContain('--name a b: expected letters, digits');
    expect(where.err).toContain('no repository "apps"; did you mean "app"?');
    expect(fence.err).toContain("required option '--fence <fence>' not specified");
    expect(longer.err).toContain('--for ever: expected a duration such as "30m" or "2h"');
  });

  it('cancels a task and what waits for it, and starts them again', async () => {
    write(fleet.dir, 'stop.yaml', {
      tasks: [
        {
          id: 'one',
          agent,
          prompt: `${gate(fleet.dir, 'stop')}\n${edit('stop/a', '1')}`,
          role,
          writes: ['stop/a'],
        },
        { id: 'two', agent, prompt: edit('stop/b', '2'), role, writes: ['stop/b'], after: ['one'] },
      ],
    });
    await cli('submit', 'stop.yaml');
    await fleet.until('the agent', () => existsSync(join(fleet.dir, 'stop.runs')));
    const early = await cli('retry', 'stop/one');
    expect(early).toMatchObject({ code: 3, err: expect.stringContaining('has not ended: it is running') });
    expect(await cli('cancel', 'stop/one')).toMatchObject({
      code: 2,
      err: expect.stringContaining('--reason'),
    });
    const cancelled = await cli('cancel', 'stop/one', '--reason', 'superseded', '--wait');
    expect(cancelled).toMatchObject({ code: 0, err: '' });
    expect(cancelled.out).toMatch(/^stop\/one ended: cancelled: cancelled by \S+: superseded\n$/);
    const [again, unknown] = await Promise.all([
      cli('cancel', 'stop/one', '--reason', 'x'),
      cli('cancel', 'stop/none', '--reason', 'x', '--json'),
    ]);
    expect(again).toMatchObject({ code: 3, err: expect.stringContaining('has ended already: cancelled') });
    expect(unknown).toMatchObject({ code: 3, err: expect.stringContaining('no task stop/none in fleet') });
    expect(json(unknown)).toMatchObject({ exitCode: 3 });
    await fleet.signalbox.wait(['stop/two']);
    const half = await cli('retry', 'stop/one', 'stop/none');
    expect(half).toMatchObject({ code: 3, err: expect.stringContaining('no task stop/none') });
    expect((await fleet.signalbox.describe('stop/one'))?.status).not.toBe('RUNNING');
    open('stop');
    const retried = await cli('retry', 'stop/one', 'stop/two');
    expect(retried).toMatchObject({
      code: 0,
      out: 'stop/one starts again\nstop/two starts again\n',
      err: '',
    });
    const ended = await fleet.signalbox.wait(['stop/one', 'stop/two']);
    expect([...ended.values()].map((line) => line.outcome?.kind)).toEqual(['landed', 'landed']);
    expect(fleet.file('stop/b')).toBe('2');
    expect(await cli('retry', 'stop/one')).toMatchObject({
      code: 3,
      err: expect.stringContaining('ended well'),
    });
    const lives = await cli('packet', 'stop/one', '--all', '--json');
    expect(json<{ outcome: { kind: string } }[]>(lives).map(({ outcome }) => outcome.kind)).toEqual([
      'cancelled',
      'landed',
    ]);
  });

  it('holds and cancels tasks by the state of their issue', async () => {
    const paused = await cli('issue', 'CLI-1', '--state', 'paused');
    expect(paused).toMatchObject({ code: 0, out: 'issue CLI-1 is paused: its tasks hold\n', err: '' });
    write(fleet.dir, 'issued.yaml', { id: 'issued', agent, prompt: 'true', issue: 'CLI-1' });
    const submitted = start(['submit', 'issued.yaml', '--wait', '--json']);
    await fleet.until('the hold', async () =>
      (await cli('why', 'issued')).out.includes('issue CLI-1 is paused'),
    );
    const closed = await cli('issue', 'CLI-1', '--state', 'closed', '--json');
    expect(json(closed)).toEqual({ issue: 'CLI-1', state: 'closed', means: 'cancel' });
    expect(await submitted.ended).toBe(1);
    expect(JSON.parse(submitted.out)).toMatchObject({
      tasks: [{ outcome: { kind: 'cancelled', code: 'ISSUE_CLOSED' } }],
    });
    expect((await cli('issue', 'CLI-1', '--state', 'open')).out).toBe(
      'issue CLI-1 is open: its tasks may go on\n',
    );
    expect((await cli('issue', 'CLI-1')).code).toBe(2);
  });
});

describe.concurrent('a frozen role', () => {
  it('shows, and goes on when it is resumed', async () => {
    const mended = join(mkdtempSync(join(tmp, 'deploy-')), 'mended');
    const fleet = await TestFleet.start({ role: { deploy: { command: `test -e '${mended}'` } } });
    try {
      const cli = at(fleet);
      write(fleet.dir, 'one.yaml', {
        plan: 'one',
        tasks: [{ id: 'a', prompt: edit('a', 'a'), role, writes: ['a'] }],
      });
      write(fleet.dir, 'two.yaml', {
        plan: 'two',
        tasks: [{ id: 'b', prompt: edit('b', 'b'), role, writes: ['b'] }],
      });
      const failed = await cli('submit', 'one.yaml', '--wait');
      expect(failed.code).toBe(1);
      expect(failed.out).toMatch(/one\/a +failed +the deploy failed and the landing was rolled back/);
      await cli('submit', 'two.yaml');
      await fleet.until('the freeze', async () => /FROZEN/.test((await cli('status')).out));
      const unknown = await cli('resume', '--role', 'mani');
      expect(unknown).toMatchObject({
        code: 3,
        err: expect.stringContaining('no role "mani"; there are: main'),
      });
      writeFileSync(mended, '');
      const resumed = await cli('resume', '--role', role);
      expect(resumed).toMatchObject({ code: 0, out: 'role main goes on\n', err: '' });
      expect((await fleet.signalbox.wait(['two/b'])).get('two/b')?.outcome?.kind).toBe('landed');
    } finally {
      await fleet.stop();
    }
  });
});
