// What ifBusy promises, watched from outside: the first word on such a task's claims is its grant, its end, or a hold for
// something else; it ends only for somebody who holds or asks, and never runs past one who asked before.

import type { State, TaskRecord } from '../../src/domain/state.js';
import type { Taken } from '../../src/domain/transitions.js';

/** Reasons that have nothing to do with claims yet. */
const EARLY = /^(RECOVERING|PLAN_INCOMPLETE|ISSUE_ON_HOLD|UPSTREAM_PENDING|UPSTREAM_UNKNOWN)$/;
const FOR_CLAIMS = /^(PATH_HELD|PATHS_RESTING|PATH_RESERVED|RESOURCE_HELD)$/;

interface Seen {
  holds: boolean;
  asks: boolean;
}

export class BusyWatch {
  /** Lives of tasks whose claims were in question once. */
  private readonly decided = new Set<string>();

  constructor(private readonly clash: (a: TaskRecord, b: TaskRecord) => boolean) {}

  /** A coordinator without state decides for the first time again. */
  forget(): void {
    this.decided.clear();
  }

  look = (state: State): Map<string, Seen> =>
    new Map([...state.tasks.values()].map((one) => [one.id, { holds: one.holds, asks: asks(one) }]));

  /** What was promised and not kept by the decisions; undefined when all was. */
  problem(before: Map<string, Seen>, state: State, taken: Taken[]): string | undefined {
    for (const { task: id, verdict, code, evidence } of taken) {
      const task = state.tasks.get(id);
      if (task?.facts.ifBusy !== 'fail' || EARLY.test(code)) continue;
      if (verdict !== 'run' && verdict !== 'hold' && code !== 'CLAIMS_BUSY') continue;
      const life = `${id} ${task.life}`;
      const first = !this.decided.has(life);
      this.decided.add(life);
      // What has run, also under an earlier coordinator, had its claims.
      const news = task.attempt === 1 && !task.fence;
      if (code === 'CLAIMS_BUSY') {
        if (!first) return `${id} waited already, and ended for ${evidence.holder} all the same`;
        const holder = state.tasks.get(evidence.holder ?? '');
        const was = before.get(evidence.holder ?? '');
        if (!holder || holder === task) return `${id} ended for ${evidence.holder}, whom nobody knows`;
        if (
          !holder.holds &&
          !asks(holder) &&
          !was?.holds &&
          !was?.asks &&
          !handed(state, holder) &&
          !taken.some(({ code: other, evidence: e }) => other === 'HANDED_OFF' && e.holder === holder.id)
        )
          return `${id} ended for ${holder.id}, which neither held nor asked`;
        if (!this.inTheWay(task, holder)) return `${id} ended for ${holder.id}, which is not in its way`;
      } else if (first && news && verdict === 'hold' && FOR_CLAIMS.test(code)) {
        return `${id} waits (${code}) though it was to fail`;
      } else if (handed(state, task)) {
        // What it claims was kept for it, whoever asked before.
      } else if (first && (news || (verdict === 'run' && task.attempt === 1))) {
        for (const other of state.tasks.values())
          if (other !== task && before.get(other.id)?.asks && asks(other) && this.clash(task, other))
            return `${id} is told ${verdict} (${code}) though ${other.id} asked for the same before it`;
      }
    }
    return undefined;
  }

  private inTheWay(task: TaskRecord, other: TaskRecord): boolean {
    if (this.clash(task, other)) return true;
    const theirs = new Set(other.facts.uses?.map(({ resource }) => resource));
    const waiting = other.extension?.answer === 'waiting';
    return waiting || (task.facts.uses ?? []).some(({ resource }) => theirs.has(resource));
  }
}

/** What it claims was kept for it as it was handed the work, be it for a moment only. */
const handed = (state: State, { id, facts }: TaskRecord): boolean =>
  state.tasks.get(facts.takesOver ?? '')?.outcome?.handed?.to === id;

const asks = ({ phase, hold, extension }: TaskRecord): boolean =>
  (phase === 'running' && extension?.answer === 'waiting') ||
  (phase === 'held' && hold !== undefined && !EARLY.test(hold.code) && hold.code !== 'ASSUMPTION_BROKEN');
