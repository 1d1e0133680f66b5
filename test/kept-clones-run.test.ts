// Clones between the attempts of a task, in a real fleet: who goes on in one, what becomes of it when hosts and workers go
// away, and what `signalbox cleanup` does with what is left.

import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect } from 'vitest';
import { parse, stringify } from 'yaml';
import { markedProcesses } from '../activities/processes.js';
import { readFleet } from '../src/client/config.js';
import type { AttemptRecord } from '../src/domain/packet.js';
import type { CleanupReport } from '../worker/cleanup.js';
import { below, edit, type FleetOptions, MAIN, replayedFleets, type TestFleet } from './support/fleet.js';
import { sandboxTest } from './support/sandbox.js';

const fleetOf = replayedFleets(1);
const run = promisify(execFile);

const OPTIONS: FleetOptions = {
  isolation: 'sandbox',
  files: { '.gitignore': 'target/\n' },
  config: { retry: { attempts: 3, backoff: '200ms' } },
};

async function attemptsOf(fleet: TestFleet, task: string): Promise<AttemptRecord[]> {
  const [packet] = await fleet.packets(task);
  return packet?.attempts ?? [];
}

/** The first attempt builds and fails; the next one tells what it found, and lands. */
const BUILD_ONCE = [
  'if [ "$SIGNALBOX_ATTEMPT" = 1 ]; then mkdir target; echo built > target/o; echo half > half; exit 1; fi',
  'echo "reused=$SIGNALBOX_REUSED $(cat target/o 2>&1) $(ls)" > "$SIGNALBOX_REPORT_FILE"',
  edit('done', 'x'),
].join('\n');

const folders = (home: string, name: string): string[] =>
  existsSync(join(home, name)) ? readdirSync(join(home, name)) : [];

/** All that is below, where there is anything. */
const attemptRefs = (fleet: TestFleet): string[] =>
  fleet
    .git(['-C', fleet.origin, 'for-each-ref', '--format=%(refname)', 'refs/signalbox/attempts'])
    .split('\n')
    .filter(Boolean);

async function cleanup(fleet: TestFleet, ...args: string[]): Promise<CleanupReport> {
  const all = [MAIN, 'cleanup', '--json', '--config', fleet.configFile, ...args];
  return JSON.parse((await run(process.execPath, all, { env: fleet.env })).stdout);
}

/** The fleet on another host: a folder of its own. */
async function secondHost(fleet: TestFleet): Promise<{ config: string; home: string }> {
  const dir = join(fleet.dir, 'second');
  mkdirSync(dir);
  const config = join(dir, 'signalbox.yaml');
  const settings = parse(readFileSync(fleet.configFile, 'utf8'));
  settings.repositories.app.url = fleet.origin;
  writeFileSync(config, stringify(settings));
  return { config, home: (await readFleet(config)).home };
}

