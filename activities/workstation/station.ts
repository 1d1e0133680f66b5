// A workstation: an attempt's own clone, HOME, temporary folder and processes. What the activities need of one, whether
// it is a sandbox or, where the configuration says so, none.

import type { Writable } from 'node:stream';
import type { IsolationRecord } from '../../src/domain/packet.js';
import type { Refusal } from '../egress/refusals.js';
import type { Mirror } from '../mirror.js';
import type { ProcessEnd, ProcessIdentity } from '../processes.js';
import type { Clone, DirtyFiles } from './leftovers.js';

/** What an agent committed is nothing that git takes; it stays in the workstation's folder. */
export class BadCommits extends Error {
  constructor(said: string) {
    super(`its commits hold what git refuses: ${said}`);
  }
}

/** A clone that an attempt has taken over; it is in the attempt's own folder. */
export interface TakenClone {
  /** Whose it is, where the worker is root. */
  uid?: number;
}

export interface StationOptions {
  task: string;
  mirror: Mirror;
  /** The commit of the shared branch that the agent starts from. */
  base: string;
  /** The commit that is checked out: the base, or an earlier attempt's work on it. */
  start: string;
  checkout: boolean;
  prompt: string;
  /** What it is told of the task that it takes over. */
  handOff?: string;
  /** The kind of agent, for the author of its commits. */
  agent: string;
  /** The clone of an earlier attempt, which is in the workstation's folder. */
  kept?: TakenClone;
}

/** Where an agent finds things, as it sees them. */
export interface StationPaths {
  clone: string;
  home: string;
  tmp: string;
  prompt: string;
  /** What it is told of the task that it takes over; there is none for others. */
  handOff: string;
  report: string;
  /** What a read-only task makes. */
  result: string;
  requests: string;
  answers: string;
  /** Snapshots of other tasks' trees, read-only; empty where there can be none. */
  shared: string;
  /** What PATH is to be. */
  path: string;
}

/** A file with a secret, and the variable that tells where it is. */
export interface SecretFile {
  name: string;
  variable: string;
  value: string;
}

export interface AgentProcess {
  command: string | string[];
  env: Record<string, string>;
  output: Writable;
  errors: Writable;
  /** The values of secrets that the agent's proxy puts in, see egress.ts. */
  keys: ReadonlyMap<string, string>;
  log: (line: string) => void;
  signal: AbortSignal;
  graceMs: number;
  onStart: (processes: ProcessIdentity[]) => void;
}

export interface StationEnd extends ProcessEnd {
  outOfMemory?: number;
  /** Connections that its network does not allow. */
  refused?: Refusal[];
}

/**
 * Where setup commands run: as the agent would, but the clone can be written in any case, and nothing of the task is
 * there: no prompt, requests, results or secrets.
 */
export interface SetupPlace {
  run(command: AgentProcess): Promise<StationEnd>;
  /** From now on git overlooks what the lines name, in the clone, unless it is tracked. */
  exclude(lines: readonly string[]): Promise<void>;
  /** Absent where agents could change what is kept on the host. */
  archives?: Archives;
}

/** Folders of the clone as one file of the host. Each throws when it was stopped. */
export interface Archives {
  /** Makes a file of at most so many bytes in a new folder, and gives its path. Throws where a path is none, or a link. */
  pack(paths: readonly string[], folder: string, most: number, signal: AbortSignal): Promise<string>;
  /** Puts them in the place of what is there. Throws when the file is gone or no such archive. */
  unpack(paths: readonly string[], file: string, signal: AbortSignal): Promise<void>;
  remove(paths: readonly string[], signal: AbortSignal): Promise<void>;
}

export interface Workstation extends Clone {
  readonly dir: string;
  /** The user its agent runs as, where that is not the worker's. */
  readonly uid?: number;
  readonly paths: StationPaths;
  /** Files that git took for changed right after the checkout (line endings, filters). */
  readonly untouched: DirtyFiles;
  readonly isolation: IsolationRecord;
  /** It goes on in the clone of an earlier attempt. */
  readonly reused?: true;
  /** Where the worker finds the agent's requests, and leaves the answers. */
  readonly desk: { requests: string; answers: string };
  /** Where the worker puts snapshots for the agent, and makes them; none without isolation. */
  readonly peering?: { shared: string; aside: string };
  /** The agent's result, as the worker finds it. */
  readonly resultDir: string;
  /** Puts the files where only the agent can read them. Gives the variables with their paths. */
  keepSecrets(files: readonly SecretFile[]): Promise<Record<string, string>>;
  run(agent: AgentProcess): Promise<StationEnd>;
  readonly setup: SetupPlace;
  /** Brings a commit of the clone into the mirror, under the ref. */
  bring(mirror: Mirror, commit: string, ref: string): Promise<void>;
}
