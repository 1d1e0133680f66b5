// What an agent asks its proxy for: a name and a port, or the reason why it is none.

import { readHost } from '../../src/domain/egress.js';
import { Refused } from './connections.js';

/** Nothing to do with the network: told to the agent with this status. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    text: string,
  ) {
    super(text);
  }
}

export interface Target {
  name: string;
  port: number;
}

/** An address, or what is no host at all. */
export class NotAName extends Refused {
  constructor(
    readonly host: string,
    readonly port: number,
  ) {
    super(`${host} is not a name: network.allow has names only, and no address is reached but through one`);
  }
}

function targetOf(host: string, port: number): Target {
  const read = readHost(host);
  const shown = (read?.kind === 'address' ? read.address : host).replace(/[^\x21-\x7e]/g, '?').slice(0, 253);
  if (read?.kind !== 'name' || port < 1 || port > 65_535) throw new NotAName(shown, port);
  return { name: read.name, port };
}

/** `name:port`, or `[address]:port`. A user's name or an escape in it is not taken. */
const AUTHORITY = /^(\[[^\]]*\]|[^:@[\]/?#\\%\s]+)(?::(\d{1,5}))?$/;

/** The target of a CONNECT. Throws Problem or NotAName. */
export function authorityOf(text: string, fallback?: number): Target {
  const [, host, digits] = AUTHORITY.exec(text) ?? [];
  const port = digits === undefined ? fallback : Number(digits);
  if (host === undefined || port === undefined)
    throw new Problem(400, 'asked for what is not a host and a port, such as api.example.com:443');
  return targetOf(host, port);
}

/** The parts of `http://host:port/path`; the path stays as it was written. Throws Problem or NotAName. */
export function absoluteForm(url: string): { target: Target; path: string; host: string } {
  const [, scheme = '', authority = '', rest = ''] =
    /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)([^#]*)/i.exec(url) ?? [];
  if (scheme === '') throw new Problem(400, 'this is a proxy: it takes CONNECT and http://host/path');
  if (scheme.toLowerCase() !== 'http')
    throw new Problem(400, `${scheme}:// is not sent on by this proxy: use CONNECT for it`);
  const target = authorityOf(authority, 80);
  const path = rest.startsWith('/') ? rest : `/${rest}`;
  return { target, path, host: target.port === 80 ? target.name : `${target.name}:${target.port}` };
}
