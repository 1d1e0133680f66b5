// The examples, as their pages say: in a copy of the folder, with the repositories made as told there, on a real server,
// in real sandboxes.

import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect } from 'vitest';
import { readFleet } from '../src/client/config.js';
import { FleetClient } from '../src/client/fleet-client.js';
import { MAIN, replayedFleets, type TestFleet } from './support/fleet.js';
import { sandboxTest } from './support/sandbox.js';

const start = replayedFleets(1);
const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

const PERSON = { name: 'Person', email: 'person@example.com' };
const AS_PERSON = {
  GIT_AUTHOR_NAME: PERSON.name,
  GIT_AUTHOR_EMAIL: PERSON.email,
  GIT_COMMITTER_NAME: PERSON.name,
  GIT_COMMITTER_EMAIL: PERSON.email,
  GIT_CONFIG_GLOBAL: '/dev/null',
};

/** A fleet in a copy of the example; `port` stands for the one in its plan. */
async function example(name: string, port?: number): Promise<TestFleet> {
  const fleet = await start({}, false);
  rmSync(fleet.origin, { recursive: true });
  cpSync(resolve('examples', name), fleet.dir, { recursive: true });
  const [, setUp = ''] =
    /^```\n([\s\S]*?)^```$/m.exec(readFileSync(join(fleet.dir, 'README.md'), 'utf8')) ?? [];
  expect(setUp).toContain('git init');
  execFileSync('sh', ['-ec', setUp], { cwd: fleet.dir, env: { ...process.env, ...AS_PERSON } });
  change(fleet.configFile, `fleet: ${name}\n`, `fleet: ${fleet.name}\n`);
  if (port !== undefined) change(join(fleet.dir, 'plan.yaml'), ':4181"', `:${port}"`);
  fleet.fleet = await readFleet(fleet.configFile);
  fleet.signalbox = new FleetClient(fleet.signalbox.client, fleet.fleet.config);
  await fleet.startWorker();
  return fleet;
}

function change(file: string, what: string, by: string): void {
  const text = readFileSync(file, 'utf8');
  expect(text).toContain(what);
  writeFileSync(file, text.replaceAll(what, by));
}

async function signalbox(fleet: TestFleet, ...args: string[]): Promise<string> {
  const all = [MAIN, ...args, '--config', fleet.configFile];
  return (await promisify(execFile)(process.execPath, all, { env: fleet.env })).stdout;
}

async function ended(fleet: TestFleet, ...ids: string[]): Promise<Record<string, string | undefined>> {
  const lines = await fleet.signalbox.wait(ids);
  return Object.fromEntries(ids.map((id) => [id, lines.get(id)?.outcome?.code]));
}

const reportOf = async (fleet: TestFleet, id: string): Promise<string> =>
  (await fleet.packets(id)).at(-1)?.attempts.at(-1)?.report ?? '';

