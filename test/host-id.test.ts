// Which host a fleet's folder stands on, and that an attempt can be asked of that host alone.

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { hostIdFile, hostIdOf, knownHostId } from '../src/client/host-id.js';
import { HOST_ID } from '../src/domain/ids.js';

const root = mkdtempSync(join(tmpdir(), 'signalbox-host-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const folder = () => join(root, String(count++), 'home');

describe('the id of a host', () => {
  test('is made once, by whichever of many workers is first, and stays', async () => {
    const home = folder();
    expect(await knownHostId(home)).toBeUndefined();
    const ids = await Promise.all(Array.from({ length: 20 }, () => hostIdOf(home)));
    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).toMatch(HOST_ID);
    expect(await hostIdOf(home)).toBe(ids[0]);
    expect(await knownHostId(home)).toBe(ids[0]);
    expect(readdirSync(home)).toEqual(['host-id']);
  });

  test('is another one in another folder', async () => {
    expect(await hostIdOf(folder())).not.toBe(await hostIdOf(folder()));
  });

  test('that is damaged is refused with what to do', async () => {
    const home = folder();
    await hostIdOf(home);
    for (const text of ['', '../x', 'a b', 'x'.repeat(100)]) {
      writeFileSync(hostIdFile(home), text);
      await expect(hostIdOf(home)).rejects.toThrow(/host-id cannot be accepted[\s\S]*delete the file/);
    }
  });
});
