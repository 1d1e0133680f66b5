// What a task may see of others: what plans may say, whom people and rules let see what, and that no grant is lost or
// invented, whatever becomes of the messages and of the coordinator.

import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { Config, rulesOf } from '../src/domain/config.js';
import type { PeerWord } from '../src/domain/messages.js';
import { type Confirmed, OwnPeers, type PeerAsk } from '../src/domain/own-peers.js';
import type { Peer, PeerRule } from '../src/domain/peering-grants.js';
import { Plan, SingleTask, TaskInput } from '../src/domain/plan.js';
import { fieldPath, problemsOf } from '../src/domain/problems.js';
import { carry, freshState, restore } from '../src/domain/state.js';
import { standingOf } from '../src/domain/views.js';
import { Box } from './support/box.js';
import { RULES } from './support/fleet-model.js';

describe('the peers of a task', () => {
  const task = (id: string, more: object = {}) => ({ id, prompt: 'p', ...more });
  const wrong = (schema: typeof Plan | typeof SingleTask, input: object): string[] => {
    const parsed = schema.safeParse(input);
    if (parsed.success) return [];
    return problemsOf(parsed.error, schema, input).map(
      ({ path, message }) => `${fieldPath(path)}: ${message}`,
    );
  };

  it('travel with it, from its commits when nothing else is said', () => {
    const peers = [
      { task: 'code', as: 'code' },
      { task: 'other/b', as: 'live', from: 'worktree' },
    ];
    expect(TaskInput.parse({ fleet: 'f', task: task('a', { peers }) }).task.peers).toEqual([
      { task: 'code', as: 'code', from: 'commit' },
      { task: 'other/b', as: 'live', from: 'worktree' },
    ]);
    expect(SingleTask.parse(task('a')).peers).toEqual([]);
  });

  it.each(['../up', 'a/b', '.git', '', 'a b', 'a\\b', 'a.', '-x', 'x.manifest.json', 'x.Manifest.JSON'])(
    'are not called %j',
    (as) => {
      expect(wrong(SingleTask, task('a', { peers: [{ task: 'b', as }] })).join()).toMatch(/peers\[0\]\.as/);
    },
  );

  it('have a name each, also where case does not count', () => {
    const peers = [
      { task: 'b', as: 'Peer' },
      { task: 'c', as: 'peer' },
    ];
    expect(wrong(SingleTask, task('a', { peers }))).toEqual([
      'peers[1].as: "peer" is there twice: each peer has a name of its own',
    ]);
  });

  it('are others, however it is written', () => {
    const own = wrong(SingleTask, task('a', { peers: [{ task: 'a', as: 'x' }] }));
    expect(own).toEqual(['peers[0].task: a task is no peer of its own']);
    const tasks = [task('a', { peers: [{ task: 'p/a', as: 'x' }] })];
    expect(wrong(Plan, { plan: 'p', tasks })).toEqual([
      'tasks[0].peers[0].task: a task is no peer of its own',
    ]);
  });

  it('are tasks of the plan, or of another plan by its name', () => {
    const tasks = [
      task('a', {
        peers: [
          { task: 'bb', as: 'x' },
          { task: 'q/z', as: 'y' },
          { task: 'p/b', as: 'z' },
        ],
      }),
      task('b'),
    ];
    expect(wrong(Plan, { plan: 'p', tasks })).toEqual([
      'tasks[0].peers[0].task: no task of this plan is called "bb"',
    ]);
  });

  it('do not look at each other in a circle', () => {
    const tasks = ['a', 'b', 'c'].map((id, i) =>
      task(id, { peers: [{ task: i === 0 ? 'p/b' : 'bca'[i] === id ? 'a' : 'bca'[i], as: 'x' }] }),
    );
    expect(wrong(Plan, { plan: 'p', tasks })).toEqual([
      'tasks[0].peers: the tasks look at each other in a circle: a -> b -> c -> a',
    ]);
  });

  it('are written with known keys and values only', () => {
    expect(wrong(SingleTask, task('a', { peers: [{ task: 'b', as: 'x', mode: 'rw' }] })).join()).toMatch(
      /mode/,
    );
    expect(wrong(SingleTask, task('a', { peers: [{ task: 'b', as: 'x', from: 'disk' }] })).join()).toMatch(
      /from/,
    );
  });
});

