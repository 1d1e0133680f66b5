// Snapshots of commits and of live working trees, from real repositories and folders: what is in them, what is not,
// whoever built the tree and whatever happens meanwhile. The search for secrets runs for real.

import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mirror } from '../activities/mirror.js';
import { searchSecrets } from '../activities/secret-search.js';
import { manifestFile, removeSnapshot, snapshotCommit } from '../activities/snapshot.js';
import { SNAPSHOT_LIMITS } from '../src/domain/peering.js';

const root = mkdtempSync(join(tmpdir(), 'snapshot-'));
const bare = join(root, 'mirror.git');
const mirror = new Mirror('app', bare, 'main', bare);
afterAll(async () => {
  await mirror.close();
  execFileSync('chmod', ['-R', 'u+w', root]);
  rmSync(root, { recursive: true, force: true });
});

const git = (args: string[], input?: string | Buffer): string =>
  execFileSync('git', ['-C', bare, ...args], {
    input,
    env: {
      ...process.env,
      GIT_AUTHOR_NAME: 'a',
      GIT_AUTHOR_EMAIL: 'a@b',
      GIT_COMMITTER_NAME: 'a',
      GIT_COMMITTER_EMAIL: 'a@b',
    },
    maxBuffer: 1 << 28,
  })
    .toString()
    .trim();

type Content = string | Buffer;
interface Raw {
  mode: string;
  name: Content;
  oid: string;
}

const blob = (content: Content): string => git(['hash-object', '-w', '--stdin'], Buffer.from(content));

/** A tree as it is, checked by nobody. */
const rawTree = (entries: Raw[]): string =>
  git(
    ['hash-object', '-w', '-t', 'tree', '--stdin', '--literally'],
    Buffer.concat(
      entries.flatMap(({ mode, name, oid }) => [
        Buffer.from(`${mode} `),
        Buffer.from(name),
        Buffer.from([0]),
        Buffer.from(oid, 'hex'),
      ]),
    ),
  );

const commitOf = (tree: string): string => git(['commit-tree', tree, '-m', 'x']);

/** A commit of these files, all by one fast-import. */
function commit(files: Record<string, Content>, modes: Record<string, string> = {}): string {
  const parts: Buffer[] = [
    Buffer.from('commit refs/heads/made\ncommitter a <a@b> 0 +0000\ndata 1\nx\ndeleteall\n'),
  ];
  for (const [path, content] of Object.entries(files)) {
    const bytes = Buffer.from(content);
    parts.push(
      Buffer.from(`M ${modes[path] ?? '100644'} inline ${JSON.stringify(path)}\ndata ${bytes.length}\n`),
      bytes,
      Buffer.from('\n'),
    );
  }
  rmSync(join(bare, 'refs/heads/made'), { force: true });
  git(['fast-import', '--quiet', '--force'], Buffer.concat(parts));
  return git(['rev-parse', 'refs/heads/made']);
}

let count = 0;
const place = (): string => join(root, `s${++count}`, 'peer');

/** All that is below a folder: path, mode, and the content of files. */
function listing(folder: string, above = ''): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(join(folder, above))) {
    const path = above === '' ? name : `${above}/${name}`;
    const stat = lstatSync(join(folder, path));
    const mode = (stat.mode & 0o7777).toString(8);
    if (stat.isDirectory()) Object.assign(found, { [`${path}/`]: mode }, listing(folder, path));
    else
      found[path] = stat.isFile()
        ? `${mode} ${readFileSync(join(folder, path), 'latin1')}`
        : 'something else';
  }
  return found;
}

const patternsOf = (manifest: { leftOut: { path: string; pattern: string }[] }): Record<string, string> =>
  Object.fromEntries(manifest.leftOut.map(({ path, pattern }) => [path, pattern]));

beforeAll(() => {
  execFileSync('git', ['init', '--quiet', '--bare', '-b', 'main', bare]);
});

