// A task in its workstation, from the grant to its landing: a real fleet whose agents run in sandboxes. What attackers
// try there is in test/attack.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { markedProcesses } from '../activities/processes.js';
import { findProgram } from '../activities/sandbox/host.js';
import type { AttemptRecord } from '../src/domain/packet.js';
import { below, edit, replayedFleets, type TestFleet } from './support/fleet.js';
import { sandboxTest } from './support/sandbox.js';

const fleetOf = replayedFleets(1);

async function attemptsOf(fleet: TestFleet, task: string): Promise<AttemptRecord[]> {
  const [packet] = await fleet.packets(task);
  return packet?.attempts ?? [];
}

describe('a workstation', () => {
  sandboxTest('is a place of its own, and its work lands', async () => {
    const fleet = await fleetOf({ isolation: 'sandbox', files: { 'src/a': 'a\n' } });
    const prompt = [
      'pwd; echo "home $HOME"; id -u; hostname; ls /w',
      `ls ${fleet.dir} /root /home /etc/shadow 2>&1`,
      'git log --format=%s; git fetch -q origin && echo fetched',
      'env | cut -d= -f1 | sort | xargs',
      edit('src/a', 'changed'),
      'echo left > src/left',
      'echo "all well" > "$SIGNALBOX_REPORT_FILE"',
    ].join('\n');
    const { look } = await fleet.run('p', [{ id: 'look', prompt, role: 'main', writes: ['src'] }]);
    const [attempt] = await attemptsOf(fleet, 'p/look');
    expect(look, attempt?.tail).toMatchObject({ phase: 'ended', outcome: { kind: 'landed' } });
    expect(fleet.file('src/a')).toContain('changed');
    expect(fleet.file('src/left')).toBe('left');
    expect(attempt).toMatchObject({
      report: 'all well\n',
      committedForAgent: true,
      isolation: { kind: 'sandbox', network: 'none' },
    });
    const said = attempt?.tail ?? '';
    expect(said).toContain(
      '/w/repo\nhome /w/home\n1000\nworkstation\nanswers\nhome\norigin\nprompt.md\nrepo\nrequests\nresult\n',
    );
    for (const path of [fleet.dir, '/root', '/home', '/etc/shadow'])
      expect(said).toMatch(new RegExp(`${path}'?: No such file`));
    expect(said).toContain('seed\nfetched\n');
    expect(said, 'nothing of the worker’s environment').not.toContain('TEMPORAL_ADDRESS');
  });

  sandboxTest('of a read-only task cannot be changed, and still reports', async () => {
    const fleet = await fleetOf({ isolation: 'sandbox', files: { 'src/a': 'a\n' } });
    const prompt = [
      'touch src/b && echo changed',
      'git commit -q --allow-empty -m x && echo committed',
      'git log --format=%s > "$SIGNALBOX_REPORT_FILE"',
    ].join('\n');
    const { read } = await fleet.run('p', [{ id: 'read', prompt }]);
    expect(read).toMatchObject({ outcome: { kind: 'finished' } });
    const [attempt] = await attemptsOf(fleet, 'p/read');
    expect(attempt?.report).toBe('seed\n');
    expect(attempt?.tail).toContain('Read-only file system');
    expect(attempt?.tail).not.toMatch(/^(changed|committed)$/m);
  });

  sandboxTest('asks for more paths from inside', async () => {
    const fleet = await fleetOf({ isolation: 'sandbox' });
    const prompt = `signalbox extend docs && ${edit('docs/a', 'x').trim()}`;
    const { more } = await fleet.run('p', [{ id: 'more', prompt, role: 'main', writes: ['src'] }]);
    expect(more, (await attemptsOf(fleet, 'p/more'))[0]?.tail).toMatchObject({ outcome: { kind: 'landed' } });
  });

  sandboxTest('of the next attempt has the work of the one that had to start again', async () => {
    const fleet = await fleetOf({
      isolation: 'sandbox',
      config: { retry: { attempts: 3, backoff: '100ms' } },
    });
    // Each waits for the other: one is ended, and starts again with its work and all the paths.
    const prompt = (own: string, other: string) =>
      [
        `if [ -e ${own}/first ]; then ls ${own} > "$SIGNALBOX_REPORT_FILE"; exit 0; fi`,
        edit(`${own}/first`, 'one'),
        `signalbox extend ${other} --wait`,
      ].join('\n');
    const ended = await fleet.run('p', [
      { id: 'a', prompt: prompt('src', 'lib'), role: 'main', writes: ['src'] },
      { id: 'b', prompt: prompt('lib', 'src'), role: 'main', writes: ['lib'] },
    ]);
    expect(ended).toMatchObject({ a: { outcome: { kind: 'landed' } }, b: { outcome: { kind: 'landed' } } });
    const reports = [...(await attemptsOf(fleet, 'p/a')), ...(await attemptsOf(fleet, 'p/b'))].map(
      ({ report }) => report,
    );
    expect(reports).toContain('first\n');
  });

  sandboxTest('leaves nothing on the host, whatever its agent leaves', async () => {
    const fleet = await fleetOf({ isolation: 'sandbox' });
    const prompt = [
      'mkdir -p "$HOME/closed/inner" closed/inner && chmod 000 "$HOME/closed"',
      'sleep 1000 & setsid sleep 1000 & nohup sleep 1000 >/dev/null 2>&1 &',
      edit('a', 'x'),
    ].join('\n');
    const { a } = await fleet.run('p', [{ id: 'a', prompt, role: 'main', writes: ['a'] }]);
    expect(a).toMatchObject({ outcome: { kind: 'landed' } });
    expect(readdirSync(join(fleet.fleet.home, 'workstations'))).toEqual([]);
    expect(markedProcesses((marker) => marker.startsWith(join(fleet.fleet.home, 'workstations')))).toEqual(
      [],
    );
  });

  sandboxTest('is cleared away, and its work kept, when its worker is killed', async () => {
    const fleet = await fleetOf({
      isolation: 'sandbox',
      config: { retry: { attempts: 2, backoff: '100ms' } },
    });
    const prompt = [
      'if [ "$SIGNALBOX_ATTEMPT" = 2 ]; then echo two > a; exit 0; fi',
      edit('a', 'one'),
      'touch uncommitted; sleep 1000',
    ].join('\n');
    const [id = ''] = await fleet.submit('p', [{ id: 'a', prompt, role: 'main', writes: ['.'] }]);
    await fleet.phase(id, 'running');
    const stations = join(fleet.fleet.home, 'workstations');
    const mine = () => markedProcesses((marker) => marker.startsWith(stations));
    await fleet.until('the agent to have committed', () =>
      below(stations).some((name) => name.endsWith('uncommitted')),
    );
    const [worker] = fleet.workers;
    if (worker) await fleet.kill(worker, 'SIGKILL');
    await fleet.until('its sandbox to be gone', () => mine().length === 0);
    await fleet.startWorker();
    expect(await fleet.signalbox.wait([id])).toMatchObject(new Map([[id, { outcome: { kind: 'landed' } }]]));
    const attempts = fleet.git([
      '-C',
      fleet.origin,
      'for-each-ref',
      '--format=%(refname)',
      'refs/signalbox/attempts',
    ]);
    const [first = ''] = attempts.split('\n');
    expect(fleet.git(['-C', fleet.origin, 'ls-tree', '-r', '--name-only', first])).toContain('uncommitted');
  });

  sandboxTest('that cannot be had is refused, with what mends it', async () => {
    const fleet = await fleetOf({ isolation: 'sandbox' }, false);
    const bin = mkdtempSync(join(tmpdir(), 'signalbox-bin-'));
    try {
      for (const name of ['sh', 'git', 'env', 'node', 'apt-get', 'prlimit']) {
        const path = findProgram(name);
        if (path) symlinkSync(path, join(bin, name));
      }
      mkdirSync(join(bin, 'empty'));
      await fleet.startWorker([], fleet.address, { PATH: bin });
      const { a } = await fleet.run('p', [{ id: 'a', prompt: 'true', role: 'main', writes: ['a'] }]);
      expect(a).toMatchObject({ outcome: { kind: 'failed', code: 'WORKSTATION_FAILED' } });
      expect(a?.outcome?.text).toMatch(/bubblewrap \(bwrap\) is not installed: .*install.* bubblewrap/);
    } finally {
      rmSync(bin, { recursive: true });
    }
  });

  sandboxTest('that is not asked for is shouted in the packet', async () => {
    const fleet = await fleetOf();
    await fleet.run('p', [{ id: 'a', prompt: 'true' }]);
    expect((await attemptsOf(fleet, 'p/a'))[0]?.isolation).toEqual({ kind: 'none' });
  });
});
