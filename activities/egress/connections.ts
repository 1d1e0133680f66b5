// From a name to a connection: all its addresses are looked up by the worker, each is checked, and the connection is
// made to one of those that were checked. Nothing looks the name up again, so a second answer of its DNS counts for
// nothing (DNS rebinding).

import { Resolver } from 'node:dns/promises';
import { connect, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { rootCertificates, connect as tlsConnect } from 'node:tls';
import { type AddressRange, forbiddenAddress } from '../../src/domain/addresses.js';

/** All addresses of a name; rejects when it has none. Aborting ends the look-up. */
export type Resolve = (name: string, signal: AbortSignal) => Promise<string[]>;

/** An address that does not answer is given this long before the next is tried beside it (happy eyeballs, RFC 8305). */
const STAGGER_MS = 250;
/** A name with more addresses than this has enough of them. */
const MOST_ADDRESSES = 8;

/** The agent may not: told to it and listed. */
export class Refused extends Error {}

/** It may, but the other side is not there. */
export class Unreachable extends Error {}

/**
 * Asks the DNS servers of the system, or the given ones (`127.0.0.1:5353`). Not getaddrinfo: that takes a thread of a few for as
 * long as a slow server likes, and /etc/hosts says what this host thinks, not what is public.
 */
export function dnsResolver(servers?: readonly string[]): Resolve {
  return async (name, signal) => {
    const dns = new Resolver({ timeout: 2_000, tries: 3 });
    if (servers) dns.setServers(servers);
    const cancel = () => dns.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const answers = await Promise.allSettled([dns.resolve4(name), dns.resolve6(name)]);
      const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
      const failed = answers.find((answer) => answer.status === 'rejected');
      if (found.length === 0 && failed) throw failed.reason;
      return found;
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  };
}

/** The addresses of the name, every one of them allowed. Throws Refused or Unreachable. */
export async function checkedAddresses(
  name: string,
  resolve: Resolve,
  reachable: readonly AddressRange[],
  signal: AbortSignal,
): Promise<string[]> {
  let found: string[];
  try {
    found = await resolve(name, signal);
  } catch (error) {
    throw new Unreachable(`${name} has no address: ${codeOf(error)}`);
  }
  if (found.length === 0) throw new Unreachable(`${name} has no address`);
  const own = Object.values(networkInterfaces()).flatMap((ones) => (ones ?? []).map((one) => one.address));
  for (const address of found) {
    const why = forbiddenAddress(address, { reachable, own });
    // One is enough: a name that leads to a private address as well is not to be trusted with the others.
    if (why !== undefined)
      throw new Refused(
        `${name} leads to ${address.slice(0, 50).replace(/[^0-9a-f:.]/gi, '?')}, which is ${why}: not reachable under network.allow`,
      );
  }
  return found.slice(0, MOST_ADDRESSES);
}

/** Connects to the first of the addresses that answers. Throws Unreachable. */
export function dial(
  addresses: readonly string[],
  port: number,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const waiting = [...addresses];
    const open = new Set<Socket>();
    let stagger: NodeJS.Timeout | undefined;
    const end = (winner: Socket | undefined, why: string) => {
      clearTimeout(stagger);
      clearTimeout(limit);
      signal.removeEventListener('abort', abort);
      for (const socket of open) if (socket !== winner) socket.destroy();
      open.clear();
      waiting.length = 0;
      if (winner) resolve(winner);
      else reject(new Unreachable(why));
    };
    const abort = () => end(undefined, 'the connection was given up');
    const limit = setTimeout(() => end(undefined, `no answer in ${timeoutMs / 1_000} s`), timeoutMs);
    const next = () => {
      clearTimeout(stagger);
      const host = waiting.shift();
      if (host === undefined) return;
      const socket = connect({ host, port, noDelay: true, allowHalfOpen: true });
      open.add(socket);
      socket.once('connect', () => end(socket, ''));
      // Stays for good: an error without a listener would end the worker.
      socket.on('error', (error) => {
        if (!open.delete(socket)) return;
        if (waiting.length > 0) next();
        else if (open.size === 0) end(undefined, codeOf(error));
      });
      if (waiting.length > 0) stagger = setTimeout(next, STAGGER_MS);
    };
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    else next();
  });
}

/** TLS over the connection, the certificate verified for the name. Throws Unreachable. */
export function secure(
  socket: Socket,
  name: string,
  { ca, timeoutMs, signal }: { ca: readonly string[] | undefined; timeoutMs: number; signal: AbortSignal },
): Promise<Socket> {
  const secured = tlsConnect({
    socket,
    servername: name,
    ALPNProtocols: ['http/1.1'],
    // Said here, so that NODE_TLS_REJECT_UNAUTHORIZED of the worker changes nothing.
    rejectUnauthorized: true,
    ...(ca ? { ca: [...rootCertificates, ...ca] } : {}),
  });
  return within(timeoutMs, signal, `${name}: no TLS handshake`, (until) => {
    return new Promise<Socket>((resolve, reject) => {
      const fail = (why: string) => {
        secured.destroy();
        socket.destroy();
        reject(new Unreachable(`${name}: TLS failed: ${why}`));
      };
      secured.once('secureConnect', () => resolve(secured));
      secured.on('error', (error) => fail(codeOf(error)));
      secured.once('close', () => fail('closed'));
      until.addEventListener('abort', () => fail('given up'), { once: true });
    });
  });
}

/** Runs it with a signal that aborts after the time, or with the given one. */
export async function within<T>(
  timeoutMs: number,
  signal: AbortSignal,
  what: string,
  run: (until: AbortSignal) => Promise<T>,
): Promise<T> {
  const until = new AbortController();
  let stop = (_why: string): void => undefined;
  const stopped = new Promise<never>((_, reject) => {
    stop = (why) => {
      reject(new Unreachable(why));
      until.abort();
    };
  });
  const gone = () => stop('the agent is gone');
  const timer = setTimeout(() => stop(`${what} in ${timeoutMs / 1_000} s`), timeoutMs);
  signal.addEventListener('abort', gone, { once: true });
  try {
    if (signal.aborted) gone();
    return await Promise.race([stopped, run(until.signal)]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', gone);
  }
}

/** What went wrong, without what the other side said. */
export const codeOf = (error: unknown): string =>
  (error as NodeJS.ErrnoException | undefined)?.code ?? 'unknown error';
