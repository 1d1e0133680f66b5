// Agents that change their claims while they run, on a real server, with real git: `signalbox extend` and `release`
// from the workstation and from outside.

import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { taskWorkflowId } from '../src/domain/ids.js';
import type { ClaimAnswer } from '../src/domain/own-claims.js';
import { edit, MAIN, replayedFleets, type TestFleet } from './support/fleet.js';

const start = replayedFleets(1);

const role = 'main';
const until = (file: string) => `until test -e '${file}'; do sleep 0.1; done`;
const at = (fleet: TestFleet, name: string) => join(fleet.dir, name);

async function cli(fleet: TestFleet, ...args: string[]) {
  const done = promisify(execFile)(process.execPath, [MAIN, ...args, '--config', fleet.configFile], {
    env: fleet.env,
  });
  return await done.then(
    ({ stdout }) => ({ code: 0, out: stdout }),
    (error: { code: number; stdout: string }) => ({ code: error.code, out: error.stdout }),
  );
}

describe('an agent', () => {
  it('is granted more paths that nobody holds, and lands what it wrote there', async () => {
    const fleet = await start();
    const { one } = await fleet.run('x', [
      { id: 'one', prompt: edit('b/new', 'x', 'signalbox extend b a/2 || exit 1'), role, writes: ['a/1'] },
    ]);
    expect(one?.outcome).toMatchObject({ kind: 'landed' });
    expect(fleet.file('b/new')).toBe('x');
    const [packet] = await fleet.packets('x/one');
    expect(packet?.writes).toEqual(['a/1', 'b', 'a/2']);
    expect(packet?.decisions.find(({ code }) => code === 'EXTENDED')?.evidence.paths).toEqual(['b', 'a/2']);
  });

  it('is refused with the holder’s name, and may go on without', async () => {
    const fleet = await start();
    const go = at(fleet, 'go');
    const ids = await fleet.submit('x', [
      { id: 'holder', prompt: edit('b/x', 'x', until(go)), role, writes: ['b'] },
      {
        id: 'asks',
        prompt: edit(
          'a',
          'x',
          `signalbox extend b/x > '${at(fleet, 'said')}'; echo $? > '${at(fleet, 'code')}'; touch '${go}'`,
        ),
        role,
        writes: ['a'],
      },
    ]);
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map(({ outcome }) => outcome?.kind)).toEqual(['landed', 'landed']);
    expect(fleet.read('said')).toBe('refused: b/x overlaps b, held by x/holder\n');
    expect(fleet.read('code')).toBe('3\n');
  });

  it('waits for the paths when it asks to, and has them when their holder has landed', async () => {
    const fleet = await start();
    const go = at(fleet, 'go');
    const ids = await fleet.submit('x', [
      { id: 'holder', prompt: edit('b', 'first', until(go)), role, writes: ['b'] },
      {
        id: 'asks',
        prompt: edit('b', 'second', 'signalbox extend b --wait || exit 1; git pull -q origin main'),
        role,
        writes: ['a'],
      },
    ]);
    await fleet.until('the wait', async () =>
      (await fleet.signalbox.story('x/asks'))?.decisions.some(({ code }) => code === 'EXTENSION_WAITS'),
    );
    expect(await fleet.phase('x/asks', 'running')).toMatchObject({
      code: 'EXTENSION_WAITS',
      holder: 'x/holder',
    });
    writeFileSync(go, '');
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map(({ outcome }) => outcome?.kind)).toEqual(['landed', 'landed']);
    expect(await fleet.violations(ids)).toEqual([]);
  });

  it('that would wait in a circle starts again with all its paths, and with its work', async () => {
    const fleet = await start();
    const swap = (own: string, other: string) =>
      [
        'if test -n "$SIGNALBOX_EARLIER"; then',
        `  git merge-base --is-ancestor "$SIGNALBOX_EARLIER" HEAD && grep -q work ${own} || exit 9`,
        'else',
        `  echo work > ${own}; git add -A; git commit -qm work; touch '${at(fleet, own)}'; ${until(at(fleet, other))}`,
        `  signalbox extend ${other} --wait || exit 8`,
        'fi',
        edit(`${other}.by-${own}`, 'x').trim(),
      ].join('\n');
    const ids = await fleet.submit('x', [
      { id: 'a', prompt: swap('a', 'b'), role, writes: ['a', 'b.by-a'] },
      { id: 'b', prompt: swap('b', 'a'), role, writes: ['b', 'a.by-b'] },
    ]);
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map(({ outcome }) => outcome)).toMatchObject([
      { kind: 'landed' },
      { kind: 'landed' },
    ]);
    expect([fleet.file('a'), fleet.file('b')]).toEqual(['work', 'work']);
    const codes = (await fleet.packets()).flatMap(({ decisions }) => decisions.map(({ code }) => code));
    expect(codes).toContain('EXTENSION_RETRIED');
    expect(await fleet.violations(ids)).toEqual([]);
  });

  it('gives back what it does not need: others get it at once, and its landing may not change it', async () => {
    const fleet = await start();
    const go = at(fleet, 'go');
    const ids = await fleet.submit('x', [
      {
        id: 'gives',
        prompt: edit('b', 'late', `signalbox release b || exit 1; ${until(go)}`),
        role,
        writes: ['a', 'b'],
      },
      { id: 'gets', prompt: edit('b', 'x', `touch '${go}'`), role, writes: ['b'] },
    ]);
    const ended = await fleet.signalbox.wait(ids);
    expect(ended.get('x/gets')?.outcome?.kind).toBe('landed');
    expect(ended.get('x/gives')?.outcome).toMatchObject({ kind: 'failed', code: 'OUTSIDE_CLAIM' });
    expect(fleet.file('b')).toBe('x');
  });
});

