// What commands share: the fleet at hand, its server, how results and errors are printed, and the exit codes.

import { userInfo } from 'node:os';
import type { Client } from '@temporalio/client';
import { type Fleet, NoConfig, readFleet } from '../client/config.js';
import { connect, findServer, NoServer, type ServerAddress } from '../client/connection.js';
import { BadDocument } from '../client/documents.js';
import { FleetClient } from '../client/fleet-client.js';
import { NoAnswer, Refused } from '../client/refused.js';
import { SINGLE, taskName } from '../domain/ids.js';
import { clean, cleanJson } from '../domain/packet.js';
import { BadPattern, parsePattern, starProblem } from '../domain/paths.js';

export const EXIT = {
  ok: 0,
  /** What was asked for was done, and did not turn out well: a task failed, trees differ. */
  failed: 1,
  /** Wrong usage or bad input; nothing was done. */
  usage: 2,
  /** Refused: submitted before, path held, unknown task. Nothing was done. */
  refused: 3,
  /** No server, or no worker that answers. */
  unreachable: 4,
} as const;

export interface CommonOptions {
  config?: string;
  json?: boolean;
}

export interface Session {
  fleet: Fleet;
  server: ServerAddress;
  client: Client;
  signalbox: FleetClient;
}

/** Opens the fleet and its server, does the work, and closes the connection whatever happens. */
export async function withFleet<T>(
  options: CommonOptions,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const fleet = await readFleet(options.config);
  const server = await findServer(fleet.home);
  const client = await connect(server);
  try {
    return await work({ fleet, server, client, signalbox: new FleetClient(client, fleet.config) });
  } finally {
    await client.connection.close();
  }
}

/** Prints a result: one JSON document with --json, else lines for people, with control characters made visible. */
export function print(options: { json?: boolean }, value: unknown, text: () => string): void {
  if (options.json) process.stdout.write(`${cleanJson(JSON.stringify(value, undefined, 2))}\n`);
  else process.stdout.write(`${clean(text()).trimEnd()}\n`);
}

/** Prints what went wrong and gives the exit code that says what kind it was. */
export function report(error: unknown, json: boolean): number {
  const message = error instanceof Error ? withCause(error) : String(error);
  const code =
    error instanceof BadDocument || error instanceof NoConfig || error instanceof BadInput
      ? EXIT.usage
      : error instanceof NoServer || error instanceof NoAnswer
        ? EXIT.unreachable
        : error instanceof Refused
          ? EXIT.refused
          : EXIT.failed;
  if (json) process.stdout.write(`${cleanJson(JSON.stringify({ error: message, exitCode: code }))}\n`);
  process.stderr.write(`signalbox: ${clean(message)}\n`);
  if (code === EXIT.failed && process.env.SIGNALBOX_DEBUG && error instanceof Error)
    process.stderr.write(`${error.stack}\n`);
  return code;
}

/** Temporal's client says what it could not do; the cause says why. */
const withCause = ({ message, cause }: Error): string =>
  cause instanceof Error && !message.includes(cause.message) ? `${message}: ${cause.message}` : message;

/** An argument or a file that cannot be accepted. */
export class BadInput extends Error {}

/** "plan/task" as it is, "task" as one that was submitted on its own. */
export const fullName = (task: string): string => (task.includes('/') ? task : taskName(SINGLE, task));

export const me = (): string => {
  try {
    return userInfo().username;
  } catch {
    return 'unknown';
  }
};

/** What is wrong with a claim; undefined when nothing is. */
export function problemWithClaim(claim: string): string | undefined {
  try {
    parsePattern(claim);
    const problem = starProblem(claim);
    return problem && `claim ${JSON.stringify(claim)}: ${problem}`;
  } catch (error) {
    if (error instanceof BadPattern) return `claim ${JSON.stringify(claim)}: ${error.message}`;
    throw error;
  }
}
