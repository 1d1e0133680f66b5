// What workstations cost a fleet as a whole: the replay of a history with agents in sandboxes against the same with plain
// processes, in turns. Both are the command that users run, and in both the tree must come out as it was.

import { execFile, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { git } from '../../src/client/git.js';
import { type Bench, type Row, spreadOf } from '../bench.js';
import { type Random, randomFrom } from '../random.js';
import { sandboxHost, temporaryFolder } from '../workstations.js';

const REPEATS = 3;
const COMMITS = 100;
const AGENTS = 8;
const FILES = 300;

const SIGNALBOX = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const run = promisify(execFile);

/** A seed with all files, then commits that each write one to three of them anew. */
function* history(random: Random): Generator<string> {
  for (let commit = 0; commit <= COMMITS; commit++) {
    yield `commit refs/heads/main\ncommitter a <a@b> ${1_700_000_000 + commit} +0000\ndata 1\nc\n`;
    const files =
      commit === 0
        ? Array.from({ length: FILES }, (_, i) => i)
        : Array.from({ length: 1 + random.below(3) }, () => random.below(FILES));
    for (const file of new Set(files)) {
      const text = `${commit} ${random.next()}\n`.repeat(40);
      yield `M 100644 inline src/part${file % 20}/file${file}.ts\ndata ${text.length}\n${text}\n`;
    }
  }
}

async function repository(folder: string): Promise<string> {
  const dir = join(folder, 'history.git');
  await git(folder, ['init', '--quiet', '--bare', '-b', 'main', dir]);
  const importer = spawn('git', ['-C', dir, 'fast-import', '--quiet'], {
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  const ended = new Promise<number | null>((done) => importer.once('close', done));
  await pipeline(Readable.from(history(randomFrom(7))), importer.stdin);
  if ((await ended) !== 0) throw new Error('git fast-import failed');
  return dir;
}

interface Replayed {
  wallMs: number;
  landed: number;
  treeEqual: boolean;
  violations: string[];
}

/** Milliseconds from the submission to the last landing. */
async function replayed(dir: string, isolation: 'sandbox' | 'none'): Promise<number> {
  const what = ['replay', dir, '--last', String(COMMITS), '--agents', String(AGENTS), '--work-ms', '0'];
  const { stdout } = await run(process.execPath, [SIGNALBOX, ...what, '--isolation', isolation, '--json']);
  const { wallMs, landed, treeEqual, violations } = JSON.parse(stdout) as Replayed;
  if (!treeEqual || landed !== COMMITS || violations.length > 0)
    throw new Error(`the replay with ${isolation} went wrong: ${stdout}`);
  return wallMs;
}

const bench: Bench = {
  name: 'workstation-replay',
  about: 'a history replayed with agents in sandboxes, against plain processes',
  async run({ progress }): Promise<Row[]> {
    sandboxHost();
    const folder = temporaryFolder();
    try {
      const dir = await repository(folder);
      const ratios: number[] = [];
      for (let i = 1; i <= REPEATS; i++) {
        const plain = await replayed(dir, 'none');
        const sandboxed = await replayed(dir, 'sandbox');
        ratios.push(sandboxed / plain);
        progress(`${i} of ${REPEATS}: plain ${plain} ms, in sandboxes ${sandboxed} ms`);
      }
      return [
        {
          row: `replay of ${COMMITS} commits, ${AGENTS} agents: wall time / that with isolation none`,
          ...spreadOf(ratios),
          mustReach: { atMost: 1.4 },
          aim: { atMost: 1.1 },
        },
      ];
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

export default bench;
