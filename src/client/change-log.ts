// Who changed which paths: a repository's history as the inventory needs it. The repository is only read, by two git
// processes and one for each .gitattributes file.

import { GitError, git, gitText } from './git.js';

export interface ChangeLog {
  /** Newest first, without merges. */
  commits: { author: string; email: string; paths: string[] }[];
  /** All files of the newest commit. */
  files: string[];
  /** The text of each .gitattributes file of the newest commit, by its folder; the root's is ''. */
  attributes: { folder: string; text: string }[];
}

/** Reads the last commits of what is checked out, or of a bare repository's HEAD. Throws with what is wrong. */
export async function readChangeLog(repository: string, last: number): Promise<ChangeLog> {
  try {
    // Both list the whole repository, from whatever folder of it.
    const files = split(await git(repository, ['ls-tree', '-r', '-z', '--name-only', '--full-tree', 'HEAD']));
    const log = await git(repository, [
      'log',
      '-z',
      '--name-only',
      '--no-relative',
      '--no-renames',
      '--no-merges',
      `--max-count=${last}`,
      '--format=%x01%aE%x02%aN%x02',
      'HEAD',
    ]);
    return { commits: parseLog(split(log)), files, attributes: await readAttributes(repository, files) };
  } catch (error) {
    if (!(error instanceof GitError)) throw error;
    throw new Error(`${repository} has no history that git can read: ${error.stderr || error.message}`);
  }
}

/** Paths that are no UTF-8 cannot be told from each other here; nobody could claim them. */
const split = (output: Buffer): string[] => output.toString('utf8').split('\0').filter(Boolean);

const HEADER = /^\x01([^\x02]*)\x02([^\x02]*)\x02$/;

function parseLog(fields: readonly string[]): ChangeLog['commits'] {
  const commits: ChangeLog['commits'] = [];
  for (const field of fields) {
    const [, email, author] = HEADER.exec(field) ?? [];
    if (email !== undefined && author !== undefined) commits.push({ author, email, paths: [] });
    // The first path of a commit stands on a line of its own.
    else commits.at(-1)?.paths.push(commits.at(-1)?.paths.length === 0 ? field.replace(/^\n/, '') : field);
  }
  return commits;
}

async function readAttributes(
  repository: string,
  files: readonly string[],
): Promise<ChangeLog['attributes']> {
  const found = files.filter((file) => file === '.gitattributes' || file.endsWith('/.gitattributes'));
  return await Promise.all(
    found.slice(0, 50).map(async (file) => ({
      folder: file.slice(0, Math.max(0, file.lastIndexOf('/'))),
      text: await gitText(repository, ['cat-file', 'blob', `HEAD:${file}`]),
    })),
  );
}
