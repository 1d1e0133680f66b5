/**
 * Finding, starting and stopping a Temporal server. The servers are real ones; scripts stand in for binaries that
 * are broken, old or not Temporal at all, and for a Go build, which takes minutes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  cacheDir,
  findTemporalBinary,
  startTemporalServer,
  TEMPORAL_CLI_VERSION,
  type TemporalServer,
  type TemporalServerOptions,
} from '../worker/temporal-server.js';

const BUILT = fileURLToPath(new URL('../dist/worker/temporal-server.js', import.meta.url));
/** Nothing listens there: every connection is refused at once, so the download fails without a network. */
const CLOSED_PROXY = 'http://127.0.0.1:1';
const WORKS = 'echo "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)"';

let dir = '';
let realBinary = '';
let told: string[] = [];
const log = (line: string) => {
  told.push(line);
};

beforeAll(async () => {
  realBinary = (await findTemporalBinary(() => {})).path;
}, 1_800_000);

beforeEach(async () => {
  told = [];
  dir = await mkdtemp(join(tmpdir(), 'signalbox-server-test-'));
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(dir, { recursive: true, force: true });
});

async function script(path: string, body: string): Promise<string> {
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

/** An environment in which nothing is found: each test adds what it is about. */
function findNothing(): void {
  vi.stubEnv('SIGNALBOX_TEMPORAL_BIN', undefined);
  vi.stubEnv('SIGNALBOX_CACHE', join(dir, 'cache'));
  vi.stubEnv('PATH', join(dir, 'bin'));
  vi.stubEnv('HTTPS_PROXY', CLOSED_PROXY);
  vi.stubEnv('NO_PROXY', '');
  vi.stubEnv('no_proxy', '');
}

function isAlive(pid: number | undefined): boolean {
  if (pid === undefined || Number.isNaN(pid)) throw new Error('The server has told no pid.');
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(what: string, holds: () => boolean, seconds = 10): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`Not within ${seconds} s: ${what}`);
    await sleep(20);
  }
}

describe('the cache', () => {
  test('is SIGNALBOX_CACHE, else XDG_CACHE_HOME/signalbox, else a folder of the home directory', () => {
    vi.stubEnv('SIGNALBOX_CACHE', '/one');
    vi.stubEnv('XDG_CACHE_HOME', '/two');
    expect(cacheDir()).toBe('/one');
    vi.stubEnv('SIGNALBOX_CACHE', undefined);
    expect(cacheDir()).toBe('/two/signalbox');
    vi.stubEnv('XDG_CACHE_HOME', undefined);
    vi.stubEnv('HOME', '/home/someone');
    expect(cacheDir()).toMatch(/^\/home\/someone\/(\.cache|Library\/Caches)\/signalbox$/);
  });
});

