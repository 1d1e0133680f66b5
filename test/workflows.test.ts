// Tasks, coordinator and writers on a real Temporal server, with real git and real processes.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { describe, expect, inject, it } from 'vitest';
import { readLedger, readPackets } from '../src/client/records.js';
import { Refused } from '../src/client/refused.js';
import { rulesOf } from '../src/domain/config.js';
import {
  controlQueue,
  coordinatorId,
  SEARCH,
  taskWorkflowId,
  WORKFLOW,
  writerId,
} from '../src/domain/ids.js';
import { edit, replayedFleets } from './support/fleet.js';

const start = replayedFleets(3);

const role = 'main';
/** A script that tells it runs by making a file outside its clone, and waits until another is there. */
const gate = (dir: string, name: string) =>
  `touch '${dir}/${name}.runs'; while [ ! -e '${dir}/${name}.go' ]; do sleep 0.05; done`;
/** Agents, and commands of writers; the worker's own helpers carry its mark. */
const markedProcesses = (dir: string): number[] =>
  readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .map(Number)
    .filter((pid) => {
      try {
        const environ = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
        const mark = environ.find((line) => line.startsWith(`SIGNALBOX_WORKSTATION=${dir}`));
        return mark !== undefined && !mark.endsWith('/worker');
      } catch {
        return false;
      }
    });

describe('a plan', () => {
  it('lands what does not overlap side by side, holds what does by the name of its holder, and records it all', async () => {
    const fleet = await start();
    const first = await fleet.submit('first', [
      { id: 'one', prompt: edit('svc/a.txt', 'one', gate(fleet.dir, 'one')), role, writes: ['svc'] },
    ]);
    await fleet.until('one to run', () => existsSync(join(fleet.dir, 'one.runs')));
    const rest = await fleet.submit('p', [
      { id: 'two', prompt: edit('svc/a.txt', 'two'), role, writes: ['svc/a.txt'] },
      { id: 'docs', prompt: edit('docs/x.md', 'docs'), role, writes: [':(glob)docs/*.md'] },
      { id: 'read', prompt: 'cat README.md > "$SIGNALBOX_REPORT_FILE"' },
    ]);
    const ids = [...first, ...rest];
    await fleet.until('docs to have landed while one runs', () =>
      fleet.signalbox.describe('p/docs').then((task) => task?.state === 'landed'),
    );
    const held = await fleet.phase('p/two', 'held');
    expect(held).toMatchObject({
      code: 'PATH_HELD',
      holder: 'first/one',
      why: 'svc/a.txt overlaps svc, held by first/one',
    });
    writeFileSync(join(fleet.dir, 'one.go'), '');
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map((line) => line.outcome?.kind).sort()).toEqual([
      'finished',
      'landed',
      'landed',
      'landed',
    ]);
    expect(fleet.file('svc/a.txt')).toBe('one\ntwo');
    const packets = await readPackets(fleet.fleet);
    const packet = (id: string) => packets.find(({ task }) => task === id);
    expect(
      packet('p/two')?.decisions.some(
        ({ code, evidence }) => code === 'PATH_HELD' && evidence.holder === 'first/one',
      ),
    ).toBe(true);
    expect(packet('p/read')?.attempts[0]?.report).toBe('seed\n');
    expect(packet('p/docs')?.beside).toContainEqual({ task: 'first/one', why: 'disjoint claims' });
    expect(await fleet.violations(ids)).toEqual([]);
    const shown = (
      await fleet.signalbox.client.workflow.getHandle(taskWorkflowId(fleet.name, 'p/two')).describe()
    ).searchAttributes;
    expect(shown[SEARCH.state]).toEqual(['landed']);
    expect(existsSync(join(fleet.fleet.home, 'workstations', 'p'))).toBe(false);
  });

  it('lands whole while the coordinator continues as new again and again', async () => {
    const fleet = await start({}, false);
    const { client } = fleet.signalbox;
    await client.workflow.start(WORKFLOW.coordinator, {
      workflowId: coordinatorId(fleet.name),
      taskQueue: controlQueue(fleet.name),
      args: [{ rules: rulesOf(fleet.fleet.config), historyLimit: 30 }],
    });
    await fleet.startWorker();
    const tasks = Array.from({ length: 12 }, (_, i) => ({
      id: `t${i}`,
      prompt: edit(`f${i % 4}`, 'x'),
      role,
      writes: [`f${i % 4}`],
      after: i % 5 === 4 ? [`t${i - 3}`] : [],
    }));
    const ids = await fleet.submit('n', tasks);
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map(({ outcome }) => outcome?.kind)).toEqual(ids.map(() => 'landed'));
    expect(['f0', 'f1', 'f2', 'f3'].map((file) => fleet.file(file))).toEqual(Array(4).fill('x\nx\nx'));
    expect(await fleet.violations(ids)).toEqual([]);
    const runs = client.workflow.list({ query: `WorkflowId = "${coordinatorId(fleet.name)}"` });
    const statuses: string[] = [];
    for await (const { status } of runs) statuses.push(status.name);
    expect(statuses.filter((name) => name === 'CONTINUED_AS_NEW').length).toBeGreaterThan(2);
  });

  it('holds until all of it has arrived, and is cancelled when that never happens', async () => {
    const fleet = await start({ config: { planTimeout: '3s' } });
    const { client } = fleet.signalbox;
    await client.workflow.start('agentTask', {
      workflowId: taskWorkflowId(fleet.name, 'half/one'),
      taskQueue: `signalbox-${fleet.name}`,
      args: [
        {
          fleet: fleet.name,
          plan: { id: 'half', size: 2 },
          task: { id: 'one', prompt: edit('a', 'x'), role, writes: ['a'] },
        },
      ],
    });
    expect(await fleet.phase('half/one', 'held')).toBeDefined();
    const ended = await fleet.signalbox.wait(['half/one']);
    expect(ended.get('half/one')?.outcome).toMatchObject({ kind: 'cancelled', code: 'PLAN_NEVER_COMPLETED' });
    expect(fleet.git(['-C', fleet.origin, 'log', '--format=%s', 'main'])).toBe('seed');
  });

  it('is refused by name when it was submitted before, and nothing of it starts', async () => {
    const fleet = await start();
    await fleet.run('again', [{ id: 'a', prompt: 'true' }]);
    await expect(
      fleet.submit('again', [
        { id: 'b', prompt: 'true' },
        { id: 'a', prompt: 'true' },
      ]),
    ).rejects.toThrow(Refused);
    await expect(fleet.submit('again', [{ id: 'a', prompt: 'true' }])).rejects.toThrow(
      /again\/a \(finished\)/,
    );
    expect(await fleet.signalbox.describe('again/b')).toBeUndefined();
  });

  it('cancels what waits for a task that failed', async () => {
    const fleet = await start();
    const ended = await fleet.run('f', [
      { id: 'bad', prompt: 'echo "no way"; exit 3', role, writes: ['a'] },
      { id: 'next', prompt: edit('b', 'x'), role, writes: ['b'], after: ['bad'] },
      { id: 'last', prompt: edit('c', 'x'), role, writes: ['c'], after: ['next'] },
    ]);
    expect(ended.bad?.outcome).toMatchObject({
      kind: 'failed',
      code: 'AGENT_FAILED',
      text: expect.stringContaining('no way'),
    });
    expect(ended.next?.outcome).toMatchObject({ kind: 'cancelled', code: 'UPSTREAM_FAILED' });
    expect(ended.last?.outcome).toMatchObject({ kind: 'cancelled', code: 'UPSTREAM_CANCELLED' });
  });
});

