// The trusted bare mirror that a host keeps of each shared repository. Clones take their objects from it, attempts
// bring their commits into it, writers build and push from it. Nothing but these activities writes to it.
//
// Talking to the shared repository goes through simple-git, with the operator's own git configuration and
// credentials; building trees and commits needs bytes and no configuration, and goes through src/client/git.ts.

import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { simpleGit } from 'simple-git';
import { git, gitText } from '../src/client/git.js';

export class Mirror {
  private chain: Promise<unknown> = Promise.resolve();
  private waitingRefresh: Promise<string> | undefined;
  private ready: Promise<void> | undefined;

  constructor(
    readonly name: string,
    readonly url: string,
    readonly branch: string,
    readonly dir: string,
  ) {}

  /** Makes the mirror if this host has none yet. Throws what git says when the repository cannot be read. */
  open(): Promise<void> {
    this.ready ??= this.create().catch((error: unknown) => {
      this.ready = undefined;
      throw error;
    });
    return this.ready;
  }

  private async create(): Promise<void> {
    if (existsSync(this.dir)) return;
    await mkdir(dirname(this.dir), { recursive: true });
    const temporary = `${this.dir}.${process.pid}.tmp`;
    await rm(temporary, { recursive: true, force: true });
    try {
      await simpleGit().raw([
        'clone',
        '--quiet',
        '--bare',
        '--no-tags',
        '--no-hardlinks',
        '--single-branch',
        '--branch',
        this.branch,
        this.url,
        temporary,
      ]);
    } catch (error) {
      throw new Error(
        `repository "${this.name}" (${this.url}, branch ${this.branch}) cannot be cloned: ${said(error)}`,
      );
    }
    // Clones and attempts rely on objects that no ref of the mirror may name for a while: nothing is ever pruned.
    await git(temporary, ['config', 'gc.auto', '0']);
    await git(temporary, ['config', 'maintenance.auto', 'false']);
    await git(temporary, ['config', 'fetch.writeCommitGraph', 'false']);
    await rename(temporary, this.dir).catch(async (error: unknown) => {
      if (!existsSync(this.dir)) throw error;
      await rm(temporary, { recursive: true, force: true });
    });
  }

  /** One network operation on the mirror at a time: git's ref locks do not wait. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.chain.then(work, work);
    this.chain = next.catch(() => undefined);
    return next;
  }

  /** The newest commit of the shared branch, fetched after this call began. Callers that wait share one fetch. */
  async refresh(): Promise<string> {
    await this.open();
    this.waitingRefresh ??= this.inTurn(async () => {
      this.waitingRefresh = undefined;
      await this.fetchNow([`+refs/heads/${this.branch}:refs/heads/${this.branch}`]);
      return await this.resolve(`refs/heads/${this.branch}`);
    });
    return await this.waitingRefresh;
  }

  /** Fetches; refspecs with a `*` may match nothing, others must exist. Throws what git says. */
  async fetch(refspecs: string[]): Promise<void> {
    await this.open();
    await this.inTurn(() => this.fetchNow(refspecs));
  }

  private async fetchNow(refspecs: string[]): Promise<void> {
    await simpleGit(this.dir).raw([
      'fetch',
      '--quiet',
      '--no-tags',
      '--no-write-fetch-head',
      '--prune',
      this.url,
      ...refspecs,
    ]);
  }

  /** One atomic push. Undefined when it went through, else what git said. */
  async push(args: string[]): Promise<string | undefined> {
    await this.open();
    return await this.inTurn(async () => {
      try {
        await simpleGit(this.dir).raw([
          'push',
          '--quiet',
          '--atomic',
          '--porcelain',
          '--no-verify',
          this.url,
          ...args,
        ]);
        return undefined;
      } catch (error) {
        return said(error);
      }
    });
  }

  /** Remembers where a ref of the shared repository stands now. Being wrong costs a fetch, no more. */
  async note(ref: string, commit: string): Promise<void> {
    await this.run(['update-ref', ref, commit]).catch(() => undefined);
  }

  /** Runs git in the mirror with bytes in and out. */
  run(args: readonly string[], options?: Parameters<typeof git>[2]): Promise<Buffer> {
    return git(this.dir, args, options);
  }

  text(args: readonly string[], options?: Parameters<typeof git>[2]): Promise<string> {
    return gitText(this.dir, args, options);
  }

  /** The commit that a name stands for; throws when it does not exist. */
  resolve(name: string): Promise<string> {
    return this.text(['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`]);
  }

  /** As resolve, but undefined for a name that does not exist. */
  async find(name: string): Promise<string | undefined> {
    const found = await this.text(['for-each-ref', '--format=%(objectname)', name]);
    return found === '' ? undefined : (found.split('\n')[0] ?? undefined);
  }

  async has(commit: string): Promise<boolean> {
    return await this.run(['cat-file', '-e', `${commit}^{commit}`]).then(
      () => true,
      () => false,
    );
  }
}

/** What git said, without the password that a URL may hold. */
const said = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error))
    .replace(/(\w+:\/\/[^/:@\s]+):[^@/\s]+@/g, '$1:***@')
    .trim()
    .slice(-2_000);

/** The mirrors of one fleet on this host, by repository name. */
export function mirrorsOf(
  home: string,
  repositories: Record<string, { url: string; branch: string }>,
): Map<string, Mirror> {
  return new Map(
    Object.entries(repositories).map(([name, { url, branch }]) => [
      name,
      new Mirror(name, url, branch, join(home, 'mirrors', `${name}.git`)),
    ]),
  );
}
