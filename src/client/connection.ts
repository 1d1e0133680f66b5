// Which Temporal server: TEMPORAL_* variables or a profile of temporal.toml (both by @temporalio/envconfig), else the
// one that `signalbox up` runs for this fleet.

import { existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection, type ConnectionOptions, isGrpcServiceError } from '@temporalio/client';
import { type ClientConnectConfig, loadClientConnectConfig } from '@temporalio/envconfig';
import { z } from 'zod';
import { askAgain } from './ask-again.js';
import { BadDocument, parseText } from './documents.js';
import { dataConverter } from './payload.js';

export interface ServerAddress {
  connection: ConnectionOptions;
  namespace: string;
  /** Where this was found, for people. */
  source: string;
  uiUrl?: string;
}

/** Written by `up` into the fleet's folder while its server runs. */
const ServerNote = z.object({
  address: z.string().regex(/^\S+:\d+$/, 'host:port'),
  namespace: z.string().min(1),
  uiUrl: z.string().exactOptional(),
  pid: z.int().min(1),
});
export type ServerNote = z.infer<typeof ServerNote>;

export const serverNoteFile = (home: string): string => join(home, 'server.json');

export class NoServer extends Error {}

/** gRPC's status code. */
const NOT_FOUND = 5;

/** The address that the environment or a temporal.toml profile gives; undefined when neither says anything. Throws BadDocument. */
export function givenServer(): ServerAddress | undefined {
  const profile = process.env.TEMPORAL_PROFILE;
  const file = process.env.TEMPORAL_CONFIG_FILE ?? defaultConfigFile();
  if (!process.env.TEMPORAL_ADDRESS && !profile && !existsSync(file)) return undefined;
  const { connectionOptions, namespace } = loadSettings(file);
  const address = connectionOptions.address;
  if (!address) return undefined;
  const source = process.env.TEMPORAL_ADDRESS
    ? 'TEMPORAL_ADDRESS'
    : `${profile ? `profile ${profile} of ` : ''}${file}`;
  return { connection: connectionOptions, namespace: namespace ?? 'default', source };
}

function loadSettings(file: string): ClientConnectConfig {
  try {
    return loadClientConnectConfig();
  } catch (error) {
    throw new BadDocument(file, [error instanceof Error ? error.message : String(error)]);
  }
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

/** What `up` noted down; undefined when it does not run. Throws NoServer when the file is damaged. */
export async function readServerNote(home: string): Promise<ServerNote | undefined> {
  const file = serverNoteFile(home);
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return parseText(file, text, () => ServerNote).value;
  } catch (error) {
    if (!(error instanceof BadDocument)) throw error;
    throw new NoServer(
      `${error.message}\nIn it \`signalbox up\` notes where its server is. Stop \`signalbox up\` should it run, delete the file, and start \`signalbox up\` again; or set TEMPORAL_ADDRESS`,
    );
  }
}

/** The file is whole or not there, whenever the power goes. */
export async function writeServerNote(home: string, note: ServerNote): Promise<void> {
  const file = serverNoteFile(home);
  await writeFile(`${file}.new`, `${JSON.stringify(note)}\n`);
  await rename(`${file}.new`, file);
}

/** The given server, or the one that `up` noted down. Throws NoServer with what to do. */
export async function findServer(home: string): Promise<ServerAddress> {
  const given = givenServer();
  if (given) return given;
  const note = await readServerNote(home);
  if (note === undefined)
    throw new NoServer('no Temporal server is known: start one with `signalbox up`, or set TEMPORAL_ADDRESS');
  const { address, namespace, uiUrl } = note;
  return { connection: { address }, namespace, source: '`signalbox up`', ...(uiUrl ? { uiUrl } : {}) };
}

/** Throws NoServer when it does not answer within ten seconds, or does not have the namespace. */
export async function connect(server: ServerAddress): Promise<Client> {
  const connection = await open(server);
  try {
    await refuseUnknownNamespace(connection, server);
  } catch (error) {
    await connection.close();
    throw error;
  }
  return new Client({
    connection,
    namespace: server.namespace,
    dataConverter,
    interceptors: { workflow: [askAgain] },
  });
}

async function open(server: ServerAddress): Promise<Connection> {
  try {
    return await Connection.connect({ connectTimeout: '10s', ...server.connection });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new NoServer(
      `the Temporal server at ${server.connection.address} (from ${server.source}) does not answer: ${why}`,
    );
  }
}

async function refuseUnknownNamespace(
  { workflowService }: Connection,
  { namespace, connection, source }: ServerAddress,
): Promise<void> {
  try {
    await workflowService.describeNamespace({ namespace });
  } catch (error) {
    // Whoever may not ask may still work in it: only a clear no counts.
    if (!isGrpcServiceError(error) || error.code !== NOT_FOUND) return;
    const known = await workflowService
      .listNamespaces({ pageSize: 20 })
      .then(({ namespaces }) => namespaces.flatMap(({ namespaceInfo }) => namespaceInfo?.name ?? []))
      .catch(() => []);
    const there = known.filter((name) => name !== 'temporal-system').sort();
    throw new NoServer(
      `the Temporal server at ${connection.address} (from ${source}) has no namespace "${namespace}"${there.length > 0 ? `; there are: ${there.join(', ')}` : ''}. Name another with TEMPORAL_NAMESPACE or in the profile, or create it: temporal operator namespace create --namespace ${namespace}`,
    );
  }
}
