// Setup commands as they are written, what makes two of them the same, and the store of what they have made.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { identityOf } from '../activities/processes.js';
import { nameOf } from '../activities/workstation/pool.js';
import { SetupStore } from '../activities/workstation/setup-store.js';
import { excludeLine, Setup, setupKey, setupLines } from '../src/domain/setup.js';

const problems = (setup: object[]): string[] =>
  Setup.safeParse(setup).error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? [];

describe('a setup command in signalbox.yaml', () => {
  it('needs a key for what it keeps, and something to keep for a key', () => {
    expect(problems([{ run: 'a' }, { run: 'b', key: ['lock'], keep: ['x'] }])).toEqual([]);
    expect(problems([{ run: 'a', keep: ['x'] }])).toEqual([expect.stringContaining('0.key: ')]);
    expect(problems([{ run: 'a', key: ['x'] }])).toEqual([expect.stringContaining('0.keep: ')]);
  });

  it.each(['/x', 'x/', '../x', 'a//b', './a', '', '.git/hooks', 'sub/.GIT', 'a\nb'])(
    'keeps no path such as %j',
    (path) => {
      expect(problems([{ run: 'a', key: ['lock'], keep: [path] }])).toEqual([
        expect.stringContaining('0.keep.0: '),
      ]);
      expect(problems([{ run: 'a', key: [path], keep: ['x'] }])).toEqual([
        expect.stringContaining('0.key.0: '),
      ]);
    },
  );

  it('keeps nothing that another one keeps', () => {
    const keeping = (path: string) => ({ run: 'a', key: ['lock'], keep: [path] });
    expect(problems([keeping('a'), keeping('ab'), keeping('a/b')])).toEqual([
      '2.keep.0: "a/b" overlaps "a", which is kept already',
    ]);
  });
});

describe('the key', () => {
  const where = { repository: 'app', system: 'linux x64' };
  const base = { run: 'npm ci', keep: ['node_modules'] };
  const files = [{ path: 'lock', digest: '1' }];

  it('is another one for whatever may change what comes out', () => {
    const keys = [
      setupKey(base, where, files),
      setupKey({ ...base, run: 'npm install' }, where, files),
      setupKey({ ...base, run: ['npm', 'ci'] }, where, files),
      setupKey({ ...base, keep: ['node_modules', 'dist'] }, where, files),
      setupKey(base, { ...where, repository: 'other' }, files),
      setupKey(base, { ...where, system: 'linux arm64' }, files),
      setupKey(base, where, [{ path: 'lock', digest: '2' }]),
      setupKey(base, where, [{ path: 'other', digest: '1' }]),
      setupKey(base, where, [...files, ...files]),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(setupKey(base, where, files)).toBe(keys[0]);
  });
});

describe('what is written of setup', () => {
  it('names a path to git, and nothing else', () => {
    expect(excludeLine('web/node_modules')).toBe('/web/node_modules');
    expect(excludeLine('a*[b] \\c?')).toBe('/a\\*\\[b\\]\\ \\\\c\\?');
  });

  it('is a line for each command in the packet', () => {
    const refused = [{ host: 'registry.example', port: 443, why: 'not allowed', count: 2 }];
    expect(
      setupLines([
        { run: 'a', how: 'ran', took: 61_000, kept: true },
        { run: 'b', how: 'reused', took: 400 },
        { run: 'c', how: 'failed', took: 2_000, refused },
      ]),
    ).toEqual([
      '     setup a: took 1m 1s, kept for others',
      '     setup b: its result was reused, in 0s',
      '     setup c: failed after 2s',
      '       refused 2x registry.example:443: not allowed',
    ]);
  });
});

describe('the store', () => {
  let home: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'signalbox-store-'));
  });
  afterEach(() => rmSync(home, { recursive: true }));

  const store = (most = 1_000_000) => new SetupStore(home, identityOf(process.pid), most);
  const making = (text: string) => async (folder: string) => {
    mkdirSync(folder);
    writeFileSync(join(folder, 'made'), text);
    return join(folder, 'made');
  };
  const files = () => readdirSync(join(home, 'setup'));

  it('gives what was kept, and nothing for another key', async () => {
    expect(await store().find('a')).toBeUndefined();
    await store().keep('a', making('one'));
    const found = await store().find('a');
    expect(found && readFileSync(found, 'utf8')).toBe('one');
    expect(await store().find('b')).toBeUndefined();
    await store().drop('a');
    expect(await store().find('a')).toBeUndefined();
  });

  it('has whole entries only, when making one fails or several make the same', async () => {
    const failing = store().keep('a', async (folder) => {
      await making('half')(folder);
      throw new Error('stopped');
    });
    await expect(failing).rejects.toThrow('stopped');
    expect(files()).toEqual([]);
    const texts = ['1', '2', '3', '4'].map((name) => name.repeat(100_000));
    await Promise.all(texts.map((text) => store().keep('a', making(text))));
    const found = await store().find('a');
    expect(texts).toContain(found && readFileSync(found, 'utf8'));
    expect(files()).toHaveLength(1);
  });

  it('lets go of what was not used for longest', async () => {
    const text = 'x'.repeat(40_000);
    for (const key of ['a', 'b']) {
      await store(100_000).keep(key, making(text));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(await store().find('a')).toBeDefined();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await store(100_000).keep('c', making(text));
    const left = await Promise.all(['a', 'b', 'c'].map((key) => store().find(key)));
    expect(left.map((path) => path !== undefined)).toEqual([true, false, true]);
  });

  it('clears away what a killed worker had not finished, and leaves alone what a live one is at', async () => {
    const dead = `making.${nameOf({ pid: process.pid, started: 'another boot' })}.x`;
    const live = `making.${nameOf(identityOf(process.pid))}.x`;
    for (const name of [dead, live]) mkdirSync(join(home, 'setup', name), { recursive: true });
    await store().keep('a', making('one'));
    expect(files()).toContain(live);
    expect(files()).not.toContain(dead);
  });
});
