// The schemas of signalbox.yaml, of plans and of single tasks: defaults, errors as people read them, JSON Schema.

import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { agentKind, Config, rulesOf } from '../src/domain/config.js';
import { findCycle } from '../src/domain/graph.js';
import { checkAgainst, Plan, SingleTask, TaskInput } from '../src/domain/plan.js';
import { didYouMean, fieldPath, problemsOf } from '../src/domain/problems.js';

const CONFIG = {
  fleet: 'demo',
  repositories: { app: { url: './app.git' }, web: { url: 'https://example.org/web.git', branch: 'trunk' } },
  roles: {
    dev: { resources: ['branch:app'], verify: ['npm test', ['make', 'check']], maxRunning: 4 },
    site: {
      resources: ['branch:web'],
      deploy: { command: './deploy.sh' },
      surface: { url: 'https://example.org/' },
    },
  },
  agents: { default: { command: 'agent' } },
};

const PLAN = {
  plan: 'feature',
  tasks: [
    { id: 'survey', prompt: 'look' },
    { id: 'build', prompt: 'do', role: 'dev', writes: ['src/a', ':(glob)docs/**/*.md'], after: ['survey'] },
    { id: 'check', prompt: 'see', after: [{ task: 'build', until: 'landed' }], env: { LEVEL: '1' } },
  ],
};

/** What is wrong, one line each: `path: message (hint)`. */
function complaints(schema: z.ZodType, input: unknown): string[] {
  const parsed = schema.safeParse(input);
  if (parsed.success) return [];
  return problemsOf(parsed.error, schema, input).map(
    ({ path, message, hint }) => `${fieldPath(path)}: ${message}${hint ? ` (${hint})` : ''}`,
  );
}

const task = (more: object) => ({ id: 'a', prompt: 'p', ...more });
const plan = (...tasks: object[]) => ({ plan: 'p', tasks });

