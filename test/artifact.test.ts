// Artifacts of read-only tasks: what their digest is of, what is kept of a result folder and what is not, and that
// keeping one twice is keeping it once. Real folders, real git.

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keepArtifact } from '../activities/artifact.js';
import { Mirror } from '../activities/mirror.js';
import { redactor } from '../activities/redactor.js';
import { digestOf, readArtifact, sha256, writeArtifact } from '../src/client/artifact.js';
import type { Fleet } from '../src/client/config.js';
import { Refused } from '../src/client/refused.js';
import { type ArtifactFile, artifactLines, listingOf, NAMED } from '../src/domain/artifact.js';

const file = (path: string, content = path): ArtifactFile => ({
  path,
  size: Buffer.byteLength(content),
  sha256: sha256(content),
});

describe('the digest of an artifact', () => {
  it('is SHA-256 of a line "sha256 size path" for each file, as sha256sum and stat tell them', () => {
    const listing =
      'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb 1 a\n' +
      'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 b/c d\n';
    expect(listingOf([file('b/c d', ''), file('a')])).toBe(listing);
    const told = execFileSync('sha256sum', { input: listing, encoding: 'utf8' });
    expect(digestOf([file('b/c d', ''), file('a')])).toBe(told.slice(0, 64));
    expect(digestOf([])).toBe(sha256(''));
  });

  it('goes by the bytes of paths, whatever the order in which they come', () => {
    const paths = ['\u{1f600}', '\uff5e', 'a/b', 'a.b', 'a', 'ä', 'Z', 'a-b'];
    const sorted = [...paths].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(sorted).not.toEqual([...paths].sort());
    const inOrder = sorted.map((path) => listingOf([file(path)])).join('');
    fc.assert(
      fc.property(fc.shuffledSubarray(paths, { minLength: paths.length }), (shuffled) => {
        expect(listingOf(shuffled.map((path) => file(path)))).toBe(inOrder);
      }),
    );
  });

  it('is another one when a byte, a name or a file is', () => {
    const one = [file('a', 'x'), file('b', 'y')];
    const others = [
      [file('a', 'y'), file('b', 'x')],
      [file('a', 'x')],
      [file('a', 'x'), file('c', 'y')],
      [file('a', 'x'), file('b', 'y'), file('c', '')],
    ];
    expect(new Set([one, ...others].map(digestOf)).size).toBe(5);
  });
});

describe('the lines of a packet', () => {
  it('tell what came, how to get it, and what did not come', () => {
    const stored = { digest: 'd'.repeat(64), files: 2, bytes: 2_048, repository: 'app', ref: 'refs/x' };
    const leftOut = [{ path: 'l', reason: 'symbolic link: it may lead anywhere' }];
    expect(artifactLines('s/a', 2, { stored, leftOut, leftOutMore: 3 })).toEqual([
      `     artifact: 2 files, 2KB, sha256 ${stored.digest}`,
      '       at refs/x of app; signalbox artifact s/a --attempt 2 --out DIR',
      '     not in the artifact: l: symbolic link: it may lead anywhere',
      '     and 3 more',
    ]);
    expect(artifactLines('s/a', 1, undefined)).toEqual([]);
  });
});

