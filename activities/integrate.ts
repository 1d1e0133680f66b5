// Brings an attempt's commits onto the newest shared branch: by exact path, commit by commit. Only paths that both
// sides changed are merged by content, and what does not merge cleanly is refused, never resolved.

import { GitError } from '../src/client/git.js';
import { TreeEditor } from '../src/client/tree-editor.js';
import type { Right } from '../src/domain/surfaces.js';
import type { Mirror } from './mirror.js';
import {
  applyChanges,
  type Change,
  changesBetween,
  conflicts,
  pathText,
  recommit,
  TooManyChanges,
} from './trees.js';
import { newTwins, unsafeChanges } from './unsafe-changes.js';

export type Integration =
  /** `aside`: changes of generated files that were left out, by the entry of the configuration that makes them anew. */
  | { kind: 'integrated'; commit: string; behind: number; aside: Aside }
  | {
      kind: 'refused';
      code: 'OUTSIDE_CLAIM' | 'OTHERS_OWN' | 'LANDING_CONFLICT' | 'LANDING_REFUSED';
      text: string;
    };

export type Aside = ReadonlyMap<number, readonly string[]>;
type Rights = (path: string) => Right;

interface Step {
  commit: string;
  changes: Change[];
}

const refused = (code: Extract<Integration, { kind: 'refused' }>['code'], text: string): Integration => ({
  kind: 'refused',
  code,
  text,
});

/**
 * Integrates base..commit onto tip, as far as there is a right to each change, and unless `anyTree` it is fit for every
 * disk, see unsafe-changes.ts. All three are commits of the mirror.
 */
export async function integrate(
  mirror: Mirror,
  order: { base: string; commit: string },
  tip: string,
  rights: Rights,
  anyTree = false,
): Promise<Integration> {
  try {
    const result = await bringOnto(mirror, order, tip, rights, anyTree);
    if (result.kind === 'refused' || anyTree) return result;
    const { commit } = result;
    const twins = await newTwins(
      mirror,
      { from: tip, to: commit },
      await changesBetween(mirror, tip, commit),
    );
    if (twins.length === 0) return result;
    return refused(
      'LANDING_REFUSED',
      `one file on disks that do not tell such names apart: ${listed(twins)}`,
    );
  } catch (error) {
    if (error instanceof TooManyChanges) return refused('LANDING_REFUSED', error.message);
    throw error;
  }
}

async function bringOnto(
  mirror: Mirror,
  order: { base: string; commit: string },
  tip: string,
  rights: Rights,
  anyTree: boolean,
): Promise<Integration> {
  const { base, commit } = order;
  const all = await changesBetween(mirror, base, commit);
  const { steps: whole, linear } = await stepsOf(mirror, base, commit, all);
  const sets = [all, ...whole.map((step) => step.changes)];
  const problem = refusal(rights, sets);
  if (problem) return problem;
  // Each commit, for all of them are on the branch afterwards, also what a later one takes back.
  const unsafe = new Set<string>();
  for (const set of anyTree ? [] : sets)
    for (const problem of await unsafeChanges(mirror, set)) unsafe.add(problem);
  if (unsafe.size > 0) return refused('LANDING_REFUSED', listed([...unsafe]));
  const aside = setAside(rights, sets);
  if (aside.size === 0 && base === tip && linear) return { kind: 'integrated', commit, behind: 0, aside };
  const kept = (changes: Change[]) =>
    aside.size === 0 ? changes : changes.filter(({ path }) => rights(pathText(path)).kind === 'lands');
  const steps = whole.map((step) => ({ ...step, changes: kept(step.changes) }));
  const behind = Number(await mirror.text(['rev-list', '--count', `${base}..${tip}`]));
  const moved = await changesBetween(mirror, base, tip);
  const clashing = conflicts(kept(all), moved);
  if (clashing.length === 0)
    return { kind: 'integrated', commit: await replayOnto(mirror, steps, tip), behind, aside };
  const ours = aside.size === 0 ? commit : await replayOnto(mirror, steps, base);
  return await mergeByContent(mirror, ours, tip, { behind, clashing, rights, aside });
}

/** What a change may not be: outside the claim, or another role's own. */
function refusal(rights: Rights, sets: readonly Change[][]): Integration | undefined {
  const unclaimed = new Set<string>();
  const own = new Set<string>();
  for (const changes of sets)
    for (const change of changes) {
      const path = pathText(change.path);
      const right = rights(path);
      if (right.kind === 'unclaimed') unclaimed.add(path);
      if (right.kind === 'own') own.add(`${path} (${right.of})`);
    }
  if (own.size > 0) return refused('OTHERS_OWN', listed([...own]));
  return unclaimed.size > 0 ? refused('OUTSIDE_CLAIM', listed([...unclaimed])) : undefined;
}

function setAside(rights: Rights, sets: readonly Change[][]): Aside {
  const aside = new Map<number, string[]>();
  for (const path of new Set(sets.flat().map((change) => pathText(change.path)))) {
    const right = rights(path);
    if (right.kind === 'generated') aside.set(right.entry, [...(aside.get(right.entry) ?? []), path]);
  }
  return aside;
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

export const listed = (paths: string[]): string =>
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
  known: { behind: number; clashing: string[]; rights: Rights; aside: Aside },
): Promise<Integration> {
  const { behind, clashing, rights, aside } = known;
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
  // What the merge brings to the branch must still be what there is a right to.
  const problem = refusal(rights, [await changesBetween(mirror, tip, tree)]);
  if (problem) return problem;
  return { kind: 'integrated', commit: await recommit(mirror, commit, tree, tip), behind, aside };
}
