// What is done with the merged tree before it is pushed: verify commands, and those that make generated files anew. They
// are the operator's, but they run what agents wrote: so they run in a workstation of their own, as agents do, with what
// `verifyIn` names and nothing else of the host.

import { join } from 'node:path';
import {
  type Checkout,
  type DeployContext,
  emptyFolder,
  type Job,
  plainCheckout,
  runIn,
  type Use,
} from './checkout.js';
import { DiskWatch } from './workstation/disk-watch.js';
import type { Sandboxes } from './workstation/sandboxed.js';

const GRACE_MS = 5_000;
/** What programs say that want one. */
const NO_NETWORK =
  /EAI_AGAIN|ENETUNREACH|ENOTFOUND|could not resolve|name resolution|network is unreachable/i;

/** Runs the role's verify commands on the commit's tree. Undefined when all exit with 0, else what failed. */
export async function verifyTree(context: DeployContext): Promise<string | undefined> {
  const rule = context.host.config.roles[context.role];
  if (!rule || rule.verify.length === 0) return undefined;
  const checkout = await provingCheckout(context, 'verify');
  if (typeof checkout === 'string') return checkout;
  for (const command of rule.verify) {
    const failure = await runProving(checkout, context, { use: 'verify', command });
    if (failure) return failure;
  }
  return undefined;
}

/** Where such commands run; a sentence when this host cannot offer that. */
export async function provingCheckout(context: DeployContext, use: Use): Promise<Checkout | string> {
  const { host, role } = context;
  if (host.config.roles[role]?.verifyIn.isolation === 'none') return await plainCheckout(context, use);
  const { sandboxes } = host;
  if ('missing' in sandboxes) return `${use}: there is no sandbox for it: ${sandboxes.missing}`;
  try {
    return await sandboxedCheckout(sandboxes, context, use);
  } catch (error) {
    if (context.signal.aborted) throw error;
    // Said, and not tried for ever: whoever waits for the landing can do something about it.
    return `${use}: its sandbox could not be made: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function sandboxedCheckout(sandboxes: Sandboxes, context: DeployContext, use: Use): Promise<Checkout> {
  const { host, mirror, role, commit, task } = context;
  const { workstations, roles } = host.config;
  const place = roles[role]?.verifyIn;
  if (!place) throw new Error(`the configuration in force has no role "${role}"`);
  const dir = await emptyFolder(context, use);
  const station = await sandboxes.make(
    dir,
    { ...place, readOnly: false, reachable: workstations.reachable },
    {
      ...{ task, mirror, start: commit, checkout: true, prompt: '', agent: 'writer' },
      base: await mirror.resolve(`refs/heads/${mirror.branch}`),
    },
  );
  const { paths } = station;
  return {
    tree: join(dir, 'clone'),
    folder: dir,
    ran: 0,
    hint: (said) =>
      place.network === 'none' && NO_NETWORK.test(said)
        ? `it has no network: see \`verifyIn.network\` of role ${role}`
        : undefined,
    env: { HOME: paths.home, TMPDIR: paths.tmp, PATH: paths.path },
    keepSecrets: station.keepSecrets,
    run: async ({ signal, ...command }) => {
      const disk = new DiskWatch([join(dir, 'clone'), join(dir, 'home')], place.disk);
      disk.start();
      try {
        const end = await station.run({
          ...command,
          ...{ log: host.log, graceMs: GRACE_MS, onStart: () => undefined },
          signal: AbortSignal.any([signal, disk.signal]),
        });
        const { outOfMemory = 0 } = end;
        const memory =
          outOfMemory > 0 && end.exitCode !== 0
            ? { why: `${outOfMemory} of its processes were ended for want of memory` }
            : {};
        return { ...end, ...memory, ...(disk.broken ? { why: `it wrote ${disk.broken.text}` } : {}) };
      } finally {
        disk.stop();
      }
    },
  };
}

/** With the time and the means of the role's verify commands. Undefined when it exits with 0, else what failed. */
export async function runProving(
  checkout: Checkout,
  context: DeployContext,
  job: Pick<Job, 'use' | 'command'>,
): Promise<string | undefined> {
  const rule = context.host.config.roles[context.role];
  if (!rule) throw new Error(`the configuration in force has no role "${context.role}"`);
  return await runIn(checkout, context, { ...job, timeout: rule.verifyTimeout, allowed: rule.verifyIn });
}
