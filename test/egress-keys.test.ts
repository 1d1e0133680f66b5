// Keys that the proxy puts in, so that no agent has one; and what a proxy withstands: many connections, slow ones, broken
// ones, and its own end in the middle of things.

import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, createServer as createTcpServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { startEgress } from '../activities/egress/proxy.js';
import { ask, closed, INTERNET, internet, raw, SECRET, tunnel } from './support/egress.js';

const net = internet();

const until = async (test: () => boolean) => {
  while (!test()) await new Promise((done) => setTimeout(done, 5));
};
const key = (more: object = {}) => ({
  host: `api.example.com:${net.securePort}`,
  header: 'Authorization',
  value: 'Bearer {secret}',
  secret: 'API_KEY',
  ...more,
});
/** All that an agent, a log or a packet could get to see. */
const shown = (...answers: unknown[]) =>
  JSON.stringify([answers, net.logs, net.open.map((egress) => egress.refused())]);

describe('a key', () => {
  afterEach(() => {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  });

  it("goes with the agent's plain request, as https, in place of what the agent sent; the agent never sees it", async () => {
    const socket = await net.start([`*.example.com:${net.securePort}`], { keys: [key()] });
    const url = `http://API.example.com:${net.securePort}/echo`;
    const headers = { AUTHORIZATION: 'Bearer dummy', 'X-Own': 'kept' };
    const answer = await ask(socket, url, { method: 'POST', headers }, '{"model":"m"}');
    expect(answer).toMatchObject({ status: 200, body: 'hello {"model":"m"}' });
    expect(net.seen).toHaveLength(1);
    expect(net.seen[0]?.raw.filter((text) => text.includes('Bearer'))).toEqual([`Bearer ${SECRET}`]);
    expect(net.seen[0]?.headers).toMatchObject({
      host: `api.example.com:${net.securePort}`,
      'x-own': 'kept',
    });
    // The server sends back what it got: taken out of the headers of the answer.
    expect(answer.headers['x-got']).toBe('Bearer [redacted]');
    const trace = await ask(socket, url, { method: 'TRACE' });
    expect(trace).toMatchObject({ status: 405 });
    expect(net.seen).toHaveLength(1);
    expect(shown(answer, trace)).not.toContain(SECRET);
  });

  it('goes to no other host, no other port, and into no tunnel', async () => {
    const { port, securePort } = net;
    const socket = await net.start([`*.example.com:${port}`, `*.example.com:${securePort}`], {
      keys: [key()],
    });
    await ask(socket, `http://api.example.com:${port}/`);
    await ask(socket, `http://web.example.com:${port}/`);
    expect(net.seen.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);
    const answer = await ask(socket, `http://web.example.com:${securePort}/`);
    const made = await tunnel(socket, `api.example.com:${port}`);
    made.socket.write('GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    made.socket.resume();
    await closed(made.socket);
    expect(net.seen.at(-1)).toMatchObject({ url: '/tunnel' });
    expect(net.seen.at(-1)?.headers.authorization).toBeUndefined();
    expect(shown(answer, net.seen)).not.toContain(SECRET);
  });

  it('goes to nobody whose certificate is not right, whatever the environment of the worker says', async () => {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    const url = (name: string) => `http://${name}.example.com:${net.securePort}/`;
    const own = await net.start([`*.example.com:${net.securePort}`], { keys: [key()], ca: [] });
    const untrusted = await ask(own, url('api'));
    const name = await net.start([`*.example.com:${net.securePort}`], {
      keys: [key({ host: `other.example.com:${net.securePort}` })],
    });
    const wrongName = await ask(name, url('other'));
    expect(untrusted).toMatchObject({ status: 502 });
    expect(untrusted.body).toMatch(/TLS failed: .*(SIGNATURE|ISSUER|CERT)/);
    expect(wrongName.body).toContain('TLS failed: ERR_TLS_CERT_ALTNAME_INVALID');
    expect(net.seen).toEqual([]);
    expect(shown(untrusted, wrongName)).not.toContain(SECRET);
  });

  it('that is missing, or no header can have, is told at the start without its value', async () => {
    const keys = [key()];
    const allow = [`api.example.com:${net.securePort}`];
    await expect(net.start(allow, { keys, secrets: () => undefined })).rejects.toThrow(
      `network.keys: the secret API_KEY for api.example.com:${net.securePort} is missing`,
    );
    const broken = net.start(allow, { keys, secrets: () => `${SECRET}\r\nX-Injected: 1` });
    await expect(broken).rejects.toThrow('has characters that no header can have');
    await expect(broken).rejects.not.toThrow(SECRET);
  });
});

describe('a proxy', () => {
  it('serves 200 connections at once as far as its limit goes, tells the others, and then serves all again', async () => {
    const held: (() => void)[] = [];
    const slow = createTcpServer((socket) => {
      socket.once('data', () =>
        held.push(() => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nslow')),
      );
    });
    const port = await net.add(slow);
    const socket = await net.start([`web.example.com:${port}`]);
    const url = `http://web.example.com:${port}/`;
    let told = 0;
    const all = Array.from({ length: 200 }, async () => {
      const answer = await ask(socket, url);
      if (answer.status === 503) told += 1;
      return answer;
    });
    await until(() => held.length === 128 && told === 72);
    for (const go of held.splice(0)) go();
    const answers = await Promise.all(all);
    expect(answers.filter(({ body }) => body === 'slow')).toHaveLength(128);
    expect(answers.find(({ status }) => status === 503)?.body).toContain(
      'this agent has 128 connections open',
    );
    const again = Array.from({ length: 100 }, () => ask(socket, url));
    await until(() => held.length === 100);
    for (const go of held) go();
    expect((await Promise.all(again)).every(({ status }) => status === 200)).toBe(true);
  });

  it('counts requests that follow each other on one connection as well, and closes connections beyond its limit', async () => {
    const never = createTcpServer((one) => one.resume());
    const port = await net.add(never);
    const socket = await net.start([`*.example.com:${port}`, `web.example.com:${net.port}`], {
      limits: { exchanges: 3, connections: 5 },
    });
    const agents = Array.from({ length: 5 }, () => connect(socket));
    const first = agents[0];
    first?.write(`GET http://web.example.com:${port}/ HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(50));
    await until(() => net.sockets.size === 3);
    await expect(ask(socket, `http://web.example.com:${net.port}/`)).rejects.toThrow(
      /ECONNRESET|EPIPE|hang up/,
    );
    expect(net.sockets.size).toBe(3);
    for (const agent of agents) agent.destroy();
    await until(() => net.sockets.size === 0);
    expect(await ask(socket, `http://web.example.com:${net.port}/`)).toMatchObject({ status: 200 });
  });

  it('gives a request that comes byte by byte its time and no more, and serves others meanwhile', async () => {
    const limits = { headersMs: 300, headerBytes: 8_000 };
    const socket = await net.start([`web.example.com:${net.port}`], { limits });
    const url = `http://web.example.com:${net.port}/`;
    const bytes = `GET ${url} HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(500)}`;
    const slow = connect(socket);
    let told = '';
    slow.on('data', (data) => {
      told += data;
    });
    slow.on('error', () => undefined);
    let at = 0;
    const drip = setInterval(() => {
      if (slow.writable) slow.write(bytes[at++] ?? 'a');
    }, 10);
    const began = Date.now();
    expect(await ask(socket, url)).toMatchObject({ status: 200 });
    await closed(slow);
    clearInterval(drip);
    // Who still writes as the proxy closes may not get to read what it said.
    expect(told).toMatch(/^$|^HTTP\/1\.1 408 /);
    expect(at).toBeLessThan(bytes.length);
    expect(Date.now() - began).toBeLessThan(3_000);
    const large = `GET ${url} HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(9_000)}\r\n\r\n`;
    expect(await raw(socket, large)).toMatch(/^HTTP\/1\.1 431 /);
  });

  it('ends what says nothing for long: a tunnel, a request', async () => {
    const never = createTcpServer((socket) => socket.resume());
    const port = await net.add(never);
    const socket = await net.start([`web.example.com:${port}`], { limits: { idleMs: 150 } });
    const made = await tunnel(socket, `web.example.com:${port}`);
    made.socket.resume();
    await closed(made.socket);
    const bytes = `GET http://web.example.com:${port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
    expect(await raw(socket, bytes)).toMatch(/^$|^HTTP\/1\.1 502 /);
    await until(() => net.sockets.size === 0);
  });

  it('withstands peers and agents that break off, send garbage or never end their headers', async () => {
    const says: ((socket: Socket) => unknown)[] = [
      (socket: Socket) => socket.resetAndDestroy(),
      (socket: Socket) => socket.end('garbage\r\n\r\n'),
      (socket: Socket) => socket.end(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(9_000)}\r\n\r\n`),
      (socket: Socket) =>
        socket.end('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'),
      (socket: Socket) =>
        socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
    ];
    const broken = createTcpServer((socket) => {
      const say = says.shift();
      socket.once('data', () => say?.(socket));
    });
    const port = await net.add(broken);
    const socket = await net.start(
      [`*.example.com:${port}`, `*.example.com:${net.port}`, 'web.example.com:1'],
      { limits: { headerBytes: 8_000 } },
    );
    for (let left = says.length; left > 0; left--)
      expect(await ask(socket, `http://web.example.com:${port}/`)).toMatchObject({ status: 502 });
    says.push((one) =>
      one.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', () => one.resetAndDestroy()),
    );
    await expect(ask(socket, `http://web.example.com:${port}/`)).rejects.toThrow(
      /aborted|hang up|ECONNRESET/,
    );
    expect((await ask(socket, 'http://web.example.com:1/')).body).toContain('(port 1): ECONNREFUSED');
    net.zone = () => [];
    expect((await ask(socket, `http://none.example.com:${port}/`)).body).toContain('has no address: ENODATA');
    net.zone = (_name, type) => (type === 'A' ? [INTERNET] : []);
    for (let i = 0; i < 20; i++) {
      const agent = connect(socket);
      agent.on('error', () => undefined);
      agent.write(
        `POST http://web.example.com:${net.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc`,
      );
      await once(agent, 'connect');
      if (i % 2) await until(() => net.sockets.size > 0);
      agent.destroy();
    }
    await until(() => net.sockets.size === 0);
    expect(await ask(socket, `http://web.example.com:${net.port}/`)).toMatchObject({ status: 200 });
  });

  it('closes with everything open and leaves nothing: no connection, no timer, no file', async () => {
    const counted = [
      'PipeWrap',
      'PipeServerWrap',
      'TCPSocketWrap',
      'TLSWrap',
      'QUERYWRAP',
      'PipeConnectWrap',
    ];
    const inUse = () => process.getActiveResourcesInfo().filter((name) => counted.includes(name)).length;
    const never = createTcpServer((one) => one.resume());
    const port = await net.add(never);
    const before = inUse();
    net.zone = (name) => (name.startsWith('silent') ? 'silence' : [INTERNET]);
    const host = `web.example.com:${port}`;
    const socket = await net.start([`*.example.com:${port}`], {
      keys: [key({ host: `api.example.com:${port}` })],
    });
    net.zone = (name, type) => (name.startsWith('silent') ? 'silence' : type === 'A' ? [INTERNET] : []);
    const made = await tunnel(socket, host);
    const ends = [closed(made.socket)];
    for (const bytes of [
      `GET http://${host}/ HTTP/1.1\r\nHost: x\r\n\r\n`,
      `POST http://${host}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nabc`,
      `GET http://api.example.com:${port}/handshake HTTP/1.1\r\nHost: x\r\n\r\n`,
      `GET http://silent.example.com:${port}/ HTTP/1.1\r\nHost: x\r\n\r\n`,
      `CONNECT silent.example.com:${port} HTTP/1.1\r\n\r\n`,
      'GET http://half',
    ]) {
      const agent = connect(socket);
      agent.on('error', () => undefined);
      agent.resume();
      agent.write(bytes);
      ends.push(closed(agent));
    }
    made.socket.resume();
    await until(
      () => net.sockets.size === 4 && net.dns.asked.filter((one) => one.includes('silent')).length >= 4,
    );
    await net.open[0]?.close();
    expect(existsSync(socket)).toBe(false);
    await Promise.all(ends);
    await until(() => net.sockets.size === 0);
    await until(() => inUse() <= before);
    await expect(ask(socket, `http://${host}/`)).rejects.toThrow('ENOENT');
    await net.open[0]?.close();
  });

  it('says what is wrong with the path of its socket', async () => {
    const options = {
      network: { allow: ['a.example.com'], keys: [] },
      secrets: () => undefined,
      log: () => undefined,
    };
    await expect(startEgress({ ...options, socket: `/tmp/${'x'.repeat(200)}` })).rejects.toThrow(
      'the path of a unix socket has at most 107 bytes',
    );
    await expect(startEgress({ ...options, socket: '/nowhere/at/all.sock' })).rejects.toThrow();
  });
});
