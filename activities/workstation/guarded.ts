// Reading what an agent can write: it may be a link, a pipe or endless.

import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** The beginning of a regular file, at most so many bytes; undefined when there is none. Links are not followed. */
export async function bytesOf(path: string, most: number): Promise<Buffer | undefined> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(() => undefined);
  if (!file) return undefined;
  try {
    const stat = await file.stat();
    if (!stat.isFile()) return undefined;
    const buffer = Buffer.alloc(Math.min(most, stat.size));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
