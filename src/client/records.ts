// Reads what Signalbox keeps on the shared repository: change packets and the ledger.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { simpleGit } from 'simple-git';
import { ledgerRef, PACKETS_REF } from '../domain/ids.js';
import { type LedgerEntry, parseEntryMessage } from '../domain/ledger.js';
import type { Packet } from '../domain/packet.js';
import type { Fleet } from './config.js';
import { git, gitText } from './git.js';

/** The packets of one task, or of all of a fleet: each life of a task has one, in the order in which they were written. */
export async function readPackets(fleet: Fleet, task?: string): Promise<Packet[]> {
  const found: Packet[] = [];
  // Two of the fleet's repositories may be two branches of one.
  for (const url of new Set(Object.values(fleet.config.repositories).map((one) => one.url))) {
    await withRef(url, PACKETS_REF, async (dir) => {
      const names = await gitText(dir, [
        'log',
        '--reverse',
        '--format=',
        '--name-only',
        '--diff-filter=AM',
        '-z',
        '--root',
        PACKETS_REF,
        ...(task ? ['--', `:(literal)${task}/`] : []),
      ]);
      const paths = new Set(
        names
          .split('\0')
          .map((name) => name.trim())
          .filter(Boolean),
      );
      for (const path of paths)
        found.push(
          JSON.parse(
            (await git(dir, ['cat-file', 'blob', `${PACKETS_REF}:${path}`])).toString('utf8'),
          ) as Packet,
        );
    });
  }
  return found.filter((packet) => packet.fleet === fleet.config.fleet);
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

/** Fetches the ref into a folder of its own, as the operator's git can; does nothing when the ref does not exist. */
async function withRef(url: string, ref: string, work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'signalbox-records-'));
  try {
    const format = (await simpleGit(dir).raw(['ls-remote', url, ref])).trim();
    if (format === '') return;
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
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
