// Clones that are made before somebody needs them: checking out a large repository is most of what an agent waits for.
// A clone is made ready in the background, after a workstation was made for its repository, and for as long as there is
// demand; no agent has run in it. It is in `<home>/ready/<repository>/<owner>`, and whoever renames that folder has it.

import { mkdir, readdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Mirror } from '../mirror.js';
import { endTree, identityOf, isAlive, type ProcessIdentity } from '../processes.js';

export interface PoolOptions {
  /** Clones of one repository on this host. */
  most: number;
  /** A repository that no workstation was made for in this time needs none. Milliseconds, as all of these. */
  demandMs: number;
  oldestMs: number;
  /** The agent that was just started goes first. */
  afterMs: number;
  /** Repositories that are cloned faster than this need none. */
  worthMs: number;
}

const DEFAULTS: PoolOptions = {
  most: 2,
  demandMs: 10 * 60_000,
  oldestMs: 24 * 3_600_000,
  afterMs: 1_000,
  worthMs: 150,
};

/** This part of the disk is left for agents. */
const LEAST_FREE = 0.1;

export interface Ready {
  /** The commit that is checked out. */
  base: string;
  branch: string;
  /** Whose it is, where the worker is root. */
  uid?: number;
}

export interface Found extends Ready {
  path: string;
  made: number;
}

/** Makes a clone in `dir`/clone; undefined where git takes files for changed right after the checkout. */
export type MakeReady = (dir: string, mirror: Mirror, signal: AbortSignal) => Promise<Ready | undefined>;

const RECORD = 'ready.json';
const UNFINISHED = 'making.';

const readyDir = (home: string): string => join(home, 'ready');
const list = (path: string): Promise<string[]> => readdir(path).catch(() => []);
const remove = (path: string) => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });

export class ReadyClones {
  private readonly options: PoolOptions;
  private readonly owner = nameOf(identityOf(process.pid));
  private readonly stopping = new AbortController();
  /** When each repository was last asked for, and what happens then. */
  private readonly timers = new Map<string, NodeJS.Timeout[]>();
  private readonly wantedAt = new Map<string, number>();
  /** One after the other: they would only slow each other down, and the agents. */
  private chain: Promise<void> = Promise.resolve();
  private made = 0;

  constructor(
    private readonly home: string,
    private readonly make: MakeReady,
    private readonly log: (line: string) => void,
    options: Partial<PoolOptions> = {},
  ) {
    this.options = { ...DEFAULTS, ...options };
  }

  /** Moves a clone to `dir`/clone; undefined when none is ready. The caller looks whether it is what it should be. */
  async take(mirror: Mirror, base: string, dir: string): Promise<Ready | undefined> {
    const found = (await this.find(mirror.name)).filter(
      (ready) => ready.branch === mirror.branch && !this.isOld(ready),
    );
    const worth = (ready: Found) => (ready.base === base ? Number.POSITIVE_INFINITY : ready.made);
    for (const ready of found.sort((a, b) => (worth(a) < worth(b) ? 1 : -1))) {
      const taken = join(dir, 'ready');
      try {
        await rename(ready.path, taken);
      } catch {
        // Somebody else has it.
        continue;
      }
      await rename(join(taken, 'clone'), join(dir, 'clone'));
      await remove(taken);
      return ready;
    }
    return undefined;
  }

  /** A workstation was made for the repository; `freshMs` is what that took when its clone was not ready. */
  wanted(mirror: Mirror, freshMs: number | undefined): void {
    const { name } = mirror;
    const { afterMs, demandMs, worthMs } = this.options;
    if (this.stopping.signal.aborted || (freshMs !== undefined && freshMs < worthMs)) return;
    this.wantedAt.set(name, Date.now());
    for (const timer of this.timers.get(name) ?? []) clearTimeout(timer);
    const later = (ms: number, work: () => Promise<void>) => setTimeout(() => this.inTurn(work), ms).unref();
    this.timers.set(name, [later(afterMs, () => this.fill(mirror)), later(demandMs, () => this.empty(name))]);
  }

