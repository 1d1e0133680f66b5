// Commands that make generated files anew, verify commands, deploy commands and the look at the public surface: what a writer runs in a checkout of the exact
// commit. One checkout folder per role; everything that runs there is ended before the next thing starts, also what
// a dead worker left.

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { git } from '../src/client/git.js';
import { tailOf } from '../src/client/segments.js';
import { formatDuration } from '../src/domain/durations.js';
import type { Host } from './host.js';
import type { Mirror } from './mirror.js';
import { outputFile } from './output.js';
import { allowedEnv, endTree, runProcess } from './processes.js';
import { type Granted, grantSecrets, NoSecret, writeSecretFiles } from './secrets.js';

type Use = 'regenerate' | 'verify' | 'deploy';

export interface DeployContext {
  host: Host;
  mirror: Mirror;
  role: string;
  commit: string;
  task: string;
  signal: AbortSignal;
}

/** Runs the role's verify commands on the commit's tree. Undefined when all exit with 0, else what failed. */
export async function verifyTree(context: DeployContext): Promise<string | undefined> {
  const { host, role } = context;
  const rule = host.config.roles[role];
  if (!rule || rule.verify.length === 0) return undefined;
  const folder = await checkOut(context, 'verify');
  for (const command of rule.verify) {
    const failure = await runInFolder(context, folder, 'verify', command, rule.verifyTimeout);
    if (failure) return failure;
  }
  return undefined;
}

/** Deploys the commit and looks for it on the public surface. Undefined when it is there, else what failed. */
export async function deployNow(
  context: DeployContext,
): Promise<{ code: 'DEPLOY_FAILED' | 'SURFACE_FAILED'; text: string } | undefined> {
  const { host, role, commit, signal } = context;
  const rule = host.config.roles[role];
  if (!rule?.deploy) return undefined;
  const folder = await checkOut(context, 'deploy');
  const failure = await runInFolder(context, folder, 'deploy', rule.deploy.command, rule.deploy.timeout);
  if (failure) return { code: 'DEPLOY_FAILED', text: failure };
  if (!rule.surface) return undefined;
  const missing = await seeSurface(rule.surface, commit, signal);
  return missing === undefined ? undefined : { code: 'SURFACE_FAILED', text: missing };
}

/** A checkout of the context's commit in a folder for this use; its files are in `tree`. */
export async function checkOut({ host, mirror, role, commit }: DeployContext, use: Use): Promise<string> {
  const folder = join(host.home, 'writers', role, use);
  // What an earlier life of this writer left running must not go on in, or beside, this one.
  await endLeftovers(folder);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const tree = join(folder, 'tree');
  await git(
    folder,
    ['clone', '--quiet', '--shared', '--no-checkout', '--template=', '--no-tags', mirror.dir, tree],
    LOCAL,
  );
  await git(tree, ['checkout', '--quiet', '--detach', commit]);
  await mkdir(join(folder, 'home'));
  return folder;
}

const LOCAL = { env: { GIT_ALLOW_PROTOCOL: 'file' } };

async function endLeftovers(folder: string): Promise<void> {
  await endTree(undefined, folder, 0);
}

/** Runs a command in a checkout. Undefined when it exits with 0, else what failed. */
export async function runInFolder(
  context: DeployContext,
  folder: string,
  what: Use,
  command: string | string[],
  timeout: number,
): Promise<string | undefined> {
  const { host, role, commit, task } = context;
  const { passEnv = [], secrets = [] } = host.config.roles[role] ?? {};
  const shown = Array.isArray(command) ? command.join(' ') : command;
  const granted = await grantSecrets(host.config, { passEnv, secrets }, { signal: context.signal }).catch(
    (error: unknown) => {
      if (error instanceof NoSecret) return error;
      throw error;
    },
  );
  if (granted instanceof NoSecret) return `${what} \`${shown}\`: ${granted.message}`;
  const logFile = join(folder, 'output.log');
  const output = outputFile(logFile, granted.redactor);
  const limit = AbortSignal.timeout(timeout);
  const more = {
    ...granted.env,
    ...(await secretFiles(folder, granted)),
    HOME: join(folder, 'home'),
    SIGNALBOX_COMMIT: commit,
    SIGNALBOX_TASK: task,
    SIGNALBOX_ROLE: role,
  };
  const end = await runProcess({
    command,
    cwd: join(folder, 'tree'),
    env: allowedEnv(passEnv, more),
    marker: folder,
    output: output.stream,
    errors: output.errors,
    signal: AbortSignal.any([context.signal, limit]),
  });
  await output.close();
  if (end.exitCode === 0) return undefined;
  const how =
    end.error ??
    (limit.aborted
      ? `took longer than ${formatDuration(timeout)}`
      : end.signal
        ? `ended by ${end.signal}`
        : `exit code ${end.exitCode}`);
  return granted.redactor.text(`${what} \`${shown}\`: ${how}\n${await tailOf(logFile, 1_500)}`.trim());
}

/** Written anew for each command: beside the tree, for that is what a command may keep for the next one. */
async function secretFiles(folder: string, { files }: Granted): Promise<Record<string, string>> {
  const place = join(folder, 'secrets');
  await rm(place, { recursive: true, force: true });
  return await writeSecretFiles(place, files);
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
