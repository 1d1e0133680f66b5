// What every activity of a fleet shares on one host: the configuration in force, the folder, the mirrors, the client.

import type { Client } from '@temporalio/client';
import type { Config } from '../src/domain/config.js';
import type { Mirror } from './mirror.js';
import type { ProcessIdentity } from './processes.js';
import type { Sandboxes } from './workstation/sandboxed.js';

export interface Host {
  config: Config;
  /** Signalbox's folder on this host: mirrors, workstations, logs. */
  home: string;
  /** Its name, see src/client/host-id.ts. */
  id: string;
  room: AgentRoom;
  mirrors: ReadonlyMap<string, Mirror>;
  client: Client;
  /** What makes workstations, or why there can be none that are sandboxes. */
  sandboxes: Sandboxes | { missing: string };
  /** The worker process. */
  self: ProcessIdentity;
  log: (line: string) => void;
}

/** The room for agents on this host, whichever queue they come by. */
export interface AgentRoom {
  /** Runs an attempt with what its kind takes of the host. Gives undefined when there is no room for it, or it was stopped before. */
  holding<T>(entry: Entry, run: () => Promise<T>): Promise<T | undefined>;
}

export interface Entry {
  /** Its kind; the fleet's default when left out. */
  agent: string | undefined;
  /** It came by the host's own queue. */
  own: boolean;
  stop: AbortSignal;
}

export function mirrorOf(host: Pick<Host, 'mirrors'>, repository: string): Mirror {
  const mirror = host.mirrors.get(repository);
  if (!mirror) throw new Error(`the configuration in force has no repository "${repository}"`);
  return mirror;
}
