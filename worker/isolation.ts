// What this host offers for workstations, found out when a worker starts, and said.

import type { Host } from '../activities/host.js';
import { probeSandbox } from '../activities/sandbox/host.js';
import { isOpen } from '../activities/sandbox/permissions.js';
import { Sandboxes } from '../activities/workstation/sandboxed.js';
import { type Config, roleRepository } from '../src/domain/config.js';

/** What this host offers is said once, and aloud where agents run without isolation. */
export function sandboxesFor(config: Config, home: string, log: (line: string) => void): Host['sandboxes'] {
  const agents = Object.entries(config.agents).map(([name, { isolation }]) => ({ name, isolation }));
  const proving = Object.entries(config.roles)
    .filter(
      ([, { verify, resources }]) => verify.length > 0 || regenerates(config, roleRepository({ resources })),
    )
    .map(([name, { verifyIn }]) => ({ name, isolation: verifyIn.isolation }));
  const without = (list: typeof agents) =>
    list.flatMap(({ name, isolation }) => (isolation === 'none' ? name : [])).join(', ');
  if (without(agents) !== '')
    log(`NOT ISOLATED: agents of kind ${without(agents)} run as this worker, with all that it can reach`);
  if (without(proving) !== '')
    log(
      `NOT ISOLATED: verify commands of role ${without(proving)} run what agents wrote as this worker, with all that it can reach`,
    );
  if ([...agents, ...proving].every(({ isolation }) => isolation === 'none'))
    return { missing: 'nothing of this fleet asks for a sandbox' };
  const probe = probeSandbox(config.fleet);
  if ('missing' in probe) {
    log(
      `NO WORKSTATIONS HERE: ${probe.missing}. Attempts and verify commands that need one fail on this host until then.`,
    );
    return probe;
  }
  const { version, cgroup } = probe.sandbox;
  const limits = cgroup
    ? `control groups, version ${cgroup.version}`
    : 'for each process alone: no control groups';
  log(`workstations: bubblewrap ${version}, limits ${limits}`);
  return new Sandboxes(probe.sandbox, home, { log });
}

const regenerates = ({ repositories }: Config, name: string): boolean =>
  repositories[name]?.claims?.generated.some(({ regenerate }) => regenerate !== undefined) === true;

/** Whether agents may read a file or folder of this host that `sees` names. */
export const mayBeSeen = isOpen;

/** Why no sandbox can be had here, and what mends that; undefined when one can. */
export function whyNoSandbox(): string | undefined {
  const probe = probeSandbox();
  return 'missing' in probe ? probe.missing : undefined;
}