const CODE: Peer = { task: 's/code', as: 'code', from: 'commit' };
const LIVE: Peer = { task: 's/code', as: 'live', from: 'worktree' };
const OK: Confirmed = { allowed: true, text: '', at: 7 };

const ask = (own: OwnPeers, id: string, more: object = {}): PeerAsk => {
  const asked = own.ask({ id, owner: 's/code', by: 'ana', ...more });
  if (!asked) throw new Error('nothing has to be allowed');
  return asked;
};

describe('what a task keeps of its peers', () => {
  const own = (peers = [CODE, LIVE]) => new OwnPeers('s/review', peers, undefined);

  test('a grant counts when it is allowed, for every peer of that owner, or for its commits alone', () => {
    const all = own();
    const asked = ask(all, '1');
    expect([asked.peers, all.answerTo('1')?.answer, all.asking]).toEqual([[CODE, LIVE], 'asked', true]);
    expect(all.confirmed(asked, [OK, OK])).toBe(true);
    expect(all.said.map(({ as, word }) => [as, word?.granted, word?.by, word?.since])).toEqual([
      ['code', true, 'ana', 7],
      ['live', true, 'ana', 7],
    ]);
    expect([all.answerTo('1')?.answer, all.asking]).toEqual(['granted', false]);
    const some = own();
    some.confirmed(ask(some, '1', { from: 'commit' }), [OK]);
    expect(some.said.map(({ as }) => as)).toEqual(['code']);
  });

  test('a grant that is not allowed changes nothing, and is remembered with its reason', () => {
    const peers = own();
    const refusal = { allowed: false, text: 'no key', at: 8 };
    expect(peers.confirmed(ask(peers, '1'), [OK, refusal])).toBe(true);
    expect(peers.said.map(({ word, refused }) => [word, refused?.text, refused?.by])).toEqual([
      [undefined, 'no key', 'ana'],
      [undefined, 'no key', 'ana'],
    ]);
    expect(peers.answerTo('1')).toEqual({ answer: 'refused', text: 'no key', peers: ['code', 'live'] });
  });

  test('whoever takes it back while it is being allowed has the last word', () => {
    const peers = own([CODE]);
    const asked = ask(peers, '1');
    expect(peers.revoke({ id: '2', owner: 's/code', by: 'ben' })).toBe(true);
    expect(peers.confirmed(asked, [OK])).toBe(false);
    expect(peers.said[0]?.word).toMatchObject({ granted: false, by: 'ben' });
    expect(peers.answerTo('1')?.answer).toBe('refused');
  });

  test('what is granted already need not be allowed again', () => {
    const peers = own([CODE]);
    peers.confirmed(ask(peers, '1'), [OK]);
    expect(peers.ask({ id: '2', owner: 's/code' })).toBeUndefined();
    expect(peers.answerTo('2')?.answer).toBe('granted');
  });

  test('what it does not ask to see, or nobody can understand, is refused', () => {
    const peers = own();
    for (const [id, request] of [
      ['1', { owner: 's/other' }],
      ['2', { owner: 's/code', from: 'disk' }],
      ['3', { owner: 7 }],
    ] as const) {
      expect(peers.ask({ id, ...request })).toBeUndefined();
      expect(peers.answerTo(id)).toMatchObject({ answer: 'refused', peers: [] });
    }
    for (const nothing of [undefined, null, 'x', {}, { id: '' }]) expect(peers.ask(nothing)).toBeUndefined();
    expect(peers.answerTo('1')?.text).toBe('s/review does not ask to see s/other: its peers are s/code');
    const live = own([LIVE]);
    expect(live.ask({ id: '1', owner: 's/code', from: 'commit' })).toBeUndefined();
    expect(live.answerTo('1')?.answer).toBe('refused');
    expect(peers.said).toEqual([]);
  });

  test('is handed on whole when its workflow continues as new', () => {
    const peers = own();
    peers.confirmed(ask(peers, '1'), [OK, OK]);
    peers.revoke({ id: '2', owner: 's/code', from: 'commit' });
    const next = new OwnPeers('s/review', [CODE, LIVE], JSON.parse(JSON.stringify(peers.carry())));
    expect([next.said, next.answerTo('2')]).toEqual([peers.said, peers.answerTo('2')]);
  });

  test('what the coordinator says counts only as an answer to the latest word', () => {
    const peers = own([CODE]);
    const told = (word: number, granted: boolean) => ({
      peers: [{ as: 'code', granted, word, code: 'PEER_GRANTED' as const, evidence: { by: 'ana' } }],
    });
    expect(peers.seen(told(0, true))[0]?.granted, 'by a rule').toBe(true);
    peers.confirmed(ask(peers, '1'), [OK]);
    const number = peers.said[0]?.word?.number ?? 0;
    expect([0, number].map((word) => peers.seen(told(word, true))[0]?.granted)).toEqual([false, true]);
    peers.revoke({ id: '2', owner: 's/code' });
    expect(peers.seen(told(number, true))[0]?.granted, 'taken back: no coordinator is needed').toBe(false);
    expect(peers.seen(told(peers.said[0]?.word?.number ?? 0, true))[0]?.granted).toBe(false);
    expect(peers.seen(undefined)[0]?.granted).toBe(false);
  });
});