describe('from outside', () => {
  it('a running task is given more paths, and gives some back', async () => {
    const fleet = await start();
    const go = at(fleet, 'go');
    const ids = await fleet.submit('x', [
      { id: 'a', prompt: edit('b', 'x', until(go)), role, writes: ['a'] },
    ]);
    await fleet.phase('x/a', 'running');
    await fleet.until('the agent', () => existsSync(at(fleet, 'signalbox.yaml')));
    const granted = await cli(fleet, 'extend', 'b', '--task', 'x/a', '--json');
    expect(JSON.parse(granted.out) as ClaimAnswer).toMatchObject({ answer: 'granted', writes: ['a', 'b'] });
    expect(await cli(fleet, 'release', 'c', '--task', 'x/a')).toMatchObject({
      code: 3,
      out: 'refused: it claims a, b, and can give back only that: not c\n',
    });
    expect((await cli(fleet, 'release', 'a', '--task', 'x/a')).out).toBe(
      'a is free for others; it claims b\n',
    );
    writeFileSync(go, '');
    expect((await fleet.signalbox.wait(ids)).get('x/a')?.outcome?.kind).toBe('landed');
    expect((await cli(fleet, 'extend', 'c', '--task', 'x/a')).code).toBe(3);
  });
});

describe('a task that is started again', () => {
  it('has the paths that it was granted before, and those that it gave back', async () => {
    const fleet = await start();
    const prompt = (id: string, then: string) => {
      const again = at(fleet, `${id}.again`);
      return edit(
        `${id}/more`,
        'x',
        `if ! test -e '${again}'; then signalbox extend ${id}/more || exit 8; signalbox release ${id}/b || exit 7; touch '${again}'; ${then}; fi; echo y > ${id}/b`,
      );
    };
    const writes = (id: string) => [`${id}/a`, `${id}/b`];
    const ids = await fleet.submit('x', [
      { id: 'fails', prompt: prompt('fails', 'exit 9'), role, writes: writes('fails') },
      { id: 'stays', prompt: prompt('stays', 'sleep 600'), role, writes: writes('stays') },
    ]);
    await fleet.signalbox.wait(['x/fails']);
    await fleet.until('the agent', () => existsSync(at(fleet, 'stays.again')));
    await fleet.signalbox.client.workflow.getHandle(taskWorkflowId(fleet.name, 'x/stays')).terminate();
    for (const id of ids) await fleet.signalbox.retry(id);
    const ended = await fleet.signalbox.wait(ids);
    expect([...ended.values()].map(({ outcome }) => outcome)).toMatchObject([
      { kind: 'landed' },
      { kind: 'landed' },
    ]);
    expect((await fleet.packets('x/fails')).map((packet) => packet.writes)).toEqual([
      ['fails/a', 'fails/more'],
      ['fails/a', 'fails/b', 'fails/more'],
    ]);
    expect(fleet.file('stays/more')).toBe('x');
    expect(await fleet.violations(ids)).toEqual([]);
  });
});
