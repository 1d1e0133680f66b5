#!/usr/bin/env node
/** Writes the lists of docs/peering.md as the program has them. Guarantees: the rest of the page stays as it is. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

const built = spawnSync(process.execPath, [at('scripts/build.mjs')], { stdio: 'inherit' });
if (built.status !== 0) process.exit(built.status ?? 1);
const { withLists } = await import('../dist/src/domain/peering-page.js');
const page = at('docs/peering.md');
writeFileSync(page, withLists(readFileSync(page, 'utf8')));
