// What an agent leaves uncommitted in its clone, in whatever state, is committed as its working tree and its index say.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { commitLeftovers } from '../activities/workstation/leftovers.js';
import { openPlain } from '../activities/workstation/plain.js';

let dir: string;
const git = (...args: string[]) => execFileSync('git', args, { cwd: join(dir, 'clone'), encoding: 'utf8' });
const write = (path: string, text: string) => {
  const file = join(dir, 'clone', path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
};

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'signalbox-leftovers-'));
  mkdirSync(join(dir, 'clone'));
  git('init', '-q', '-b', 'main');
  git('config', 'user.name', 'agent');
  git('config', 'user.email', 'agent@example.com');
  for (const name of ['a', 'b', 'c', 'd/e', '.gitignore']) write(name, `${name}\n`);
  write('.gitignore', 'ignored\n');
  git('add', '--all');
  git('commit', '-qm', 'seed');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const left = async () => {
  const committed = await commitLeftovers(openPlain(dir), new Map(), 'p/t');
  const changes = git('diff', '--name-status', '--no-renames', 'HEAD~1', 'HEAD').trim().split('\n').sort();
  return { committed, changes };
};

it('a deletion that was staged, beside changes that were not', async () => {
  git('rm', '-q', 'a', 'd/e');
  rmSync(join(dir, 'clone', 'b'));
  write('c', 'new\n');
  write('f', 'new\n');
  expect(await left()).toEqual({ committed: true, changes: ['A\tf', 'D\ta', 'D\tb', 'D\td/e', 'M\tc'] });
  expect(git('status', '--porcelain')).toBe('');
});

it('a staged deletion alone', async () => {
  git('rm', '-q', 'a');
  expect(await left()).toEqual({ committed: true, changes: ['D\ta'] });
});

it('a file that was taken out of the index and written again', async () => {
  git('rm', '-q', 'a', 'b');
  write('a', 'again\n');
  expect(await left()).toEqual({ committed: true, changes: ['D\tb', 'M\ta'] });
});

it('a file that is to be ignored from now on stays where it is, out of the repository', async () => {
  git('rm', '-q', '--cached', 'a');
  write('.gitignore', 'ignored\na\n');
  expect(await left()).toEqual({ committed: true, changes: ['D\ta', 'M\t.gitignore'] });
  expect(git('status', '--porcelain')).toBe('');
});

it('what was staged and is gone is not there', async () => {
  write('f', 'new\n');
  git('add', 'f');
  rmSync(join(dir, 'clone', 'f'));
  write('c', 'new\n');
  expect(await left()).toEqual({ committed: true, changes: ['M\tc'] });
});

it('nothing, when nothing is left', async () => {
  write('ignored', 'built\n');
  expect(await commitLeftovers(openPlain(dir), new Map(), 'p/t')).toBe(false);
});