describe('signalbox.yaml', () => {
  test('what is left out has its default', () => {
    const config = Config.parse(CONFIG);
    expect(config).toMatchObject({
      ceiling: 8,
      lease: 30 * 60_000,
      lockDelay: 30_000,
      planTimeout: 10 * 60_000,
      retry: { attempts: 2, backoff: 10_000, maxBackoff: 300_000 },
      issues: { closed: 'cancel', done: 'cancel', paused: 'hold', blocked: 'hold' },
      repositories: { app: { branch: 'main' }, web: { branch: 'trunk' } },
      roles: {
        dev: { verifyTimeout: 30 * 60_000 },
        site: { surface: { contains: '{commit}', within: 60_000 } },
      },
      agents: { default: { timeout: 2 * 3_600_000, checkout: true, passEnv: [] } },
    });
  });

  test('coordination gets the repositories of the roles, and the ceiling as the limit of a role without one', () => {
    expect(rulesOf(Config.parse(CONFIG))).toMatchObject({
      defaultRepository: 'app',
      roles: { dev: { repository: 'app', maxRunning: 4 }, site: { repository: 'web', maxRunning: 8 } },
    });
  });

  test('every mistake is named at once, with its field', () => {
    const found = complaints(Config, {
      ...CONFIG,
      fleet: 'a fleet',
      ceiling: 0,
      lease: 'soon',
      repositories: { app: { url: '' } },
      agents: { default: { command: 'x', timeout: 5 } },
    });
    expect(found).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^fleet: expected a name/),
        'ceiling: must be at least 1',
        'lease: expected a duration such as "30s", "10m" or "2h"',
        'repositories.app.url: must not be empty',
        'agents.default.timeout: expected string, found a number',
      ]),
    );
    expect(found).toHaveLength(5);
  });

  test('what is missing is called missing', () => {
    expect(complaints(Config, {})).toEqual(
      expect.arrayContaining([
        'fleet: is missing (expected string)',
        'repositories: is missing (expected record)',
        'agents: is missing (expected record)',
      ]),
    );
  });

  test('an unknown key is named, with the one that was meant', () => {
    const input = { ...CONFIG, ceilling: 3, roles: { dev: { ...CONFIG.roles.dev, verfy: [] } } };
    expect(complaints(Config, input)).toEqual(
      expect.arrayContaining([
        'ceilling: unknown key "ceilling" (did you mean "ceiling"?)',
        'roles.dev.verfy: unknown key "verfy" (did you mean "verify"?)',
      ]),
    );
    expect(complaints(Config, { ...CONFIG, zzzzzz: 1 })[0]).toContain('known here: fleet, repositories');
  });

  test('a place to verify in without isolation has no network of its own, and only secrets that there are', () => {
    const role = (verifyIn: object) => ({ ...CONFIG, roles: { dev: { ...CONFIG.roles.dev, verifyIn } } });
    expect(complaints(Config, role({ isolation: 'none', network: { allow: ['a.example.com'] } }))).toEqual([
      'roles.dev.verifyIn.network: is for sandboxes: without isolation there is the network of the host',
    ]);
    expect(complaints(Config, role({ secrets: ['key'] }))[0]).toMatch(
      /^roles\.dev\.verifyIn\.secrets\[0\]: /,
    );
  });

  test('a branch has one role', () => {
    const roles = { dev: { resources: ['branch:app'] }, ops: { resources: ['branch:app'] } };
    expect(complaints(Config, { ...CONFIG, roles })).toEqual([
      'roles.ops.resources[0]: branch "main" of ./app.git already has the role "dev": one branch, one writer',
    ]);
  });

  test('a role names a repository that there is, and exactly one resource', () => {
    const roles = { dev: { resources: ['branch:nope'] }, ops: { resources: [] } };
    const found = complaints(Config, { ...CONFIG, roles }).join('\n');
    expect(found).toContain('roles.ops.resources: ');
    const lone = complaints(Config, { ...CONFIG, roles: { dev: { resources: ['branch:nope'] } } });
    expect(lone).toEqual(['roles.dev.resources[0]: no repository is called "nope"; there are: app, web']);
  });

  test('a surface check needs a deploy; a fleet needs a repository and an agent', () => {
    const roles = { dev: { resources: ['branch:app'], surface: { url: 'https://example.org' } } };
    expect(complaints(Config, { ...CONFIG, roles })).toEqual([
      'roles.dev.surface: a surface check needs a deploy',
    ]);
    expect(complaints(Config, { ...CONFIG, roles: {}, repositories: {}, agents: {} })).toEqual([
      'repositories: at least one repository is needed',
      'agents: at least one kind of agent is needed',
    ]);
  });

  test.each(['main', 'release/1.x', 'a_b-c'])('branch %s', (branch) => {
    expect(complaints(Config, { ...CONFIG, repositories: { app: { url: 'u', branch } }, roles: {} })).toEqual(
      [],
    );
  });
  test.each(['-x', 'a..b', 'a b', 'a.lock', 'x/', '/x', 'a//b', 'a@{1}', 'x/.y', 'a:b', ''])(
    'no branch: %j',
    (branch) => {
      const found = complaints(Config, { ...CONFIG, repositories: { app: { url: 'u', branch } }, roles: {} });
      expect(found).toHaveLength(1);
      expect(found[0]).toMatch(/^repositories\.app\.branch: /);
    },
  );
});

