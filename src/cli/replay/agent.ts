// The agent of a replay task: a program of its own, run in its workstation, a clone without a checkout.
// It guarantees that the clone's HEAD becomes a commit that makes exactly the change of one commit of the real
// repository, byte for byte, with its author, dates and message; or that HEAD stays and stderr says why. It never
// touches an index or a working tree: attributes, line endings, filters and LFS do not matter. Its arguments are the
// real repository and how many milliseconds it pretends to think; its prompt is the commit's id.

import { setTimeout as sleep } from 'node:timers/promises';
import { GitError, git, gitPipe, gitText } from '../../client/git.js';
import { type Change, readChanges } from './history.js';
import { composeCommit, editHead } from './tree.js';

/** Above this many objects one pack is cheaper than a file for each. */
const MAX_LOOSE = 200;

const IDENTITY = { GIT_COMMITTER_NAME: 'signalbox replay', GIT_COMMITTER_EMAIL: 'replay@signalbox.invalid' };

async function main(): Promise<void> {
  const [source, workText = '0'] = process.argv.slice(2);
  const commit = process.env.SIGNALBOX_PROMPT ?? '';
  if (!source) throw new Error('the first argument has to be the real repository');
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(commit)) throw new Error('the prompt is not the id of a commit');
  const workMs = Number(workText);
  if (!(workMs >= 0)) throw new Error('the second argument is not a number of milliseconds');
  if (workMs > 0) await sleep(workMs);
  const [changes, original] = await Promise.all([
    readChanges(source, [commit]).then((all) => all.get(commit) ?? []),
    git(source, ['cat-file', 'commit', commit]),
  ]);
  const clone = process.cwd();
  const [edited] = await Promise.all([editHead(clone, changes), copyBlobs(source, clone, changes)]);
  const made = await writeCommit(clone, composeCommit(original, edited));
  await git(clone, ['update-ref', '-m', `replay ${commit}`, 'HEAD', made, edited.parent], { env: IDENTITY });
  process.stdout.write(`replayed ${commit} as ${made}: ${changes.length} changed paths\n`);
}

async function copyBlobs(source: string, clone: string, changes: readonly Change[]): Promise<void> {
  const oids = new Set(changes.filter(({ status }) => status !== 'D').map(({ newOid }) => newOid));
  if (oids.size === 0) return;
  const pack = ['pack-objects', '--stdout', '-q', '--window=0', '--threads=1'];
  const unpack = oids.size > MAX_LOOSE ? ['index-pack', '--stdin'] : ['unpack-objects', '-q'];
  const input = `${[...oids].join('\n')}\n`;
  await gitPipe({ dir: source, args: pack, input }, { dir: clone, args: unpack });
}

/** Git may refuse to write an odd commit that it once accepted; the original is odd, so the copy has to be. */
async function writeCommit(clone: string, raw: Buffer): Promise<string> {
  const args = ['hash-object', '-t', 'commit', '-w', '--stdin'];
  try {
    return await gitText(clone, args, { input: raw });
  } catch (error) {
    if (!(error instanceof GitError)) throw error;
    return await gitText(clone, [...args, '--literally'], { input: raw });
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`replay agent: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
