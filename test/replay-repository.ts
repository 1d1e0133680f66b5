// Repositories for the replay tests, written object by object, so that nothing git would refuse to check out or to add
// is out of reach; among them one history with everything odd in it. Only in temporary directories.

import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { git, gitText } from '../src/client/git.js';

export const BRANCH = 'main';
const run = promisify(execFile);

export async function temporary<T>(work: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'signalbox-replay-'));
  try {
    return await work(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** A small deterministic generator (mulberry32): below(n) is in 0 … n-1. */
export function random(seed: number): { below(n: number): number } {
  let state = seed >>> 0;
  return {
    below(n: number): number {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * n);
    },
  };
}

export interface CommitParts {
  /** Path (latin1 for raw bytes) to content, `undefined` to delete. */
  files?: Readonly<Record<string, { content: Buffer | string; mode?: string } | string | undefined>>;
  message?: Buffer | string;
  author?: string;
  /** Whole header lines after the committer's, such as an encoding. */
  headers?: string;
  /** Further parents. */
  merges?: readonly string[];
}

/** Writes a repository's main branch commit by commit; the first is a root. */
export class Builder {
  readonly files = new Map<string, { mode: string; oid: string }>();
  tip: string | undefined;
  private count = 0;
  private aside = false;

  private constructor(readonly dir: string) {}

  static async create(dir: string, format = 'sha1'): Promise<Builder> {
    await run('git', ['init', '-q', '--template=', `--object-format=${format}`, '-b', BRANCH, dir]);
    return new Builder(dir);
  }

  async commit(parts: CommitParts): Promise<string> {
    for (const [path, file] of Object.entries(parts.files ?? {})) {
      if (file === undefined) {
        this.files.delete(path);
        continue;
      }
      const { content, mode = '100644' } = typeof file === 'string' ? { content: file } : file;
      const oid = await gitText(this.dir, ['hash-object', '-w', '--stdin'], { input: content });
      this.files.set(path, { mode, oid });
    }
    return this.commitTree(await this.writeTree(), parts);
  }

  /** Puts a gitlink (or any other entry whose object need not exist) into the next commit. */
  link(path: string, mode: string, oid: string): void {
    this.files.set(path, { mode, oid });
  }

  private writeTree(): Promise<string> {
    const rows = [...this.files].map(([path, { mode, oid }]) => `${mode} ${oid}\t${path}\0`);
    return writeIndexTree(this.dir, undefined, rows);
  }

  async commitTree(tree: string, parts: CommitParts): Promise<string> {
    const date = `${1_500_000_000 + this.count++ * 60} +0130`;
    const parents = [this.tip, ...(parts.merges ?? [])].filter((oid) => oid !== undefined);
    const header = [
      `tree ${tree}`,
      ...parents.map((oid) => `parent ${oid}`),
      `author ${parts.author ?? 'Ann Author <ann@example.org>'} ${date}`,
      `committer Carl Committer <carl@example.org> ${date}`,
    ];
    const text = `${header.join('\n')}\n${parts.headers ?? ''}\n`;
    const input = Buffer.concat([
      Buffer.from(text, 'latin1'),
      Buffer.from(parts.message ?? `commit ${this.count}\n`),
    ]);
    const args = ['hash-object', '-t', 'commit', '-w', '--stdin', '--literally'];
    const oid = await gitText(this.dir, args, { input });
    if (!this.aside) await git(this.dir, ['update-ref', `refs/heads/${BRANCH}`, oid]);
    this.tip = oid;
    return oid;
  }

  /** A commit beside the branch, to be merged; the branch stays. */
  async side(from: string, parts: CommitParts): Promise<string> {
    const kept = { tip: this.tip, files: new Map(this.files) };
    this.aside = true;
    this.tip = from;
    const oid = await this.commit(parts);
    this.aside = false;
    this.tip = kept.tip;
    this.files.clear();
    for (const [path, file] of kept.files) this.files.set(path, file);
    return oid;
  }
}

/** A tree written through an index of its own: `base` with rows in the form of `update-index --index-info`. */
export async function writeIndexTree(
  dir: string,
  base: string | undefined,
  rows: readonly string[],
): Promise<string> {
  return temporary(async (scratch) => {
    const env = { GIT_INDEX_FILE: join(scratch, 'index') };
    if (base !== undefined) await git(dir, ['read-tree', base], { env });
    const deletionsFirst = [...rows].sort((a, b) => Number(b.startsWith('0 ')) - Number(a.startsWith('0 ')));
    const input = Buffer.from(deletionsFirst.join(''), 'latin1');
    await git(dir, ['update-index', '-z', '--index-info'], { env, input });
    return gitText(dir, ['write-tree', '--missing-ok'], { env });
  });
}

const latin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
const BINARY = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 37) & 255));
const ODD_PATHS = [
  'with space and  two',
  'line\nbreak/tab\t"quote"',
  'back\\slash\\',
  ':(glob)**',
  'C:/drive',
  'star*?[x]',
  '-dash',
  'raw\xff\xfe/\xe9t\xe9',
  latin1('NFD/e\u0301'),
  latin1('NFC/é'),
  latin1('emoji/😀'),
  'gitattributes/.gitignore',
  '...',
  'a..b/~',
];

