// What decisions tell afterwards: the story of one task in plain words, and which claims all tasks waited for most.

import { describe, expect, test } from 'vitest';
import { printContention } from '../src/cli/contention.js';
import { type Contender, contentionOf } from '../src/domain/contention.js';
import type { Decision } from '../src/domain/messages.js';
import { changedPaths, type Packet } from '../src/domain/packet.js';
import type { Evidence, ReasonCode } from '../src/domain/reasons.js';
import { tellStory } from '../src/domain/story.js';
import { storyOf } from '../src/domain/views.js';
import { Box } from './support/box.js';

const T0 = Date.UTC(2026, 0, 2, 3, 4, 5);
let seq = 0;
const said = (
  seconds: number,
  verdict: Decision['verdict'],
  code: ReasonCode,
  evidence: Evidence = {},
  attempt = 1,
): Decision => ({ seq: ++seq, at: T0 + seconds * 1_000, attempt, verdict, code, evidence });

describe('a story', () => {
  test('has a line for every decision in order, with how long each wait took and what ran beside', () => {
    seq = 0;
    const beside = [
      { task: 'p/x', why: 'disjoint claims' as const },
      { task: 'p/y', why: 'read-only' as const },
    ];
    const lines = tellStory([
      said(0, 'hold', 'PATH_HELD', { path: 'src/a', held: 'src', holder: 'p/x' }),
      said(90, 'run', 'CLAIMS_FREE', { beside, besideMore: 3 }),
      said(95, 'note', 'EDGE_ADDED', { upstream: 'q/z', state: 'landed', by: 'ann' }),
      said(100, 'retry', 'AGENT_FAILED', { text: 'exit 1', duration: 10_000, attempt: 2 }),
      said(110, 'run', 'CLAIMS_FREE', { beside: [] }, 2),
      said(120, 'land', 'COMMITS_READY', { commit: 'abc' }, 2),
      said(125, 'end', 'LANDED', { commit: 'def' }, 2),
    ]);
    expect(lines).toEqual([
      '2026-01-02 03:04:05  #1  waits: src/a overlaps src, held by p/x (for 1m 30s) [PATH_HELD]',
      '2026-01-02 03:05:35  #2  attempt 1 starts: nothing it writes is held by another task [CLAIMS_FREE]',
      '                     beside p/x: safe, disjoint claims',
      '                     beside p/y: safe, read-only',
      '                     and beside 3 more',
      '2026-01-02 03:05:40  #3  note: ann found that it depends on q/z: whatever has not begun yet waits until that has landed [EDGE_ADDED]',
      '2026-01-02 03:05:45  #4  attempt 1 came to nothing, the next follows in 10s: the agent failed: exit 1 [AGENT_FAILED]',
      '2026-01-02 03:05:55  #5  attempt 2 starts: nothing it writes is held by another task [CLAIMS_FREE]',
      '                     nothing ran beside it',
      '2026-01-02 03:06:05  #6  attempt 2 lands: its agent has ended with commits up to abc, handed to the writer [COMMITS_READY]',
      '2026-01-02 03:06:10  #7  ends: as commit def [LANDED]',
    ]);
  });

  test('counts a wait that is not over up to now, notes in between or not', () => {
    const hold = said(0, 'hold', 'CEILING_REACHED', { limit: 1 });
    const note = said(5, 'note', 'EDGE_ADDED', { upstream: 'q/z', state: 'landed' });
    expect(tellStory([hold, note], T0 + 60_000)[0]).toContain('(for 1m)');
    expect(tellStory([hold, note, said(30, 'run', 'READ_ONLY')])[0]).toContain('(for 30s)');
    expect(tellStory([hold])[0]).not.toContain('(for');
  });

  test('is told of what decide really decided: every decision with a number, a reason, and at a grant who ran beside', () => {
    const box = new Box();
    box.writes('s/a', ['src']);
    box.reads('s/r');
    box.writes('s/b', ['src/x']);
    box.commits('s/a');
    box.lands('s/a');
    const story = storyOf(box.state, 's/b', box.now);
    const lines = tellStory(story?.decisions ?? [], story?.asOf);
    expect(lines[0]).toContain('waits: src/x overlaps src, held by s/a');
    expect(lines.at(-1)).toContain('beside s/r: safe, read-only');
    const numbers = box.taken.map((one) => one.seq);
    expect(numbers).toEqual([...numbers].sort((x, y) => x - y));
    expect(new Set(numbers).size).toBe(numbers.length);
  });
});

