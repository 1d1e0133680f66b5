// The output of processes: what of it is kept, in which files, and what ends a process for it.

import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { keepWithin, LogBudget } from '../activities/log-budget.js';
import { outputFile, startOf } from '../activities/output.js';
import { OutputWatch } from '../activities/output-watch.js';
import { identityOf, runProcess } from '../activities/processes.js';
import { redactor } from '../activities/redactor.js';
import { liveFile, readSegment, segmentsOf, tailOf } from '../src/client/segments.js';
import { Config } from '../src/domain/config.js';

const root = mkdtempSync(join(tmpdir(), 'signalbox-output-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const logPath = (): string => {
  const dir = join(root, `d${count++}`);
  mkdirSync(dir);
  return join(dir, '001-1.7.log');
};

const nothing = redactor([]);
const keep = { segment: 1_000, segments: 4 };
const push = (to: Writable, bytes: Buffer | string) =>
  new Promise<void>((done, failed) =>
    to.write(Buffer.from(bytes), (error) => (error ? failed(error) : done())),
  );

async function contentOf(path: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (const segment of await segmentsOf(path))
    for await (const part of readSegment(segment)) parts.push(part);
  return Buffer.concat(parts);
}

describe('what is kept', () => {
  test.each([0, 1, 999, 1_000, 1_001, 3_999, 4_000])(
    '%i bytes are kept whole, binary and without lines',
    async (size) => {
      const path = logPath();
      const bytes = randomBytes(size);
      const output = outputFile(path, nothing, { keep });
      await push(output.stream, bytes);
      expect(await output.close()).toBeUndefined();
      expect((await contentOf(path)).equals(bytes)).toBe(true);
      expect(readdirSync(dirname(path)).length).toBe(Math.max(1, Math.ceil(size / 1_000)));
    },
  );

  test.each([4_001, 5_000, 23_456])(
    'of %i bytes the beginning and the end, and in between how much is missing',
    async (size) => {
      const path = logPath();
      const bytes = randomBytes(size);
      const output = outputFile(path, nothing, { keep });
      for (let at = 0; at < size; at += 700) await push(output.stream, bytes.subarray(at, at + 700));
      await output.close();
      const last = Math.ceil(size / 1_000) - 1;
      const left = (last - 3) * 1_000;
      const note = `\n[signalbox: ${left} bytes of output, `;
      const kept = await contentOf(path);
      expect(kept.subarray(0, 1_000).equals(bytes.subarray(0, 1_000))).toBe(true);
      expect(kept.subarray(1_000, 1_000 + note.length).toString()).toBe(note);
      const end = bytes.subarray(1_000 + left);
      expect(kept.subarray(-end.length).equals(end)).toBe(true);
      expect(readdirSync(dirname(path)).sort()).toEqual(
        [
          '001-1.7.log.gz',
          '001-1.7.1.log',
          `001-1.7.${last}.log`,
          `001-1.7.${last - 1}.log.gz`,
          `001-1.7.${last - 2}.log.gz`,
        ].sort(),
      );
      expect(gunzipSync(readFileSync(`${path}.gz`)).equals(bytes.subarray(0, 1_000))).toBe(true);
      expect(await tailOf(path, 300)).toBe(bytes.subarray(-300).toString());
      expect(await tailOf(path, 2_000)).toBe(bytes.subarray(-2_000).toString());
    },
  );

  test('what comes later goes on where the last one ended', async () => {
    const path = logPath();
    for (const text of ['a', 'b'.repeat(1_500), 'c'.repeat(600)]) {
      const output = outputFile(path, nothing, { keep });
      await push(output.stream, text);
      await output.close();
    }
    expect((await contentOf(path)).toString()).toBe(`a${'b'.repeat(1_500)}${'c'.repeat(600)}`);
  });

  test('no secret, though what comes between its halves comes by the other way', async () => {
    const path = logPath();
    const output = outputFile(path, redactor(['secret-value']), { keep });
    await push(output.stream, 'here: secret-');
    await push(output.errors, 'complaint\n');
    await push(output.stream, 'value\n');
    await push(output.errors, 'the secr');
    await output.close();
    expect((await contentOf(path)).toString()).toBe('here: complaint\n[redacted]\nthe secr');
  });

  test('nothing when the disk gives nothing, and the process goes on', async () => {
    const path = join(logPath(), 'is-a-file', 'x.log');
    writeFileSync(dirname(dirname(path)), '');
    const output = outputFile(path, nothing, { keep });
    const end = await runProcess({
      command: 'head -c 3000000 /dev/zero; exit 7',
      cwd: root,
      env: { PATH: process.env.PATH ?? '' },
      marker: `test-${path}`,
      output: output.stream,
      errors: output.errors,
    });
    expect(end).toEqual({ exitCode: 7 });
    expect(await output.close()).toMatch(/ENOTDIR|EEXIST/);
  });

  test('a report is read up to a bound, and never through a link or from a pipe', async () => {
    const file = logPath();
    writeFileSync(file, 'abcdef');
    expect(await startOf(file, 4)).toBe('abcd');
    await expect(startOf(dirname(file), 4)).rejects.toThrow();
    const link = join(dirname(file), 'link');
    await runProcess({
      command: 'ln -s 001-1.7.log link; mkfifo pipe',
      cwd: dirname(file),
      env: { PATH: process.env.PATH ?? '' },
      marker: `test-${link}`,
      output: new Writable({ write: (_chunk, _encoding, done) => done() }),
    });
    await expect(startOf(link, 4)).rejects.toThrow(/ELOOP/);
    await expect(startOf(join(dirname(file), 'pipe'), 4)).rejects.toThrow(/is no file/);
  });
});

describe('a watch', () => {
  const run = async (command: string, limits: ConstructorParameters<typeof OutputWatch>[0]) => {
    const path = logPath();
    const watch = new OutputWatch(limits);
    const output = outputFile(path, nothing, { watch });
    const end = await runProcess({
      command,
      cwd: root,
      env: { PATH: process.env.PATH ?? '' },
      marker: `test-${path}`,
      output: output.stream,
      errors: output.errors,
      signal: watch.signal,
      graceMs: 0,
    });
    await output.close();
    return { end, broken: watch.broken, kept: await contentOf(path) };
  };

  test('ends who prints nothing for so long', async () => {
    const began = performance.now();
    const { end, broken, kept } = await run('echo begun; exec sleep 1000', { silence: 1_000 });
    expect(end.signal).toBeDefined();
    expect(broken).toEqual({ code: 'AGENT_SILENT', text: 'no output for 1s' });
    expect(kept.toString()).toBe('begun\n');
    expect(performance.now() - began).toBeGreaterThanOrEqual(999);
  });

  test('lets go on who prints now and then, be it to its standard error', async () => {
    const { end, broken } = await run('for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2; echo . >&2; done', {
      silence: 1_500,
    });
    expect({ end, broken }).toEqual({ end: { exitCode: 0 }, broken: undefined });
  });

  test('ends who prints too much', async () => {
    const { end, broken } = await run('exec yes', { output: 200 * 1_024 });
    expect(end.signal).toBeDefined();
    expect(broken).toEqual({ code: 'OUTPUT_EXCEEDED', text: 'more than 200KB' });
  });

  test('lets the very amount pass', async () => {
    const { end, broken, kept } = await run('head -c 204800 /dev/zero', { output: 200 * 1_024 });
    expect({ end, broken, size: kept.length }).toEqual({
      end: { exitCode: 0 },
      broken: undefined,
      size: 204_800,
    });
  });
});

describe('the room for logs', () => {
  /** An attempt's log of two segments, 100 bytes in all, as old as that. */
  function log(home: string, task: string, stem: string, minutes: number): string {
    const dir = join(home, 'logs', task);
    mkdirSync(dir, { recursive: true });
    const path = join(dir, `${stem}.log`);
    const when = Date.now() / 1_000 - minutes * 60;
    for (const [file, size] of [
      [`${path}.gz`, 40],
      [join(dir, `${stem}.1.log`), 60],
    ] as const) {
      writeFileSync(file, 'x'.repeat(size));
      utimesSync(file, when, when);
    }
    return path;
  }

  test('goes from the oldest ended attempts, whole, and never from one that runs', async () => {
    const home = dirname(logPath());
    const alive = log(home, 'p/alive', '001-1.1', 90);
    writeFileSync(liveFile(alive), JSON.stringify(identityOf(process.pid)));
    const dead = log(home, 'p/dead', '001-1.2', 80);
    writeFileSync(liveFile(dead), JSON.stringify({ pid: process.pid, started: 'at another time' }));
    const second = log(home, 'p/two', '001-1.3', 70);
    const newest = log(home, 'p/two', '002-1.4', 1);
    writeFileSync(join(home, 'logs', 'server.log'), 'not of an attempt');
    expect(await keepWithin(join(home, 'logs'), 400)).toEqual({ bytes: 400, removed: 0 });
    expect(await keepWithin(join(home, 'logs'), 399)).toEqual({ bytes: 300, removed: 1 });
    expect(existsSync(dirname(dead))).toBe(false);
    expect(await keepWithin(join(home, 'logs'), 250)).toEqual({ bytes: 200, removed: 1 });
    expect((await segmentsOf(second)).length).toBe(0);
    expect((await segmentsOf(newest)).length).toBe(2);
    expect(await keepWithin(join(home, 'logs'), 50)).toEqual({ bytes: 100, removed: 1 });
    expect((await segmentsOf(alive)).length).toBe(2);
    expect(existsSync(join(home, 'logs', 'server.log'))).toBe(true);
  });

  test('is made whenever an attempt has ended', async () => {
    const home = dirname(logPath());
    const config = Config.parse({
      fleet: 'f',
      repositories: { app: { url: 'nowhere' } },
      agents: { sh: { command: 'true' } },
      workstations: { logs: '1KB' },
    });
    const said: string[] = [];
    const budget = new LogBudget({ config, home, log: (line) => said.push(line) });
    const logs = Array.from({ length: 13 }, (_, i) => `p/t${i}`);
    for (const [i, task] of logs.entries()) await budget.ended(log(home, task, '001-1.1', 100 - i));
    const left = logs.filter((task) => existsSync(join(home, 'logs', task)));
    expect(left.length).toBeLessThanOrEqual(10);
    expect(left.length).toBeGreaterThanOrEqual(8);
    expect(left).toEqual(logs.slice(-left.length));
    expect(said.length).toBeGreaterThan(0);
  });

  test('a file tells who writes a log, for as long as it is written', async () => {
    const path = logPath();
    const output = outputFile(path, nothing, { keep });
    await push(output.stream, 'x');
    await new Promise<void>((done) => output.stream.write('y', () => done()));
    expect(JSON.parse(readFileSync(liveFile(path), 'utf8'))).toEqual(identityOf(process.pid));
    await output.close();
    expect(existsSync(liveFile(path))).toBe(false);
  });
});
