// What an attempt is given, and what comes of it.

import type { Fence } from '../src/domain/fence.js';
import type { AttemptResult, TakenOver } from '../src/domain/messages.js';
import type { AttemptRecord } from '../src/domain/packet.js';
import type { Peer } from '../src/domain/peering-grants.js';
import type { Use } from '../src/domain/resources.js';

export interface AgentInput {
  /** Full name: plan/task. */
  task: string;
  title?: string;
  prompt: string;
  agent?: string;
  role?: string;
  repository?: string;
  writes: string[];
  uses?: Use[];
  /** Whose trees it asks to see, by full names. */
  peers?: Peer[];
  env: Record<string, string>;
  /** Milliseconds. */
  timeout?: number;
  attempt: number;
  fence: Fence;
  /** Milliseconds. */
  lease: number;
  /** Milliseconds of the lease in which another host could have taken it. */
  waited?: number;
  from?: StartFrom;
  /** What all its attempts go on with, where none of its own has more. */
  takenOver?: TakenOver;
}

/** Work of an earlier attempt that this one goes on with. */
export interface StartFrom {
  base: string;
  commit: string;
}

export interface AgentRun {
  result: AttemptResult;
  record: AttemptRecord;
}
