// audit(): finds each violation in packets and ledger that were doctored, and none in a good set.

import { describe, expect, test } from 'vitest';
import { type AuditInput, audit } from '../src/domain/audit.js';
import type { LedgerEntry } from '../src/domain/ledger.js';
import type { Decision, Outcome } from '../src/domain/messages.js';
import type { Packet } from '../src/domain/packet.js';

const PLACES: AuditInput['places'] = {
  roles: { dev: { repository: 'app', maxRunning: 2 }, site: { repository: 'web', maxRunning: 2 } },
  repositories: { app: { caseInsensitive: false }, web: { caseInsensitive: true } },
  defaultRepository: 'app',
};

type Step = [
  seq: number,
  verdict: Decision['verdict'],
  code: Decision['code'],
  evidence?: Decision['evidence'],
];

const fence = (number: number) => ({ epoch: 1, number });

function packet(task: string, writes: string[], steps: Step[], more: Partial<Packet> = {}): Packet {
  const [, , code] = steps.at(-1) ?? [0, 'end', 'LANDED'];
  const kinds: Partial<Record<Decision['code'], Outcome['kind']>> = {
    LANDED: 'landed',
    FINISHED: 'finished',
  };
  const kind = kinds[code] ?? 'cancelled';
  const fences = steps.filter(([, verdict]) => verdict === 'run').map(([seq]) => fence(seq));
  return {
    version: 1,
    task,
    fleet: 'f',
    life: '1.run',
    ...(writes.length > 0 ? { role: 'dev' } : {}),
    writes,
    reads: [],
    after: [],
    outcome: { kind, code, text: '', ...(kind === 'landed' ? { commit: `c-${task}` } : {}) },
    attempts: fences.map((one, i) => ({ attempt: i + 1, fence: one, started: '' })),
    decisions: steps.map(([seq, verdict, reason, evidence = {}]) => ({
      seq,
      at: seq,
      attempt: 1,
      verdict,
      code: reason,
      evidence,
    })),
    beside: [],
    ...more,
  };
}

const landedEntry = (number: number, task: string, seq: number): LedgerEntry => ({
  number,
  kind: 'landed',
  landing: `${task}#1.${seq}`,
  task,
  fence: fence(seq),
  from: 'x',
  to: `c-${task}`,
});

/** a and b one after the other on the same path, c beside them, r read-only after a. */
const good = (): AuditInput => ({
  submitted: ['p/a', 'p/b', 'p/c', 'p/r'],
  packets: [
    packet(
      'p/a',
      ['src'],
      [
        [1, 'run', 'CLAIMS_FREE'],
        [4, 'land', 'COMMITS_READY'],
        [5, 'end', 'LANDED'],
      ],
    ),
    packet(
      'p/b',
      ['src/x'],
      [
        [2, 'hold', 'PATH_HELD'],
        [6, 'run', 'CLAIMS_FREE'],
        [8, 'land', 'COMMITS_READY'],
        [11, 'end', 'LANDED'],
      ],
    ),
    packet(
      'p/c',
      ['docs'],
      [
        [3, 'run', 'CLAIMS_FREE'],
        [9, 'cancel', 'CANCELLED_BY_REQUEST'],
        [10, 'cancel', 'CANCELLED_BY_REQUEST'],
      ],
    ),
    packet(
      'p/r',
      [],
      [
        [7, 'run', 'READ_ONLY'],
        [12, 'end', 'FINISHED'],
      ],
      { after: [{ task: 'p/a' }] },
    ),
  ],
  ledger: [landedEntry(1, 'p/a', 1), landedEntry(2, 'p/b', 6)],
  ceiling: 3,
  maxRunning: { dev: 2 },
  places: PLACES,
});

const named = (input: AuditInput, task: string): Packet => {
  const found = input.packets.find((one) => one.task === task);
  if (!found) throw new Error(task);
  return found;
};

function doctored(change: (input: AuditInput) => void): string[] {
  const input = good();
  change(input);
  return audit(input);
}

