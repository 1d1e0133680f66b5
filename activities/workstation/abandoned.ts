// Workstations that nobody works in any more, though their work may be kept nowhere else.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive } from '../processes.js';
import { identityIn } from './pool.js';
import { findRecords, readRecord, type WorkstationRecord } from './record.js';

export interface Abandoned {
  dir: string;
  record: WorkstationRecord;
}

/** Where a workstation is while somebody keeps its work: `<owner>~<plan>~<task>~<fence>`, see salvage.ts. */
export const salvageDir = (home: string): string => join(home, 'salvage');

/** Those whose attempt is over, as far as their records tell: their worker is dead, or says so. */
export async function findAbandoned(home: string): Promise<Abandoned[]> {
  const found = (await findRecords(home)).filter(
    ({ record }) => record.over !== undefined || !isAlive(record.worker),
  );
  for (const name of await readdir(salvageDir(home)).catch(() => [])) {
    const owner = identityIn(name.split('~', 1)[0] ?? '');
    const dir = join(salvageDir(home), name);
    const record = await readRecord(dir);
    if (record && !(owner && isAlive(owner))) found.push({ dir, record });
  }
  return found;
}
