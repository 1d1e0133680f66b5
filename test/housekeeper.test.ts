// What a worker does about its host's folder while it runs: with a real server, and folders as attempts leave them.

import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { mirrorsOf } from '../activities/mirror.js';
import { identityOf } from '../activities/processes.js';
import { keptDir, leaveWorkstation } from '../activities/workstation/kept.js';
import { workstationDir, writeRecord } from '../activities/workstation/record.js';
import { Housekeeper } from '../worker/housekeeper.js';
import { TestFleet } from './support/fleet.js';

const fleets: TestFleet[] = [];
afterEach(async () => {
  for (const fleet of fleets.splice(0)) await fleet.stop();
});

const MB = 1_024 ** 2;

/** A fleet without a worker, whose tasks are workflows that nobody runs. */
class Bench {
  readonly said: string[] = [];
  private number = 0;

  private constructor(readonly fleet: TestFleet) {}

  static async make(disk: string): Promise<Bench> {
    const fleet = await TestFleet.start({ config: { workstations: { disk } } }, false);
    fleets.push(fleet);
    return new Bench(fleet);
  }

  get home(): string {
    return this.fleet.fleet.home;
  }

  housekeeper(client = this.fleet.signalbox.client): Housekeeper {
    const { config, home } = this.fleet.fleet;
    const mirrors = mirrorsOf(home, config.repositories);
    const sandboxes = { missing: 'none is needed here' };
    const self = identityOf(process.pid);
    const log = (line: string) => this.said.push(line);
    return new Housekeeper({ config, home, client, mirrors, sandboxes, self, log });
  }

  async task(name: string, ended = false): Promise<void> {
    const { client } = this.fleet.signalbox;
    const workflowId = `${this.fleet.name}/task/${name}`;
    const handle = await client.workflow.start('agentTask', { workflowId, taskQueue: 'nobody-polls-this' });
    if (ended) await handle.terminate('over');
  }

  /** A workstation of a live worker, with so much in its clone. */
  async station(task: string, bytes = 1_000): Promise<{ dir: string; keep: () => Promise<void> }> {
    const fence = { epoch: 1, number: ++this.number };
    const dir = workstationDir(this.home, task, fence);
    mkdirSync(join(dir, 'clone'), { recursive: true });
    writeFileSync(join(dir, 'clone/cache'), Buffer.alloc(bytes, 1));
    const known = { task, repository: 'app', fence, base: 'b', checkout: true, keep: true as const };
    const record = { ...known, worker: identityOf(process.pid) };
    await writeRecord(dir, record);
    return {
      dir,
      keep: async () => {
        expect(await leaveWorkstation(this.home, dir, record)).toBe(true);
        // The next one is younger.
        await new Promise((resolve) => setTimeout(resolve, 5));
      },
    };
  }

  kept(): string[] {
    return readdirSync(keptDir(this.home))
      .map((name) => name.split('~')[1] ?? '')
      .sort();
  }
}

describe('a host’s folder', () => {
  test('loses the clones of tasks that are over, and no other', async () => {
    const bench = await Bench.make('1GB');
    await bench.task('p/open');
    await bench.task('p/over', true);
    for (const task of ['p/open', 'p/over', 'p/unknown']) await (await bench.station(task)).keep();
    const running = await bench.station('p/running');
    await bench.housekeeper().look();
    expect(bench.said).toEqual([]);
    expect(bench.kept()).toEqual(['open']);
    expect(readdirSync(running.dir).sort()).toEqual(['clone', 'workstation.json']);
  });

  test('stays within what it is given, at the cost of the clones that were kept first', async () => {
    const bench = await Bench.make('5.5MB');
    for (const task of ['a', 'b', 'c']) await bench.task(`p/${task}`);
    for (const task of ['b', 'c', 'a']) await (await bench.station(`p/${task}`, MB)).keep();
    const running = await bench.station('p/running', MB);
    await bench.housekeeper().look();
    expect(bench.kept(), bench.said.join()).toEqual(['a', 'b', 'c']);
    const larger = await bench.station('p/larger', 2 * MB);
    await bench.housekeeper().look();
    expect(bench.kept()).toEqual(['a', 'c']);
    expect(bench.said.join()).toMatch(/^removed a kept clone of 1MB to make room: .*p~b~1\.1$/);
    for (const { dir } of [running, larger]) expect(readdirSync(dir)).toContain('clone');
  });

  test('stays as it is while the server does not say what is over', async () => {
    const bench = await Bench.make('1GB');
    await (await bench.station('p/unknown')).keep();
    const { client } = bench.fleet.signalbox;
    const housekeeper = bench.housekeeper();
    await client.withDeadline(Date.now() - 1, () => housekeeper.look());
    expect(bench.said.join()).toMatch(/could not be looked after/);
    expect(bench.kept()).toEqual(['unknown']);
  });
});
