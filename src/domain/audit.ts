// The invariants of docs/architecture.md, checked after the fact on what is written down: packets and ledger. Used at
// the end of every end-to-end run.

import type { Rules } from './config.js';
import { sameFence } from './fence.js';
import type { LedgerEntry } from './ledger.js';
import type { Decision } from './messages.js';
import type { Packet } from './packet.js';
import { overlaps, type Pattern, parsePattern } from './paths.js';
import { type Mode, nextSlot } from './resources.js';
import { waitsForOthers } from './waits.js';

export interface AuditInput {
  /** Every task that was submitted, by full name. */
  submitted: string[];
  packets: Packet[];
  ledger: LedgerEntry[];
  ceiling: number;
  maxRunning: Record<string, number>;
  /** Of the configuration: limits of the kinds of agent, and the inventory. */
  kinds?: Pick<Rules, 'agents' | 'defaultAgent' | 'resources'>;
  /** Of the configuration: in which repository a role's claims lie, and how names are compared there. */
  places: Pick<Rules, 'roles' | 'repositories' | 'defaultRepository'>;
}

/** What was violated, a sentence each; empty when all held. */
export function audit(input: AuditInput): string[] {
  return [
    ...outcomes(input),
    ...exclusion(input),
    ...order(input.packets),
    ...limits(input),
    ...resources(input),
    ...landings(input),
  ];
}

/** Invariant 5: exactly one outcome with a reason code for each task. */
function outcomes({ submitted, packets }: AuditInput): string[] {
  const lives = new Map<string, number>();
  for (const packet of packets) lives.set(packet.task, (lives.get(packet.task) ?? 0) + 1);
  return [
    ...submitted
      .filter((task) => !lives.has(task))
      .map((task) => `${task} has no change packet, so no outcome`),
    ...packets
      .filter((packet, i) => packets.findIndex((other) => sameLife(packet, other)) !== i)
      .map((packet) => `${packet.task} has more than one outcome`),
    ...packets
      .filter((packet) => !packet.outcome.code)
      .map((packet) => `${packet.task} ended without a reason code`),
  ];
}

const sameLife = (a: Packet, b: Packet): boolean => a.task === b.task && a.life === b.life;

/** With these decisions a task loses its claims before it ends. */
const LOSES: ReadonlySet<string> = new Set([
  'CLAIM_EXPIRED',
  'CLAIM_LOST',
  'PIN_EXPIRED',
  'EXTENSION_RETRIED',
]);

/** From a grant to the release, in sequence numbers of the coordinator: a claim that was lost or given up is granted anew. */
function holdings(packet: Packet): [number, number][] {
  const spans: [number, number][] = [];
  let from: number | undefined;
  let stop: string | undefined;
  for (const { verdict, code, seq, evidence } of packet.decisions) {
    if (verdict === 'run') from ??= seq;
    // Stopped on demand, and then over: its paths are free when the second is decided.
    const stopped = verdict === 'retry' && evidence.duration !== undefined && stop === code;
    if (verdict === 'retry') stop = evidence.duration === undefined ? code : undefined;
    const gaveUp = verdict === 'hold' && waitsForOthers(code);
    if (from === undefined || !(LOSES.has(code) || stopped || gaveUp)) continue;
    spans.push([from, seq]);
    from = undefined;
  }
  const last = packet.decisions.at(-1);
  return from === undefined || !last ? spans : [...spans, [from, last.seq]];
}

/** Each claim while it was held, in sequence numbers: some come and go while the task runs. */
function claimsHeld(packet: Packet): { pattern: Pattern; from: number; to: number }[] {
  const present = new Map(
    packet.writes.map((path) => [path, [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]]),
  );
  // Backwards, from what it claimed in the end.
  const past: [string, number, number][] = [];
  for (const { code, seq, evidence } of [...packet.decisions].reverse()) {
    for (const path of evidence.paths ?? []) {
      if (code === 'GIVEN_BACK') present.set(path, [Number.NEGATIVE_INFINITY, seq]);
      if (code !== 'EXTENDED' && code !== 'EXTENSION_RETRIED') continue;
      const to = present.get(path)?.[1];
      // Started again for more paths, it holds them from its next grant on.
      const since = code === 'EXTENDED' ? seq : seq + 1;
      if (to !== undefined) past.push([path, since, to]);
      present.delete(path);
    }
  }
  const spans = [...past, ...[...present].map(([path, [from = 0, to = 0]]) => [path, from, to] as const)];
  return holdings(packet).flatMap(([granted, released]) =>
    spans.map(([path, from, to]) => ({
      pattern: parsePattern(path),
      from: Math.max(from, granted),
      to: Math.min(to, released),
    })),
  );
}

