// One real Temporal server for all test files; every test brings a fleet of its own name.

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startTemporalServer } from '../../worker/temporal-server.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** host:port */
    temporal: string;
    uiUrl: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (!existsSync(resolve('dist/workflow-bundle.js')))
    throw new Error('build first: `npm run build` (npm test does)');
  const server = await startTemporalServer({ log: (line) => console.log(line) });
  project.provide('temporal', server.address);
  project.provide('uiUrl', server.uiUrl ?? '');
  return () => server.stop();
}
