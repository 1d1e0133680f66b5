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
  mirrors: ReadonlyMap<string, Mirror>;
  client: Client;
  /** What makes workstations, or why there can be none that are sandboxes. */
  sandboxes: Sandboxes | { missing: string };
  /** The worker process. */
  self: ProcessIdentity;
  log: (line: string) => void;
}

export function mirrorOf(host: Host, repository: string): Mirror {
  const mirror = host.mirrors.get(repository);
  if (!mirror) throw new Error(`the configuration in force has no repository "${repository}"`);
  return mirror;
}
