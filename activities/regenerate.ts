// Generated files: made anew by the command that the configuration names, in a checkout of the merged tree, and taken
// into a commit of their own. Only what is generated is taken, and what the command left as it was stays as git has it.
// The checkout is read by path and not by git: commands may have changed how git would read it.

import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { TreeEditor } from '../src/client/tree-editor.js';
import { type Pattern, parsePattern } from '../src/domain/paths.js';
import { coveredBy } from '../src/domain/surfaces.js';
import type { DeployContext } from './checkout.js';
import { type Aside, listed } from './integrate.js';
import { applyChanges, type Change, changesBetween, commitTree, GONE, pathText } from './trees.js';
import { newTwins, unsafeChanges } from './unsafe-changes.js';
import { provingCheckout, runProving } from './verify.js';

export type Regenerated =
  | { kind: 'regenerated'; commit: string; paths: string[] }
  | { kind: 'failed'; text: string };

/** Makes anew what was set aside. Gives the commit on top of the context's, or that one when nothing came out different. */
export async function regenerate(context: DeployContext, aside: Aside): Promise<Regenerated> {
  const { host, mirror, commit, task } = context;
  const repository = host.config.repositories[mirror.name];
  const entries = (repository?.claims?.generated ?? []).filter(
    (entry, i) => aside.has(i) && entry.regenerate !== undefined,
  );
  if (entries.length === 0) return { kind: 'regenerated', commit, paths: [] };
  const patterns = entries.flatMap(({ paths }) => paths.map(parsePattern));
  const generated = { patterns, covered: coveredBy(patterns, repository?.caseInsensitive === true) };
  const checkout = await provingCheckout(context, 'regenerate');
  if (typeof checkout === 'string') return { kind: 'failed', text: checkout };
  const tree = Buffer.from(checkout.tree);
  const before = await filesIn(tree, generated);
  for (const { regenerate: command = [] } of entries) {
    const text = await runProving(checkout, context, { use: 'regenerate', command });
    if (text !== undefined) return { kind: 'failed', text };
  }
  const changes = await differences(context, tree, before, await filesIn(tree, generated));
  const paths = changes.map(({ path }) => pathText(path));
  if (changes.length === 0) return { kind: 'regenerated', commit, paths };
  const editor = new TreeEditor(mirror, await mirror.treeOf(commit));
  try {
    await applyChanges(editor, changes);
  } catch (error) {
    // A file that is not generated stands where a generated one needs a directory, or the other way round.
    return { kind: 'failed', text: error instanceof Error ? error.message : String(error) };
  }
  const unsafe = repository?.anyTree ? [] : await unsafeChanges(mirror, changes);
  if (unsafe.length > 0) return { kind: 'failed', text: `what was made may not land: ${listed(unsafe)}` };
  const more = paths.length > 3 ? ` and ${paths.length - 3} more` : '';
  const message = `Regenerate ${paths.slice(0, 3).join(', ')}${more}\n\nFor ${task}: generated files need no claim, the writer makes them.\n`;
  const made = await commitTree(mirror, await editor.write(), [commit], message);
  const twins = repository?.anyTree
    ? []
    : await newTwins(mirror, { from: commit, to: made }, await changesBetween(mirror, commit, made));
  if (twins.length > 0)
    return {
      kind: 'failed',
      text: `what was made is one file on disks that do not tell such names apart: ${listed(twins)}`,
    };
  return { kind: 'regenerated', commit: made, paths };
}

interface Generated {
  patterns: readonly Pattern[];
  covered: (path: string) => boolean;
}

/** Mode and a hash of the contents, by raw path as a latin1 string. */
type Files = Map<string, string>;

/** What of the patterns there is below the folder. Symbolic links are read, never followed. */
async function filesIn(root: Buffer, { patterns, covered }: Generated): Promise<Files> {
  const files: Files = new Map();
  const visit = async (path: Buffer): Promise<void> => {
    const at = below(root, path);
    const stat = await lstat(at).catch(() => undefined);
    if (stat?.isDirectory()) {
      for (const name of await readdir(at, { encoding: 'buffer' }))
        if (path.length > 0 || name.toString() !== '.git')
          await visit(path.length > 0 ? below(path, name) : name);
    } else if ((stat?.isFile() || stat?.isSymbolicLink()) && covered(pathText(path))) {
      const { mode, contents } = await read(at);
      files.set(path.toString('latin1'), `${mode} ${createHash('sha256').update(contents).digest('hex')}`);
    }
  };
  for (const pattern of patterns) {
    const start = await beginning(root, pattern);
    if (start) await visit(start);
  }
  return files;
}

const below = (folder: Buffer, name: Buffer): Buffer => Buffer.concat([folder, Buffer.from('/'), name]);

/** The path that all matches begin with; undefined when a link or a file stands on the way there. */
async function beginning(root: Buffer, { keys }: Pattern): Promise<Buffer | undefined> {
  const wild = keys.findIndex((key) => typeof key !== 'string');
  const names = (wild < 0 ? keys : keys.slice(0, wild)) as readonly string[];
  for (let i = 1; i < names.length; i++) {
    const stat = await lstat(below(root, Buffer.from(names.slice(0, i).join('/')))).catch(() => undefined);
    if (!stat?.isDirectory()) return undefined;
  }
  return Buffer.from(names.join('/'));
}

async function read(at: Buffer): Promise<{ mode: string; contents: Buffer }> {
  const stat = await lstat(at);
  if (stat.isSymbolicLink()) return { mode: '120000', contents: await readlink(at, { encoding: 'buffer' }) };
  return { mode: stat.mode & 0o100 ? '100755' : '100644', contents: await readFile(at) };
}

async function differences(
  { mirror }: DeployContext,
  root: Buffer,
  before: Files,
  after: Files,
): Promise<Change[]> {
  const changes: Change[] = [];
  const none = { oldMode: GONE, oldOid: '' };
  for (const [name, file] of after) {
    if (before.get(name) === file) continue;
    const path = Buffer.from(name, 'latin1');
    const { mode, contents } = await read(below(root, path));
    changes.push({ ...none, path, newMode: mode, newOid: await mirror.writeObject('blob', contents) });
  }
  for (const name of before.keys())
    if (!after.has(name))
      changes.push({ ...none, path: Buffer.from(name, 'latin1'), newMode: GONE, newOid: '' });
  return changes;
}
