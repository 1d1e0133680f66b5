// Tests that need a sandbox: where this host offers none they are skipped, and their names say why.

import { test } from 'vitest';
import { whyNoSandbox } from '../../worker/isolation.js';

const missing = whyNoSandbox();

export function sandboxTest(name: string, body: () => Promise<void>): void {
  if (missing === undefined) test(name, body);
  else test.skip(`${name} (no sandbox here: ${missing})`, body);
}
