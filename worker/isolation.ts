// What this host offers for workstations, found out when a worker starts, and said.

import type { Host } from '../activities/host.js';
import { probeSandbox } from '../activities/sandbox/host.js';
import { isOpen } from '../activities/sandbox/permissions.js';
import { Sandboxes } from '../activities/workstation/sandboxed.js';
import type { Config } from '../src/domain/config.js';

/** What this host offers is said once, and aloud where agents run without isolation. */
export function sandboxesFor(config: Config, home: string, log: (line: string) => void): Host['sandboxes'] {
  const without = Object.keys(config.agents).filter((name) => config.agents[name]?.isolation === 'none');
  if (without.length > 0)
    log(`NOT ISOLATED: agents of kind ${without.join(', ')} run as this worker, with all that it can reach`);
  if (without.length === Object.keys(config.agents).length)
    return { missing: 'no kind of agent asks for a sandbox' };
  const probe = probeSandbox(config.fleet);
  if ('missing' in probe) {
    log(`NO WORKSTATIONS HERE: ${probe.missing}. Attempts that need one fail on this host until then.`);
    return probe;
  }
  const { version, cgroup } = probe.sandbox;
  const limits = cgroup
    ? `control groups, version ${cgroup.version}`
    : 'for each process alone: no control groups';
  log(`workstations: bubblewrap ${version}, limits ${limits}`);
  return new Sandboxes(probe.sandbox, home, { log });
}

/** Whether agents may read a file or folder of this host that `sees` names. */
export const mayBeSeen = isOpen;

/** Why no sandbox can be had here, and what mends that; undefined when one can. */
export function whyNoSandbox(): string | undefined {
  const probe = probeSandbox();
  return 'missing' in probe ? probe.missing : undefined;
}
