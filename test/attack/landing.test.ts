// What an agent's commits may bring to the shared branch. Each case was seen to fail with its defence taken out; the list
// is in defences.txt beside this file.

import { describe, expect, it } from 'vitest';
import { type Integration, integrate } from '../../activities/integrate.js';
import { keepCommits } from '../../activities/workstation/make.js';
import { BadPattern, parsePattern } from '../../src/domain/paths.js';
import { attack, attackedHost } from '../support/attacker.js';

const host = attackedHost();

/** The agent's script, then what its landing comes to; all paths are claimed. */
async function landing(script: string, anyTree = false): Promise<Integration> {
  const tip = await host().mirror.refresh();
  const { station, exitCode, output } = await host().attack(script);
  expect(exitCode, output).toBe(0);
  const commit = await host().collect(station);
  expect(commit).not.toBe(tip);
  return await integrate(host().mirror, { base: tip, commit }, tip, () => ({ kind: 'lands' }), anyTree);
}

const COMMIT = 'git add -A && git commit -qm x';
describe('does not land:', () => {
  for (const [what, target] of [
    ['an absolute path', '/etc/passwd'],
    ['the host', '$HOST_CANARY'],
    ['a folder above the repository', '../../outside'],
    ['a folder above, by way of a name', 'a/../../../outside'],
    ['git’s own folder', '../.GIT/hooks'],
    ['a path of Windows', 'C:\\\\Windows'],
  ] as const)
    attack(`a link to ${what}`, async () => {
      const said = await landing(`ln -s "${target}" src/link && ${COMMIT}`);
      expect(said).toMatchObject({ kind: 'refused', code: 'LANDING_REFUSED' });
      expect(said).toMatchObject({ text: expect.stringMatching(/^src\/link is a link to /) });
    });

  attack('a link out that a later commit takes back, or that was a file before', async () => {
    const taken = await landing(`ln -s /etc l && ${COMMIT} && rm l && echo x > m && ${COMMIT}`);
    expect(taken).toMatchObject({
      code: 'LANDING_REFUSED',
      text: expect.stringContaining('l is a link to /etc'),
    });
    const changed = await landing(`rm src/a.txt && ln -s /etc src/a.txt && ${COMMIT}`);
    expect(changed).toMatchObject({
      code: 'LANDING_REFUSED',
      text: expect.stringContaining('src/a.txt is a link'),
    });
  });

  attack('a submodule', async () => {
    const said = await landing(
      `git init -q sub && git -C sub -c user.name=x -c user.email=x commit -q --allow-empty -m x && ${COMMIT} 2>/dev/null`,
    );
    expect(said).toMatchObject({
      code: 'LANDING_REFUSED',
      text: expect.stringMatching(/^sub is a new submodule/),
    });
  });

  for (const [what, script, text] of [
    ['a name that differs in case', 'echo x > readme.MD', 'readme.MD beside README.md'],
    ['a folder that differs in case', 'mkdir SRC; echo x > SRC/b', 'SRC beside src'],
    [
      'two spellings of one name',
      'echo 1 > "$(printf "e\\314\\201")"; echo 2 > "$(printf "\\303\\251")"',
      'beside',
    ],
    ['a name with a dot behind it', 'echo x > README.md.', 'README.md. beside README.md'],
    ['a name with a backslash', 'echo x > "src\\\\a.txt"', 'src\\a.txt has a "\\"'],
    ['a name with a new line', 'echo x > "$(printf "a\\nb")"', '"a\\nb" has a control character'],
  ] as const)
    attack(what, async () => {
      const said = await landing(`${script} && ${COMMIT}`);
      expect(said).toMatchObject({ code: 'LANDING_REFUSED', text: expect.stringContaining(text) });
    });

  attack('a tree that stands for more paths than there is memory', async () => {
    const before = process.memoryUsage().rss;
    const said = await host()
      .attack(`
        oid=$(echo x | git hash-object -w --stdin); type="100644 blob"
        long=$(printf 'n%.0s' $(seq 100))
        for level in 1 2 3 4 5 6; do
          oid=$(for name in 0 1 2 3 4 5 6 7 8 9; do printf '%s %s\\t%s%s\\n' "$type" $oid $long $name; done | git mktree); type="040000 tree"
        done
        commit=$(git commit-tree -p HEAD -m bomb $oid); undo=$(git commit-tree -p $commit -m undo "HEAD^{tree}"); git update-ref HEAD $undo; git reset -q --hard; echo $undo`)
      .then(async ({ station }) => {
        const tip = await host().mirror.refresh();
        const commit = await host().collect(station);
        return await integrate(host().mirror, { base: tip, commit }, tip, () => ({ kind: 'lands' }));
      });
    expect(said).toMatchObject({
      code: 'LANDING_REFUSED',
      text: expect.stringContaining('more paths differ'),
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(700e6);
  });
});

describe('lands:', () => {
  attack('a link inside, a program that was a text before, and what was there already', async () => {
    expect(await landing(`ln -s ../README.md src/l && chmod +x src/a.txt && ${COMMIT}`)).toMatchObject({
      kind: 'integrated',
    });
    expect(
      await landing(`mkdir d && ln -s ../src/a.txt d/l && mv README.md readme.md && ${COMMIT}`),
    ).toMatchObject({ kind: 'integrated' });
  });

  attack('all of it where the repository says so', async () => {
    const script = `ln -s /etc l && echo x > readme.MD && git init -q sub && git -C sub -c user.name=x -c user.email=x commit -q --allow-empty -m x && ${COMMIT} 2>/dev/null`;
    expect(await landing(script, true)).toMatchObject({ kind: 'integrated' });
  });
});

describe('git hands out no commit with', () => {
  for (const path of [
    '.git/hooks/x',
    '.GIT/config',
    'a/.Git/x',
    'git~1/config',
    '.g\\342\\200\\214it/config',
    '../up',
    './dot',
  ])
    attack(`a path ${path}`, async () => {
      const tree = (parts: string[]): string =>
        parts.length === 0
          ? ''
          : `oid=$(printf '%s %s\\t${parts.at(-1)}\\0' "$mode" $oid | git mktree -z --missing); mode="040000 tree"; ${tree(parts.slice(0, -1))}`;
      const { station, output } = await host().attack(
        `oid=$(echo x | git hash-object -w --stdin); mode="100644 blob"; ${tree(path.split('/'))}
         commit=$(git commit-tree -p HEAD -m x $oid); git update-ref HEAD $commit; echo made $commit`,
      );
      const commit = /made (\w+)/.exec(output)?.[1] ?? output;
      const kept = keepCommits(host().mirror, station, commit, 'p/attacker', host().fenceOf());
      await expect(kept).rejects.toThrow(/fsck error|contains '|hasDot/);
      expect(host().git(['-C', host().origin, 'for-each-ref', 'refs/heads'])).not.toContain('\n');
    });
});

describe('a claim', () => {
  it.each(['../x', 'a/../../x', '/etc', 'a\\b', 'C:/x', '', 'a\u0000b', 'x\ny', ':(top)x', ':!x'])(
    '%j is refused',
    (claim) => {
      expect(() => parsePattern(claim)).toThrow(BadPattern);
    },
  );
});
