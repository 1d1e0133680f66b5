// What workstations take of this host's disk, and making room: before a station is made where the disk is short, and every
// so often where it all is more than `workstations.disk`. What goes, and in which order, is the rule in
// src/domain/disk-budget.ts. Each goes by a rename first: what somebody has taken meanwhile stays.

import { readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { evictions, isShort, roomFor, type Stored } from '../../src/domain/disk-budget.js';
import { formatSize } from '../../src/domain/sizes.js';
import type { Host } from '../host.js';
import { findAbandoned } from './abandoned.js';
import { bytesBelow } from './disk-watch.js';
import { findKept } from './kept.js';
import { findReady } from './pool.js';
import { findRecords } from './record.js';
import { discard } from './removal.js';

type Keeper = Pick<Host, 'config' | 'home' | 'log'>;

/** Histories that clones borrow from, and what else a fleet's folder has that no workstation is without. */
const SHARED = ['mirrors', 'shelves'];

const list = (dir: string): Promise<string[]> => readdir(dir).catch(() => []);

/** Sizes of what nobody writes to any more: they are looked at once. */
const sizes = new Map<string, number>();

async function settled(path: string, since: number): Promise<number> {
  const key = `${path} ${since}`;
  const bytes = sizes.get(key) ?? (await bytesBelow([path]));
  sizes.set(key, bytes);
  return bytes;
}

/** All that workstations take of the disk. */
export async function takeStock(home: string): Promise<Stored[]> {
  const stored: Stored[] = [];
  for (const { path, made } of await findReady(home))
    stored.push({ path, kind: 'ready', since: made, bytes: await settled(path, made) });
  for (const { path, record } of await findKept(home)) {
    const since = record.kept ?? 0;
    stored.push({ path, kind: 'kept', since, bytes: await settled(path, since) });
  }
  const alive = new Set(stored.map(({ path, since }) => `${path} ${since}`));
  for (const key of sizes.keys()) if (!alive.has(key)) sizes.delete(key);
  const unkept = new Set((await findAbandoned(home)).map(({ dir }) => dir));
  const stations = (await findRecords(home)).map(({ dir }) => dir);
  for (const path of new Set([...unkept, ...stations])) {
    const kind = unkept.has(path) ? 'unkept' : 'running';
    stored.push({ path, kind, since: 0, bytes: await bytesBelow([path]) });
  }
  for (const folder of SHARED)
    for (const name of await list(join(home, folder))) {
      const path = join(home, folder, name);
      stored.push({ path, kind: 'shared', since: 0, bytes: await bytesBelow([path]) });
    }
  return stored;
}

async function diskOf(home: string): Promise<{ free: number; size: number }> {
  const { bavail, blocks, bsize } = await statfs(home);
  return { free: bavail * bsize, size: blocks * bsize };
}

/** What has to go now, the first first. */
export async function planEvictions({ config, home }: Pick<Keeper, 'config' | 'home'>): Promise<Stored[]> {
  const stored = await takeStock(home);
  const used = stored.reduce((sum, { bytes }) => sum + bytes, 0);
  return evictions(stored, roomFor(config.workstations.disk, used, await diskOf(home)));
}

/** Removes what has to go. Gives how many clones that were. */
export async function makeRoom(keeper: Keeper): Promise<number> {
  let gone = 0;
  for (const { path, kind, bytes } of await planEvictions(keeper)) {
    if (!(await discard(keeper.home, path))) continue;
    gone += 1;
    keeper.log(`removed a ${kind} clone of ${formatSize(bytes)} to make room: ${path}`);
  }
  return gone;
}

/** The same, where the disk is short; a station is about to be made. Never rejects. */
export async function makeRoomIfShort(keeper: Keeper): Promise<void> {
  try {
    if (isShort(await diskOf(keeper.home))) await makeRoom(keeper);
  } catch (error) {
    keeper.log(`room for workstations cannot be made: ${String(error)}`);
  }
}
