// What the change packets tell of claims that were released.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Fleet } from '../src/client/config.js';
import { readPackets, readReleased } from '../src/client/records.js';
import { PACKETS_REF } from '../src/domain/ids.js';
import type { Decision } from '../src/domain/messages.js';
import { type Packet, packetPath } from '../src/domain/packet.js';

const dir = mkdtempSync(join(tmpdir(), 'signalbox-released-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const START = Date.UTC(2026, 0, 1);
const MINUTE = 60_000;

/** The packet of a task that was granted in minute `i` and ended half a minute later. */
function packet(i: number, more: Partial<Packet> = {}): Packet {
  const task = `p/t${i}`;
  const at = START + i * MINUTE;
  const say = (verdict: Decision['verdict'], code: Decision['code'], when: number): Decision => ({
    seq: i,
    at: when,
    attempt: 1,
    verdict,
    code,
    evidence: {},
  });
  return {
    version: 1,
    task,
    fleet: 'shop',
    life: `${at}-x`,
    writes: [`src/${i}.ts`],
    reads: [],
    after: [],
    outcome: { kind: 'landed', code: 'LANDED', text: '', commit: String(i).padStart(40, '0') },
    attempts: [{ attempt: 1, fence: { epoch: 7, number: i }, started: new Date(at).toISOString() }],
    decisions: [say('run', 'CLAIMS_FREE', at), say('end', 'LANDED', at + MINUTE / 2)],
    beside: [],
    ...more,
  };
}

/** A repository with the packets, one commit each, as writers leave it. */
function fleetWith(name: string, packets: Packet[]): Fleet {
  const url = join(dir, name);
  execFileSync('git', ['init', '-q', '--bare', url]);
  const input = packets.map((one, i) => {
    const text = Buffer.from(JSON.stringify(one));
    return `commit ${PACKETS_REF}\ncommitter a <a@b> ${1_700_000_000 + i} +0000\ndata 1\nx\nM 100644 inline ${packetPath(one.task, one.life)}\ndata ${text.length}\n${text}\n`;
  });
  execFileSync('git', ['-C', url, 'fast-import', '--quiet'], { input: input.join('') });
  return { config: { fleet: 'shop', repositories: { app: { url } } } } as unknown as Fleet;
}

describe('released claims', () => {
  it('are told newest first, with what landed under which fence and for how long they were held', async () => {
    const fleet = fleetWith(
      'some',
      [1, 2, 3].map((i) => packet(i)),
    );
    expect(await readReleased(fleet, { most: 2 })).toEqual([
      {
        holder: 'p/t3',
        outcome: 'landed',
        code: 'LANDED',
        commit: '3'.padStart(40, '0'),
        since: START + 3 * MINUTE,
        until: START + 3.5 * MINUTE,
        fence: '7.3',
        paths: ['src/3.ts'],
        uses: [],
      },
      expect.objectContaining({ holder: 'p/t2' }),
    ]);
    expect(await readReleased(fleet, { most: 9, since: START + 2 * MINUTE })).toHaveLength(2);
  });

  it('leave out tasks that claimed nothing, that never ran, and those of other fleets', async () => {
    const cancelled = { kind: 'cancelled', code: 'CANCELLED_BY_REQUEST', text: '' } as const;
    const fleet = fleetWith('others', [
      packet(1, { writes: [], uses: [{ resource: 'db:orders', mode: 'exclusive' }] }),
      packet(2, { writes: [] }),
      packet(3, { outcome: cancelled, attempts: [], decisions: packet(3).decisions.slice(1) }),
      packet(4, { fleet: 'other' }),
      packet(5, { outcome: cancelled }),
    ]);
    const found = await readReleased(fleet, { most: 9 });
    expect(found.map(({ holder, uses, commit }) => [holder, uses, commit])).toEqual([
      ['p/t5', [], undefined],
      ['p/t1', ['db:orders'], '1'.padStart(40, '0')],
    ]);
  });

  it('are found among many packets, of which all can still be read in order', async () => {
    const fleet = fleetWith(
      'many',
      Array.from({ length: 450 }, (_, i) => packet(i)),
    );
    const latest = await readReleased(fleet, { most: 150 });
    expect(latest.map(({ holder }) => holder)).toEqual(
      Array.from({ length: 150 }, (_, i) => `p/t${449 - i}`),
    );
    expect((await readPackets(fleet)).map(({ task }) => task)).toEqual(
      Array.from({ length: 450 }, (_, i) => `p/t${i}`),
    );
  });

  it('are none where nothing has ended yet', async () => {
    const url = join(dir, 'empty');
    execFileSync('git', ['init', '-q', '--bare', url]);
    const fleet = { config: { fleet: 'shop', repositories: { app: { url } } } } as unknown as Fleet;
    expect(await readReleased(fleet, { most: 9 })).toEqual([]);
  });
});
