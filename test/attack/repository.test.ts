// What an agent plants in its own clone for whoever runs git there next. Each case was seen to fail with its defence taken
// out; the list is in defences.txt beside this file.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { removeWorkstation } from '../../activities/workstation/record.js';
import { attack, attackedHost } from '../support/attacker.js';

const host = attackedHost();

/** A program that tells everything it can reach, and leaves a trace where it can write. */
const PAYLOAD = `mkdir -p /w/repo/.git/bin; cat > /w/repo/.git/bin/evil <<'END'
#!/bin/sh
echo ran >> /w/repo/.git/ran
(cat "${'$'}{HOST_CANARY:-PATH_OF_CANARY}"; cat PATH_OF_CANARY; env; ls HOME_OF_HOST) >> /w/repo/.git/seen 2>&1
for f in PATH_OF_CANARY HOME_OF_HOST/planted /etc/planted /planted /w/origin/planted; do (echo attacked > "$f") 2>/dev/null && echo "wrote $f" >> /w/repo/.git/ran; done
cat
END
chmod 755 /w/repo/.git/bin/evil
`;

/** Runs the script as an agent, and takes its commits out as after every attempt; gives what came of it. */
async function collected(script: string) {
  const { outside, home } = host();
  const payload = PAYLOAD.replaceAll('PATH_OF_CANARY', join(outside, 'canary')).replaceAll(
    'HOME_OF_HOST',
    home,
  );
  const { station, output } = await host().attack(`${payload}\n${script}`);
  const commit = await host()
    .collect(station)
    .catch((error: Error) => error);
  const read = (name: string) => {
    const file = join(station.dir, 'clone', '.git', name);
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  };
  const [ran, seen] = [read('ran'), read('seen')];
  expect(ran).not.toContain('wrote');
  expect(seen).not.toContain(host().canary);
  expect(seen).not.toContain('TEST_CANARY');
  const reached =
    typeof commit === 'string' && host().git(['--git-dir', host().mirror.dir, 'show', '--format=', commit]);
  expect(reached).not.toContain(host().canary);
  await removeWorkstation(station.dir);
  return { commit, ran, output };
}

const all = (folder: string) =>
  `for h in pre-commit post-commit pre-push reference-transaction post-index-change fsmonitor-watchman post-checkout prepare-commit-msg commit-msg update pre-auto-gc post-rewrite; do cp /w/repo/.git/bin/evil ${folder}/$h; done`;

describe('a program that git would start does not run, or only where the agent ran itself:', () => {
  attack('hooks, in .git and elsewhere', async () => {
    const { commit, ran } = await collected(
      `mkdir -p .git/hooks /w/repo/.git/more-hooks; ${all('.git/hooks')}; ${all('/w/repo/.git/more-hooks')}; git config core.hooksPath /w/repo/.git/more-hooks; echo x > new`,
    );
    expect(commit).toMatch(/^[0-9a-f]{40}$/);
    expect(ran).toBe('');
  });

  attack(
    'core.fsmonitor, filters, textconv, external diffs, editors, pagers, signers and aliases',
    async () => {
      const { commit } = await collected(`
      for key in core.fsmonitor core.editor core.pager core.askPass core.sshCommand core.gitProxy diff.external diff.evil.textconv diff.evil.command filter.evil.clean filter.evil.smudge filter.evil.process gpg.program uploadpack.packObjectsHook credential.helper sequence.editor merge.evil.driver core.alternateRefsCommand; do git config $key /w/repo/.git/bin/evil; done
      git config commit.gpgSign true; git config alias.status '!/w/repo/.git/bin/evil'; git config filter.evil.process ''
      echo '* filter=evil diff=evil merge=evil' > .gitattributes; echo x > new; echo y > src/a.txt`);
      expect(commit).toMatch(/^[0-9a-f]{40}$/);
    },
  );

  attack('settings of its HOME and of files that its configuration includes', async () => {
    const { commit } = await collected(`
      printf '[core]\\n\\thooksPath = /w/repo/.git/more-hooks\\n\\tfsmonitor = /w/repo/.git/bin/evil\\n' > /w/repo/.git/more; mkdir /w/repo/.git/more-hooks; ${all('/w/repo/.git/more-hooks')}
      cp /w/repo/.git/more /w/home/.gitconfig; git config include.path /w/repo/.git/more; git config includeIf.gitdir:/.path /w/repo/.git/more; echo x > new`);
    expect(commit).toMatch(/^[0-9a-f]{40}$/);
  });

  attack('a promisor remote with ext::, and other remotes of that kind', async () => {
    const { ran } = await collected(`
      git config extensions.partialClone evil; git config remote.evil.promisor true; git config remote.evil.url "ext::/w/repo/.git/bin/evil"; git config protocol.ext.allow always; git config protocol.allow always
      git config remote.origin.url "ext::/w/repo/.git/bin/evil"; git config remote.origin.uploadpack /w/repo/.git/bin/evil
      tree=$(printf '100644 blob %s\\tgone\\n' 1111111111111111111111111111111111111111 | git mktree --missing)
      git update-ref HEAD $(git commit-tree -p HEAD -m x $tree); git read-tree HEAD`);
    expect(ran).toBe('');
  });
});