/** Sequence numbers start again with a coordinator that lost its state; only times compare across that. */
function comparable(a: Packet, b: Packet): boolean {
  const epochs = new Set([...a.attempts, ...b.attempts].map((attempt) => attempt.fence.epoch));
  return epochs.size === 1;
}

/** Invariant 1: no two live tasks hold overlapping claims. */
function exclusion({ packets, places }: AuditInput): string[] {
  const writers = packets
    .filter((packet) => packet.role && packet.attempts.length > 0)
    .map((packet) => ({ packet, held: claimsHeld(packet) }));
  const home = ({ role }: Packet) => places.roles[role ?? '']?.repository ?? places.defaultRepository;
  const meet = (one: Packet, x: Pattern, other: Packet, y: Pattern): boolean => {
    const place = x.repository ?? home(one);
    const caseInsensitive = places.repositories[place]?.caseInsensitive === true;
    return place === (y.repository ?? home(other)) && overlaps(x, y, caseInsensitive);
  };
  const found: string[] = [];
  for (const [i, a] of writers.entries()) {
    for (const b of writers.slice(i + 1)) {
      if (!comparable(a.packet, b.packet)) continue;
      const clash = a.held.some((x) =>
        b.held.some(
          (y) =>
            Math.max(x.from, y.from) <= Math.min(x.to, y.to) &&
            meet(a.packet, x.pattern, b.packet, y.pattern),
        ),
      );
      if (clash) found.push(`${a.packet.task} and ${b.packet.task} held overlapping claims at the same time`);
    }
  }
  return found;
}

/** Invariant 3: a task runs only when all it waits for has landed or finished, be it in a second life. */
function order(packets: Packet[]): string[] {
  const lives = new Map<string, Packet[]>();
  for (const packet of packets) lives.set(packet.task, [...(lives.get(packet.task) ?? []), packet]);
  return packets.flatMap((packet) => {
    return packet.after.flatMap((edge) => {
      // An edge that was added to the live task counts for the attempts that began later. One that was refused for a circle
      // may have been added once more.
      const since = edge.added
        ? packet.decisions.findLast(
            ({ code, evidence }) => code === 'EDGE_ADDED' && evidence.upstream === edge.task,
          )
        : packet.decisions[0];
      const ran = packet.decisions.find(
        (decision) => decision.verdict === 'run' && decision.seq >= (since?.seq ?? Infinity),
      );
      if (!ran) return [];
      const upstream = lives.get(edge.task) ?? [];
      const good = upstream.filter(({ outcome }) => outcome.kind === 'landed' || outcome.kind === 'finished');
      const last = upstream.at(-1);
      if (last && good.length === 0)
        return [`${packet.task} ran though ${edge.task} was ${last.outcome.kind}`];
      const before = good.every(
        (life) => comparable(packet, life) && (life.decisions.at(-1)?.seq ?? 0) > ran.seq,
      );
      return last && before ? [`${packet.task} ran before ${edge.task} had ended`] : [];
    });
  });
}

/** Invariant 4, as far as it is built: the ceiling and each maxRunning, counted over the decisions in order. */
function limits({ packets, ceiling, maxRunning, kinds }: AuditInput): string[] {
  const events = packets
    .flatMap((packet) => packet.decisions.map((decision) => ({ packet, decision })))
    .sort((a, b) => a.decision.at - b.decision.at || a.decision.seq - b.decision.seq);
  const running = new Map<string, Packet>();
  for (const { packet, decision } of events) {
    if (decision.verdict === 'run') running.set(packet.task, packet);
    else if (frees(packet, decision)) running.delete(packet.task);
    if (running.size > ceiling)
      return [`${running.size} agents ran at once, more than the ceiling of ${ceiling}`];
    for (const [role, most] of Object.entries(maxRunning)) {
      const count = [...running.values()].filter((other) => other.role === role).length;
      if (count > most) return [`${count} agents of role ${role} ran at once, more than ${most}`];
    }
    for (const [kind, { maxRunning: most }] of Object.entries(kinds?.agents ?? {})) {
      const ofKind = ({ agent = kinds?.defaultAgent }: Packet) => agent === kind;
      const count = [...running.values()].filter(ofKind).length;
      if (most !== undefined && count > most)
        return [`${count} agents of kind ${kind} ran at once, more than ${most}`];
    }
  }
  return [];
}

