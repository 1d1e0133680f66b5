// What one event costs in decide: a constant number of live tasks with random claims, to which tasks are submitted, whose
// leases are renewed and which finish, 3 : 2 : 3. To finish is two messages, the task's and its writer's, counted as one
// event. The files are as many times the tasks at either size, so that as many claims meet.

import { decide } from '../../src/domain/decide.js';
import { freshState, type State, type TaskRecord } from '../../src/domain/state.js';
import { landingId } from '../../src/domain/transitions.js';
import { type Bench, type Row, spreadOf } from '../bench.js';
import { randomFrom } from '../random.js';
import { rulesFor } from '../rules.js';

const LIVE = 10_000;
const FEW = 100;
const FILES_PER_TASK = 20;
const WARM_UP_MS = 1_000;
const MEASURE_MS = 500;
const REPEATS = 15;
/** So many between two looks at the clock, which costs as much as an event. */
const ROUNDS = 32;

class Load {
  private readonly state: State;
  private readonly random = randomFrom(7);
  private readonly files: number;
  private now = 1_000_000;
  private submitted = 0;
  private writerNumber = 0;
  /** Live tasks, in no order. */
  private readonly live: TaskRecord[] = [];

  constructor(size: number) {
    this.files = size * FILES_PER_TASK;
    this.state = freshState(rulesFor(size), this.now);
    decide(this.state, { kind: 'surveyed', live: [], last: true }, this.now);
    while (this.live.length < size) this.submit();
  }

  /** Does events for so long, and tells how many microseconds of a processor each took, whatever else the machine does. */
  run(ms: number): number {
    const start = process.cpuUsage();
    const spent = () => {
      const { user, system } = process.cpuUsage(start);
      return user + system;
    };
    let events = 0;
    while (spent() < ms * 1_000) for (let i = 0; i < ROUNDS; i++) events += this.round();
    return spent() / events;
  }

  private round(): number {
    for (let i = 0; i < 3; i++) {
      this.finish();
      this.submit();
    }
    this.renew();
    this.renew();
    for (const due of Object.values(this.state.due)) due.clear();
    this.now += 20;
    return 8;
  }

  private submit(): void {
    const { random, state, now } = this;
    const id = `single/t${++this.submitted}`;
    const writes = Array.from({ length: 1 + random.below(3) }, () => {
      const file = random.below(this.files);
      return `src/part${file % 97}/module${file % 1_009}/file${file}.ts`;
    });
    const facts = { role: 'dev', writes, reads: [], after: [] };
    const life = `${now}.run`;
    const plan = { id: 'single' };
    decide(state, { kind: 'task', id, life, number: 1, plan, facts, attempt: 1, at: 'waiting' }, now);
    const record = state.tasks.get(id);
    if (record) this.live.push(record);
  }

  private renew(): void {
    const task = this.live[this.someRunning()];
    if (!task?.fence) return;
    const renew = [{ task: task.id, fence: task.fence }];
    decide(this.state, { kind: 'worker', renew, dead: [] }, this.now);
  }

  private finish(): void {
    const at = this.someRunning();
    const task = this.live[at];
    if (!task?.fence) throw new Error('nothing runs');
    const { state, now } = this;
    const { id, life, fence, plan, facts } = task;
    const result = { kind: 'commits' as const, dead: true, base: 'b', commit: 'c', ref: 'r' };
    decide(
      state,
      { kind: 'task', id, life, number: 2, plan, facts, attempt: 1, at: 'stopped', fence, result },
      now,
    );
    const landed = { id: landingId(task), kind: 'landed' as const, commit: 'c', entry: 1, behind: 0 };
    const number = ++this.writerNumber;
    decide(state, { kind: 'writer', role: 'dev', life: '1.run', number, results: [landed] }, now);
    if (task.phase !== 'ended') throw new Error(`${id} did not land`);
    const last = this.live.pop();
    if (last && last !== task) this.live[at] = last;
  }

  /** The place in `live` of one that runs. */
  private someRunning(): number {
    for (let tries = 0; tries < 1_000; tries++) {
      const at = this.random.below(this.live.length);
      if (this.live[at]?.phase === 'running') return at;
    }
    throw new Error('nothing runs');
  }
}

const bench: Bench = {
  name: 'decide',
  about: 'events a second in decide, and what an event costs with many live tasks against few',
  // One core is what counts: else the garbage collector's helpers are counted too, the more the busier the machine is.
  node: ['--single-threaded-gc'],
  run({ progress }): Row[] {
    const many = new Load(LIVE);
    const few = new Load(FEW);
    progress(`${LIVE} tasks are live`);
    // What both do at first is translate code.
    many.run(WARM_UP_MS);
    few.run(WARM_UP_MS);
    const costs: { many: number; few: number }[] = [];
    for (let i = 0; i < REPEATS; i++) {
      costs.push({ many: many.run(MEASURE_MS), few: few.run(MEASURE_MS) });
      progress(`${costs.at(-1)?.many.toFixed(1)} us an event, ${costs.at(-1)?.few.toFixed(1)} us with few`);
    }
    return [
      {
        row: `decide: events a second at ${LIVE} live tasks`,
        ...spreadOf(costs.map((cost) => 1e6 / cost.many)),
        absolute: true,
        mustReach: { atLeast: 20_000 },
        aim: { atLeast: 50_000 },
      },
      {
        row: `decide: cost of an event at ${LIVE} live tasks / at ${FEW}`,
        ...spreadOf(costs.map((cost) => cost.many / cost.few)),
        mustReach: { atMost: 2 },
        aim: { atMost: 1.2 },
      },
    ];
  },
};

export default bench;
