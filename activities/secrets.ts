// Secrets, read on the worker's host for one attempt or one landing: nothing is kept from one to the next. What goes
// wrong is told by the secret's name and its source, never by what was printed or found.

import { randomUUID } from 'node:crypto';
import { chmod, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { Config } from '../src/domain/config.js';
import { formatDuration } from '../src/domain/durations.js';
import type { Network } from '../src/domain/egress.js';
import { type Secret, type SecretUse, variableOf } from '../src/domain/secrets.js';
import { runProcess } from './processes.js';
import { type Redactor, redactor } from './redactor.js';
import { SHORTEST_SECRET } from './secret-forms.js';

/** A secret that cannot be had. Its message holds nothing of the value. */
export class NoSecret extends Error {}

const MOST_BYTES = 64 * 1024;
const TIMEOUT_MS = 30_000;

export interface Reading {
  /** Milliseconds for each command; 30 s when left out. */
  timeout?: number;
  /** Aborting ends the commands: their secrets cannot be had then. */
  signal?: AbortSignal;
}

export interface Granted {
  /** Variables for the process. */
  env: Record<string, string>;
  /** Contents by file name, for writeSecretFiles. */
  files: { name: string; variable: string; value: string }[];
  /** What only the agent's proxy needs, by the secret's name: the process never has it. */
  keys: Map<string, string>;
  redactor: Redactor;
  /** Knows the secrets alone. */
  searcher: Redactor;
}

type Owner = { secrets: readonly SecretUse[]; passEnv: readonly string[]; network?: Network };

/** What an agent kind, or a role's commands, get. The redactor knows its secrets, and what stands in `passEnv`. Throws NoSecret. */
export async function grantSecrets(
  config: Pick<Config, 'secrets'>,
  { secrets: uses, passEnv, network = 'none' }: Owner,
  options: Reading = {},
): Promise<Granted> {
  const ofProxy = typeof network === 'string' ? [] : network.keys.map(({ secret }) => secret);
  const values = await readSecrets(config, [...uses.map(({ secret }) => secret), ...ofProxy], options);
  const keys = new Map(ofProxy.map((name) => [name, values.get(name) ?? '']));
  const env: Record<string, string> = {};
  const files: Granted['files'] = [];
  for (const use of uses) {
    const value = values.get(use.secret) ?? '';
    if (use.file === undefined) env[variableOf(use)] = value;
    else files.push({ name: use.file, variable: variableOf(use), value });
  }
  const passed = passEnv.flatMap((name) => process.env[name] ?? []);
  const searcher = redactor(values.values());
  return { env, files, keys, redactor: redactor([...values.values(), ...passed]), searcher };
}

/**
 * Puts the files into the folder, each readable for its owner alone and writable for nobody. Gives the variables with
 * their paths: below `shownAt`, which is where the process sees the folder.
 */
export async function writeSecretFiles(
  folder: string,
  files: Granted['files'],
  shownAt = folder,
): Promise<Record<string, string>> {
  if (files.length === 0) return {};
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const env: Record<string, string> = {};
  for (const { name, variable, value } of files) {
    const file = join(folder, name);
    await writeFile(file, value, { mode: 0o400, flag: 'wx' });
    await chmod(file, 0o400);
    env[variable] = join(shownAt, name);
  }
  return env;
}

/** The values by name. Throws NoSecret. */
export async function readSecrets(
  config: Pick<Config, 'secrets'>,
  names: Iterable<string>,
  reading: Reading = {},
): Promise<Map<string, string>> {
  return new Map(
    await Promise.all(
      [...new Set(names)].map(async (name): Promise<[string, string]> => {
        const secret = config.secrets[name];
        if (!secret) throw new NoSecret(`the configuration in force has no secret "${name}"`);
        return [name, checked(name, secret, await read(name, secret, reading))];
      }),
    ),
  );
}

const sourceOf = ({ env, file, command }: Secret): string =>
  env !== undefined
    ? `the variable ${env}`
    : file !== undefined
      ? `the file ${file}`
      : Array.isArray(command)
        ? `the command \`${command[0]}\``
        : 'its command';

const refuse = (name: string, secret: Secret, what: string): NoSecret =>
  new NoSecret(`the secret "${name}" cannot be had: ${sourceOf(secret)} ${what}`);

async function read(name: string, secret: Secret, reading: Reading): Promise<Buffer> {
  if (secret.env !== undefined) {
    const value = process.env[secret.env];
    if (value === undefined) throw refuse(name, secret, "is not set in the worker's environment");
    return Buffer.from(value);
  }
  if (secret.file !== undefined) {
    const content = await startOf(secret.file).catch((error: NodeJS.ErrnoException) => {
      throw refuse(name, secret, `cannot be read (${error.code ?? 'unknown error'})`);
    });
    return withoutNewline(content);
  }
  return withoutNewline(await printed(name, secret, reading));
}

/** At most one byte more than a secret may have. */
async function startOf(file: string): Promise<Buffer> {
  const handle = await open(file, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(MOST_BYTES + 1), 0, MOST_BYTES + 1);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function printed(
  name: string,
  secret: Secret,
  { timeout = TIMEOUT_MS, signal }: Reading,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const stop = new AbortController();
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size <= MOST_BYTES) chunks.push(chunk);
      else stop.abort();
      done();
    },
  });
  const limit = AbortSignal.timeout(timeout);
  const end = await runProcess({
    command: secret.command ?? [],
    cwd: process.cwd(),
    env: process.env as Record<string, string>,
    marker: `secret-${randomUUID()}`,
    output,
    errors: new Writable({ write: (_chunk, _encoding, done) => done() }),
    signal: AbortSignal.any([stop.signal, limit, ...(signal ? [signal] : [])]),
    graceMs: 0,
  });
  if (size > MOST_BYTES) throw refuse(name, secret, `printed more than ${MOST_BYTES} bytes`);
  if (limit.aborted) throw refuse(name, secret, `took longer than ${formatDuration(timeout)}`);
  if (end.error) throw refuse(name, secret, 'could not be started');
  if (end.exitCode !== 0)
    throw refuse(
      name,
      secret,
      end.signal ? `was ended by ${end.signal}` : `ended with exit code ${end.exitCode}`,
    );
  return Buffer.concat(chunks);
}

function withoutNewline(content: Buffer): Buffer {
  let end = content.length;
  while (end > 0 && (content[end - 1] === 10 || content[end - 1] === 13)) end--;
  return content.subarray(0, end);
}

function checked(name: string, secret: Secret, content: Buffer): string {
  const value = content.toString('utf8');
  if (content.length > MOST_BYTES) throw refuse(name, secret, `holds more than ${MOST_BYTES} bytes`);
  if (content.length === 0) throw refuse(name, secret, 'is empty');
  if (!Buffer.from(value).equals(content) || value.includes('\0'))
    throw refuse(name, secret, 'gives bytes that are no text');
  if (content.length < SHORTEST_SECRET)
    throw refuse(
      name,
      secret,
      `gives fewer than ${SHORTEST_SECRET} characters: too short to be kept out of logs`,
    );
  return value;
}
