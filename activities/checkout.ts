// Deploy commands and the look at the public surface: what a writer runs in a checkout of the landed commit. One folder
// per role and use; everything that runs there is ended before the next thing starts, also what a dead worker left.

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { git } from '../src/client/git.js';
import { tailOf } from '../src/client/segments.js';
import { formatDuration } from '../src/domain/durations.js';
import type { Network } from '../src/domain/egress.js';
import type { SecretUse } from '../src/domain/secrets.js';
import type { Refusal } from './egress/refusals.js';
import type { Host } from './host.js';
import type { Mirror } from './mirror.js';
import { outputFile } from './output.js';
import { allowedEnv, endTree, type ProcessEnd, runProcess } from './processes.js';
import { type Granted, grantSecrets, NoSecret, writeSecretFiles } from './secrets.js';
import { removeTree } from './workstation/removal.js';

export type Use = 'regenerate' | 'verify' | 'deploy';

export interface DeployContext {
  host: Host;
  mirror: Mirror;
  role: string;
  commit: string;
  task: string;
  signal: AbortSignal;
}

/** The tree of a commit, and what runs commands in it. */
export interface Checkout {
  /** Where its files are on the host. Not to be read while a command runs. */
  tree: string;
  /** Around it, with the logs and the secrets of its commands. */
  folder: string;
  /** Commands that have run in it. */
  ran: number;
  /** Said of one that failed, should it fail for that. */
  hint?: (said: string) => string | undefined;
  /** What commands are told of the place. */
  env: Record<string, string>;
  /** Puts secrets into `secrets` of the folder, where the next command finds them. Gives the variables with their paths. */
  keepSecrets(files: Granted['files']): Promise<Record<string, string>>;
  run(command: CheckedCommand): Promise<ProcessEnd & { refused?: Refusal[]; why?: string }>;
}

export interface CheckedCommand {
  command: string | string[];
  env: Record<string, string>;
  output: Writable;
  errors: Writable;
  keys: Granted['keys'];
  signal: AbortSignal;
}

/** What a command may know. */
export interface Allowed {
  passEnv: readonly string[];
  secrets: readonly SecretUse[];
  network?: Network;
}

/** Deploys the commit and looks for it on the public surface. Undefined when it is there, else what failed. */
export async function deployNow(
  context: DeployContext,
): Promise<{ code: 'DEPLOY_FAILED' | 'SURFACE_FAILED'; text: string } | undefined> {
  const { host, role, commit, signal } = context;
  const rule = host.config.roles[role];
  if (!rule?.deploy) return undefined;
  const { command, timeout } = rule.deploy;
  const { passEnv, secrets } = rule;
  const failure = await runIn(await plainCheckout(context, 'deploy'), context, {
    ...{ use: 'deploy', command, timeout },
    allowed: { passEnv, secrets },
  });
  if (failure) return { code: 'DEPLOY_FAILED', text: failure };
  if (!rule.surface) return undefined;
  const missing = await seeSurface(rule.surface, commit, signal);
  return missing === undefined ? undefined : { code: 'SURFACE_FAILED', text: missing };
}

/** An empty folder for this use, in which nothing runs any more. */
export async function emptyFolder(
  { host, role }: Pick<DeployContext, 'host' | 'role'>,
  use: Use,
): Promise<string> {
  const folder = join(host.home, 'writers', role, use);
  // What an earlier life of this writer left running must not go on in, or beside, this one.
  await endTree(undefined, folder, 0);
  await removeTree(folder);
  await mkdir(folder, { recursive: true });
  return folder;
}

/** A checkout in which commands run as the worker. */
export async function plainCheckout(context: DeployContext, use: Use): Promise<Checkout> {
  const { mirror, commit } = context;
  const folder = await emptyFolder(context, use);
  const tree = join(folder, 'tree');
  await git(
    folder,
    ['clone', '--quiet', '--shared', '--no-checkout', '--template=', '--no-tags', mirror.dir, tree],
    LOCAL,
  );
  await git(tree, ['checkout', '--quiet', '--detach', commit]);
  const home = join(folder, 'home');
  await mkdir(home);
  return {
    tree,
    folder,
    ran: 0,
    env: { HOME: home },
    keepSecrets: (files) => writeSecretFiles(join(folder, 'secrets'), files),
    run: ({ keys: _, ...command }) => runProcess({ ...command, cwd: tree, marker: folder }),
  };
}

