// Named resources: the inventory and what tasks may ask of it, who holds what beside whom, how often; and the limit of
// a kind of agent. Properties over random events are in decide.test.ts, through the model.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AuditInput, audit } from '../src/domain/audit.js';
import { Config, rulesOf } from '../src/domain/config.js';
import type { Decision } from '../src/domain/messages.js';
import { type Packet, printPacket } from '../src/domain/packet.js';
import { checkAgainst, SingleTask } from '../src/domain/plan.js';
import { fieldPath, problemsOf } from '../src/domain/problems.js';
import { nextSlot, parseRate, ResourceIndex, type Use } from '../src/domain/resources.js';
import { carry, restore } from '../src/domain/state.js';
import { overview, packetOf, storyOf } from '../src/domain/views.js';
import { Box, MINUTE } from './support/box.js';
import { RULES } from './support/fleet-model.js';

const CONFIG = {
  fleet: 'demo',
  repositories: { app: { url: './app.git' }, web: { url: './web.git' } },
  roles: {
    dev: { resources: ['branch:app', 'db:orders', 'surface:news'] },
    site: { resources: ['pipeline:web', 'branch:web'] },
  },
  agents: { sh: { command: 'x', maxRunning: 2 } },
  resources: {
    'db:orders': { shared: true },
    'surface:news': { rate: '10/hour' },
    'pipeline:web': { capacity: 2 },
  },
};

function complaints(schema: typeof Config | typeof SingleTask, input: unknown): string[] {
  const parsed = schema.safeParse(input);
  return parsed.success
    ? []
    : problemsOf(parsed.error, schema, input).map(({ path, message }) => `${fieldPath(path)}: ${message}`);
}

const alone = (resource: string): Use => ({ resource, mode: 'exclusive' });
const shared = (resource: string): Use => ({ resource, mode: 'shared' });

describe('the inventory', () => {
  test('gives each resource one role, its capacity, mode and rate', () => {
    const { resources, agents, defaultAgent, roles } = rulesOf(Config.parse(CONFIG));
    expect(resources).toEqual({
      'db:orders': { role: 'dev', capacity: 1, shared: true },
      'surface:news': {
        role: 'dev',
        capacity: 1,
        shared: false,
        rate: { count: 10, window: 60 * MINUTE, text: '10/hour' },
      },
      'pipeline:web': { role: 'site', capacity: 2, shared: false },
    });
    expect(roles.site?.repository, 'the branch may stand anywhere in the list').toBe('web');
    expect([agents, defaultAgent]).toEqual([{ sh: { maxRunning: 2 } }, 'sh']);
  });

  test('refuses a resource with two roles, with none, or that is not in it', () => {
    const roles = {
      dev: { resources: ['branch:app', 'db:orders', 'surface:news', 'db:nope'] },
      site: { resources: ['branch:web', 'db:orders'] },
    };
    expect(complaints(Config, { ...CONFIG, roles })).toEqual([
      'roles.dev.resources[3]: "db:nope" is not in the inventory: add it under `resources`',
      'roles.site.resources[1]: "db:orders" already has the role "dev": one resource, one role',
      "resources.pipeline:web: no role has it: list it in a role's `resources`",
    ]);
  });

  test('refuses a role without a branch or with two, a branch as a resource, and what is no rate', () => {
    const roles = { ...CONFIG.roles, site: { resources: ['pipeline:web'] } };
    expect(complaints(Config, { ...CONFIG, roles })[0]).toMatch(/^roles.site.resources: exactly one branch/);
    const two = { ...CONFIG.roles, site: { resources: ['pipeline:web', 'branch:web', 'branch:app'] } };
    expect(complaints(Config, { ...CONFIG, roles: two })[0]).toMatch(/^roles.site.resources: exactly one/);
    const branch = { ...CONFIG.resources, 'branch:x': {} };
    expect(complaints(Config, { ...CONFIG, resources: branch }).join()).toContain('branch:x');
    for (const rate of ['10', '0/hour', '10/week', 'ten/hour', '1/0s', '-1/hour'])
      expect(
        complaints(Config, { ...CONFIG, resources: { ...CONFIG.resources, 'db:orders': { rate } } }),
      ).toEqual([expect.stringMatching(/^resources.db:orders.rate: .*a rate such as "10\/hour"/)]);
  });

  test('a rate is a number and a unit or a duration', () => {
    expect(parseRate('1/second')).toEqual({ count: 1, window: 1_000, text: '1/second' });
    expect(parseRate('3/30m')).toEqual({ count: 3, window: 30 * MINUTE, text: '3/30m' });
    expect(parseRate('7/constructor')).toBeUndefined();
  });
});

