// Named resources: whatever is shared and mutable beside the paths of a branch, such as `db:orders`. Each belongs to one
// role. An exclusive use takes one of the resource's places (`capacity`); shared uses, where the resource allows them,
// go together in any number and only with each other. A rate bounds how often a resource is granted, by a sliding window.

import { z } from 'zod';
import { parseDuration } from './durations.js';

export const MODES = ['exclusive', 'shared'] as const;
export type Mode = (typeof MODES)[number];

/** What a task asks for beside its paths. */
export interface Use {
  resource: string;
  mode: Mode;
}

/** At most `count` grants in any `window` milliseconds. */
export interface Rate {
  count: number;
  window: number;
  /** As people wrote it. */
  text: string;
}

const UNITS: Record<string, number> = { second: 1_000, minute: 60_000, hour: 3_600_000, day: 86_400_000 };

/** "10/hour", "1/30s"; undefined for anything else. */
export function parseRate(text: string): Rate | undefined {
  const [, count, per = ''] = /^([1-9]\d{0,5})\/(\S+)$/.exec(text) ?? [];
  const window = Object.hasOwn(UNITS, per) ? UNITS[per] : parseDuration(per);
  return count === undefined || !window ? undefined : { count: Number(count), window, text };
}

export const ResourceName = z
  .string()
  .regex(
    /^(?!branch:)[a-z][a-z0-9-]{0,39}:[A-Za-z0-9][A-Za-z0-9._-]{0,79}$/,
    'a kind and a name, such as "db:orders" or "surface:newsletter"',
  );

export const Resource = z.strictObject({
  capacity: z
    .int()
    .min(1)
    .max(10_000)
    .default(1)
    .describe('How many tasks may use it at once, each on its own.'),
  shared: z
    .boolean()
    .default(false)
    .describe(
      'true: tasks of any role, read-only ones too, may ask for it in shared mode; they run together, never beside an exclusive use.',
    ),
  rate: z
    .string()
    .refine((text) => parseRate(text) !== undefined, 'a rate such as "10/hour", "1/second" or "3/30m"')
    .optional()
    .describe('How often it may be granted, over a sliding window; each attempt of a task counts.'),
});

export const Use = z.union([
  ResourceName.transform((resource): Use => ({ resource, mode: 'exclusive' })),
  z.strictObject({
    resource: ResourceName.describe('A resource of signalbox.yaml.'),
    mode: z
      .enum(MODES)
      .default('exclusive')
      .describe('shared: together with others that only share it, where the resource allows that.'),
  }),
]);

/** What coordination needs of a resource. */
export interface ResourceRule {
  role: string;
  capacity: number;
  shared: boolean;
  rate?: Rate | undefined;
}

/** Why a task may not ask for a use at all; undefined when it may. */
export function useRefused(rule: ResourceRule, use: Use, role: string | undefined): string | undefined {
  if (use.mode === 'shared')
    return rule.shared
      ? undefined
      : 'may not be used in shared mode: only `shared: true` in the inventory allows it';
  if (rule.role === role) return undefined;
  return `belongs to role ${rule.role}: others may ${rule.shared ? 'only share it' : 'not use it'}`;
}

/** As people read it: the resource, and the mode where it is not the usual one. */
export const useText = ({ resource, mode }: Use): string =>
  mode === 'shared' ? `${resource} (shared)` : resource;

/** Who uses what, by resource. */
export class ResourceIndex {
  private readonly users = new Map<string, Map<string, Mode>>();

  add(user: string, uses: readonly Use[] = []): void {
    for (const { resource, mode } of uses) {
      const users = this.users.get(resource);
      if (users) users.set(user, mode);
      else this.users.set(resource, new Map([[user, mode]]));
    }
  }

  remove(user: string, uses: readonly Use[] = []): void {
    for (const { resource } of uses) {
      const users = this.users.get(resource);
      users?.delete(user);
      if (users?.size === 0) this.users.delete(resource);
    }
  }

  /** Who of the others stands in the way of the use; empty when nobody does. */
  inTheWay(user: string, use: Use, capacity: number): string[] {
    const others = [...(this.users.get(use.resource) ?? [])].filter(([id]) => id !== user);
    const alone = others.flatMap(([id, mode]) => (mode === 'exclusive' ? [id] : []));
    if (use.mode === 'shared') return alone;
    const sharing = others.flatMap(([id, mode]) => (mode === 'shared' ? [id] : []));
    return [...sharing, ...(alone.length >= capacity ? alone : [])];
  }
}

/** When the next grant may come: undefined for at once. `log`: when the earlier ones were, oldest first. */
export function nextSlot(log: readonly number[], rate: Rate, now: number): number | undefined {
  const decisive = log[log.length - rate.count];
  return decisive === undefined || decisive + rate.window <= now ? undefined : decisive + rate.window;
}