const word = (granted: boolean, number: number, by = 'ana'): PeerWord => ({ granted, number, by });
const told = (box: Box, id = 's/review') =>
  standingOf(box.state, id)?.peers?.map(({ as, granted, code, word }) => [as, granted, code, word]);
const noted = (box: Box, id: string) =>
  box
    .record(id)
    .decisions.flatMap(({ code, evidence }) =>
      code.startsWith('PEER') ? [`${code} ${evidence.as} ${evidence.by ?? evidence.text ?? ''}`.trim()] : [],
    );

function reviewed(peering: PeerRule[] = [], peers = [CODE]): Box {
  const box = new Box({ ceiling: 9, peering });
  box.writes('s/code', ['src']);
  box.reads('s/review', { peers });
  return box;
}

describe('the coordinator', () => {
  test('lets nobody see what nobody has granted, and says so', () => {
    const box = reviewed();
    expect(told(box)).toEqual([['code', false, 'PEER_UNGRANTED', 0]]);
    expect(noted(box, 's/review')).toEqual(['PEER_UNGRANTED code']);
    expect(noted(box, 's/code')).toEqual([]);
    expect(box.phase('s/review'), 'which holds nobody up').toBe('running');
  });

  test('puts in force what people grant and take back, and notes it with both, once', () => {
    const box = reviewed();
    const says = (granted: boolean, number: number, by?: string) =>
      box.task('s/review', { peers: [{ as: 'code', word: word(granted, number, by) }] });
    says(true, 1);
    expect(told(box)).toEqual([['code', true, 'PEER_GRANTED', 1]]);
    expect(box.state.due.standings.has('s/review')).toBe(true);
    says(true, 1);
    says(false, 2, 'ben');
    expect(told(box)).toEqual([['code', false, 'PEER_REVOKED', 2]]);
    expect(noted(box, 's/review').slice(1)).toEqual(['PEER_GRANTED code ana', 'PEER_REVOKED code ben']);
    expect(noted(box, 's/code')).toEqual(['PEER_SHOWN code ana', 'PEER_HIDDEN code ben']);
  });

  test('notes once that a grant was not allowed', () => {
    const box = reviewed();
    const refused = { number: 1, by: 'eve', text: 'no key' };
    for (let i = 0; i < 3; i++) box.task('s/review', { peers: [{ as: 'code', refused }] });
    expect(noted(box, 's/review').slice(1)).toEqual(['PEER_REFUSED code eve']);
    expect(told(box)).toEqual([['code', false, 'PEER_UNGRANTED', 0]]);
  });

  const RULE: PeerRule = { owner: 'dev', to: 'read-only', from: 'commit' };
  test.each<[string, PeerRule, Peer, boolean]>([
    ['role to read-only tasks', RULE, CODE, true],
    ['commits only, and it asks for the tree', RULE, LIVE, false],
    ['trees too', { ...RULE, from: 'worktree' }, LIVE, true],
    ['trees too, and it asks for commits', { ...RULE, from: 'worktree' }, CODE, true],
    ['another owner', { ...RULE, owner: 'ops' }, CODE, false],
    ['another looker', { ...RULE, to: 'dev' }, CODE, false],
    ['kinds of agent', { owner: { agent: 'sh' }, to: { agent: 'big' }, from: 'commit' }, CODE, true],
    [
      'kinds the wrong way round',
      { owner: { agent: 'big' }, to: { agent: 'sh' }, from: 'commit' },
      CODE,
      false,
    ],
  ])('goes by rules: %s', (_, rule, peer, granted) => {
    const box = new Box({ ceiling: 9, peering: [rule] });
    box.writes('s/code', ['src']);
    box.reads('s/review', { peers: [peer], agent: 'big' });
    expect(told(box)?.[0]?.slice(1, 3)).toEqual([granted, granted ? 'PEER_BY_RULE' : 'PEER_UNGRANTED']);
    expect(noted(box, 's/code').length).toBe(granted ? 1 : 0);
  });

  test('goes by rules when the owner comes later, and when the rules become others', () => {
    const box = new Box({ ceiling: 9, peering: [RULE] });
    box.reads('s/review', { peers: [CODE] });
    expect(told(box)?.[0]?.[1]).toBe(false);
    box.writes('s/code', ['src']);
    expect(told(box)?.[0]?.[1]).toBe(true);
    box.tell({ kind: 'rules', rules: { ...RULES, peering: [] } });
    expect(told(box)?.[0]?.slice(1, 3)).toEqual([false, 'PEER_UNGRANTED']);
    expect(noted(box, 's/code').at(-1)).toBe('PEER_HIDDEN code');
    box.tell({ kind: 'rules', rules: { ...RULES, peering: [RULE] } });
    expect(told(box)?.[0]?.[1]).toBe(true);
  });

  test('what is taken back stays so, whatever the rules grant', () => {
    const box = reviewed([RULE]);
    expect(told(box)?.[0]?.[1]).toBe(true);
    box.task('s/review', { peers: [{ as: 'code', word: word(false, 1) }] });
    expect(told(box)).toEqual([['code', false, 'PEER_REVOKED', 1]]);
  });

  test('a new life of the task that looks is granted nothing that the last one was', () => {
    const box = reviewed();
    box.task('s/review', { peers: [{ as: 'code', word: word(true, 1) }] });
    box.cancel('s/review');
    box.task('s/review', { life: '2.run', number: 1, at: 'waiting', peers: [], cancel: undefined as never });
    expect(told(box)).toEqual([['code', false, 'PEER_UNGRANTED', 0]]);
    expect(noted(box, 's/code').at(-1)).toBe('PEER_HIDDEN code');
  });

  test('one without state goes by what the task says, also of an owner that ended long ago', () => {
    const box = reviewed([RULE], [CODE, LIVE]);
    box.task('s/review', { peers: [{ as: 'live', word: word(true, 1) }] });
    const owner = standingOf(box.state, 's/review')?.peers?.[0]?.owner;
    expect(owner).toEqual({ role: 'dev', agent: 'sh' });
    box.now += 1_000;
    box.state = freshState({ ...RULES, ceiling: 9, peering: [RULE] }, box.now);
    box.task('s/review', {
      epoch: box.state.epoch,
      peers: [
        { as: 'code', ...(owner ? { owner } : {}) },
        { as: 'live', word: word(true, 1) },
      ],
    });
    expect(told(box)).toEqual([
      ['code', true, 'PEER_BY_RULE', 0],
      ['live', true, 'PEER_GRANTED', 1],
    ]);
  });

  test('hands what it knows on when it continues as new', () => {
    const box = reviewed([RULE], [CODE, LIVE]);
    box.task('s/review', { peers: [{ as: 'live', word: word(true, 1) }] });
    const before = told(box);
    box.state = restore(JSON.parse(JSON.stringify(carry(box.state))));
    expect(told(box)).toEqual(before);
    box.tell({ kind: 'rules', rules: { ...RULES, peering: [] } });
    expect(told(box)).toEqual([
      ['code', false, 'PEER_UNGRANTED', 0],
      ['live', true, 'PEER_GRANTED', 1],
    ]);
  });
});

