// An agent's way to its fleet: requests left as files in its workstation, answered by its worker. The other side is
// activities/requests.ts.

import { randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClaimAnswer } from '../domain/own-claims.js';

const LOOK_MS = 100;

export interface DeskRequest {
  do: 'extend' | 'release';
  paths: string[];
  wait: boolean;
}

/** Snapshots of peers are to be made anew; all when none is named. */
export interface RefreshRequest {
  do: 'refresh';
  names: string[];
}

export interface AskOptions {
  /** Aborted: go without. */
  signal?: AbortSignal;
  /** Called when it is known whom the request waits for, and when that changes. */
  onWait?: (answer: ClaimAnswer) => void;
}

/** The folder of the agent's requests; undefined when this is no workstation. */
export const deskDir = (): string | undefined => process.env.SIGNALBOX_REQUESTS || undefined;

/** The folder of the answers, which the agent can only read. */
const answersDir = (): string => process.env.SIGNALBOX_ANSWERS || '';

/** Resolves with the answer that is the last one. */
export async function askAtDesk(
  dir: string,
  request: DeskRequest | RefreshRequest,
  options: AskOptions = {},
): Promise<ClaimAnswer> {
  const name = randomUUID();
  const file = join(dir, `${name}.request.json`);
  await writeFile(`${file}.tmp`, JSON.stringify(request));
  await rename(`${file}.tmp`, file);
  return await lastAnswer(
    async () => {
      const text = await readFile(join(answersDir(), `${name}.answer.json`), 'utf8').catch(() => undefined);
      return text === undefined ? undefined : (JSON.parse(text) as ClaimAnswer);
    },
    () => rm(file, { force: true }),
    LOOK_MS,
    options,
  );
}

/** Looks again and again; going without is an answer too. */
export async function lastAnswer(
  look: () => Promise<ClaimAnswer | undefined>,
  goWithout: () => Promise<void>,
  ms: number,
  { signal, onWait }: AskOptions,
): Promise<ClaimAnswer> {
  let shown = '';
  for (;;) {
    const answer = await look();
    if (answer && answer.answer !== 'asked' && answer.answer !== 'waiting') return answer;
    if (answer?.answer === 'waiting' && answer.text !== shown) onWait?.(answer);
    shown = answer?.text ?? shown;
    if (signal?.aborted) {
      await goWithout();
      return { answer: 'refused', text: 'it goes without', writes: answer?.writes ?? [] };
    }
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
}
