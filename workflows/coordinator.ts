// The coordinator: a thin shell around decide. Signals and timers become events; decisions leave as standings and
// orders, a batch per local activity. It continues as new in time, carrying its state, what it has not handled and
// what it has not delivered.
//
// Time is read only where a replay reads the same. A workflow task that ends while a local activity runs, because that
// takes longer than a workflow task may, can be replayed as one with the next, at the time of the next. Every deadline
// has its timer, which keeps the two apart when it fires between them; but a run reads it only after its first local
// activity, and handlers of signals, which may run during one, do not at all.

import {
  CancellationScope,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  log,
  proxyActivities,
  proxyLocalActivities,
  setCurrentDetails,
  setHandler,
  sleep,
  upsertMemo,
  workflowInfo,
} from '@temporalio/workflow';
import type { ControlActivities } from '../activities/index.js';
import { openCircuits } from '../src/domain/circuits.js';
import { type Column, fromColumn, toColumn } from '../src/domain/columns.js';
import type { Rules } from '../src/domain/config.js';
import { checksOf } from '../src/domain/decide/assume.js';
import { lookupsOf, settleLookups } from '../src/domain/decide/plans.js';
import { decide, type Event, nextDeadline } from '../src/domain/decide.js';
import { type Picture, pictureFor } from '../src/domain/dry-run.js';
import { type FreezeRequest, freezeText, requested } from '../src/domain/freeze.js';
import { CIRCUITS_MEMO, QUERY, SIGNAL } from '../src/domain/ids.js';
import { type Message, UNNUMBERED } from '../src/domain/messages.js';
import { LEAST_GAP, Pace } from '../src/domain/pace.js';
import { parsePattern } from '../src/domain/paths.js';
import {
  type CarriedState,
  carry,
  freshState,
  restore,
  type State,
  type TaskRecord,
} from '../src/domain/state.js';
import {
  type LiveTask,
  liveTasks,
  type Overview,
  overview,
  packetOf,
  type Story,
  standingOf,
  storyOf,
  takeOrders,
} from '../src/domain/views.js';
import { LOCAL } from './local.js';

/** Thousands of tasks: in columns, which compress better. */
type HandedOn = Omit<CarriedState, 'tasks'> & { tasks: Column };

export interface CoordinatorInput {
  rules: Rules;
  /** In rows by one that began before there were columns. */
  carried?: HandedOn | CarriedState;
  inbox?: Event[];
  /** See Pace. */
  gap?: number;
  /** For tests: continue as new after so many events of history rather than when Temporal suggests it. */
  historyLimit?: number;
}

export const tell = defineSignal<[Message[]]>(SIGNAL.tell);
export const issue = defineSignal<[{ key: string; state: string; revision?: string }]>(SIGNAL.issue);
export const freeze = defineSignal<[FreezeRequest]>(SIGNAL.freeze);
export const resume = defineSignal<[{ by?: string }]>(SIGNAL.resume);
export const overviewQuery = defineQuery<Overview>(QUERY.overview);
export const liveQuery = defineQuery<LiveTask[]>(QUERY.live);
export const pictureQuery = defineQuery<Picture | undefined>(QUERY.picture);
export const storyQuery = defineQuery<Story | undefined, [string]>(QUERY.story);

const { begin, deliver, survey, keepPacket, mark } = proxyLocalActivities<ControlActivities>(LOCAL);

/** What fetches may take a while, and the coordinator must not wait for it. */
const background = {
  startToCloseTimeout: '2m',
  retry: { maximumAttempts: 3, initialInterval: '1s' },
} as const;
const { checkAssumptions } = proxyActivities<ControlActivities>({
  ...background,
  summary: 'look at what tasks assume',
});
const { lookUp } = proxyActivities<ControlActivities>({
  ...background,
  summary: 'look up what ended long ago',
});

