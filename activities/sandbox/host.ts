// What this host offers for workstations: bubblewrap, user namespaces, limits. Found out once, by making a sandbox as
// an agent would get it; whatever is missing is said with the command that mends it.

import { spawnSync } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { findCgroup } from './cgroup.js';
import { INSIDE_PATH, type SandboxHost } from './offer.js';
import { argumentsOf, prefixOf, type View } from './view.js';

export type Probe = { sandbox: SandboxHost } | { missing: string };

/** Programs of util-linux and coreutils that every sandbox is started through, and those that root needs as well. */
const ALWAYS = ['prlimit', 'timeout'];
const AS_ROOT = ['setpriv', 'unshare', 'mount', 'mkdir'];
const PROBE_MS = 20_000;

/** Finds out what this host offers. `fleet` names the groups of limits; none are looked for when left out. */
export function probeSandbox(fleet?: string): Probe {
  if (process.platform !== 'linux')
    return {
      missing: `workstations need Linux with bubblewrap, and this is ${process.platform}: run the worker on Linux (a virtual machine or docs/docker.md), or write \`isolation: none\` for the kind of agent, which then runs without any isolation`,
    };
  const bwrap = findProgram('bwrap');
  if (bwrap === undefined)
    return { missing: `bubblewrap (bwrap) is not installed: ${installCommand('bubblewrap')}` };
  const root = process.getuid?.() === 0;
  const absent = [...ALWAYS, ...(root ? AS_ROOT : [])].filter((name) => findProgram(name) === undefined);
  if (absent.length > 0)
    return { missing: `${absent.join(', ')} is not installed: ${installCommand('util-linux')}` };
  const version =
    /[\d.]+/.exec(spawnSync(bwrap, ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[0] ?? '';
  const sandbox: SandboxHost = { bwrap, version, root };
  const problem = tryOne(sandbox);
  if (problem !== undefined) return { missing: problem };
  const cgroup = fleet === undefined ? undefined : findCgroup(fleet);
  return { sandbox: { ...sandbox, ...(cgroup ? { cgroup } : {}) } };
}

/** Undefined when a sandbox can be made and is what it should be, else what keeps it from that. */
function tryOne(host: SandboxHost): string | undefined {
  const view: View = {
    binds: [],
    env: { PATH: INSIDE_PATH },
    chdir: '/',
    network: 'none',
    temporary: 1 << 20,
  };
  const uid = host.root ? PROBE_UID : undefined;
  const [program = '', ...prefix] = prefixOf(host, { uid, hidden: [], limits: {} });
  const args = [...argumentsOf(view), '--', '/bin/sh', '-c', 'exit 42'];
  const tried = spawnSync(program, [...prefix, ...args], {
    env: { PATH: process.env.PATH ?? INSIDE_PATH },
    encoding: 'utf8',
    timeout: PROBE_MS,
  });
  if (tried.status === 42) return undefined;
  const said = (tried.stderr || tried.error?.message || `exit code ${tried.status}`).trim().slice(-500);
  return `a sandbox cannot be made here (${said}): ${hint(said)}`;
}

/** What usually stands in the way of one who is not root. */
function hint(said: string): string {
  const setting = (name: string) => {
    try {
      return readFileSync(`/proc/sys/${name}`, 'utf8').trim();
    } catch {
      return undefined;
    }
  };
  if (setting('kernel/unprivileged_userns_clone') === '0')
    return 'user namespaces are switched off: sudo sysctl -w kernel.unprivileged_userns_clone=1';
  if (setting('kernel/apparmor_restrict_unprivileged_userns') === '1')
    return 'AppArmor keeps user namespaces from programs without a profile: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give bwrap a profile that allows `userns`';
  if (setting('user/max_user_namespaces') === '0')
    return 'user namespaces are switched off: sudo sysctl -w user.max_user_namespaces=10000';
  if (/unknown option/i.test(said)) return `bubblewrap is older than 0.8: ${installCommand('bubblewrap')}`;
  return 'user namespaces seem to be kept from this process, as in a container without them: run the worker on the host, or allow them in the container (docs/workstations.md)';
}

/** A numeric id that no account has, nor any workstation. */
const PROBE_UID = 1_100_000_000 - 1;

export function findProgram(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return statSync(path).isFile();
      } catch {
        return false;
      }
    });
}

/** The one command that installs a package here. */
export function installCommand(name: string): string {
  const sudo = process.getuid?.() === 0 ? '' : 'sudo ';
  const managers: [string, string][] = [
    ['apt-get', 'apt-get install -y'],
    ['dnf', 'dnf install -y'],
    ['apk', 'apk add'],
    ['pacman', 'pacman -S --noconfirm'],
    ['zypper', 'zypper install -y'],
  ];
  const found = managers.find(([program]) => findProgram(program) !== undefined);
  return found ? `${sudo}${found[1]} ${name}` : `install ${name} with this system's package manager`;
}