describe('a task asks for resources', () => {
  const task = (more: object) => ({ id: 'a', prompt: 'p', ...more });

  test('by name, or with a mode', () => {
    const uses = ['db:orders', { resource: 'pipeline:web', mode: 'shared' }, { resource: 'api:x' }];
    expect(SingleTask.parse(task({ role: 'dev', uses })).uses).toEqual([
      alone('db:orders'),
      shared('pipeline:web'),
      alone('api:x'),
    ]);
  });

  test('once each, and without a role only in shared mode', () => {
    expect(complaints(SingleTask, task({ uses: ['db:orders'] }))).toEqual([
      'uses[0]: a task without a role is read-only: it may only use a resource in shared mode',
    ]);
    const twice = ['db:orders', { resource: 'db:orders', mode: 'shared' }];
    expect(complaints(SingleTask, task({ role: 'dev', uses: twice }))).toEqual([
      'uses[1]: "db:orders" is there twice',
    ]);
    expect(complaints(SingleTask, task({ role: 'dev', uses: ['orders'] }))[0]).toMatch(/^uses\[0\]: /);
  });

  test('of its own role, and of others only in shared mode, where that is allowed', () => {
    const config = Config.parse(CONFIG);
    const asks = (role: string | undefined, ...uses: Use[]) =>
      checkAgainst(config, [{ role, uses, agent: undefined, repository: undefined }]).map(
        ({ path, message }) => `${fieldPath(path)}: ${message}`,
      );
    expect(asks('dev', alone('db:orders'), alone('surface:news'))).toEqual([]);
    expect(asks('site', shared('db:orders'))).toEqual([]);
    expect(asks(undefined, shared('db:orders'))).toEqual([]);
    expect(asks('site', alone('db:orders'))).toEqual([
      '[0].uses[0]: "db:orders" belongs to role dev: others may only share it',
    ]);
    expect(asks('site', alone('surface:news'))).toEqual([
      '[0].uses[0]: "surface:news" belongs to role dev: others may not use it',
    ]);
    expect(asks('site', shared('pipeline:web'))[0]).toContain('may not be used in shared mode');
    expect(asks('dev', alone('db:nope'))).toEqual([
      '[0].uses[0]: the fleet has no resource called "db:nope"',
    ]);
  });
});

