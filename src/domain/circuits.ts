// A circuit breaker outside the agents' loop, one for each role and one for each kind of agent: when attempts fail in a
// row, no further one is started into the same trouble.
//
//   closed -> open       `failures` attempts failed within `window`, or `spawnFailures` workstations could not be made
//                        (or set up)
//   open -> half-open    after `coolDown`: exactly one task is granted, the trial
//   half-open -> closed  its agent ended well
//   half-open -> open    it failed again; a trial that came to no end of its own (cancelled, worker lost) gives way to another
//
// What an agent's work is found to be afterwards (verify, conflict, outside its claim, no commits) says nothing about
// whether agents can work, nor does a lost worker: neither counts.

import { formatDuration } from './durations.js';
import { type Evidence, explain, type ReasonCode } from './reasons.js';
import { type Circuit, kindOf, type OpenCircuit, type State, type TaskRecord } from './state.js';

/** The failures that count. */
const COUNTED: ReadonlySet<ReasonCode> = new Set([
  'AGENT_FAILED',
  'AGENT_TIMED_OUT',
  'AGENT_SILENT',
  'OUTPUT_EXCEEDED',
  'DISK_EXCEEDED',
  'WORKSTATION_FAILED',
  'SETUP_FAILED',
]);
/** No agent has run. */
const SPAWN: ReadonlySet<ReasonCode> = new Set(['WORKSTATION_FAILED', 'SETUP_FAILED']);
const MOST_WHY = 300;

/** What the circuits of a task are called: `role:dev`, `agent:sh`. */
function circuitsOf(state: State, task: TaskRecord): string[] {
  const { role } = task.facts;
  const agent = kindOf(state.rules, task.facts);
  return [...(role ? [`role:${role}`] : []), ...(agent === undefined ? [] : [`agent:${agent}`])];
}

/** What a task is told that waits for a circuit. */
export interface CircuitHold {
  key: string;
  evidence: Evidence;
  /** When time alone brings the task back; not while a trial is under way. */
  until?: number;
}

/** The open circuit that keeps a task from running now; undefined when none does, be it that it would be the trial. */
export function openCircuit(state: State, task: TaskRecord, now: number): CircuitHold | undefined {
  if (state.circuits.size === 0) return undefined;
  for (const key of circuitsOf(state, task)) {
    const open = state.circuits.get(key)?.open;
    if (!open || (now >= open.until && open.trial === undefined)) continue;
    const evidence = { ...partsOf(key), since: open.since, text: open.why };
    return { key, evidence, ...(now < open.until ? { until: open.until } : {}) };
  }
  return undefined;
}

const partsOf = (key: string): Pick<Evidence, 'role' | 'agent'> => {
  const name = key.slice(key.indexOf(':') + 1);
  return key.startsWith('role:') ? { role: name } : { agent: name };
};

/** For a coordinator that has to begin without state. Who is tried at the moment is not said: it will be another one. */
export const openCircuits = ({ circuits }: Pick<State, 'circuits'>): [string, OpenCircuit][] =>
  [...circuits].flatMap(([key, { open }]): [string, OpenCircuit][] => {
    if (!open) return [];
    const { since, until, why } = open;
    return [[key, { since, until, why }]];
  });

/** Circuits that an earlier coordinator had open, of roles and kinds that there still are. */
export function inheritCircuits(state: State, circuits: readonly [string, OpenCircuit][]): void {
  for (const [key, open] of circuits) {
    const { role, agent = '' } = partsOf(key);
    const exists = role === undefined ? agent in state.rules.agents : role in state.rules.roles;
    if (exists && !state.circuits.has(key)) state.circuits.set(key, { failures: [], open: { ...open } });
  }
}

/** A task that is granted past an open circuit is its trial. */
export function beginTrials(state: State, task: TaskRecord): void {
  if (state.circuits.size === 0) return;
  for (const key of circuitsOf(state, task)) {
    const open = state.circuits.get(key)?.open;
    if (open) open.trial = task.id;
  }
}

/** The task runs no more. Gives the circuits whose trial it still was: another one may be tried. */
export function endTrials(state: State, task: TaskRecord): string[] {
  if (state.circuits.size === 0) return [];
  return [...state.circuits].flatMap(([key, { open }]) => {
    if (open?.trial !== task.id) return [];
    delete open.trial;
    return [key];
  });
}

/** How an attempt ended, by itself. Gives the circuits that are other than they were. */
export function noteResult(
  state: State,
  task: TaskRecord,
  result: { code: ReasonCode; text: string } | 'well',
  now: number,
): string[] {
  if (result === 'well' ? state.circuits.size === 0 : !COUNTED.has(result.code)) return [];
  return circuitsOf(state, task).filter((key) => {
    const circuit = state.circuits.get(key) ?? { failures: [] };
    if (circuit.open && circuit.open.trial !== task.id) return false;
    if (result === 'well') return circuit.open !== undefined && state.circuits.delete(key);
    state.circuits.set(key, circuit);
    return noteFailure(state, circuit, result, now);
  });
}

/** True when the circuit is open now: again, or for the first time. */
function noteFailure(
  state: State,
  circuit: Circuit,
  { code, text }: { code: ReasonCode; text: string },
  now: number,
): boolean {
  const { failures, spawnFailures, window, coolDown } = state.rules.breaker;
  const until = now + coolDown;
  const last = explain(code, text ? { text } : {})
    .replace(/\s+/g, ' ')
    .slice(0, MOST_WHY);
  if (circuit.open) {
    circuit.open = { since: circuit.open.since, until, why: `the trial failed too: ${last}` };
    return true;
  }
  circuit.failures = [...circuit.failures, { at: now, spawn: SPAWN.has(code) }].filter(
    ({ at }) => at > now - window,
  );
  const spawns = circuit.failures.filter(({ spawn }) => spawn).length;
  const count = circuit.failures.length;
  if (count < failures && spawns < spawnFailures) return false;
  const which =
    count >= failures ? `${count} attempts failed` : `${spawns} workstations could not be made or set up`;
  circuit.failures = [];
  circuit.open = {
    since: now,
    until,
    why: `${which} within ${formatDuration(window)}, the last one: ${last}`,
  };
  return true;
}
