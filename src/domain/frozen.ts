// What a freeze keeps from beginning: new tasks, and landings that were not handed over.

import type { FreezeRecord } from './freeze.js';
import type { Evidence, ReasonCode } from './reasons.js';
import type { State } from './state.js';

export interface Frozen {
  code: Extract<ReasonCode, 'FLEET_FROZEN' | 'ROLE_FROZEN'>;
  evidence: Evidence;
  /** What to watch for its end. */
  on: string;
}

/** What keeps new tasks of a role, and its landings, from beginning; read-only tasks have no role. */
export function frozenBy(state: State, role: string | undefined): Frozen | undefined {
  const fleet = state.fleetWord?.freeze;
  if (fleet) return { code: 'FLEET_FROZEN', evidence: evidenceOf(fleet), on: 'frozen:' };
  const known = role === undefined ? undefined : state.roles.get(role)?.frozen;
  if (role === undefined || !known) return undefined;
  return { code: 'ROLE_FROZEN', evidence: { role, ...evidenceOf(known) }, on: frozenKey(role) };
}

export const frozenKey = (role: string): string => `frozen:${role}`;

const evidenceOf = ({ text, by, duration }: FreezeRecord): Evidence => ({
  text,
  ...(by === undefined ? {} : { by }),
  ...(duration === undefined ? {} : { duration }),
});