describe('a resource', () => {
  const uses = (...list: Use[]) => ({ uses: list });

  test('has one holder at a time, who is named, and is free when that has landed', () => {
    const box = new Box();
    box.writes('s/a', ['a'], uses(alone('db:orders')));
    box.writes('s/b', ['b'], uses(alone('db:orders')));
    expect([box.why('s/b'), box.sentence('s/b')]).toEqual(['RESOURCE_HELD', 'db:orders is held by s/a']);
    expect(storyOf(box.state, 's/a', box.now)?.waiting).toEqual(['s/b']);
    expect(overview(box.state, box.now).claims).toMatchObject([
      { holder: 's/a', paths: ['a'], uses: ['db:orders'], waiting: ['s/b'] },
    ]);
    expect(overview(box.state, box.now).tasks[1]).toMatchObject({ holder: 's/a' });
    box.commits('s/a');
    expect(box.phase('s/b'), 'until it has landed').toBe('held');
    box.lands('s/a');
    expect(box.phase('s/b')).toBe('running');
  });

  test('is granted together with the paths or not at all', () => {
    const box = new Box({ ceiling: 9 });
    box.writes('s/a', ['a']);
    box.writes('s/b', ['a', 'b'], uses(alone('db:orders')));
    box.writes('s/c', ['c'], uses(alone('db:orders')));
    expect(box.phase('s/c'), 'the waiting b holds nothing of it').toBe('running');
    box.fails('s/a', 'AGENT_FAILED', { final: true });
    expect([box.why('s/b'), box.sentence('s/b')]).toEqual(['RESOURCE_HELD', 'db:orders is held by s/c']);
    box.writes('s/d', ['b'], {}, {});
    expect(box.phase('s/d'), 'nor of its paths').toBe('running');
  });

  test('with more capacity has so many holders, and all of them are named', () => {
    const box = new Box({ ceiling: 9, roles: { dev: { repository: 'app', maxRunning: 9 } } });
    for (const id of ['s/a', 's/b', 's/c']) box.writes(id, [id], uses(alone('pipe:web')));
    expect([box.phase('s/a'), box.phase('s/b')]).toEqual(['running', 'running']);
    expect(box.sentence('s/c')).toBe('pipe:web is held by s/a, s/b');
    expect(box.record('s/b').decisions[0]?.evidence.beside).toContainEqual({
      task: 's/a',
      why: 'a resource with room for both',
    });
    box.fails('s/b', 'AGENT_FAILED', { final: true });
    expect(box.phase('s/c')).toBe('running');
  });

  test('may be shared by many, of any role and read-only ones too, but not beside an exclusive use', () => {
    const box = new Box({ ceiling: 9 });
    box.writes('s/a', ['a'], uses(shared('db:orders')));
    box.reads('s/r', uses(shared('db:orders')));
    box.writes('s/o', ['o'], { role: 'ops', ...uses(shared('db:orders')) });
    expect(['s/a', 's/r', 's/o'].map(box.phase)).toEqual(['running', 'running', 'running']);
    box.writes('s/x', ['x'], uses(alone('db:orders')));
    expect(box.sentence('s/x')).toBe('db:orders is held by s/a, s/r, s/o');
    box.done('s/r');
    for (const id of ['s/a', 's/o']) box.fails(id, 'AGENT_FAILED', { final: true });
    expect(box.phase('s/x')).toBe('running');
    box.reads('s/late', uses(shared('db:orders')));
    expect(box.sentence('s/late')).toBe('db:orders is held by s/x');
  });

  test('rests after a holder that was not seen to end', () => {
    const box = new Box();
    box.writes('s/a', ['a'], uses(alone('db:orders')));
    box.writes('s/b', ['b'], uses(alone('db:orders')));
    box.tell({ kind: 'gone', task: 's/a' });
    expect(box.sentence('s/b')).toMatch(/^db:orders is held by s\/a, and rests/);
    box.pass(RULES.lease + RULES.lockDelay);
    expect(box.phase('s/b')).toBe('running');
  });

  test('stays with its task between two attempts, and over a continue-as-new', () => {
    const box = new Box();
    box.writes('s/a', ['a'], { ...uses(alone('db:orders')), retry: { attempts: 2 } });
    box.fails('s/a');
    box.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
    box.writes('s/b', ['b'], uses(alone('db:orders')));
    expect([box.phase('s/a'), box.why('s/b')]).toEqual(['backoff', 'RESOURCE_HELD']);
    box.pass(10_000);
    expect([box.phase('s/a'), box.phase('s/b')]).toEqual(['running', 'held']);
  });

  test('that the configuration does not have, or that is not for this task, holds until it is', () => {
    const box = new Box();
    box.writes('s/a', ['a'], uses(alone('db:new')));
    box.writes('s/b', ['b'], { role: 'ops', ...uses(alone('db:orders')) });
    expect([box.why('s/a'), box.why('s/b')]).toEqual(['RESOURCE_UNKNOWN', 'RESOURCE_REFUSED']);
    expect(box.sentence('s/b')).toBe('db:orders belongs to role dev: others may only share it');
    const resources = {
      'db:new': { role: 'dev', capacity: 1, shared: false },
      'db:orders': { role: 'ops', capacity: 1, shared: false },
    };
    box.tell({ kind: 'rules', rules: { ...RULES, resources } });
    expect([box.phase('s/a'), box.phase('s/b')]).toEqual(['running', 'running']);
  });

  test('has more room when the configuration gives it', () => {
    const box = new Box();
    for (const id of ['s/a', 's/b']) box.writes(id, [id], uses(alone('db:orders')));
    const resources = { ...RULES.resources, 'db:orders': { role: 'dev', capacity: 2, shared: true } };
    box.tell({ kind: 'rules', rules: { ...RULES, resources } });
    expect(box.phase('s/b')).toBe('running');
  });

  test('shows in the packet', () => {
    const box = new Box();
    box.reads('s/r', uses(shared('db:orders')));
    box.done('s/r');
    const packet = packetOf(box.state, 's/r');
    expect(packet?.uses).toEqual([shared('db:orders')]);
    expect(printPacket(packet as Packet)).toContain('Uses      db:orders (shared)');
  });

  test('of a task of an earlier coordinator is taken over, unless another holds it by then', () => {
    const box = new Box({}, true);
    const fence = (number: number) => ({ epoch: 500, number });
    box.writes('s/a', ['a'], uses(alone('db:orders')), { at: 'running', fence: fence(1) });
    box.writes('s/b', ['b'], uses(alone('db:orders')), { at: 'running', fence: fence(2) });
    expect([box.phase('s/a'), box.phase('s/b'), box.why('s/b')]).toEqual([
      'running',
      'stopping',
      'CLAIM_LOST',
    ]);
    expect(box.sentence('s/b')).toContain('db:orders turned out to be held by s/a');
  });
});

