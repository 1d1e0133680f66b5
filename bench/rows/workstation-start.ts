// What an agent waits for: from "make the workstation" to the first instruction of its command, for a repository of 20,000
// files, against `git worktree add` of the same commit. Both take turns, in the same folder, with all of it in the page
// cache. Set TMPDIR to a file system in memory to leave the disk out of it.

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { Sandboxes } from '../../activities/workstation/sandboxed.js';
import { git } from '../../src/client/git.js';
import { type Bench, type Row, spreadOf } from '../bench.js';
import { bigRepository, ROOMY_RULES, sandboxHost, temporaryFolder } from '../workstations.js';

const REPEATS = 7;
const FILES = 20_000;

const bench: Bench = {
  name: 'workstation-start',
  about: 'from the wish for a workstation to the first instruction of its agent, against git worktree add',
  async run({ progress }): Promise<Row[]> {
    const folder = temporaryFolder();
    const { mirror, base } = await bigRepository(folder, FILES);
    const host = sandboxHost();
    for (const home of ['cold', 'warm']) mkdirSync(join(folder, home), { mode: 0o711 });
    // The first one gives each agent its clone when it is asked to; the other has always made one before.
    const cold = new Sandboxes(host, join(folder, 'cold'), { pool: { most: 0 } });
    const warm = new Sandboxes(host, join(folder, 'warm'), {
      pool: { most: 1, afterMs: 0, worthMs: 0 },
      log: (line) => {
        throw new Error(line);
      },
    });
    let count = 0;
    const station = async (sandboxes: Sandboxes, home: string): Promise<number> => {
      const dir = join(folder, home, 'workstations', String(++count));
      const options = { task: 'p/t', mirror, base, start: base, checkout: true, prompt: '', agent: 'coder' };
      let said = '';
      const output = new Writable({
        write: (chunk, _, done) => {
          said += chunk;
          done();
        },
      });
      const began = performance.timeOrigin + performance.now();
      const made = await sandboxes.make(dir, ROOMY_RULES, options);
      const end = await made.run({
        command: ['date', '+%s%N'],
        env: { PATH: made.paths.path },
        output,
        errors: process.stderr,
        keys: new Map(),
        log: progress,
        signal: new AbortController().signal,
        graceMs: 1_000,
        onStart: () => undefined,
      });
      if (end.exitCode !== 0) throw new Error(`the agent failed: ${JSON.stringify(end)}`);
      return Number(said) / 1e6 - began;
    };
    const worktree = async (): Promise<number> => {
      const path = join(folder, 'worktrees', String(++count));
      mkdirSync(join(folder, 'worktrees'), { recursive: true });
      const began = performance.now();
      await git(mirror.dir, ['worktree', 'add', '--quiet', '--detach', path, base]);
      return performance.now() - began;
    };
    const cleared = async () => {
      for (const name of ['worktrees', 'cold/workstations', 'warm/workstations'])
        rmSync(join(folder, name), { recursive: true, force: true });
      await git(mirror.dir, ['worktree', 'prune']);
    };
    const ratios: { cold: number[]; ready: number[] } = { cold: [], ready: [] };
    const absolute: number[] = [];
    try {
      await station(cold, 'cold');
      await station(warm, 'warm');
      for (let i = 0; i < REPEATS; i++) {
        await cleared();
        await warm.filled();
        const against = await worktree();
        const fresh = await station(cold, 'cold');
        const ready = await station(warm, 'warm');
        ratios.cold.push(fresh / against);
        ratios.ready.push(ready / against);
        absolute.push(ready);
        progress(
          `worktree ${against.toFixed(0)} ms, cold ${fresh.toFixed(0)} ms, ready ${ready.toFixed(0)} ms`,
        );
      }
    } finally {
      await warm.close();
      await cold.close();
      await mirror.close();
      rmSync(folder, { recursive: true, force: true });
    }
    return [
      {
        row: `start of an agent, ${FILES} files, with a ready clone, to git worktree add`,
        ...spreadOf(ratios.ready),
        mustReach: { atMost: 0.5 },
        aim: { atMost: 0.1 },
      },
      {
        row: `start of an agent, ${FILES} files, with a cold clone, to git worktree add`,
        ...spreadOf(ratios.cold),
        mustReach: { atMost: 1.3 },
        aim: { atMost: 1 },
      },
      {
        row: `start of an agent, ${FILES} files, with a ready clone`,
        ...spreadOf(absolute),
        unit: ' ms',
        absolute: true,
      },
    ];
  },
};

export default bench;
