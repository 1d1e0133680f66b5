// What the Web UI shows of an output, and the pieces in which a host gives its logs away.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { outputFile } from '../activities/output.js';
import { redactor } from '../activities/redactor.js';
import { logPath, logsIn, readLog } from '../src/client/logs.js';
import { LOG_START, type LogPlace, LogRequest, shownTail } from '../src/domain/log-reading.js';
import type { TaskFacts } from '../src/domain/messages.js';
import { taskPage } from '../src/domain/task-page.js';
import { runs } from './support/runs.js';

const home = mkdtempSync(join(tmpdir(), 'signalbox-reading-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

const ESC = '\u001b';

describe('the last lines of an output', () => {
  test.each([
    ['', ''],
    ['one\ntwo\n\n', 'one\ntwo'],
    [`${ESC}[1;31mred${ESC}[m and ${ESC}]0;owned\u0007plain`, 'red and plain'],
    [`${ESC}]8;;http://evil${ESC}\\text${ESC}]8;;${ESC}\\`, 'text'],
    ['\u009b2J\u202eabc\u0000\b', 'abc'],
    [' 10%\r 50%\r100%\r\ndone\r\n', '100%\ndone'],
    ['\ufffd cut\nwhole', ' cut\nwhole'],
  ])('%j are %j', (output, shown) => expect(shownTail(output, 1_000)).toBe(shown));

  test('are whole lines, as many as fit', () => {
    expect(shownTail('aaaa\nbbbb\ncccc', 9)).toBe('bbbb\ncccc');
    expect(shownTail('aaaa\nbbbb\ncccc', 8)).toBe('cccc');
    expect(shownTail('aaaa\nüüüü', 8)).toBe('üüüü');
    expect(shownTail('the very long line', 4)).toBe('line');
    expect(shownTail('日本語', 6)).toBe('本語');
  });

  test('never are more than asked for, nor anything but text', () => {
    const piece = fc.constantFrom(
      ESC,
      '[',
      ']',
      '3',
      ';',
      'm',
      '\u009b',
      'ü',
      '\u0007',
      '\n',
      '\r',
      '日',
      '🚂',
      'x',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 200 }), fc.integer({ min: 4, max: 60 }), (pieces, most) => {
        const shown = shownTail(pieces.join(''), most);
        expect(Buffer.byteLength(shown)).toBeLessThanOrEqual(most);
        expect(shown).not.toMatch(
          /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufffd]/,
        );
      }),
      runs(500),
    );
  });
});

test('the page of a task ends with the last lines of its last attempt, which begin no Markdown', () => {
  const facts: TaskFacts = { writes: [], reads: [], after: [] };
  const page = (tail: string) =>
    taskPage({
      id: 'p/t',
      facts,
      report: { attempt: 2, at: 'stopped' },
      last: { attempt: 1, tail },
    }).split('\n');
  expect(page('# no title\n| a |\n')).toEqual(
    expect.arrayContaining(['The last lines of attempt 1:', '```text', '# no title', '| a |', '```']),
  );
  const tricky = page('```\n# owned\n`````\nend');
  expect(tricky.slice(-6)).toEqual(['``````text', '```', '# owned', '`````', 'end', '``````']);
  expect(page(`${ESC}[2J\n`).join('\n')).not.toContain('last lines');
  const long = page(`${'x'.repeat(90)}\n`.repeat(100)).join('\n');
  expect(long.length).toBeLessThan(1_500);
});

describe('a piece of a log', () => {
  const read = async (task: string, log: string) => {
    const parts: Buffer[] = [];
    let from: LogPlace = LOG_START;
    for (;;) {
      // As it travels.
      const request = LogRequest.parse(JSON.parse(JSON.stringify({ task, log, from })));
      const { data, next, more } = await readLog(home, request);
      const piece = Buffer.from(data, 'base64');
      expect(piece.length).toBeLessThanOrEqual(256 * 1024);
      parts.push(piece);
      from = next;
      if (!more) return Buffer.concat(parts);
    }
  };

  test('comes after the other, across segments that are compressed or not, and is bounded', async () => {
    const log = '001-1.1';
    const path = logPath(home, 'p/t', log);
    mkdirSync(dirname(path), { recursive: true });
    const output = outputFile(path, redactor([]), { keep: { segment: 700_000, segments: 4 } });
    const text = Array.from({ length: 200_000 }, (_, i) => `line ${i}\n`).join('');
    await new Promise<void>((done) => output.stream.write(text, () => done()));
    expect(await readLog(home, { task: 'p/t', log, from: LOG_START })).toMatchObject({ live: true });
    expect(output.recent().toString()).toBe(text.slice(-4 * 1024));
    expect(output.recent()).toBe(output.recent());
    await output.close();
    expect((await read('p/t', log)).toString()).toBe(text);
    expect(await readLog(home, { task: 'p/t', log, from: LOG_START })).toMatchObject({
      found: true,
      live: false,
    });
    expect((await logsIn(home, 'p/t')).map((one) => one.log)).toEqual([log]);
  });

  test('of what is not there is none', async () => {
    expect(await readLog(home, { task: 'p/t', log: '009-1.1', from: LOG_START })).toMatchObject({
      found: false,
    });
    expect(await readLog(home, { task: 'p/u', log: '001-1.1', from: LOG_START })).toMatchObject({
      found: false,
    });
    for (const task of ['t', '../t', 'p/..', 'p/../t', '/p/t', 'p/t/u', 'p\\t', ''])
      expect(LogRequest.safeParse({ task, log: '001-1.1', from: LOG_START }).success, task).toBe(false);
  });
});
