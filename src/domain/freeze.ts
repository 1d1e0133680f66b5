// A freeze: running tasks go on, nothing new is granted, no landing is handed over. A role's freeze is its writer's, be
// it that a person asked for it or that a deploy failed; the fleet's is the coordinator's, and every writer keeps it, so
// that a coordinator that lost its state hears of it. One with an end is over by itself. Durations travel, and the
// receiver counts them by its own clock; where two have differing words on the fleet, the higher number counts.

import { formatDuration, parseDuration } from './durations.js';

interface Freeze {
  /** Why. */
  text: string;
  /** A person; the writer itself when left out. */
  by?: string;
  /** For how long it was declared, in milliseconds; until somebody resumes when left out. */
  duration?: number;
}

/** As it travels. */
export interface FreezeReport extends Freeze {
  /** What is left of the duration, in milliseconds. */
  left?: number;
}

/** What any Temporal client may ask for, by signal. */
export interface FreezeRequest {
  reason?: string;
  by?: string;
  /** A duration, such as "2h". */
  for?: string;
}

/** Takes whatever came: a signal that cannot be understood in part still freezes, until somebody resumes. */
export function requested(request: FreezeRequest | undefined): FreezeReport {
  const { reason, by, for: length } = request ?? {};
  const duration = typeof length === 'string' ? parseDuration(length) : undefined;
  return {
    text: typeof reason === 'string' && reason ? reason : 'no reason was given',
    ...(typeof by === 'string' && by ? { by } : {}),
    ...(duration ? { duration } : {}),
  };
}

/** As it is kept. */
export interface FreezeRecord extends Freeze {
  /** Milliseconds since the epoch, by the keeper's clock. */
  until?: number;
}

/** The last word on the whole fleet; without `freeze` it was resumed. */
export interface FleetWord<F = FreezeReport> {
  number: number;
  freeze?: F;
}

/** As a coordinator keeps it. */
export interface KnownWord extends FleetWord<FreezeRecord> {
  /** People said it to this coordinator, and not to an earlier one. */
  own?: true;
}

const MOST_TEXT = 2_000;

export function kept({ text, by, duration, left }: FreezeReport, now: number): FreezeRecord {
  return {
    text: text.slice(0, MOST_TEXT),
    ...(by === undefined ? {} : { by }),
    ...(duration === undefined ? {} : { duration, until: now + (left ?? duration) }),
  };
}

export function told({ until, ...freeze }: FreezeRecord, now: number): FreezeReport {
  return { ...freeze, ...(until === undefined ? {} : { left: Math.max(0, until - now) }) };
}

export const wordKept = ({ number, freeze }: FleetWord, now: number): FleetWord<FreezeRecord> => ({
  number,
  ...(freeze && freeze.left !== 0 ? { freeze: kept(freeze, now) } : {}),
});

export const wordTold = ({ number, freeze }: FleetWord<FreezeRecord>, now: number): FleetWord => ({
  number,
  ...(freeze ? { freeze: told(freeze, now) } : {}),
});

export const isOver = ({ until }: FreezeRecord, now: number): boolean => until !== undefined && until <= now;

/** Two freezes of one role as the one that people see: over when both are. */
export function together(
  one: FreezeRecord | undefined,
  other: FreezeRecord | undefined,
): FreezeRecord | undefined {
  if (!one || !other) return one ?? other;
  const by = [one.by, other.by].filter((name) => name !== undefined).join(', ');
  const endless = one.until === undefined || other.until === undefined;
  const last = (one.until ?? 0) > (other.until ?? 0) ? one : other;
  return {
    text: `${one.text}; ${other.text}`.slice(0, MOST_TEXT),
    ...(by ? { by } : {}),
    ...(endless ? {} : { duration: last.duration ?? 0, until: last.until ?? 0 }),
  };
}

/** "by ann, 1h 20m left: release day" */
export function freezeText({ text, by, left }: FreezeReport): string {
  const parts = [
    ...(by === undefined ? [] : [`by ${by}`]),
    ...(left === undefined ? [] : [`${formatDuration(left)} left`]),
  ];
  return parts.length > 0 ? `${parts.join(', ')}: ${text}` : text;
}