describe('the next attempt', () => {
  sandboxTest(
    'goes on where its clone is, whichever host that is, and nothing is left in the end',
    async () => {
      const fleet = await fleetOf(OPTIONS);
      const second = await secondHost(fleet);
      await fleet.startWorker(['--config', second.config]);
      const ids = ['a', 'b', 'c', 'd'];
      const ended = await fleet.run(
        'p',
        ids.map((id) => ({
          id,
          prompt: BUILD_ONCE.replaceAll('done', `${id}/done`),
          role: 'main',
          writes: [id, 'half'],
        })),
      );
      const hosts = new Set<string | undefined>();
      for (const id of ids) {
        const attempts = await attemptsOf(fleet, `p/${id}`);
        expect(ended[id], JSON.stringify(attempts)).toMatchObject({ outcome: { kind: 'landed' } });
        const [first, next] = attempts;
        expect([first?.cloneKept, first?.reused, next?.reused]).toEqual([true, undefined, true]);
        expect(next?.host).toBe(first?.host);
        expect(next?.report).toMatch(/^reused=1 built README\.md/);
        expect(next?.report).not.toContain('half');
        hosts.add(first?.host);
      }
      for (const home of [fleet.fleet.home, second.home]) {
        await fleet.until('all clones to be gone', () =>
          ['kept', 'going', 'workstations', 'salvage'].every((name) => folders(home, name).length === 0),
        );
      }
    },
  );

  sandboxTest('goes elsewhere when the host of its clone is gone', async () => {
    const config = { retry: { attempts: 3, backoff: '5s' }, lease: '20s' };
    const fleet = await fleetOf({ ...OPTIONS, config });
    const second = await secondHost(fleet);
    await fleet.startWorker(['--config', second.config]);
    const [id = ''] = await fleet.submit('p', [{ id: 'a', prompt: BUILD_ONCE, role: 'main', writes: ['.'] }]);
    const homes = [fleet.fleet.home, second.home];
    const at = await fleet.until('the clone to be kept', () => {
      const found = homes.findIndex((one) => folders(one, 'kept').length === 1);
      return found < 0 ? undefined : { home: homes[found] ?? '', worker: fleet.workers[found] };
    });
    const { home, worker } = at;
    if (worker) await fleet.kill(worker, 'SIGKILL');
    expect((await fleet.signalbox.wait([id])).get(id)).toMatchObject({ outcome: { kind: 'landed' } });
    const attempts = await attemptsOf(fleet, id);
    expect(attempts.at(-1)?.host).not.toBe(attempts[0]?.host);
    expect(attempts.at(-1)?.reused).toBeUndefined();
    expect(attempts.at(-1)?.report).toMatch(/^reused= /);
    // The first host has not heard that the task is over; whoever cleans up there does.
    expect(folders(home, 'kept')).toHaveLength(1);
    const file = home === second.home ? second.config : fleet.configFile;
    const dry = await cleanup(fleet, '--dry-run', '--config', file);
    expect(dry.items.filter(({ kind }) => kind === 'kept clone')).toMatchObject([
      { task: id, does: 'remove' },
    ]);
    expect(folders(home, 'kept')).toHaveLength(1);
    await cleanup(fleet, '--config', file);
    expect(folders(home, 'kept')).toEqual([]);
  });

  sandboxTest(
    'has the build caches of the one whose worker was killed, and its commits are kept',
    async () => {
      const fleet = await fleetOf(OPTIONS);
      const prompt = [
        'if [ "$SIGNALBOX_ATTEMPT" = 1 ]; then mkdir target; echo built > target/o; echo half > half; sleep 1000; fi',
        BUILD_ONCE,
      ].join('\n');
      const [id = ''] = await fleet.submit('p', [{ id: 'a', prompt, role: 'main', writes: ['.'] }]);
      const stations = join(fleet.fleet.home, 'workstations');
      await fleet.until('the agent to be at work', () =>
        below(stations).some((name) => name.endsWith('/half')),
      );
      const [worker] = fleet.workers;
      if (worker) await fleet.kill(worker, 'SIGKILL');
      await fleet.until(
        'its sandbox to be gone',
        () => markedProcesses((m) => m.startsWith(stations)).length === 0,
      );
      await fleet.startWorker();
      expect((await fleet.signalbox.wait([id])).get(id)).toMatchObject({ outcome: { kind: 'landed' } });
      const last = (await attemptsOf(fleet, id)).at(-1);
      expect(last?.reused).toBe(true);
      expect(last?.report).toMatch(/^reused=1 built README\.md/);
      const [kept = ''] = attemptRefs(fleet);
      expect(fleet.git(['-C', fleet.origin, 'ls-tree', '-r', '--name-only', kept])).toContain('half');
    },
  );
});

