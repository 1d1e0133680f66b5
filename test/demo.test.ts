// `signalbox demo` as a user runs it: a process of its own, with its own server, worker and web server.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { type Evidence, examine } from '../src/cli/demo/checks.js';
import { readSubmission } from '../src/cli/submissions.js';
import { readFleet } from '../src/client/config.js';
import type { LedgerEntry } from '../src/domain/ledger.js';
import type { Packet } from '../src/domain/packet.js';

const MAIN = resolve('dist/src/cli/main.js');
const EXAMPLE = resolve('examples/demo');

interface DemoJson {
  ok: boolean;
  findings: { held: boolean; text: string }[];
  tasks: { task: string; outcome: { kind: string; code: string }; behind?: number }[];
  page: { url: string; tip: string; html: string };
  webUi: string;
  packets: Packet[];
  ledger: LedgerEntry[];
}

/** A demo of the test's own: everything that it makes and starts has to do with this folder. */
class Demo {
  readonly tmp = mkdtempSync(join(tmpdir(), 'signalbox-test-demo-'));
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  out = '';
  err = '';

  constructor(args: string[] = []) {
    const own = Object.entries(process.env).filter(([name]) => !name.startsWith('TEMPORAL_'));
    // An empty folder for configuration: a temporal.toml of this host is none of the test's.
    const config = join(this.tmp, 'config');
    mkdirSync(config);
    const env = { ...Object.fromEntries(own), TMPDIR: this.tmp, XDG_CONFIG_HOME: config };
    this.child = spawn(process.execPath, [MAIN, 'demo', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.out += chunk.toString();
    });
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.err += chunk.toString();
    });
    this.exit = new Promise((done) => this.child.once('close', done));
  }

  async shows(text: string): Promise<void> {
    for (let tries = 0; !`${this.out}${this.err}`.includes(text); tries++) {
      if (tries > 1200 || this.child.exitCode !== null)
        throw new Error(`"${text}" never came:\n${this.out}${this.err}`);
      await sleep(50);
    }
  }

  folders(): string[] {
    return readdirSync(this.tmp).filter((name) => name.startsWith('signalbox-'));
  }

  /** Command lines of processes that name the folder or were started for it. Linux only. */
  processes(): string[] {
    if (process.platform !== 'linux') return [];
    return readdirSync('/proc')
      .filter((pid) => /^\d+$/.test(pid))
      .flatMap((pid) => {
        try {
          const [environ, cmdline] = ['environ', 'cmdline'].map((file) =>
            readFileSync(`/proc/${pid}/${file}`, 'utf8'),
          );
          return `${environ}${cmdline}`.includes(this.tmp)
            ? [`${pid} ${cmdline?.replaceAll('\0', ' ')}`]
            : [];
        } catch {
          return [];
        }
      });
  }
}

const demos: Demo[] = [];
const start = (...args: string[]): Demo => {
  const demo = new Demo(args);
  demos.push(demo);
  return demo;
};

