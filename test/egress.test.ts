// What an agent reaches of the network through its proxy, and what it does not: real servers on 127.0.0.x, real DNS answers.
// 127.0.0.5 plays the public internet (the operator's `alsoReachable`); everything else is out of reach.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect as tlsConnect } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { ask, INTERNET, internet, listen, raw, tunnel } from './support/egress.js';

const net = internet();

describe('what is allowed', () => {
  it('goes through: a plain request with its body either way, and a tunnel with TLS from end to end', async () => {
    const socket = await net.start([`web.example.com:${net.port}`, `*.example.com:${net.securePort}`]);
    const url = `http://WEB.example.com.:${net.port}/a/../b?c=%20d`;
    const posted = await ask(socket, url, { method: 'POST' }, 'x'.repeat(100_000));
    expect(posted).toMatchObject({ status: 200, body: `hello ${'x'.repeat(100_000)}` });
    expect(net.seen[0]).toMatchObject({ method: 'POST', url: '/a/../b?c=%20d' });
    expect(net.seen[0]?.headers.host).toBe(`web.example.com:${net.port}`);
    const head = await ask(socket, url, { method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, body: '' });
    const made = await tunnel(socket, `web.example.com:${net.securePort}`);
    expect(made.status).toBe(200);
    const tls = tlsConnect({ socket: made.socket, servername: 'web.example.com', ca: net.certificates.ca });
    tls.write('GET /inside HTTP/1.1\r\nHost: web.example.com\r\nConnection: close\r\n\r\n');
    let text = '';
    tls.on('data', (data) => {
      text += data;
    });
    await once(tls, 'end');
    expect(text).toContain('hello');
    expect(net.seen.at(-1)?.url).toBe('/inside');
    expect(net.open[0]?.refused()).toEqual([]);
  });

  it('keeps the headers of the connection behind, also those that the Connection header names', async () => {
    const socket = await net.start([`web.example.com:${net.port}`]);
    await ask(socket, `http://web.example.com:${net.port}/`, {
      headers: {
        Host: 'evil.example.org',
        Connection: 'x-private, keep-alive',
        'X-Private': '1',
        'Proxy-Authorization': 'Basic eA==',
        'Proxy-Connection': 'keep-alive',
        TE: 'trailers',
        Upgrade: 'h2c',
        'X-Kept': 'yes',
      },
    });
    const headers = net.seen[0]?.headers ?? {};
    expect(headers).toMatchObject({
      host: `web.example.com:${net.port}`,
      'x-kept': 'yes',
      connection: 'close',
    });
    for (const name of ['x-private', 'proxy-authorization', 'proxy-connection', 'te', 'upgrade'])
      expect(headers).not.toHaveProperty(name);
  });

  it('reaches the second address when the first does not answer', async () => {
    net.zone = (_name, type) => (type === 'A' ? ['127.0.0.6', INTERNET] : []);
    const socket = await net.start([`web.example.com:${net.port}`], { alsoReachable: ['127.0.0.4/30'] });
    expect(await ask(socket, `http://web.example.com:${net.port}/`)).toMatchObject({ status: 200 });
  });
});

