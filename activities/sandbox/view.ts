// What an agent sees: a read-only system, the folders that it is given, and nothing else of the host. Made into the
// arguments of bubblewrap.

import { existsSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Limits, SandboxHost } from './offer.js';
import { isReachable } from './permissions.js';

export interface Bind {
  /** On the host. Nobody but us may be able to change the folders on the way there. */
  from: string;
  /** Inside. Never below a folder that the agent can write. */
  to: string;
  writable?: boolean;
  /** Left out where the host has none. */
  optional?: boolean;
}

export interface View {
  binds: readonly Bind[];
  env: Readonly<Record<string, string>>;
  chdir: string;
  network: 'none' | 'host';
  /** Bytes that /tmp holds, and /dev/shm. They are in memory. */
  temporary: number;
}

/** Parts of the host that make a system; what a distribution does not have is left out. */
const SYSTEM = ['/usr', '/opt', '/nix/store'];
/** In one, these are links into /usr; in another, folders. */
const TOP = ['/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'];
/** Of /etc only what programs need to run; nothing of the host's users, services and keys. */
const ETC = [
  'alternatives',
  'ca-certificates',
  'ca-certificates.conf',
  'crypto-policies',
  'fonts',
  'java-11-openjdk',
  'java-17-openjdk',
  'java-21-openjdk',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'locale.alias',
  'localtime',
  'magic',
  'mime.types',
  'os-release',
  'perl',
  'pki/ca-trust',
  'pki/tls/certs',
  'protocols',
  'services',
  'ssl/certs',
  'ssl/openssl.cnf',
  'terminfo',
  'timezone',
];

export const SYSTEM_BINDS: readonly Bind[] = [
  ...SYSTEM.map((path) => ({ from: path, to: path, optional: true })),
  ...ETC.map((name) => ({ from: `/etc/${name}`, to: `/etc/${name}`, optional: true })),
];

/** Inside, an agent is this user, whoever runs it. */
const INSIDE_ID = '1000';

/** Arguments of bubblewrap, up to the command. `seen` gives where a path of the host is reached. */
export function argumentsOf(view: View, seen: (path: string) => string = (path) => path): string[] {
  const args = [
    ...['--unshare-user', '--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts'],
    '--unshare-cgroup-try',
    ...(view.network === 'host' ? ['--share-net'] : []),
    ...['--disable-userns', '--die-with-parent', '--new-session'],
    ...['--uid', INSIDE_ID, '--gid', INSIDE_ID, '--hostname', 'workstation'],
  ];
  for (const path of TOP) {
    const target = linkTarget(path);
    if (target !== undefined) args.push('--symlink', target, path);
    else args.push('--ro-bind-try', path, path);
  }
  args.push('--proc', '/proc', '--ro-bind', '/proc/sys', '/proc/sys', '--dev', '/dev');
  for (const path of ['/dev/shm', '/tmp'])
    args.push('--perms', '1777', '--size', String(view.temporary), '--tmpfs', path);
  // After those: what is bound may be below /tmp, which is empty and nobody's yet.
  for (const { from, to, writable, optional } of [...SYSTEM_BINDS, ...view.binds]) {
    const bind = writable ? '--bind' : '--ro-bind';
    args.push(optional ? `${bind}-try` : bind, seen(from), to);
  }
  // The file systems that bubblewrap made for these are in memory and have no size.
  args.push('--remount-ro', '/dev', '--remount-ro', '/', '--chdir', view.chdir, '--clearenv');
  for (const [name, value] of Object.entries(view.env)) args.push('--setenv', name, value);
  return args;
}

function linkTarget(path: string): string | undefined {
  const real = existsSync(path) ? realpathSync(path) : undefined;
  return real !== undefined && real !== path && real.startsWith('/usr/') ? real.slice(1) : undefined;
}

export interface Start {
  /** The user id that root gives the agent; undefined for a worker that is not root. */
  uid: number | undefined;
  /** Folders of ours that others may not enter: they are shown under HIDDEN, to this process and its children alone. */
  hidden: readonly string[];
  limits: Limits;
}

const HIDDEN = '/mnt';

/** How to get at a path of the host that may be in one of the hidden folders. */
export function seenThrough(hidden: readonly string[]): (path: string) => string {
  return (path) => {
    const i = hidden.findIndex((folder) => path === folder || path.startsWith(`${folder}/`));
    return i < 0 ? path : `${HIDDEN}/${i}${path.slice((hidden[i] as string).length)}`;
  };
}

/** The folders of these paths that an agent's user id cannot reach by itself. */
export function hiddenOf(host: SandboxHost, paths: readonly string[]): string[] {
  if (!host.root) return [];
  const hidden = paths.filter((path) => !isReachable(path));
  return [...new Set(hidden.map((path) => (statSync(path).isDirectory() ? path : dirname(path))))];
}

/**
 * A command with what limits it inside: there kernels since 5.14 count the processes of the sandbox alone, and outside all of
 * the worker's user, who may have more than any sandbox may.
 */
export const limited = ({ processes }: Limits, command: readonly string[]): readonly string[] =>
  processes === undefined ? command : ['prlimit', `--nproc=${processes}:${processes}`, '--', ...command];

/** The command up to and with bwrap; its arguments follow. Every part replaces itself by the next: one process id. */
export function prefixOf(host: SandboxHost, { uid, hidden, limits }: Start): string[] {
  const show = hidden.flatMap((_, i) => [
    `mkdir ${HIDDEN}/${i}`,
    `mount --bind "\${HIDDEN_${i}}" ${HIDDEN}/${i}`,
  ]);
  const script = [`mount -t tmpfs -o mode=0711,size=64k signalbox ${HIDDEN}`, ...show, 'exec "$@"'].join(
    ' && ',
  );
  return [
    ...(hidden.length > 0
      ? [
          ...['env', ...hidden.map((folder, i) => `HIDDEN_${i}=${folder}`)],
          ...['unshare', '--mount', '--propagation', 'private', '--', '/bin/sh', '-c', script, 'sh'],
          ...['env', ...hidden.flatMap((_, i) => ['-u', `HIDDEN_${i}`])],
        ]
      : []),
    ...(uid === undefined
      ? []
      : ['setpriv', '--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups', '--inh-caps=-all', '--']),
    'prlimit',
    '--core=0:0',
    ...(limits.openFiles === undefined ? [] : [`--nofile=${limits.openFiles}:${limits.openFiles}`]),
    ...(limits.fileSize === undefined ? [] : [`--fsize=${limits.fileSize}:${limits.fileSize}`]),
    ...(limits.memory === undefined ? [] : [`--data=${limits.memory}:${limits.memory}`]),
    '--',
    host.bwrap,
  ];
}