/** Tasks are told of a hold this long after it began, together, and the others of them after as long again. */
const LAZY_MS = 5_000;
/** So many at once: it is for people who look at the list, and must not hold up those that can run. */
const LAZY_BATCH = 25;
/** And so many while more events than that come in the same time: a hold is outdated then before it is read. */
const LAZY_BUSY = { events: 50, batch: 1 };
/** A listing may lag behind: a second one follows the first after this. */
const SURVEY_AGAIN_MS = 2_000;
/** What Temporal does not know yet is asked again after this. */
const LOOK_UP_AGAIN_MS = 10_000;
/** Standings in one delivery. */
const BATCH = 200;
/** Below Temporal's own suggestion: a long replay, on a cold worker or after a signal thwarted the attempt, is slow. */
const HISTORY_LIMIT = 2_000;

export async function coordinator(input: CoordinatorInput): Promise<void> {
  const now = () => Date.now();
  const start = workflowInfo().runStartTime.getTime();
  let state = input.carried ? restore(takenOver(input.carried)) : freshState(input.rules, start);
  const inbox: Event[] = [...(input.inbox ?? [])];
  const pace = new Pace(start, input.gap);
  // A signal has come, which may hold nothing that can be understood.
  let woken = false;
  setHandler(tell, (messages) => {
    pace.count();
    woken = true;
    for (const message of Array.isArray(messages) ? messages : []) inbox.push(message);
  });
  setHandler(issue, (change) => {
    pace.count();
    woken = true;
    if (typeof change?.key === 'string' && typeof change.state === 'string') {
      const { key, state: to, revision } = change;
      const more = revision === undefined ? {} : { revision: String(revision) };
      inbox.push({ kind: 'issue', key, state: to, number: UNNUMBERED, ...more });
    }
  });
  setHandler(freeze, (request) => {
    inbox.push({ kind: 'fleet', number: UNNUMBERED, freeze: requested(request) });
  });
  setHandler(resume, () => {
    inbox.push({ kind: 'fleet', number: UNNUMBERED });
  });
  setHandler(overviewQuery, () => overview(state, now()));
  setHandler(liveQuery, () => liveTasks(state));
  setHandler(pictureQuery, () => pictureFor(state, now()));
  setHandler(storyQuery, (id) => storyOf(state, id, now()));

  let rules = JSON.stringify(state.rules);
  if (input.carried && JSON.stringify(input.rules) !== rules) {
    rules = JSON.stringify(input.rules);
    inbox.push({ kind: 'rules', rules: input.rules });
  }
  const alarm = new Alarm();
  let surveys = 0;
  let surveyAt = state.recovery && !state.recovery.surveyed ? 0 : Number.POSITIVE_INFINITY;
  let lazyAt = Number.POSITIVE_INFINITY;
  let eventsAtLazy = 0;
  let events = 0;
  let lookUpAt = 0;

  let checking = false;
  const check = async (): Promise<void> => {
    const requests = checksOf(state, [...state.due.checks].slice(0, BATCH));
    checking = requests.length > 0;
    if (!checking) return;
    const results = await checkAssumptions(requests).catch((error: unknown) =>
      requests.map(({ task, life, number, assumes }) => ({
        task,
        life,
        number,
        findings: assumes.map(() => ({ found: `that could not be looked at: ${String(error)}` })),
      })),
    );
    checking = false;
    inbox.push({ kind: 'checked', results });
  };
  const nextRun = async (more: Partial<CoordinatorInput>) => {
    const { historyLimit } = input;
    await continueAsNew<typeof coordinator>({
      rules: state.rules,
      inbox,
      gap: pace.gap,
      ...more,
      ...(historyLimit === undefined ? {} : { historyLimit }),
    });
  };
  // True in a workflow task that has only just begun.
  let fresh = false;
  // True when nothing of what was done since it woke leaves an event, see `mark`.
  let traceless = false;
  const { run: began, reset } = await begin();
  // What was decided and said since the point it was reset to is forgotten: as little is known as after a loss of all
  // state. Before anything is sent: the answers would thwart the attempt, again and again.
  if (reset) await nextRun({});
  // It may have waited long for a worker, and what recovers waits from now on.
  if (!input.carried) state = freshState(input.rules, now());

  for (;;) {
    pace.adjust(now());
    events += inbox.length;
    woken = false;
    feed(state, inbox, now());
    const { continueAsNewSuggested, historyLength } = workflowInfo();
    // A signal that comes while the workflow task lasts thwarts it: so before anything that takes time.
    if (fresh && (continueAsNewSuggested || historyLength > (input.historyLimit ?? HISTORY_LIMIT)))
      await nextRun({ carried: handedOn(state) });
    fresh = false;
    if (now() >= surveyAt) {
      surveys += 1;
      traceless = false;
      const surveyed = await survey(state.epoch, began);
      if (!surveyed) return await nextRun({});
      const last = surveys > 1;
      surveyAt = last ? Number.POSITIVE_INFINITY : now() + SURVEY_AGAIN_MS;
      const { live, before, legacy } = surveyed;
      const { words, circuits } = legacy;
      feed(state, [...words, { kind: 'surveyed', live, last, before, circuits }], now());
    }
    if (state.due.lazy.size > 0 && lazyAt === Number.POSITIVE_INFINITY) {
      lazyAt = now() + LAZY_MS;
      eventsAtLazy = events;
    }
    if (now() >= lazyAt) {
      const most = events - eventsAtLazy > LAZY_BUSY.events ? LAZY_BUSY.batch : LAZY_BATCH;
      for (const id of [...state.due.lazy].slice(0, most)) {
        state.due.lazy.delete(id);
        state.due.standings.add(id);
      }
      lazyAt = Number.POSITIVE_INFINITY;
    }
    if (hasDue(state)) {
      const flushed = await flush(state, inbox, began, pace.gap);
      if (flushed === 'reset') await nextRun({});
      if (flushed === 'sent') traceless = false;
      continue;
    }
    if (state.due.lookups.size > 0 && now() >= lookUpAt) {
      lookUpAt = Number.POSITIVE_INFINITY;
      traceless = false;
      void lookUp(lookupsOf(state))
        .catch((error: unknown): Awaited<ReturnType<ControlActivities['lookUp']>> => {
          log.error(`outcomes could not be looked up: ${String(error)}`);
          return { outcomes: [], plans: [] };
        })
        .then((found) => {
          settleLookups(state, found);
          lookUpAt = now() + LOOK_UP_AGAIN_MS;
          inbox.push({ kind: 'found', ...found });
        });
    }
    // What is still under way when the coordinator continues as new is due there too.
    if (state.due.checks.size > 0 && !checking) {
      traceless = false;
      void check();
    }
    setCurrentDetails(details(state));
    keepCircuits(state);
    const times = [nextDeadline(state) ?? Number.POSITIVE_INFINITY, surveyAt, lazyAt];
    if (state.due.lookups.size > 0) times.push(lookUpAt);
    if (alarm.setFor(Math.min(...times), now())) traceless = false;
    if (traceless) await mark();
    await condition(() => woken || inbox.length > 0 || alarm.rang);
    alarm.rang = false;
    fresh = true;
    traceless = true;
  }
}

