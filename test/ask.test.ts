// `signalbox submit --dry-run`: it says what the real submission then does, for decide says both; without a coordinator
// it goes by an empty fleet. And how many tasks could run at once, against all sets of them.

import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, inject, it, test } from 'vitest';
import { stringify } from 'yaml';
import { mostAtOnce } from '../src/domain/at-once.js';
import { type DryRun, dryRun, emptyFleet, pictureFor, pictureOf } from '../src/domain/dry-run.js';
import type { TaskFacts } from '../src/domain/messages.js';
import { SingleTask, type Task } from '../src/domain/plan.js';
import type { Use } from '../src/domain/resources.js';
import { carry } from '../src/domain/state.js';
import type { Story } from '../src/domain/views.js';
import { Box } from './support/box.js';
import { edit, MAIN, replayHistories, TestFleet } from './support/fleet.js';
import { Fleet, ops, RULES, specs } from './support/fleet-model.js';
import { runs } from './support/runs.js';

const task = (id: string, more: object = {}): Task => SingleTask.parse({ id, prompt: 'p', ...more });
const writes = (id: string, paths: string[], more: object = {}) =>
  task(id, { role: 'dev', writes: paths, ...more });
const names = (lines: DryRun['run']) => lines.map(({ id }) => id);

describe('a dry run', () => {
  const empty = () => emptyFleet(RULES, 1_000_000);

  test('tells what would run, what would wait and for what, and what would end', () => {
    const found = dryRun(empty(), [
      {
        plan: 'p',
        tasks: [
          writes('a', ['a']),
          writes('b', ['a/b']),
          task('c', { after: ['a'] }),
          writes('d', ['a'], { ifBusy: 'fail' }),
          task('e', { after: ['d'] }),
          task('f', { after: ['q/x'] }),
        ],
      },
    ]);
    expect(names(found.run)).toEqual(['p/a']);
    expect(found.wait.map(({ id, code, why }) => [id, code, why])).toEqual([
      ['p/b', 'PATH_HELD', 'a/b overlaps a, held by p/a'],
      ['p/c', 'UPSTREAM_PENDING', 'waits for p/a to have landed'],
      ['p/f', 'UPSTREAM_UNKNOWN', 'waits for q/x, which nobody has submitted yet'],
    ]);
    expect(found.end.map(({ id, outcome }) => [id, outcome?.code])).toEqual([
      ['p/d', 'CLAIMS_BUSY'],
      ['p/e', 'UPSTREAM_FAILED'],
    ]);
    expect(found).toMatchObject({ running: 0, ceiling: 3, parallel: { atMost: 3, exact: true } });
  });

  test('goes by all that the coordinator knows, and changes nothing of it', () => {
    const box = new Box({ ceiling: 2 });
    box.writes('s/a', ['a']);
    box.issue('I-1', 'paused');
    const before = JSON.stringify(carry(box.state));
    const picture = JSON.parse(JSON.stringify(pictureOf(box.state, box.now)));
    const found = dryRun(picture, [
      { plan: undefined, tasks: [writes('x', ['a/x'])] },
      { plan: undefined, tasks: [task('y', { issue: 'I-1' })] },
      { plan: undefined, tasks: [writes('z', ['z'])] },
      { plan: undefined, tasks: [task('late')] },
    ]);
    expect(found.running).toBe(1);
    expect(names(found.run)).toEqual(['single/z']);
    expect(found.wait.map(({ code }) => code)).toEqual(['PATH_HELD', 'ISSUE_ON_HOLD', 'CEILING_REACHED']);
    expect(JSON.stringify(carry(box.state))).toBe(before);
  });

  test('needs an answer that can hold the picture: thousands of live tasks fit', () => {
    const box = new Box();
    for (let i = 0; i < 3_000; i++) box.writes(`s/task-${i}`, [`services/s${i % 100}/src`]);
    expect(pictureFor(box.state, box.now)?.carried.tasks).toHaveLength(3_000);
    expect(pictureFor(box.state, box.now, 1_000)).toBeUndefined();
  });

  test('while the coordinator recovers everything waits', () => {
    const box = new Box({}, true);
    const found = dryRun(pictureOf(box.state, box.now), [{ plan: undefined, tasks: [task('a')] }]);
    expect([found.recovering, found.wait[0]?.code]).toEqual([true, 'RECOVERING']);
  });

  test('decides as the coordinator does when the same tasks come, whatever the fleet is at', () => {
    const wanted = [
      ...['a', 'a/b/c', 'b', ':(glob)**/c'].map((path, i) => writes(`n${i}`, [path])),
      writes('n4', ['c'], { ifBusy: 'fail', uses: ['pipe:web'] }),
      task('n5', { after: ['n0'] }),
    ];
    fc.assert(
      fc.property(specs(), ops(true), (list, what) => {
        const fleet = new Fleet(list);
        for (const op of what) fleet.perform(op);
        const { state, now } = fleet;
        const found = dryRun(JSON.parse(JSON.stringify(pictureOf(state, now))), [
          { plan: 'new', tasks: wanted },
        ]);
        const box = new Box();
        box.state = state;
        box.now = now;
        box.tell({ kind: 'tick' });
        const plan = { id: 'new', size: wanted.length };
        for (const { id, writes, uses, role, after, ifBusy } of wanted)
          box.task(`new/${id}`, {
            life: `${now}.x`,
            epoch: state.epoch,
            plan,
            facts: {
              writes,
              after: after.map((edge) => ({ task: `new/${edge.task}` })),
              ...(uses.length > 0 ? { uses } : {}),
              ...(role ? { role } : {}),
              ...(ifBusy === 'fail' ? { ifBusy } : {}),
            },
          });
        const said = [...found.run, ...found.wait, ...found.end].map(({ id, phase, code }) => [
          id,
          phase,
          code,
        ]);
        const done = wanted.map(({ id }) => [`new/${id}`, box.phase(`new/${id}`), box.why(`new/${id}`)]);
        expect(said.sort()).toEqual(done.sort());
      }),
      runs(60),
    );
  }, 600_000);
});