/** A history with everything odd that a real repository may hold. */
async function writeEverything(repo: Builder): Promise<void> {
  await repo.commit({
    files: { 'README.md': 'root\r\n', 'src/a.ts': 'a\n', 'src/b.ts': 'b\n' },
    message: '',
  });
  await repo.commit({
    files: {
      '.gitattributes':
        '* text eol=crlf\n*.bin filter=lfs diff=lfs merge=lfs -text\n*.up filter=upper ident\n',
      'mixed.txt': 'one\r\ntwo\nthree\r',
      'pointer.bin': 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
      'real.bin': { content: BINARY },
      'x.up': '$Id$ lower\n',
      'working-tree-encoding.txt': Buffer.from('\ufeffhé', 'utf16le').toString('latin1'),
    },
  });
  for (const path of ODD_PATHS)
    await repo.commit({ files: { [path]: `in ${path}` }, message: `add ${path}` });
  await repo.commit({ files: Object.fromEntries(ODD_PATHS.map((path) => [path, `again ${path}`])) });
  await repo.commit({ message: 'empty commit\n\nwith a body\n' });
  await repo.commit({ files: { 'src/a.ts': undefined, 'lib/a.ts': 'a\n' }, message: 'rename' });
  await repo.commit({ files: { 'lib/a.ts': { content: 'a\n', mode: '100755' } }, message: 'mode' });
  await repo.commit({
    files: { 'lib/a.ts': { content: '../src/b.ts', mode: '120000' } },
    message: 'symlink',
  });
  await repo.commit({ files: { 'lib/a.ts': undefined, 'lib/a.ts/index.ts': 'i', 'lib/a.ts/x/y': 'y' } });
  await repo.commit({ files: { 'lib/a.ts/index.ts': 'j' } });
  await repo.commit({
    files: { 'lib/a.ts/index.ts': undefined, 'lib/a.ts/x/y': undefined, 'lib/a.ts': 'file' },
  });
  await repo.commit({ files: { lib: { content: 'src', mode: '120000' }, 'lib/a.ts': undefined } });
  await oddCommits(repo);
  await merges(repo);
  await churn(repo, 20);
}

async function oddCommits(repo: Builder): Promise<void> {
  await repo.commit({
    files: { latin: 'x' },
    message: Buffer.from('caf\xe9 \xfcber\n\nno newline at the end', 'latin1'),
    author: 'J\xf6rg <j@x>',
    headers: 'encoding ISO-8859-1\n',
  });
  await repo.commit({ files: { odd: '1' }, author: ' <>', message: '\n\n  leading\n' });
  await repo.commit({
    files: { odd: '2' },
    author: latin1('A. "B" \\ <<a@b>, 😀'),
    headers:
      'gpgsig -----BEGIN PGP SIGNATURE-----\n \n author Mallory <m@x> 0 +0000\n -----END PGP SIGNATURE-----\n',
  });
  await repo.commit({ files: { odd: '3' }, message: 'bell \u0007 and \u001b[31mred' });
}

async function merges(repo: Builder): Promise<void> {
  const base = repo.tip ?? '';
  const one = await repo.side(base, { files: { 'side/one': '1', 'src/b.ts': 'theirs' } });
  const two = await repo.side(base, { files: { 'side/two': '2' } });
  const three = await repo.side(two, { files: { 'side/three': '3' } });
  await repo.commit({ files: { 'src/b.ts': 'ours' } });
  await repo.commit({
    files: { 'side/one': '1', 'src/b.ts': 'both', evil: 'unasked' },
    merges: [one],
    message: 'evil',
  });
  await repo.commit({
    files: { 'side/two': '2', 'side/three': '3' },
    merges: [two, three],
    message: 'octopus',
  });
  const unrelated = await repo.side(base, { files: { 'side/never': 'x' } });
  await repo.commit({ merges: [unrelated], message: 'merge that keeps ours' });
}

/** Random changes of few paths: long chains, files that become directories and back. */
async function churn(repo: Builder, commits: number): Promise<void> {
  const { below } = random(commits);
  const names = ['p', 'q', 'r'];
  for (let i = 0; i < commits; i++) {
    const files: Record<string, string | undefined> = {};
    for (let n = below(3); n >= 0; n--) {
      const path = ['churn', ...Array.from({ length: 1 + below(3) }, () => names[below(3)] ?? '')].join('/');
      if (Object.keys(files).some((other) => other.startsWith(`${path}/`) || path.startsWith(`${other}/`)))
        continue;
      for (const old of repo.files.keys()) {
        if (old.startsWith(`${path}/`) || path.startsWith(`${old}/`)) files[old] = undefined;
      }
      files[path] = `${i}`;
    }
    await repo.commit({ files });
  }
}

const made = new Map<string, Promise<string>>();

/** A copy of the history with everything in it, at `dir`. */
export async function everything(dir: string, format: 'sha1' | 'sha256'): Promise<string> {
  const original = made.get(format) ?? makeEverything(format);
  made.set(format, original);
  await cp(await original, dir, { recursive: true });
  return dir;
}

async function makeEverything(format: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'signalbox-replay-'));
  await writeEverything(await Builder.create(dir, format));
  return dir;
}

/** To be called after the last test. */
export async function forgetEverything(): Promise<void> {
  for (const dir of made.values()) await rm(await dir, { recursive: true, force: true });
}