function handedOn(state: State): HandedOn {
  const { tasks, ...rest } = carry(state);
  return { ...rest, tasks: toColumn(tasks) };
}

function takenOver({ tasks, ...rest }: HandedOn | CarriedState): CarriedState {
  return { ...rest, tasks: Array.isArray(tasks) ? tasks : (fromColumn(tasks) as TaskRecord[]) };
}

/** Kept where another coordinator finds them, should this one be ended. */
function keepCircuits(state: State): void {
  const circuits = openCircuits(state);
  const known = workflowInfo().memo?.[CIRCUITS_MEMO] ?? [];
  if (JSON.stringify(circuits) !== JSON.stringify(known)) upsertMemo({ [CIRCUITS_MEMO]: circuits });
}

/** Timers cost events: one that is early enough already is kept, and one that has become pointless may ring. */
class Alarm {
  rang = false;
  private at = Number.POSITIVE_INFINITY;

  /** True when it took another timer. */
  setFor(at: number, now: number): boolean {
    if (at >= this.at || at === Number.POSITIVE_INFINITY) return false;
    this.at = at;
    void this.ring(at, Math.max(1, at - now));
    return true;
  }

  private async ring(at: number, wait: number): Promise<void> {
    await CancellationScope.nonCancellable(() => sleep(wait, { summary: 'next deadline' }));
    if (this.at === at) this.at = Number.POSITIVE_INFINITY;
    this.rang = true;
  }
}

function feed(state: State, events: Event[], now: number): void {
  const understood = events.splice(0).flatMap((event) => {
    const problem = problemOf(event);
    if (problem) log.warn(`a message was ignored: ${problem}`);
    return problem ? [] : [event];
  });
  decide(state, understood, now);
}

