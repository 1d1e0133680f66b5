// Which Temporal server: TEMPORAL_* variables or a profile of temporal.toml (both by @temporalio/envconfig), else the
// one that `signalbox up` runs for this fleet.

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection, type ConnectionOptions } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';

export interface ServerAddress {
  connection: ConnectionOptions;
  namespace: string;
  /** Where this was found, for people. */
  source: string;
  uiUrl?: string;
}

/** Written by `up` into the fleet's folder while its server runs. */
export interface ServerNote {
  address: string;
  namespace: string;
  uiUrl?: string;
  pid: number;
}

export const serverNoteFile = (home: string): string => join(home, 'server.json');

export class NoServer extends Error {}

/** The address that the environment or a temporal.toml profile gives; undefined when neither says anything. */
export function givenServer(): ServerAddress | undefined {
  const profile = process.env.TEMPORAL_PROFILE;
  const file = process.env.TEMPORAL_CONFIG_FILE ?? defaultConfigFile();
  if (!process.env.TEMPORAL_ADDRESS && !profile && !existsSync(file)) return undefined;
  const { connectionOptions, namespace } = loadClientConnectConfig();
  const address = connectionOptions.address;
  if (!address) return undefined;
  const source = process.env.TEMPORAL_ADDRESS
    ? 'TEMPORAL_ADDRESS'
    : `${profile ? `profile ${profile} of ` : ''}${file}`;
  return { connection: connectionOptions, namespace: namespace ?? 'default', source };
}

/** Where envconfig looks for temporal.toml. */
function defaultConfigFile(): string {
  const base =
    process.platform === 'darwin'
      ? join(homedir(), 'Library', 'Application Support')
      : process.platform === 'win32'
        ? (process.env.AppData ?? homedir())
        : (process.env.XDG_CONFIG_HOME ?? join(homedir(), '.config'));
  return join(base, 'temporalio', 'temporal.toml');
}

/** The given server, or the one that `up` noted down. Throws NoServer with what to do. */
export async function findServer(home: string): Promise<ServerAddress> {
  const given = givenServer();
  if (given) return given;
  const note = await readFile(serverNoteFile(home), 'utf8').catch(() => undefined);
  if (note === undefined)
    throw new NoServer('no Temporal server is known: start one with `signalbox up`, or set TEMPORAL_ADDRESS');
  const { address, namespace, uiUrl } = JSON.parse(note) as ServerNote;
  return { connection: { address }, namespace, source: '`signalbox up`', ...(uiUrl ? { uiUrl } : {}) };
}

/** Throws NoServer when it does not answer within ten seconds. */
export async function connect(server: ServerAddress): Promise<Client> {
  try {
    const connection = await Connection.connect({ connectTimeout: '10s', ...server.connection });
    return new Client({ connection, namespace: server.namespace });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new NoServer(
      `the Temporal server at ${server.connection.address} (from ${server.source}) does not answer: ${why}`,
    );
  }
}
