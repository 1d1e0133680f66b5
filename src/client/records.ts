// Reads what Signalbox keeps on the shared repository: change packets and the ledger.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { simpleGit } from 'simple-git';
import { ledgerRef, PACKETS_REF } from '../domain/ids.js';
import { type LedgerEntry, parseEntryMessage } from '../domain/ledger.js';
import type { Packet } from '../domain/packet.js';
import { type ReleasedClaim, releasedClaim } from '../domain/released.js';
import type { Fleet } from './config.js';
import { git, gitText } from './git.js';

/** Packets read with one process. */
const BATCH = 100;
/** Commits looked at for the latest packets: whoever wants more has the ref itself. */
const MOST_COMMITS = 5_000;

/** The packets of one task, or of all of a fleet: each life of a task has one, in the order in which they were written. */
export async function readPackets(fleet: Fleet, task?: string): Promise<Packet[]> {
  const found: Packet[] = [];
  for (const url of urlsOf(fleet)) {
    await withRef(url, PACKETS_REF, async (dir) => {
      const paths = await packetPaths(dir, ['--reverse'], task ? ['--', `:(literal)${task}/`] : []);
      for (let i = 0; i < paths.length; i += BATCH)
        found.push(...(await packetsAt(dir, paths.slice(i, i + BATCH))));
    });
  }
  return found.filter((packet) => packet.fleet === fleet.config.fleet);
}

/**
 * The claims that were released last, newest first, at most `most` of them. Reads no more packets than it takes to know
 * them. `since` in milliseconds since the epoch.
 */
export async function readReleased(
  fleet: Fleet,
  { most, since = 0 }: { most: number; since?: number },
): Promise<ReleasedClaim[]> {
  const found: ReleasedClaim[] = [];
  for (const url of urlsOf(fleet)) {
    const here: ReleasedClaim[] = [];
    await withRef(url, PACKETS_REF, async (dir) => {
      const paths = await packetPaths(dir, ['-n', String(MOST_COMMITS)], []);
      for (let i = 0; i < paths.length && here.length < most; i += BATCH) {
        const packets = await packetsAt(dir, paths.slice(i, i + BATCH));
        const ended = packets.map((packet) => packet.decisions.at(-1)?.at ?? 0);
        const ours = packets.filter((packet) => packet.fleet === fleet.config.fleet);
        here.push(
          ...ours.flatMap((packet) => releasedClaim(packet) ?? []).filter(({ until }) => until >= since),
        );
        // A packet is written soon after its task's end: further back are only earlier ones.
        if (ended.every((at) => at < since)) break;
      }
    });
    found.push(...here);
  }
  return found.sort((a, b) => b.until - a.until).slice(0, most);
}

/** Two of the fleet's repositories may be two branches of one. */
const urlsOf = (fleet: Fleet): Set<string> =>
  new Set(Object.values(fleet.config.repositories).map((one) => one.url));

/** The packets' paths in the order of the log: newest first unless it is reversed. */
async function packetPaths(dir: string, order: string[], only: string[]): Promise<string[]> {
  const names = await gitText(dir, [
    'log',
    ...order,
    '--format=',
    '--name-only',
    '--diff-filter=AM',
    '-z',
    '--root',
    PACKETS_REF,
    ...only,
  ]);
  const paths = names
    .split('\0')
    .map((name) => name.trim())
    .filter(Boolean);
  return [...new Set(paths)];
}

async function packetsAt(dir: string, paths: readonly string[]): Promise<Packet[]> {
  const input = paths.map((path) => `${PACKETS_REF}:${path}\n`).join('');
  const out = await git(dir, ['cat-file', '--batch'], { input });
  const packets: Packet[] = [];
  for (let at = 0; at < out.length; ) {
    // Each one is "<id> blob <bytes>", its bytes, and the end of a line.
    const line = out.indexOf('\n', at);
    const size = Number(out.toString('utf8', at, line).split(' ')[2]);
    packets.push(JSON.parse(out.toString('utf8', line + 1, line + 1 + size)) as Packet);
    at = line + 1 + size + 1;
  }
  return packets;
}

/** The ledger of a repository's branch, oldest entry first; empty when nothing has landed yet. */
export async function readLedger(url: string, branch: string): Promise<LedgerEntry[]> {
  const entries: LedgerEntry[] = [];
  await withRef(url, ledgerRef(branch), async (dir) => {
    const log = await gitText(dir, ['log', '--reverse', '-z', '--format=%B', ledgerRef(branch)]);
    entries.push(
      ...log
        .split('\0')
        .filter((message) => message.trim() !== '')
        .map(parseEntryMessage),
    );
  });
  return entries;
}

/** Fetches the ref into a folder of its own, as the operator's git can; false, and nothing is done, when it does not exist. */
export async function withRef(
  url: string,
  ref: string,
  work: (dir: string) => Promise<void>,
): Promise<boolean> {
  const dir = await mkdtemp(join(tmpdir(), 'signalbox-records-'));
  try {
    const format = (await simpleGit(dir).raw(['ls-remote', url, ref])).trim();
    if (format === '') return false;
    const sha256 = (format.split(/\s/)[0] ?? '').length === 64;
    await git(dir, [
      'init',
      '--quiet',
      '--bare',
      '--template=',
      ...(sha256 ? ['--object-format=sha256'] : []),
    ]);
    await simpleGit(dir).raw([
      'fetch',
      '--quiet',
      '--no-tags',
      '--no-write-fetch-head',
      url,
      `+${ref}:${ref}`,
    ]);
    await work(dir);
    return true;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
