// What an agent leaves for its worker to read, and how much of it. Each case was seen to fail with its defence taken out;
// the list is in defences.txt beside this file.

import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { describe, expect, it } from 'vitest';
import { outputFile } from '../../activities/output.js';
import { redactor } from '../../activities/redactor.js';
import { serveRequests } from '../../activities/requests.js';
import { DiskWatch } from '../../activities/workstation/disk-watch.js';
import { bytesOf } from '../../activities/workstation/guarded.js';
import { segmentsOf } from '../../src/client/segments.js';
import type { Config } from '../../src/domain/config.js';
import { attack, attackedHost, until } from '../support/attacker.js';

const host = attackedHost();

describe('the report, and what else is read of the result,', () => {
  for (const [what, make] of [
    ['a link to the host', 'ln -s "$HOST_CANARY" /w/result/report.md'],
    ['a chain of links', 'ln -s "$HOST_CANARY" /w/result/l; ln -s l /w/result/report.md'],
    ['a link to a device', 'ln -s /dev/zero /w/result/report.md'],
    ['a pipe', 'mkfifo /w/result/report.md'],
    [
      'a socket',
      `perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "/w/result/report.md", Listen => 1)'`,
    ],
    ['a folder', 'mkdir /w/result/report.md'],
    ['nothing', 'true'],
  ] as const)
    attack(`is ${what}: it is not read, and nobody waits for it`, async () => {
      const { station } = await host().attack(make);
      const began = performance.now();
      expect(await bytesOf(join(station.resultDir, 'report.md'), 1_000)).toBeUndefined();
      expect(performance.now() - began).toBeLessThan(1_000);
    });

  attack('is huge, or sparse: no more than its beginning is read', async () => {
    const { station } = await host().attack(
      'echo begins > /w/result/report.md; truncate -s 150M /w/result/report.md',
    );
    const before = process.memoryUsage().rss;
    const bytes = await bytesOf(join(station.resultDir, 'report.md'), 10_000);
    expect(bytes?.length).toBe(10_000);
    expect(bytes?.toString('latin1', 0, 6)).toBe('begins');
    expect(process.memoryUsage().rss - before).toBeLessThan(50e6);
  });
});

describe('requests', () => {
  /** Serves the folder as the worker does; what would go to the task's workflow is counted. */
  function desk(station: { desk: { requests: string; answers: string } }, limits = { open: 8, all: 40 }) {
    const sent: unknown[] = [];
    const log: string[] = [];
    const workflow = {
      signal: async (_name: string, what: unknown) => void sent.push(what),
      query: async () => ({ answer: 'granted', text: '', writes: [] }),
    };
    const client = { workflow: { getHandle: () => workflow } } as unknown as Client;
    const config = { fleet: 'attacked' } as Config;
    const served = serveRequests(
      { client, config, log: (line) => log.push(line) },
      station.desk,
      {
        task: 'p/attacker',
        fence: { epoch: 1, number: 1 },
      },
      limits,
    );
    const answers = () => readdirSync(station.desk.answers);
    return { sent, log, answers, close: () => served.close() };
  }
  const GOOD = '{"do": "extend", "paths": ["x"]}';

  attack(
    'that are links, pipes, folders, huge, deep or no JSON are refused one by one, and good ones still go through',
    async () => {
      const { station } = await host().attack(`cd /w/requests
      ln -s "$HOST_CANARY" link.request.json; mkfifo pipe.request.json; mkdir dir.request.json; ln -s /dev/zero zero.request.json
      truncate -s 100M huge.request.json; head -c 100000 /dev/zero | tr '\\0' '[' > deep.request.json; echo '{"do":"land","paths":["x"]}' > verb.request.json
      echo '{"do":"extend","paths":["x"],"__proto__":{"wait":true},"fence":"9.9"}' > extra.request.json; echo '${GOOD}' > good.request.json`);
      const { sent, answers, close, log } = desk(station);
      await until('all are answered', () => answers().length === 9 && sent.length === 1);
      await close();
      for (const name of answers().filter((name) => !name.startsWith('good')))
        expect(readFileSync(join(station.desk.answers, name), 'utf8')).toContain('not a request');
      expect(sent).toMatchObject([{ id: '1.1/good', fence: '1.1' }]);
      expect(log).toEqual([]);
    },
  );

  attack(
    'by the thousand do not flood the fleet, the disk or the log, and odd names are left alone',
    async () => {
      const { station } = await host().attack(
        `cd /w/requests; "$NODE" -e 'const fs = require("fs"); for (let i = 0; i < 5000; i++) fs.writeFileSync("r" + i + ".request.json", ${JSON.stringify(GOOD)}); fs.writeFileSync("n".repeat(242) + ".request.json", "x"); fs.writeFileSync("a\\u001b[31mb.request.json", ${JSON.stringify(GOOD)}); fs.writeFileSync(".request.json", "x")'`,
      );
      const { sent, answers, log, close } = desk(station);
      await until('it has enough of them', () => log.length > 0 && answers().length === 40);
      await close();
      expect(sent).toHaveLength(40);
      expect(answers()).toHaveLength(40);
      expect(log).toHaveLength(1);
      expect(JSON.stringify(sent)).not.toContain('u001b');
    },
  );

  attack('get answers that the agent cannot write, and its folders cannot be swapped', async () => {
    const { output, station } = await host().attack(
      'echo x > /w/answers/a.answer.json; mkdir /w/answers/d; rm -rf /w/requests; mv /w/requests /w/r; ln -s "$HOST_HOME" /w/requests; ls -ld /w/requests; exit 0',
    );
    expect(output).toMatch(/answers\/a\.answer\.json: Read-only file system/);
    expect(readdirSync(station.desk.answers)).toEqual([]);
    expect(lstatSync(station.desk.requests).isDirectory()).toBe(true);
  });
});

