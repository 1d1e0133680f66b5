// What an agent plants in its clone for the next attempt of its task, which goes on in that clone. Each case was seen to fail
// with its defence taken out; the list is in defences.txt beside this file.

import { existsSync, lstatSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import type { Workstation } from '../../activities/workstation/station.js';
import { attack, attackedHost, until } from '../support/attacker.js';

const host = attackedHost();

/** A program in a build cache, which is kept, that leaves a trace there. */
const EVIL = `mkdir -p target/hooks; printf '#!/bin/sh\\necho ran >> /w/repo/target/ran\\ncat\\n' > target/evil; chmod 755 target/evil
for h in pre-commit post-commit reference-transaction post-index-change post-checkout prepare-commit-msg commit-msg; do cp target/evil target/hooks/$h; done`;

const SETTINGS = `[core]
	hooksPath = /w/repo/target/hooks
	fsmonitor = /w/repo/target/evil
[alias]
	st = !/w/repo/target/evil
[diff]
	external = /w/repo/target/evil
[filter "evil"]
	clean = /w/repo/target/evil
	smudge = /w/repo/target/evil
	required = true`;

/** What every agent does with git, and what it would miss if rules were planted. */
const WORK = `git status --short; git diff; echo new > src/new; echo other > other; echo more >> src/a.txt; git add -A; git commit -qm work
(cd src; git status --short; git log --format=%s -1); git checkout -q HEAD~1; git checkout -q -; git show --format= --name-only; git st 2>&1`;

let tasks = 0;

/** The script runs as an agent, then another one as the next attempt of the task. Gives what that says, and its clone. */
async function nextAfter(script: string, next = WORK): Promise<{ output: string; station: Workstation }> {
  const task = `p/kept${++tasks}`;
  const first = await host().attack(`${EVIL}\n${script}`, { task });
  await host()
    .collect(first.station, task)
    .catch(() => undefined);
  rmSync(join(first.station.dir, 'clone/target/ran'), { force: true });
  await host().leave(first.station, task);
  const station = await host().station(task);
  const { output } = await host().runIn(station, next);
  return { output, station };
}

const traceIn = ({ dir }: Workstation) => existsSync(join(dir, 'clone/target/ran'));

describe('an attempt that goes on in the clone of another', () => {
  attack('runs nothing that the other one planted in .git, HOME or attributes', async () => {
    const { output, station } = await nextAfter(`
      printf '%s\\n' '${SETTINGS}' >> .git/config; cp .git/config /w/home/.gitconfig; cp -r target/hooks .git/
      printf '* filter=evil diff=evil\\n' | tee .git/info/attributes > src/.gitattributes; printf '*\\n' | tee .git/info/exclude > src/.gitignore
      cp src/.gitattributes .gitattributes; git update-index --assume-unchanged .gitattributes`);
    expect(station.reused).toBe(true);
    expect(traceIn(station)).toBe(false);
    expect(output).toMatch(/^other\nsrc\/a\.txt\nsrc\/new$/m);
  });

  attack('has one repository, whatever the other one made of .git and of folders below', async () => {
    for (const planted of [
      'rm -rf .git; ln -s /w/origin .git',
      'mv .git target/repo; printf "gitdir: /w/repo/target/repo\\n" > .git; cat target/settings >> target/repo/config',
      'cp -r .git target/repo; cat target/settings >> target/repo/config; printf "gitdir: ../target/repo\\n" > src/.git',
      'cp -r .git src/.git; cat target/settings >> src/.git/config; cp -r target/hooks src/.git',
    ]) {
      const { output, station } = await nextAfter(
        `printf '%s\\n' '${SETTINGS}' > target/settings; ${planted}`,
      );
      expect(station.reused, planted).toBe(true);
      expect(traceIn(station), planted).toBe(false);
      expect(lstatSync(join(station.dir, 'clone/.git')).isDirectory()).toBe(true);
      expect(output, planted).toMatch(/^other\nsrc\/a\.txt\nsrc\/new$/m);
      expect(output, planted).toMatch(/^work$/m);
    }
  });

  attack('has its files, and the host has its own, where the other one left links', async () => {
    const { output, station } = await nextAfter(
      `rm -rf src; ln -s "$(dirname "$HOST_CANARY")" src; rm README.md; ln -s "$HOST_CANARY" README.md; ln -s "$HOST_HOME" elsewhere; rm .gitignore; ln -s "$HOST_CANARY" .gitignore`,
      'cat src/a.txt README.md; git status --short; ls',
    );
    expect(station.reused).toBe(true);
    expect(output).toBe('a\nseed\nREADME.md\nsrc\ntarget\n');
  });

  attack('has neither its HOME, nor its result, nor its secrets', async () => {
    const secrets = [{ name: 'key', variable: 'KEY', value: 'secret-of-the-first' }];
    const first = await host().attack('echo mine > /w/home/x; echo mine > /w/result/x; cat "$KEY"', {
      task: 'p/secret',
      secrets,
    });
    expect(first.output).toContain('secret-of-the-first');
    await host().leave(first.station, 'p/secret');
    const station = await host().station('p/secret');
    expect(station.reused).toBe(true);
    const { output } = await host().runIn(station, 'ls -A /w/home /w/result /w/secrets /w/requests 2>&1');
    expect(output).not.toMatch(/^(x|key)$/m);
  });

  attack('never shares it with one that may still be alive', async () => {
    const station = await host().station('p/alive');
    await host().record(station, 'p/alive');
    const running = host().runIn(station, 'echo mine > alive; while [ ! -e stop ]; do sleep 0.1; done');
    await until('it works', () => existsSync(join(station.dir, 'clone/alive')));
    const next = await host().station('p/alive');
    expect(next.reused).toBeUndefined();
    expect(existsSync(join(next.dir, 'clone/alive'))).toBe(false);
    expect(readFileSync(join(station.dir, 'clone/alive'), 'utf8')).toBe('mine\n');
    writeFileSync(join(station.dir, 'clone/stop'), '');
    await running;
  });
});