/** Messages come from anybody who may signal: one that cannot be understood must not stop the fleet. */
function problemOf(event: Event): string | undefined {
  try {
    if (event.kind === 'task') {
      for (const claim of event.facts.writes) parsePattern(claim);
      if (!isList(event.peers) || !isList(event.facts.peers)) return 'not the peers of a task';
      if (typeof event.id !== 'string' || typeof event.life !== 'string' || !Array.isArray(event.facts.after))
        return 'not a task report';
    }
    if (event.kind === 'hand') for (const claim of event.writes) parsePattern(claim);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** None, or objects in a list. */
const isList = (list: unknown): boolean =>
  list === undefined || (Array.isArray(list) && list.every((one) => typeof one === 'object' && one !== null));

const hasDue = ({ due, recovery }: State): boolean =>
  due.standings.size > 0 ||
  due.announcements.size > 0 ||
  due.packets.size > 0 ||
  (due.orders.size > 0 && recovery === undefined);

/**
 * Delivers one batch. What is due is struck off before, and comes back if the delivery fails for good. Nothing is sent
 * when this coordinator was reset to an earlier point of its history.
 */
async function flush(
  state: State,
  inbox: Event[],
  began: string,
  gap: number,
): Promise<'sent' | 'nothing' | 'reset'> {
  const ids = [...state.due.standings].slice(0, BATCH);
  const standings = ids.flatMap((id) => {
    state.due.standings.delete(id);
    const standing = standingOf(state, id);
    return standing ? [{ task: id, standing: gap > LEAST_GAP ? { ...standing, gap } : standing }] : [];
  });
  const roles = state.recovery ? [] : [...state.due.orders];
  const orders = roles.map((role) => ({ role, orders: takeOrders(state, role, Date.now()) }));
  for (const role of roles) state.due.orders.delete(role);
  const packets = [...state.due.packets].flatMap((id) => packetOf(state, id) ?? []);
  state.due.packets.clear();
  const asked = [...state.due.announcements].slice(0, BATCH);
  for (const id of asked) state.due.announcements.delete(id);
  if (standings.length > 0 || orders.length > 0 || asked.length > 0) {
    try {
      const { gone, reset } = await deliver({ standings, orders, asked, epoch: state.epoch, began, gap });
      if (reset) return 'reset';
      for (const { task, life } of gone) inbox.push({ kind: 'gone', task, life });
    } catch (error) {
      log.error(`a delivery failed and is repeated: ${String(error)}`);
      for (const id of ids) state.due.standings.add(id);
      for (const role of roles) state.due.orders.add(role);
      for (const id of asked) state.due.announcements.add(id);
      await sleep('1s', { summary: 'a delivery failed' });
    }
  }
  for (const packet of packets) {
    const { role } = packet;
    await keepPacket({ packet, ifAbsent: true, ...(role ? { role } : {}) }).catch((error: unknown) =>
      log.error(`the packet of ${packet.task} could not be kept: ${String(error)}`),
    );
  }
  return standings.length + orders.length + asked.length + packets.length > 0 ? 'sent' : 'nothing';
}

function details(state: State): string {
  const counts = new Map<string, number>();
  for (const task of state.tasks.values())
    if (task.kind === 'task') counts.set(task.phase, (counts.get(task.phase) ?? 0) + 1);
  const lines = [...counts].map(([phase, count]) => `| ${phase} | ${count} |`);
  const { ceiling, fleet } = state.rules;
  const frozen = [...state.roles].flatMap(([role, record]) =>
    record.frozen ? [`\n**Role ${role} is frozen** ${freezeText(record.frozen)}`] : [],
  );
  const { freeze } = state.fleetWord ?? {};
  if (freeze) frozen.push(`\n**The fleet is frozen** ${freezeText(freeze)}`);
  return [
    `Fleet **${fleet}**: ${state.running.size} of at most ${ceiling} agents run${state.recovery ? '; **recovering**: waiting for live tasks to announce themselves' : ''}`,
    '',
    '| phase | tasks |',
    '|---|---|',
    ...lines,
    ...frozen,
  ].join('\n');
}