/** Invariants 1 and 4 for resources: modes and capacity over sequence numbers, rates over times. */
function resources({ packets, kinds }: AuditInput): string[] {
  const found: string[] = [];
  for (const [resource, { capacity, rate }] of Object.entries(kinds?.resources ?? {})) {
    const users = packets.flatMap((packet) => {
      const mode = packet.uses?.find((use) => use.resource === resource)?.mode;
      return mode ? [{ packet, mode }] : [];
    });
    if (users.some(({ packet }) => packets[0] && !comparable(packet, packets[0]))) continue;
    const clash = overUsed(users, capacity);
    if (clash) found.push(`${clash.join(', ')} used ${resource} at the same time`);
    if (!rate) continue;
    const log: number[] = [];
    const runs = users.flatMap(({ packet }) => packet.decisions.filter(({ verdict }) => verdict === 'run'));
    for (const { at } of runs.sort((a, b) => a.at - b.at)) {
      if (nextSlot(log, rate, at) !== undefined)
        found.push(`${resource} was granted more often than ${rate.text}`);
      log.push(at);
    }
  }
  return found;
}

/** The first users that the resource has no room for together. */
function overUsed(users: { packet: Packet; mode: Mode }[], capacity: number): string[] | undefined {
  const spans = users.flatMap(({ packet, mode }) =>
    holdings(packet).map(([from, to]) => ({ task: packet.task, mode, from, to })),
  );
  for (const { from } of spans) {
    const at = spans.filter((span) => span.from <= from && from <= span.to);
    const alone = at.filter((span) => span.mode === 'exclusive').length;
    if (alone > capacity || (alone > 0 && alone < at.length)) return at.map(({ task }) => task);
  }
  return undefined;
}

/** A decision after which the agent no longer counts; one that only tells it to stop does not free the slot. */
const frees = (packet: Packet, decision: Decision): boolean =>
  decision.verdict === 'land' ||
  decision.verdict === 'end' ||
  (decision.verdict === 'cancel' && decision === packet.decisions.at(-1)) ||
  (decision.verdict === 'retry' && decision.evidence.duration !== undefined);

/** Never twice, never unknown: the ledger's landings and the packets tell the same story. */
function landings({ packets, ledger }: AuditInput): string[] {
  const found: string[] = [];
  const landed = new Map<string, LedgerEntry>();
  for (const [i, entry] of ledger.entries()) {
    if (entry.number !== i + 1) found.push(`ledger entry ${entry.number} stands at place ${i + 1}`);
    if (entry.kind !== 'landed' || !entry.landing) continue;
    if (landed.has(entry.landing)) found.push(`${entry.landing} landed twice`);
    landed.set(entry.landing, entry);
  }
  const perTask = new Map<string, LedgerEntry[]>();
  for (const entry of landed.values())
    perTask.set(entry.task ?? '', [...(perTask.get(entry.task ?? '') ?? []), entry]);
  for (const packet of packets) {
    const entries = perTask.get(packet.task) ?? [];
    const mine = entries.filter((entry) =>
      packet.attempts.some((attempt) => sameFence(attempt.fence, entry.fence)),
    );
    if (packet.outcome.kind === 'landed') {
      if (mine.length !== 1)
        found.push(`${packet.task} landed, but the ledger has ${mine.length} entries for it`);
      else if (mine[0]?.to !== packet.outcome.commit)
        found.push(`${packet.task} landed as ${packet.outcome.commit}, the ledger says ${mine[0]?.to}`);
    } else if (
      mine.length > 0 &&
      !ledger.some((entry) => entry.kind === 'rolled-back' && entry.landing === mine[0]?.landing)
    ) {
      found.push(`${packet.task} ${packet.outcome.kind}, but the ledger says that it landed`);
    }
  }
  return found;
}
