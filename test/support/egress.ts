// A small internet on 127.0.0.x for the tests of the proxy: a DNS server that answers real queries, servers with real
// certificates, and an agent that speaks to the unix socket.

import { execFileSync } from 'node:child_process';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import {
  createServer,
  type IncomingMessage,
  type RequestOptions,
  request,
  type ServerResponse,
  type Server as WebServer,
} from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, connect, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach } from 'vitest';
import { dnsResolver } from '../../activities/egress/connections.js';
import { type Egress, type EgressOptions, startEgress } from '../../activities/egress/proxy.js';
import { parseAddress } from '../../src/domain/addresses.js';
import { Network } from '../../src/domain/egress.js';

/** Plays the public internet: named in `alsoReachable`. */
export const INTERNET = '127.0.0.5';
export const SECRET = 'sk-canary-7f3a9c';

/** The addresses of a name; `nth` counts the questions for it from 1. 'silence' gives no answer at all. */
export type Zone = (name: string, type: 'A' | 'AAAA', nth: number) => string[] | 'silence';

export class DnsServer {
  readonly asked: string[] = [];
  private constructor(private readonly socket: UdpSocket) {}

  static async open(zone: Zone): Promise<DnsServer> {
    const socket = createSocket('udp4');
    const server = new DnsServer(socket);
    socket.on('message', (query, from) => {
      const labels: string[] = [];
      let at = 12;
      for (let size = query[at] ?? 0; size > 0; size = query[at] ?? 0) {
        labels.push(query.toString('latin1', at + 1, at + 1 + size));
        at += size + 1;
      }
      const type = query.readUInt16BE(at + 1) === 28 ? 'AAAA' : 'A';
      const name = labels.join('.').toLowerCase();
      server.asked.push(`${type} ${name}`);
      const nth = server.asked.filter((one) => one === `${type} ${name}`).length;
      const found = zone(name, type, nth);
      if (found === 'silence') return;
      const answers = found.map((address) => {
        const data = Buffer.from(parseAddress(address) ?? []);
        const head = Buffer.from([0xc0, 12, 0, type === 'A' ? 1 : 28, 0, 1, 0, 0, 0, 0, 0, data.length]);
        return Buffer.concat([head, data]);
      });
      const header = Buffer.from([0, 0, 0x81, 0x80, 0, 1, 0, answers.length, 0, 0, 0, 0]);
      query.copy(header, 0, 0, 2);
      socket.send(Buffer.concat([header, query.subarray(12, at + 5), ...answers]), from.port, from.address);
    });
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.socket.address().port}`;
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.socket.close(() => resolve()));
  }
}

export interface Certificates {
  ca: string;
  cert: string;
  key: string;
}

/** A certificate authority of the test's own, and a certificate of it for the names. */
export function makeCertificates(names: string[]): Certificates {
  const dir = mkdtempSync(join(tmpdir(), 'signalbox-ca-'));
  try {
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' });
    const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    openssl('req', '-x509', ...ec, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=Test', '-days', '2');
    openssl('req', ...ec, '-keyout', 'key.pem', '-out', 'csr.pem', '-subj', '/CN=test');
    writeFileSync(join(dir, 'ext'), `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}`);
    const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'ext', '-days', '2'];
    openssl('x509', '-req', '-in', 'csr.pem', '-out', 'cert.pem', ...signed);
    const read = (file: string) => readFileSync(join(dir, file), 'utf8');
    return { ca: read('ca.pem'), cert: read('cert.pem'), key: read('key.pem') };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** Listens on the address, on any free port or the given one; resolves to the port. */
export async function listen(server: Server, address: string, port = 0): Promise<number> {
  server.listen(port, address);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: string;
}

/** One request of an agent to its proxy. */
export function ask(
  socketPath: string,
  url: string,
  options: RequestOptions = {},
  body?: string | Buffer,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path: url, agent: false, ...options }, (answer) => {
      const parts: Buffer[] = [];
      answer.on('data', (part: Buffer) => parts.push(part));
      answer.on('error', reject);
      answer.on('end', () =>
        resolve({
          status: answer.statusCode ?? 0,
          headers: answer.headers,
          body: Buffer.concat(parts).toString('latin1'),
        }),
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** CONNECT: the tunnel, or the answer that there is none. */
export function tunnel(socketPath: string, authority: string): Promise<{ status: number; socket: Socket }> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method: 'CONNECT', path: authority, agent: false });
    sent.once('connect', (answer, socket) => {
      socket.on('error', () => undefined);
      resolve({ status: answer.statusCode ?? 0, socket: socket as Socket });
    });
    sent.once('error', reject);
    sent.end();
  });
}

/** When it is closed, in whatever way. */
export const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => (socket.closed ? resolve() : socket.once('close', () => resolve())));

/** Bytes as they are, and all that comes back until the proxy closes. */
export async function raw(socketPath: string, bytes: string): Promise<string> {
  const socket = connect(socketPath);
  socket.on('error', () => undefined);
  let text = '';
  socket.on('data', (data) => {
    text += data.toString('latin1');
  });
  socket.write(bytes);
  await closed(socket);
  return text;
}

interface Seen {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  raw: string[];
  body: string;
}

/** The servers, anew for each test. */
export class Internet {
  readonly dir = mkdtempSync(join(tmpdir(), 'sb-egress-'));
  /** What the servers were asked. */
  readonly seen: Seen[] = [];
  /** What the server on 127.0.0.1 was asked, where no agent may get. */
  readonly hits: string[] = [];
  readonly logs: string[] = [];
  readonly open: Egress[] = [];
  readonly sockets = new Set<Socket>();
  zone: Zone = (name, type) => (type === 'A' && name.endsWith('.example.com') ? [INTERNET] : []);
  dns!: DnsServer;
  port = 0;
  securePort = 0;
  canaryPort = 0;
  private readonly servers: Server[] = [];

  constructor(readonly certificates: Certificates) {}

  async begin(): Promise<void> {
    this.dns = await DnsServer.open((...question) => this.zone(...question));
    const serve = (request: IncomingMessage, answer: ServerResponse) => this.serve(request, answer);
    const canary: WebServer = createServer((request, answer) => {
      this.hits.push(request.url ?? '');
      answer.end('CANARY');
    });
    this.port = await this.add(createServer(serve));
    this.securePort = await this.add(createSecureServer(this.certificates, serve));
    this.canaryPort = await this.add(canary, '127.0.0.1');
  }

  /** A server that ends with the test. */
  add(server: Server, address = INTERNET, port = 0): Promise<number> {
    this.servers.push(server);
    server.on('connection', (socket: Socket) => {
      this.sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => this.sockets.delete(socket));
    });
    return listen(server, address, port);
  }

  private serve(request: IncomingMessage, answer: ServerResponse): void {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { method = '', url = '', headers, rawHeaders } = request;
      const body = Buffer.concat(parts).toString('latin1');
      this.seen.push({ method, url, headers, raw: rawHeaders, body });
      const to = /^\/redirect\?to=(.*)$/.exec(url)?.[1];
      if (to) return answer.writeHead(302, { location: decodeURIComponent(to) }).end();
      if (url === '/echo') answer.setHeader('x-got', headers.authorization ?? 'none');
      answer.end(`hello ${body}`);
    });
  }

  /** The proxy of an agent with this list; resolves to its socket. */
  async start(
    allow: string[],
    { keys = [], ...more }: Partial<EgressOptions> & { keys?: object[] } = {},
  ): Promise<string> {
    const network = Network.parse({ allow, keys });
    if (typeof network === 'string') throw new Error('a list');
    const socket = join(this.dir, `${this.open.length}.sock`);
    const egress = await startEgress({
      socket,
      network,
      secrets: (name) => (name === 'API_KEY' ? SECRET : undefined),
      resolve: dnsResolver([this.dns.address]),
      alsoReachable: [INTERNET],
      ca: [this.certificates.ca],
      log: (text) => this.logs.push(text),
      ...more,
    });
    this.open.push(egress);
    return socket;
  }

  async end(): Promise<void> {
    await Promise.all(this.open.map((egress) => egress.close()));
    for (const socket of this.sockets) socket.destroy();
    for (const server of this.servers) server.close();
    await this.dns.close();
    rmSync(this.dir, { recursive: true });
  }
}

/** One internet for each test of the file; the object stands for the one of the test that runs. */
export function internet(): Internet {
  let certificates: Certificates;
  let current: Internet;
  beforeAll(() => {
    certificates = makeCertificates(['api.example.com', 'web.example.com']);
  });
  beforeEach(async () => {
    current = new Internet(certificates);
    await current.begin();
  });
  afterEach(() => current.end());
  return new Proxy({} as Internet, {
    get: (_, name) => {
      const value = Reflect.get(current, name) as unknown;
      return typeof value === 'function' ? value.bind(current) : value;
    },
    set: (_, name, value) => Reflect.set(current, name, value),
  });
}