describe('signalbox cleanup', () => {
  sandboxTest(
    'keeps the work of a dead worker, and removes what is over; a dry run changes nothing',
    async () => {
      const fleet = await fleetOf({ ...OPTIONS, config: { retry: { attempts: 1 } } });
      const { home } = fleet.fleet;
      await fleet.run('p', [{ id: 'a', prompt: edit('a', 'x'), role: 'main', writes: ['a'] }]);
      await fleet.run('q', [
        { id: 'b', prompt: `${edit('b', 'x')}\nsleep 2`, role: 'main', writes: ['b'] },
        { id: 'c', prompt: edit('c', 'x'), role: 'main', writes: ['c'] },
        { id: 'fails', prompt: `${edit('d', 'x')}\nexit 1`, role: 'main', writes: ['d'] },
      ]);
      // A landing takes its ref away; these stayed, of what landed as it was and of what became another commit.
      const landed = new Set<boolean>();
      for (const { task, attempts, outcome } of await fleet.packets()) {
        const result = attempts.at(-1)?.result;
        if (result?.kind !== 'commits') continue;
        fleet.git(['-C', fleet.origin, 'update-ref', result.ref, result.commit]);
        landed.add(outcome.commit === result.commit);
        expect(result.ref).toContain(task);
      }
      expect([...landed].sort()).toEqual([false, true]);
      const [id = ''] = await fleet.submit('r', [
        {
          id: 'lost',
          prompt: 'mkdir target; echo precious > lost; sleep 1000',
          role: 'main',
          writes: ['lost'],
        },
      ]);
      const station = join(home, 'workstations/r/lost');
      await fleet.until('the agent to be at work', () =>
        folders(home, 'workstations/r/lost').some((fence) => existsSync(join(station, fence, 'clone/lost'))),
      );
      expect((await cleanup(fleet, '--dry-run')).items.find(({ task }) => task === id)).toMatchObject({
        does: 'stay',
        why: 'its attempt runs',
      });
      const [worker] = fleet.workers;
      if (worker) await fleet.kill(worker, 'SIGKILL');
      await fleet.until(
        'its sandbox to be gone',
        () => markedProcesses((m) => m.startsWith(station)).length === 0,
      );
      mkdirSync(join(home, 'going/half'), { recursive: true });

      const before = [attemptRefs(fleet), readdirSync(home, { recursive: true }).length];
      const dry = await cleanup(fleet, '--dry-run');
      expect([attemptRefs(fleet), readdirSync(home, { recursive: true }).length]).toEqual(before);
      const verdicts = (items: CleanupReport['items']) =>
        items
          .filter(({ kind }) => kind !== 'ready clone')
          .map(({ kind, task, does }) => `${kind} ${task ?? ''} ${does}`)
          .sort();
      expect(verdicts(dry.items)).toEqual([
        'attempt ref p/a remove',
        'attempt ref q/b remove',
        'attempt ref q/c remove',
        'attempt ref q/fails stay',
        'remains  remove',
        'workstation r/lost quarantine',
      ]);

      const [one, two] = await Promise.all([cleanup(fleet), cleanup(fleet)]);
      for (const { items, problems } of [one, two]) {
        expect(problems).toEqual([]);
        expect(items.flatMap(({ problem }) => problem ?? [])).toEqual([]);
      }
      expect(attemptRefs(fleet).map((ref) => ref.split('/').slice(3, 5).join('/'))).toEqual([
        'q/fails',
        'r/lost',
      ]);
      const [, lost = ''] = attemptRefs(fleet);
      expect(fleet.git(['-C', fleet.origin, 'show', `${lost}:lost`])).toBe('precious');
      expect([folders(home, 'workstations'), folders(home, 'going'), folders(home, 'salvage')]).toEqual([
        [],
        [],
        [],
      ]);
      expect(folders(home, 'kept'), 'its task is not over').toHaveLength(1);
      await fleet.signalbox.client.workflow.getHandle(`${fleet.name}/task/${id}`).terminate('enough');
      await cleanup(fleet);
      expect(folders(home, 'kept')).toEqual([]);
      expect(verdicts((await cleanup(fleet)).items)).toEqual([
        'attempt ref q/fails stay',
        'attempt ref r/lost stay',
      ]);
    },
  );

  sandboxTest('that is killed while it keeps work has lost nothing', async () => {
    const fleet = await fleetOf(OPTIONS);
    const { home } = fleet.fleet;
    const prompt = 'mkdir target; echo precious > lost; sleep 1000';
    const [id = ''] = await fleet.submit('r', [{ id: 'lost', prompt, role: 'main', writes: ['lost'] }]);
    const stations = join(home, 'workstations');
    await fleet.until('the agent to be at work', () =>
      below(stations).some((name) => name.endsWith('clone/lost')),
    );
    const [worker] = fleet.workers;
    if (worker) await fleet.kill(worker, 'SIGKILL');
    // The repository is away: its work cannot be kept, and stays where it is.
    renameSync(fleet.origin, `${fleet.origin}.away`);
    const failed = await run(process.execPath, [MAIN, 'cleanup', '--config', fleet.configFile], {
      env: fleet.env,
    }).catch((error: { code: number; stdout: string }) => error);
    renameSync(`${fleet.origin}.away`, fleet.origin);
    expect(failed).toMatchObject({ code: 1 });
    expect(failed.stdout).toMatch(/NOT DONE .*workstations\/r\/lost/);
    expect(below(stations).some((name) => name.endsWith('clone/lost'))).toBe(true);

    const killed = spawn(process.execPath, [MAIN, 'cleanup', '--config', fleet.configFile], {
      env: fleet.env,
      stdio: 'ignore',
    });
    const gone = new Promise((resolve) => killed.once('exit', resolve));
    await fleet.until('it to be at work', () => folders(home, 'salvage').length > 0);
    killed.kill('SIGKILL');
    await gone;
    await cleanup(fleet);
    const [ref = ''] = attemptRefs(fleet);
    expect(ref).toContain(`/${id}/`);
    expect(fleet.git(['-C', fleet.origin, 'show', `${ref}:lost`])).toBe('precious');
    expect([folders(home, 'workstations'), folders(home, 'salvage')]).toEqual([[], []]);
    expect(folders(home, 'kept')).toHaveLength(1);
  });
});
