// Edges and assumptions on a real Temporal server, with real git: a blocker found late, outcomes that only packets know,
// and what a branch, a file and an artifact really are.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readPackets } from '../src/client/records.js';
import { Refused } from '../src/client/refused.js';
import type { Contention } from '../src/domain/contention.js';
import { coordinatorId, taskWorkflowId } from '../src/domain/ids.js';
import { edit, MAIN, replayedFleets, type TestFleet } from './support/fleet.js';

const fleets = replayedFleets(3);
const start = () => fleets({ files: { 'app.json': '{}\n' } });

const role = 'main';
const signalboxSays = (fleet: TestFleet, ...args: string[]): string =>
  execFileSync(process.execPath, [MAIN, ...args, '--config', fleet.configFile], {
    encoding: 'utf8',
    env: fleet.env,
  });
const gate = (dir: string, name: string) =>
  `touch '${dir}/${name}.runs'; while [ ! -e '${dir}/${name}.go' ]; do sleep 0.05; done`;
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('a blocker found late', () => {
  it('holds the landing of a running task until a task of another plan has landed; circles are refused by name', async () => {
    const fleet = await start();
    const { dir, signalbox } = fleet;
    await fleet.submit('p', [
      { id: 'a', prompt: edit('a.txt', 'a', gate(dir, 'a')), role, writes: ['a.txt'], after: ['q/first'] },
    ]);
    await fleet.until('it to wait for a task that nobody has submitted yet', async () => {
      const story = await signalbox.story('p/a');
      return story?.task.code === 'UPSTREAM_UNKNOWN' && story.task.holder === 'q/first';
    });
    await fleet.submit('q', [
      { id: 'first', prompt: 'true' },
      { id: 'b', prompt: edit('b.txt', 'b', gate(dir, 'b')), role, writes: ['b.txt'] },
      { id: 'c', prompt: 'true', after: ['p/a'] },
    ]);
    await fleet.until(
      'both to run',
      () => existsSync(join(dir, 'a.runs')) && existsSync(join(dir, 'b.runs')),
    );
    await expect(signalbox.block('p/a', { on: 'q/ghost' })).rejects.toThrow('no task q/ghost');
    await expect(signalbox.block('p/a', { on: 'q/c' })).rejects.toThrow(
      new Refused('it cannot wait for q/c too, for then tasks would wait in a circle: p/a -> q/c -> p/a'),
    );
    const story = await signalbox.block('p/a', { on: 'q/b', by: 'ann' });
    expect(story.after).toEqual([{ task: 'q/first' }, { task: 'q/b', added: true, by: 'ann' }]);
    writeFileSync(join(dir, 'a.go'), '');
    await fleet.until(
      'its landing to wait',
      async () => (await signalbox.story('p/a'))?.task.code === 'LANDING_BLOCKED',
    );
    writeFileSync(join(dir, 'b.go'), '');
    const ended = await signalbox.wait(['p/a', 'q/b', 'q/c']);
    expect([...ended.values()].map((line) => line.outcome?.kind).sort()).toEqual([
      'finished',
      'landed',
      'landed',
    ]);
    const log = fleet.git(['-C', fleet.origin, 'log', '--format=%s', 'main']).split('\n');
    expect(log.indexOf('edit a.txt')).toBeLessThan(log.indexOf('edit b.txt'));
    const [packet] = await readPackets(fleet.fleet, 'p/a');
    expect(packet?.after.map(({ task }) => task)).toEqual(['q/first', 'q/b']);
    expect(await fleet.violations(['p/a', 'q/first', 'q/b', 'q/c'])).toEqual([]);
  });

  it('is not forgotten by a retry', async () => {
    const fleet = await start();
    const { dir, signalbox } = fleet;
    await fleet.submit('p', [
      { id: 'a', prompt: gate(dir, 'a') },
      { id: 'b', prompt: gate(dir, 'b') },
    ]);
    await fleet.until(
      'both to run',
      () => existsSync(join(dir, 'a.runs')) && existsSync(join(dir, 'b.runs')),
    );
    await signalbox.block('p/a', { on: 'p/b' });
    await signalbox.cancel('p/a', 'later');
    await signalbox.wait(['p/a']);
    await signalbox.retry('p/a');
    const held = await fleet.until('it to wait', async () => {
      const story = await signalbox.story('p/a');
      return story?.task.phase === 'held' && story.task.code === 'UPSTREAM_PENDING' && story.task;
    });
    expect(held.holder).toBe('p/b');
  });
});