describe('rules of the configuration', () => {
  const config = (peering: object, roles: object = {}) => ({
    fleet: 'f',
    repositories: { app: { url: '.' } },
    roles: { main: { resources: ['branch:app'] }, ...roles },
    agents: { sh: { command: 'x' }, reviewer: { command: 'x' } },
    peering,
  });
  const problems = (input: object) => {
    const parsed = Config.safeParse(input);
    return parsed.success
      ? []
      : problemsOf(parsed.error, Config, input).map(({ path, message }) => `${fieldPath(path)}: ${message}`);
  };

  it('travel with the coordinator', () => {
    const grants = [{ owner: 'main', to: { agent: 'reviewer' } }];
    expect(rulesOf(Config.parse(config({ grants }))).peering).toEqual([
      { owner: 'main', to: { agent: 'reviewer' }, from: 'commit' },
    ]);
    expect(rulesOf(Config.parse(config({}))).peering).toBeUndefined();
  });

  it('name roles and kinds of agent that there are', () => {
    const grants = [
      { owner: 'mian', to: { agent: 'x' } },
      { owner: { agent: 'sh' }, to: 'read-only' },
    ];
    expect(problems(config({ grants }))).toEqual([
      'peering.grants[0].owner: no role is called "mian"; there are: main',
      'peering.grants[0].to: no kind of agent is called "x"; there are: sh, reviewer',
    ]);
    const named = config(
      { grants: [{ owner: 'main', to: 'read-only' }] },
      {
        'read-only': { resources: ['branch:web'] },
      },
    );
    const both = { ...named, repositories: { app: { url: '.' }, web: { url: './web' } } };
    expect(problems(both)).toEqual([
      'peering.grants[0].to: "read-only" stands for tasks without a role: give the role another name',
    ]);
  });

  it('are asked about for at most half an hour', () => {
    expect(problems(config({ confirm: 'x', timeout: '31m' }))).toEqual(['peering.timeout: at most 30m']);
    expect(problems(config({ confirm: 'x', timeout: '30m' }))).toEqual([]);
  });
});

