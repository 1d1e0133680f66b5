// A worker in a process of its own, started again whenever it dies. It stops with its supervisor, however that ends.

import { type ChildProcess, fork } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface Supervised {
  /** Of the worker that runs now. */
  readonly pid: number | undefined;
  /** Ends the worker and waits for it. */
  stop(): Promise<void>;
}

const RESTART_MS = 500;
const MOST_RESTART_MS = 10_000;
/** A worker that lived this long was well: the next restart is quick again. */
const HEALTHY_MS = 30_000;

/** Resolves when the first worker polls; rejects with what it said when it cannot start at all. */
export async function superviseWorker(options: {
  config: string;
  /** More of its command line. */
  args?: string[];
  logFile: string;
  env?: Record<string, string>;
  log: (line: string) => void;
}): Promise<Supervised> {
  const file = createWriteStream(options.logFile, { flags: 'a' });
  let child: ChildProcess | undefined;
  let stopping = false;
  let wait = RESTART_MS;
  let timer: NodeJS.Timeout | undefined;

  const start = (): Promise<void> => {
    const began = Date.now();
    const worker = fork(
      fileURLToPath(new URL('./main.js', import.meta.url)),
      ['worker', '--config', options.config, ...(options.args ?? [])],
      {
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        // Its own process group: Ctrl-C in the terminal is the supervisor's alone to answer, once.
        detached: true,
        env: { ...process.env, ...options.env },
      },
    );
    child = worker;
    let said = '';
    for (const stream of [worker.stdout, worker.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        said = (said + chunk.toString()).slice(-2_000);
        file.write(chunk);
      });
    }
    return new Promise((resolve, reject) => {
      worker.on('message', (message) => {
        if (message === 'ready') resolve();
      });
      worker.once('error', reject);
      worker.once('exit', (code, signal) => {
        reject(new Error(`the worker cannot start (${signal ?? `exit code ${code}`}): ${said.trim()}`));
        if (stopping) return;
        wait = Date.now() - began > HEALTHY_MS ? RESTART_MS : Math.min(wait * 2, MOST_RESTART_MS);
        options.log(`worker ${worker.pid} ended (${signal ?? `exit code ${code}`}); starting another`);
        timer = setTimeout(() => {
          start().then(
            () => options.log(`worker ${child?.pid} runs`),
            () => undefined,
          );
        }, wait);
      });
    });
  };

  const stop = async () => {
    stopping = true;
    clearTimeout(timer);
    const worker = child;
    if (worker && worker.exitCode === null && worker.signalCode === null) {
      const ended = new Promise((resolve) => worker.once('exit', resolve));
      worker.kill('SIGTERM');
      const kill = setTimeout(() => worker.kill('SIGKILL'), 30_000);
      await ended;
      clearTimeout(kill);
    }
    file.end();
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    get pid() {
      return child?.pid;
    },
    stop,
  };
}
