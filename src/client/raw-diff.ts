// Reads what `git diff-tree -r -z --raw --no-abbrev --no-renames` lists: exact changes, with paths as raw bytes.
// A listing that is cut short or not understood is refused with an error, never read in part.

export interface RawChange {
  path: Buffer;
  oldMode: string;
  newMode: string;
  oldOid: string;
  newOid: string;
  status: 'A' | 'M' | 'D' | 'T';
}

/** What begins a change; a commit's id does not begin so. */
const COLON = 0x3a;

/** The changes of one diff. */
export function parseRawDiff(output: Buffer): RawChange[] {
  const changes: RawChange[] = [];
  for (let at = 0; at < output.length; ) {
    const { change, next } = changeAt(output, at);
    changes.push(change);
    at = next;
  }
  return changes;
}

/** With `--stdin --always`: the changes of each commit, by its id. */
export function parseRawDiffs(output: Buffer): Map<string, RawChange[]> {
  const byCommit = new Map<string, RawChange[]>();
  let current: RawChange[] = [];
  for (let at = 0; at < output.length; ) {
    if (output[at] === COLON) {
      const { change, next } = changeAt(output, at);
      current.push(change);
      at = next;
      continue;
    }
    const commit = field(output, at);
    const oid = commit.bytes.toString('latin1');
    current = byCommit.get(oid) ?? [];
    byCommit.set(oid, current);
    at = commit.next;
  }
  return byCommit;
}

function changeAt(output: Buffer, at: number): { change: RawChange; next: number } {
  const head = field(output, at);
  const path = field(output, head.next);
  const text = head.bytes.toString('latin1');
  const [oldMode = '', newMode = '', oldOid = '', newOid = '', status = ''] = text.slice(1).split(' ');
  if (status !== 'A' && status !== 'M' && status !== 'D' && status !== 'T') {
    throw new Error(`git diff-tree gave an entry that is not understood: ${text}`);
  }
  return { change: { path: path.bytes, oldMode, newMode, oldOid, newOid, status }, next: path.next };
}

/** The bytes from `at` to the next NUL, and where what follows it begins. */
export function field(output: Buffer, at: number): { bytes: Buffer; next: number } {
  const end = output.indexOf(0, at);
  if (end < 0) throw new Error('git gave an incomplete listing');
  return { bytes: output.subarray(at, end), next: end + 1 };
}