describe('how many could run at once', () => {
  const facts = fc.record({
    role: fc.constantFrom('dev', 'ops', 'site', undefined),
    agent: fc.constantFrom(undefined, 'big'),
    paths: fc.uniqueArray(fc.constantFrom('a', 'a/b', 'b', 'B', ':(glob)*/c', 'web:a', 'app:b'), {
      minLength: 1,
      maxLength: 2,
    }),
    after: fc.uniqueArray(fc.nat({ max: 7 }), { maxLength: 2 }),
    uses: fc.constantFrom<Use[]>(
      [],
      [{ resource: 'pipe:web', mode: 'exclusive' }],
      [{ resource: 'db:orders', mode: 'exclusive' }],
      [{ resource: 'db:orders', mode: 'shared' }],
    ),
  });
  const candidates = fc.array(facts, { minLength: 1, maxLength: 8 }).map((list) =>
    list.map(({ role, agent, paths, after, uses }, i) => {
      const of: TaskFacts = {
        writes: role ? paths : [],
        reads: [],
        after: after.filter((to) => to < i).map((to) => ({ task: `p/t${to}` })),
        ...(role ? { role } : {}),
        ...(agent ? { agent } : {}),
        ...(uses.length > 0 ? { uses } : {}),
      };
      return { id: `p/t${i}`, facts: of };
    }),
  );

  /** Whether decide runs them all when nobody else is there and what they wait for is over. */
  function together(list: { id: string; facts: TaskFacts }[], ceiling: number): boolean {
    const box = new Box({ ceiling });
    for (const { id, facts: of } of list) box.task(id, { facts: { ...of, after: [] } });
    return list.every(({ id }) => box.phase(id) === 'running');
  }

  test('is the size of the largest set that decide would run together, and none of it waits for another', () => {
    fc.assert(
      fc.property(candidates, fc.integer({ min: 2, max: 6 }), (list, ceiling) => {
        const above = new Map<string, Set<string>>();
        for (const { id, facts: of } of list)
          above.set(id, new Set(of.after.flatMap(({ task: up }) => [up, ...(above.get(up) ?? [])])));
        let most = 0;
        for (let bits = 1; bits < 1 << list.length; bits++) {
          const some = list.filter((_, i) => bits & (1 << i));
          const apart = some.every(({ id }) => some.every((other) => !above.get(id)?.has(other.id)));
          if (some.length > most && apart && together(some, ceiling)) most = some.length;
        }
        expect(mostAtOnce(list, { ...RULES, ceiling })).toEqual({ atMost: most, exact: true });
      }),
      runs(60),
    );
  }, 600_000);

  test('is told as a bound where the search would take too long', () => {
    const many = Array.from({ length: 1_001 }, (_, i) => ({
      id: `p/t${i}`,
      facts: { role: 'dev', writes: [`p${i}`], reads: [], after: [] },
    }));
    expect(mostAtOnce(many, { ...RULES, ceiling: 9 })).toEqual({ atMost: 2, exact: false });
    expect(mostAtOnce(many.slice(1), { ...RULES, ceiling: 9 })).toEqual({ atMost: 2, exact: true });
  });
});

