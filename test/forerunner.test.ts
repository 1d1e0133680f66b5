// What a coordinator that starts without state learns of the one before it: what people said of issues and of the whole
// fleet; then on a real server. Properties over random events are in decide.test.ts.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lookupsOf, submittedWith } from '../src/domain/decide/plans.js';
import { coordinatorId, taskQueue, taskWorkflowId, WORKFLOW } from '../src/domain/ids.js';
import { tellStory } from '../src/domain/story.js';
import { liveTasks, standingOf } from '../src/domain/views.js';
import { Box } from './support/box.js';
import { edit, replayedFleets, type TestFleet } from './support/fleet.js';

const FENCE = { epoch: 7, number: 1 };
const recovering = () => new Box({}, true);
const surveyed = (box: Box, live: string[] = []) => box.tell({ kind: 'surveyed', live, last: true });

describe('what was said of an issue to an earlier coordinator', () => {
  test('ends a running task of it, whichever of the two is heard first', () => {
    const early = recovering();
    early.issue('I-1', 'closed');
    early.writes('s/a', ['a'], { issue: 'I-1' }, { at: 'running', fence: FENCE });
    const late = recovering();
    late.writes('s/a', ['a'], { issue: 'I-1' }, { at: 'running', fence: FENCE });
    late.issue('I-1', 'closed');
    for (const box of [early, late]) {
      expect([box.phase('s/a'), box.record('s/a').stop?.code]).toEqual(['stopping', 'ISSUE_CLOSED']);
      box.fails('s/a', 'CANCELLED_BY_REQUEST');
      expect(box.why('s/a')).toBe('ISSUE_CLOSED');
    }
  });

  test('withdraws a landing that may have been handed over', () => {
    const box = recovering();
    box.issue('I-1', 'closed');
    const result = { kind: 'commits', dead: true, base: 'b', commit: 'c', ref: 'r' } as const;
    box.writes('s/a', ['a'], { issue: 'I-1' }, { at: 'stopped', fence: FENCE, result });
    surveyed(box);
    expect(box.orders().landings).toMatchObject([{ task: 's/a', withdraw: true }]);
  });

  test('breaks what a running task assumes of it', () => {
    const box = recovering();
    box.issue('I-2', 'closed');
    const assumes = [{ kind: 'issue' as const, key: 'I-2', state: 'open' }];
    box.writes('s/a', ['a'], { assumes, onBroken: 'cancel' }, { at: 'running', fence: FENCE });
    expect([box.phase('s/a'), box.record('s/a').stop?.code]).toEqual(['stopping', 'ASSUMPTION_BROKEN']);
  });

  test('lets a task go on whose issue is open', () => {
    const box = recovering();
    box.issue('I-1', 'open');
    box.writes('s/a', ['a'], { issue: 'I-1' }, { at: 'running', fence: FENCE });
    expect(box.phase('s/a')).toBe('running');
  });
});

