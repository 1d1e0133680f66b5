// The refs under which attempts' commits are kept on a shared repository, and whether the branch has those commits too. All
// of it happens in a repository made for it, so that nothing moves in the mirror while a worker uses that.

import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { simpleGit } from 'simple-git';
import type { Mirror } from '../activities/mirror.js';
import { git, gitText } from '../src/client/git.js';
import { ATTEMPTS, attemptRefOf } from '../src/domain/ids.js';
import type { Packet } from '../src/domain/packet.js';

export interface AttemptRef {
  ref: string;
  commit: string;
  task: string;
  contained: boolean;
  landedAs?: string;
}

/** Refs that go away at once. */
const BATCH = 100;

/** All attempt refs of the repository. `packets` tell as what attempts have landed. Throws what git says. */
export async function attemptRefsOf(mirror: Mirror, packets: readonly Packet[]): Promise<AttemptRef[]> {
  const [one] = (await listed(mirror)).values();
  if (one === undefined) return [];
  return await inScratch(mirror, one.length === 64, async (dir) => {
    const branch = `refs/heads/${mirror.branch}`;
    await simpleGit(dir).raw([
      ...['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', mirror.url],
      ...[`+${branch}:${branch}`, `+${ATTEMPTS}/*:${ATTEMPTS}/*`],
    ]);
    const refs = (...more: string[]) =>
      gitText(dir, ['for-each-ref', '--format=%(refname) %(objectname)', ...more, ATTEMPTS]).then((text) =>
        text.split('\n').filter(Boolean),
      );
    const contained = new Set(await refs(`--merged=${branch}`));
    const landed = await landedOn(dir, branch, packets);
    return (await refs()).flatMap((line) => {
      const [ref = '', commit = ''] = line.split(' ');
      const task = attemptRefOf(ref)?.task;
      if (task === undefined) return [];
      const landedAs = landed.get(`${task} ${commit}`);
      return { ref, commit, task, contained: contained.has(line), ...(landedAs ? { landedAs } : {}) };
    });
  });
}

/** Removes those refs that still are what they were. Gives what git said of each that is left. */
export async function removeRefs(mirror: Mirror, refs: readonly AttemptRef[]): Promise<Map<string, string>> {
  let said = '';
  for (let i = 0; i < refs.length; i += BATCH) {
    const batch = refs.slice(i, i + BATCH);
    const leases = batch.map(({ ref, commit }) => `--force-with-lease=${ref}:${commit}`);
    const push = [
      'push',
      '--quiet',
      '--no-verify',
      ...leases,
      mirror.url,
      ...batch.map(({ ref }) => `:${ref}`),
    ];
    await inScratch(mirror, batch[0]?.commit.length === 64, (dir) => simpleGit(dir).raw(push)).catch(
      (error: unknown) => {
        said = error instanceof Error ? error.message.trim().slice(-500) : String(error);
      },
    );
  }
  const left = await listed(mirror);
  return new Map(refs.flatMap(({ ref }) => (left.has(ref) ? [[ref, said]] : [])));
}

/** What attempts became on the branch, by task and commit: as their packets tell and the branch has it. */
async function landedOn(
  dir: string,
  branch: string,
  packets: readonly Packet[],
): Promise<Map<string, string>> {
  const landed = new Map<string, string>();
  for (const { task, outcome, attempts } of packets) {
    const { result } = attempts.at(-1) ?? {};
    if (outcome.kind !== 'landed' || outcome.commit === undefined || result?.kind !== 'commits') continue;
    const onBranch = await git(dir, ['merge-base', '--is-ancestor', outcome.commit, branch]).then(
      () => true,
      () => false,
    );
    if (onBranch) landed.set(`${task} ${result.commit}`, outcome.commit);
  }
  return landed;
}

async function listed({ url }: Mirror): Promise<Map<string, string>> {
  const text = await simpleGit().raw(['ls-remote', url, `${ATTEMPTS}/*`]);
  const lines = text.split('\n').filter(Boolean);
  return new Map(lines.map((line) => line.split('\t').reverse() as [string, string]));
}

async function inScratch<T>(mirror: Mirror, sha256: boolean, work: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'signalbox-refs-'));
  try {
    const format = sha256 ? ['--object-format=sha256'] : [];
    await git(dir, ['init', '--quiet', '--bare', '--template=', ...format]);
    const objects = join(mirror.dir, 'objects');
    const borrowed = join(dir, 'objects', 'info', 'alternates');
    if (existsSync(objects)) await writeFile(borrowed, `${objects}\n`);
    return await work(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
