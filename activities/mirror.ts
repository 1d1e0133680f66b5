// The trusted bare mirror that a host keeps of each shared repository. Clones take their objects from it, attempts
// bring their commits into it, writers build and push from it. Nothing but these activities writes to it.
//
// Talking to the shared repository goes through simple-git, with the operator's own git configuration and
// credentials; building trees and commits needs bytes and no configuration, and goes through src/client/git.ts.

import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { simpleGit } from 'simple-git';
import { type Answer, GitDialogue, git, gitText } from '../src/client/git.js';
import { askForTree } from '../src/client/tree-editor.js';

/** How files begin that are of no use once they have been read; what a dead worker left of them is removed. */
export const SCRATCH = 'signalbox-scratch-';

export class Mirror {
  private chain: Promise<unknown> = Promise.resolve();
  private waitingRefresh: Promise<string> | undefined;
  private ready: Promise<void> | undefined;
  /** Processes that answer one question after the other, by their arguments. */
  private readonly dialogues = new Map<string, GitDialogue>();

  constructor(
    readonly name: string,
    readonly url: string,
    readonly branch: string,
    readonly dir: string,
    /** Takes objects that git finds malformed, as old histories hold them. */
    readonly anyObject = false,
  ) {}

  /** Makes the mirror if this host has none yet. Throws what git says when the repository cannot be read. */
  open(): Promise<void> {
    this.ready ??= this.create().catch((error: unknown) => {
      this.ready = undefined;
      throw error;
    });
    return this.ready;
  }

  private async create(): Promise<void> {
    if (existsSync(this.dir)) return;
    await mkdir(dirname(this.dir), { recursive: true });
    const temporary = `${this.dir}.${process.pid}.tmp`;
    await rm(temporary, { recursive: true, force: true });
    try {
      await simpleGit().raw([
        'clone',
        '--quiet',
        '--bare',
        '--no-tags',
        '--no-hardlinks',
        '--single-branch',
        '--branch',
        this.branch,
        this.url,
        temporary,
      ]);
    } catch (error) {
      throw new Error(
        `repository "${this.name}" (${this.url}, branch ${this.branch}) cannot be cloned: ${said(error)}`,
      );
    }
    // Clones and attempts rely on objects that no ref of the mirror may name for a while: nothing is ever pruned.
    await git(temporary, ['config', 'gc.auto', '0']);
    await git(temporary, ['config', 'maintenance.auto', 'false']);
    await git(temporary, ['config', 'fetch.writeCommitGraph', 'false']);
    await rename(temporary, this.dir).catch(async (error: unknown) => {
      if (!existsSync(this.dir)) throw error;
      await rm(temporary, { recursive: true, force: true });
    });
  }

  /** One operation on the mirror's shared refs at a time: git's ref locks do not wait. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.chain.then(work, work);
    this.chain = next.catch(() => undefined);
    return next;
  }

  /** The newest commit of the shared branch, fetched after this call began. Callers that wait share one fetch. */
  async refresh(): Promise<string> {
    await this.open();
    this.waitingRefresh ??= this.inTurn(async () => {
      this.waitingRefresh = undefined;
      await this.fetchNow([`+refs/heads/${this.branch}:refs/heads/${this.branch}`]);
      return await this.resolve(`refs/heads/${this.branch}`);
    });
    return await this.waitingRefresh;
  }

  /** Fetches; refspecs with a `*` may match nothing, others must exist. Throws what git says. */
  async fetch(refspecs: string[]): Promise<void> {
    await this.open();
    await this.inTurn(() => this.fetchNow(refspecs));
  }

  private async fetchNow(refspecs: string[]): Promise<void> {
    await simpleGit(this.dir).raw([
      'fetch',
      '--quiet',
      '--no-tags',
      '--no-write-fetch-head',
      '--prune',
      this.url,
      ...refspecs,
    ]);
  }

  /**
   * One atomic push. Undefined when it went through, else what git said. `moved`: where refs of the shared repository
   * stand afterwards, to be remembered here; being wrong about that costs a fetch, no more.
   */
  async push(args: string[], moved: Readonly<Record<string, string>> = {}): Promise<string | undefined> {
    await this.open();
    return await this.inTurn(async () => {
      try {
        await simpleGit(this.dir).raw([
          'push',
          '--quiet',
          '--atomic',
          '--porcelain',
          '--no-verify',
          this.url,
          ...args,
        ]);
      } catch (error) {
        return said(error);
      }
      const input = Object.entries(moved).map(([ref, commit]) => `update ${ref} ${commit}\n`);
      if (input.length > 0)
        await this.run(['update-ref', '--stdin'], { input: input.join('') }).catch(() => undefined);
      return undefined;
    });
  }

  /** Runs git in the mirror with bytes in and out. */
  run(args: readonly string[], options?: Parameters<typeof git>[2]): Promise<Buffer> {
    return git(this.dir, args, options);
  }

