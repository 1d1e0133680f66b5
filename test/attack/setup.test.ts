// What an agent could leave to others in what setup commands have made. Cases that were seen to fail with their defence
// taken out are in defences.txt beside this file.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { identityOf } from '../../activities/processes.js';
import { redactor } from '../../activities/redactor.js';
import { type SetupEnd, setUp } from '../../activities/workstation/setup.js';
import { SetupStore } from '../../activities/workstation/setup-store.js';
import type { Workstation } from '../../activities/workstation/station.js';
import { attack, attackedHost } from '../support/attacker.js';

const host = attackedHost();
let logs = 0;

interface Prepared {
  shared?: boolean;
  run?: string;
}

const RUN = 'mkdir -p deps && echo clean > deps/code';

async function prepared(station: Workstation, name: string, more: Prepared = {}): Promise<SetupEnd> {
  const { home, mirror } = host();
  const run = `: ${name}; ${more.run ?? RUN}`;
  return await setUp(station, {
    commands: [{ run, key: ['src/a.txt'], keep: ['deps'], timeout: 60_000 }],
    mirror,
    start: await mirror.refresh(),
    shared: more.shared ?? true,
    store: new SetupStore(home, identityOf(process.pid), 100_000_000),
    log: join(home, 'logs', `${++logs}.log`),
    redactor: redactor([]),
    output: undefined,
    signal: new AbortController().signal,
    graceMs: 300,
    tell: () => undefined,
    onStart: async () => undefined,
  });
}

const code = (station: Workstation): string =>
  readFileSync(join(station.dir, 'clone', 'deps', 'code'), 'utf8');
const archives = (): string[] => {
  const dir = join(host().home, 'setup');
  return existsSync(dir) ? readdirSync(dir).sort() : [];
};
const bytes = (): string[] =>
  archives().map((name) => readFileSync(join(host().home, 'setup', name)).toString('base64'));

describe('what setup has made for others', () => {
  attack('is not what an agent makes of its copy, whether it was the first to have it or not', async () => {
    const poison = `chmod -R u+w deps; echo poison > deps/code; ln deps/code deps/more; echo x > "$HOST_HOME"/setup/x
      for f in "$HOST_HOME"/setup/* /w/kept /w/kept/*; do echo poison > "$f"; rm -f "$f"; done; ls "$HOST_HOME/setup"; exit 0`;
    const before = archives().length;
    for (const how of ['ran', 'reused', 'reused']) {
      const station = await host().station('p/attacker');
      const end = await prepared(station, 'copies');
      expect(end.records).toMatchObject([{ how }]);
      expect(code(station)).toBe('clean\n');
      const kept = bytes();
      await host().runIn(station, poison);
      expect(code(station)).toBe('poison\n');
      expect(bytes()).toEqual(kept);
    }
    expect(archives()).toHaveLength(before + 1);
  });

  attack('is the worker’s own, and no agent can read or write it where it lies', async () => {
    await prepared(await host().station('p/attacker'), 'owner');
    for (const name of archives()) {
      const { uid, mode, nlink } = statSync(join(host().home, 'setup', name));
      expect([uid, mode & 0o777, nlink]).toEqual([process.getuid?.(), 0o644, 1]);
    }
  });

  attack('holds nothing that an earlier attempt left, in its commits or beside them', async () => {
    const before = archives();
    const earlier = await prepared(await host().station('p/attacker'), 'earlier', { shared: false });
    expect(earlier.records).toMatchObject([{ how: 'ran' }]);
    expect(earlier.records[0]?.kept).toBeUndefined();
    for (const [rule, place] of [
      ['', 'deps'],
      ['.npmrc\n', '.'],
      ['', '.'],
    ] as const) {
      const station = await host().station('p/attacker');
      // As in a clone that is used again: a file of the last agent's, which commands read.
      await host().runIn(
        station,
        `mkdir -p ${place}; printf '${rule}' >> .git/info/exclude; echo evil > ${place}/.npmrc`,
      );
      const end = await prepared(station, `left in ${place} ${rule.trim()}`);
      expect(end.records).toMatchObject([{ how: 'ran' }]);
      expect(end.records[0]?.kept).toBeUndefined();
    }
    expect(archives()).toEqual(before);
  });

  attack('replaces whatever an agent has put in its place, and leads nowhere else', async () => {
    const first = await host().station('p/attacker');
    await prepared(first, 'links');
    const station = await host().station('p/attacker');
    await host().runIn(station, 'mkdir out; ln -s out deps; mkdir -p closed; chmod 0 closed');
    expect((await prepared(station, 'links')).records).toMatchObject([{ how: 'reused' }]);
    expect(code(station)).toBe('clean\n');
    expect(readdirSync(join(station.dir, 'clone', 'out'))).toEqual([]);
  });

  attack('is nothing where the command leaves a link in its place', async () => {
    const before = archives();
    const run = `ln -s /usr/share deps`;
    const end = await prepared(await host().station('p/attacker'), 'link', { run });
    expect(end.records).toMatchObject([{ how: 'ran' }]);
    expect(end.records[0]?.kept).toBeUndefined();
    expect(archives()).toEqual(before);
  });
});
