// Snapshots of working trees that somebody is changing: the copier as a process of its own, with and without a sandbox,
// against links, pipes, devices, and a tree that changes under its hands.

import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { builtScript } from '../activities/built-script.js';
import { type CopierJob, type InSandbox, manifestFile, snapshotWorktree } from '../activities/snapshot.js';
import type { Manifest } from '../src/domain/peering.js';

const root = mkdtempSync(join(tmpdir(), 'worktree-'));
chmodSync(root, 0o755);
afterAll(() => {
  execFileSync('chmod', ['-R', 'u+w', root]);
  rmSync(root, { recursive: true, force: true });
});

const IS_ROOT = process.getuid?.() === 0;
const NOBODY = 65534;
const CANARY = 'canary-of-the-host';

interface Ran {
  code: number | null;
  stdout: Buffer;
  stderr: string;
}

function run(command: readonly string[], options: { uid?: number; cwd?: string } = {}): Promise<Ran> {
  const [program = '', ...args] = command;
  const ids = options.uid === undefined ? {} : { uid: options.uid, gid: options.uid };
  const child = spawn(program, args, { env: {}, cwd: options.cwd ?? '/', ...ids });
  const chunks: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout: Buffer.concat(chunks), stderr }));
  });
}

const stdoutOf = async (ran: Promise<Ran>): Promise<Buffer> => {
  const { code, stdout, stderr } = await ran;
  if (code !== 0) throw new Error(`the copier failed: ${stderr}`);
  return stdout;
};

/** No sandbox at all: what the copier holds by itself. */
const bare: InSandbox = ({ source, destination, command }) => stdoutOf(run(command(source, destination)));

/** As another user: what it may not read it cannot copy. */
const asNobody: InSandbox = ({ source, destination, command }) => {
  chownSync(destination, NOBODY, NOBODY);
  return stdoutOf(run(command(source, destination), { uid: NOBODY }));
};

/** Nothing but what the job names, beside node and the system's libraries. */
const bubblewrapped = (
  { readable }: Pick<CopierJob, 'readable'>,
  binds: string[],
  command: string[],
): string[] => [
  'bwrap',
  '--unshare-all',
  '--die-with-parent',
  '--proc',
  '/proc',
  '--dev',
  '/dev',
  ...['/usr', '/lib', '/lib64', '/bin', '/etc/ld.so.cache'].flatMap((path) => ['--ro-bind-try', path, path]),
  ...[process.execPath, ...readable].flatMap((path) => ['--ro-bind', path, path]),
  ...binds,
  '--',
  ...command,
];

const inBubblewrap: InSandbox = (job) => {
  if (IS_ROOT) chownSync(job.destination, NOBODY, NOBODY);
  const binds = ['--ro-bind', job.source, '/source', '--bind', job.destination, '/destination'];
  const command = bubblewrapped(job, binds, job.command('/source', '/destination'));
  return stdoutOf(
    run(['/usr/bin/env', `PATH=${process.env.PATH}`, ...command], IS_ROOT ? { uid: NOBODY } : {}),
  );
};

const bubblewrap = await run(
  ['/usr/bin/env', `PATH=${process.env.PATH}`, 'bwrap', '--unshare-all', '--ro-bind', '/', '/', 'true'],
  IS_ROOT ? { uid: NOBODY } : {},
).then(
  ({ code }) => code === 0,
  () => false,
);

let count = 0;
const folder = (): string => {
  const made = join(root, `w${++count}`);
  mkdirSync(made);
  return made;
};
const place = (): string => join(folder(), 'peer');

function listing(dir: string, above = ''): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(join(dir, above))) {
    const path = above === '' ? name : `${above}/${name}`;
    const stat = lstatSync(join(dir, path));
    const mode = (stat.mode & 0o7777).toString(8);
    if (stat.isDirectory()) Object.assign(found, { [`${path}/`]: mode }, listing(dir, path));
    else
      found[path] = stat.isFile() ? `${mode} ${readFileSync(join(dir, path), 'latin1')}` : 'something else';
  }
  return found;
}

const patternsOf = (manifest: Manifest): Record<string, string> =>
  Object.fromEntries(manifest.leftOut.map(({ path, pattern }) => [path, pattern]));