describe('an issue', () => {
  it('that is closed while its task runs cancels it and what waits for it, and leaves no process', async () => {
    const fleet = await start();
    // Ignores SIGTERM, and has a child that left its process group.
    const stubborn = `trap '' TERM; setsid sleep 300 & touch '${fleet.dir}/stubborn.runs'; while true; do sleep 0.1; done`;
    const ids = await fleet.submit('i', [
      { id: 'work', prompt: stubborn, role, writes: ['a'], issue: 'SHOP-1' },
      { id: 'next', prompt: edit('b', 'x'), role, writes: ['b'], after: ['work'] },
    ]);
    await fleet.until('the agent to run', () => existsSync(join(fleet.dir, 'stubborn.runs')));
    expect(markedProcesses(fleet.dir).length).toBeGreaterThan(1);
    await fleet.signalbox.issue('SHOP-1', 'closed');
    const ended = await fleet.signalbox.wait(ids);
    expect(ended.get('i/work')?.outcome).toMatchObject({
      kind: 'cancelled',
      code: 'ISSUE_CLOSED',
      text: 'issue SHOP-1 is closed',
    });
    expect(ended.get('i/next')?.outcome).toMatchObject({ kind: 'cancelled', code: 'UPSTREAM_CANCELLED' });
    expect(markedProcesses(fleet.dir)).toEqual([]);
    expect((await fleet.signalbox.overview()).claims).toEqual([]);
  });

  it('that is paused holds its task until it goes on', async () => {
    const fleet = await start();
    await fleet.signalbox.issue('SHOP-2', 'paused');
    const ids = await fleet.submit('h', [
      { id: 'work', prompt: edit('a', 'x'), role, writes: ['a'], issue: 'SHOP-2' },
    ]);
    expect(await fleet.phase('h/work', 'held')).toBeDefined();
    await fleet.until('the hold', async () => (await fleet.phase('h/work', 'held')).code === 'ISSUE_ON_HOLD');
    await fleet.signalbox.issue('SHOP-2', 'open');
    expect((await fleet.signalbox.wait(ids)).get('h/work')?.outcome?.kind).toBe('landed');
  });
});