describe('a rate', () => {
  const mail = { uses: [shared('api:mail')] };
  const rules = { ceiling: 9, roles: { dev: { repository: 'app', maxRunning: 9 } } };

  test('lets so many through in any window, and says when the next slot is', () => {
    const box = new Box(rules);
    box.reads('s/a', mail);
    box.now += 4_000;
    box.reads('s/b', mail);
    box.reads('s/c', mail);
    expect([box.why('s/c'), box.sentence('s/c')]).toEqual([
      'RATE_LIMITED',
      'api:mail may be used 2/10s; the next slot was 6s away',
    ]);
    box.done('s/a');
    box.done('s/b');
    expect(box.phase('s/c'), 'an end frees no slot: only time does').toBe('held');
    box.pass(5_999);
    expect(box.phase('s/c')).toBe('held');
    box.reads('s/d', mail);
    box.pass(1);
    expect([box.phase('s/c'), box.phase('s/d')]).toEqual(['running', 'held']);
    expect(box.sentence('s/d'), 'the next one comes four seconds later').toContain('4s away');
    box.pass(4_000);
    expect(box.phase('s/d')).toBe('running');
  });

  test('counts every attempt', () => {
    const box = new Box(rules);
    box.reads('s/a', { ...mail, retry: { attempts: 3, backoff: 10 } });
    box.fails('s/a');
    box.pass(10);
    expect(box.phase('s/a')).toBe('running');
    box.fails('s/a');
    box.pass(20);
    expect(box.why('s/a')).toBe('RATE_LIMITED');
    box.pass(10_000);
    expect(box.phase('s/a')).toBe('running');
  });

  test('is kept over a continue-as-new', () => {
    const box = new Box(rules);
    for (const id of ['s/a', 's/b', 's/c']) box.reads(id, mail);
    box.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
    expect(box.why('s/c')).toBe('RATE_LIMITED');
    box.reads('s/d', mail);
    box.pass(10_000);
    expect([box.phase('s/c'), box.phase('s/d')]).toEqual(['running', 'running']);
  });

  test('is taken for used up by a coordinator whose forerunner lost its state, and by no other', () => {
    const box = new Box(rules, true);
    box.tell({ kind: 'surveyed', live: [], last: true, before: true });
    box.reads('s/a', mail);
    expect(box.sentence('s/a')).toContain('10s away: what was granted before');
    box.pass(10_000);
    expect(box.phase('s/a')).toBe('running');
    const first = new Box(rules, true);
    first.tell({ kind: 'surveyed', live: ['s/a'], last: true, before: false });
    first.reads('s/a', mail);
    expect(first.phase('s/a')).toBe('running');
  });

  test('never gives more than its count in any window, whenever it is asked', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 100 }),
        fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 60 }),
        (count, window, gaps) => {
          const rate = { count, window, text: '' };
          const log: number[] = [];
          let now = 0;
          for (const gap of gaps) {
            now += gap;
            const next = nextSlot(log, rate, now);
            const recent = log.filter((at) => at > now - window).length;
            expect(next === undefined).toBe(recent < count);
            if (next === undefined) log.push(now);
            else expect(nextSlot(log, rate, next), 'the slot it names is one').toBeUndefined();
          }
        },
      ),
    );
  });
});

describe('a kind of agent', () => {
  test('has a limit of its own, for read-only tasks too; the first that waits gets the first free slot', () => {
    const box = new Box({ ceiling: 9 });
    box.reads('s/a', { agent: 'big' });
    box.writes('s/b', ['b'], { agent: 'big' });
    box.reads('s/c', { agent: 'big' });
    box.reads('s/d');
    expect([box.why('s/b'), box.sentence('s/b')]).toEqual([
      'KIND_LIMIT',
      'agents of kind big run their limit of 1',
    ]);
    expect(box.phase('s/d'), 'other kinds go on').toBe('running');
    box.done('s/a');
    expect([box.phase('s/b'), box.phase('s/c')]).toEqual(['running', 'held']);
    box.commits('s/b');
    expect(box.phase('s/c'), 'a landing takes no slot').toBe('running');
  });

  test('counts tasks that name none as those of the default kind', () => {
    const box = new Box({ ceiling: 9, agents: { sh: { maxRunning: 2 } } });
    box.reads('s/a');
    box.reads('s/b', { agent: 'sh' });
    box.reads('s/c');
    expect(box.why('s/c')).toBe('KIND_LIMIT');
    box.tell({ kind: 'rules', rules: { ...RULES, ceiling: 9, agents: { sh: { maxRunning: 3 } } } });
    expect(box.phase('s/c')).toBe('running');
  });
});

