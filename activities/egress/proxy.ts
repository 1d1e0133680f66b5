// The way out of a workstation: an HTTP proxy on a unix socket, one for each agent, so that the socket itself says who
// asks. CONNECT makes a tunnel, a plain http request is built anew and sent on; each is checked by name, then by address
// (connections.ts). A host of `network.keys` gets its plain requests as https with the key put in here.
// Not seen: what is said inside a tunnel. An allowed host that fronts for others (a CDN) leads to those as well.

import { chmod, chown } from 'node:fs/promises';
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  validateHeaderValue,
} from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type AddressRange, parseRange } from '../../src/domain/addresses.js';
import { type AllowList, allowedBy, keysFor } from '../../src/domain/egress.js';
import {
  checkedAddresses,
  codeOf,
  dial,
  dnsResolver,
  Refused,
  type Resolve,
  secure,
  Unreachable,
  within,
} from './connections.js';
import { requestHeaders } from './headers.js';
import { passOn } from './pass-on.js';
import { type Refusal, Refusals } from './refusals.js';
import { absoluteForm, authorityOf, NotAName, Problem, type Target } from './targets.js';

export interface EgressLimits {
  /** Requests and tunnels at once; one more is answered with 503. */
  exchanges: number;
  /** Connections of the agent; one more is closed at once. */
  connections: number;
  /** Bytes of the headers of a request or an answer. */
  headerBytes: number;
  /** Milliseconds that the headers of a request may take. */
  headersMs: number;
  /** Milliseconds for the look-up of a name, for a connection and for a TLS handshake, each. */
  connectMs: number;
  /** Milliseconds without a byte either way. A model may think for minutes before it says one. */
  idleMs: number;
}

const LIMITS: EgressLimits = {
  exchanges: 128,
  connections: 512,
  headerBytes: 32 * 1024,
  headersMs: 10_000,
  connectMs: 10_000,
  idleMs: 15 * 60_000,
};

/** What sun_path of a unix socket holds, without its NUL. */
const MOST_SOCKET_PATH = 107;

export interface EgressOptions {
  /** Path of the socket to make. Who may open it may use the keys: its folder must be closed to others. */
  socket: string;
  /** Who may use the socket, beside root: the user the sandbox runs as. The worker's own when left out. */
  owner?: { uid: number; gid: number };
  network: AllowList;
  /** The value of a secret by its name. */
  secrets: (name: string) => string | undefined;
  /** How names are looked up; the DNS servers of the system when left out. */
  resolve?: Resolve;
  /** Addresses and ranges of the operator's own networks that allowed names may lead to (the `Reachable` of the config). */
  alsoReachable?: readonly string[];
  /** Certificate authorities (PEM) that count for hosts with keys, beside the public ones. */
  ca?: readonly string[];
  limits?: Partial<EgressLimits>;
  /** Told once of each thing refused; gets no secret. */
  log: (text: string) => void;
}

export interface Egress {
  /** What the agent was refused so far. */
  refused(): Refusal[];
  /** Ends every connection; resolves when nothing is left, the socket's file included. */
  close(): Promise<void>;
}

/** Starts the proxy of one agent. Throws when the socket cannot be made, or a secret of the keys is missing. */
export async function startEgress(options: EgressOptions): Promise<Egress> {
  const length = Buffer.byteLength(options.socket);
  if (length > MOST_SOCKET_PATH)
    throw new Error(
      `the path of a unix socket has at most ${MOST_SOCKET_PATH} bytes, ${options.socket} has ${length}`,
    );
  const proxy = new AgentProxy(options);
  await proxy.listen();
  return proxy;
}

class AgentProxy implements Egress {
  private readonly limits: EgressLimits;
  private readonly resolve: Resolve;
  private readonly reachable: readonly AddressRange[];
  private readonly secrets: ReadonlyMap<string, string>;
  private readonly refusals = new Refusals();
  private readonly server: Server;
  /** Both sides of everything that is open. */
  private readonly sockets = new Set<Duplex>();
  private readonly running = new Set<Promise<void>>();
  private exchanges = 0;
  private closing = false;