describe('a landing', () => {
  it('is synced when main moved under its agent', async () => {
    const fleet = await start();
    const ids = await fleet.submit('m', [
      { id: 'work', prompt: edit('a.txt', 'agent', gate(fleet.dir, 'work')), role, writes: ['a.txt'] },
    ]);
    await fleet.until('the agent to run', () => existsSync(join(fleet.dir, 'work.runs')));
    fleet.push({ 'b.txt': 'person\n' }, 'a person was here');
    fleet.git(['init', '-q', join(fleet.dir, 'x')]);
    writeFileSync(join(fleet.dir, 'work.go'), '');
    expect((await fleet.signalbox.wait(ids)).get('m/work')?.outcome?.kind).toBe('landed');
    expect(fleet.file('b.txt')).toBe('person');
    expect(fleet.file('a.txt')).toBe('agent');
    const landed = (await readLedger(fleet.origin, 'main')).find(({ kind }) => kind === 'landed');
    expect(landed).toMatchObject({ task: 'm/work', behind: 1 });
  });

  it('is retried on the new state when somebody changed the same lines, and refused outside its claim', async () => {
    const fleet = await start({ files: { 'a.txt': 'base\n' } });
    const first = `[ "$SIGNALBOX_ATTEMPT" = 1 ] && { ${gate(fleet.dir, 'clash')}; }; `;
    const ids = await fleet.submit('c', [
      {
        id: 'clash',
        prompt: `${first}\ncat a.txt > old; echo "agent on $(cat old)" > a.txt; rm old; git commit -qam x`,
        role,
        writes: ['a.txt'],
      },
      { id: 'outside', prompt: 'echo x > other.txt', role, writes: ['mine'] },
    ]);
    await fleet.until('the agent to run', () => existsSync(join(fleet.dir, 'clash.runs')));
    fleet.push({ 'a.txt': 'person\n' }, 'the same file');
    writeFileSync(join(fleet.dir, 'clash.go'), '');
    const ended = await fleet.signalbox.wait(ids);
    expect(ended.get('c/clash')).toMatchObject({ attempt: 2, outcome: { kind: 'landed' } });
    expect(fleet.file('a.txt')).toBe('agent on person');
    expect(ended.get('c/outside')?.outcome).toMatchObject({
      kind: 'failed',
      code: 'OUTSIDE_CLAIM',
      text: expect.stringContaining('other.txt'),
    });
    // Nothing is lost: what was refused is kept under the attempt's own ref.
    expect(
      fleet.git([
        '-C',
        fleet.origin,
        'for-each-ref',
        '--format=%(refname)',
        'refs/signalbox/attempts/c/outside',
      ]),
    ).toContain('refs/signalbox/attempts/c/outside/');
  });

  it('is refused when a verify command fails on the merged tree', async () => {
    const fleet = await start({ role: { verify: ['test ! -e broken'] } });
    const ended = await fleet.run('v', [
      { id: 'bad', prompt: edit('broken', 'x'), role, writes: ['broken'] },
      { id: 'good', prompt: edit('fine', 'x'), role, writes: ['fine'] },
    ]);
    expect(ended.bad?.outcome).toMatchObject({ kind: 'failed', code: 'VERIFY_FAILED' });
    expect(ended.good?.outcome?.kind).toBe('landed');
  });

  it('that the public never sees is rolled back, and its role is frozen until a person resumes it', async () => {
    let page = 'nothing';
    const server = createServer((_request, response) => response.end(page)).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    try {
      const surface = { url: `http://127.0.0.1:${port}/`, contains: 'version {commit}', within: '1s' };
      const fleet = await start({ role: { deploy: { command: 'echo deployed' }, surface } });
      const ended = await fleet.run('d', [{ id: 'unseen', prompt: edit('a', 'x'), role, writes: ['a'] }]);
      expect(ended.unseen?.outcome).toMatchObject({ kind: 'failed', code: 'SURFACE_FAILED' });
      expect(() => fleet.file('a')).toThrow();
      const ids = await fleet.submit('d2', [{ id: 'next', prompt: edit('b', 'x'), role, writes: ['b'] }]);
      await fleet.until(
        'the role to be frozen',
        async () => (await fleet.phase('d2/next', 'held')).code === 'ROLE_FROZEN',
      );
      server.removeAllListeners('request');
      server.on('request', (_request, response) =>
        response.end(`version ${fleet.git(['-C', fleet.origin, 'rev-parse', 'main'])}`),
      );
      await fleet.signalbox.resume({ role });
      expect((await fleet.signalbox.wait(ids)).get('d2/next')?.outcome?.kind).toBe('landed');
      const kinds = (await readLedger(fleet.origin, 'main')).map(({ kind }) => kind);
      expect(kinds).toEqual(['opened', 'taken-over', 'landed', 'rolled-back', 'landed', 'settled']);
    } finally {
      server.close();
      page = '';
    }
  });
});

