// Which files of a snapshot hold a secret, as far as secretlint knows: the second layer behind the exclude list. What cannot
// be searched within its time counts as if something had been found.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { badKind } from '../src/domain/peering.js';
import type { Exclude } from '../src/domain/peering-excludes.js';
import { builtScript } from './built-script.js';

export interface SearchTimes {
  /** For one file, or some small ones together. */
  stepMs: number;
  /** For all of it. */
  totalMs: number;
}

const TIMES: SearchTimes = { stepMs: 20_000, totalMs: 180_000 };

const MEMORY_MB = 512;

const Line = z.union([
  z.strictObject({ at: z.tuple([z.int().min(0), z.int().min(1)]) }),
  z.strictObject({ file: z.int().min(0), rule: z.string().max(200) }),
  z.strictObject({ done: z.literal(true) }),
]);

/** The files (paths in the folder) that may not be seen, with the reason. */
export async function searchSecrets(
  folder: string,
  files: readonly string[],
  times: SearchTimes = TIMES,
): Promise<Map<string, Exclude>> {
  const found = new Map<string, Exclude>();
  const end = Date.now() + times.totalMs;
  let rest = files;
  let oneByOne = 0;
  while (rest.length > 0) {
    const left = end - Date.now();
    if (left <= 0) {
      for (const path of rest) found.set(path, badKind('not searched'));
      break;
    }
    const now = oneByOne > 0 ? rest.slice(0, oneByOne) : rest;
    const stuck = await run(folder, now, oneByOne > 0, { stepMs: Math.min(times.stepMs, left) }, found);
    if (!stuck) {
      rest = rest.slice(now.length);
      oneByOne = 0;
      continue;
    }
    const [from, to] = stuck;
    const file = now[from];
    if (file !== undefined && to - from === 1) {
      found.set(file, badKind('not searched'));
      rest = rest.slice(to);
      oneByOne = Math.max(0, oneByOne - to);
    } else {
      rest = rest.slice(from);
      oneByOne = to - from;
    }
  }
  return found;
}

/** Searches until all is done (undefined), or until it does not get on: then with which files. */
async function run(
  folder: string,
  files: readonly string[],
  oneByOne: boolean,
  { stepMs }: Pick<SearchTimes, 'stepMs'>,
  found: Map<string, Exclude>,
): Promise<[number, number] | undefined> {
  const searcher = builtScript('secret-searcher');
  const args = [`--max-old-space-size=${MEMORY_MB}`, searcher, folder, oneByOne ? 'one-by-one' : 'together'];
  const child = spawn(process.execPath, args, { env: {}, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => undefined);
  child.stdin.end(JSON.stringify(files));
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('utf8')).slice(-2_000);
  });
  const ended = new Promise<Error | undefined>((resolve) => {
    child.once('error', resolve);
    child.once('close', () => resolve(undefined));
  });
  let at: [number, number] | undefined;
  let done = false;
  const stop = () => child.kill('SIGKILL');
  let timer = setTimeout(stop, stepMs);
  try {
    for await (const text of createInterface({ input: child.stdout })) {
      clearTimeout(timer);
      timer = setTimeout(stop, stepMs);
      const line = Line.parse(JSON.parse(text));
      if ('at' in line) at = line.at;
      else if ('done' in line) done = true;
      else {
        const path = files[line.file];
        const { pattern, reason } = badKind('secret');
        if (path !== undefined) found.set(path, { pattern, reason: `${reason}: ${line.rule}` });
      }
    }
  } finally {
    clearTimeout(timer);
    if (!done) stop();
  }
  const error = await ended;
  if (done) return undefined;
  if (at) return at;
  throw new Error(`the search for secrets does not start: ${error?.message ?? (said || 'it says nothing')}`);
}