  /** Resolves when nothing is being made, or about to be that was wanted before this call. */
  async filled(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, this.options.afterMs));
    await this.chain;
  }

  /** Ends what is being made, and removes what this worker has made. */
  async close(): Promise<void> {
    this.stopping.abort();
    for (const timer of [...this.timers.values()].flat()) clearTimeout(timer);
    await this.chain;
    for (const repository of await list(readyDir(this.home))) await this.empty(repository);
  }

  private inTurn(work: () => Promise<void>): void {
    this.chain = this.chain.then(work).catch((error: unknown) => {
      if (!this.stopping.signal.aborted) this.log(`no clone was made ready: ${String(error)}`);
    });
  }

  private async fill(mirror: Mirror): Promise<void> {
    const repository = join(readyDir(this.home), mirror.name);
    const { signal } = this.stopping;
    for (const ready of await this.find(mirror.name)) if (this.isOld(ready)) await this.discard(ready.path);
    while (!signal.aborted && this.isWanted(mirror.name) && (await hasRoom(this.home))) {
      if ((await list(repository)).length >= this.options.most) return;
      const name = `${this.owner}.${++this.made}`;
      const dir = join(repository, `${UNFINISHED}${name}`);
      await mkdir(dir, { recursive: true, mode: 0o711 });
      const ready = await this.make(dir, mirror, signal).catch(async (error: unknown) => {
        await remove(dir);
        throw error;
      });
      if (!ready) return await remove(dir);
      await writeFile(join(dir, RECORD), JSON.stringify({ ...ready, made: Date.now() }));
      await rename(dir, join(repository, name));
    }
  }

  /** Removes those that this worker has made; others have theirs. */
  private async empty(repository: string): Promise<void> {
    const dir = join(readyDir(this.home), repository);
    for (const name of await list(dir)) if (ownerIn(name) === this.owner) await this.discard(join(dir, name));
  }

  /** Renamed first: nobody may take what is half removed. */
  private async discard(path: string): Promise<void> {
    const aside = join(path, '..', `${UNFINISHED}${this.owner}.${++this.made}`);
    await rename(path, aside).then(
      () => remove(aside),
      () => undefined,
    );
  }

  private async find(repository: string): Promise<Found[]> {
    return await readyIn(this.home, repository);
  }

  private isWanted(repository: string): boolean {
    return Date.now() - (this.wantedAt.get(repository) ?? 0) < this.options.demandMs;
  }

  private isOld({ made }: Found): boolean {
    return Math.abs(Date.now() - made) > this.options.oldestMs;
  }
}

/** Clones that are ready, of all repositories and workers. */
export async function findReady(home: string): Promise<Found[]> {
  const all = await Promise.all((await list(readyDir(home))).map((name) => readyIn(home, name)));
  return all.flat();
}

async function readyIn(home: string, repository: string): Promise<Found[]> {
  const dir = join(readyDir(home), repository);
  const found: Found[] = [];
  for (const name of await list(dir)) {
    if (name.startsWith(UNFINISHED)) continue;
    const path = join(dir, name);
    const text = await readFile(join(path, RECORD), 'utf8').catch(() => undefined);
    if (text !== undefined) found.push({ ...(JSON.parse(text) as Ready & { made: number }), path });
  }
  return found;
}

/** Removes what workers that are no more have left. */
export async function clearReady(home: string): Promise<void> {
  for (const repository of await list(readyDir(home))) {
    const dir = join(readyDir(home), repository);
    for (const name of await list(dir)) {
      const owner = identityIn(ownerIn(name));
      if (owner && isAlive(owner)) continue;
      const path = join(dir, name);
      await endTree(undefined, path, 0);
      await remove(path);
    }
  }
}

async function hasRoom(home: string): Promise<boolean> {
  const { bavail, blocks } = await statfs(home);
  return bavail > blocks * LEAST_FREE;
}

/** A process, as part of a file's name. */
export const nameOf = ({ pid, started }: ProcessIdentity): string =>
  `${pid}.${Buffer.from(started).toString('base64url')}`;

/** The owner in the name of a folder, whether it is finished or not. */
export const ownerIn = (name: string): string =>
  name.replace(UNFINISHED, '').split('.').slice(0, 2).join('.');

/** The process that a file's name tells; undefined where it tells none. */
export function identityIn(owner: string): ProcessIdentity | undefined {
  const [pid, started] = owner.split('.');
  if (!pid || started === undefined || !/^\d+$/.test(pid)) return undefined;
  return { pid: Number(pid), started: Buffer.from(started, 'base64url').toString() };
}