describe('any Temporal client', () => {
  it('submits with a plain start, cancels with a plain signal, and closes an issue with another', async () => {
    const fleet = await start();
    const connection = await Connection.connect({ address: inject('temporal') });
    try {
      const client = new Client({ connection });
      const plain = (id: string, task: object) =>
        client.workflow.start('agentTask', {
          workflowId: taskWorkflowId(fleet.name, `single/${id}`),
          taskQueue: `signalbox-${fleet.name}`,
          args: [{ fleet: fleet.name, task: { id, ...task } }],
        });
      const landed = await plain('lands', { prompt: edit('a', 'x'), role, writes: ['a'] });
      expect(await landed.result()).toMatchObject({ kind: 'landed', code: 'LANDED' });
      const sleeper = await plain('sleeps', { prompt: 'sleep 300', role, writes: ['b'] });
      await fleet.phase('single/sleeps', 'running');
      await sleeper.signal('cancelTask', { reason: 'enough', by: 'me' });
      await expect(sleeper.result()).rejects.toThrow();
      expect((await sleeper.describe()).status.name).toBe('CANCELLED');
      const issued = await plain('issued', { prompt: 'sleep 300', role, writes: ['c'], issue: 'X-1' });
      await fleet.phase('single/issued', 'running');
      await client.workflow
        .getHandle(coordinatorId(fleet.name))
        .signal('issue', { key: 'X-1', state: 'done' });
      await expect(issued.result()).rejects.toThrow();
      const cancelled = await plain('ui', { prompt: 'sleep 300', role, writes: ['d'] });
      await fleet.phase('single/ui', 'running');
      await cancelled.cancel();
      await expect(cancelled.result()).rejects.toThrow();
      const packets = await readPackets(fleet.fleet);
      const codes = Object.fromEntries(packets.map(({ task, outcome }) => [task, outcome.code]));
      expect(codes).toMatchObject({
        'single/sleeps': 'CANCELLED_BY_REQUEST',
        'single/issued': 'ISSUE_CLOSED',
        'single/ui': 'CANCELLED_IN_TEMPORAL',
      });
      const bad = await plain('bad', { prompt: '', writes: ['../x'], colour: 'red' });
      await expect(bad.result()).rejects.toMatchObject({
        cause: { message: expect.stringMatching(/prompt: must not be empty[\s\S]*colour/) },
      });
    } finally {
      await connection.close();
    }
  });
});

