// What an agent leaves in its result folder for its worker to keep. Each case was seen to fail with its defence taken out; the
// list is in defences.txt beside this file.

import { execFileSync } from 'node:child_process';
import { describe, expect } from 'vitest';
import { keepArtifact } from '../../activities/artifact.js';
import { redactor } from '../../activities/redactor.js';
import { removeWorkstation } from '../../activities/workstation/record.js';
import { digestOf, sha256 } from '../../src/client/artifact.js';
import type { ArtifactRecord } from '../../src/domain/artifact.js';
import { attack, attackedHost, isRoot } from '../support/attacker.js';

const host = attackedHost();
const nothing = { redactor: redactor([]), searcher: redactor([]) };

/** Runs the script, and keeps what it left as after every attempt of a read-only task. */
async function left(script: string): Promise<ArtifactRecord | undefined> {
  const { station } = await host().attack(`cd /w/result; ${script}`, {
    task: 'p/reader',
    rules: { readOnly: true, disk: 4_000_000_000 },
  });
  const of = { task: 'p/reader', fence: host().fenceOf(), started: new Date() };
  const kept = await keepArtifact(host().mirror, station.resultDir, nothing, of);
  await removeWorkstation(station.dir);
  return kept;
}

const digestOfGood = digestOf([{ path: 'good', size: 5, sha256: sha256('good\n') }]);

function onlyGood(kept: ArtifactRecord | undefined, reasons: Record<string, string>): void {
  expect(kept?.stored?.digest).toBe(digestOfGood);
  const found = kept?.leftOut?.map(({ path, reason }) => [path, reason.split(':')[0]]) ?? [];
  expect(Object.fromEntries(found)).toEqual(reasons);
}

describe('the artifact of a read-only task', () => {
  for (const [what, make, reasons] of [
    [
      'a link to the host',
      'ln -s "$HOST_CANARY" l; ln -s /etc/passwd p',
      { l: 'symbolic link', p: 'symbolic link' },
    ],
    [
      'a link to a folder of the host',
      'ln -s "$HOST_HOME/.." d; ln -s / r',
      { d: 'symbolic link', r: 'symbolic link' },
    ],
    ['a chain of links', 'ln -s "$HOST_CANARY" a; ln -s a b', { a: 'symbolic link', b: 'symbolic link' }],
    ['a pipe', 'mkfifo p', { p: 'special file' }],
    [
      'a socket',
      `perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "s", Listen => 1)'`,
      { s: 'special file' },
    ],
    [
      'hard links',
      'echo x > a; ln a b; mkdir d; ln a d/c',
      { a: 'hard link', b: 'hard link', 'd/c': 'hard link' },
    ],
    ['a sparse file of 2 GB', 'truncate -s 2G s', { s: 'too large' }],
    [
      'a repository',
      'git init -q . && printf "[core]\\n\\tfsmonitor = x\\n" >> .git/config',
      { '.git': "git's own" },
    ],
    [
      'names that lead out, or deceive',
      `mkdir '.. '; echo x > '.. /x'; echo x > '..\\x'; echo x > "$(printf 'a\\nb')"; echo x > "$(printf '\\377')"; echo x > '...'`,
      {
        '.. ': 'dot or space at the end',
        '..\\x': 'slash',
        '...': 'dot or space at the end',
        'a\\u{a}b': 'control character',
        '\ufffd': 'not UTF-8',
      },
    ],
  ] as const)
    attack(`holds nothing of ${what}, and all else`, async () => {
      const began = performance.now();
      const before = process.memoryUsage().rss;
      onlyGood(await left(`echo good > good; ${make}`), reasons);
      expect(performance.now() - began).toBeLessThan(60_000);
      expect(process.memoryUsage().rss - before).toBeLessThan(200e6);
    });

  attack('holds a set-uid program as plain bytes', async () => {
    const kept = await left('echo good > good; chmod 6777 good');
    onlyGood(kept, {});
    expect(host().git(['-C', host().origin, 'ls-tree', kept?.stored?.ref ?? ''])).toMatch(
      /^100644 blob \w+\tgood$/,
    );
  });

  attack('holds what fits, of more bytes than it may', async () => {
    const kept = await left('echo good > good; head -c 15000000 /dev/zero > a1; cp a1 a2');
    expect(kept?.stored).toMatchObject({ files: 2, bytes: 15_000_005 });
    expect(kept?.leftOut?.map(({ path }) => path)).toEqual(['a2']);
  });

  attack('holds what fits, of more files than it may, and no more than so many are looked at', async () => {
    const kept = await left(
      `"$NODE" -e 'for (let i = 0; i < 20000; i++) require("fs").writeFileSync("z" + i, "x")'`,
    );
    expect(kept?.stored?.files).toBe(1_000);
    const leftOut = (kept?.leftOut?.length ?? 0) + (kept?.leftOutMore ?? 0);
    expect(leftOut).toBe(9_001);
  });

  attack('holds what fits, of folders without end', async () => {
    const kept = await left(`echo good > good; "$NODE" -e '
      for (let i = 0; i < 300; i++) { require("fs").mkdirSync("deep"); process.chdir("deep"); }
      require("fs").writeFileSync("bottom", "x");'`);
    onlyGood(kept, { [Array(33).fill('deep').join('/')]: 'too deep' });
  });

  attack('holds nothing of what it closed to everybody, where the worker is not root', async () => {
    const kept = await left('echo good > good; mkdir d; echo x > d/x; echo x > f; chmod 000 d f');
    // Root reads all the same.
    if (isRoot) expect(kept?.stored?.files).toBe(3);
    else onlyGood(kept, { d: 'unreadable', f: 'unreadable' });
    const { station } = await host().attack('echo x > x; chmod 000 /w/result', { rules: { readOnly: true } });
    const of = { task: 'p/reader', fence: host().fenceOf(), started: new Date() };
    const closed = await keepArtifact(host().mirror, station.resultDir, nothing, of);
    if (!isRoot)
      expect(closed).toEqual({ leftOut: [{ path: '.', reason: 'unreadable: it could not be read' }] });
    await removeWorkstation(station.dir);
  });

  attack('of one task is kept beside those of others, and pushed under its own ref alone', async () => {
    const refs = () => host().git(['-C', host().origin, 'for-each-ref', '--format=%(refname)']).split('\n');
    const before = refs();
    const first = await left('echo one > f');
    const second = await left('echo two > f');
    expect(
      refs()
        .filter((ref) => !before.includes(ref))
        .sort(),
    ).toEqual([first?.stored?.ref, second?.stored?.ref].sort());
    expect(
      execFileSync('git', ['-C', host().origin, 'show', `${second?.stored?.ref}:f`], { encoding: 'utf8' }),
    ).toBe('two\n');
  });
});