describe('the snapshot of a commit', () => {
  it('has the files, byte for byte, and nothing of what the list excludes', async () => {
    const binary = Buffer.from([0, 1, 2, 255, 10, 13, 0]);
    const made = commit(
      {
        'README.md': 'hello\r\n',
        'bin/run': '#!/bin/sh\n',
        'src/日本語.bin': binary,
        'src/empty': '',
        'src/.ENV.local': 'PASSWORD=canary',
        'src/deep/.ssh/config': 'canary',
        'k.PEM': 'canary',
        '.git-credentials': 'canary',
        'node_modules/x/index.js': 'canary',
        '.cargo/config.toml': 'ok',
        '.cargo/credentials.toml': 'canary',
      },
      { 'bin/run': '100755' },
    );
    const into = place();
    const manifest = await snapshotCommit(mirror, made, into);
    expect(listing(into)).toEqual({
      'README.md': '444 hello\r\n',
      'bin/': '555',
      'bin/run': '555 #!/bin/sh\n',
      'src/': '555',
      'src/deep/': '555',
      'src/日本語.bin': `444 ${binary.toString('latin1')}`,
      'src/empty': '444 ',
      '.cargo/': '555',
      '.cargo/config.toml': '444 ok',
    });
    expect(lstatSync(into).mode & 0o7777).toBe(0o555);
    expect(manifest).toMatchObject({ files: 5, bytes: 7 + 10 + 7 + 2 });
    expect(manifest.incomplete).toBeUndefined();
    expect(patternsOf(manifest)).toEqual({
      'src/.ENV.local': '.env*',
      'src/deep/.ssh': '.ssh',
      'k.PEM': '*.pem',
      '.git-credentials': '.git-credentials',
      node_modules: 'node_modules',
      '.cargo/credentials.toml': '.cargo/credentials*',
    });
    const beside = readFileSync(manifestFile(into), 'utf8');
    expect(JSON.parse(beside)).toEqual(manifest);
    expect(beside).not.toContain('canary');
    expect(readdirSync(join(into, '..')).sort()).toEqual(['peer', 'peer.manifest.json']);
  });

  it('takes no word from attributes: no filter, no line endings, no export-ignore, no $Format$', async () => {
    const canary = join(root, 'filter-ran');
    git(['config', 'filter.evil.smudge', `touch ${canary}`]);
    const made = commit({
      '.gitattributes': '* filter=evil text eol=crlf ident export-subst\nhidden export-ignore\n',
      hidden: 'seen\n',
      text: '$Id$ $Format:%H$\n',
    });
    const into = place();
    await snapshotCommit(mirror, made, into);
    git(['config', '--unset', 'filter.evil.smudge']);
    expect(listing(into)).toMatchObject({ hidden: '444 seen\n', text: '444 $Id$ $Format:%H$\n' });
    expect(existsSync(canary)).toBe(false);
  });

  it('has no links, no submodules, no odd modes, whatever the tree says', async () => {
    const file = blob('x');
    const link = blob('/etc/passwd');
    const inner = rawTree([{ mode: '100644', name: 'passwd', oid: file }]);
    const tree = rawTree([
      { mode: '120000', name: 'abs', oid: link },
      { mode: '120000', name: 'd', oid: blob('..') },
      { mode: '160000', name: 'module', oid: file },
      { mode: '104755', name: 'setuid', oid: file },
      { mode: '107777', name: 'setall', oid: file },
      { mode: '010644', name: 'pipe', oid: file },
      { mode: '060644', name: 'block', oid: file },
      { mode: '40000', name: 'folder', oid: inner },
      { mode: '42755', name: 'setgid', oid: inner },
    ]);
    const into = place();
    const manifest = await snapshotCommit(mirror, commitOf(tree), into);
    expect(listing(into)).toEqual({
      'folder/': '555',
      'folder/passwd': '444 x',
      'setgid/': '555',
      'setgid/passwd': '444 x',
      setuid: '555 x',
      setall: '555 x',
    });
    expect(patternsOf(manifest)).toEqual({
      abs: 'symbolic link',
      d: 'symbolic link',
      module: 'submodule',
      pipe: 'special file',
      block: 'special file',
    });
  });

  it('has no names that lead out of it or deceive', async () => {
    const oid = blob('canary');
    const inner = rawTree([{ mode: '100644', name: 'x', oid }]);
    const names = [
      '..',
      '.',
      '',
      'a/b',
      '/etc',
      'a\\b',
      'git~1',
      '.g\u200cit',
      'x\x1b[2J',
      'end.',
      'end ',
      'n::$DATA',
      '.GIT',
      'n'.repeat(300),
    ];
    const tree = rawTree([
      ...names.map((name) => ({ mode: '100644', name, oid })),
      { mode: '40000', name: '..', oid: inner },
      { mode: '40000', name: '.GiT', oid: inner },
      { mode: '100644', name: Buffer.from([0x61, 0xff]), oid },
      { mode: '100644', name: 'fine', oid: blob('ok') },
    ]);
    const into = place();
    const manifest = await snapshotCommit(mirror, commitOf(tree), into);
    expect(listing(into)).toEqual({ fine: '444 ok' });
    expect(manifest.counts).toMatchObject({
      slash: 3,
      '.git': 3,
      'not UTF-8': 1,
      'short name': 1,
      'too deep': 1,
    });
    expect(JSON.stringify(manifest)).not.toContain('\\u001b');
  });

  it('a folder that follows a file of its name makes no half of a snapshot', async () => {
    const oid = blob('x');
    const tree = rawTree([
      { mode: '100644', name: 'a', oid },
      { mode: '40000', name: 'a', oid: rawTree([{ mode: '100644', name: 'b', oid }]) },
    ]);
    const into = place();
    await snapshotCommit(mirror, commitOf(tree), into);
    expect(listing(into)).toEqual({ 'a/': '555', 'a/b': '444 x' });
  });

  it.each([
    ['files', 'f', '100644'],
    ['what is left out', 'f.pem', '100644'],
    ['empty folders', '', ''],
  ])('a tree of ten levels, ten times ten to the tenth %s, ends at the limit', async (_, name, mode) => {
    let tree = rawTree(
      name === ''
        ? []
        : Array.from({ length: 10 }, (__, i) => ({ mode, name: `${i}${name}`, oid: blob('x') })),
    );
    for (let level = 0; level < 10; level++)
      tree = rawTree(Array.from({ length: 10 }, (__, i) => ({ mode: '40000', name: `d${i}`, oid: tree })));
    const into = place();
    const manifest = await snapshotCommit(mirror, commitOf(tree), into, { files: 500, bytes: 1_000_000 });
    expect(manifest.files).toBeLessThanOrEqual(500);
    expect(manifest.incomplete).toMatch(/nothing is in it from here on: "d0\/.*at most 500 files/);
    expect(Object.keys(listing(into)).filter((path) => path.endsWith('/')).length).toBeLessThanOrEqual(500);
  });

  it('leaves out what is too deep, and what there is no room for, and says so', async () => {
    let tree = rawTree([{ mode: '100644', name: 'bottom', oid: blob('x') }]);
    for (let level = 0; level < 300; level++) tree = rawTree([{ mode: '40000', name: 'd', oid: tree }]);
    const deep = await snapshotCommit(mirror, commitOf(tree), place());
    expect(deep.counts).toEqual({ 'too deep': 1 });

    const made = commit({ a: 'x'.repeat(600), b: 'x'.repeat(600), c: 'x'.repeat(300) });
    const into = place();
    const full = await snapshotCommit(mirror, made, into, { files: 10, bytes: 1_000 });
    expect(Object.keys(listing(into))).toEqual(['a', 'c']);
    expect(full).toMatchObject({ files: 2, bytes: 900, counts: { 'too large': 1 } });
    expect(full.incomplete).toMatch(/no room for some files.*1000 bytes/);

    const many = await snapshotCommit(mirror, made, place(), { files: 2, bytes: 10_000 });
    expect(many).toMatchObject({ files: 2, counts: { 'too many': 1 } });
    expect(many.incomplete).toMatch(/"c".*at most 2 files/);
  });

  it('appears whole or not at all, and takes the place of the one before', async () => {
    const first = commit({ a: '1', 'd/b': '2' });
    const into = place();
    await snapshotCommit(mirror, first, into);
    const gone = blob(`gone ${Math.random()}`);
    const tree = rawTree([
      { mode: '100644', name: 'a', oid: blob('new') },
      { mode: '100644', name: 'z', oid: gone },
    ]);
    const broken = commitOf(tree);
    rmSync(join(bare, 'objects', gone.slice(0, 2), gone.slice(2)));
    await expect(snapshotCommit(mirror, broken, into)).rejects.toThrow(gone);
    expect(listing(into)).toEqual({ a: '444 1', 'd/': '555', 'd/b': '444 2' });
    expect(readdirSync(join(into, '..')).sort()).toEqual(['peer', 'peer.manifest.json']);

    await snapshotCommit(mirror, commit({ c: '3' }), into);
    expect(listing(into)).toEqual({ c: '444 3' });
    await removeSnapshot(into);
    expect(readdirSync(join(into, '..'))).toEqual([]);
    await removeSnapshot(into);
    await expect(snapshotCommit(mirror, 'f'.repeat(40), into)).rejects.toThrow(/no tree/);
    expect(readdirSync(join(into, '..'))).toEqual([]);
  });

  it('20,000 files: how long it takes, and how long the worker is kept from other work', async () => {
    const files: Record<string, string> = {};
    for (let i = 0; i < 20_000; i++)
      files[`src/m${i % 200}/f${i}.ts`] = `export const a${i} = ${i};\n`.repeat(40);
    files['big.bin'] = 'x'.repeat(32 << 20);
    const made = commit(files);
    const lag = monitorEventLoopDelay({ resolution: 5 });
    lag.enable();
    const began = performance.now();
    const manifest = await snapshotCommit(mirror, made, place());
    const took = performance.now() - began;
    lag.disable();
    const [p99, max] = [lag.percentile(99) / 1e6, lag.max / 1e6].map((ms) => ms.toFixed(0));
    console.log(
      `snapshot of 20,001 files, ${(manifest.bytes / 1e6).toFixed(0)} MB: ${took.toFixed(0)} ms; event loop lag p99 ${p99} ms, max ${max} ms`,
    );
    expect(manifest).toMatchObject({ files: 20_001, leftOut: [] });
    expect(manifest.incomplete).toBeUndefined();
    expect(took).toBeLessThan(60_000);
  });
});

// Made here from parts, so that no tool takes this file for one that holds secrets.
const GITHUB = ['ghp', 'aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5'].join('_');
const AWS = ['AKIA', 'Q3EGR7T5VWXYZ2AB'].join('');
const KEY = [
  '-----BEGIN RSA PRIVATE KEY-----',
  `MIIEpAIBAAKCAQEA${'aB3dE5gH'.repeat(180)}`,
  '-----END RSA PRIVATE KEY-----',
].join('\n');
const ACCOUNT = JSON.stringify({
  type: 'service_account',
  project_id: 'p',
  private_key_id: 'a',
  private_key: `${KEY}\n`,
  client_email: 'a@b',
});

describe('the search for secrets', () => {
  const filler = (size: number) => 'const plain = 1;\n'.repeat(Math.ceil(size / 17)).slice(0, size);
  const FOUND: Record<string, Content> = {
    'alone.txt': `token = "${GITHUB}"\n`,
    'aws.txt': `id = ${AWS}\n`,
    'key.md': `# notes\n${KEY}\n`,
    'key.ts': `// secretlint-disable\n/* secretlint-disable */\nconst k = "${GITHUB}"; // secretlint-disable-line\n`,
    'account.json': ACCOUNT,
    'package.json': `{"scripts":{"a":"curl -H 'authorization: ${GITHUB}' x"}}`,
    'utf16.txt': Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(`t ${GITHUB}\n`, 'utf16le')]),
    'late.txt': `${filler(3_000_000)}\n${GITHUB}`,
    'border.txt': `${filler(256 * 1024 - 900)}${KEY}\n${filler(1_000)}`,
    'binary.bin': Buffer.concat([
      Buffer.from([0, 1, 2, 0xff]),
      Buffer.from(` ${GITHUB} `),
      Buffer.from([0, 0xfe]),
    ]),
  };

  it('leaves out the files that hold one, and names the rule, never the secret', async () => {
    const files: Record<string, Content> = { ...FOUND };
    for (let i = 0; i < 300; i++) files[`src/f${i}.ts`] = filler(400);
    const into = place();
    const manifest = await snapshotCommit(mirror, commit(files), into);
    const left = Object.fromEntries(
      manifest.leftOut.map(({ path, pattern, reason }) => [path, `${pattern}: ${reason}`]),
    );
    expect(Object.keys(left).sort()).toEqual(Object.keys(FOUND).sort());
    for (const path of Object.keys(FOUND)) {
      expect(left[path]).toMatch(/^secret: a secret was found in it: secretlint-rule-/);
      expect(existsSync(join(into, path))).toBe(false);
    }
    expect(left['alone.txt']).toContain('secretlint-rule-github GITHUB_TOKEN');
    expect(manifest).toMatchObject({
      files: 300,
      bytes: 300 * 400,
      counts: { secret: Object.keys(FOUND).length },
    });
    const said = readFileSync(manifestFile(into), 'utf8');
    for (const secret of [GITHUB, AWS, 'MIIEpAIBAAKCAQEA']) expect(said).not.toContain(secret);
    expect(lstatSync(into).mode & 0o7777).toBe(0o555);
  });

  it('what cannot be searched in time is left out as well', async () => {
    const made = commit({ 'a.txt': filler(100), 'b.txt': filler(100), 'c.json': '{}' });
    const into = place();
    const none = await snapshotCommit(mirror, made, into, SNAPSHOT_LIMITS, { stepMs: 60_000, totalMs: 0 });
    expect(none).toMatchObject({ files: 0, bytes: 0, counts: { 'not searched': 3 } });
    expect(listing(into)).toEqual({});
  });

  it('goes on behind a file that it does not get through', async () => {
    const folder = join(root, 'stuck');
    mkdirSync(folder);
    writeFileSync(join(folder, 'a.txt'), `x ${GITHUB}`);
    // Reading a pipe that nobody writes takes for ever, as an expression on bad text would.
    execFileSync('mkfifo', [join(folder, 'm.txt')]);
    writeFileSync(join(folder, 'n.txt'), 'plain');
    writeFileSync(join(folder, 'z.json'), ACCOUNT);
    const found = await searchSecrets(folder, ['a.txt', 'm.txt', 'n.txt', 'z.json'], {
      stepMs: 3_000,
      totalMs: 60_000,
    });
    expect([...found].map(([path, { pattern }]) => `${path} ${pattern}`)).toEqual([
      'a.txt secret',
      'm.txt not searched',
      'z.json secret',
    ]);
  });
});
