// Applies a real commit's change to a clone's HEAD, and composes the commit that holds it. It guarantees that a change is
// applied only to the very content it was made for, else it fails and names the path. Costs two processes.

import { GitDialogue } from '../../client/git.js';
import { askForTree, canonicalMode, isTree, TreeEditor } from '../../client/tree-editor.js';
import { type Change, showPath } from './history.js';

/** A commit and its tree after the changes. */
export interface Edited {
  parent: string;
  tree: string;
}

/** Writes HEAD's tree with the changes applied; throws when HEAD does not hold exactly what they start from. */
export async function editHead(clone: string, changes: readonly Change[]): Promise<Edited> {
  const reader = new GitDialogue(clone, ['cat-file', '--batch']);
  const writer = new GitDialogue(clone, ['mktree', '-z', '--batch', '--missing']);
  const store = {
    readTree: async (oid: string) => (await readObject(reader, oid, 'tree')).data,
    writeTree: (listing: Buffer) => askForTree(writer, listing),
  };
  try {
    const head = await readObject(reader, 'HEAD', 'commit');
    const tree = /^tree ([0-9a-f]+)\n/.exec(head.data.toString('latin1'))?.[1];
    if (tree === undefined) throw new Error(`${clone}: HEAD has no tree`);
    const editor = new TreeEditor(store, tree);
    await edit(editor, changes);
    return { parent: head.oid, tree: await editor.write() };
  } finally {
    await Promise.all([reader.close(), writer.close()]);
  }
}

/** Checks everything, then deletes, then writes: so a file may take a directory's place, and the reverse. */
async function edit(editor: TreeEditor, changes: readonly Change[]): Promise<void> {
  const steps = changes.map((change) => ({ change, path: change.path.toString('latin1').split('/') }));
  for (const { change, path } of steps) await check(editor, change, path);
  for (const { change, path } of steps) if (change.status === 'D') await editor.remove(path);
  for (const { change, path } of steps)
    if (change.status !== 'D') await editor.put(path, change.newMode, change.newOid);
}

async function check(editor: TreeEditor, change: Change, path: readonly string[]): Promise<void> {
  const entry = await editor.find(path);
  const held = entry && !isTree(entry) ? `${canonicalMode(entry.mode)} ${entry.oid}` : 'absent';
  const expected = change.status === 'A' ? 'absent' : `${change.oldMode} ${change.oldOid}`;
  if (held === expected) return;
  throw new Error(`${showPath(change.path)} is ${held} in HEAD, but the commit starts from ${expected}`);
}

interface GitObject {
  oid: string;
  data: Buffer;
}

async function readObject(reader: GitDialogue, name: string, wanted: 'commit' | 'tree'): Promise<GitObject> {
  const found = await reader.ask(`${name}\n`, (received) => {
    const end = received.indexOf('\n');
    if (end < 0) return undefined;
    const [oid = '', type = '', size = ''] = received.toString('latin1', 0, end).split(' ');
    if (size === '') return { value: undefined, length: end + 1 };
    const close = end + 1 + Number(size);
    if (received.length <= close) return undefined;
    return { value: { oid, type, data: received.subarray(end + 1, close) }, length: close + 1 };
  });
  if (!found) throw new Error(`${name} is missing in this clone`);
  if (found.type !== wanted) throw new Error(`${name} is a ${found.type}, not a ${wanted}`);
  return found;
}

const KEPT = /^(author|committer|encoding) /;

/** The raw commit: new tree and parent, the original's author, committer, encoding and message, byte for byte. */
export function composeCommit(original: Buffer, { tree, parent }: Edited): Buffer {
  const blank = original.indexOf('\n\n');
  const header = original.toString('latin1', 0, blank < 0 ? original.length : blank);
  const message = blank < 0 ? Buffer.from('\n') : original.subarray(blank + 1);
  // A continuation line starts with a space, so it never counts as one of the kept headers.
  const kept = header.split('\n').filter((line) => KEPT.test(line));
  const lines = [`tree ${tree}`, `parent ${parent}`, ...kept].map((line) => `${line}\n`);
  return Buffer.concat([Buffer.from(lines.join(''), 'latin1'), message]);
}
