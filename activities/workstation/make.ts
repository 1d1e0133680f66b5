// Which workstation an attempt gets, by its kind of agent; and how its commits are kept.

import { join } from 'node:path';
import type { AgentKind } from '../../src/domain/config.js';
import { type Fence, fenceText } from '../../src/domain/fence.js';
import { attemptRef } from '../../src/domain/ids.js';
import type { Host } from '../host.js';
import type { Mirror } from '../mirror.js';
import { takeKept } from './kept.js';
import type { Clone } from './leftovers.js';
import { makePlain, openPlain } from './plain.js';
import { Sandboxes } from './sandboxed.js';
import type { StationOptions, Workstation } from './station.js';
import { makeRoomIfShort } from './stock.js';

export interface Wanted
  extends Pick<StationOptions, 'task' | 'mirror' | 'base' | 'start' | 'prompt' | 'handOff'> {
  kind: string;
  readOnly: boolean;
  fence: Fence;
}

/** Whether the next attempt may go on in the clone: one that a sandbox kept apart, and that an agent could write. */
export const keepsClone = (agent: Pick<AgentKind, 'isolation' | 'checkout'>, readOnly: boolean): boolean =>
  agent.isolation === 'sandbox' && agent.checkout && !readOnly;

/** A clone that an earlier attempt left may hold this part of what the next one may write. */
const KEPT_SHARE = 0.5;

/** Makes the workstation. Throws, and has started nothing, when this host offers no sandbox and the kind needs one. */
export async function makeWorkstation(host: Host, dir: string, wanted: Wanted): Promise<Workstation> {
  const { kind, readOnly, fence, ...rest } = wanted;
  const agent = host.config.agents[kind];
  if (!agent) throw new Error(`the fleet has no kind of agent "${kind}"`);
  const options: StationOptions = { ...rest, checkout: agent.checkout, agent: kind };
  await makeRoomIfShort(host);
  if (agent.isolation === 'none') return await makePlain(dir, join(host.home, 'bin'), options);
  const most = agent.disk * KEPT_SHARE;
  const earlier = { task: wanted.task, fence, repository: wanted.mirror.name, most };
  const kept = keepsClone(agent, readOnly) ? await takeKept(host.home, dir, earlier) : undefined;
  if (kept) options.kept = kept;
  return await sandboxesOf(host).make(
    dir,
    { ...agent, readOnly, reachable: host.config.workstations.reachable },
    options,
  );
}

/** The clone in a workstation of a worker that is no more. */
export const openWorkstation = (
  host: Pick<Host, 'sandboxes'>,
  dir: string,
  { uid, plain }: { uid?: number; plain?: true },
  mirror: Mirror,
): Clone & Pick<Workstation, 'bring'> => (plain ? openPlain(dir) : sandboxesOf(host).open(dir, uid, mirror));

function sandboxesOf({ sandboxes }: Pick<Host, 'sandboxes'>): Sandboxes {
  if (sandboxes instanceof Sandboxes) return sandboxes;
  throw new Error(`there is no sandbox for it: ${sandboxes.missing}`);
}

/** Brings a commit of the clone into the mirror and keeps it on the shared repository under the attempt's own ref. */
export async function keepCommits(
  mirror: Mirror,
  clone: Pick<Workstation, 'bring'>,
  commit: string,
  task: string,
  fence: Fence,
): Promise<string> {
  const ref = attemptRef(task, fenceText(fence));
  await clone.bring(mirror, commit, ref);
  await keepAt(mirror, commit, ref, "the attempt's commits");
  return ref;
}

/** Puts the ref of the shared repository at a commit of the mirror. Tries for some seconds, then throws what git says. */
export async function keepAt(mirror: Mirror, commit: string, ref: string, what: string): Promise<void> {
  for (let round = 1; ; round++) {
    const problem = await mirror.push([`+${commit}:${ref}`]);
    if (problem === undefined) return;
    if (round === 5) throw new Error(`${what} cannot be pushed to ${ref}: ${problem}`);
    await new Promise((resolve) => setTimeout(resolve, 200 * 2 ** round));
  }
}
