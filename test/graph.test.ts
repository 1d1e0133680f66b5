// The dependency graph beyond one plan: upstreams of other plans, upstreams long gone, and edges added to a live task.

import { describe, expect, test } from 'vitest';
import { audit } from '../src/domain/audit.js';
import { nextDeadline } from '../src/domain/decide.js';
import { pathBetween } from '../src/domain/graph.js';
import type { Edge } from '../src/domain/messages.js';
import { Plan, TaskInput } from '../src/domain/plan.js';
import { explain } from '../src/domain/reasons.js';
import { carry, restore, type State } from '../src/domain/state.js';
import { packetOf, standingOf, storyOf } from '../src/domain/views.js';
import { Box } from './support/box.js';
import { RULES } from './support/fleet-model.js';

const carried = (state: State): State => restore(JSON.parse(JSON.stringify(carry(state))));

const added = (task: string, more: Partial<Edge> = {}): Edge => ({ task, added: true, ...more });

describe('an edge to a task of another plan', () => {
  const task = (after: unknown[]) => ({ id: 'b', prompt: 'p', after });

  test('is written as plan/task, in a plan and for a task on its own', () => {
    const plan = Plan.parse({ tasks: [task(['autumn/x', { task: 'spring/y', until: 'finished' }])] });
    expect(plan.tasks[0]?.after).toEqual([{ task: 'autumn/x' }, { task: 'spring/y', until: 'finished' }]);
    expect(TaskInput.safeParse({ fleet: 'f', task: task(['single/x']) }).success).toBe(true);
    for (const wrong of ['a/b/c', '/x', 'x/', 'a b/c', 'x.lock/y'])
      expect(Plan.safeParse({ tasks: [task([wrong])] }).success, wrong).toBe(false);
  });

  test('that names the plan itself is one of its own: unknown tasks and circles are found at once', () => {
    const plan = (after: unknown[]) =>
      Plan.safeParse({ plan: 'p', tasks: [task(after), { id: 'c', prompt: 'p', after: ['b'] }] });
    expect(plan(['q/c']).success).toBe(true);
    expect(plan(['p/x']).error?.issues[0]?.message).toContain('no task of this plan is called "x"');
    expect(plan(['p/c']).error?.issues[0]?.message).toContain('b -> c -> b');
  });

  test('waits for one that is submitted later, in another repository too', () => {
    const roles = { ...RULES.roles, docs: { repository: 'docs', maxRunning: 1 } };
    const box = new Box({ roles });
    box.writes('p/b', ['src'], { after: [{ task: 'q/a' }] }, { plan: { id: 'p' } });
    expect(box.why('p/b')).toBe('UPSTREAM_UNKNOWN');
    box.task('q/a', { facts: { role: 'docs', writes: ['src'] }, plan: { id: 'q' } });
    expect([box.phase('q/a'), box.why('p/b')]).toEqual(['running', 'UPSTREAM_PENDING']);
    box.commits('q/a');
    box.writer(
      [{ id: box.orders('docs').landings[0]?.id ?? '', kind: 'landed', commit: 'c', entry: 1, behind: 0 }],
      { role: 'docs' },
    );
    expect(box.phase('p/b')).toBe('running');
  });

  test('to one that ended long ago is looked up, by any coordinator, and what was found counts', () => {
    const box = new Box();
    box.reads('p/b', { after: [{ task: 'q/a' }, { task: 'q/z' }] });
    expect([...box.state.due.lookups]).toEqual(['q/a', 'q/z']);
    box.tell({
      kind: 'found',
      plans: [],
      outcomes: [
        { task: 'q/a', outcome: { kind: 'landed', code: 'LANDED', text: 'as commit c', commit: 'c0ffee' } },
      ],
    });
    expect([box.why('p/b'), box.record('q/a').outcome?.commit]).toEqual(['UPSTREAM_UNKNOWN', 'c0ffee']);
    const text = 'its workflow was terminated or reset';
    box.tell({
      kind: 'found',
      plans: [],
      outcomes: [{ task: 'q/z', outcome: { kind: 'cancelled', code: 'TERMINATED', text } }],
    });
    expect(box.sentence('p/b')).toBe('q/z, which it waits for, was cancelled');
  });

  test('that closes a circle over two plans ends both, with the circle by name', () => {
    const box = new Box();
    box.reads('p/a', { after: [{ task: 'q/b' }] });
    box.reads('q/b', { after: [{ task: 'p/a' }] });
    expect([box.why('p/a'), box.why('q/b')]).toEqual(['GRAPH_CYCLE', 'GRAPH_CYCLE']);
    expect(box.record('p/a').outcome?.text).toMatch(/(p\/a -> q\/b -> p\/a|q\/b -> p\/a -> q\/b)/);
  });
});

