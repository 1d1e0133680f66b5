// What a workstation has beside its own folders: accounts and names of no importance, `signalbox` for agents, and of the
// worker's PATH and certificates what is there inside.

import { existsSync, realpathSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { INSIDE_PATH } from '../sandbox/offer.js';
import { type Bind, SYSTEM_BINDS } from '../sandbox/view.js';
import type { StationPaths } from './station.js';

/** The folders of a workstation, as its agent sees them. */
export const INSIDE: Omit<StationPaths, 'path'> = {
  clone: '/w/repo',
  home: '/w/home',
  tmp: '/tmp',
  prompt: '/w/prompt.md',
  handOff: '/w/handoff.md',
  report: '/w/result/report.md',
  result: '/w/result',
  requests: '/w/requests',
  answers: '/w/answers',
  shared: '/w/.shared',
};
export const TOOLS = '/signalbox';
/** Of the worker's PATH what is there inside, and what a system has. */
export function pathInside(sees: readonly string[]): string {
  const inside = [...SYSTEM_BINDS.map(({ to }) => to), ...sees];
  const ours = (process.env.PATH ?? '')
    .split(':')
    .filter((folder) => inside.some((path) => folder === path || folder.startsWith(`${path}/`)));
  return [...new Set([`${TOOLS}/bin`, ...ours, ...INSIDE_PATH.split(':')])].join(':');
}

/** Certificates that the operator's own variables name, see allowedEnv. */
export const certificates = (): string[] =>
  ['SSL_CERT_FILE', 'SSL_CERT_DIR', 'NODE_EXTRA_CA_CERTS'].flatMap((name) => {
    const path = process.env[name] ?? '';
    return isAbsolute(path) && existsSync(path) ? [path] : [];
  });

/** Accounts and names as they are inside; whatever the host has there is nobody's business. */
const ETC: Readonly<Record<string, string>> = {
  passwd: `root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000:agent:${INSIDE.home}:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n`,
  group: 'root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n',
  hosts: '127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 workstation\n',
  hostname: 'workstation\n',
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
};

const etcDir = (home: string): string => join(home, 'inside');

export const etcOf = (home: string): Bind[] =>
  Object.keys(ETC).map((name) => ({ from: join(etcDir(home), name), to: `/etc/${name}` }));

export async function prepare(home: string): Promise<void> {
  await mkdir(join(etcDir(home), 'bin'), { recursive: true, mode: 0o755 });
  for (const [name, text] of Object.entries(ETC))
    await writeFile(join(etcDir(home), name), text, { mode: 0o644 });
  const script = `#!/bin/sh\nexec ${TOOLS}/node ${TOOLS}/dist/src/cli/main.js "$@"\n`;
  await writeFile(join(etcDir(home), 'bin', 'signalbox'), script, { mode: 0o755 });
}

/** Where this package is, built or not. */
function packageRoot(): string {
  let at = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(at, 'package.json'))) at = dirname(at);
  return at;
}

/** `signalbox` for agents: the very version that runs the worker, read-only. */
export function tools(home: string): Bind[] {
  const root = packageRoot();
  const modules = [join(root, 'node_modules'), dirname(root)].find(
    (path) => path.endsWith('node_modules') && existsSync(path),
  );
  return [
    { from: join(etcDir(home), 'bin'), to: `${TOOLS}/bin` },
    { from: process.execPath, to: `${TOOLS}/node` },
    { from: join(root, 'dist'), to: `${TOOLS}/dist` },
    { from: join(root, 'package.json'), to: `${TOOLS}/package.json` },
    ...(modules ? [{ from: realpathSync(modules), to: `${TOOLS}/node_modules` }] : []),
  ];
}
