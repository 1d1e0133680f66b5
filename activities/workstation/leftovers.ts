// What an agent left uncommitted in its clone is committed for it. How git is run there is the workstation's matter: in
// a sandbox, unless there is none.

/** A clone, as far as git and the contents of files go. */
export interface Clone {
  git(args: readonly string[], input?: Buffer): Promise<Buffer>;
  /** The hash of each file's contents, '' for what is gone or is no file; by path, as latin1. */
  hashes(paths: readonly string[]): Promise<Map<string, string>>;
}

/** Files that git takes for changed, by path as latin1, with their contents' hash. */
export type DirtyFiles = ReadonlyMap<string, string>;

const STATUS = ['status', '--porcelain=v1', '-z', '--untracked-files=all', '--no-renames'];

/** Paths that differ from HEAD, untracked ones too. */
export async function dirtyFiles(clone: Clone): Promise<DirtyFiles> {
  return await hashed(clone, await clone.git(STATUS));
}

/** As dirtyFiles, of what `git status` has said already. */
export async function hashed(clone: Clone, status: Buffer): Promise<DirtyFiles> {
  const paths = entriesOf(status).map(({ path }) => path);
  return paths.length === 0 ? new Map() : await clone.hashes(paths);
}

const entriesOf = (status: Buffer): { code: string; path: string }[] =>
  status
    .toString('latin1')
    .split('\0')
    .filter(Boolean)
    .map((entry) => ({ code: entry.slice(0, 2), path: entry.slice(3) }));

/** Commits what the agent left uncommitted. Files that only looked changed from the start are left alone. */
export async function commitLeftovers(clone: Clone, untouched: DirtyFiles, task: string): Promise<boolean> {
  const status = await clone.git(STATUS);
  const dirty = await hashed(clone, status);
  // What was taken out of the index is in there already, and git finds nothing under its name.
  const staged = new Set(entriesOf(status).flatMap(({ code, path }) => (code === 'D ' ? [path] : [])));
  for (const { code, path } of entriesOf(status)) if (code !== 'D ') staged.delete(path);
  const paths = [...dirty]
    .filter(([path, hash]) => untouched.get(path) !== hash && !isBelow(path, dirty) && !staged.has(path))
    .map(([path]) => path);
  if (paths.length + staged.size === 0) return false;
  const input = Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1');
  const add = ['--literal-pathspecs', 'add', '--all', '--force'];
  await clone.git([...add, '--pathspec-from-file=-', '--pathspec-file-nul'], input);
  const names = ['diff', '--cached', '--name-only', '-z', '--no-ext-diff', '--no-textconv'];
  if ((await clone.git(names)).length === 0) return false;
  const message = `Work of ${task}\n\nLeft uncommitted by its agent and committed for it.`;
  await clone.git(['commit', '--quiet', '--no-verify', '--no-gpg-sign', '--message', message]);
  return true;
}

/** A file below what is a file or link itself now goes with that: git takes no path through a link. */
function isBelow(path: string, dirty: DirtyFiles): boolean {
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1))
    if (dirty.has(path.slice(0, slash))) return true;
  return false;
}

/** The commit that the clone's HEAD stands for. */
export async function headOf(clone: Clone): Promise<string> {
  const head = (await clone.git(['rev-parse', '--verify', 'HEAD^{commit}'])).toString('latin1').trim();
  if (!/^[0-9a-f]{40}([0-9a-f]{24})?$/.test(head))
    throw new Error(`HEAD is no commit: ${head.slice(0, 100)}`);
  return head;
}
