// Claims that were released, as the change packets tell of them.

import { fenceText } from './fence.js';
import type { Outcome } from './messages.js';
import type { Packet } from './packet.js';
import { useText } from './resources.js';

/** One line of `signalbox claims --released`. */
export interface ReleasedClaim {
  holder: string;
  outcome: Outcome['kind'];
  code: Outcome['code'];
  /** What landed under it. */
  commit?: string;
  /** When it was granted first, or taken over, and when its task ended, in milliseconds since the epoch. */
  since: number;
  until: number;
  /** That of its last grant. */
  fence?: string;
  /** As claimed at the end: with what was extended, without what was given back. */
  paths: string[];
  uses: string[];
}

/** What the task held until it ended; undefined when it claims nothing, or never ran. */
export function releasedClaim({
  task,
  writes,
  uses,
  outcome,
  attempts,
  decisions,
}: Packet): ReleasedClaim | undefined {
  const granted = decisions.find(({ verdict, code }) => verdict === 'run' || code === 'TAKEN_OVER');
  const ended = decisions.at(-1);
  if ((writes.length === 0 && !uses?.length) || !granted || !ended) return undefined;
  const fence = attempts.at(-1)?.fence;
  return {
    holder: task,
    outcome: outcome.kind,
    code: outcome.code,
    ...(outcome.commit === undefined ? {} : { commit: outcome.commit }),
    since: granted.at,
    until: ended.at,
    ...(fence ? { fence: fenceText(fence) } : {}),
    paths: writes,
    uses: (uses ?? []).map(useText),
  };
}
