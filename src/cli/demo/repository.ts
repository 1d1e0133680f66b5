// The shared repository as people outside the fleet see it: they commit and push with plain git, and look things up.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gitText } from '../../client/git.js';

/** Git of a person on this host: no configuration of anybody else's, no network. */
export function asPerson(name: string): (dir: string, args: string[]) => Promise<string> {
  const email = `${name.toLowerCase()}@example.com`;
  const env = {
    GIT_ALLOW_PROTOCOL: 'file',
    GIT_AUTHOR_NAME: name,
    GIT_AUTHOR_EMAIL: email,
    GIT_COMMITTER_NAME: name,
    GIT_COMMITTER_EMAIL: email,
  };
  return (dir, args) => gitText(dir, args, { env });
}

const PUSHES = 20;

/** A person adds a line to a file and pushes it to main, again if someone else was faster. Gives the commit. */
export async function pushLine(
  origin: string,
  tmp: string,
  person: string,
  file: string,
  line: string,
): Promise<string> {
  const git = asPerson(person);
  for (let tries = 1; ; tries++) {
    const clone = await mkdtemp(join(tmp, 'person-'));
    try {
      await git(tmp, ['clone', '--quiet', '--template=', '--branch', 'main', origin, clone]);
      await writeFile(join(clone, file), `${await readFile(join(clone, file), 'utf8')}\n${line}\n`);
      await git(clone, ['commit', '--quiet', '--all', '--message', line]);
      await git(clone, ['push', '--quiet', 'origin', 'HEAD:main']);
      return await git(clone, ['rev-parse', 'HEAD']);
    } catch (error) {
      if (tries === PUSHES) throw error;
    } finally {
      await rm(clone, { recursive: true, force: true });
    }
  }
}

export const tipOf = (origin: string): Promise<string> =>
  asPerson('Ada')(origin, ['rev-parse', 'refs/heads/main']);

export const hasRefs = async (origin: string, prefix: string): Promise<boolean> =>
  (await asPerson('Ada')(origin, ['for-each-ref', '--format=%(refname)', prefix])) !== '';

/** Whether `commit` holds all of `earlier`. */
export const contains = (origin: string, commit: string, earlier: string): Promise<boolean> =>
  asPerson('Ada')(origin, ['merge-base', '--is-ancestor', earlier, commit]).then(
    () => true,
    () => false,
  );
