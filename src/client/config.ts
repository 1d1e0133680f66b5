// signalbox.yaml: found, read, checked; relative paths made absolute.

import { existsSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { Config } from '../domain/config.js';
import { readDocument } from './documents.js';

export const CONFIG_FILE = 'signalbox.yaml';

export interface Fleet {
  config: Config;
  /** The file and its folder. */
  file: string;
  dir: string;
  /** Signalbox's folder on this host: mirrors, workstations, logs, the local server's database. */
  home: string;
}

export class NoConfig extends Error {}

/** Reads `file`, or the signalbox.yaml of this folder or the nearest one above. Throws NoConfig or BadDocument. */
export async function readFleet(file?: string): Promise<Fleet> {
  const found = file ? resolve(file) : findUpwards(process.cwd());
  if (!found)
    throw new NoConfig(
      `there is no ${CONFIG_FILE} in this folder or above: \`signalbox init\` writes one, --config names one elsewhere`,
    );
  const { value: config } = await readDocument(found, () => Config);
  const dir = dirname(found);
  for (const repository of Object.values(config.repositories))
    repository.url = absoluteUrl(dir, repository.url);
  for (const secret of Object.values(config.secrets))
    if (secret.file !== undefined) secret.file = resolve(dir, secret.file);
  return {
    config,
    file: found,
    dir,
    home: process.env.SIGNALBOX_HOME ? resolve(process.env.SIGNALBOX_HOME) : join(dir, '.signalbox'),
  };
}

function findUpwards(from: string): string | undefined {
  for (let dir = from; ; dir = dirname(dir)) {
    const file = join(dir, CONFIG_FILE);
    if (existsSync(file)) return file;
    if (dirname(dir) === dir) return undefined;
  }
}

/** Paths start at the config's folder; `https://…`, `ssh://…` and `git@host:path` stay as they are. */
function absoluteUrl(dir: string, url: string): string {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(url) || /^[^/]+:/.test(url) || isAbsolute(url)) return url;
  return resolve(dir, url);
}