it('an upstream that Temporal has forgotten is known from its packet, by a coordinator that never heard of it', async () => {
  const fleet = await start();
  const { client } = fleet.signalbox;
  const old = await fleet.run('old', [
    { id: 'x', prompt: edit('x.txt', 'x'), role, writes: ['x.txt'] },
    { id: 'y', prompt: 'exit 1' },
  ]);
  expect([old.x?.outcome?.kind, old.y?.outcome?.kind]).toEqual(['landed', 'failed']);
  for (const id of ['old/x', 'old/y'])
    await client.workflowService.deleteWorkflowExecution({
      namespace: 'default',
      workflowExecution: { workflowId: taskWorkflowId(fleet.name, id) },
    });
  await fleet.until('Temporal to have forgotten', async () => !(await fleet.signalbox.describe('old/x')));
  await client.workflow.getHandle(coordinatorId(fleet.name)).terminate('a new one, without memory');
  const next = await fleet.run('new', [
    { id: 'after-x', prompt: 'true', after: [{ task: 'old/x', until: 'landed' }] },
    { id: 'after-y', prompt: 'true', after: ['old/y'] },
  ]);
  expect(next['after-x']?.outcome?.kind).toBe('finished');
  expect(next['after-y']?.outcome).toMatchObject({ kind: 'cancelled', code: 'UPSTREAM_FAILED' });
  const why = signalboxSays(fleet, 'why', 'old/x').split('\n');
  expect(why[0]).toMatch(/^old\/x landed: as commit [0-9a-f]{12} \[LANDED\]$/);
  expect(
    why
      .filter((line) => / #\d+ /.test(line) && !line.includes('waits: '))
      .map((line) => line.replace(/^.*?#\d+ +/, '')),
  ).toEqual([
    expect.stringMatching(/^attempt 1 starts: .*\[CLAIMS_FREE\]$/),
    expect.stringMatching(/^attempt 1 lands: .*\[COMMITS_READY\]$/),
    expect.stringMatching(/^ends: as commit .*\[LANDED\]$/),
  ]);
});

it('contention names the claim that was waited for, live and from packets, and what the files really changed would save', async () => {
  const fleet = await start();
  const { dir, signalbox } = fleet;
  const first = await fleet.submit('p', [
    { id: 'wide', prompt: edit('src/a.txt', 'a', gate(dir, 'wide')), role, writes: ['src'] },
  ]);
  await fleet.until('it to run', () => existsSync(join(dir, 'wide.runs')));
  const second = await fleet.submit('q', [
    { id: 'b', prompt: edit('src/b.txt', 'b'), role, writes: ['src/b.txt'] },
  ]);
  await fleet.phase('q/b', 'held');
  const live = JSON.parse(signalboxSays(fleet, 'contention', '--json')) as { contention: Contention[] };
  expect(live.contention).toMatchObject([{ claim: 'src', by: ['q/b'], held: ['p/wide'], avoidableMs: 0 }]);
  writeFileSync(join(dir, 'wide.go'), '');
  await signalbox.wait([...first, ...second]);
  const [found, ...more] = (
    JSON.parse(signalboxSays(fleet, 'contention', '--plan', 'q', '--json')) as { contention: Contention[] }
  ).contention;
  expect(more).toEqual([]);
  expect(found).toMatchObject({ claim: 'src', waits: 1, by: ['q/b'], split: ['src/a.txt'] });
  expect(found?.avoidableMs).toBe(found?.totalMs);
  expect(signalboxSays(fleet, 'contention', '--plan', 'p').trim()).toBe(
    'nobody has waited for a claim or a resource',
  );
});

it('what tasks assume is looked at for real, before they start and when something lands', async () => {
  const fleet = await start();
  const { dir, origin, signalbox } = fleet;
  const tip = fleet.git(['-C', origin, 'rev-parse', 'main']);
  const artifact = join(dir, 'app.tgz');
  writeFileSync(artifact, 'bytes');
  const fits = [
    { kind: 'branch-at', commit: tip },
    { kind: 'branch-contains', commit: tip },
    { kind: 'file', path: 'app.json', sha256: sha256('{}\n') },
    { kind: 'artifact', at: artifact, sha256: sha256('bytes') },
  ] as const;
  const wrong = [
    { kind: 'branch-at', commit: 'a'.repeat(40) },
    { kind: 'branch-contains', commit: 'b'.repeat(40) },
    { kind: 'file', path: 'none.json', sha256: sha256('') },
    { kind: 'artifact', at: '/no/such/file', sha256: sha256('') },
  ] as const;
  const tried = await fleet.run('p', [
    { id: 'fits', prompt: 'true', assumes: [...fits] },
    ...wrong.map((one, i) => ({
      id: `wrong-${i}`,
      prompt: 'true',
      assumes: [one],
      onBroken: 'cancel' as const,
    })),
  ]);
  expect(tried.fits?.outcome?.kind).toBe('finished');
  expect(wrong.map((_, i) => tried[`wrong-${i}`]?.outcome?.text)).toEqual([
    `it assumes the branch at aaaaaaaaaaaa, but it is at ${tip.slice(0, 12)}; it is cancelled`,
    `it assumes the branch to contain bbbbbbbbbbbb, but at ${tip.slice(0, 12)} it does not; it is cancelled`,
    `it assumes none.json with the content ${sha256('').slice(0, 12)}, but it is not there; it is cancelled`,
    `it assumes /no/such/file with the digest ${sha256('').slice(0, 12)}, but it is not there; it is cancelled`,
  ]);
  await fleet.run('first', [{ id: 'one', prompt: edit('one.txt', 'x'), role, writes: ['one.txt'] }]);
  const running = await fleet.submit('q', [
    {
      id: 'relies',
      prompt: edit('r.txt', 'r', gate(dir, 'relies')),
      role,
      writes: ['r.txt'],
      reads: ['lib'],
      assumes: [{ kind: 'file', path: 'app.json', sha256: sha256('{}\n') }],
      onBroken: 'continue',
    },
  ]);
  await fleet.until('it to run', () => existsSync(join(dir, 'relies.runs')));
  fleet.push({ 'lib/by-hand.txt': 'x\n' }, 'a push of a person');
  await fleet.run('r', [{ id: 'change', prompt: edit('app.json', 'x'), role, writes: ['app.json'] }]);
  const story = await fleet.until('both to be noted', async () => {
    const known = await signalbox.story('q/relies');
    return known?.decisions.filter(({ verdict }) => verdict === 'note').length === 2 && known;
  });
  const notes = story.decisions.filter(({ verdict }) => verdict === 'note');
  expect(notes.map(({ code }) => code).sort()).toEqual(['ASSUMPTION_BROKEN', 'READS_CHANGED']);
  expect(notes.find(({ code }) => code === 'READS_CHANGED')?.evidence).toMatchObject({
    path: 'lib/by-hand.txt',
    by: 'somebody outside the fleet',
  });
  writeFileSync(join(dir, 'relies.go'), '');
  await signalbox.wait(running);
  const [packet] = await readPackets(fleet.fleet, 'q/relies');
  expect(packet?.decisions.map(({ code }) => code)).toEqual(
    expect.arrayContaining(['ASSUMPTION_BROKEN', 'READS_CHANGED', 'LANDED']),
  );
});