  constructor(private readonly options: EgressOptions) {
    this.limits = { ...LIMITS, ...options.limits };
    this.resolve = options.resolve ?? dnsResolver();
    this.reachable = (options.alsoReachable ?? []).map((text) => {
      const range = parseRange(text);
      if (!range) throw new Error(`alsoReachable: "${text}" is not an address or a range of addresses`);
      return range;
    });
    this.secrets = readSecrets(options);
    const { headerBytes, headersMs, idleMs, connections } = this.limits;
    this.server = createServer({
      maxHeaderSize: headerBytes,
      headersTimeout: headersMs,
      // A whole request may take as long as something moves: an upload is long.
      requestTimeout: 0,
      connectionsCheckingInterval: Math.min(1_000, headersMs),
      insecureHTTPParser: false,
    });
    this.server.maxConnections = connections;
    this.server.timeout = idleMs;
    this.server.on('connection', (socket: Socket) => this.track(socket));
    this.server.on('request', (request, response) => this.run(this.plain(request, response)));
    this.server.on('connect', (request, socket, head) => this.run(this.tunnel(request, socket, head)));
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(this.options.socket, () => {
        this.server.off('error', reject);
        // Out of file descriptors, for example: connections wait, the worker goes on.
        this.server.on('error', (error) => this.options.log(`network: ${codeOf(error)}`));
        resolve();
      });
    });
    try {
      await chmod(this.options.socket, 0o600);
      const { owner } = this.options;
      if (owner) await chown(this.options.socket, owner.uid, owner.gid);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  refused(): Refusal[] {
    return this.refusals.list();
  }

  async close(): Promise<void> {
    this.closing = true;
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    const gone = [...this.sockets].map(
      (socket) => socket.closed || new Promise((resolve) => socket.once('close', resolve)),
    );
    for (const socket of this.sockets) socket.destroy();
    await Promise.all([closed, ...gone, Promise.allSettled(this.running)]);
  }

  private run(exchange: Promise<void>): void {
    this.running.add(exchange);
    const done = () => this.running.delete(exchange);
    exchange.then(done, (error) => {
      done();
      this.options.log(`network: the proxy failed: ${codeOf(error)}`);
    });
  }

  /** Ends with the proxy, and never throws into the worker. */
  private track<S extends Duplex>(socket: S): S {
    this.sockets.add(socket);
    // Requests that follow each other without waiting listen at the same time.
    socket.setMaxListeners(0);
    socket.once('close', () => this.sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    // Made while the others were ended.
    if (this.closing) socket.destroy();
    return socket;
  }

  private async tunnel(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    // What it says before the answer waits; that it goes away is seen when it is read again.
    try {
      await this.exchange(socket, async (signal) => {
        const target = authorityOf(request.url ?? '');
        const upstream = await this.connect(target, signal);
        socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
        if (head.length > 0) upstream.write(head);
        await this.join(socket as Socket, upstream);
      });
    } catch (error) {
      const { status, text } = this.explain(error);
      if (!socket.writable) return;
      // Many clients show no more of a refused CONNECT than its status line.
      const lines = [
        `HTTP/1.1 ${status} ${text}`,
        'Content-Type: text/plain; charset=utf-8',
        `Content-Length: ${Buffer.byteLength(text) + 1}`,
        'Connection: close',
      ];
      (socket as Socket).setTimeout(Math.min(5_000, this.limits.idleMs), () => socket.destroy());
      socket.resume();
      socket.end(`${lines.join('\r\n')}\r\n\r\n${text}\n`);
    }
  }

  /** Resolves when both ends are closed. */
  private async join(agent: Socket, upstream: Socket): Promise<void> {
    const both = [
      [agent, upstream],
      [upstream, agent],
    ] as const;
    const closed = both.map(
      ([one, other]) =>
        new Promise<void>((resolve) => {
          const end = () => {
            // One that has said all leaves the other time to say the rest.
            if (!one.readableEnded || one.errored) other.destroy();
            resolve();
          };
          one.setTimeout(this.limits.idleMs, () => one.destroy());
          if (one.closed) end();
          else one.once('close', end);
          one.pipe(other);
        }),
    );
    await Promise.all(closed);
  }

  private async plain(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.sendDate = false;
    response.on('error', () => response.destroy());
    request.on('error', () => response.destroy());
    try {
      await this.exchange(request.socket, (signal) => this.forward(request, response, signal));
    } catch (error) {
      const { status, text } = this.explain(error);
      if (response.headersSent || !response.writable) response.destroy();
      else
        response
          .writeHead(status, {
            'content-type': 'text/plain; charset=utf-8',
            'content-length': Buffer.byteLength(text) + 1,
          })
          .end(`${text}\n`);
      // The rest of its body is of no use to anyone; the answer to the next request comes after it.
      request.resume();
    }
  }

  private async forward(
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const { target, path, host } = absoluteForm(request.url ?? '');
    const keyed = keysFor(this.options.network.keys, target.name, target.port);
    // It sends the headers back that it got, and with them the key.
    if (keyed && request.method === 'TRACE')
      throw new Problem(405, `TRACE is not sent to ${target.name}: a key goes there`);
    const to = keyed ? { name: target.name, port: keyed.port } : target;
    let socket = await this.connect(to, signal);
    if (keyed) {
      const { ca, limits } = { ca: this.options.ca, limits: this.limits };
      socket = this.track(await secure(socket, target.name, { ca, timeoutMs: limits.connectMs, signal }));
    }
    const put = (keyed?.keys ?? []).map(({ header, value, secret }): [string, string] => [
      header,
      value.replaceAll('{secret}', () => this.secrets.get(secret) ?? ''),
    ]);
    socket.setTimeout(this.limits.idleMs, () => socket.destroy());
    try {
      await passOn(request, response, {
        socket,
        path,
        headers: requestHeaders(request, host, put),
        headerBytes: this.limits.headerBytes,
        signal,
        hidden: (keyed?.keys ?? []).flatMap(({ secret }) => this.secrets.get(secret) ?? []),
      });
    } finally {
      socket.destroy();
    }
  }

  /** Runs one request or tunnel of the agent's, when it has not too many. Its signal aborts when the agent is gone. */
  private async exchange(agent: Duplex, run: (signal: AbortSignal) => Promise<void>): Promise<void> {
    if (this.exchanges >= this.limits.exchanges)
      throw new Problem(503, `this agent has ${this.limits.exchanges} connections open: try again later`);
    this.exchanges += 1;
    const gone = new AbortController();
    const abort = () => gone.abort();
    agent.once('close', abort);
    if (agent.destroyed) abort();
    try {
      await run(gone.signal);
    } finally {
      this.exchanges -= 1;
      agent.off('close', abort);
    }
  }

  /** A connection to a checked address of an allowed name. */
  private async connect({ name, port }: Target, signal: AbortSignal): Promise<Socket> {
    const { connectMs: timeoutMs } = this.limits;
    try {
      if (!allowedBy(this.options.network.allow, name, port))
        throw new Refused(`${name} (port ${port}) is not in network.allow`);
      const addresses = await within(timeoutMs, signal, `no DNS answer for ${name}`, (until) =>
        checkedAddresses(name, this.resolve, this.reachable, until),
      );
      return this.track(await dial(addresses, port, { timeoutMs, signal }));
    } catch (error) {
      if (error instanceof Refused) this.note(name, port, error.message);
      if (error instanceof Unreachable) throw new Unreachable(`${name} (port ${port}): ${error.message}`);
      throw error;
    }
  }

  private note(host: string, port: number, why: string): void {
    if (this.refusals.add(host, port, why)) this.options.log(`network: refused: ${why}`);
  }

  /** What the agent is told. */
  private explain(error: unknown): { status: number; text: string } {
    if (error instanceof NotAName) this.note(error.host, error.port, error.message);
    if (error instanceof Refused) return { status: 403, text: error.message };
    if (error instanceof Problem) return { status: error.status, text: error.message };
    if (error instanceof Unreachable) return { status: 502, text: error.message };
    return { status: 502, text: `the proxy failed: ${codeOf(error)}` };
  }
}

/** Each secret of the keys, fit for a header. Throws without showing one. */
function readSecrets({ network, secrets }: EgressOptions): Map<string, string> {
  const found = new Map<string, string>();
  for (const { secret, host, value } of network.keys) {
    const text = secrets(secret);
    if (text === undefined || text === '')
      throw new Error(
        `network.keys: the secret ${secret} for ${host} is ${text === '' ? 'empty' : 'missing'}`,
      );
    try {
      validateHeaderValue(
        'key',
        value.replaceAll('{secret}', () => text),
      );
    } catch {
      throw new Error(
        `network.keys: the secret ${secret} for ${host} has characters that no header can have, such as the end of a line`,
      );
    }
    found.set(secret, text);
  }
  return found;
}
