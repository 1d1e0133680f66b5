// The processes of the demo's agents: Signalbox marks each with the folder it works for.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const MARKER = 'SIGNALBOX_WORKSTATION=';
/** How the mark of the worker's own git processes ends: one of them lives as long as the worker. */
const WORKERS_OWN = '/.signalbox/worker';
/** Where clones are made ready for agents to come, whether any runs or not. */
const READY = '/.signalbox/ready/';

/** Processes of agents, verify and deploy commands that work below the folder. */
export const agentsBelow = (dir: string): number[] => below(dir, (mark) => !mark.includes(READY));

const below = (dir: string, counts: (mark: string) => boolean): number[] =>
  process.platform === 'linux' ? markedBelow(dir, counts) : namedBelow(dir);

function markedBelow(dir: string, counts: (mark: string) => boolean): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const marks = readFileSync(`/proc/${name}/environ`, 'utf8').split('\0');
        return marks.some(
          (mark) => mark.startsWith(`${MARKER}${dir}/`) && !mark.endsWith(WORKERS_OWN) && counts(mark),
        );
      } catch {
        // It has ended, or it is somebody else's.
        return false;
      }
    })
    .map(Number);
}

/** Without /proc: those whose command line names a file of theirs, as that of the demo's scripts does. */
function namedBelow(dir: string): number[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,args='], { encoding: 'utf8' }).split('\n');
  return lines
    .filter((line) => line.includes(`${dir}/.signalbox/workstations/`))
    .map((line) => Number.parseInt(line, 10));
}

/** For a worker that could not end its agents itself any more. */
export async function endAgents(dir: string): Promise<void> {
  const find = () => below(dir, () => true);
  for (let left = find(); left.length > 0; left = find()) {
    for (const pid of left) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended meanwhile.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
