// What earlier coordinators of a fleet leave to one that starts without state: what people told them by signal, which
// stands in their histories also when they were ended before they could heed it, and the circuits that were open, which
// stand in their memo.

import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import { decoded } from '../src/client/payload.js';
import type { Event } from '../src/domain/decide.js';
import { type FleetWord, type FreezeRequest, requested, wordTold } from '../src/domain/freeze.js';
import { CIRCUITS_MEMO, coordinatorId, SIGNAL } from '../src/domain/ids.js';
import type { FleetReport, IssueReport } from '../src/domain/messages.js';
import type { CarriedState, OpenCircuit } from '../src/domain/state.js';

export interface Legacy {
  /** Under the numbers that they have by their time, oldest first: the newest on each issue, and on the fleet. */
  words: (IssueReport | FleetReport)[];
  circuits: [string, OpenCircuit][];
}

/** Runs looked back on: each hands on all that it knows when it continues as new, so mostly the last one tells all. */
const MOST_RUNS = 20;

/** `ownRun`: whoever asks. */
export async function legacyOf(client: Client, fleet: string, ownRun: string): Promise<Legacy> {
  const words = new Words();
  let circuits: Legacy['circuits'] | undefined;
  for (const run of await earlierRuns(client, fleet, ownRun)) {
    const handle = client.workflow.getHandle(coordinatorId(fleet), run);
    try {
      const { memo } = await handle.describe();
      circuits ??= memo?.[CIRCUITS_MEMO] as Legacy['circuits'] | undefined;
      const { events } = await handle.fetchHistory();
      const complete = words.read(events ?? []);
      if (complete) break;
    } catch (error) {
      // Beyond the retention.
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
  }
  return { words: words.all, circuits: circuits ?? [] };
}

/** Newest first. */
async function earlierRuns(client: Client, fleet: string, ownRun: string): Promise<string[]> {
  const runs: { runId: string; startTime: Date }[] = [];
  // The list has the newest first.
  for await (const run of client.workflow.list({ query: `WorkflowId = "${coordinatorId(fleet)}"` })) {
    if (run.runId !== ownRun) runs.push(run);
    if (runs.length >= MOST_RUNS) break;
  }
  return runs.sort((a, b) => b.startTime.getTime() - a.startTime.getTime()).map(({ runId }) => runId);
}

type HistoryEvents = NonNullable<
  Awaited<ReturnType<ReturnType<Client['workflow']['getHandle']>['fetchHistory']>>['events']
>;

interface Input {
  carried?: Pick<CarriedState, 'issues' | 'fleetWord'>;
  inbox?: Event[];
}

class Words {
  private readonly issues = new Map<string, IssueReport>();
  private fleet: FleetReport | undefined;

  get all(): (IssueReport | FleetReport)[] {
    const issues = [...this.issues.values()].sort((a, b) => a.number - b.number);
    return [...issues, ...(this.fleet ? [this.fleet] : [])];
  }

  /** True when the run began with all that was said before it. */
  read(events: HistoryEvents): boolean {
    const [first] = events;
    let number = timeOf(first);
    const next = (at: number) => (number = Math.max(number + 1, at));
    const input = decoded<Input>(first?.workflowExecutionStartedEventAttributes?.input?.payloads?.[0]);
    for (const [key, known] of input?.carried?.issues ?? []) this.hearIssue({ kind: 'issue', key, ...known });
    const { fleetWord } = input?.carried ?? {};
    if (fleetWord) this.hearFleet(wordTold(fleetWord, Date.now()));
    for (const event of input?.inbox ?? []) {
      if (event.kind === 'issue') this.hearIssue({ ...event, number: event.number || next(number) });
      if (event.kind === 'fleet') this.hearFleet({ ...event, number: event.number || next(number) });
    }
    for (const event of events) {
      const { signalName, input: said } = event.workflowExecutionSignaledEventAttributes ?? {};
      const [payload] = said?.payloads ?? [];
      const at = timeOf(event);
      if (signalName === SIGNAL.issue) {
        const { key, state, revision } = decoded<Partial<Record<keyof IssueReport, unknown>>>(payload) ?? {};
        if (typeof key !== 'string' || typeof state !== 'string') continue;
        const more = revision === undefined ? {} : { revision: String(revision) };
        this.hearIssue({ kind: 'issue', key, state, number: next(at), ...more });
      } else if (signalName === SIGNAL.freeze) {
        const { duration, ...freeze } = requested(decoded<FreezeRequest>(payload));
        const left =
          duration === undefined ? {} : { duration, left: Math.max(0, at + duration - Date.now()) };
        this.hearFleet({ number: next(at), freeze: { ...freeze, ...left } });
      } else if (signalName === SIGNAL.resume) {
        this.hearFleet({ number: next(at) });
      }
    }
    return input?.carried !== undefined;
  }

  private hearIssue(word: IssueReport): void {
    const known = this.issues.get(word.key);
    if (!known || known.number < word.number) this.issues.set(word.key, word);
  }

  private hearFleet({ number, freeze }: FleetWord): void {
    if (this.fleet && this.fleet.number >= number) return;
    this.fleet = { kind: 'fleet', number, ...(freeze ? { freeze } : {}) };
  }
}

const timeOf = (event: HistoryEvents[number] | undefined): number =>
  Number(event?.eventTime?.seconds ?? 0) * 1_000 + Math.floor((event?.eventTime?.nanos ?? 0) / 1_000_000);