afterEach(async () => {
  for (const demo of demos.splice(0)) {
    demo.child.kill('SIGKILL');
    await demo.exit;
    rmSync(demo.tmp, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
});

describe('signalbox demo', () => {
  it('runs the plan, tells what came of it, and leaves nothing behind', async () => {
    const demo = start();
    await demo.shows('running');
    expect(demo.processes().some((line) => line.includes(' worker '))).toBe(process.platform === 'linux');
    const code = await demo.exit;
    expect(`${code}\n${demo.out}${demo.err}`).toMatch(/^0\n/);
    for (const line of [
      /^ +\d+\.\ds {2}demo\/docs +running: nothing it writes is held by another task$/m,
      /^ +\d+\.\ds {2}demo\/cart-(coupons|totals) +held: services\/cart overlaps services\/cart, held by demo\/cart-(coupons|totals), since 0s$/m,
      /^ +\d+\.\ds {2}demo\/billing +held: waits for demo\/migration to have landed/m,
      />>> outside: somebody closes issue SHOP-7/,
      />>> outside: Kim pushes [0-9a-f]{12} to main/,
      /^Landed on main/m,
      /^ {2}banner +[0-9a-f]{12} +[1-9]\d* {2}Announce free delivery/m,
      /^ {2}study-schema +Tables: orders/m,
      /^ {2}wishlist +issue SHOP-7 is closed \[ISSUE_CLOSED\]$/m,
      /^ {2}wishlist-page +demo\/wishlist, which it waits for, was cancelled \[UPSTREAM_CANCELLED\]$/m,
      /^ {2}Free delivery this week!$/m,
      /^Change packets, in short$/m,
      /^ {2}Task {6}demo\/wishlist {2}Customers keep a wish list$/m,
      /^ {2}ok {2}the invariants hold on 12 change packets/m,
      /^Temporal Web UI: http:\/\/127\.0\.0\.1:\d+\/namespaces\/default\/workflows/m,
      /^Everything held\. 12 tasks in \d+s\.$/m,
    ])
      expect(demo.out).toMatch(line);
    expect(demo.out).not.toMatch(/^ {2}NO /m);
    // Plain lines elsewhere than on a terminal: no escape sequence.
    expect(demo.out).not.toContain('\u001b');
    expect(demo.folders()).toEqual([]);
    expect(demo.processes()).toEqual([]);
  });

  it('prints one JSON document with --json, sees what went otherwise, and stays up with --keep', async () => {
    const demo = start('--json', '--keep');
    await demo.shows('which Ctrl-C removes');
    const told = JSON.parse(demo.out) as DemoJson;
    expect(told.ok).toBe(true);
    expect(told.tasks).toHaveLength(12);
    expect(told.tasks.find(({ task }) => task === 'demo/banner')?.behind).toBeGreaterThan(0);
    expect(told.tasks.filter(({ outcome }) => outcome.kind === 'landed')).toHaveLength(7);
    expect(told.page.html).toContain(told.page.tip);
    seesWhatWentOtherwise(told);
    expect(await (await fetch(told.page.url)).text()).toBe(told.page.html);
    expect((await fetch(told.webUi)).status).toBe(200);
    demo.child.kill('SIGINT');
    expect(await demo.exit).toBe(0);
    expect(demo.folders()).toEqual([]);
    await eventually(() => expect(demo.processes()).toEqual([]));
  });

  it.each([
    ['while agents run', 'SIGINT', 'demo/banner         running'],
    ['while it starts', 'SIGTERM', 'Starting'],
  ] as const)('cleans up when it is interrupted %s', async (_when, signal, sign) => {
    const demo = start();
    await demo.shows(sign);
    await sleep(700);
    demo.child.kill(signal);
    expect(await demo.exit).toBe(130);
    expect(demo.folders()).toEqual([]);
    await eventually(() => expect(demo.processes()).toEqual([]));
  });
});

describe('examples/demo', () => {
  it('has the same plan twice: for scripts, and in words for coding agents', async () => {
    const { config } = await readFleet(join(EXAMPLE, 'signalbox.yaml'));
    const [scripts, words] = await Promise.all(
      ['plan.yaml', 'plan-in-words.yaml'].map((file) => readSubmission(join(EXAMPLE, file), config)),
    );
    const shape = (tasks: { prompt: string }[] = []) => tasks.map(({ prompt: _, ...rest }) => rest);
    expect(shape(words?.tasks)).toEqual(shape(scripts?.tasks));
  });
});

/** Each tampering with the evidence of a good run is found. */
function seesWhatWentOtherwise(told: DemoJson): void {
  const good: Evidence = {
    submitted: told.tasks.map(({ task }) => task),
    packets: new Map(told.packets.map((packet) => [packet.task.slice('demo/'.length), packet])),
    ledger: told.ledger,
    violations: [],
    tip: told.page.tip,
    page: told.page.html,
    deeds: { issueClosed: true, pushed: 'a'.repeat(40) },
    agentsLeft: [],
    wishlistKept: true,
    billingHadMigration: true,
    bannerSynced: true,
  };
  const failures = (change: Partial<Evidence>) =>
    examine({ ...good, ...change }).filter(({ held }) => !held).length;
  const changed = (id: string, change: (packet: Packet) => Packet) =>
    new Map([...good.packets].map(([name, packet]) => [name, name === id ? change(packet) : packet]));
  expect(failures({})).toBe(0);
  const later = (text = '') => new Date(Date.parse(text) + 3_600_000).toISOString();
  const bad: Partial<Evidence>[] = [
    { violations: ['two tasks held overlapping claims'] },
    { page: 'The shop has no such page (yet).' },
    { tip: 'b'.repeat(40) },
    { deeds: { issueClosed: false } },
    { agentsLeft: [1] },
    { wishlistKept: false },
    { billingHadMigration: false },
    { bannerSynced: false },
    { ledger: good.ledger.map((entry) => ({ ...entry, behind: 0 })) },
    {
      packets: changed('billing', (packet) => ({
        ...packet,
        outcome: { ...packet.outcome, kind: 'failed' },
      })),
    },
    {
      packets: changed('wishlist-page', (packet) => ({
        ...packet,
        outcome: { ...packet.outcome, code: 'UPSTREAM_FAILED' },
      })),
    },
    {
      packets: changed('docs', ({ attempts, ...packet }) => ({
        ...packet,
        attempts: attempts.map((one) => ({ ...one, started: later(one.started), ended: later(one.ended) })),
      })),
    },
    {
      packets: new Map(
        [...good.packets].map(([id, { decisions, ...packet }]) => [
          id,
          { ...packet, decisions: decisions.filter(({ code }) => code !== 'PATH_HELD') },
        ]),
      ),
    },
  ];
  for (const [i, change] of bad.entries()) expect(failures(change), `tampering ${i}`).toBeGreaterThan(0);
}

async function eventually(check: () => void): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    try {
      return check();
    } catch {
      await sleep(100);
    }
  }
  check();
}