// ---- messages lost, late, twice, in another order; coordinators that start without state

type Step =
  | { do: 'grant' | 'revoke'; live: boolean }
  | { do: 'refuse' | 'report' | 'restart' | 'carry' | 'owner' | 'continue' }
  | { do: 'rules'; some: boolean }
  | { do: 'deliver'; pick: number; fate: 'once' | 'again' | 'lost' };

const STEP: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constantFrom('grant' as const, 'revoke' as const), live: fc.boolean() }),
  fc.record({
    do: fc.constantFrom(
      'refuse' as const,
      'report' as const,
      'restart' as const,
      'carry' as const,
      'owner' as const,
      'continue' as const,
    ),
  }),
  fc.record({ do: fc.constant('rules' as const), some: fc.boolean() }),
  fc.record({
    do: fc.constant('deliver' as const),
    pick: fc.nat(20),
    fate: fc.constantFrom('once' as const, 'again' as const, 'lost' as const),
  }),
);

const RULE: PeerRule = { owner: 'dev', to: 'read-only', from: 'commit' };

/** A task that looks, its owner, and a network between them and the coordinator. */
class Shared {
  readonly box = new Box({ ceiling: 9 });
  own = new OwnPeers('s/review', [CODE, LIVE], undefined);
  /** What people said last, allowed; undefined for nothing. */
  readonly truth = new Map<string, boolean>();
  private rules: PeerRule[] = [];
  private standing: ReturnType<typeof standingOf>;
  private letters: { to: 'coordinator' | 'task'; open: () => void }[] = [];
  private ids = 0;
  private number = 0;
  private epoch = this.box.state.epoch;

  constructor() {
    this.box.writes('s/code', ['src']);
    this.say();
    this.deliverAll();
  }