describe('the index of uses', () => {
  const use = fc.record({
    resource: fc.constantFrom('a:x', 'a:y'),
    mode: fc.constantFrom('exclusive' as const, 'shared' as const),
  });

  test('says the same as a look at everybody', () => {
    const step = fc.record({ user: fc.constantFrom('1', '2', '3', '4'), use, keep: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 3 }), (steps, capacity) => {
        const index = new ResourceIndex();
        const held = new Map<string, Use>();
        for (const { user, use, keep } of steps) {
          const others = [...held].filter(([id, one]) => id !== user && one.resource === use.resource);
          const exclusive = others.filter(([, one]) => one.mode === 'exclusive').map(([id]) => id);
          const sharing = others.filter(([, one]) => one.mode === 'shared').map(([id]) => id);
          const full = exclusive.length >= capacity ? exclusive : [];
          const expected = use.mode === 'shared' ? exclusive : [...sharing, ...full];
          expect(index.inTheWay(user, use, capacity).sort()).toEqual(expected.sort());
          const before = held.get(user);
          if (before) index.remove(user, [before]);
          held.delete(user);
          if (keep) held.set(user, use);
          if (keep) index.add(user, [use]);
        }
      }),
    );
  });
});

describe('the audit', () => {
  const kinds = { ...RULES, agents: { big: { maxRunning: 1 } } };
  const decided = (verdict: Decision['verdict'], seq: number, at = seq): Decision => ({
    seq,
    at,
    attempt: 1,
    verdict,
    code: verdict === 'run' ? 'READ_ONLY' : 'FINISHED',
    evidence: {},
  });
  const packet = (task: string, from: number, to: number, more: Partial<Packet> = {}): Packet => ({
    version: 1,
    task,
    fleet: 'f',
    life: '1.r',
    writes: [],
    reads: [],
    after: [],
    outcome: { kind: 'finished', code: 'FINISHED', text: '' },
    attempts: [{ attempt: 1, fence: { epoch: 1, number: from }, started: '' }],
    decisions: [decided('run', from), decided('end', to)],
    beside: [],
    ...more,
  });
  const found = (...packets: Packet[]) => {
    const input: AuditInput = {
      submitted: packets.map(({ task }) => task),
      packets,
      ledger: [],
      ceiling: 9,
      maxRunning: {},
      kinds,
      places: RULES,
    };
    return audit(input);
  };

  test('finds exclusive uses at the same time, and sharing beside one', () => {
    const uses = [alone('db:orders')];
    expect(found(packet('s/a', 1, 2, { uses }), packet('s/b', 3, 4, { uses }))).toEqual([]);
    expect(found(packet('s/a', 1, 3, { uses }), packet('s/b', 2, 4, { uses }))).toEqual([
      's/a, s/b used db:orders at the same time',
    ]);
    const sharing = [shared('db:orders')];
    expect(found(packet('s/a', 1, 3, { uses: sharing }), packet('s/b', 2, 4, { uses: sharing }))).toEqual([]);
    expect(found(packet('s/a', 1, 3, { uses: sharing }), packet('s/b', 2, 4, { uses }))).toHaveLength(1);
    const web = [alone('pipe:web')];
    const [one, two, three] = [1, 2, 3].map((from) => packet(`s/${from}`, from, from + 10, { uses: web }));
    if (!one || !two || !three) throw new Error('three');
    expect(found(one, two)).toEqual([]);
    expect(found(one, two, three)).toEqual(['s/1, s/2, s/3 used pipe:web at the same time']);
  });

  test('finds a rate that was exceeded, and a kind of agent over its limit', () => {
    const uses = [shared('api:mail')];
    const at = (task: string, seq: number, time: number) =>
      packet(task, seq, seq + 1, {
        uses,
        decisions: [decided('run', seq, time), decided('end', seq + 1, time)],
      });
    expect(found(at('s/a', 1, 0), at('s/b', 3, 9_000), at('s/c', 5, 10_000))).toEqual([]);
    expect(found(at('s/a', 1, 0), at('s/b', 3, 9_000), at('s/c', 5, 9_999))).toEqual([
      'api:mail was granted more often than 2/10s',
    ]);
    const agent = 'big';
    expect(found(packet('s/a', 1, 3, { agent }), packet('s/b', 2, 4, { agent }))).toEqual([
      '2 agents of kind big ran at once, more than 1',
    ]);
  });
});
