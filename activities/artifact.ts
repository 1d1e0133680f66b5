// The artifact of a read-only task: what its agent left in the result folder beside the report, kept on the shared repository
// under a ref of the attempt's own. The same files make the same commit, so keeping it twice changes nothing.

import { setImmediate as turn } from 'node:timers/promises';
import { digestOf, sha256 } from '../src/client/artifact.js';
import { TreeEditor } from '../src/client/tree-editor.js';
import {
  ARTIFACT_LIMITS,
  type ArtifactFile,
  type ArtifactLimits,
  type ArtifactRecord,
} from '../src/domain/artifact.js';
import { type Fence, fenceText } from '../src/domain/fence.js';
import { artifactRef } from '../src/domain/ids.js';
import { badKind } from '../src/domain/peering.js';
import { ResultFolder } from './artifact-folder.js';
import type { Mirror } from './mirror.js';
import type { Redactor } from './redactor.js';
import type { Granted } from './secrets.js';
import { commitTree, emptyTree } from './trees.js';
import { keepAt } from './workstation/make.js';

export interface ArtifactOf {
  task: string;
  fence: Fence;
  /** When the attempt began. */
  started: Date;
}

/**
 * Keeps what is in the folder, once no process of the agent is left. Files that hold a secret of the attempt, or its
 * name, are left out. Undefined, and nothing is done, when there is nothing; throws when it cannot be kept.
 */
export async function keepArtifact(
  mirror: Mirror,
  folder: string,
  { redactor, searcher }: Pick<Granted, 'redactor' | 'searcher'>,
  { task, fence, started }: ArtifactOf,
  limits: ArtifactLimits = ARTIFACT_LIMITS,
): Promise<ArtifactRecord | undefined> {
  const result = new ResultFolder(folder, limits, redactor.text);
  const files: ArtifactFile[] = [];
  let editor: TreeEditor | undefined;
  for await (const { path, content } of result.contents()) {
    const size = content.length;
    if ((await holdsSecret(searcher, Buffer.from(path))) || (await holdsSecret(searcher, content))) {
      result.without(path, size, badKind('secret'));
      continue;
    }
    editor ??= new TreeEditor(mirror, await emptyTree(mirror));
    const names = Buffer.from(path).toString('latin1').split('/');
    await editor.put(names, '100644', await mirror.writeObject('blob', content));
    files.push({ path, size, sha256: sha256(content) });
  }
  if (!editor) return result.omissions;
  const digest = digestOf(files);
  const ref = artifactRef(task, fenceText(fence));
  const message = `artifact of ${task}\n\nsha256 ${digest}\n`;
  const commit = await commitTree(mirror, await editor.write(), [], message, started);
  await keepAt(mirror, commit, ref, "the task's artifact");
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  return {
    stored: { digest, files: files.length, bytes, repository: mirror.name, ref },
    ...result.omissions,
  };
}

/** Searched at a time: others get their turn in between. */
const STEP = 1_024 ** 2;

async function holdsSecret(searcher: Redactor, content: Buffer): Promise<boolean> {
  const cutter = searcher.cutter();
  for (let at = 0; at < content.length && !cutter.found; at += STEP) {
    cutter.push(content.subarray(at, at + STEP));
    if (content.length > STEP) await turn();
  }
  cutter.end();
  return cutter.found;
}
