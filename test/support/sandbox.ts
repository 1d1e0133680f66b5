// Tests that need a sandbox: where this host offers none they are skipped, and their names say why.

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'vitest';
import { whyNoSandbox } from '../../worker/isolation.js';

const missing = whyNoSandbox();

export function sandboxTest(name: string, body: () => Promise<void>): void {
  if (missing === undefined) test(name, body);
  else test.skip(`${name} (no sandbox here: ${missing})`, body);
}

/** After each test what it has to undo, the last first; folders of fleets, which agents may enter, are removed. */
export function undoing(under: string): { undo: (() => unknown)[]; newHome: () => string } {
  const undo: (() => unknown)[] = [];
  afterEach(async () => {
    for (const one of undo.splice(0).reverse()) await one();
  });
  const newHome = (): string => {
    const home = mkdtempSync(join(tmpdir(), under));
    chmodSync(home, 0o711);
    undo.push(() => rmSync(home, { recursive: true, force: true }));
    return home;
  };
  return { undo, newHome };
}