describe('a result folder', () => {
  const dir = mkdtempSync(join(tmpdir(), 'signalbox-test-artifact-'));
  const origin = join(dir, 'origin.git');
  const mirror = new Mirror('app', origin, 'main', join(dir, 'mirror.git'));
  const fleet = { config: { repositories: { app: { url: origin } } } } as unknown as Fleet;
  const SECRET = 'sk-live/0123456789+abc';
  const granted = { redactor: redactor([SECRET, 'passed-on']), searcher: redactor([SECRET]) };
  const started = new Date('2026-01-02T03:04:05Z');
  let fences = 0;
  const git = (...args: string[]) => {
    const who = ['-c', 'user.name=P', '-c', 'user.email=p@x'];
    return execFileSync('git', [...who, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    }).trim();
  };

  beforeAll(() => {
    git('init', '-q', '--bare', '-b', 'main', origin);
    git('init', '-q', '-b', 'main', join(dir, 'person'));
    git('-C', join(dir, 'person'), 'commit', '-q', '--allow-empty', '-m', 'seed');
    git('-C', join(dir, 'person'), 'push', '-q', origin, 'main');
  });
  afterAll(async () => {
    await mirror.close();
    rmSync(dir, { recursive: true, force: true });
  });

  function folder(files: Record<string, string | Buffer>): string {
    const made = mkdtempSync(join(dir, 'result-'));
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(made, path)), { recursive: true });
      writeFileSync(join(made, path), content);
    }
    return made;
  }
  const of = (number = ++fences) => ({ task: 's/a', fence: { epoch: 1, number }, started });
  const refs = () => git('-C', origin, 'for-each-ref', 'refs/signalbox');

  it('with nothing but the report, or that is gone, leaves no artifact and touches no repository', async () => {
    const unreachable = new Mirror('app', join(dir, 'none'), 'main', join(dir, 'none'));
    for (const result of [folder({ 'report.md': 'said' }), folder({}), join(dir, 'gone')])
      expect(await keepArtifact(unreachable, result, granted, of())).toBeUndefined();
    expect(refs()).toBe('');
  });

  it('comes back as it is, with its digest; modes and empty folders do not count', async () => {
    await mirror.open();
    const bytes = Buffer.from([0, 255, 13, 10, 0]);
    const result = folder({ 'data/b.bin': bytes, 'data/report.md': 'deeper', 'ä b.txt': 'text', empty: '' });
    mkdirSync(join(result, 'nothing'));
    chmodSync(join(result, 'empty'), 0o4755);
    const number = ++fences;
    const kept = await keepArtifact(mirror, result, granted, of(number));
    const ref = `refs/signalbox/artifacts/s/a/1.${number}`;
    const digest = digestOf([
      { path: 'data/b.bin', size: 5, sha256: sha256(bytes) },
      file('data/report.md', 'deeper'),
      file('empty', ''),
      file('ä b.txt', 'text'),
    ]);
    expect(kept).toEqual({ stored: { digest, files: 4, bytes: 15, repository: 'app', ref } });
    if (!kept?.stored) throw new Error('nothing kept');
    const out = join(dir, 'out', 'deep');
    const files = await readArtifact(fleet, kept.stored);
    await writeArtifact(files, out);
    expect(readFileSync(join(out, 'data/b.bin'))).toEqual(bytes);
    expect(readdirSync(out, { recursive: true }).map(String).sort()).toEqual(
      ['data', 'data/b.bin', 'data/report.md', 'empty', 'ä b.txt'].sort(),
    );
    // Into a new folder only, and nothing half done beside it.
    writeFileSync(join(out, 'mine'), 'mine');
    await expect(writeArtifact(files, out)).rejects.toThrow(Refused);
    expect(readdirSync(dirname(out))).toEqual(['deep']);
    expect(existsSync(join(out, 'mine'))).toBe(true);
  });

  it('that is kept twice, or again after it could not be pushed, is kept once', async () => {
    const result = folder({ a: 'once' });
    const which = of();
    const hook = join(origin, 'hooks', 'update');
    mkdirSync(dirname(hook), { recursive: true });
    writeFileSync(hook, '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const before = refs();
    await expect(keepArtifact(mirror, result, granted, which)).rejects.toThrow(
      "the task's artifact cannot be pushed to refs/signalbox/artifacts/s/a/",
    );
    expect(refs()).toBe(before);
    rmSync(hook);
    const kept = await keepArtifact(mirror, result, granted, which);
    const after = refs();
    expect(after.split('\n').length).toBe(before.split('\n').length + 1);
    expect(await keepArtifact(mirror, result, granted, which)).toEqual(kept);
    expect(refs()).toBe(after);
  });

  it('whose ref somebody has changed or removed is told, and nothing of it believed', async () => {
    const { stored } = (await keepArtifact(mirror, folder({ a: 'true' }), granted, of())) ?? {};
    const other = (await keepArtifact(mirror, folder({ a: 'lie!' }), granted, of()))?.stored;
    if (!stored || !other) throw new Error('nothing kept');
    git('-C', origin, 'update-ref', stored.ref, other.ref);
    await expect(readArtifact(fleet, stored)).rejects.toThrow('has been changed: its digest is');
    const link = git('-C', origin, 'rev-parse', `${other.ref}:a`);
    for (const [mode, name] of [
      ['120000', 'a'],
      ['100644', 'a\\b'],
      ['100755', 'a'],
    ]) {
      const tree = execFileSync('git', ['-C', origin, 'mktree', '-z'], {
        input: `${mode} blob ${link}\t${name}\0`,
        encoding: 'utf8',
      }).trim();
      git('-C', origin, 'update-ref', stored.ref, git('-C', origin, 'commit-tree', '-m', 'x', tree));
      await expect(readArtifact(fleet, stored)).rejects.toThrow('holds what no artifact holds');
    }
    git('-C', origin, 'update-ref', '-d', stored.ref);
    await expect(readArtifact(fleet, stored)).rejects.toThrow('somebody has removed it');
  });

  it('gives no file in which a secret is found, in any form; what is merely passed on is no secret', async () => {
    const kept = await keepArtifact(
      mirror,
      folder({
        'in/plain': `x${SECRET}y`,
        'in/encoded': Buffer.from(`user:${SECRET}`).toString('base64'),
        'in/large': Buffer.concat([Buffer.alloc(1_024 ** 2 - 5), Buffer.from(SECRET)]),
        [`named-${SECRET}`]: 'x',
        good: 'passed-on',
      }),
      granted,
      of(),
    );
    expect(kept?.stored).toMatchObject({ files: 1, digest: digestOf([file('good', 'passed-on')]) });
    const reason = 'secret: a secret was found in it';
    expect(kept?.leftOut).toEqual(
      ['in/encoded', 'in/large', 'in/plain', 'named-[redacted]'].map((path) => ({ path, reason })),
    );
    const objects = execFileSync('git', ['-C', origin, 'cat-file', '--batch-all-objects', '--batch']);
    expect(objects.includes(SECRET)).toBe(false);
    expect(objects.includes('passed-on')).toBe(true);
  });

  it('with too much in it gives what fits, names the rest, and looks at no more than it may', async () => {
    const limits = { files: 2, bytes: 10 };
    const fits = await keepArtifact(
      mirror,
      folder({ a: '123456', b: '123456', c: '1234', d: '' }),
      granted,
      of(),
      limits,
    );
    expect(fits?.stored).toMatchObject({
      files: 2,
      bytes: 10,
      digest: digestOf([file('a', '123456'), file('c', '1234')]),
    });
    expect(fits?.leftOut?.map(({ path, reason }) => `${path} ${reason.split(':')[0]}`)).toEqual([
      'b too large',
      'd too many',
    ]);
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`f${100 + i}`, '']));
    const cut = await keepArtifact(mirror, folder(many), granted, of(), { files: 3, bytes: 10 });
    // Thirty are looked at; the last line stands for all after them.
    expect([cut?.stored?.files, cut?.leftOut?.length]).toEqual([3, 28]);
    expect(cut?.leftOut?.at(-1)?.reason).toBe(
      'too many: and all that comes after it: no more than 30 entries are looked at',
    );
    const most = await keepArtifact(mirror, folder(many), granted, of(), { files: 10, bytes: 10 });
    expect([most?.stored?.files, most?.leftOut?.length, most?.leftOutMore]).toEqual([10, NAMED, 90 - NAMED]);
  });

  it('gives no file under a name that some program takes for another', async () => {
    const bad = [
      '.git',
      '.GIT',
      'x/.gitmodules',
      'back\\slash',
      'new\nline',
      'dot.',
      'GIT~1',
      '\u202etxt',
      'readme',
    ];
    const kept = await keepArtifact(
      mirror,
      folder({ ...Object.fromEntries(bad.map((name) => [name, 'x'])), README: 'y', '.env': 'z', '..a': 'w' }),
      granted,
      of(),
    );
    expect(kept?.stored?.digest).toBe(digestOf([file('..a', 'w'), file('.env', 'z'), file('README', 'y')]));
    expect(kept?.leftOut?.length).toBe(bad.length);
  });
});
