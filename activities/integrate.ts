// Brings an attempt's commits onto the newest shared branch: by exact path, commit by commit. Only paths that both
// sides changed are merged by content, and what does not merge cleanly is refused, never resolved.

import { GitError } from '../src/client/git.js';
import { TreeEditor } from '../src/client/tree-editor.js';
import type { Mirror } from './mirror.js';
import { applyChanges, type Change, changesBetween, conflicts, pathText, recommit } from './trees.js';

export type Integration =
  | { kind: 'integrated'; commit: string; behind: number }
  | { kind: 'refused'; code: 'OUTSIDE_CLAIM' | 'LANDING_CONFLICT' | 'LANDING_REFUSED'; text: string };

interface Step {
  commit: string;
  changes: Change[];
}

const refused = (code: Extract<Integration, { kind: 'refused' }>['code'], text: string): Integration => ({
  kind: 'refused',
  code,
  text,
});

/** Integrates base..commit onto tip, if every path it changes is allowed. All three are commits of the mirror. */
export async function integrate(
  mirror: Mirror,
  order: { base: string; commit: string },
  tip: string,
  allowed: (path: string) => boolean,
): Promise<Integration> {
  const { base, commit } = order;
  const total = await changesBetween(mirror, base, commit);
  const { steps, linear } = await stepsOf(mirror, base, commit, total);
  const unclaimed = outside(allowed, [total, ...steps.map((step) => step.changes)]);
  if (unclaimed.length > 0) return refused('OUTSIDE_CLAIM', listed(unclaimed));
  if (base === tip && linear) return { kind: 'integrated', commit, behind: 0 };
  const behind = Number(await mirror.text(['rev-list', '--count', `${base}..${tip}`]));
  const moved = await changesBetween(mirror, base, tip);
  const clashing = conflicts(total, moved);
  if (clashing.length > 0) return await mergeByContent(mirror, commit, tip, behind, clashing, allowed);
  return { kind: 'integrated', commit: await replayOnto(mirror, steps, tip), behind };
}

/** The commits one by one when they are a line from the base, else all of them as one change. */
async function stepsOf(
  mirror: Mirror,
  base: string,
  commit: string,
  total: Change[],
): Promise<{ steps: Step[]; linear: boolean }> {
  const lines = (
    await mirror.text(['rev-list', '--reverse', '--topo-order', '--parents', `${base}..${commit}`])
  )
    .split('\n')
    .filter(Boolean);
  let previous = base;
  const steps: Step[] = [];
  for (const line of lines) {
    const [id = '', ...parents] = line.split(' ');
    if (parents.length !== 1 || parents[0] !== previous)
      return { steps: [{ commit, changes: total }], linear: false };
    steps.push({
      commit: id,
      changes: lines.length === 1 ? total : await changesBetween(mirror, previous, id),
    });
    previous = id;
  }
  if (previous !== commit) return { steps: [{ commit, changes: total }], linear: false };
  return { steps, linear: true };
}

function outside(allowed: (path: string) => boolean, sets: readonly Change[][]): string[] {
  const found = new Set<string>();
  for (const changes of sets)
    for (const { path } of changes) if (!allowed(pathText(path))) found.add(pathText(path));
  return [...found];
}

const listed = (paths: string[]): string =>
  paths.slice(0, 10).join(', ') + (paths.length > 10 ? ` and ${paths.length - 10} more` : '');

async function replayOnto(mirror: Mirror, steps: readonly Step[], tip: string): Promise<string> {
  const editor = new TreeEditor(mirror, await mirror.treeOf(tip));
  let parent = tip;
  for (const step of steps) {
    await applyChanges(editor, step.changes);
    parent = await recommit(mirror, step.commit, await editor.write(), parent);
  }
  return parent;
}

/** Someone outside the claims changed the same paths: git's three-way merge, without renames, if it is clean. */
async function mergeByContent(
  mirror: Mirror,
  commit: string,
  tip: string,
  behind: number,
  clashing: string[],
  allowed: (path: string) => boolean,
): Promise<Integration> {
  let tree: string;
  try {
    const merged = await mirror.run([
      '-c',
      'merge.renames=false',
      '-c',
      'merge.directoryRenames=false',
      'merge-tree',
      '--write-tree',
      '-z',
      '--no-messages',
      tip,
      commit,
    ]);
    tree = merged.toString('latin1').split('\0')[0]?.trim() ?? '';
  } catch (error) {
    if (!(error instanceof GitError) || (error.code !== 1 && error.code !== 128)) throw error;
    return refused('LANDING_CONFLICT', `both sides changed ${listed(clashing)}`);
  }
  // What the merge brings to the branch must still lie within the claim.
  const unclaimed = outside(allowed, [await changesBetween(mirror, tip, tree)]);
  if (unclaimed.length > 0) return refused('OUTSIDE_CLAIM', listed(unclaimed));
  return { kind: 'integrated', commit: await recommit(mirror, commit, tree, tip), behind };
}
