// How long a question to the coordinator may take, judged by who polls for it. Temporal keeps a question that no worker
// takes until its time is up; and it lists a worker for minutes after the worker's end, so a list is a hint and no proof.
// The hint decides how long to wait, never whether to ask: clocks differ, process ids are used again, and of a queue with
// many partitions Temporal lists the root alone.

import { hostname } from 'node:os';

/** A worker that polls; the last time that it began to wait for work. */
export interface Poller {
  /** `pid@host`, as Temporal's SDKs name themselves, or `pid-more@host`. */
  identity: string;
  seenMsAgo: number;
}

/** `gone`: there seems to be no worker. */
export interface Patience {
  ms: number;
  gone: boolean;
}

/** A poll lasts a minute: a live worker was seen since. */
const GONE_MS = 70_000;
/** After a worker's sudden end the next one is asked only when ten seconds have passed. */
const TAKE_OVER_MS = 12_000;
/** On a busy machine an answer takes seconds. */
const ANSWER_MS = 10_000;
/** For the case that the hint is wrong. */
const IN_CASE_MS = 1_500;

/** `runs` tells whether a process of this host is alive. */
export function patienceWith(pollers: readonly Poller[], runs = isAlive): Patience {
  const live = pollers.filter(
    ({ identity, seenMsAgo }) => seenMsAgo <= GONE_MS && !hasEndedHere(identity, runs),
  );
  if (live.length === 0) return { ms: IN_CASE_MS, gone: true };
  const settled = live.every(({ seenMsAgo }) => seenMsAgo > TAKE_OVER_MS);
  return { ms: settled ? ANSWER_MS : TAKE_OVER_MS + ANSWER_MS, gone: false };
}

function hasEndedHere(identity: string, runs: (pid: number) => boolean): boolean {
  const [, pid, host] = /^(\d+)(?:-[^@]*)?@(.+)$/.exec(identity) ?? [];
  return pid !== undefined && host === hostname() && !runs(Number(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