describe('another repository, or a file of the host, is not handed out:', () => {
  attack('by a .git that is a file or a link to elsewhere', async () => {
    for (const elsewhere of ['"$HOST_HOME"/mirrors/app.git', '"$(dirname "$HOST_CANARY")"', '/w/origin']) {
      const { commit } = await collected(
        `mv .git /w/home/old; printf 'gitdir: %s\\n' ${elsewhere} > .git; echo x > new`,
      );
      expect(commit).toBeInstanceOf(Error);
      const linked = await collected(`mv .git /w/home/old; ln -s ${elsewhere} .git; echo x > new`);
      expect(linked.commit).toBeInstanceOf(Error);
    }
  });

  attack('by alternates, a commondir, a working tree or an index elsewhere', async () => {
    const alternates = await collected(
      `printf '%s\\n' "$HOST_HOME"/mirrors/app.git/objects /w/origin/objects > .git/objects/info/alternates; echo x > new`,
    );
    expect(alternates.commit).toMatch(/^[0-9a-f]{40}$/);
    await collected(`printf '%s\\n' "$HOST_HOME"/mirrors/app.git > .git/commondir; echo x > new`);
    await collected('git config core.worktree "$(dirname "$HOST_CANARY")"; true');
    await collected('git config core.worktree /; true');
    await collected(
      'rm .git/index; ln -s "$HOST_CANARY" .git/index; rm .git/HEAD; ln -s "$HOST_CANARY" .git/HEAD',
    );
  });

  attack('by refs, excludes, attributes, grafts and packs that are links to the host', async () => {
    await collected(`
      for f in .git/info/exclude .git/info/attributes .git/info/grafts .git/shallow .git/packed-refs .git/config.worktree .git/MERGE_MSG .git/COMMIT_EDITMSG; do ln -sf "$HOST_CANARY" $f; done
      ln -s "$HOST_HOME"/mirrors/app.git/objects/pack .git/objects/pack2; rm -rf .git/objects/pack; ln -s "$HOST_HOME"/mirrors/app.git/objects/pack .git/objects/pack; echo x > new`);
    await collected(
      'git config commit.template "$HOST_CANARY"; git config core.excludesFile "$HOST_CANARY"; git config core.attributesFile "$HOST_CANARY"; git config include.path "$HOST_CANARY"; echo x > new',
    );
  });

  attack('by links in its working tree: they are committed as links', async () => {
    const { commit } = await collected(
      'ln -s "$HOST_CANARY" stolen; rm -rf src; ln -s "$HOST_HOME" src; ln -s "$HOST_CANARY" .gitattributes; ln -s "$HOST_CANARY" .gitmodules; rm .gitmodules .gitattributes',
    );
    expect(String(commit)).toMatch(/^[0-9a-f]{40}$/);
    expect(host().git(['--git-dir', host().mirror.dir, 'ls-tree', String(commit)])).toMatch(
      /120000 blob \w+\tstolen/,
    );
  });

  attack('by a HEAD, an object or a ref that is none', async () => {
    for (const script of [
      'echo "ref: refs/../../../../etc/passwd" > .git/HEAD',
      'echo "--upload-pack=evil" > .git/HEAD',
      'git update-ref HEAD $(git commit-tree -m "no parent" HEAD^{tree}); find .git/objects -type f -exec chmod 600 {} + -exec truncate -s 3 {} +',
    ])
      expect((await collected(script)).commit, script).toBeInstanceOf(Error);
  });
});

describe('what other agents rely on stays whole:', () => {
  attack('the objects that all clones borrow, and the mirror', async () => {
    const { mirror, home } = host();
    const before = readdirSync(join(home, 'shelves'), { recursive: true });
    const { output } = await collected(`
      for f in $(find /w/origin -type f); do (echo x > $f) 2>/dev/null && echo "WROTE $f"; rm -f $f 2>/dev/null && echo "REMOVED $f"; done
      git gc -q --prune=now; git repack -adq; git prune --expire=now; git push -q origin HEAD:refs/heads/evil && echo PUSHED; git push -q /w/origin HEAD:refs/heads/evil && echo PUSHED; ln /w/origin/config /w/home/l && echo LINKED`);
    expect(output).not.toMatch(/WROTE|REMOVED|PUSHED|LINKED/);
    expect(readdirSync(join(home, 'shelves'), { recursive: true })).toEqual(before);
    expect(host().git(['--git-dir', mirror.dir, 'fsck', '--full'])).not.toMatch(/error|missing/);
  });

  attack('what another attempt has made is in nobody’s clone', async () => {
    const made = await collected(
      'echo "only mine" > new; git add -A; git commit -qm mine; git rev-parse HEAD',
    );
    const { output } = await host().attack(
      `git cat-file -t ${made.commit}; git fetch -q origin ${made.commit}; git for-each-ref; git -C /w/origin cat-file -t ${made.commit}`,
    );
    expect(output).not.toMatch(/^commit$/m);
  });
});