/** A working tree with everything in it that no peer may see. */
async function hostile(): Promise<{ source: string; close(): void }> {
  const source = folder();
  const outside = folder();
  writeFileSync(join(outside, 'canary'), CANARY);
  const at = (path: string) => join(source, path);
  mkdirSync(at('src/deep'), { recursive: true });
  writeFileSync(at('src/a.ts'), 'a');
  writeFileSync(at('src/run'), 'r');
  chmodSync(at('src/run'), 0o6755);
  mkdirSync(at('sticky'));
  chmodSync(at('sticky'), 0o3777);
  mkdirSync(at('.GIT'));
  writeFileSync(at('.GIT/config'), CANARY);
  writeFileSync(at('src/.Env.local'), CANARY);
  writeFileSync(at('src/deep/cert.KEY'), CANARY);
  writeFileSync(at('src/.e\u200cnv'), CANARY);
  writeFileSync(Buffer.concat([Buffer.from(at('src/bad')), Buffer.from([0xff])]), CANARY);
  writeFileSync(at('src/x\x1b[2Jy'), CANARY);
  symlinkSync(join(outside, 'canary'), at('link'));
  symlinkSync(outside, at('linked-folder'));
  symlinkSync('nowhere', at('dangling'));
  symlinkSync('/proc/self/environ', at('src/environ'));
  linkSync(join(outside, 'canary'), at('hard'));
  execFileSync('mkfifo', [at('pipe')]);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(at('socket'), resolve));
  if (IS_ROOT) {
    execFileSync('mknod', [at('device'), 'c', '1', '9']);
    execFileSync('mknod', [at('disk'), 'b', '7', '0']);
  }
  return { source, close: () => server.close() };
}

const SEEN = {
  'src/': '555',
  'src/deep/': '555',
  'src/a.ts': '444 a',
  'src/run': '555 r',
  'sticky/': '555',
};

const UNSEEN = {
  '.GIT': '.git',
  'src/.Env.local': '.env*',
  'src/deep/cert.KEY': '*.key',
  'src/.e\\u{200c}nv': '.env*',
  'src/bad\ufffd': 'not UTF-8',
  'src/x\\u{1b}[2Jy': 'control character',
  link: 'symbolic link',
  'linked-folder': 'symbolic link',
  dangling: 'symbolic link',
  'src/environ': 'symbolic link',
  hard: 'hard link',
  pipe: 'special file',
  socket: 'special file',
  ...(IS_ROOT ? { device: 'special file', disk: 'special file' } : {}),
};

