// Reads the first-parent history of a git repository as a list of exact changes.
// It guarantees that each commit's changes are its complete diff against its first parent (against nothing for a root
// and for the boundary of a shallow clone), as raw bytes, without rename detection; that every blob a change brings
// is there; and that submodule changes, unknown ranges and broken repositories are refused with a clear message.
// A fixed number of processes, whatever the number of commits.

import { GitError, git, gitText } from '../../client/git.js';
import { field, parseRawDiffs, type RawChange } from '../../client/raw-diff.js';

export type Change = RawChange;

export interface HistoryCommit {
  oid: string;
  parent: string | undefined;
  subject: string;
  changes: Change[];
}

export interface History {
  /** The commit before the first; undefined when the first is a root. */
  start: string | undefined;
  end: string;
  endTree: string;
  objectFormat: 'sha1' | 'sha256';
  /** Oldest first. */
  commits: HistoryCommit[];
}

const SUBMODULE = '160000';

// Plumbing with every setting that could bend it spelt out. Fed with commits, one a line.
const DIFF_TREE = [
  'diff-tree',
  '--stdin',
  '--always',
  '--root',
  '-r',
  '-z',
  '--raw',
  '--no-abbrev',
  '--no-renames',
];
const DIFF_TREE_FLAGS = ['--diff-merges=first-parent', '--no-relative', '--ignore-submodules=none'];

export async function readHistory(repo: string, select: { last?: number; range?: string }): Promise<History> {
  const objectFormat = await openRepository(repo);
  const { from, to, limit } = await selection(repo, select);
  const commits = await listCommits(repo, from, to, limit);
  const first = commits[0];
  const last = commits.at(-1);
  if (!first || !last) {
    throw new Error(
      `${repo}: no commits in the range ${select.range ?? ''}: its end is reachable from its start`,
    );
  }
  const changes = await readChanges(
    repo,
    commits.map(({ oid }) => oid),
  );
  const complete = commits.map((commit) => ({ ...commit, changes: changes.get(commit.oid) ?? [] }));
  refuseSubmodules(repo, complete);
  await requireBlobs(repo, complete);
  const endTree = await gitText(repo, ['rev-parse', '--verify', `${last.oid}^{tree}`]);
  return { start: first.parent, end: last.oid, endTree, objectFormat, commits: complete };
}

/** Each commit's first-parent diff, by its object id. */
export async function readChanges(repo: string, oids: readonly string[]): Promise<Map<string, Change[]>> {
  let output: Buffer;
  try {
    output = await git(repo, [...DIFF_TREE, ...DIFF_TREE_FLAGS], { input: `${oids.join('\n')}\n` });
  } catch (error) {
    throw incomplete(repo, error);
  }
  const changes = parseRawDiffs(output);
  const missing = oids.find((oid) => !changes.has(oid));
  if (missing !== undefined) throw new Error(`${repo} lacks the commit ${missing}`);
  return changes;
}

async function openRepository(repo: string): Promise<'sha1' | 'sha256'> {
  let format: string;
  try {
    format = await gitText(repo, ['rev-parse', '--show-object-format']);
  } catch (error) {
    const detail = error instanceof GitError && error.stderr !== '' ? error.stderr : String(error);
    throw new Error(`${repo} is not a git repository: ${detail}`);
  }
  if (format !== 'sha1' && format !== 'sha256') throw new Error(`${repo}: unknown object format ${format}`);
  return format;
}

interface Selection {
  from: string | undefined;
  to: string;
  limit: number | undefined;
}

async function selection(repo: string, select: { last?: number; range?: string }): Promise<Selection> {
  const { last: limit, range } = select;
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0)) {
    throw new Error(`"last" must be a whole number of at least 1, not ${limit}`);
  }
  if (range === undefined) return { from: undefined, to: await headCommit(repo), limit };
  const dots = range.indexOf('..');
  if (dots < 0 || range.startsWith('...', dots)) throw new Error(`"${range}" is not a range: write A..B`);
  const [left, right] = [range.slice(0, dots), range.slice(dots + 2)];
  const from = left === '' ? undefined : await commitOf(repo, left);
  return { from, to: right === '' ? await headCommit(repo) : await commitOf(repo, right), limit };
}

async function headCommit(repo: string): Promise<string> {
  try {
    return await gitText(repo, ['rev-parse', '--verify', '--quiet', 'HEAD^{commit}']);
  } catch {
    throw new Error(`${repo} has no commits: its HEAD points to a branch that does not exist yet`);
  }
}

