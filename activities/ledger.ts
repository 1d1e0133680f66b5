// The ledger as git keeps it: read from the mirror, appended to by pushes that move it only from its expected old
// value (compare-and-swap by `--force-with-lease`).

import { ledgerRef } from '../src/domain/ids.js';
import { entryMessage, type LedgerEntry, parseEntryMessage } from '../src/domain/ledger.js';
import type { Mirror } from './mirror.js';
import { commitTree, emptyTree } from './trees.js';

export interface LedgerView {
  /** The commit that the ledger ref names; undefined before it was opened. */
  tip: string | undefined;
  entries: LedgerEntry[];
}

const cache = new WeakMap<Mirror, LedgerView>();

/** The ledger as fetched last. Entries already read are not read again. */
export async function readLedger(mirror: Mirror): Promise<LedgerView> {
  const tip = await mirror.find(ledgerRef(mirror.branch));
  const known = cache.get(mirror);
  if (known && known.tip === tip) return known;
  const view =
    tip === undefined ? { tip, entries: [] } : { tip, entries: await entriesUpTo(mirror, tip, known) };
  cache.set(mirror, view);
  return view;
}

async function entriesUpTo(
  mirror: Mirror,
  tip: string,
  known: LedgerView | undefined,
): Promise<LedgerEntry[]> {
  const since = known?.tip ? await newEntries(mirror, `${known.tip}..${tip}`) : undefined;
  // Entries follow each other without a gap; anything else means that the known part is not a part of this chain.
  if (known && since && since[0]?.number === known.entries.length + 1) return [...known.entries, ...since];
  return await newEntries(mirror, tip);
}

async function newEntries(mirror: Mirror, range: string): Promise<LedgerEntry[]> {
  const log = await mirror
    .text(['log', '--reverse', '--first-parent', '-z', '--format=%B', range])
    .catch(() => '');
  return log
    .split('\0')
    .filter((message) => message.trim() !== '')
    .map(parseEntryMessage);
}

export type NewEntry = Omit<LedgerEntry, 'number'>;

/**
 * One atomic push of a ledger entry and, with it, other ref updates (`--force-with-lease=…` and refspecs), which leave
 * the refs in `moved` where that says. Undefined when it went through, else what git said: nothing has moved then, or the answer was lost on its way.
 */
export async function appendEntry(
  mirror: Mirror,
  ledger: LedgerView,
  entry: NewEntry,
  updates: string[] = [],
  moved: Readonly<Record<string, string>> = {},
): Promise<string | undefined> {
  const ref = ledgerRef(mirror.branch);
  const message = entryMessage({ number: ledger.entries.length + 1, ...entry });
  const commit = await commitTree(mirror, await emptyTree(mirror), ledger.tip ? [ledger.tip] : [], message);
  const problem = await mirror.push(
    [`--force-with-lease=${ref}:${ledger.tip ?? ''}`, ...updates, `${commit}:${ref}`],
    { ...moved, [ref]: commit },
  );
  if (problem === undefined)
    cache.set(mirror, { tip: commit, entries: [...ledger.entries, parseEntryMessage(message)] });
  return problem;
}