/** Of the output of a command that failed. */
const TAIL_BYTES = 2_000;

const LOCAL = { env: { GIT_ALLOW_PROTOCOL: 'file' } };

export interface Job {
  use: Use;
  command: string | string[];
  /** Milliseconds. */
  timeout: number;
  allowed: Allowed;
}

/** Both outputs by one way, for by two nobody knows which came first. */
const inOrder = (command: string | string[]): string[] => {
  const argv = typeof command === 'string' ? ['/bin/sh', '-c', command] : command;
  return ['/bin/sh', '-c', 'exec "$@" 2>&1', 'sh', ...argv];
};

/** Runs a command in a checkout. Undefined when it exits with 0, else what failed. */
export async function runIn(
  checkout: Checkout,
  { host, role, commit, task, signal }: DeployContext,
  { use, command, timeout, allowed }: Job,
): Promise<string | undefined> {
  const shown = Array.isArray(command) ? command.join(' ') : command;
  const granted = await grantSecrets(host.config, allowed, { signal }).catch((error: unknown) => {
    if (error instanceof NoSecret) return error;
    throw error;
  });
  if (granted instanceof NoSecret) return `${use} \`${shown}\`: ${granted.message}`;
  checkout.ran += 1;
  const logFile = join(checkout.folder, `output.${checkout.ran}.log`);
  // Written anew for each command: beside the tree, for that is what a command may keep for the next one.
  await rm(join(checkout.folder, 'secrets'), { recursive: true, force: true });
  const output = outputFile(logFile, granted.redactor);
  const limit = AbortSignal.timeout(timeout);
  const more = {
    ...granted.env,
    ...(await checkout.keepSecrets(granted.files)),
    ...checkout.env,
    SIGNALBOX_COMMIT: commit,
    SIGNALBOX_TASK: task,
    SIGNALBOX_ROLE: role,
  };
  const end = await checkout.run({
    command: inOrder(command),
    env: allowedEnv([...allowed.passEnv], more),
    output: output.stream,
    errors: output.errors,
    keys: granted.keys,
    signal: AbortSignal.any([signal, limit]),
  });
  await output.close();
  if (end.exitCode === 0 && end.why === undefined) return undefined;
  const how =
    end.error ??
    end.why ??
    (limit.aborted
      ? `took longer than ${formatDuration(timeout)}`
      : end.signal
        ? `ended by ${end.signal}`
        : `exit code ${end.exitCode}`);
  const refused = (end.refused ?? []).map(({ host: name, port, why }) => `refused ${name}:${port}: ${why}\n`);
  const said = await tailOf(logFile, TAIL_BYTES);
  const hint = checkout.hint?.(said);
  return granted.redactor.text(
    `${use} \`${shown}\`: ${how}${hint === undefined ? '' : ` (${hint})`}\n${refused.join('')}${said}`.trim(),
  );
}

/** Undefined when the page shows what it must within its time, else what it showed last. */
async function seeSurface(
  surface: { url: string; contains: string; within: number },
  commit: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const wanted = surface.contains.replaceAll('{commit}', commit);
  const end = performance.now() + surface.within;
  let last = 'no answer';
  for (let wait = 50; ; wait = Math.min(wait * 2, 2_000)) {
    try {
      const page = await fetch(surface.url, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]),
        headers: { 'cache-control': 'no-cache' },
      });
      const text = await page.text();
      if (page.ok && text.includes(wanted)) return undefined;
      last = `status ${page.status}, ${text.length} characters without "${wanted}"`;
    } catch (error) {
      last =
        error instanceof Error
          ? `${error.message}${error.cause instanceof Error ? ` (${error.cause.message})` : ''}`
          : String(error);
    }
    if (signal.aborted || performance.now() + wait > end) break;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
  return `${surface.url} did not show "${wanted}" within ${formatDuration(surface.within)}: ${last}`;
}
