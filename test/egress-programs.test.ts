// The way from a program to its proxy: the forwarder in front of it, and the variables that real programs heed.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeEach, describe, expect, it } from 'vitest';
import { egressEnv } from '../activities/egress/env.js';
import { INTERNET, internet, listen, SECRET } from './support/egress.js';

const net = internet();

interface End {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

let forwarder: string;
/** Where the forwarder listens: outside of a sandbox, so not always 3128. */
let port: number;

beforeEach(async () => {
  // Alone in a folder, as in a sandbox: no package.json, no modules.
  forwarder = join(net.dir, 'forwarder.mjs');
  copyFileSync(resolve('dist/activities/egress/forwarder.js'), forwarder);
  const probe = createTcpServer();
  port = await listen(probe, '127.0.0.1');
  await new Promise((done) => probe.close(done));
});

/** `inside` is what the forwarder runs in. */
function launch(
  inside: string[],
  socket: string,
  ...command: string[]
): { child: ChildProcess; end: Promise<End> } {
  const home = join(net.dir, 'home');
  mkdirSync(home, { recursive: true });
  const ca = join(net.dir, 'ca.pem');
  writeFileSync(ca, net.certificates.ca);
  const [program = '', ...args] = [
    ...inside,
    process.execPath,
    forwarder,
    socket,
    String(port),
    '--',
    ...command,
  ];
  const child = spawn(program, args, {
    env: { PATH: process.env.PATH, HOME: home, ...egressEnv(port), CURL_CA_BUNDLE: ca, SSL_CERT_FILE: ca },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const said = { out: '', err: '' };
  child.stdout?.on('data', (data) => {
    said.out += data;
  });
  child.stderr?.on('data', (data) => {
    said.err += data;
  });
  const end = once(child, 'close').then(([code, signal]) => ({ code, signal, ...said }));
  return { child, end };
}

const run = (socket: string, ...command: string[]) => launch([], socket, ...command).end;
const installed = (program: string): boolean => {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

describe('the forwarder', () => {
  it('starts the command when it listens, passes its input and output on, and ends as it does', async () => {
    const socket = await net.start([`web.example.com:${net.port}`]);
    const { child, end } = launch(
      [],
      socket,
      process.execPath,
      '-e',
      `require('net').connect(${port}, '127.0.0.1', () => {
        process.stdin.pipe(process.stdout).on('finish', () => 0);
        process.stdin.on('end', () => { console.error('done'); process.exit(7); });
      })`,
    );
    child.stdin?.end('through');
    expect(await end).toEqual({ code: 7, signal: null, out: 'through', err: 'done\n' });
  });

  it('passes SIGTERM and SIGINT on, and ends by the signal that ended the command', async () => {
    const wait = "process.on('SIGINT', () => process.exit(3)); setInterval(() => 0, 1e6); console.log('up');";
    for (const [signal, expected] of [
      ['SIGTERM', { code: null, signal: 'SIGTERM' }],
      ['SIGINT', { code: 3, signal: null }],
    ] as const) {
      const { child, end } = launch([], join(net.dir, 'none'), process.execPath, '-e', wait);
      if (child.stdout) await once(child.stdout, 'data');
      child.kill(signal);
      expect(await end).toMatchObject(expected);
    }
    expect(await run('none', 'sh', '-c', 'kill -9 $$')).toMatchObject({ signal: 'SIGKILL' });
  });

  it('says what is wrong: port in use 125, no such program 127, not to be run 126', async () => {
    const other = createTcpServer();
    await listen(other, '127.0.0.1', port);
    const taken = await run('none', 'echo', 'started');
    expect(taken).toMatchObject({ code: 125, out: '' });
    expect(taken.err).toContain(`127.0.0.1:${port} is in use inside the sandbox`);
    await new Promise((done) => other.close(done));
    expect(await run('none', '/no/such/program')).toMatchObject({ code: 127 });
    expect(await run('none', net.dir)).toMatchObject({ code: 126 });
    expect(await run('')).toMatchObject({ code: 125 });
  });

  it('closes a connection when there is no proxy, and goes on', async () => {
    const ask = `const net = require('net'); const one = net.connect(${port}, '127.0.0.1');
      one.on('close', () => { console.log('closed'); process.exit(0); }); one.on('error', () => 0);`;
    expect(await run(join(net.dir, 'none'), process.execPath, '-e', ask)).toMatchObject({
      code: 0,
      out: 'closed\n',
    });
  });
});

describe.runIf(installed('curl'))('curl', () => {
  const curl = (socket: string, ...args: string[]) => run(socket, 'curl', '-sS', '--max-time', '10', ...args);

  it('reaches allowed names by http and https, with the key of its host, and nothing else', async () => {
    const { port: plain, securePort } = net;
    const socket = await net.start([`web.example.com:${plain}`, `*.example.com:${securePort}`], {
      keys: [{ host: `api.example.com:${securePort}`, header: 'x-api-key', secret: 'API_KEY' }],
    });
    expect((await curl(socket, '-d', 'x', `http://web.example.com:${plain}/`)).out).toBe('hello x');
    expect((await curl(socket, `https://web.example.com:${securePort}/`)).out).toBe('hello ');
    expect(
      (await curl(socket, '-i', '-H', 'x-api-key: no', `http://api.example.com:${securePort}/`)).out,
    ).not.toContain(SECRET);
    expect(net.seen.map(({ headers }) => headers['x-api-key'])).toEqual([undefined, undefined, SECRET]);
    const refused = await curl(socket, `https://evil.example.org:${securePort}/`);
    expect(refused).toMatchObject({ code: 56, out: '' });
    expect(refused.err).toContain('403');
    const loopback = await curl(socket, '--noproxy', '', '-p', `http://localhost:${net.canaryPort}/`);
    expect(loopback.err).toContain('403');
    expect(net.hits).toEqual([]);
    expect(net.open[0]?.refused().map(({ host }) => host)).toEqual(['evil.example.org', 'localhost']);
  });

  it('is led by a redirect, a name or an alias to no metadata service and no loopback', async () => {
    net.zone = (name, type) =>
      type !== 'A'
        ? []
        : name.startsWith('web')
          ? [INTERNET]
          : name.startsWith('meta')
            ? ['169.254.169.254']
            : ['127.0.0.1'];
    const socket = await net.start([
      `web.example.com:${net.port}`,
      'meta.example.com',
      `*.example.com:${net.canaryPort}`,
    ]);
    for (const to of [
      'http://169.254.169.254/latest/meta-data/',
      'http://[fd00:ec2::254]/',
      'http://meta.example.com/',
      `http://loop.example.com:${net.canaryPort}/`,
      `http://127.1:${net.canaryPort}/`,
    ]) {
      const url = `http://web.example.com:${net.port}/redirect?to=${encodeURIComponent(to)}`;
      // Without NO_PROXY: not even by mistake does the way lead around the proxy.
      const { out } = await curl(socket, '-L', '--noproxy', '', '-w', ' %{http_code}', url);
      expect(out).toMatch(/(?:is not a name|which is (?:a cloud's metadata service|loopback)).* 403$/s);
    }
    expect(net.hits).toEqual([]);
    expect(net.open[0]?.refused()).toHaveLength(5);
  });
});

describe('other programs', () => {
  it('git reads a repository through the proxy', async () => {
    const work = join(net.dir, 'work');
    const git = (...args: string[]) => execFileSync('git', ['-C', work, ...args], { stdio: 'pipe' });
    mkdirSync(work);
    git('init', '-q', '-b', 'main');
    git('-c', 'user.name=T', '-c', 'user.email=t@example.com', 'commit', '-q', '--allow-empty', '-m', 'one');
    const commit = git('rev-parse', 'HEAD').toString().trim();
    const server = createServer((request, answer) => {
      const known = request.url?.startsWith('/repo/info/refs') === true;
      answer.writeHead(known ? 200 : 404, { 'content-type': 'text/plain' });
      answer.end(known ? `${commit}\trefs/heads/main\n` : '');
    });
    const gitPort = await net.add(server);
    const socket = await net.start([`git.example.com:${gitPort}`]);
    const found = await run(socket, 'git', 'ls-remote', `http://git.example.com:${gitPort}/repo`);
    expect(found).toMatchObject({ code: 0, out: `${commit}\trefs/heads/main\n` });
    const refused = await run(socket, 'git', 'ls-remote', `http://evil.example.org:${gitPort}/repo`);
    expect(refused.code).toBe(128);
    expect(refused.err).toContain('403');
  });

  it('npm gets its packages through the proxy', async () => {
    const registry = createServer((request, answer) => {
      answer.setHeader('content-type', 'application/json');
      answer.end(
        request.url === '/left'
          ? JSON.stringify({
              name: 'left',
              'dist-tags': { latest: '1.2.3' },
              versions: { '1.2.3': { name: 'left', version: '1.2.3' } },
            })
          : '{}',
      );
    });
    const registryPort = await net.add(registry);
    const socket = await net.start([`npm.example.com:${registryPort}`]);
    const view = ['npm', 'view', 'left', 'version', '--fetch-retries=0', '--update-notifier=false'];
    const found = await run(socket, ...view, `--registry=http://npm.example.com:${registryPort}/`);
    expect(found.out).toBe('1.2.3\n');
    const refused = await run(socket, ...view, `--registry=http://evil.example.org:${registryPort}/`);
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('403');
  });

  it.runIf(installed('python3'))('python reads through the proxy, and shows why it may not', async () => {
    const socket = await net.start([`web.example.com:${net.port}`, `web.example.com:${net.securePort}`]);
    const get = (url: string) =>
      run(socket, 'python3', '-c', `import urllib.request as u; print(u.urlopen("${url}").read().decode())`);
    expect((await get(`http://web.example.com:${net.port}/`)).out).toBe('hello \n');
    expect((await get(`https://web.example.com:${net.securePort}/`)).out).toBe('hello \n');
    expect((await get('https://evil.example.org/')).err).toContain(
      'evil.example.org (port 443) is not in network.allow',
    );
    expect(existsSync(socket)).toBe(true);
  });
});

/** Whether this host gives an ordinary user a network namespace of its own, as a sandbox has. */
const namespaces = (() => {
  try {
    execFileSync('unshare', ['-rn', 'ip', 'link', 'set', 'lo', 'up'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe.runIf(namespaces && installed('curl'))('in a network of its own', () => {
  it('two agents use the same port at once; the proxy is their only way, each has its own list', async () => {
    const sockets = [
      await net.start([`web.example.com:${net.port}`]),
      await net.start(['other.example.com']),
    ];
    port = 3128;
    const script = `
      curl -s -o /dev/null --noproxy '*' --max-time 2 http://127.0.0.1:${net.canaryPort}/ && echo canary
      curl -s -o /dev/null --noproxy '*' --max-time 2 http://${INTERNET}:${net.port}/ && echo direct
      node -e 'require("http").createServer((q, a) => a.end("mine")).listen(3000, () => console.log("listening"))' & server=$!
      curl -s --retry 20 --retry-connrefused --retry-delay 1 http://localhost:3000/; echo
      curl -s http://web.example.com:${net.port}/; kill $server`;
    const ends = await Promise.all(
      sockets.map(
        (socket) =>
          launch(
            ['unshare', '-rn', 'sh', '-c', 'ip link set lo up; exec "$0" "$@"'],
            socket,
            'sh',
            '-c',
            script,
          ).end,
      ),
    );
    expect(ends.map(({ out }) => out)).toEqual([
      'listening\nmine\nhello ',
      `listening\nmine\nweb.example.com (port ${net.port}) is not in network.allow\n`,
    ]);
    expect(net.hits).toEqual([]);
    expect(net.open.map((egress) => egress.refused().length)).toEqual([0, 1]);
  });

  it('a public address of the very host is out of reach, for it leads past its firewall', async () => {
    const module = pathToFileURL(resolve('dist/activities/egress/proxy.js')).href;
    const script = `
      import { createServer, get } from 'node:http';
      import { startEgress } from '${module}';
      const service = createServer((_, answer) => answer.end('SERVICE OF THE HOST')).listen(8080, '0.0.0.0');
      for (const alsoReachable of [[], ['8.8.4.0/24']]) {
        const egress = await startEgress({ socket: '${join(net.dir, 'own.sock')}', secrets: () => undefined, alsoReachable,
          network: { allow: ['a.example.com:8080'], keys: [] }, resolve: async () => ['8.8.4.4'], log: () => undefined });
        await new Promise((done) => get({ socketPath: '${join(net.dir, 'own.sock')}', path: 'http://a.example.com:8080/' },
          (answer) => answer.on('data', (data) => process.stdout.write(data)).on('end', done)));
        await egress.close();
      }
      service.close();`;
    const file = join(net.dir, 'own.mjs');
    writeFileSync(file, script);
    const setUp = 'ip link set lo up; ip addr add 8.8.4.4/32 dev lo';
    const command = ['-rn', 'sh', '-c', `${setUp}; exec "$0" "$1"`, process.execPath, file];
    expect(execFileSync('unshare', command).toString()).toBe(
      'a.example.com leads to 8.8.4.4, which is an address of the very host the agent runs on: not reachable under network.allow\nSERVICE OF THE HOST',
    );
  });
});