describe('a plan', () => {
  test('what is left out has its default; a short edge is the same as a long one', () => {
    const { tasks } = Plan.parse(PLAN);
    expect(tasks[0]).toEqual({
      id: 'survey',
      prompt: 'look',
      uses: [],
      writes: [],
      reads: [],
      assumes: [],
      peers: [],
      after: [],
      env: {},
    });
    expect(tasks[1]?.after).toEqual([{ task: 'survey' }]);
    expect(tasks[2]?.after).toEqual([{ task: 'build', until: 'landed' }]);
  });

  test('an unknown upstream is named, with the one that was meant', () => {
    const input = plan(
      task({ id: 'build' }),
      task({ id: 'b', after: ['biuld'] }),
      task({ id: 'c', after: ['zzz'] }),
    );
    expect(complaints(Plan, input)).toEqual([
      'tasks[1].after[0]: no task of this plan is called "biuld" (did you mean "build"?)',
      'tasks[2].after[0]: no task of this plan is called "zzz"',
    ]);
  });

  test('an id that is there twice is named with its first place', () => {
    expect(complaints(Plan, plan(task({}), task({ id: 'b' }), task({})))).toEqual([
      'tasks[2].id: the id "a" is already that of task 1 of this plan',
    ]);
  });

  test('a circle is printed as a path', () => {
    const input = plan(
      task({ id: 'x' }),
      task({ id: 'a', after: ['x', 'c'] }),
      task({ id: 'b', after: ['a'] }),
      task({ id: 'c', after: ['b'] }),
    );
    expect(complaints(Plan, input)).toEqual([
      'tasks[1].after: the tasks wait for each other in a circle: a -> c -> b -> a',
    ]);
  });

  test('a task that waits for itself is told so once', () => {
    expect(complaints(Plan, plan(task({ after: ['a'] })))).toEqual([
      'tasks[0].after: waits for itself: a -> a',
    ]);
  });

  test('nobody can wait for a read-only task to land', () => {
    const input = plan(task({ id: 'r' }), task({ id: 'b', after: [{ task: 'r', until: 'landed' }] }));
    expect(complaints(Plan, input)).toEqual([
      'tasks[1].after[0]: "r" is read-only and never lands: wait until it has finished',
    ]);
  });

  test('a read-only task claims nothing; a writer has no other repository than its role', () => {
    expect(
      complaints(Plan, plan(task({ writes: ['src'] }), task({ id: 'b', role: 'dev', repository: 'web' }))),
    ).toEqual([
      'tasks[0].writes: a task without a role is read-only: name its role, or claim nothing',
      "tasks[1].repository: a task with a role works in its role's repository",
    ]);
  });

  test('a claim that cannot be right is told why, each at its place', () => {
    expect(complaints(Plan, plan(task({ role: 'dev', writes: ['/etc', 'ok', '../x'] })))).toEqual([
      "tasks[0].writes[0]: absolute paths are not allowed: write the path from the repository's root",
      'tasks[0].writes[2]: ".." is not allowed: write the path from the repository\'s root',
    ]);
  });

  test('secrets do not travel in a task, and names of Signalbox are its own', () => {
    const env = { GITHUB_TOKEN: 'x', DB_PASSWORD: 'x', api_key: 'x', SIGNALBOX_PROMPT: 'x', LEVEL: '1' };
    const found = complaints(Plan, plan(task({ env })));
    expect(found).toHaveLength(4);
    for (const name of ['GITHUB_TOKEN', 'DB_PASSWORD', 'api_key'])
      expect(found.join('\n')).toContain(`tasks[0].env.${name}: looks like a secret`);
    expect(found.join('\n')).toContain('tasks[0].env.SIGNALBOX_PROMPT: names that start with SIGNALBOX_');
  });

  test('mistakes of several tasks are named at once, unknown keys too', () => {
    const input = plan(
      task({ promt: 'x', prompt: undefined }),
      task({ id: 'b c' }),
      task({ id: 'd', retry: { atempts: 3 } }),
      task({ id: 'e', after: [{ task: 'd', untl: 'landed' }] }),
    );
    const found = complaints(Plan, input);
    expect(found).toEqual(
      expect.arrayContaining([
        'tasks[0].prompt: is missing (expected string)',
        'tasks[0].promt: unknown key "promt" (did you mean "prompt"?)',
        expect.stringMatching(/^tasks\[1\]\.id: expected a name/),
        'tasks[2].retry.atempts: unknown key "atempts" (did you mean "attempts"?)',
        'tasks[3].after[0].untl: unknown key "untl" (did you mean "until"?)',
      ]),
    );
    expect(found).toHaveLength(5);
  });

  test('names that mean something else are not free for plans', () => {
    const single =
      '"single" is the plan of tasks that are submitted on their own: give this plan another name';
    const hand = '"hand" is what the claims of persons are called by: give this plan another name';
    expect(complaints(Plan, { plan: 'single', tasks: [task({})] })).toEqual([`plan: ${single}`]);
    expect(complaints(Plan, { plan: 'hand', tasks: [task({})] })).toEqual([`plan: ${hand}`]);
    expect(complaints(TaskInput, { fleet: 'f', plan: { id: 'single' }, task: task({}) })).toEqual([
      `plan.id: ${single}`,
    ]);
    for (const name of ['singles', 'constructor', 'Hand'])
      expect(complaints(Plan, { plan: name, tasks: [task({})] })).toEqual([]);
  });

  test('a plan without tasks is none', () => {
    expect(complaints(Plan, { plan: 'p', tasks: [] })).toEqual(['tasks: must not be empty']);
  });

  test.each(['..', 'a..b', 'x.lock', 'x.', '-a', '', 'a/b', 'a~b', 'x'.repeat(81)])('no name: %j', (id) => {
    expect(SingleTask.safeParse(task({ id })).success).toBe(false);
  });
  test.each(['a', 'a.b', 'A-1_x', 'x'.repeat(80)])('a name: %j', (id) => {
    expect(SingleTask.safeParse(task({ id })).success).toBe(true);
  });
});

