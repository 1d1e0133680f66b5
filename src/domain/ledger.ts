// The ledger: the numbered list of everything that was done to a shared branch, kept as a chain of commits under a
// ref of its own. Branch and ledger ref move in one atomic push, each only from its expected old value. An entry
// that does not land anything (taken over, withdrawn) moves the ledger alone, and so defeats every push of an
// earlier life that is still on its way.

import { z } from 'zod';
import { Fence } from './fence.js';

export const LedgerEntry = z.object({
  number: z.number(),
  kind: z.enum(['opened', 'landed', 'settled', 'rolled-back', 'withdrawn', 'taken-over']),
  /** task#fence, for everything that is about one landing. */
  landing: z.string().optional(),
  task: z.string().optional(),
  title: z.string().optional(),
  fence: Fence.optional(),
  /** The branch before and after. */
  from: z.string(),
  to: z.string(),
  /** How many commits the branch had moved since the agent started. */
  behind: z.number().optional(),
  /** Generated files that were set aside and made anew. */
  regenerated: z.array(z.string()).optional(),
  reason: z.string().optional(),
});
export type LedgerEntry = z.infer<typeof LedgerEntry>;

/** What the ledger says of one landing: the last entry about it that decides its fate. */
export function fateOf(entries: readonly LedgerEntry[], landing: string): LedgerEntry | undefined {
  return entries.findLast((entry) => entry.landing === landing && entry.kind !== 'settled');
}

/** A ledger entry as a commit message: a line for people, then the entry as JSON. */
export function entryMessage(entry: LedgerEntry): string {
  const what = entry.landing ? ` ${entry.landing}` : '';
  return `${entry.number} ${entry.kind}${what}\n\n${JSON.stringify(entry)}\n`;
}

/** Throws when the message is not one that entryMessage wrote. */
export function parseEntryMessage(message: string): LedgerEntry {
  return LedgerEntry.parse(JSON.parse(message.slice(message.indexOf('\n\n') + 2)));
}