async function commitOf(repo: string, name: string): Promise<string> {
  try {
    return await gitText(repo, ['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`]);
  } catch {
    throw new Error(`${repo} knows no commit "${name}"`);
  }
}

type Listed = Omit<HistoryCommit, 'changes'>;

// Subjects are re-encoded by git from each commit's own encoding. Whoever excludes commits cuts the first-parent chain
// once, as what a commit reaches is closed under parents: the list is one piece of the chain.
async function listCommits(
  repo: string,
  from: string | undefined,
  to: string,
  limit: number | undefined,
): Promise<Listed[]> {
  const args = ['rev-list', '--first-parent', '--reverse', '--encoding=UTF-8', '--no-commit-header'];
  args.push('--format=tformat:%H %P%x00%s%x00');
  if (limit !== undefined) args.push(`--max-count=${limit}`);
  args.push(to, ...(from === undefined ? [] : [`^${from}`]), '--');
  const output = await git(repo, args).catch((error: unknown) => {
    throw incomplete(repo, error);
  });
  const commits: Listed[] = [];
  for (let at = 0; at < output.length; ) {
    const ids = field(output, at);
    const subject = field(output, ids.next);
    const [oid = '', parent] = ids.bytes.toString('latin1').trim().split(' ');
    commits.push({ oid, parent, subject: subject.bytes.toString('utf8') });
    at = subject.next + 1; // the newline after each entry
  }
  return commits;
}

function refuseSubmodules(repo: string, commits: readonly HistoryCommit[]): void {
  for (const { oid, changes } of commits) {
    const change = changes.find(({ oldMode, newMode }) => oldMode === SUBMODULE || newMode === SUBMODULE);
    if (!change) continue;
    throw new Error(
      `${repo}: commit ${oid} changes the submodule ${showPath(change.path)}: submodule changes cannot be replayed; ` +
        'choose a range without them',
    );
  }
}

async function requireBlobs(repo: string, commits: readonly HistoryCommit[]): Promise<void> {
  const needed = new Map<string, string>();
  for (const { oid, changes } of commits) {
    for (const { status, newOid, path } of changes) {
      if (status !== 'D' && !needed.has(newOid)) needed.set(newOid, `${showPath(path)} in commit ${oid}`);
    }
  }
  const missing = await firstMissing(repo, [...needed.keys()]);
  if (missing === undefined) return;
  throw new Error(
    `${repo} lacks the content of ${needed.get(missing) ?? missing} (a partial clone or snapshot?): ` +
      'complete it, or choose commits that are whole',
  );
}

// Asked in growing portions: a clone that lacks everything is found out at once, as each lacking object of a partial
// clone can cost git an attempt to fetch it, and a whole repository is checked by few processes.
async function firstMissing(repo: string, oids: readonly string[]): Promise<string | undefined> {
  for (let at = 0, size = 64; at < oids.length; at += size, size *= 4) {
    const input = `${oids.slice(at, at + size).join('\n')}\n`;
    let answers: string;
    try {
      answers = (await git(repo, ['cat-file', '--batch-check=%(objectname)'], { input })).toString('latin1');
    } catch (error) {
      // Asked for an object that a partial clone lacks and may not fetch, git ends at once, naming it.
      const named =
        error instanceof GitError ? /could not fetch ([0-9a-f]+)/.exec(error.stderr)?.[1] : undefined;
      if (named === undefined) throw incomplete(repo, error);
      return named;
    }
    const missing = /^([0-9a-f]+) missing$/m.exec(answers)?.[1];
    if (missing !== undefined) return missing;
  }
  return undefined;
}

function incomplete(repo: string, error: unknown): Error {
  const detail = error instanceof Error ? error.message : String(error);
  return new Error(`${repo} is damaged or incomplete (a partial clone or snapshot?): ${detail}`);
}

/** A path as people can read it on one line, whatever its bytes. */
export function showPath(path: Buffer): string {
  const text = path.toString('utf8');
  return Buffer.from(text, 'utf8').equals(path) && !/[\p{Cc}"\\]/u.test(text)
    ? text
    : `"${path.toString('latin1').replace(/[^ !#-[\]-~]/g, escapeByte)}"`;
}

function escapeByte(byte: string): string {
  if (byte === '"' || byte === '\\') return `\\${byte}`;
  return `\\${byte.charCodeAt(0).toString(8).padStart(3, '0')}`;
}