describe('audit', () => {
  test('a good set has nothing to say', () => expect(audit(good())).toEqual([]));

  test('a task without a packet', () => {
    expect(doctored((input) => input.submitted.push('p/z'))).toEqual([
      'p/z has no change packet, so no outcome',
    ]);
  });

  test('an outcome without a reason', () => {
    const found = doctored((input) => {
      named(input, 'p/c').outcome.code = '' as Decision['code'];
    });
    expect(found).toEqual(['p/c ended without a reason code']);
  });

  test('two outcomes of one life; two lives have two', () => {
    const twice = (life: string) => (input: AuditInput) =>
      input.packets.push(packet('p/c', ['docs'], [[13, 'cancel', 'CANCELLED_BY_REQUEST']], { life }));
    expect(doctored(twice('1.run'))).toEqual(['p/c has more than one outcome']);
    expect(doctored(twice('2.run'))).toEqual([]);
  });

  test('overlapping claims held at the same time', () => {
    const found = doctored((input) => {
      named(input, 'p/c').writes = ['src/x/y'];
    });
    expect(found).toEqual([
      'p/a and p/c held overlapping claims at the same time',
      'p/b and p/c held overlapping claims at the same time',
    ]);
  });

  test('claims of two repositories never overlap, unless one names the other; names compare as the repository says', () => {
    const clash = (one: string, other: string, role = 'site') =>
      doctored((input) => {
        named(input, 'p/a').writes = [one];
        Object.assign(named(input, 'p/c'), { writes: [other], role });
      }).length;
    expect(clash('x', 'x')).toBe(0);
    expect(clash('x', 'x', 'dev')).toBe(1);
    expect(clash('web:x', 'x')).toBe(1);
    expect(clash('x', 'app:x/y')).toBe(1);
    expect(clash('web:X', 'x')).toBe(1);
    expect(clash('X', 'app:x')).toBe(0);
  });

  test('paths that a task was started again for are held from its next grant on', () => {
    const again = (granted: number) =>
      audit({
        submitted: [],
        packets: [
          packet(
            'p/a',
            ['a', 'b'],
            [
              [1, 'run', 'CLAIMS_FREE'],
              [3, 'retry', 'EXTENSION_RETRIED', { paths: ['b'] }],
              [granted, 'run', 'CLAIMS_FREE'],
              [9, 'cancel', 'CANCELLED_BY_REQUEST'],
            ],
          ),
          packet(
            'p/b',
            ['b'],
            [
              [2, 'run', 'CLAIMS_FREE'],
              [5, 'cancel', 'CANCELLED_BY_REQUEST'],
            ],
          ),
        ],
        ledger: [],
        ceiling: 9,
        maxRunning: {},
        places: PLACES,
      });
    expect(again(6)).toEqual([]);
    expect(again(4)).toEqual(['p/a and p/b held overlapping claims at the same time']);
  });

  test('a claim that was lost and granted anew is no overlap, one kept through a retry is', () => {
    const retried = (code: Decision['code']) =>
      audit({
        submitted: ['p/a', 'p/b'],
        packets: [
          packet(
            'p/a',
            ['src'],
            [
              [1, 'run', 'CLAIMS_FREE'],
              [2, 'retry', code, { duration: 1 }],
              [5, 'run', 'CLAIMS_FREE'],
              [6, 'cancel', 'CANCELLED_BY_REQUEST'],
            ],
          ),
          packet(
            'p/b',
            ['src'],
            [
              [3, 'run', 'CLAIMS_FREE'],
              [4, 'cancel', 'CANCELLED_BY_REQUEST'],
            ],
          ),
        ],
        ledger: [],
        ceiling: 3,
        maxRunning: {},
        places: PLACES,
      });
    expect(retried('CLAIM_EXPIRED')).toEqual([]);
    expect(retried('AGENT_FAILED')).toEqual(['p/a and p/b held overlapping claims at the same time']);
  });

  test('a task that was stopped on demand keeps its claims until it is over, and no longer', () => {
    const found = (runs: number) =>
      audit({
        ...good(),
        submitted: ['p/a', 'p/b'],
        ledger: [],
        packets: [
          packet(
            'p/a',
            ['a'],
            [
              [1, 'run', 'CLAIMS_FREE'],
              [2, 'retry', 'ASSUMPTION_BROKEN'],
              [4, 'retry', 'ASSUMPTION_BROKEN', { duration: 0 }],
              [9, 'cancel', 'CANCELLED_BY_REQUEST'],
            ],
          ),
          packet(
            'p/b',
            ['a'],
            [
              [runs, 'run', 'CLAIMS_FREE'],
              [8, 'cancel', 'CANCELLED_BY_REQUEST'],
            ],
          ),
        ],
      });
    expect(found(3)).toEqual(['p/a and p/b held overlapping claims at the same time']);
    expect(found(5)).toEqual([]);
  });

  test('a task that ran before its upstream had ended, or though it was cancelled', () => {
    const early = doctored((input) => {
      named(input, 'p/r').after = [{ task: 'p/b' }];
    });
    expect(early).toEqual(['p/r ran before p/b had ended']);
    const despite = doctored((input) => {
      named(input, 'p/r').after = [{ task: 'p/c' }];
    });
    expect(despite).toEqual(['p/r ran though p/c was cancelled']);
  });

  test('an upstream that was reset: its second life counts', () => {
    const found = doctored((input) => {
      input.packets.push(packet('p/a', [], [[0, 'cancel', 'TERMINATED']], { life: '0.run', attempts: [] }));
    });
    expect(found).toEqual([]);
  });

  test('more at once than the ceiling or the role allows', () => {
    expect(doctored((input) => Object.assign(input, { ceiling: 2 }))).toEqual([
      '3 agents ran at once, more than the ceiling of 2',
    ]);
    expect(doctored((input) => Object.assign(input, { maxRunning: { dev: 1 } }))).toEqual([
      '2 agents of role dev ran at once, more than 1',
    ]);
  });

  test('an agent that is told to stop still counts until it has', () => {
    const told = (evidence: object) =>
      audit({
        submitted: [],
        packets: [
          packet(
            'p/a',
            [],
            [
              [1, 'run', 'READ_ONLY'],
              [2, 'retry', 'CLAIM_EXPIRED', evidence],
              [9, 'end', 'FINISHED'],
            ],
          ),
          packet(
            'p/b',
            [],
            [
              [3, 'run', 'READ_ONLY'],
              [4, 'end', 'FINISHED'],
            ],
          ),
        ],
        ledger: [],
        ceiling: 1,
        maxRunning: {},
        places: PLACES,
      });
    expect(told({})).toHaveLength(1);
    expect(told({ duration: 1_000 })).toEqual([]);
  });

  test('a gap in the ledger, and a landing that is there twice', () => {
    expect(doctored((input) => Object.assign(input.ledger[1] ?? {}, { number: 3 }))).toEqual([
      'ledger entry 3 stands at place 2',
    ]);
    expect(doctored((input) => input.ledger.push(landedEntry(3, 'p/b', 6)))).toEqual([
      'p/b#1.6 landed twice',
    ]);
  });

  test('a landing that the ledger does not know, or knows as another commit', () => {
    expect(doctored((input) => input.ledger.pop())).toEqual([
      'p/b landed, but the ledger has 0 entries for it',
    ]);
    expect(doctored((input) => Object.assign(input.ledger[1] ?? {}, { to: 'other' }))).toEqual([
      'p/b landed as c-p/b, the ledger says other',
    ]);
  });

  test('two landings of one task under two fences', () => {
    const found = doctored((input) => {
      named(input, 'p/b').attempts.push({ attempt: 2, fence: fence(7), started: '' });
      input.ledger.push(landedEntry(3, 'p/b', 7));
    });
    expect(found).toEqual(['p/b landed, but the ledger has 2 entries for it']);
  });

  test('a landing of a task that says it was cancelled, unless it was rolled back', () => {
    const landed = (input: AuditInput) => {
      input.ledger.push(landedEntry(3, 'p/c', 3));
    };
    expect(doctored(landed)).toEqual(['p/c cancelled, but the ledger says that it landed']);
    const back = doctored((input) => {
      landed(input);
      input.ledger.push({ ...landedEntry(4, 'p/c', 3), kind: 'rolled-back' });
    });
    expect(back).toEqual([]);
  });
});

