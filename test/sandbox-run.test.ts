// Sandboxes that are ended while they start: whoever waits for them hears of it, and nothing of them is left.

import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { describe, expect } from 'vitest';
import { markedProcesses } from '../activities/processes.js';
import { probeSandbox } from '../activities/sandbox/host.js';
import { INSIDE_PATH } from '../activities/sandbox/offer.js';
import { execSandboxed, type Place, runSandboxed } from '../activities/sandbox/run.js';
import { sandboxTest } from './support/sandbox.js';

const TRIES = 60;
/** A start takes about this long, on a machine with nothing else to do. */
const STEP_MS = 0.5;

const probe = probeSandbox();

function place(): Place {
  return {
    view: { binds: [], env: { PATH: INSIDE_PATH }, chdir: '/', network: 'none', temporary: 1 << 20 },
    limits: {},
    uid: process.getuid?.() === 0 ? 1_100_000_000 : undefined,
    hidden: [],
    marker: `/signalbox-test/${randomUUID()}`,
  };
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('a sandbox that is ended while it starts', () => {
  sandboxTest('is gone when that is said, at whatever moment: a command of ours', async () => {
    if ('missing' in probe) throw new Error(probe.missing);
    for (let i = 0; i < TRIES; i++) {
      const stop = new AbortController();
      const where = place();
      const execution = { timeoutMs: 60_000, most: 1_000, signal: stop.signal };
      const running = execSandboxed(probe.sandbox, where, ['sleep', '1000'], execution);
      setTimeout(() => stop.abort(), i * STEP_MS);
      await expect(running).rejects.toThrow('was stopped');
      expect(markedProcesses((marker) => marker === where.marker)).toEqual([]);
    }
  });

  sandboxTest('is gone when that is said, at whatever moment: an agent', async () => {
    if ('missing' in probe) throw new Error(probe.missing);
    for (let i = 0; i < TRIES; i++) {
      const stop = new AbortController();
      const where = place();
      const [output, errors] = [new PassThrough().resume(), new PassThrough().resume()];
      const agent = { command: 'sleep 1000', output, errors, graceMs: 0, signal: stop.signal };
      const running = runSandboxed(probe.sandbox, { ...where, ...agent });
      await wait(i * STEP_MS);
      stop.abort();
      await running;
      expect(markedProcesses((marker) => marker === where.marker)).toEqual([]);
    }
  });
});