describe('an attempt that an earlier coordinator granted', () => {
  test('is told that it was taken over, and what runs beside it', () => {
    const box = recovering();
    box.reads('s/r', {}, { at: 'running', fence: { epoch: 7, number: 2 } });
    box.writes('s/a', ['a'], {}, { at: 'running', fence: FENCE });
    box.writes('s/b', ['b']);
    expect(box.record('s/a').decisions).toMatchObject([
      {
        verdict: 'note',
        code: 'TAKEN_OVER',
        evidence: { beside: [{ task: 's/r', why: 'read-only' }] },
      },
    ]);
    expect(box.record('s/r').beside).toEqual(['s/a']);
    expect([...box.state.due.standings]).toContain('s/a');
    expect(standingOf(box.state, 's/a')).toMatchObject({
      phase: 'running',
      fence: FENCE,
      decision: { code: 'TAKEN_OVER' },
    });
    expect(tellStory(box.record('s/a').decisions).join('\n')).toContain('beside s/r: safe, read-only');
    surveyed(box);
    box.commits('s/a');
    expect(box.record('s/a').decisions.map(({ code }) => code)).toEqual(['TAKEN_OVER', 'COMMITS_READY']);
  });

  test('and called off is followed by another one, unless something still speaks against that', () => {
    const box = recovering();
    const result = { kind: 'failed', dead: true, code: 'CANCELLED_BY_REQUEST', text: '' } as const;
    const stopped = { at: 'stopped', fence: FENCE, result } as const;
    box.writes('s/a', ['a'], {}, stopped);
    box.issue('I-1', 'closed');
    box.writes('s/b', ['b'], { issue: 'I-1' }, stopped);
    box.writes('s/c', ['c'], {}, { ...stopped, cancel: { code: 'CANCELLED_BY_REQUEST', by: 'ann' } });
    surveyed(box);
    box.pass(1_000);
    expect(box.record('s/a')).toMatchObject({ phase: 'running', attempt: 2, excused: 1 });
    expect(box.record('s/a').decisions.map(({ code }) => code)).toEqual([
      'TAKEN_OVER',
      'STOP_FORGOTTEN',
      'RECOVERING',
      'CLAIMS_FREE',
    ]);
    expect([box.why('s/b'), box.why('s/c')]).toEqual(['ISSUE_CLOSED', 'CANCELLED_BY_REQUEST']);
  });

  test('and whose landing was withdrawn is followed by another one', () => {
    const box = recovering();
    const result = { kind: 'commits', dead: true, base: 'b', commit: 'c', ref: 'r' } as const;
    box.writes('s/a', ['a'], {}, { at: 'stopped', fence: FENCE, result });
    surveyed(box);
    box.withdrawn('s/a');
    box.pass(1_000);
    expect(box.record('s/a')).toMatchObject({ phase: 'running', attempt: 2 });
  });
});

test('whoever ended as it was listed is not waited for: it is said to be gone like all that ought to be alive', () => {
  const box = recovering();
  box.reads('s/b');
  surveyed(box, ['s/a', 's/b', 'writer:dev', 'hand/ann']);
  const awaited = liveTasks(box.state).flatMap(({ task, life }) => (life === '' ? [{ task, life }] : []));
  expect(awaited.map(({ task }) => task)).toEqual(['s/a', 'writer:dev', 'hand/ann']);
  for (const one of awaited) {
    expect(box.phase('s/b')).toBe('held');
    box.tell({ kind: 'gone', ...one });
  }
  expect(box.phase('s/b')).toBe('running');
  expect(liveTasks(box.state).map(({ task }) => task)).toEqual(['s/b']);
});

describe('how much of a plan was submitted', () => {
  const HOUR = 3_600_000;
  const wanted = { plan: 'p', size: 3, at: 100 * HOUR, within: HOUR };
  const at = (id: string, hours: number) => ({ id, at: hours * HOUR });

  test('is how many tasks were started together, however often', () => {
    expect(submittedWith([at('a', 100), at('a', 100.5), at('a', 101), at('b', 99.5)], wanted)).toBe(2);
    expect(submittedWith([at('a', 100), at('b', 100.9), at('c', 101.8), at('d', 99.1)], wanted)).toBe(4);
  });

  test('leaves out what was submitted under its name another day', () => {
    const starts = [at('x', 76), at('y', 76), at('z', 98.9), at('a', 100), at('b', 100), at('c', 101.1)];
    expect(submittedWith(starts, wanted)).toBe(2);
  });

  test('is asked for plans that tasks wait for, from when those were started', () => {
    const box = recovering();
    const life = `${50 * HOUR}.run`;
    box.reads('p/a', {}, { plan: { id: 'p', size: 3 }, life });
    box.reads('p/b', { after: [{ task: 'q/z' }] }, { plan: { id: 'p', size: 3 }, life: `${51 * HOUR}.run` });
    surveyed(box, ['p/a', 'p/b']);
    expect(lookupsOf(box.state)).toEqual({
      tasks: [],
      plans: [{ plan: 'p', size: 3, at: 50 * HOUR, within: HOUR }],
    });
    box.tell({ kind: 'found', outcomes: [], plans: [{ plan: 'p', count: 3 }] });
    expect(box.phase('p/a')).toBe('running');
    expect(lookupsOf(box.state)).toEqual({ tasks: ['q/z'], plans: [] });
  });
});

