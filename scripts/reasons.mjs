#!/usr/bin/env node
/** Writes docs/reasons.md from src/domain/reasons.ts. Guarantees: the page is what the built program would say. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

const built = spawnSync(process.execPath, [at('scripts/build.mjs')], { stdio: 'inherit' });
if (built.status !== 0) process.exit(built.status ?? 1);
const { reasonsPage } = await import('../dist/src/domain/reasons-page.js');
writeFileSync(at('docs/reasons.md'), reasonsPage());