describe('the example', () => {
  sandboxTest(
    'coder-reviewer: comments on what the coder has committed, by one who can change nothing',
    async () => {
      const fleet = await example('coder-reviewer');
      await signalbox(fleet, 'submit', join(fleet.dir, 'plan.yaml'));
      const ids = ['total/coder', 'total/reviewer'];
      expect(await ended(fleet, ...ids)).toEqual({ 'total/coder': 'LANDED', 'total/reviewer': 'FINISHED' });
      expect(await reportOf(fleet, 'total/reviewer')).toBe(
        'Comments on total.sh:\n- line 2: write "$@" in quotes\n- line 3: write "$total" in quotes\n',
      );
      const [review] = await fleet.packets('total/reviewer');
      expect(review?.attempts[0]?.peers?.[0]).toMatchObject({ task: 'total/coder', as: 'coder', files: 2 });
      expect(review?.attempts[0]?.peers?.[0]?.commit).toMatch(/^[0-9a-f]{40}$/);
      expect(review?.decisions.map(({ code }) => code)).toContain('PEER_BY_RULE');
      expect(fleet.git(['-C', fleet.origin, 'log', '--format=%s', 'main']).split('\n')).toEqual([
        'total.sh adds up its arguments',
        'The start',
      ]);
      expect(await fleet.violations(ids)).toEqual([]);
    },
  );

  sandboxTest(
    'coder-documenter: a draft in another repository, about code that has landed in the first',
    async () => {
      const fleet = await example('coder-documenter');
      await signalbox(fleet, 'submit', join(fleet.dir, 'plan.yaml'));
      expect(await ended(fleet, 'coupons/code', 'coupons/document')).toEqual({
        'coupons/code': 'LANDED',
        'coupons/document': 'LANDED',
      });
      const show = (repository: string, what: string) =>
        fleet.git(['-C', join(fleet.dir, repository), 'show', what]);
      expect(show('app.git', 'main:coupon.sh')).toContain('* 90 / 100');
      expect(show('guide.git', 'main:drafts/coupon.md')).toBe(
        '# coupon.sh (draft)\n\nTakes ten percent off a price.\n\nFor example, `sh coupon.sh 30` prints 27.',
      );
      const files = (repository: string) =>
        fleet.git(['-C', join(fleet.dir, repository), 'ls-tree', '-r', '--name-only', 'main']).split('\n');
      expect([files('app.git'), files('guide.git')]).toEqual([
        ['coupon.sh', 'test.sh'],
        ['drafts/coupon.md', 'index.md'],
      ]);
    },
  );

  sandboxTest('three-way-migration: nothing lands before a person has said yes, then all of it', async () => {
    const { port, get } = await staging();
    const fleet = await example('three-way-migration', port);
    await signalbox(fleet, 'submit', join(fleet.dir, 'plan.yaml'));
    expect(await ended(fleet, 'totals/migrate', 'totals/try', 'totals/watch')).toEqual({
      'totals/migrate': 'HANDED_OFF',
      'totals/try': 'HANDED_OFF',
      'totals/watch': 'FINISHED',
    });
    expect(await get('/sum?column=total')).toBe('178\n');
    expect(await reportOf(fleet, 'totals/watch')).toMatch(/^reads [3-9]\nerrors 0\n$/);
    const held = await fleet.until('the release to wait for the review', async () => {
      const { task } = (await fleet.signalbox.story('totals/release')) ?? {};
      return task?.why?.includes('REVIEW-1') ? task : undefined;
    });
    expect(held.phase).toBe('held');
    const subjects = () => fleet.git(['-C', fleet.origin, 'log', '--format=%s', 'main']).split('\n');
    expect(subjects()).toEqual(['The start']);
    await signalbox(fleet, 'issue', 'REVIEW-1', '--state', 'approved');
    expect(await ended(fleet, 'totals/release')).toEqual({ 'totals/release': 'LANDED' });
    expect(subjects()).toEqual([
      'Tell of totals',
      'Billing prints totals',
      'Invoices have a total',
      'The start',
    ]);
    expect(fleet.file('billing/print.sh')).toContain('column=total');
    const all = ['migrate', 'try', 'watch', 'release'].map((id) => `totals/${id}`);
    expect(await fleet.violations(all)).toEqual([]);
  });
});

/** The database of the example, on a port of its own. */
async function staging(): Promise<{ port: number; get: (path: string) => Promise<string> }> {
  const script = resolve('examples/three-way-migration/staging.mjs');
  const child = spawn(process.execPath, [script, '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const said = await new Promise<string>((done, failed) => {
    child.stdout.once('data', (chunk: Buffer) => done(String(chunk)));
    child.once('exit', (code) => failed(new Error(`it ended (${code})`)));
  });
  const port = Number(/:(\d+)\n/.exec(said)?.[1]);
  return { port, get: async (path) => (await fetch(`http://127.0.0.1:${port}${path}`)).text() };
}
