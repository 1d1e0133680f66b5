// What agents see of a shared repository: a bare repository that holds the history of its branch and nothing else. Every
// clone on this host borrows its objects, mounted read-only. The mirror itself is not shown to agents, for it also holds
// what other attempts have made.

import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { git } from '../src/client/git.js';
import type { Mirror } from './mirror.js';

const LOCAL = { env: { GIT_ALLOW_PROTOCOL: 'file' } };

export class Shelf {
  private chain: Promise<unknown> = Promise.resolve();
  private readonly known = new Set<string>();

  private constructor(
    private readonly mirror: Mirror,
    readonly dir: string,
  ) {}

  private static readonly shelves = new WeakMap<Mirror, Shelf>();

  static of(mirror: Mirror, home: string): Shelf {
    const known = Shelf.shelves.get(mirror);
    if (known) return known;
    const shelf = new Shelf(mirror, join(home, 'shelves', `${mirror.name}.git`));
    Shelf.shelves.set(mirror, shelf);
    return shelf;
  }

  /** Resolves when the shelf holds the commit, which is one of the shared branch. */
  async hold(commit: string): Promise<void> {
    if (this.known.has(commit)) return;
    const next = this.chain.then(
      () => this.fetch(commit),
      () => this.fetch(commit),
    );
    this.chain = next.catch(() => undefined);
    await next;
  }

  /** The newest commit of the branch that it holds. Throws when it holds none yet. */
  async newest(): Promise<string> {
    const found = await git(this.dir, ['rev-parse', '--verify', `refs/heads/${this.mirror.branch}^{commit}`]);
    return found.toString('latin1').trim();
  }

  private async fetch(commit: string): Promise<void> {
    if (this.known.has(commit)) return;
    if (!existsSync(this.dir)) await this.create();
    const branch = `refs/heads/${this.mirror.branch}`;
    await this.take(`+${branch}:${branch}`);
    // The branch may have been rewritten since: then the commit is none of its any more.
    if (!(await this.has(commit))) await this.take(`+${commit}:refs/signalbox/base`);
    this.known.add(commit);
  }

  private async create(): Promise<void> {
    await mkdir(dirname(this.dir), { recursive: true });
    const temporary = `${this.dir}.${process.pid}.tmp`;
    await rm(temporary, { recursive: true, force: true });
    const format = await this.mirror.text(['rev-parse', '--show-object-format']);
    const init = ['init', '--quiet', '--bare', '--template=', `--object-format=${format}`];
    await git(dirname(this.dir), [...init, '-b', this.mirror.branch, temporary]);
    // Clones borrow these objects: nothing is ever pruned.
    await git(temporary, ['config', 'gc.auto', '0']);
    await git(temporary, ['config', 'maintenance.auto', 'false']);
    await rename(temporary, this.dir).catch(async (error: unknown) => {
      if (!existsSync(this.dir)) throw error;
      await rm(temporary, { recursive: true, force: true });
    });
  }

  private async take(refspec: string): Promise<void> {
    const upload = 'git -c uploadpack.allowAnySHA1InWant=true upload-pack';
    const fetch = ['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', `--upload-pack=${upload}`];
    await git(this.dir, [...fetch, this.mirror.dir, refspec], LOCAL);
  }

  private has(commit: string): Promise<boolean> {
    return git(this.dir, ['cat-file', '-e', `${commit}^{commit}`]).then(
      () => true,
      () => false,
    );
  }
}