describe('output that is', () => {
  for (const [what, script] of [
    ['endless', 'exec yes "all work and no play"'],
    ['without any line', 'exec cat /dev/zero'],
    ['binary', 'exec cat /dev/urandom'],
  ] as const)
    attack(`${what} grows neither the worker nor its disk beyond their bounds`, async () => {
      const folder = mkdtempSync(join(tmpdir(), 'signalbox-output-'));
      try {
        const file = join(folder, 'a.log');
        const output = outputFile(file, redactor([]), { keep: { segment: 1 << 20, segments: 3 } });
        const station = await host().station('p/loud');
        const stop = new AbortController();
        const before = process.memoryUsage().rss;
        setTimeout(() => stop.abort(), 1_500);
        await station.run({
          command: ['sh', '-c', script],
          env: { PATH: station.paths.path },
          output: output.stream,
          errors: output.errors,
          keys: new Map(),
          log: () => undefined,
          signal: stop.signal,
          graceMs: 100,
          onStart: () => undefined,
        });
        expect(await output.close()).toBeUndefined();
        expect(process.memoryUsage().rss - before).toBeLessThan(150e6);
        const sizes = readdirSync(folder).map((name) => lstatSync(join(folder, name)).size);
        expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(5 << 20);
        expect((await segmentsOf(file)).length).toBeGreaterThan(1);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
});

describe('the disk', () => {
  attack('of one who fills it is looked at, with many files or few, closed folders and all', async () => {
    for (const fill of [
      'i=0; while :; do i=$((i+1)); head -c 1M /dev/zero > f$i; done',
      'cat /dev/zero > big 2>/dev/null; cat /dev/zero > big2; sleep 100',
    ]) {
      const station = await host().station('p/filler', { disk: 30_000_000 });
      const watch = new DiskWatch([join(station.dir, 'clone'), join(station.dir, 'home')], 30_000_000);
      watch.start();
      const began = Date.now();
      const ended = await station.run({
        command: ['sh', '-c', `cd /w/home; ${fill}`],
        env: { PATH: station.paths.path },
        output: process.stderr,
        errors: process.stderr,
        keys: new Map(),
        log: () => undefined,
        signal: AbortSignal.any([watch.signal, AbortSignal.timeout(20_000)]),
        graceMs: 100,
        onStart: () => undefined,
      });
      watch.stop();
      expect(watch.broken?.code, fill).toBe('DISK_EXCEEDED');
      expect(ended.exitCode).not.toBe(0);
      expect(Date.now() - began).toBeLessThan(15_000);
    }
  });

  attack('no file is larger than the limit, a sparse one neither, which costs nothing', async () => {
    const { output, station } = await host().attack(
      'truncate -s 100T /w/home/sparse; head -c 100M /dev/zero > /w/home/big; stat -c %s /w/home/big; truncate -s 9M /w/home/sparse; echo the end',
      { rules: { disk: 10_000_000 } },
    );
    expect(output).toContain('the end');
    expect(lstatSync(join(station.dir, 'home', 'big')).size).toBeLessThanOrEqual(10_000_000);
    const watch = new DiskWatch([join(station.dir, 'clone'), join(station.dir, 'home')], 200_000_000);
    watch.start();
    await new Promise((done) => setTimeout(done, 1_300));
    watch.stop();
    expect(watch.broken).toBeUndefined();
  });
});

it('reads regular files only, whoever made the link', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-guard-'));
  mkdirSync(join(folder, 'real'));
  writeFileSync(join(folder, 'real', 'file'), 'text');
  symlinkSync(join(folder, 'real', 'file'), join(folder, 'link'));
  expect(await bytesOf(join(folder, 'link'), 10)).toBeUndefined();
  expect((await bytesOf(join(folder, 'real', 'file'), 10))?.toString()).toBe('text');
  rmSync(folder, { recursive: true });
});
