// What setup commands have made on this host, as `<home>/setup/<key>.tar`: written aside and renamed, so that there are only
// whole ones; replaced and removed at any time, for whoever reads one goes on reading it. Within a budget: what was not
// used for longest goes first.

import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive, type ProcessIdentity } from '../processes.js';
import { identityIn, nameOf, ownerIn } from './pool.js';

const UNFINISHED = 'making.';
const ENDING = '.tar';

const digestOf = (key: string): string => createHash('sha256').update(key).digest('hex');
const remove = (path: string) => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });

export class SetupStore {
  private readonly dir: string;

  constructor(
    home: string,
    private readonly self: ProcessIdentity,
    /** Bytes. */
    readonly most: number,
  ) {
    this.dir = join(home, 'setup');
  }

  /** The file for a key, which counts as used now; undefined when there is none. It may be gone at any time. */
  async find(key: string): Promise<string | undefined> {
    const path = this.pathOf(key);
    const now = new Date();
    return await utimes(path, now, now).then(
      () => path,
      () => undefined,
    );
  }

  /** `pack` makes the folder, and the file in it, whose path it gives. Where several do this at once each is right. */
  async keep(key: string, pack: (folder: string) => Promise<string>): Promise<void> {
    await mkdir(this.dir, { recursive: true, mode: 0o711 });
    await this.clearAfterTheDead();
    const folder = join(this.dir, `${UNFINISHED}${nameOf(this.self)}.${randomUUID()}`);
    try {
      const file = await pack(folder);
      await rename(file, this.pathOf(key));
    } finally {
      await remove(folder);
    }
    await this.evict();
  }

  async drop(key: string): Promise<void> {
    await remove(this.pathOf(key));
  }

  private pathOf(key: string): string {
    return join(this.dir, `${digestOf(key)}${ENDING}`);
  }

  private async evict(): Promise<void> {
    const found: { path: string; bytes: number; used: number }[] = [];
    for (const name of await readdir(this.dir)) {
      if (!name.endsWith(ENDING)) continue;
      const path = join(this.dir, name);
      // Somebody else may have removed it.
      const about = await stat(path).catch(() => undefined);
      if (about) found.push({ path, bytes: about.blocks * 512, used: about.mtimeMs });
    }
    let bytes = found.reduce((sum, one) => sum + one.bytes, 0);
    for (const one of found.sort((a, b) => a.used - b.used)) {
      if (bytes <= this.most) return;
      await remove(one.path);
      bytes -= one.bytes;
    }
  }

  /** What workers that were killed had not finished. */
  private async clearAfterTheDead(): Promise<void> {
    for (const name of await readdir(this.dir)) {
      const owner = name.startsWith(UNFINISHED) ? identityIn(ownerIn(name)) : undefined;
      if (owner && !isAlive(owner)) await remove(join(this.dir, name));
    }
  }
}