describe('what is not', () => {
  it('a name that is not in the list: 403 with a sentence, listed once with how often', async () => {
    const socket = await net.start([`web.example.com:${net.port}`]);
    const sentence = `evil.example.org (port ${net.port}) is not in network.allow`;
    for (const _ of [1, 2])
      expect(await ask(socket, `http://evil.example.org:${net.port}/`)).toMatchObject({
        status: 403,
        body: `${sentence}\n`,
      });
    expect(await raw(socket, `CONNECT evil.example.org:${net.port} HTTP/1.1\r\n\r\n`)).toMatch(
      `HTTP/1.1 403 ${sentence}\r\n`,
    );
    expect(net.open[0]?.refused()).toEqual([
      { host: 'evil.example.org', port: net.port, why: sentence, count: 3 },
    ]);
    expect(net.logs).toEqual([`network: refused: ${sentence}`]);
    expect(net.dns.asked).toEqual([]);
    expect((await ask(socket, 'http://web.example.com:1/')).status).toBe(403);
  });

  it('lists no more than a hundred, and counts the others', async () => {
    const socket = await net.start(['web.example.com']);
    for (let i = 0; i < 120; i++) await ask(socket, `http://n${i}.example.org/`);
    expect(net.open[0]?.refused()).toHaveLength(101);
    expect(net.open[0]?.refused()[100]).toMatchObject({ host: '(others)', count: 20 });
    expect(net.logs).toHaveLength(100);
  });

  const LITERALS = [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '017700000001',
    '0177.0.0.01',
    '127.0.0.1.',
    '0',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::]',
    '[fe80::1%25lo]',
    '169.254.169.254',
    '127.0.0.5',
    '127.0.0.1.5',
    'localhost',
    'localhost.',
    'LOCALHOST',
    '%31%32%37.0.0.1',
    'web.example.com@127.0.0.1',
    '127.0.0.1#.example.com',
    '\u00e9',
  ];
  it.each(LITERALS)('%s, by CONNECT and by a plain request', async (literal) => {
    const socket = await net.start([`*.example.com:${net.canaryPort}`, 'web.example.com']);
    const bytes = Buffer.from(literal).toString('latin1');
    const plain = await raw(
      socket,
      `GET http://${bytes}:${net.canaryPort}/x HTTP/1.1\r\nHost: web.example.com\r\nConnection: close\r\n\r\n`,
    );
    expect(plain).toMatch(/^HTTP\/1\.1 40[03] /);
    const connected = await raw(socket, `CONNECT ${bytes}:${net.canaryPort} HTTP/1.1\r\n\r\n`);
    expect(connected).toMatch(/^HTTP\/1\.1 40[03] /);
    expect([net.hits, net.seen, net.dns.asked]).toEqual([[], [], []]);
  });

  it.each([
    ['loopback', '127.0.0.1'],
    ['private', '10.0.0.1'],
    ["a cloud's metadata service", '169.254.169.254'],
    ["a cloud's metadata service", '100.100.100.200'],
    ['loopback', '::1'],
    ["a cloud's metadata service", 'fd00:ec2::254'],
    ['loopback, in an IPv4-mapped address', '::ffff:127.0.0.1'],
    ['loopback, in an NAT64 address', '64:ff9b::7f00:1'],
    ['loopback, in an 6to4 address', '2002:7f00:1::'],
  ])('an allowed name that leads to %s (%s), alone or beside a good address', async (why, address) => {
    const type = address.includes(':') ? 'AAAA' : 'A';
    net.zone = (name, asked) => [
      ...(name.startsWith('both') && asked === 'A' ? [INTERNET] : []),
      ...(asked === type ? [address] : []),
    ];
    const socket = await net.start([`*.example.com:${net.canaryPort}`]);
    for (const name of ['alone.example.com', 'both.example.com']) {
      const answer = await ask(socket, `http://${name}:${net.canaryPort}/`);
      expect(answer.status).toBe(403);
      expect(answer.body).toContain(`, which is ${why}: not reachable`);
      expect((await tunnel(socket, `${name}:${net.canaryPort}`)).status).toBe(403);
    }
    expect(net.hits).toEqual([]);
    expect(net.open.flatMap((egress) => egress.refused().map(({ host }) => host))).toEqual([
      'alone.example.com',
      'both.example.com',
    ]);
  });

  it('a second answer of the DNS: the connection is made to the address that was checked', async () => {
    // The same net.port at both addresses: who looks a second time gets to the canary.
    const twin = createServer((_, answer) => answer.end('public'));
    await listen(twin, INTERNET, net.canaryPort);
    net.zone = (_name, type, nth) => (type === 'A' ? [nth === 1 ? INTERNET : '127.0.0.1'] : []);
    const socket = await net.start([`rebind.example.com:${net.canaryPort}`]);
    expect(await ask(socket, `http://rebind.example.com:${net.canaryPort}/`)).toMatchObject({
      body: 'public',
    });
    expect(net.dns.asked.filter((one) => one.startsWith('A '))).toHaveLength(1);
    expect((await ask(socket, `http://rebind.example.com:${net.canaryPort}/`)).status).toBe(403);
    expect(net.hits).toEqual([]);
    twin.closeAllConnections();
    twin.close();
  });

  it('https:// without CONNECT, other schemes, no proxy request, a user name', async () => {
    const socket = await net.start([`web.example.com:${net.port}`]);
    const texts = new Map([
      [`https://web.example.com:${net.port}/`, 'https:// is not sent on by this proxy: use CONNECT for it'],
      [`ftp://web.example.com:${net.port}/`, 'ftp:// is not sent on'],
      ['/', 'this is a proxy'],
      [`http://user@web.example.com:${net.port}/`, 'not a host and a port'],
    ]);
    for (const [url, text] of texts) {
      const answer = await ask(socket, url);
      expect(answer.status).toBe(400);
      expect(answer.body).toContain(text);
    }
    expect(net.seen).toEqual([]);
  });

  it('two messages in one: what says two lengths is refused, a body stays a body', async () => {
    const socket = await net.start([`web.example.com:${net.port}`]);
    const start1 = `POST http://web.example.com:${net.port}/one HTTP/1.1\r\nHost: x\r\n`;
    const smuggled = `GET http://web.example.com:${net.port}/two HTTP/1.1\r\nHost: x\r\n\r\n`;
    for (const framing of [
      'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n',
      'Content-Length: 5\r\nContent-Length: 6\r\n',
      'Transfer-Encoding: chunked, identity\r\n',
      'Transfer-Encoding : chunked\r\n',
      'Content-Length: +5\r\n',
    ])
      expect(await raw(socket, `${start1}${framing}\r\n0\r\n\r\n${smuggled}`)).toMatch(/^HTTP\/1\.1 400 /);
    expect(net.seen).toEqual([]);
    const chunk = `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`;
    await raw(socket, `${start1}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n${chunk}`);
    expect(net.seen.map(({ url, body }) => [url, body])).toEqual([['/one', smuggled]]);
  });
});