describe('on the command line', () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await TestFleet.start({ config: { ceiling: 3 } }, false);
  });
  afterAll(async () => {
    await fleet.stop();
    expect(await replayHistories(inject('temporal'), [fleet.name])).toBeGreaterThan(4);
  });
  const role = 'main';

  async function cli(env: NodeJS.ProcessEnv, ...args: string[]) {
    const done = promisify(execFile)(process.execPath, [MAIN, ...args, '--config', fleet.configFile], {
      env,
    });
    return await done.then(
      ({ stdout }) => ({ code: 0, out: stdout, err: '' }),
      (error: { code: number; stdout: string; stderr: string }) => ({
        code: error.code,
        out: error.stdout,
        err: error.stderr,
      }),
    );
  }

  function file(name: string, tasks: object[]): string {
    const path = join(fleet.dir, `${name}.yaml`);
    writeFileSync(path, stringify({ plan: name, tasks: tasks.map((one) => ({ prompt: 'exit 0', ...one })) }));
    return path;
  }

  it('without a server or a worker it decides against an empty fleet, and says so', async () => {
    const plan = file('early', [
      { id: 'a', role, writes: ['a'] },
      { id: 'b', role, writes: ['a/b'] },
      { id: 'c', after: ['a'] },
    ]);
    const { TEMPORAL_ADDRESS: _, ...none } = fleet.env;
    const found = await cli({ ...none, XDG_CONFIG_HOME: fleet.dir }, 'submit', '--dry-run', plan);
    expect(found).toMatchObject({ code: 0 });
    expect(found.out.trimEnd().split('\n')).toEqual([
      expect.stringMatching(
        /^decided against an empty fleet, for what runs is not known: no Temporal server/,
      ),
      '',
      'would run now:',
      'TASK     WHY',
      'early/a  nothing it writes is held by another task',
      '',
      'would wait:',
      'TASK     FOR WHAT',
      'early/b  a/b overlaps a, held by early/a',
      'early/c  waits for early/a to have landed',
      '',
      'at most 2 of these 3 tasks could run at once, were nobody else there',
    ]);
    const json = await cli(fleet.env, 'submit', '--dry-run', '--json', plan);
    expect(JSON.parse(json.out)).toMatchObject({
      emptyFleet: `no worker serves fleet ${fleet.name}: start one with \`signalbox up\` or \`signalbox worker\``,
      run: [{ id: 'early/a' }],
      parallel: { atMost: 2, exact: true },
    });
    expect(await cli(fleet.env, 'submit', '--dry-run', '--wait', plan)).toMatchObject({ code: 2 });
  });

  it('with a coordinator it says what the submission then does, and starts nothing', async () => {
    await fleet.startWorker();
    // A coordinator that finds tasks when it starts may take a plan for complete before it has heard of all of it.
    await fleet.until('the coordinator', async () => {
      const overview = await fleet.signalbox.overview().catch(() => undefined);
      return overview && !overview.recovering;
    });
    const go = join(fleet.dir, 'go');
    const wait = `until test -e '${go}'; do sleep 0.1; done`;
    const first = await fleet.submit('x', [
      { id: 'a', prompt: edit('a', 'x', `touch '${go}.on'; ${wait}`), role, writes: ['a'] },
    ]);
    await fleet.until('the agent', () => existsSync(`${go}.on`));
    const plan = file('later', [
      { id: 'free', role, writes: ['free'], prompt: edit('free', 'x', wait), priority: 2 },
      { id: 'held', role, writes: ['a/b'] },
      { id: 'read', prompt: wait, priority: 1 },
      { id: 'slot', role, writes: ['slot'] },
      { id: 'busy', role, writes: ['a/c'], ifBusy: 'fail' },
    ]);
    const dry = await cli(fleet.env, 'submit', '--dry-run', '--json', plan);
    const told = JSON.parse(dry.out) as DryRun;
    expect(told).toMatchObject({ running: 1, ceiling: 3, parallel: { atMost: 3, exact: true } });
    expect(await fleet.signalbox.describe('later/free')).toBeUndefined();
    expect((await fleet.signalbox.overview()).tasks.map(({ id }) => id)).toEqual(['x/a']);

    expect((await cli(fleet.env, 'submit', plan)).code).toBe(0);
    const all = [...told.run, ...told.wait, ...told.end];
    expect(all).toHaveLength(5);
    for (const { id, code, why } of all) {
      const story = await fleet.until(`a word on ${id}`, async () => {
        const found: Story | undefined = await fleet.signalbox.story(id);
        return found?.task.code === 'PLAN_INCOMPLETE' ? undefined : found;
      });
      expect([id, story.task.code, story.task.why]).toEqual([id, code, why]);
    }
    expect((await cli(fleet.env, 'submit', '--dry-run', plan)).code, 'submitted before').toBe(3);

    const whole = file('whole', [{ id: 'one', role, writes: ['a'] }]);
    const failing = await cli(fleet.env, 'submit', '--if-busy', 'fail', '--wait', '--json', whole);
    expect(failing.code).toBe(1);
    expect(JSON.parse(failing.out)).toMatchObject({ tasks: [{ outcome: { code: 'CLAIMS_BUSY' } }] });
    const patient = file('patient', [{ id: 'one', role, writes: ['a'], ifBusy: 'fail' }]);
    expect((await cli(fleet.env, 'submit', '--if-busy', 'wait', patient)).code).toBe(0);
    expect(await fleet.phase('patient/one', 'held')).toMatchObject({ code: 'PATH_HELD' });
    expect((await cli(fleet.env, 'submit', '--if-busy', 'never', patient)).code).toBe(2);
    writeFileSync(go, '');
    await fleet.signalbox.wait([...first, 'patient/one', ...all.map(({ id }) => id)]);
  });
});