describe('a plan against its fleet', () => {
  const config = Config.parse(CONFIG);

  test('agents, roles and repositories that the fleet does not have are named', () => {
    const { tasks } = Plan.parse(
      plan(task({ agent: 'claud', role: 'devv' }), task({ id: 'b', repository: 'ap' })),
    );
    expect(checkAgainst(config, tasks).map(({ path, message }) => `${fieldPath(path)} ${message}`)).toEqual([
      '[0].agent the fleet has no kind of agent called "claud"',
      '[0].role the fleet has no role called "devv"',
      '[1].repository the fleet has no repository called "ap"',
    ]);
  });

  test('a claim in a repository that the fleet does not have is named, one in another that it has is fine', () => {
    const { tasks } = Plan.parse(
      plan(task({ role: 'dev', writes: ['a', 'web:a', 'wbe::(glob)*.md'], reads: ['docs:x'] })),
    );
    expect(checkAgainst(config, tasks)).toEqual([
      expect.objectContaining({ path: [0, 'writes', 2], found: 'wbe', candidates: ['app', 'web'] }),
      expect.objectContaining({ path: [0, 'reads', 0], found: 'docs' }),
    ]);
  });

  test('without a name a task gets the only kind of agent, or the default', () => {
    const two = Config.parse({ ...CONFIG, agents: { x: { command: 'x' }, y: { command: 'y' } } });
    expect(agentKind(config, undefined)).toBe('default');
    expect(agentKind(config, 'nope')).toBeUndefined();
    expect(agentKind(config, 'toString')).toBeUndefined();
    expect(agentKind(two, undefined)).toBeUndefined();
    expect(checkAgainst(two, Plan.parse(PLAN).tasks)[0]?.message).toContain(
      'which agent? The fleet has x, y',
    );
  });
});

describe('JSON Schema', () => {
  const ajv = new Ajv2020({ strict: false, formats: { uri: true } });
  const schemaOf = (schema: z.ZodType) => ajv.compile(z.toJSONSchema(schema, { io: 'input' }));

  test.each([
    ['Config', Config, CONFIG, { ...CONFIG, ceilling: 3 }],
    ['Plan', Plan, PLAN, { ...PLAN, tasks: [{ id: 'a' }] }],
    ['TaskInput', TaskInput, { fleet: 'demo', task: PLAN.tasks[1] }, { fleet: 'demo', task: { id: '-' } }],
  ] as [string, z.ZodType, unknown, unknown][])(
    '%s: takes what the schema takes, and refuses a slip',
    (_name, schema, good, bad) => {
      const validate = schemaOf(schema);
      expect(validate(good), JSON.stringify(validate.errors)).toBe(true);
      expect(schema.safeParse(good).success).toBe(true);
      expect(validate(bad)).toBe(false);
      expect(schema.safeParse(bad).success).toBe(false);
    },
  );
});

describe('helpers', () => {
  test('did you mean: only what is near', () => {
    expect(didYouMean('celing', ['ceiling', 'lease'])).toBe('ceiling');
    expect(didYouMean('Lease', ['ceiling', 'lease'])).toBe('lease');
    expect(didYouMean('nothing', ['ceiling', 'lease'])).toBeUndefined();
    expect(didYouMean('x', [])).toBeUndefined();
  });

  test('a field path reads like code', () => {
    expect(fieldPath(['tasks', 2, 'after', 0])).toBe('tasks[2].after[0]');
    expect(fieldPath([])).toBe('');
  });

  test('findCycle: the first circle, or none; ten thousand tasks in a row do not overflow', () => {
    expect(
      findCycle([
        ['a', ['b']],
        ['b', ['c']],
        ['c', ['b']],
      ]),
    ).toEqual(['b', 'c', 'b']);
    expect(
      findCycle([
        ['a', ['b', 'c']],
        ['b', ['c']],
        ['c', ['gone']],
      ]),
    ).toBeUndefined();
    const row = Array.from({ length: 10_000 }, (_, i): [string, string[]] => [`t${i}`, [`t${i + 1}`]]);
    expect(findCycle(row)).toBeUndefined();
    expect(findCycle([...row, ['t10000', ['t0']]])).toHaveLength(10_002);
  });
});