describe('contention', () => {
  const waiter = (
    task: string,
    from: number,
    to: number,
    held: string,
    holder: string,
    path: string,
    changed?: string[],
  ): Contender => ({
    task,
    decisions: [said(from, 'hold', 'PATH_HELD', { held, holder, path }), said(to, 'run', 'CLAIMS_FREE')],
    ...(changed ? { changed } : {}),
  });
  const holder = (task: string, changed: string[]): Contender => ({ task, decisions: [], changed });

  test('sums the waits for each claim: total, longest, by whom and who held, most waited for first', () => {
    const found = contentionOf(
      [
        waiter('p/b', 0, 10, 'lib', 'p/a', 'lib/x'),
        waiter('p/c', 0, 60, 'src', 'p/a', 'src/x'),
        waiter('p/d', 0, 30, 'src', 'p/e', 'src/y'),
        {
          task: 'p/live',
          decisions: [said(0, 'hold', 'PATH_HELD', { held: 'lib', holder: 'p/a', path: 'lib/z' })],
        },
        {
          task: 'p/r',
          decisions: [
            said(0, 'hold', 'RESOURCE_HELD', { resource: 'db:x', holder: 'p/a', holders: ['p/a'] }),
            said(5, 'run', 'CLAIMS_FREE'),
          ],
        },
        {
          task: 'p/other',
          decisions: [said(0, 'hold', 'CEILING_REACHED', { limit: 1 }), said(500, 'run', 'READ_ONLY')],
        },
      ],
      T0 + 20_000,
    );
    expect(found.map(({ claim, kind, waits, totalMs }) => [claim, kind, waits, totalMs])).toEqual([
      ['src', 'path', 2, 90_000],
      ['lib', 'path', 2, 30_000],
      ['db:x', 'resource', 1, 5_000],
    ]);
    expect(found[0]).toMatchObject({
      by: ['p/c', 'p/d'],
      held: ['p/a', 'p/e'],
      longest: { task: 'p/c', ms: 60_000 },
    });
    expect(found.map(({ avoidableMs }) => avoidableMs)).toEqual([0, 0, 0]);
  });

  test('tells what claims of the files really changed would have saved, and which files those are', () => {
    const found = contentionOf(
      [
        holder('p/a', ['src/one.ts', 'docs/x.md']),
        waiter('p/b', 0, 40, 'src', 'p/a', 'src', ['src/two.ts']),
        waiter('p/c', 0, 20, 'src', 'p/a', 'src', ['src/one.ts', 'src/three.ts']),
        waiter('p/d', 0, 10, 'src', 'p/a', 'src/one.ts'),
      ],
      T0,
    );
    expect(found).toMatchObject([
      { claim: 'src', totalMs: 70_000, avoidableMs: 40_000, split: ['src/one.ts'] },
    ]);
    const [header, row, , split] = printContention(found).split('\n');
    expect(header).toMatch(/^CLAIM +WAITED +LONGEST +WAITING +HELD BY +A SPLIT SAVES$/);
    expect(row).toMatch(/^src +1m 10s +40s by p\/b +p\/b, p\/c and 1 more +p\/a +at most 40s$/);
    expect(split).toBe('instead of src its holders could have claimed: src/one.ts');
  });

  test('needs to know what the holder changed: without that nothing is promised', () => {
    const [found] = contentionOf([waiter('p/b', 0, 40, 'src', 'p/a', 'src', ['src/two.ts'])], T0);
    expect([found?.avoidableMs, found?.split]).toEqual([0, undefined]);
    expect(printContention([])).toBe('nobody has waited for a claim or a resource');
  });

  test('takes the changed files from the packet, unless that does not list them all', () => {
    const attempt = { attempt: 1, fence: { epoch: 1, number: 1 }, started: '' };
    const packet = (attempts: Packet['attempts']) => ({ attempts }) as Packet;
    const first = { ...attempt, changes: ['M src/a', 'A b c'] };
    expect(changedPaths(packet([first, { ...attempt, changes: ['D src/a', 'M d'] }]))).toEqual([
      'b c',
      'd',
      'src/a',
    ]);
    expect(changedPaths(packet([{ ...first, changesMore: 1 }]))).toBeUndefined();
    expect(changedPaths(packet([attempt]))).toBeUndefined();
  });
});
