// A task that would rather end than wait, on a real server. What counts as busy is in busy.test.ts.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { edit, replayHistories, TestFleet } from './support/fleet.js';

test('a task that is not to wait ends without an attempt, and what waits for it is cancelled', async () => {
  const fleet = await TestFleet.start();
  try {
    const go = join(fleet.dir, 'go');
    const role = 'main';
    const first = await fleet.submit('x', [
      {
        id: 'a',
        prompt: edit('a', 'x', `touch '${go}.on'; until test -e '${go}'; do sleep 0.1; done`),
        role,
        writes: ['a'],
      },
    ]);
    await fleet.until('the agent', () => existsSync(`${go}.on`));
    const ended = await fleet.run('y', [
      { id: 'b', prompt: 'exit 1', role, writes: ['a/b'], ifBusy: 'fail' },
      { id: 'c', prompt: 'exit 1', after: ['b'] },
      { id: 'd', prompt: edit('d', 'x'), role, writes: ['d'], ifBusy: 'fail' },
    ]);
    expect(ended.b?.outcome).toEqual({
      kind: 'failed',
      code: 'CLAIMS_BUSY',
      text: 'a/b overlaps a, held by x/a, which was earlier, and it was not to wait',
    });
    expect(ended.c?.outcome).toMatchObject({ kind: 'cancelled', code: 'UPSTREAM_FAILED' });
    expect(ended.d?.outcome?.kind).toBe('landed');
    const [packet] = await fleet.packets('y/b');
    expect([packet?.outcome.code, packet?.attempts]).toEqual(['CLAIMS_BUSY', []]);
    writeFileSync(go, '');
    expect((await fleet.signalbox.wait(first)).get('x/a')?.outcome?.kind).toBe('landed');
    expect(await fleet.violations(['x/a', 'y/b', 'y/c', 'y/d'])).toEqual([]);
  } finally {
    await fleet.stop();
  }
  expect(await replayHistories(inject('temporal'), [fleet.name])).toBeGreaterThan(4);
});
