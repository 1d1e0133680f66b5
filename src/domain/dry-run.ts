// What would come of submitting tasks: decide itself, on a copy of what the coordinator goes by, is told of them and asked.
// Nothing is started, nobody is told.

import { mostAtOnce } from './at-once.js';
import type { Rules } from './config.js';
import { decide } from './decide.js';
import { SINGLE, taskName } from './ids.js';
import type { TaskFacts } from './messages.js';
import { factsOf, type Task } from './plan.js';
import { type CarriedState, carry, freshState, restore, type State, type TaskRecord } from './state.js';
import { lineOf, type TaskLine } from './views.js';

/** All that decide goes by, at a moment of the coordinator's clock. */
export interface Picture {
  asOf: number;
  carried: CarriedState;
}

/** Tasks that would be submitted together; without a plan's name, each on its own. */
export interface Asked {
  plan: string | undefined;
  tasks: Task[];
}

export interface DryRun {
  fleet: string;
  /** How many agents run and how many may, before any of these tasks. */
  running: number;
  ceiling: number;
  recovering: boolean;
  run: TaskLine[];
  wait: TaskLine[];
  /** Would end without an attempt. */
  end: TaskLine[];
  /** How many of the tasks could run at once at most, were nobody else there; exact unless the search was given up. */
  parallel: { atMost: number; exact: boolean };
}

/** An answer of Temporal's to a query holds 2 MB, and this is compressed on its way to a few percent. */
const MOST_BYTES = 12_000_000;

/** The picture, unless there are so many live tasks that an answer cannot hold it. */
export function pictureFor(state: State, now: number, most = MOST_BYTES): Picture | undefined {
  const picture = pictureOf(state, now);
  return JSON.stringify(picture).length <= most ? picture : undefined;
}

/** Without what is only kept to be told: decisions, what ran beside, who is due to hear. */
export function pictureOf(state: State, now: number): Picture {
  const carried = carry(state);
  const due = {
    standings: [],
    lazy: [],
    announcements: [],
    orders: [],
    packets: [],
    lookups: [],
    checks: [],
  };
  return { asOf: now, carried: { ...carried, due, tasks: carried.tasks.map(bare) } };
}

function bare(task: TaskRecord): TaskRecord {
  const { title: _, ...facts } = task.facts;
  const gone = task.phase === 'ended' && !task.holds;
  return {
    ...task,
    facts: gone ? roleOnly(facts) : facts,
    decisions: task.decisions.slice(-1).map(plain),
    beside: [],
  };
}

/** Of a task that has ended others ask no more than whether it could have landed. */
const roleOnly = ({ role }: TaskFacts): TaskFacts => ({
  writes: [],
  reads: [],
  after: [],
  ...(role ? { role } : {}),
});

const plain = <T extends { evidence: object }>(decision: T): T => ({ ...decision, evidence: {} });

/** A fleet without any task, which has nothing to recover. */
export function emptyFleet(rules: Rules, now: number): Picture {
  const state = freshState(rules, now);
  decide(state, { kind: 'surveyed', live: [], last: true }, now);
  return pictureOf(state, now);
}

export function dryRun(picture: Picture, asked: readonly Asked[]): DryRun {
  const { asOf: now } = picture;
  const state = restore(picture.carried);
  decide(state, { kind: 'tick' }, now);
  const { rules } = state;
  const before = { running: state.running.size, ceiling: rules.ceiling, recovering: !!state.recovery };
  const facts = new Map<string, TaskFacts>();
  for (const { plan, tasks } of asked)
    for (const task of tasks) {
      const id = taskName(plan ?? SINGLE, task.id);
      facts.set(id, factsOf(task, plan ?? SINGLE));
      decide(state, reportOf(state, id, plan, tasks.length, facts.get(id) as TaskFacts, now), now);
    }
  const lines = [...facts.keys()].flatMap((id) => {
    const task = state.tasks.get(id);
    return task ? [lineOf(task, now)] : [];
  });
  return {
    fleet: rules.fleet,
    ...before,
    run: lines.filter(({ phase }) => phase === 'running'),
    wait: lines.filter(({ phase }) => phase === 'held'),
    end: lines.filter(({ phase }) => phase === 'ended'),
    parallel: mostAtOnce(
      [...facts].map(([id, of]) => ({ id, facts: of })),
      rules,
    ),
  };
}

/** What the task's workflow would say first. */
const reportOf = (
  state: State,
  id: string,
  plan: string | undefined,
  size: number,
  facts: TaskFacts,
  now: number,
): Parameters<typeof decide>[1] => ({
  kind: 'task',
  id,
  life: `${now}.dry-run`,
  number: 1,
  epoch: state.epoch,
  plan: plan === undefined ? { id: SINGLE } : { id: plan, size },
  facts,
  attempt: 1,
  at: 'waiting',
});