describe('the snapshot of a working tree', () => {
  it('has its files and folders, and nothing that is anything else', async () => {
    const { source, close } = await hostile();
    try {
      const into = place();
      const manifest = await snapshotWorktree(source, into, bare);
      expect(listing(into)).toEqual(SEEN);
      expect(patternsOf(manifest)).toEqual(UNSEEN);
      expect(readFileSync(manifestFile(into), 'utf8')).not.toContain(CANARY);
      expect(manifest).toMatchObject({ files: 2, bytes: 2 });
    } finally {
      close();
    }
  });

  it.skipIf(!bubblewrap)(
    'is the same out of a sandbox that has nothing but the copier and the two folders',
    async () => {
      const { source, close } = await hostile();
      try {
        const into = place();
        const manifest = await snapshotWorktree(source, into, inBubblewrap);
        expect(listing(into)).toEqual(SEEN);
        expect(patternsOf(manifest)).toEqual(UNSEEN);
      } finally {
        close();
      }
    },
  );

  it.skipIf(!IS_ROOT)('leaves out what its user may not read', async () => {
    const source = folder();
    writeFileSync(join(source, 'mine'), CANARY, { mode: 0o600 });
    mkdirSync(join(source, 'closed'), { mode: 0o700 });
    writeFileSync(join(source, 'open'), 'o');
    const into = place();
    const manifest = await snapshotWorktree(source, into, asNobody);
    expect(listing(into)).toEqual({ open: '444 o', 'closed/': '555' });
    expect(patternsOf(manifest)).toEqual({ mine: 'unreadable', closed: 'unreadable' });
  });

  it('does not fill the disk: sparse, huge and many files end at the limits, deep folders too', async () => {
    const source = folder();
    writeFileSync(join(source, 'sparse'), '');
    truncateSync(join(source, 'sparse'), 8 * 2 ** 40);
    writeFileSync(join(source, 'huge'), Buffer.alloc(3_000_000, 'x'));
    writeFileSync(join(source, 'small'), 's');
    let deep = join(source, 'deep');
    for (let level = 0; level < 400; level++) deep = join(deep, 'd');
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(deep, 'bottom'), CANARY);
    const into = place();
    const manifest = await snapshotWorktree(source, into, bare, { files: 1_000, bytes: 2_000_000 });
    expect(patternsOf(manifest)).toMatchObject({ sparse: 'too large', huge: 'too large' });
    expect(manifest).toMatchObject({ files: 1, bytes: 1, counts: { 'too large': 2, 'too deep': 1 } });
    expect(manifest.incomplete).toMatch(/no room for some files/);
    expect(readFileSync(join(into, 'small'), 'utf8')).toBe('s');

    const many = folder();
    for (let i = 0; i < 900; i++) writeFileSync(join(many, `f${String(i).padStart(4, '0')}`), '');
    const cut = await snapshotWorktree(many, place(), bare, { files: 100, bytes: 1_000 });
    expect(cut).toMatchObject({ files: 100, counts: { 'too many': 1 } });
    expect(cut.incomplete).toMatch(/from here on: "f0100"/);
  });

  it('takes no link for the working tree, and none for the destination', async () => {
    const outside = folder();
    writeFileSync(join(outside, 'canary'), CANARY);
    const source = join(folder(), 'link');
    symlinkSync(outside, source);
    await expect(snapshotWorktree(source, place(), bare)).rejects.toThrow(/no folder/);
    await expect(snapshotWorktree(join(outside, 'canary'), place(), bare)).rejects.toThrow(/no folder/);
    const planted: InSandbox = (job) => {
      symlinkSync(outside, join(job.destination, 'src'));
      return bare(job);
    };
    const into = place();
    await expect(snapshotWorktree(folder(), into, planted)).rejects.toThrow(/is not empty/);
    expect(readdirSync(dirname(into))).toEqual([]);
    expect(readFileSync(join(outside, 'canary'), 'utf8')).toBe(CANARY);
  });

  it.each<[string, (destination: string, outside: string) => void]>([
    ['a link', (to, outside) => symlinkSync(outside, join(to, 'x'))],
    ['a hard link', (to, outside) => linkSync(join(outside, 'canary'), join(to, 'x'))],
    ['a file that may be written', (to) => writeFileSync(join(to, 'x'), '', { mode: 0o644 })],
    ['an excluded file', (to) => writeFileSync(join(to, '.env'), '', { mode: 0o444 })],
    ['a pipe', (to) => execFileSync('mkfifo', ['-m', '444', join(to, 'x')])],
  ])('a copier that leaves %s is not believed', async (_, leave) => {
    const outside = folder();
    writeFileSync(join(outside, 'canary'), CANARY, { mode: 0o444 });
    const into = place();
    const lying: InSandbox = async (job) => {
      const stdout = await bare(job);
      chmodSync(job.destination, 0o700);
      leave(job.destination, outside);
      return stdout;
    };
    await expect(snapshotWorktree(folder(), into, lying)).rejects.toThrow(/which no snapshot may hold/);
    expect(readdirSync(dirname(into))).toEqual([]);
    expect(readFileSync(join(outside, 'canary'), 'utf8')).toBe(CANARY);
  });

  it.each(['', '{}', '{"files":-1,"bytes":0,"leftOut":[],"counts":{}}'])(
    '%j is no manifest',
    async (said) => {
      const into = place();
      await expect(snapshotWorktree(folder(), into, async () => Buffer.from(said))).rejects.toThrow();
      expect(readdirSync(dirname(into))).toEqual([]);
    },
  );

  it('20,000 files: how long it takes', async () => {
    const source = folder();
    for (let i = 0; i < 20_000; i++) {
      if (i < 200) mkdirSync(join(source, `m${i}`));
      writeFileSync(join(source, `m${i % 200}`, `f${i}.ts`), `export const a${i} = ${i};\n`.repeat(40));
    }
    const began = performance.now();
    let copied = 0;
    const manifest = await snapshotWorktree(source, place(), async (job) => {
      const stdout = await bare(job);
      copied = performance.now() - began;
      return stdout;
    });
    const took = performance.now() - began;
    console.log(
      `snapshot of a working tree of 20,000 files: ${took.toFixed(0)} ms, of them the copy ${copied.toFixed(0)} ms`,
    );
    expect(manifest).toMatchObject({ files: 20_000, leftOut: [] });
    expect(took).toBeLessThan(60_000);
  });
});

/** Swaps folders and files of the tree for links to the outside and back, as fast as it can, until it is ended. */
const SWAPPER = `
const { renameSync, symlinkSync, unlinkSync } = require('node:fs');
const [source, outside] = process.argv.slice(1);
console.log('ready');
for (let i = 0; ; i = (i + 1) % 8)
  for (const [kind, target] of [['d', outside], ['f', outside + '/canary']]) {
    const name = source + '/' + kind + i;
    renameSync(name, name + '.away');
    symlinkSync(target, name);
    unlinkSync(name);
    renameSync(name + '.away', name);
  }
`;