describe('claims that change while a task runs', () => {
  const pair = (a: Packet, b: Packet): AuditInput => ({
    ...good(),
    submitted: [],
    packets: [a, b],
    ledger: [],
  });
  const clash = ['p/a and p/b held overlapping claims at the same time'];
  const ends = (seq: number): Step => [seq, 'cancel', 'CANCELLED_BY_REQUEST'];

  test('count from the extension on, and until they are given back', () => {
    const extended = packet(
      'p/a',
      ['src', 'docs'],
      [[1, 'run', 'CLAIMS_FREE'], [5, 'note', 'EXTENDED', { paths: ['docs'] }], ends(9)],
    );
    const holds = (from: number, to: number) =>
      packet('p/b', ['docs'], [[from, 'run', 'CLAIMS_FREE'], ends(to)]);
    expect(audit(pair(extended, holds(2, 4)))).toEqual([]);
    expect(audit(pair(extended, holds(2, 6)))).toEqual(clash);
    const gave = packet(
      'p/a',
      ['src'],
      [[1, 'run', 'CLAIMS_FREE'], [5, 'note', 'GIVEN_BACK', { paths: ['docs'] }], ends(9)],
    );
    expect(audit(pair(gave, holds(6, 8)))).toEqual([]);
    expect(audit(pair(gave, holds(4, 8)))).toEqual(clash);
  });

  test('that a task starts again with count from the next grant on', () => {
    const again = packet(
      'p/a',
      ['src', 'docs'],
      [
        [1, 'run', 'CLAIMS_FREE'],
        [3, 'retry', 'EXTENSION_RETRIED', { paths: ['docs'] }],
        [4, 'retry', 'EXTENSION_RETRIED', { paths: ['docs'], duration: 0 }],
        [8, 'run', 'CLAIMS_FREE'],
        ends(9),
      ],
    );
    expect(audit(pair(again, packet('p/b', ['docs'], [[2, 'run', 'CLAIMS_FREE'], ends(7)])))).toEqual([]);
    expect(audit(pair(again, packet('p/b', ['docs'], [[2, 'run', 'CLAIMS_FREE'], ends(8)])))).toEqual(clash);
  });
});
