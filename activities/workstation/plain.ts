// A workstation without isolation, for kinds of agent whose configuration says `isolation: none`: agents are kept apart
// by folders and process groups only, and git runs on their clones as the worker.

import { createHash } from 'node:crypto';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { git } from '../../src/client/git.js';
import type { Mirror } from '../mirror.js';
import { identityOf, runProcess } from '../processes.js';
import { writeSecretFiles } from '../secrets.js';
import { type Clone, dirtyFiles } from './leftovers.js';
import type { AgentProcess, StationEnd, StationOptions, StationPaths, Workstation } from './station.js';

const LOCAL = { env: { GIT_ALLOW_PROTOCOL: 'file' } };

export async function makePlain(dir: string, bin: string, options: StationOptions): Promise<Workstation> {
  const { mirror, start, checkout, prompt, handOff, agent } = options;
  const paths: StationPaths = {
    clone: join(dir, 'clone'),
    home: join(dir, 'home'),
    tmp: join(dir, 'tmp'),
    prompt: join(dir, 'prompt.md'),
    handOff: join(dir, 'handoff.md'),
    report: join(dir, 'result', 'report.md'),
    result: join(dir, 'result'),
    requests: join(dir, 'requests'),
    answers: join(dir, 'answers'),
    shared: '',
    path: `${bin}:${process.env.PATH ?? ''}`,
  };
  await mkdir(paths.home, { recursive: true });
  for (const folder of [paths.tmp, paths.requests, paths.answers, paths.result]) await mkdir(folder);
  await writeFile(paths.prompt, prompt);
  if (handOff !== undefined) await writeFile(paths.handOff, handOff, { mode: 0o444 });
  const clone = ['clone', '--quiet', '--shared', '--no-checkout', '--no-tags', '--template='];
  await git(dir, [...clone, '--branch', mirror.branch, mirror.dir, paths.clone], LOCAL);
  await appendFile(join(paths.clone, '.git', 'config'), cloneConfig(agent));
  await git(paths.clone, ['update-ref', 'HEAD', start]);
  const station = openPlain(dir);
  if (checkout) await git(paths.clone, ['reset', '--quiet', '--hard']);
  const untouched = checkout ? await dirtyFiles(station) : new Map();
  return {
    ...station,
    dir,
    paths,
    untouched,
    isolation: { kind: 'none' },
    desk: { requests: paths.requests, answers: paths.answers },
    resultDir: paths.result,
    keepSecrets: (files) => writeSecretFiles(join(dir, 'secrets'), [...files]),
    run: (agent) => runPlain(dir, paths.clone, agent),
    setup: {
      run: (command) => runPlain(dir, paths.clone, command),
      exclude: async (lines) => {
        const info = join(paths.clone, '.git', 'info');
        await mkdir(info, { recursive: true });
        await appendFile(join(info, 'exclude'), `${lines.join('\n')}\n`);
      },
    },
  };
}

const runPlain = (
  dir: string,
  cwd: string,
  { command, env, output, errors, signal, graceMs, onStart }: AgentProcess,
): Promise<StationEnd> =>
  runProcess({
    command,
    cwd,
    env,
    marker: dir,
    output,
    errors,
    signal,
    graceMs,
    onStart: (pid) => onStart([identityOf(pid)]),
  });

/** The clone has no way to the shared repository: landing is the writer's. */
export const cloneConfig = (agent: string): string =>
  `[user]\n\tname = ${agent} (Signalbox)\n\temail = ${agent}@signalbox.invalid\n[remote "origin"]\n\tpushurl = signalbox-lands-your-commits\n[gc]\n\tauto = 0\n`;

/** The clone in a workstation that somebody else has made. */
export function openPlain(dir: string): Clone & Pick<Workstation, 'bring'> {
  const clone = join(dir, 'clone');
  return {
    git: (args, input) => git(clone, args, input ? { input } : {}),
    hashes: async (paths) => {
      const hashes = new Map<string, string>();
      for (const path of paths) {
        const file = Buffer.from(join(Buffer.from(clone).toString('latin1'), path), 'latin1');
        const content = await readFile(file).catch(() => undefined);
        hashes.set(path, content ? createHash('sha256').update(content).digest('hex') : '');
      }
      return hashes;
    },
    bring: async (mirror: Mirror, commit: string, ref: string) => {
      const fetch = ['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--end-of-options'];
      await mirror.run([...fetch, clone, `+${commit}:${ref}`], LOCAL);
    },
  };
}
