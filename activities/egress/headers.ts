// Headers of a message that is passed on: those of the connection stay behind, the rest goes on as it came. How long the
// body is, is said anew, so that both sides agree on where it ends (no request smuggling).

import type { IncomingMessage } from 'node:http';

/** RFC 9110, 7.6.1, and what older clients send to proxies. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

type Pair = [name: string, value: string];

/** The headers that go on, as they came; those that the Connection header names stay behind too. */
export function endToEnd(message: IncomingMessage): Pair[] {
  const named = (message.headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase());
  const dropped = new Set([...HOP_BY_HOP, ...named]);
  const { rawHeaders } = message;
  const pairs: Pair[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = rawHeaders.slice(i, i + 2);
    if (!dropped.has(name.toLowerCase())) pairs.push([name, value]);
  }
  return pairs;
}

/** The headers of a request to `host`, with those in `put` in place of the agent's. */
export function requestHeaders(request: IncomingMessage, host: string, put: readonly Pair[]): string[] {
  const own = new Set(['host', 'content-length', 'expect', ...put.map(([name]) => name.toLowerCase())]);
  const pairs: Pair[] = [['Host', host]];
  pairs.push(...endToEnd(request).filter(([name]) => !own.has(name.toLowerCase())), ...put);
  // The parser has refused requests that say both, or say a length twice.
  if (request.headers['transfer-encoding'] !== undefined) pairs.push(['Transfer-Encoding', 'chunked']);
  else if (request.headers['content-length'] !== undefined)
    pairs.push(['Content-Length', request.headers['content-length']]);
  else if (!['GET', 'HEAD', 'DELETE', 'OPTIONS'].includes(request.method ?? ''))
    pairs.push(['Content-Length', '0']);
  pairs.push(['Connection', 'close']);
  return pairs.flat();
}

/** The headers of an answer; a secret that the other side sends back in one is taken out. */
export const responseHeaders = (response: IncomingMessage, secrets: readonly string[]): string[] =>
  endToEnd(response).flatMap(([name, value]) => [
    name,
    secrets.reduce((rest, secret) => rest.replaceAll(secret, '[redacted]'), value),
  ]);
