// What git's own checks let through and a shared branch should not have from an agent: links that lead out of the
// repository, new submodules, and names that are one file on some disks (`readme` beside `README`, two spellings of `é`).
// What was there before, and does not change, is nobody's fault and stays.

import { isTree, parseTree } from '../src/client/tree-editor.js';
import { fold } from '../src/domain/folding.js';
import type { Mirror } from './mirror.js';
import { type Change, GONE, pathText } from './trees.js';

const LINK = '120000';
const SUBMODULE = '160000';
const MODES: ReadonlySet<string> = new Set([GONE, '100644', '100755', LINK, SUBMODULE]);

/** Linux takes no longer ones. */
const LONGEST_TARGET = 4_095;

/** The changes that may not land, each with what is wrong with it. All objects are in the mirror. */
export async function unsafeChanges(mirror: Mirror, changes: readonly Change[]): Promise<string[]> {
  const found: string[] = [];
  for (const change of changes) {
    const problem = (await problemOf(mirror, change)) ?? nameProblem(change);
    if (problem !== undefined) found.push(`${shown(change.path)} ${problem}`);
  }
  return found;
}

/** As JSON writes it, where it could do something to a terminal. */
const shown = (path: Buffer): string => {
  const text = pathText(path);
  return hasControl(text) ? JSON.stringify(text) : text;
};

const hasControl = (text: string): boolean => /[\u0000-\u001f\u007f-\u009f]/.test(text);

async function problemOf(mirror: Mirror, change: Change): Promise<string | undefined> {
  const { path, oldMode, newMode, oldOid, newOid } = change;
  if (!MODES.has(newMode)) return `has the mode ${newMode}, which git does not write`;
  if (newMode === SUBMODULE && oldMode !== SUBMODULE)
    return 'is a new submodule, which would bring in a foreign repository: a person has to add it';
  if (newMode !== LINK || (oldMode === LINK && oldOid === newOid)) return undefined;
  const size = Number(await mirror.text(['cat-file', '-s', newOid]));
  if (size > LONGEST_TARGET) return 'is a link whose target is longer than a path can be';
  const target = (await mirror.contents(newOid)).toString('utf8');
  const problem = linkProblem(pathText(path).split('/').length - 1, target);
  return problem && `is a link to ${hasControl(target) ? JSON.stringify(target) : target}, ${problem}`;
}

/** Links inside a tree that lead nowhere else keep all that go through them inside. `depth`: folders above the link. */
function linkProblem(depth: number, target: string): string | undefined {
  if (target === '' || /[\\\0]/.test(target) || /^[A-Za-z]:/.test(target))
    return 'which is no path everywhere';
  if (target.startsWith('/')) return 'out of the repository';
  const parts = target.split('/').filter((part) => part !== '' && part !== '.');
  const up = parts.findIndex((part) => part !== '..');
  const above = up < 0 ? parts.length : up;
  if (above > depth) return 'out of the repository';
  // Behind a name `..` leads to wherever that name, a link perhaps, is.
  if (parts.slice(above).includes('..')) return 'which goes up again: write it without';
  if (parts.some((part) => fold(part) === '.git')) return "into git's own folder";
  return undefined;
}

/** Names that separate folders elsewhere, or that nobody can read. */
function nameProblem({ path, oldMode, newMode }: Change): string | undefined {
  if (oldMode !== GONE || newMode === GONE) return undefined;
  const text = pathText(path);
  if (text.includes('\\')) return 'has a "\\" in its name, which separates folders on Windows';
  return hasControl(text) ? 'has a control character in its name' : undefined;
}

/** One key for names that are one file on some disk: without case, after NFC, without closing dots and spaces. */
function keyOf(name: string): string {
  const text = Buffer.from(name, 'latin1').toString('utf8');
  // Of bytes that are no text nothing is known but that they differ.
  if (text.includes('\ufffd')) return `\0${name}`;
  return fold(text).replace(/(?<=.)[. ]+$/, '');
}

/**
 * New names, of files and folders, that are taken for another one in the same folder of the tree `to` by disks that do not
 * tell case, spelling or closing dots apart. Costs the folders on the way to what was added.
 */
export async function newTwins(
  mirror: Mirror,
  { from, to }: { from: string; to: string },
  changes: readonly Change[],
): Promise<string[]> {
  const read = async (tree: string) => parseTree(await mirror.readTree(tree), tree.length / 2);
  const folders = new Map<string, { before: Names; after: Names; keys: Map<string, string[]> }>();
  const [before, after] = [await mirror.treeOf(from), await mirror.treeOf(to)];
  const folderAt = async (path: string, oldTree: string | undefined, newTree: string) => {
    const known = folders.get(path);
    if (known) return known;
    const names = await read(newTree);
    const keys = new Map<string, string[]>();
    for (const name of names.keys()) {
      const key = keyOf(name);
      const same = keys.get(key);
      if (same) same.push(name);
      else keys.set(key, [name]);
    }
    const folder = { before: oldTree === undefined ? new Map() : await read(oldTree), after: names, keys };
    folders.set(path, folder);
    return folder;
  };
  const found = new Set<string>();
  for (const { path, oldMode, newMode } of changes) {
    if (oldMode !== GONE || newMode === GONE) continue;
    let [at, oldTree, newTree]: [string, string | undefined, string | undefined] = ['', before, after];
    for (const name of path.toString('latin1').split('/')) {
      if (newTree === undefined) break;
      const folder = await folderAt(at, oldTree, newTree);
      const twin = folder.keys.get(keyOf(name))?.find((other) => other !== name);
      if (twin !== undefined && !folder.before.has(name))
        found.add(`${shown(Buffer.from(at + name, 'latin1'))} beside ${shown(Buffer.from(twin, 'latin1'))}`);
      at += `${name}/`;
      oldTree = treeIn(folder.before, name);
      newTree = treeIn(folder.after, name);
    }
  }
  return [...found];
}

type Names = ReturnType<typeof parseTree>;

function treeIn(names: Names, name: string): string | undefined {
  const entry = names.get(name);
  return entry && isTree(entry) ? entry.oid : undefined;
}
