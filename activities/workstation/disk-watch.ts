// How much an agent has written to its clone, HOME, result and requests. There is no quota that every file system has, so it is
// looked at again and again, the more rarely the longer a look takes; no single file can be larger in any case.

import { spawn } from 'node:child_process';
import { formatSize } from '../../src/domain/sizes.js';

const LEAST_MS = 1_000;
/** A look costs no more than this part of the time. */
const SHARE = 0.05;

export class DiskWatch {
  /** Why the signal aborted. */
  broken: { code: 'DISK_EXCEEDED'; text: string } | undefined;
  private readonly stopping = new AbortController();
  readonly signal = this.stopping.signal;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(
    private readonly folders: readonly string[],
    private readonly most: number,
  ) {}

  start(): void {
    this.wait(LEAST_MS);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private wait(ms: number): void {
    if (!this.stopped) this.timer = setTimeout(() => void this.look(), ms);
  }

  private async look(): Promise<void> {
    const began = performance.now();
    const bytes = await bytesBelow(this.folders);
    if (bytes > this.most && !this.stopped) {
      this.broken = { code: 'DISK_EXCEEDED', text: `${formatSize(bytes)}, of ${formatSize(this.most)}` };
      this.stopping.abort();
    } else this.wait(Math.max(LEAST_MS, (performance.now() - began) / SHARE));
  }
}

/** Bytes on the disk. What vanishes meanwhile does not count, and what cannot be seen neither. */
export function bytesBelow(folders: readonly string[]): Promise<number> {
  const args = ['-s', '-c', '-x', '--block-size=1', '--', ...folders];
  const du = spawn('du', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  du.stdout.on('data', (chunk: Buffer) => {
    said += chunk;
  });
  return new Promise((resolve) => {
    du.once('error', () => resolve(0));
    // The last line has the sum.
    du.once('close', () => resolve(Number.parseInt(said.trimEnd().split('\n').at(-1) ?? '', 10) || 0));
  });
}
