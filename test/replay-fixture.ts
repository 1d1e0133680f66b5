// A fleet in miniature for the replay tests: it runs a history's plan through the real agent program in a random order
// that the plan's edges allow, several tasks open at a time, and lands each by exact path.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { History } from '../src/cli/replay/history.js';
import { compareTrees, makeOrigin } from '../src/cli/replay/origin.js';
import { type ReplayTask, replayTasks } from '../src/cli/replay/plan.js';
import { git, gitText } from '../src/client/git.js';
import { BRANCH, random, temporary, writeIndexTree } from './replay-repository.js';

const AGENT = resolve('dist/src/cli/replay/agent.js');
const LOCAL = { GIT_ALLOW_PROTOCOL: 'file' };
const run = promisify(execFile);

/** Runs the agent of one task in a clone without a checkout; throws with its stderr when it fails. */
export async function runAgent(clone: string, source: string, commit: string): Promise<string> {
  if (!existsSync(AGENT)) throw new Error(`build first: ${AGENT} is missing`);
  const env = { ...process.env, SIGNALBOX_PROMPT: commit };
  const { stdout } = await run(process.execPath, [AGENT, source], { cwd: clone, env });
  return stdout;
}

export async function workstation(origin: string, dir: string): Promise<void> {
  await git(origin, ['clone', '-q', '--template=', '--no-checkout', '--shared', '.', dir], { env: LOCAL });
}

/** Lands an attempt by exact path: the tip's tree with the attempt's changes, where the tip is as the attempt's base. */
async function land(origin: string, clone: string): Promise<void> {
  await git(clone, ['push', '-q', origin, '+HEAD:refs/attempts/one'], { env: LOCAL });
  const raw = ['diff-tree', '-r', '-z', '--raw', '--no-renames', '--no-abbrev'];
  const fields = (await git(origin, [...raw, 'refs/attempts/one^', 'refs/attempts/one']))
    .toString('latin1')
    .split('\0');
  const rows: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const [, mode = '', , oid = ''] = (fields[i] ?? '').slice(1).split(' ');
    rows.push(`${mode === '000000' ? '0' : mode} ${oid}\t${fields[i + 1] ?? ''}\0`);
  }
  // What the attempt changed must not have moved since its base: two landings that touch the same never overlap.
  const since = (await git(origin, [...raw, 'refs/attempts/one^', `refs/heads/${BRANCH}`]))
    .toString('latin1')
    .split('\0');
  const moved = new Set(since.filter((_, i) => i % 2 === 1));
  const clash = fields.find((path, i) => i % 2 === 1 && moved.has(path));
  if (clash !== undefined) throw new Error(`two tasks that ran in parallel changed ${clash}`);
  const tree = rows.length === 0 ? `refs/heads/${BRANCH}^{tree}` : await writeIndexTree(origin, BRANCH, rows);
  const env = {
    GIT_AUTHOR_NAME: 'w',
    GIT_AUTHOR_EMAIL: 'w',
    GIT_COMMITTER_NAME: 'w',
    GIT_COMMITTER_EMAIL: 'w',
  };
  const commit = await gitText(origin, ['commit-tree', tree, '-p', BRANCH, '-m', 'landed'], { env });
  await git(origin, ['update-ref', `refs/heads/${BRANCH}`, commit]);
}

/** Runs every task of the history's plan in a random order that its edges allow, up to four open at a time. */
export async function replayAtRandom(
  repo: string,
  history: History,
  seed: number,
): Promise<{ equal: boolean; differing: string[]; tasks: ReplayTask[] }> {
  const tasks = replayTasks(history, { plan: 'replay' });
  return temporary(async (dir) => {
    const origin = join(dir, 'origin.git');
    await makeOrigin(repo, history, origin, BRANCH);
    const { below } = random(seed);
    const landed = new Set<string>();
    const waiting = new Set(tasks);
    const open: { task: ReplayTask; clone: string }[] = [];
    while (waiting.size > 0 || open.length > 0) {
      const ready = [...waiting].filter(({ after }) => after.every(({ task }) => landed.has(task)));
      const task = open.length < 4 ? ready[below(ready.length)] : undefined;
      if (task && (open.length === 0 || below(3) > 0)) {
        const clone = join(dir, task.id);
        waiting.delete(task);
        await workstation(origin, clone);
        await runAgent(clone, repo, task.commit);
        open.push({ task, clone });
        continue;
      }
      const [next] = open.splice(below(open.length), 1);
      if (!next) throw new Error('the plan has a cycle');
      await land(origin, next.clone);
      landed.add(next.task.id);
      await rm(next.clone, { recursive: true, force: true });
    }
    return { ...(await compareTrees(origin, BRANCH, repo, history.endTree)), tasks };
  });
}