  perform(step: Step): void {
    const peer = 'live' in step && step.live ? LIVE : CODE;
    const request = { id: `${++this.ids}`, owner: 's/code', by: 'ana', from: peer.from };
    switch (step.do) {
      case 'grant': {
        const asked = this.own.ask(request);
        if (asked)
          this.own.confirmed(
            asked,
            asked.peers.map(() => OK),
          );
        for (const { as } of asked?.peers ?? []) this.truth.set(as, true);
        this.say();
        break;
      }
      case 'revoke':
        this.own.revoke(request);
        for (const { as } of peer === LIVE ? [CODE, LIVE] : [CODE]) this.truth.set(as, false);
        this.see();
        this.say();
        break;
      case 'refuse': {
        const asked = this.own.ask(request);
        if (asked) this.own.confirmed(asked, [{ allowed: false, text: 'no', at: 1 }]);
        this.say();
        break;
      }
      case 'report':
        this.say();
        break;
      case 'continue':
        this.own = new OwnPeers('s/review', [CODE, LIVE], JSON.parse(JSON.stringify(this.own.carry())));
        return;
      case 'restart':
        // Empty, and with a higher epoch: it knows neither the task nor its owner.
        this.box.now += 1_000;
        this.box.state = freshState({ ...RULES, ceiling: 9, peering: this.rules }, this.box.now);
        return;
      case 'carry':
        this.box.state = restore(JSON.parse(JSON.stringify(carry(this.box.state))));
        return;
      case 'owner':
        this.box.writes('s/code', ['src'], {}, { epoch: this.box.state.epoch });
        this.answer();
        break;
      case 'rules':
        this.rules = step.some ? [RULE] : [];
        this.box.tell({ kind: 'rules', rules: { ...RULES, ceiling: 9, peering: this.rules } });
        this.answer();
        break;
      case 'deliver': {
        const letter = this.letters[step.pick % Math.max(1, this.letters.length)];
        if (!letter) return;
        if (step.fate !== 'again') this.letters = this.letters.filter((one) => one !== letter);
        if (step.fate !== 'lost') letter.open();
      }
    }
  }

  /** After all: the next whole word of each heals what was lost. */
  finish(): void {
    this.letters = [];
    this.box.writes('s/code', ['src'], {}, { epoch: this.box.state.epoch });
    this.epoch = Math.max(this.epoch, this.box.state.epoch);
    this.say();
    this.deliverAll();
  }

  private say(): void {
    const report = {
      number: ++this.number,
      epoch: this.epoch,
      peers: this.own.said,
      facts: { peers: [CODE, LIVE] },
    };
    const sent = structuredClone(report);
    this.letters.push({
      to: 'coordinator',
      open: () => {
        this.box.task('s/review', sent);
        this.answer();
      },
    });
  }

  private answer(): void {
    const { state } = this.box;
    const standing = structuredClone(standingOf(state, 's/review'));
    if (standing) this.letters.push({ to: 'task', open: () => this.hear(standing) });
  }

  /** As the task's workflow does it. */
  private hear(standing: NonNullable<ReturnType<typeof standingOf>>): void {
    const known = this.standing;
    if (standing.epoch < this.epoch) return;
    if (known && known.epoch === standing.epoch && standing.number <= known.number) return;
    this.epoch = standing.epoch;
    this.standing = standing;
    this.own.hear(standing);
    this.see();
  }

  private deliverAll(): void {
    for (let next = this.letters.shift(); next; next = this.letters.shift()) next.open();
  }

  /** At no moment is anything open that people took back, or that nobody and no rule has granted. */
  see(): void {
    for (const { as, granted } of this.own.seen(this.standing)) {
      if (granted) expect(this.truth.get(as), `${as} was taken back`).not.toBe(false);
      // By a rule, commits only.
      if (granted && as === 'live') expect(this.truth.get(as)).toBe(true);
    }
  }

  settled(): void {
    this.see();
    for (const { as, granted } of this.own.seen(this.standing)) {
      const byRule = as === 'code' && this.rules.length > 0;
      expect([as, granted]).toEqual([as, this.truth.get(as) ?? byRule]);
    }
  }
}

test('no grant is lost or invented, whatever becomes of messages and coordinators', () => {
  fc.assert(
    fc.property(fc.array(STEP, { maxLength: 40 }), (steps) => {
      const shared = new Shared();
      for (const step of steps) shared.perform(step);
      shared.finish();
      shared.settled();
    }),
    { numRuns: 500 },
  );
});
