// Programs of our own that run as processes: always as built, also where their caller runs from its source.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The file of a program of this folder. */
export function builtScript(name: string): string {
  const beside = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  return existsSync(beside)
    ? beside
    : fileURLToPath(new URL(`../dist/activities/${name}.js`, import.meta.url));
}
