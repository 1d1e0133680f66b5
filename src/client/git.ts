// A plain git runner: bytes in, bytes out, no shell, no text decoding.
// It guarantees that neither the caller's GIT_* variables nor the user's or the system's configuration, hooks,
// replace refs or grafts change what git answers; that no network is touched, not even to complete a partial clone;
// and that a failure names the command, its exit code and the end of what git said.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { pipeline } from 'node:stream/promises';

export interface GitOptions {
  input?: Buffer | string;
  env?: Readonly<Record<string, string>>;
  /** Bytes of output; with more the process is ended, and TooMuchOutput thrown. */
  most?: number;
}

/** One end of a pipe between two git processes. */
export interface GitCommand {
  dir: string;
  args: readonly string[];
  input?: Buffer | string;
}

/** A git command that failed; `code` is null when a signal ended it or it could not be started. */
export class GitError extends Error {
  constructor(
    message: string,
    readonly code: number | null,
    readonly stderr: string,
  ) {
    super(message);
  }
}

export class TooMuchOutput extends Error {}

/** What every git of ours runs with, outside a sandbox and in one. */
export const GIT_ENVIRONMENT: Readonly<Record<string, string>> = {
  GIT_NO_REPLACE_OBJECTS: '1',
  // Not /dev/null: git remarks on every grafts file that exists.
  GIT_GRAFT_FILE: '/dev/null/none',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_ATTR_NOSYSTEM: '1',
  GIT_TERMINAL_PROMPT: '0',
  GIT_OPTIONAL_LOCKS: '0',
  GIT_NO_LAZY_FETCH: '1',
  GIT_ALLOW_PROTOCOL: 'none',
  LC_ALL: 'C',
};

// The user named the repository by hand: its owner does not matter. Its hooks are none of ours.
const FIXED_CONFIG = ['-c', 'safe.directory=*', '-c', 'core.hooksPath=/dev/null', '-c', 'gc.auto=0'];

const STDERR_TAIL = 2000;

/** Runs git in `dir` and gives what it wrote to stdout. Throws GitError when it fails. */
export async function git(dir: string, args: readonly string[], opts: GitOptions = {}): Promise<Buffer> {
  const { most = Number.POSITIVE_INFINITY } = opts;
  const child = start(dir, args, opts.env);
  const chunks: Buffer[] = [];
  let size = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= most) chunks.push(chunk);
    else child.kill('SIGKILL');
  });
  const ended = ending(child, args);
  child.stdin.end(opts.input ?? '');
  await ended.catch((error: unknown) => {
    if (size > most) throw new TooMuchOutput(`git ${args.join(' ')}: more than ${most} bytes`);
    throw error;
  });
  return Buffer.concat(chunks);
}

/** As `git`, decoded as UTF-8 and without the closing newline. */
export async function gitText(dir: string, args: readonly string[], opts: GitOptions = {}): Promise<string> {
  return (await git(dir, args, opts)).toString('utf8').replace(/\n$/, '');
}

/** Runs git and hands on what it writes, chunk by chunk; the next one is read once `take` is done with the last. */
export async function gitChunks(
  dir: string,
  args: readonly string[],
  input: Buffer | string,
  take: (chunk: Buffer) => Promise<void>,
): Promise<void> {
  const child = start(dir, args);
  const ended = ending(child, args);
  child.stdin.end(input);
  try {
    for await (const chunk of child.stdout) await take(chunk as Buffer);
  } catch (error) {
    child.kill('SIGKILL');
    await ended.catch(() => undefined);
    throw error;
  }
  await ended;
}

/** Runs `from | to`. A failure of `from` is told before the failure of `to` that it caused. */
export async function gitPipe(from: GitCommand, to: GitCommand): Promise<void> {
  const source = start(from.dir, from.args);
  const sink = start(to.dir, to.args);
  sink.stdout.resume();
  const ends = Promise.allSettled([ending(source, from.args), ending(sink, to.args)]);
  source.stdin.end(from.input ?? '');
  // A broken pipe shows as the failure of one of the two processes.
  await pipeline(source.stdout, sink.stdin).catch(() => undefined);
  for (const end of await ends) if (end.status === 'rejected' && !endedByPipe(end.reason)) throw end.reason;
  for (const end of await ends) if (end.status === 'rejected') throw end.reason;
}

/** True for a process that only failed because nobody read its output any more. */
function endedByPipe(error: unknown): boolean {
  return error instanceof GitError && (error.code === null || error.code === 141);
}

/**
 * A git process that answers one request after the other (`cat-file --batch`, `mktree --batch`). Requests may be sent
 * before earlier ones are answered; answers come in the order of the requests.
 */
export class GitDialogue {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly ended: Promise<void>;
  private readonly waiting: Waiting[] = [];
  private received: Buffer = Buffer.alloc(0);
  private failure: Error | undefined;

  constructor(dir: string, args: readonly string[]) {
    this.child = start(dir, args);
    this.child.stdout.on('data', (chunk: Buffer) => this.take(chunk));
    this.ended = ending(this.child, args).then(
      () => this.fail(new GitError(`git ${args.join(' ')} ended early`, 0, '')),
      (error: Error) => this.fail(error),
    );
  }

  /** Sends a request; `parse` gives the answer at the buffer's start and its length, undefined while incomplete. */
  ask<T>(request: Buffer | string, parse: (received: Buffer) => Answer<T> | undefined): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.failure) return reject(this.failure);
      const step = (received: Buffer): number | undefined => {
        const answer = parse(received);
        if (answer) resolve(answer.value);
        return answer?.length;
      };
      this.waiting.push({ step, reject });
      this.child.stdin.write(request);
    });
  }

  /** Lets the process end; throws nothing. */
  async close(): Promise<void> {
    this.child.stdin.end();
    await this.ended;
  }

  private take(chunk: Buffer): void {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
    for (let next = this.waiting[0]; next; next = this.waiting[0]) {
      const length = next.step(this.received);
      if (length === undefined) return;
      this.received = this.received.subarray(length);
      this.waiting.shift();
    }
  }

  private fail(error: Error): void {
    this.failure = error;
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }
}

export interface Answer<T> {
  value: T;
  /** How many bytes of the received ones the answer took. */
  length: number;
}

interface Waiting {
  step: (received: Buffer) => number | undefined;
  reject: (error: Error) => void;
}

function start(dir: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = spawn('git', [...FIXED_CONFIG, '-C', dir, ...args], { env: environment(env), stdio: 'pipe' });
  // When git ends before it has read everything, its exit code says why.
  child.stdin.on('error', () => undefined);
  return child;
}

function environment(extra: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_'));
  return { ...Object.fromEntries(inherited), ...GIT_ENVIRONMENT, ...extra };
}

function ending(child: ChildProcessWithoutNullStreams, args: readonly string[]): Promise<void> {
  let said = Buffer.alloc(0);
  child.stderr.on('data', (chunk: Buffer) => {
    said = Buffer.concat([said, chunk]).subarray(-STDERR_TAIL);
  });
  const command = `git ${args.join(' ')}`.slice(0, 300);
  return new Promise((resolve, reject) => {
    child.once('error', (error) =>
      reject(new GitError(`${command}: cannot start: ${error.message}`, null, '')),
    );
    child.once('close', (code, signal) => {
      if (code === 0) return resolve();
      const stderr = said.toString('utf8').trim();
      const how = code === null ? `was ended by ${signal ?? 'a signal'}` : `failed with exit code ${code}`;
      reject(new GitError(`${command} ${how}${stderr === '' ? '' : `: ${stderr}`}`, code, stderr));
    });
  });
}