describe('an edge added to a live task', () => {
  test('holds one that is held, and says who found it', () => {
    const box = new Box({ ceiling: 1 });
    box.reads('s/a');
    box.reads('s/b');
    expect(box.why('s/b')).toBe('CEILING_REACHED');
    box.task('s/b', { facts: { after: [added('s/a', { by: 'ann' })] } });
    expect(box.why('s/b')).toBe('UPSTREAM_PENDING');
    expect(box.record('s/b').decisions.find(({ code }) => code === 'EDGE_ADDED')).toMatchObject({
      verdict: 'note',
      evidence: { upstream: 's/a', by: 'ann', state: 'finished' },
    });
    box.done('s/a');
    expect(box.phase('s/b')).toBe('running');
  });

  test('lets a running attempt go on, and holds its landing until the upstream has landed', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b']);
    box.task('s/b', { at: 'running', fence: box.fence('s/b'), facts: { after: [added('s/a')] } });
    expect([box.phase('s/b'), standingOf(box.state, 's/b')?.decision.code]).toEqual([
      'running',
      'CLAIMS_FREE',
    ]);
    box.commits('s/b');
    expect([box.phase('s/b'), box.why('s/b'), box.orders().landings]).toEqual([
      'landing',
      'LANDING_BLOCKED',
      [],
    ]);
    expect(storyOf(box.state, 's/a', box.now)?.waiting).toEqual(['s/b']);
    box.state = carried(box.state);
    box.commits('s/a');
    expect(box.orders().landings.map(({ task }) => task)).toEqual(['s/a']);
    box.lands('s/a');
    expect(box.orders().landings.map(({ task }) => task)).toEqual(['s/b']);
  });

  test('comes too late for a landing that is handed over, and counts again when that is refused', () => {
    const box = new Box();
    box.writes('s/a', ['a']);
    box.writes('s/b', ['b']);
    box.commits('s/b');
    const [order] = box.orders().landings;
    box.task('s/b', { facts: { after: [added('s/a')] } });
    expect(box.orders().landings.map(({ task }) => task)).toEqual(['s/b']);
    box.writer([{ id: order?.id ?? '', kind: 'refused', code: 'LANDING_CONFLICT', text: 'x' }]);
    box.pass(0);
    expect([box.why('s/b'), box.record('s/b').holds]).toEqual(['UPSTREAM_PENDING', false]);
  });

  test('makes the next attempt wait without its claims, so that the upstream can take them', () => {
    const box = new Box();
    box.writes('s/b', ['src']);
    box.writes('s/a', ['src/x']);
    box.task('s/b', { at: 'running', fence: box.fence('s/b'), facts: { after: [added('s/a')] } });
    box.fails('s/b');
    expect(box.phase('s/a')).toBe('held');
    box.pass(RULES.retry.backoff);
    expect([box.why('s/b'), box.phase('s/a')]).toEqual(['UPSTREAM_PENDING', 'running']);
    box.commits('s/a');
    box.lands('s/a');
    expect(box.phase('s/b')).toBe('running');
  });

  test('whose upstream needs the claims of the landing makes that give way: its work is tried again afterwards', () => {
    const box = new Box({ ceiling: 4 });
    box.writes('s/b', ['src']);
    box.writes('s/deep', ['src/x']);
    box.reads('s/a', { after: [{ task: 's/deep' }] });
    box.task('s/b', { at: 'running', fence: box.fence('s/b'), facts: { after: [added('s/a')] } });
    box.commits('s/b');
    const gaveWay = box.record('s/b').decisions.find(({ verdict }) => verdict === 'retry');
    expect(gaveWay && explain(gaveWay.code, gaveWay.evidence)).toContain(
      's/a, which its landing waits for, cannot go on before s/b gives up',
    );
    expect([box.why('s/b'), box.phase('s/deep')]).toEqual(['UPSTREAM_PENDING', 'running']);
    expect(box.record('s/b').excused).toBe(1);
  });

  test('whose upstream is stopped for its claims makes it give way in the same moment: nobody is left for the next message', () => {
    const box = new Box({ ceiling: 4 });
    box.writes('s/b', ['src']);
    box.writes('s/a', ['docs']);
    box.task('s/b', { at: 'running', fence: box.fence('s/b'), facts: { after: [added('s/a')] } });
    box.commits('s/b');
    box.runs('s/a');
    box.task('s/a', { extend: { number: 1, paths: ['src'], wait: true } });
    expect([box.why('s/b'), box.why('s/a')]).toEqual(['LANDING_BLOCKED', 'EXTENSION_RETRIED']);
    box.task('s/a', {
      at: 'stopped',
      extend: undefined as never,
      facts: { writes: ['docs', 'src'] },
      result: { kind: 'commits', dead: true, base: 'b', commit: 'c', ref: 'r' },
    });
    expect([box.why('s/b'), box.phase('s/a')]).toEqual(['UPSTREAM_PENDING', 'running']);
    expect(nextDeadline(box.state)).toBeGreaterThan(box.now);
  });

  test('of a task that fails or is cancelled cancels what has not begun', () => {
    const box = new Box();
    box.reads('s/a');
    box.writes('s/b', ['b']);
    box.task('s/b', { at: 'running', fence: box.fence('s/b'), facts: { after: [added('s/a')] } });
    box.fails('s/a', 'AGENT_FAILED', { final: true });
    expect(box.phase('s/b')).toBe('running');
    box.commits('s/b');
    expect(box.why('s/b')).toBe('UPSTREAM_FAILED');
  });

  test('to a task that nobody submits is waited for in vain, landing or not', () => {
    const box = new Box();
    box.writes('s/b', ['b']);
    box.task('s/b', { at: 'running', fence: box.fence('s/b'), facts: { after: [added('s/ghost')] } });
    box.commits('s/b');
    expect([box.why('s/b'), [...box.state.due.lookups]]).toEqual(['LANDING_BLOCKED', ['s/ghost']]);
    box.state = carried(box.state);
    box.pass(RULES.planTimeout);
    expect(box.why('s/b')).toBe('UPSTREAM_MISSING');
  });

  test('that would close a circle is refused by name, and the task gives it up', () => {
    const box = new Box();
    box.reads('s/a');
    box.reads('s/b', { after: [{ task: 's/a' }] });
    box.reads('s/c', { after: [{ task: 's/b' }] });
    box.task('s/a', { at: 'running', fence: box.fence('s/a'), facts: { after: [added('s/c')] } });
    expect(box.phase('s/a')).toBe('running');
    expect(box.record('s/a').decisions.at(-1)).toMatchObject({
      code: 'EDGE_REFUSED',
      evidence: { text: 's/a -> s/c -> s/b -> s/a' },
    });
    expect(box.state.due.standings).toContain('s/a');
    expect(standingOf(box.state, 's/a')?.refused).toEqual(['s/c']);
    box.task('s/a', { facts: { after: [] } });
    expect(standingOf(box.state, 's/a')?.refused).toBeUndefined();
  });

  test('gives way when a later task closes the circle: what is live is not cancelled for it', () => {
    const box = new Box();
    box.reads('s/a');
    box.task('s/a', { at: 'running', fence: box.fence('s/a'), facts: { after: [added('s/late')] } });
    box.reads('s/late', { after: [{ task: 's/a' }] });
    expect([box.phase('s/a'), box.why('s/late')]).toEqual(['running', 'UPSTREAM_PENDING']);
    expect(standingOf(box.state, 's/a')?.refused).toEqual(['s/late']);
  });

  test('is in the packet, and the audit holds later attempts to it', () => {
    const box = new Box();
    box.reads('s/a');
    box.writes('s/b', ['b']);
    box.task('s/b', { at: 'running', fence: box.fence('s/b'), facts: { after: [added('s/a')] } });
    box.done('s/a');
    box.commits('s/b');
    box.lands('s/b');
    const packets = ['s/a', 's/b'].flatMap((id) => {
      const packet = packetOf(box.state, id);
      return packet ? [{ ...packet, attempts: [{ attempt: 1, fence: box.fence(id), started: '' }] }] : [];
    });
    expect(packets[1]?.after).toEqual([added('s/a')]);
    const input = { submitted: [], packets, ledger: [], ceiling: 9, maxRunning: {}, places: RULES };
    expect(audit(input).filter((text) => text.includes('ran'))).toEqual([]);
    const [a, b] = packets;
    const again = b && {
      ...b,
      decisions: b.decisions.flatMap((one) =>
        one.code === 'EDGE_ADDED'
          ? [one, { ...one, verdict: 'run' as const, code: 'CLAIMS_FREE' as const }]
          : [one],
      ),
    };
    expect(audit({ ...input, packets: [a, again].flatMap((one) => one ?? []) })).toContain(
      's/b ran before s/a had ended',
    );
  });
});

test('a path between two nodes is the shortest, with both ends', () => {
  const edges: Record<string, string[]> = { a: ['b', 'c'], b: ['d'], c: ['d', 'e'], d: ['e'], e: ['a'] };
  expect(pathBetween('a', 'e', (node) => edges[node] ?? [])).toEqual(['a', 'c', 'e']);
  expect(pathBetween('a', 'a', (node) => edges[node] ?? [])).toEqual(['a']);
  expect(pathBetween('a', 'x', (node) => edges[node] ?? [])).toBeUndefined();
});