/** What a copier does that goes by paths: looks at each, then opens it. Gives all that it read. */
function copyByPath(dir: string, read: string[]): void {
  for (const name of readdirSync(dir)) {
    const path = join(dir, name);
    try {
      const stat = lstatSync(path);
      if (stat.isDirectory()) copyByPath(path, read);
      else if (stat.isFile()) read.push(readFileSync(path, 'utf8'));
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
}

describe('a working tree whose folders and files are swapped for links all the time', () => {
  const RACES = 240;

  it(`leaks nothing in ${RACES} copies without a sandbox, where a copier that goes by paths does`, async () => {
    const source = folder();
    const outside = folder();
    writeFileSync(join(outside, 'canary'), CANARY);
    writeFileSync(join(outside, 'inner'), CANARY);
    for (let i = 0; i < 8; i++) {
      mkdirSync(join(source, `d${i}`));
      writeFileSync(join(source, `d${i}`, 'inner'), 'own');
      writeFileSync(join(source, `f${i}`), 'own');
    }
    const swapper = spawn(process.execPath, ['-e', SWAPPER, source, outside], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await new Promise((resolve) => swapper.stdout.once('data', resolve));
      let leaks = 0;
      for (let round = 0; round < 20_000 && leaks === 0; round++) {
        const read: string[] = [];
        copyByPath(source, read);
        leaks += read.filter((text) => text.includes(CANARY)).length;
      }
      expect(leaks, 'the swapper is quick enough to fool a copier that goes by paths').toBeGreaterThan(0);

      const met: Record<string, number> = {};
      const copier = builtScript('snapshot-copier');
      for (let race = 0; race < RACES; race++) {
        const destination = folder();
        const { code, stdout, stderr } = await run([
          process.execPath,
          copier,
          source,
          destination,
          '1000',
          '100000',
        ]);
        expect(stderr).toBe('');
        expect(code).toBe(0);
        const manifest = JSON.parse(stdout.toString()) as Manifest;
        for (const [path, text] of Object.entries(listing(destination)))
          expect(text, path).toMatch(path.endsWith('/') ? /^555$/ : /^444 own$/);
        for (const [pattern, times] of Object.entries(manifest.counts))
          met[pattern] = (met[pattern] ?? 0) + times;
        met.files = (met.files ?? 0) + manifest.files;
      }
      console.log(`${RACES} copies met:`, met);
      expect(swapper.exitCode).toBeNull();
      expect(met['symbolic link'], 'links were there to be followed').toBeGreaterThan(0);
      expect(met['changed meanwhile'], 'and entries went away under its hands').toBeGreaterThan(0);
      expect(met.files).toBeGreaterThan(RACES);
    } finally {
      swapper.kill('SIGKILL');
    }
  });
});

describe('the copier', () => {
  it('consists of the files that it says it needs, and loads nothing else but node', async () => {
    let files: readonly string[] = [];
    await snapshotWorktree(folder(), place(), (job) => {
      files = job.readable;
      return bare(job);
    });
    const loaded = new Set<string>();
    const follow = (file: string): void => {
      if (loaded.has(file)) return;
      loaded.add(file);
      for (const [, from = ''] of readFileSync(file, 'utf8').matchAll(
        /^(?:import|export)[^'"]*['"]([^'"]+)['"];/gm,
      ))
        if (from.startsWith('.')) follow(join(dirname(file), from));
        else expect(from).toMatch(/^node:/);
    };
    follow(builtScript('snapshot-copier'));
    expect([...loaded].sort()).toEqual(files.filter((file) => file.endsWith('.js')).sort());
    for (const file of files) expect(existsSync(file), file).toBe(true);
  });

  it('runs with these files alone', async () => {
    const alone = folder();
    let files: readonly string[] = [];
    const into = place();
    await snapshotWorktree(folder(), into, (job) => {
      files = job.readable;
      return bare(job);
    });
    const base = dirname(files.find((file) => file.endsWith('package.json')) ?? '');
    for (const file of files) cpSync(file, join(alone, file.slice(base.length)));
    const source = folder();
    writeFileSync(join(source, 'a'), 'a');
    const script = join(alone, builtScript('snapshot-copier').slice(base.length));
    const { code, stdout, stderr } = await run([process.execPath, script, source, folder(), '10', '10']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout.toString())).toMatchObject({ files: 1 });
  });

  it.each([[[]], [['/tmp']], [['/tmp', '/tmp', '0', '1']], [['/tmp', '/tmp', 'many', '1']]])(
    'refuses %j',
    async (args) => {
      const { code, stderr } = await run([process.execPath, builtScript('snapshot-copier'), ...args]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/^usage: snapshot-copier.js SOURCE DESTINATION FILES BYTES$/m);
    },
  );
});
