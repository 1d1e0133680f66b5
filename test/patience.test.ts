// How long a question to the coordinator may take: long while a worker may be taking over, short when none is left.

import { hostname } from 'node:os';
import { describe, expect, test } from 'vitest';
import { type Poller, patienceWith } from '../src/client/patience.js';

const [here, elsewhere] = [hostname(), 'another-host'];
const poller = (identity: string, secondsAgo: number): Poller => ({
  identity,
  seenMsAgo: secondsAgo * 1_000,
});
/** Of this host, process 1 is alive. */
const look = (...pollers: Poller[]) => patienceWith(pollers, (pid) => pid === 1);

describe('a question is given', () => {
  test.each<[string, Poller[], { gone: boolean; least: number; most: number }]>([
    ['an instant when nobody polls', [], { gone: true, least: 500, most: 2_000 }],
    [
      'an instant when everybody was last seen longer ago than a poll lasts',
      [poller(`1@${here}`, 71), poller(`7@${elsewhere}`, 200)],
      { gone: true, least: 500, most: 2_000 },
    ],
    [
      'an instant when the processes on this host have ended',
      [poller(`2@${here}`, 1), poller(`3-5f2e@${here}`, 30)],
      { gone: true, least: 500, most: 2_000 },
    ],
    [
      'seconds while a worker polls as it has for long',
      [poller(`1-5f2e@${here}`, 50), poller(`2@${here}`, 1)],
      { gone: false, least: 9_000, most: 11_000 },
    ],
    [
      'the time of a take-over while a worker may be a new one',
      [poller(`1@${here}`, 3), poller(`2@${here}`, 20)],
      { gone: false, least: 20_000, most: 23_000 },
    ],
    [
      'the time of a take-over while a worker elsewhere was just seen, dead or not',
      [poller(`2@${elsewhere}`, 0)],
      { gone: false, least: 20_000, most: 23_000 },
    ],
    [
      'time when the name does not tell the process',
      [poller('worker-of-ann', 0)],
      { gone: false, least: 20_000, most: 23_000 },
    ],
  ])('%s', (_name, pollers, { gone, least, most }) => {
    const patience = look(...pollers);
    expect(patience.gone).toBe(gone);
    expect(patience.ms).toBeGreaterThanOrEqual(least);
    expect(patience.ms).toBeLessThanOrEqual(most);
  });
});
