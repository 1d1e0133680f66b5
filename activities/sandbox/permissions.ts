// Which of the host's files agents may read, where they have user ids of their own.

import { statSync } from 'node:fs';
import { dirname } from 'node:path';

/** Whether an agent may read what is at a path itself; how it gets there is another matter, see hiddenOf. */
export function isOpen(path: string): boolean {
  if (process.getuid?.() !== 0) return true;
  const stat = statSync(path);
  const needed = stat.isDirectory() ? 0o005 : 0o004;
  return (stat.mode & needed) === needed;
}

/** Whether anybody may go through all folders on the way to a path, and read what is there. */
export function isReachable(path: string): boolean {
  if (!isOpen(path)) return false;
  for (let at = path; at !== dirname(at); ) {
    at = dirname(at);
    if ((statSync(at).mode & 0o001) === 0) return false;
  }
  return true;
}