  text(args: readonly string[], options?: Parameters<typeof git>[2]): Promise<string> {
    return gitText(this.dir, args, options);
  }

  /** The commit that a name stands for; throws when it does not exist. */
  async resolve(name: string): Promise<string> {
    const found = await this.find(name);
    if (found === undefined) throw new Error(`${this.dir} has no commit ${name}`);
    return found;
  }

  /** As resolve, but undefined for a name that does not exist. */
  find(name: string): Promise<string | undefined> {
    return this.lookUp(`${name}^{commit}`);
  }

  /** The tree of a commit that exists. */
  async treeOf(commit: string): Promise<string> {
    const tree = await this.lookUp(`${commit}^{tree}`);
    if (tree === undefined) throw new Error(`${this.dir} has no tree of ${commit}`);
    return tree;
  }

  /** The object that a name stands for. Names must not hold a newline. */
  lookUp(name: string): Promise<string | undefined> {
    return this.ask(`info ${name}\n`, (received) => {
      const end = received.indexOf(10);
      if (end < 0) return undefined;
      return { value: FOUND.exec(received.toString('latin1', 0, end))?.[1], length: end + 1 };
    });
  }

  /** The bytes of an object that exists. */
  async contents(oid: string): Promise<Buffer> {
    const found = await this.ask(`contents ${oid}\n`, (received): Answer<Buffer | undefined> | undefined => {
      const end = received.indexOf(10);
      if (end < 0) return undefined;
      const found = FOUND.exec(received.toString('latin1', 0, end));
      if (!found) return { value: undefined, length: end + 1 };
      const length = end + 1 + Number(found[2]) + 1;
      if (received.length < length) return undefined;
      return { value: Buffer.from(received.subarray(end + 1, length - 1)), length };
    });
    if (found === undefined) throw new Error(`${this.dir} has no object ${oid}`);
    return found;
  }

  /** The bytes of a tree that exists. */
  readTree(oid: string): Promise<Buffer> {
    return this.contents(oid);
  }

  /** Writes a tree from lines as `mktree -z` takes them; gives its id. */
  writeTree(listing: Buffer): Promise<string> {
    return this.inDialogue(['mktree', '-z', '--batch', '--missing'], (mktree) => askForTree(mktree, listing));
  }

  /** Writes an object, and gives its id. Throws for a commit that git finds malformed. */
  async writeObject(type: 'blob' | 'commit', bytes: Buffer): Promise<string> {
    const file = join(this.dir, `${SCRATCH}${randomUUID()}`);
    await writeFile(file, bytes);
    const args = ['hash-object', '-w', '-t', type, '--no-filters', '--stdin-paths'];
    try {
      return await this.inDialogue(args, (writer) => writer.ask(`${file}\n`, wholeLine));
    } finally {
      await rm(file, { force: true });
    }
  }

  private ask<T>(request: string, parse: (received: Buffer) => Answer<T> | undefined): Promise<T> {
    return this.inDialogue(['cat-file', '--batch-command'], (reader) => reader.ask(request, parse));
  }

  /** One process of a kind answers all: one for each question would be most of what a landing costs. */
  private async inDialogue<T>(
    args: readonly string[],
    work: (dialogue: GitDialogue) => Promise<T>,
  ): Promise<T> {
    const kind = args.join(' ');
    for (let round = 1; ; round++) {
      const dialogue = this.dialogues.get(kind) ?? new GitDialogue(this.dir, args);
      this.dialogues.set(kind, dialogue);
      try {
        return await work(dialogue);
      } catch (error) {
        if (this.dialogues.get(kind) === dialogue) this.dialogues.delete(kind);
        if (round === 2) throw error;
      }
    }
  }

  /** Ends the processes that answer. The next question starts another. */
  async close(): Promise<void> {
    const dialogues = [...this.dialogues.values()];
    this.dialogues.clear();
    await Promise.all(dialogues.map((dialogue) => dialogue.close()));
  }
}

const wholeLine = (received: Buffer): Answer<string> | undefined => {
  const end = received.indexOf(10);
  return end < 0 ? undefined : { value: received.toString('latin1', 0, end), length: end + 1 };
};

/** How `cat-file` describes an object that exists: id, type, size. */
const FOUND = /^([0-9a-f]{40,64}) (?:commit|tree|blob|tag) (\d+)$/;

/** What git said, without the password that a URL may hold. */
const said = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error))
    .replace(/(\w+:\/\/[^/:@\s]+):[^@/\s]+@/g, '$1:***@')
    .trim()
    .slice(-2_000);

/** The mirrors of one fleet on this host, by repository name. */
export function mirrorsOf(
  home: string,
  repositories: Record<string, { url: string; branch: string; anyTree?: boolean | undefined }>,
): Map<string, Mirror> {
  return new Map(
    Object.entries(repositories).map(([name, { url, branch, anyTree }]) => [
      name,
      new Mirror(name, url, branch, join(home, 'mirrors', `${name}.git`), anyTree),
    ]),
  );
}
