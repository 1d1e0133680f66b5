// `signalbox replay` end to end: a repository with everything that histories have, through a real fleet, also while the
// worker is killed and the coordinator terminated.

import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, describe, expect, inject, it } from 'vitest';
import type { ReplayResult } from '../src/cli/replay/run.js';
import { gitText } from '../src/client/git.js';
import { coordinatorId } from '../src/domain/ids.js';
import { everything } from './replay-repository.js';
import { MAIN } from './support/fleet.js';

const folder = mkdtempSync(join(tmpdir(), 'signalbox-replay-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Run {
  code: number | null;
  result: ReplayResult & { speedUp?: number; runs: ReplayResult[] };
}

/** Runs a replay; `meddle` sees every line of its progress. */
async function replay(args: string[], meddle: (line: string) => void = () => {}): Promise<Run> {
  const env = { ...process.env, TEMPORAL_ADDRESS: inject('temporal'), TEMPORAL_NAMESPACE: 'default' };
  const child = spawn(process.execPath, [MAIN, 'replay', ...args, '--json'], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let said = '';
  child.stdout.on('data', (chunk) => (out += chunk));
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk;
    if (process.env.SIGNALBOX_TEST_LOG) process.stderr.write(chunk);
    for (const line of chunk.toString().split('\n')) if (line) meddle(line);
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (!out) throw new Error(`no result: ${said}`);
  return { code, result: JSON.parse(out) as Run['result'] };
}

/** Agents of the replay that runs in a folder with this name in its path. */
const agents = (): number[] =>
  readdirSync('/proc')
    .filter((pid) => {
      try {
        return (
          /^\d+$/.test(pid) &&
          /SIGNALBOX_WORKSTATION=[^\0]*signalbox-replay-[^\0]*workstations/.test(
            readFileSync(`/proc/${pid}/environ`, 'utf8'),
          )
        );
      } catch {
        return false;
      }
    })
    .map(Number);

describe('signalbox replay', () => {
  it('brings back the very tree of a history with renames, binaries, modes, links, odd names and merges', async () => {
    const repo = await everything(join(folder, 'nasty'), 'sha1');
    const origin = join(folder, 'origin.git');
    const { code, result } = await replay([repo, '--last', '1000', '--agents', '8', '--origin', origin]);
    expect(result).toMatchObject({ treeEqual: true, differing: [], refused: [], violations: [] });
    expect(code).toBe(0);
    expect(result.landed).toBe(result.tasks);
    expect(await gitText(origin, ['rev-parse', 'main^{tree}'])).toBe(
      await gitText(repo, ['rev-parse', 'HEAD^{tree}']),
    );
  });

  it('compares runs with one agent and with many, and refuses what it cannot understand', async () => {
    const repo = await everything(join(folder, 'compared'), 'sha1');
    const { code, result } = await replay([repo, '--last', '4', '--agents', '1,4']);
    expect(result.runs.map((run) => [run.agents, run.treeEqual])).toEqual([
      [1, true],
      [4, true],
    ]);
    expect(result.runs[0]?.mostAtOnce).toBe(1);
    expect(result.speedUp).toBeGreaterThan(0);
    expect(code).toBe(0);
    for (const args of [
      [repo, '--agents', 'many'],
      [repo, '--last', '5', '--range', 'a..b'],
      [repo, '--range', 'no..where'],
      [folder],
    ]) {
      expect((await replay(args)).code).toBe(2);
    }
  });

  it('comes out the same when the worker is killed with -9 and the coordinator is terminated in the middle', async () => {
    const repo = await everything(join(folder, 'killed'), 'sha256');
    const connection = await Connection.connect({ address: inject('temporal') });
    const client = new Client({ connection });
    let worker = 0;
    let kills = 0;
    const meddling: Promise<unknown>[] = [];
    const terminate = async () => {
      const query =
        'WorkflowType = "coordinator" AND ExecutionStatus = "Running" AND WorkflowId STARTS_WITH "replay-"';
      for await (const { workflowId } of client.workflow.list({ query })) {
        if (workflowId === coordinatorId(workflowId.split('/')[0] ?? ''))
          await client.workflow.getHandle(workflowId).terminate('test');
      }
    };
    try {
      const { code, result } = await replay(
        [repo, '--last', '1000', '--agents', '8', '--work-ms', '300'],
        (line) => {
          worker = Number(/worker (\d+)/.exec(line)?.[1] ?? worker);
          const ended = Number(/(\d+) ended, [1-9]/.exec(line)?.[1] ?? 0);
          if (kills === 0 && ended > 2) {
            kills = 1;
            process.kill(worker, 'SIGKILL');
          } else if (kills === 1 && ended > 10) {
            kills = 2;
            meddling.push(terminate());
          }
        },
      );
      await Promise.all(meddling);
      expect(kills).toBe(2);
      expect(result).toMatchObject({ treeEqual: true, refused: [], violations: [], workers: 2 });
      expect(code).toBe(0);
      expect(agents()).toEqual([]);
    } finally {
      await connection.close();
    }
  });
});