describe('death', () => {
  it('of the worker with -9 leaves no agent behind, loses nothing and lands nothing twice', async () => {
    const fleet = await start();
    const slow = (path: string) => edit(path, 'x', 'sleep 1.5');
    const ids = await fleet.submit(
      'k',
      Array.from({ length: 6 }, (_, i) => ({
        id: `t${i}`,
        prompt: slow(`f${i % 3}`),
        role,
        writes: [`f${i % 3}`],
      })),
    );
    await fleet.until('agents to run', () => markedProcesses(fleet.dir).length > 0);
    const [worker] = fleet.workers;
    if (worker) await fleet.kill(worker, 'SIGKILL');
    await fleet.startWorker();
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map(({ outcome }) => outcome?.kind === 'landed' || outcome)).toEqual(
      ids.map(() => true),
    );
    for (const file of ['f0', 'f1', 'f2']) expect(fleet.file(file)).toBe('x\nx');
    expect(markedProcesses(fleet.dir)).toEqual([]);
    expect(await fleet.violations(ids)).toEqual([]);
  });

  it('and of the coordinator with it, right after a push that its task has not heard of, fails nobody', async () => {
    const fleet = await start();
    const before = fleet.git(['-C', fleet.origin, 'rev-parse', 'main']);
    const ids = await fleet.submit('k', [{ id: 'a', prompt: edit('a', 'x'), role, writes: ['a'] }]);
    await fleet.until('the push', () => fleet.git(['-C', fleet.origin, 'rev-parse', 'main']) !== before);
    const [worker] = fleet.workers;
    if (worker) await fleet.kill(worker, 'SIGKILL');
    await fleet.signalbox.client.workflow.getHandle(coordinatorId(fleet.name)).terminate('test');
    await fleet.startWorker();
    const ended = await fleet.signalbox.wait(ids);
    expect(ended.get('k/a')?.outcome?.kind).toBe('landed');
    expect(fleet.file('a')).toBe('x');
    expect(await fleet.violations(ids)).toEqual([]);
  });

  it('of the coordinator grants nothing twice: the next one hears everybody first', async () => {
    const fleet = await start();
    const first = await fleet.submit('first', [
      { id: 'holder', prompt: edit('a', 'one', gate(fleet.dir, 'holder')), role, writes: ['a'] },
    ]);
    await fleet.until('the holder to run', () => existsSync(join(fleet.dir, 'holder.runs')));
    const rest = await fleet.submit('r', [
      { id: 'waiter', prompt: edit('a', 'two'), role, writes: ['a'] },
      { id: 'last', prompt: edit('b', 'x'), role, writes: ['b'], after: ['waiter'] },
    ]);
    const ids = [...first, ...rest];
    await fleet.phase('r/waiter', 'held');
    const { client } = fleet.signalbox;
    const before = (await fleet.signalbox.overview()).epoch;
    await client.workflow.getHandle(coordinatorId(fleet.name)).terminate('test');
    await fleet.until('another coordinator', async () => {
      const overview = await fleet.signalbox.overview().catch(() => undefined);
      return overview && overview.epoch > before && !overview.recovering;
    });
    expect(await fleet.phase('first/holder', 'running')).toBeDefined();
    expect(await fleet.phase('r/waiter', 'held')).toMatchObject({ holder: 'first/holder' });
    writeFileSync(join(fleet.dir, 'holder.go'), '');
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map((line) => line.outcome?.kind)).toEqual(['landed', 'landed', 'landed']);
    expect(fleet.file('a')).toBe('one\ntwo');
    expect(await fleet.violations(ids)).toEqual([]);
  });

  it('of a task by Terminate frees its paths, and not before its agent is dead', async () => {
    const fleet = await start();
    const ids = await fleet.submit('t', [
      { id: 'gone', prompt: 'sleep 300', role, writes: ['a'] },
      {
        id: 'next',
        prompt: edit('a', 'next', 'test -z "$(pgrep -f \'sleep 300 gone\')"'),
        role,
        writes: ['a'],
      },
    ]);
    await fleet.phase('t/gone', 'running');
    await fleet.until('the agent to run', () => markedProcesses(fleet.dir).length > 0);
    await fleet.signalbox.client.workflow
      .getHandle(taskWorkflowId(fleet.name, 't/gone'))
      .terminate('by hand');
    const ended = await fleet.signalbox.wait(ids.slice(1));
    expect(ended.get('t/next')?.outcome?.kind).toBe('landed');
    const packet = await fleet.until('its packet', async () => (await readPackets(fleet.fleet, 't/gone'))[0]);
    expect(packet.outcome).toMatchObject({ kind: 'cancelled', code: 'TERMINATED' });
  });

  it('of the writer in the middle of its work leaves the ledger to tell what landed', async () => {
    const fleet = await start({ role: { verify: ['sleep 1'] } });
    const ids = await fleet.submit(
      'w',
      Array.from({ length: 3 }, (_, i) => ({
        id: `t${i}`,
        prompt: edit(`f${i}`, 'x'),
        role,
        writes: [`f${i}`],
      })),
    );
    await fleet.phase('w/t0', 'landing');
    await fleet.signalbox.client.workflow.getHandle(writerId(fleet.name, role)).terminate('test');
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map((line) => line.outcome?.kind)).toEqual(['landed', 'landed', 'landed']);
    expect(await fleet.violations(ids)).toEqual([]);
  });
});