describe('on a server', () => {
  const start = replayedFleets(1);

  async function terminateCoordinator(fleet: TestFleet): Promise<void> {
    const { epoch } = await fleet.signalbox.overview();
    await fleet.signalbox.client.workflow.getHandle(coordinatorId(fleet.name)).terminate('a test');
    await fleet.until('another coordinator', async () => {
      const overview = await fleet.signalbox.overview().catch(() => undefined);
      return overview !== undefined && overview.epoch > epoch && !overview.recovering;
    });
  }

  test('a run does not go on after its issue was closed, though the coordinator was terminated right after that', async () => {
    const fleet = await start({ config: { issues: { closed: 'cancel' } } });
    const { signalbox, dir } = fleet;
    const task = {
      prompt: edit('a', 'x', `touch '${join(dir, 'runs')}'; sleep 600`),
      role: 'main',
      writes: ['a'],
      issue: 'I-1',
    };
    await fleet.submit('p', [{ id: 'a', ...task }]);
    await fleet.until('the agent', () => existsSync(join(dir, 'runs')));
    await signalbox.issue('I-1', 'closed', '4');
    await terminateCoordinator(fleet);
    expect((await signalbox.wait(['p/a'])).get('p/a')?.outcome?.kind).toBe('cancelled');
    // The next one learns it from the one before the one before it.
    await terminateCoordinator(fleet);
    await fleet.submit('q', [{ id: 'a', ...task }]);
    expect((await signalbox.wait(['q/a'])).get('q/a')?.outcome).toMatchObject({
      kind: 'cancelled',
      code: 'ISSUE_CLOSED',
    });
  });

  test('a plan is not taken for complete because one of its tasks was started several times', async () => {
    const fleet = await start();
    const { signalbox } = fleet;
    const begin = async (id: string) =>
      await signalbox.client.workflow.start(WORKFLOW.task, {
        workflowId: taskWorkflowId(fleet.name, `p/${id}`),
        taskQueue: taskQueue(fleet.name),
        args: [{ fleet: fleet.name, plan: { id: 'p', size: 2 }, task: { id, prompt: 'true' } }],
      });
    const known = () => fleet.until('the task', async () => (await signalbox.story('p/a')) !== undefined);
    for (let i = 0; i < 2; i++) {
      const run = await begin('a');
      await known();
      await run.terminate('a test');
    }
    await begin('a');
    await terminateCoordinator(fleet);
    await known();
    await new Promise((done) => setTimeout(done, 2_000));
    expect((await signalbox.story('p/a'))?.task).toMatchObject({ phase: 'held', code: 'PLAN_INCOMPLETE' });
    await begin('b');
    const ended = await signalbox.wait(['p/a', 'p/b']);
    expect([...ended.values()].map(({ outcome }) => outcome?.kind)).toEqual(['finished', 'finished']);
  });

  test('an open circuit stays open, and a fleet without roles frozen', async () => {
    const fleet = await start({
      config: { roles: {}, breaker: { failures: 2, window: '5m', coolDown: '10m' } },
    });
    const { signalbox } = fleet;
    await fleet.run('p', [
      { id: 'a', prompt: 'exit 1' },
      { id: 'b', prompt: 'exit 1' },
    ]);
    await signalbox.freeze({ reason: 'release day', by: 'ann', for: '2h' });
    const before = await signalbox.overview();
    expect(before.circuits).toMatchObject([{ of: 'agent:sh', state: 'open' }]);
    await terminateCoordinator(fleet);
    const after = await signalbox.overview();
    expect(after.circuits).toMatchObject([{ of: 'agent:sh', state: 'open', why: before.circuits[0]?.why }]);
    expect(after.frozen).toMatchObject({ text: 'release day', by: 'ann', duration: 7_200_000 });
    expect(after.frozen?.left).toBeLessThan(7_200_000);
    await signalbox.resume({ by: 'ann' });
    await terminateCoordinator(fleet);
    expect((await signalbox.overview()).frozen).toBeUndefined();
  });
});
