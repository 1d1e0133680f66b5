// One plain request, built anew on a connection that is already made, and its answer back to the agent.

import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { codeOf, Unreachable } from './connections.js';
import { responseHeaders } from './headers.js';

export interface Passing {
  /** Connected, and of no use afterwards. */
  socket: Socket;
  path: string;
  headers: string[];
  headerBytes: number;
  /** Taken out of the headers of the answer. */
  hidden: readonly string[];
  /** Aborts when the agent is gone. */
  signal: AbortSignal;
}

/** Resolves when the answer is with the agent, or the agent is gone. Throws Unreachable when there is none. */
export function passOn(
  request: IncomingMessage,
  response: ServerResponse,
  { socket, path, headers, headerBytes, hidden, signal }: Passing,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const upstream = httpRequest({
      createConnection: () => socket,
      method: request.method ?? 'GET',
      path,
      headers,
      setHost: false,
      maxHeaderSize: headerBytes,
      insecureHTTPParser: false,
    });
    let answered = false;
    const fail = (why: string) => {
      // Once there is an answer, its own end says how it went.
      if (!answered) reject(new Unreachable(`no answer: ${why}`));
      upstream.destroy();
    };
    upstream.once('response', (answer) => {
      try {
        response.writeHead(answer.statusCode ?? 502, answer.statusMessage, responseHeaders(answer, hidden));
      } catch (error) {
        return fail(codeOf(error));
      }
      answered = true;
      response.flushHeaders();
      // A broken answer breaks off towards the agent too: it must not take half of it for the whole.
      pipeline(answer, response, () => resolve());
    });
    upstream.on('error', (error) => fail(codeOf(error)));
    upstream.once('close', () => fail('closed'));
    const gone = () => {
      upstream.destroy();
      resolve();
    };
    signal.addEventListener('abort', gone, { once: true });
    if (signal.aborted) gone();
    request.pipe(upstream);
  });
}
