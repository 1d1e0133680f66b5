// What a sandbox costs and what it must bear: its start over that of a plain process, and sixteen agents at once that
// install a package and serve on one and the same port.

import { spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { findProgram } from '../../activities/sandbox/host.js';
import { INSIDE_PATH, type SandboxHost } from '../../activities/sandbox/offer.js';
import { type Place, runSandboxed } from '../../activities/sandbox/run.js';
import { nextUid } from '../../activities/sandbox/uids.js';
import { type Bind, hiddenOf, SYSTEM_BINDS } from '../../activities/sandbox/view.js';
import { type Bench, type Row, spreadOf } from '../bench.js';
import { sandboxHost, temporaryFolder } from '../workstations.js';

const STARTS = 100;
const AGENTS = 16;

const nothing = () => new Writable({ write: (_chunk, _encoding, done) => done() });

async function placeOf(
  host: SandboxHost,
  folder: string,
  marker: string,
  binds: readonly Bind[] = [],
): Promise<Place> {
  return {
    view: {
      binds,
      env: { PATH: INSIDE_PATH, HOME: '/tmp' },
      chdir: '/tmp',
      network: 'none',
      temporary: 1 << 28,
    },
    limits: { processes: 512, openFiles: 4_096 },
    uid: host.root ? await nextUid(folder) : undefined,
    hidden: hiddenOf(
      host,
      binds.map(({ from }) => from),
    ),
    marker,
  };
}

/** One after the other in turns, so that both see the same machine. */
async function starts(host: SandboxHost, folder: string): Promise<number[]> {
  const place = await placeOf(host, folder, join(folder, 'start'));
  const more: number[] = [];
  for (let i = 0; i < STARTS; i++) {
    const plain = await timed(
      () =>
        new Promise((done, fail) => {
          spawn('/bin/true', { cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] })
            .once('error', fail)
            .once('close', done);
        }),
    );
    const sandboxed = await timed(async () => {
      const files = { output: nothing(), errors: process.stderr };
      const end = await runSandboxed(host, { ...place, command: ['/bin/true'], graceMs: 0, ...files });
      if (end.exitCode !== 0) throw new Error(`true failed: ${JSON.stringify(end)}`);
    });
    more.push(sandboxed - plain);
  }
  return more;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

const SERVER = `
const answer = require('bench-package')('NAME');
const server = require('http').createServer((_, response) => response.end(answer));
server.listen(3000, '127.0.0.1', () => {
  // Until all are there: they serve at the same time.
  setTimeout(() => require('http').get('http://127.0.0.1:3000', (response) => {
    let said = '';
    response.on('data', (chunk) => { said += chunk; });
    response.on('end', () => { console.log(said); process.exit(0); });
  }), 2000);
});`;

/** How many of the agents get their own answer. */
async function serving(host: SandboxHost, folder: string): Promise<number> {
  const parcel = join(folder, 'package');
  mkdirSync(parcel);
  const about = { name: 'bench-package', version: '1.0.0', main: 'main.js' };
  writeFileSync(join(parcel, 'package.json'), JSON.stringify(about));
  writeFileSync(join(parcel, 'main.js'), "module.exports = (name) => 'I am ' + name;\n");
  // Where npm is not a part of the system, it is shown as the host has it.
  const seen = [findProgram('npm'), process.execPath]
    .map((path) => (path ?? '').replace(/\/bin\/[^/]+$/, ''))
    .filter((root) => root !== '' && !SYSTEM_BINDS.some(({ to }) => `${root}/`.startsWith(`${to}/`)));
  const binds = [
    { from: parcel, to: '/w/package' },
    ...[...new Set(seen)].map((root) => ({ from: root, to: root })),
  ];
  const path = [...seen.map((root) => `${root}/bin`), INSIDE_PATH].join(':');
  const ends = await Promise.all(
    Array.from({ length: AGENTS }, async (_, i) => {
      const place = await placeOf(host, folder, join(folder, `agent${i}`), binds);
      let said = '';
      const output = new Writable({
        write: (chunk, _encoding, done) => {
          said += chunk;
          done();
        },
      });
      const script = [
        'cp -r /w/package pkg && mkdir app && cd app && echo "{}" > package.json',
        'npm install --offline --no-audit --no-fund --silent --cache /tmp/cache ../pkg',
        `node -e '${SERVER.replace("'NAME'", `"${i}"`).replaceAll("'", '"')}'`,
      ].join(' && ');
      const env = { ...place.view.env, PATH: path };
      const end = await runSandboxed(host, {
        ...place,
        view: { ...place.view, env },
        command: script,
        group: `bench${i}`,
        output,
        errors: nothing(),
        graceMs: 0,
        signal: AbortSignal.timeout(120_000),
      });
      return end.exitCode === 0 && said.trim() === `I am ${i}`;
    }),
  );
  return ends.filter(Boolean).length;
}

const bench: Bench = {
  name: 'workstation-sandbox',
  about: 'what a sandbox costs to start, and sixteen agents on the same port',
  async run({ progress }): Promise<Row[]> {
    const host = sandboxHost();
    const folder = temporaryFolder();
    try {
      const more = await starts(host, folder);
      progress(`${STARTS} starts`);
      const served = await serving(host, folder);
      progress(`${served} of ${AGENTS} agents served`);
      return [
        {
          row: 'sandbox start over plain spawn, p50',
          ...spreadOf(more),
          unit: ' ms',
          absolute: true,
          mustReach: { atMost: 15 },
          aim: { atMost: 8 },
        },
        {
          row: `of ${AGENTS} agents at once that install a package and serve on port 3000, all that do`,
          figure: served,
          mustReach: { atLeast: AGENTS },
        },
      ];
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

export default bench;
