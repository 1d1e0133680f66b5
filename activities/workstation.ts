// A workstation: an attempt's own clone, HOME and temporary folder. In this step it keeps agents apart by folders and
// process groups only. Nothing that an agent committed or changed is deleted before its commits are kept under the
// attempt's ref on the shared repository.

import { createHash } from 'node:crypto';
import { appendFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { git, gitText } from '../src/client/git.js';
import { type Fence, fenceText } from '../src/domain/fence.js';
import { attemptRef } from '../src/domain/ids.js';
import type { Mirror } from './mirror.js';
import { writeWhole } from './presence.js';
import type { ProcessIdentity } from './processes.js';

export interface Workstation {
  dir: string;
  clone: string;
  home: string;
  tmp: string;
  promptFile: string;
  reportFile: string;
  /** Where the agent asks for more paths, and finds the answers. */
  requests: string;
  /** The commit of the shared branch that the agent started from. */
  base: string;
  /** Work of an earlier attempt: in HEAD, unless it does not apply any more. */
  earlier?: string;
  /** Files that git took for changed right after the checkout (line endings, filters), with their content's hash. */
  untouched: Map<string, string>;
}

/** Left in the workstation's folder, for whoever finds it after its worker's death. */
export interface WorkstationRecord {
  task: string;
  repository: string;
  fence: Fence;
  /** Absent until the clone is made. */
  base?: string;
  checkout: boolean;
  worker: ProcessIdentity;
  /** The agent, once it has started: the leader of its process group. */
  leader?: ProcessIdentity;
}

const RECORD = 'workstation.json';
const LOCAL = { env: { GIT_ALLOW_PROTOCOL: 'file' } };

export const workstationDir = (home: string, task: string, fence: Fence): string =>
  join(home, 'workstations', task, fenceText(fence));

export async function makeWorkstation(
  dir: string,
  mirror: Mirror,
  options: { base: string; start: string; checkout: boolean; prompt: string; agent: string },
): Promise<Workstation> {
  const { base, start, checkout, prompt, agent } = options;
  const station: Omit<Workstation, 'untouched'> = {
    dir,
    clone: join(dir, 'clone'),
    home: join(dir, 'home'),
    tmp: join(dir, 'tmp'),
    promptFile: join(dir, 'prompt.md'),
    reportFile: join(dir, 'report.md'),
    requests: join(dir, 'requests'),
    base,
  };
  await mkdir(station.home, { recursive: true });
  await mkdir(station.tmp);
  await mkdir(station.requests);
  await writeFile(station.promptFile, prompt);
  await git(
    dir,
    [
      'clone',
      '--quiet',
      '--shared',
      '--no-checkout',
      '--no-tags',
      '--template=',
      '--branch',
      mirror.branch,
      mirror.dir,
      station.clone,
    ],
    LOCAL,
  );
  // The clone has no way to the shared repository: landing is the writer's.
  const config = `[user]\n\tname = ${agent} (Signalbox)\n\temail = ${agent}@signalbox.invalid\n[remote "origin"]\n\tpushurl = signalbox-lands-your-commits\n[gc]\n\tauto = 0\n`;
  await appendFile(join(station.clone, '.git', 'config'), config);
  await git(station.clone, ['update-ref', 'HEAD', start]);
  if (!checkout) return { ...station, untouched: new Map() };
  await git(station.clone, ['reset', '--quiet', '--hard']);
  return { ...station, untouched: await dirtyFiles(station.clone) };
}

export const writeRecord = (dir: string, record: WorkstationRecord): Promise<void> =>
  writeWhole(join(dir, RECORD), JSON.stringify(record));

/** Workstations in the fleet's folder that have a record, whoever made them. */
export async function findRecords(home: string): Promise<{ dir: string; record: WorkstationRecord }[]> {
  const root = join(home, 'workstations');
  const found: { dir: string; record: WorkstationRecord }[] = [];
  const list = (path: string) => readdir(path).catch(() => []);
  for (const plan of await list(root)) {
    for (const task of await list(join(root, plan))) {
      for (const fence of await list(join(root, plan, task))) {
        const dir = join(root, plan, task, fence);
        const text = await readFile(join(dir, RECORD), 'utf8').catch(() => undefined);
        if (text) found.push({ dir, record: JSON.parse(text) as WorkstationRecord });
      }
    }
  }
  return found;
}

/** Paths that differ from HEAD, untracked ones too, with the hash of what is in the folder ('' when gone). */
async function dirtyFiles(clone: string): Promise<Map<string, string>> {
  const raw = await git(clone, ['status', '--porcelain=v1', '-z', '--untracked-files=all', '--no-renames']);
  const paths = raw
    .toString('latin1')
    .split('\0')
    .filter(Boolean)
    .map((entry) => entry.slice(3));
  const hashes = new Map<string, string>();
  for (const path of paths) {
    const content = await readFile(
      Buffer.from(join(Buffer.from(clone).toString('latin1'), path), 'latin1'),
    ).catch(() => undefined);
    hashes.set(path, content ? createHash('sha256').update(content).digest('hex') : '');
  }
  return hashes;
}

/** Commits what the agent left uncommitted. Files that only looked changed from the start are left alone. */
export async function commitLeftovers(
  station: Pick<Workstation, 'clone' | 'untouched'>,
  task: string,
): Promise<boolean> {
  const dirty = await dirtyFiles(station.clone);
  const paths = [...dirty]
    .filter(([path, hash]) => station.untouched.get(path) !== hash)
    .map(([path]) => path);
  if (paths.length === 0) return false;
  const input = Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1');
  await git(
    station.clone,
    ['--literal-pathspecs', 'add', '--all', '--force', '--pathspec-from-file=-', '--pathspec-file-nul'],
    { input },
  );
  const staged = await git(station.clone, [
    'diff',
    '--cached',
    '--name-only',
    '-z',
    '--no-ext-diff',
    '--no-textconv',
  ]);
  if (staged.length === 0) return false;
  await git(station.clone, [
    'commit',
    '--quiet',
    '--no-verify',
    '--no-gpg-sign',
    '--message',
    `Work of ${task}\n\nLeft uncommitted by its agent and committed for it.`,
  ]);
  return true;
}

/** The commit the agent ended on. */
export const headOf = (clone: string): Promise<string> =>
  gitText(clone, ['rev-parse', '--verify', 'HEAD^{commit}']);

/** Brings the clone's HEAD into the mirror and keeps it on the shared repository under the attempt's own ref. */
export async function keepCommits(
  mirror: Mirror,
  clone: string,
  commit: string,
  task: string,
  fence: Fence,
): Promise<string> {
  const ref = attemptRef(task, fenceText(fence));
  await mirror.run(
    [
      'fetch',
      '--quiet',
      '--no-tags',
      '--no-write-fetch-head',
      '--end-of-options',
      clone,
      `+${commit}:${ref}`,
    ],
    LOCAL,
  );
  for (let round = 1; ; round++) {
    const problem = await mirror.push([`+${commit}:${ref}`]);
    if (problem === undefined) return ref;
    if (round === 5) throw new Error(`the attempt's commits cannot be pushed to ${ref}: ${problem}`);
    await new Promise((resolve) => setTimeout(resolve, 200 * 2 ** round));
  }
}

/** Removes the folder, and the task's folders above it when they are empty. */
export async function removeWorkstation(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  for (const above of [dirname(dir), dirname(dirname(dir))]) {
    if ((await readdir(above).catch(() => ['?'])).length === 0)
      await rm(above, { recursive: true, force: true });
  }
}