describe('finding a binary', () => {
  beforeEach(findNothing);

  test('SIGNALBOX_TEMPORAL_BIN comes before PATH', async () => {
    vi.stubEnv('SIGNALBOX_TEMPORAL_BIN', realBinary);
    await script(join(dir, 'bin', 'temporal'), WORKS);
    expect(await findTemporalBinary(log)).toEqual({ path: realBinary, source: 'SIGNALBOX_TEMPORAL_BIN' });
    expect(told).toEqual([]);
  });

  test('a SIGNALBOX_TEMPORAL_BIN that does not run is told, and PATH is next', async () => {
    vi.stubEnv('SIGNALBOX_TEMPORAL_BIN', await script(join(dir, 'mine'), 'echo no such library; exit 127'));
    const path = await script(join(dir, 'bin', 'temporal'), WORKS);
    expect(await findTemporalBinary(log)).toEqual({ path, source: 'temporal on PATH' });
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/SIGNALBOX_TEMPORAL_BIN: .*mine --version failed \(exit 127\): no such library/);
  });

  test('PATH comes before the cache', async () => {
    await script(join(dir, 'cache', 'bin', 'temporal'), WORKS);
    const path = await script(join(dir, 'bin', 'temporal'), WORKS);
    expect(await findTemporalBinary(log)).toEqual({ path, source: 'temporal on PATH' });
  });

  test.each([
    ['does not run', 'echo broken >&2; exit 1', /--version failed \(exit 1\): broken/],
    [
      'is older than 1.1',
      'echo "temporal version 1.0.2 (Server 1.24)"',
      /too old \(temporal version 1\.0\.2\)/,
    ],
    ['is another program', 'echo "Temporal calendar tool 7"', /is not the Temporal CLI/],
  ])('a `temporal` on PATH that %s is told, and the cache is next', async (_, body, why) => {
    await script(join(dir, 'bin', 'temporal'), body);
    const path = await script(join(dir, 'cache', 'bin', 'temporal'), WORKS);
    expect(await findTemporalBinary(log)).toEqual({ path, source: 'the cache' });
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(why);
  });

  test('what Go builds moves into the cache whole, also when two build at once', async () => {
    const build = `[ "$2" = "github.com/temporalio/cli/cmd/temporal@${TEMPORAL_CLI_VERSION}" ] || exit 9
/bin/sleep 0.3
printf '%s\\n' '#!/bin/sh' '${WORKS}' > "$GOBIN/temporal"
/bin/chmod 755 "$GOBIN/temporal"`;
    await script(join(dir, 'bin', 'go'), build);
    const path = join(dir, 'cache', 'bin', 'temporal');
    const both = await Promise.all([findTemporalBinary(log), findTemporalBinary(log)]);
    expect(both).toEqual([
      { path, source: 'go install' },
      { path, source: 'go install' },
    ]);
    expect(await readdir(join(dir, 'cache', 'bin'))).toEqual(['temporal']);
    expect((await findTemporalBinary(log)).source).toBe('the cache');
  }, 20_000);

  test('when nothing works, the error lists every attempt with its reason and says what to install', async () => {
    vi.stubEnv('SIGNALBOX_TEMPORAL_BIN', join(dir, 'nowhere'));
    await script(join(dir, 'bin', 'go'), 'echo "go: no network" >&2; exit 1');
    const error = await findTemporalBinary(log).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    const { message } = error as Error;
    expect(message).toMatch(/1\. SIGNALBOX_TEMPORAL_BIN: .*nowhere is not there/);
    expect(message).toMatch(/2\. temporal on PATH: no executable `temporal` on PATH/);
    expect(message).toMatch(/3\. the cache: .* is not there/);
    expect(message).toMatch(/4\. the SDK's download: failed \(exit 1\): .*download/);
    expect(message).toMatch(/5\. go install: .* failed \(exit 1\): go: no network/);
    expect(message).toMatch(/Install the Temporal CLI .* or install\nGo /);
    expect(told.filter((line) => line.startsWith('No Temporal server from'))).toHaveLength(5);
    expect(await readdir(join(dir, 'cache', 'bin'))).toEqual([]);
  }, 20_000);

  test('a download that hangs is given up in time and leaves no process behind', async () => {
    let open = 0;
    let seen = 0;
    const blackHole = createServer((socket) => {
      seen += 1;
      open += 1;
      socket
        .on('error', () => {})
        .on('close', () => {
          open -= 1;
        });
      socket.resume();
    });
    await new Promise<void>((ready) => blackHole.listen(0, '127.0.0.1', ready));
    const { port } = blackHole.address() as AddressInfo;
    vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${port}`);
    vi.stubEnv('SIGNALBOX_DOWNLOAD_SECONDS', '3');
    await expect(findTemporalBinary(log)).rejects.toThrow(/the SDK's download: not done after 3 seconds/);
    expect(seen).toBeGreaterThan(0);
    await until('the downloading process is gone', () => open === 0, 5);
    blackHole.close();
  }, 20_000);
});

describe('a server', () => {
  let servers: TemporalServer[] = [];
  let children: ChildProcess[] = [];

  beforeEach(() => {
    vi.stubEnv('SIGNALBOX_TEMPORAL_BIN', realBinary);
    servers = [];
    children = [];
  });

  afterEach(async () => {
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(servers.map((server) => server.stop()));
  });

  async function start(opts: Partial<TemporalServerOptions> = {}): Promise<TemporalServer> {
    const server = await startTemporalServer({ log, ...opts });
    servers.push(server);
    return server;
  }

  async function connected<T>(server: TemporalServer, use: (client: Client) => Promise<T>): Promise<T> {
    const connection = await Connection.connect({ address: server.address });
    try {
      return await use(new Client({ connection, namespace: server.namespace }));
    } finally {
      await connection.close();
    }
  }

  test('answers on its address, shows its Web UI, knows the search attributes, and is dead after stop()', async () => {
    const logFile = join(dir, 'logs', 'server.log');
    const searchAttributes = { SignalboxState: 'Keyword', SignalboxAttempt: 'Int' } as const;
    const server = await start({ namespace: 'yard', searchAttributes, logFile });
    expect(server.namespace).toBe('yard');
    expect(server.source).toBe('SIGNALBOX_TEMPORAL_BIN');
    const { customAttributes } = await connected(server, (client) =>
      client.connection.operatorService.listSearchAttributes({ namespace: 'yard' }),
    );
    expect(Object.keys(customAttributes)).toEqual(expect.arrayContaining(Object.keys(searchAttributes)));
    const page = await fetch(server.uiUrl ?? '');
    expect(page.status).toBe(200);
    expect(isAlive(server.pid)).toBe(true);

    await Promise.all([server.stop(), server.stop()]);
    expect(isAlive(server.pid)).toBe(false);
    await expect(Connection.connect({ address: server.address, connectTimeout: 500 })).rejects.toThrow();
    expect(await readFile(logFile, 'utf8')).toContain(server.address.split(':')[1]);
    expect(told).toEqual([]);
  }, 20_000);

  test('keeps its executions in the database file', async () => {
    const dbFile = join(dir, 'state', 'temporal.db');
    const first = await start({ dbFile });
    await connected(first, (client) =>
      client.workflow.start('nobodyRunsThis', { taskQueue: 'none', workflowId: 'kept' }),
    );
    await first.stop();
    const second = await start({ dbFile });
    const found = await connected(second, (client) => client.workflow.getHandle('kept').describe());
    expect(found.status.name).toBe('RUNNING');
  }, 20_000);

  test('says which port is taken', async () => {
    const running = await start();
    const port = Number(running.address.split(':')[1]);
    await expect(start({ port })).rejects.toThrow(
      `cannot have port ${port} on 127.0.0.1: another program uses it`,
    );
  }, 20_000);

  test('that does not come up throws with its last output', async () => {
    const body = `[ "$1" = --version ] && { ${WORKS}; exit 0; }\necho "the disk is on fire" >&2; exit 3`;
    vi.stubEnv('SIGNALBOX_TEMPORAL_BIN', await script(join(dir, 'burning'), body));
    await expect(start()).rejects.toThrow(/ended \(exit 3\)\. Its last output:\nthe disk is on fire/);
  }, 20_000);

  test('that ends by itself is told', async () => {
    const server = await start();
    process.kill(server.pid ?? 0, 'SIGKILL');
    await until('the end is told', () => told.length > 0);
    expect(told[0]).toMatch(/The Temporal server stopped by itself \(exit 137\)/);
    await server.stop();
  }, 20_000);

  test('that ignores TERM is killed', async () => {
    const body = `[ "$1" = --version ] && exec "${realBinary}" "$@"\ntrap '' TERM\n"${realBinary}" "$@"\nsleep 60`;
    vi.stubEnv('SIGNALBOX_TEMPORAL_BIN', await script(join(dir, 'stubborn'), body));
    const server = await start();
    const since = Date.now();
    await server.stop();
    expect(Date.now() - since).toBeGreaterThan(4000);
    expect(isAlive(server.pid)).toBe(false);
    await expect(Connection.connect({ address: server.address, connectTimeout: 500 })).rejects.toThrow();
  }, 20_000);

  /** A Node process in a group of its own that starts a server, prints its pid, and ignores Ctrl-C. */
  async function starter(): Promise<{ child: ChildProcess; serverPid: number }> {
    if (!existsSync(BUILT))
      throw new Error(`${BUILT} is missing: run the tests with \`npm test\`, which builds.`);
    const code = `
      process.on('SIGINT', () => console.log('interrupted'));
      const { startTemporalServer } = await import(${JSON.stringify(pathToFileURL(BUILT).href)});
      const server = await startTemporalServer({ log: console.error });
      console.log('pid ' + server.pid);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    let output = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    await until('the server of the other process is up', () => /pid \d+\n/.test(output), 15);
    process.kill(-(child.pid ?? 0), 'SIGINT');
    await until('the other process has seen Ctrl-C', () => output.includes('interrupted'));
    return { child, serverPid: Number(/pid (\d+)/.exec(output)?.[1]) };
  }

  test('survives Ctrl-C in the terminal, but not the kill -9 of the process that started it', async () => {
    const { child, serverPid } = await starter();
    await sleep(500);
    expect(isAlive(serverPid)).toBe(true);
    child.kill('SIGKILL');
    await until('the server is dead', () => !isAlive(serverPid));
  }, 20_000);
});
