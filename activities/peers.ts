// What an attempt sees of other tasks: for each peer that is granted a snapshot in its folder `.shared`, for as long as that is
// so. The task's workflow, which knows what is granted, is asked every second. A snapshot is made aside, where the agent cannot
// look, and appears by a rename, with its manifest; it goes by a rename too, as soon as it is heard that it has to. Nothing leads from
// it to the owner's tree: it is a copy, and the folder is mounted read-only.

import { randomUUID } from 'node:crypto';
import { chmod, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { WorkflowNotFoundError } from '@temporalio/client';
import { QUERY, taskWorkflowId } from '../src/domain/ids.js';
import type { PeerSeen } from '../src/domain/own-peers.js';
import type { PeerRecord } from '../src/domain/packet.js';
import { MANIFEST, type Peer } from '../src/domain/peering-grants.js';
import type { Host } from './host.js';
import { NoSnapshot, type PeerSource, type Snapshot } from './peer-source.js';
import { writeWhole } from './presence.js';
import { manifestFile, removeSnapshot } from './snapshot.js';

const LOOK_MS = 1_000;
const CALL_MS = 10_000;
/** A snapshot that cannot be made is tried again after this, then ever more rarely. */
const RETRY_MS = { first: 2_000, most: 60_000 };
const MOST_TEXT = 500;

export interface Refreshed {
  answer: 'refreshed' | 'refused';
  text: string;
}

/** What is granted at this moment. Throws while nobody can be asked. */
export type AskGranted = () => Promise<PeerSeen[]>;

export interface PeersOf {
  task: string;
  peers: readonly Peer[];
  /** Shown to the agent, read-only; undefined for one without isolation. */
  shared: string | undefined;
  /** Beside it, where the agent cannot look. */
  aside: string;
}

interface Entry {
  peer: Peer;
  /** What the workflow said last. */
  said?: PeerSeen;
  /** It is there for the agent to see. */
  shown: boolean;
  /** Making goes on, or is due again at that time. */
  making?: Promise<Refreshed>;
  nextAt: number;
  wait: number;
  record: PeerRecord;
}

export class Peers {
  private readonly entries: Entry[];
  private timer: NodeJS.Timeout | undefined;
  private looking: Promise<void> = Promise.resolve();
  private closed = false;
  private readonly stopping = new AbortController();
  private mute = false;
  /** Renames in the shared folder, one after the other. */
  private moves: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly host: Pick<Host, 'log'>,
    private readonly source: Pick<PeerSource, 'make'>,
    private readonly whose: PeersOf,
    private readonly ask: AskGranted,
  ) {
    this.entries = whose.peers.map((peer) => ({
      peer,
      shown: false,
      nextAt: 0,
      wait: RETRY_MS.first,
      record: { ...peer, at: new Date().toISOString(), made: 0 },
    }));
  }

  /** Resolves when all that is granted by now is there, or cannot be had, or `stop` aborts. */
  async begin(stop: AbortSignal): Promise<void> {
    if (this.entries.length === 0) return;
    await this.look();
    const made = Promise.all(this.entries.map(({ making }) => making));
    // What is taken back meanwhile is not shown.
    this.schedule();
    const stopped = new Promise<void>((resolve) =>
      stop.addEventListener('abort', () => resolve(), { once: true }),
    );
    if (!stop.aborted) await Promise.race([made, stopped]);
  }

  /** Takes everything away. Gives what was seen. */
  async close(): Promise<PeerRecord[]> {
    this.closed = true;
    this.stopping.abort();
    clearTimeout(this.timer);
    await this.looking;
    await Promise.all(this.entries.map(({ making }) => making));
    await Promise.all(this.entries.map((entry) => this.hide(entry)));
    return this.entries.map(({ record }) => record);
  }

  /** By the agent: a snapshot as its owner's tree is now. All that are granted when none is named. */
  async refresh(names: readonly string[]): Promise<Refreshed> {
    const strange = names.filter((name) => !this.entries.some(({ peer }) => peer.as === name));
    if (strange.length > 0) {
      const known = this.entries.map(({ peer }) => peer.as).join(', ') || 'none';
      return { answer: 'refused', text: `no peer is called ${strange.join(', ')}; there are: ${known}` };
    }
    await this.look();
    const wanted = this.entries.filter(({ peer, said }) =>
      names.length > 0 ? names.includes(peer.as) : said?.granted === true,
    );
    if (wanted.length === 0) return { answer: 'refused', text: 'nothing is granted' };
    const done = await Promise.all(
      wanted.map(async (entry) => {
        // What is being made may have been begun before the owner did what is to be seen.
        await entry.making;
        return await this.make(entry);
      }),
    );
    const text = done.map((one) => one.text).join('\n');
    return { answer: done.every(({ answer }) => answer === 'refreshed') ? 'refreshed' : 'refused', text };
  }

  private schedule(): void {
    if (this.closed) return;
    this.timer = setTimeout(() => {
      this.looking = this.look().finally(() => this.schedule());
    }, LOOK_MS);
  }

  /** Asks what is granted, hides what is not any longer, and begins to make what is not there yet. */
  private async look(): Promise<void> {
    try {
      const said = await this.ask();
      this.mute = false;
      for (const entry of this.entries) {
        const one = said.find(({ as }) => as === entry.peer.as);
        if (one) entry.said = one;
        else delete entry.said;
      }
    } catch (error) {
      // While the server is away nobody can take anything back; the lease ends the agent in time.
      if (!this.mute) this.host.log(`what ${this.whose.task} may see cannot be asked: ${String(error)}`);
      this.mute = true;
      return;
    }
    const now = performance.now();
    for (const entry of this.entries) {
      if (!entry.said?.granted) await this.hide(entry);
      else if (!entry.shown && !entry.making && now >= entry.nextAt && !this.closed) void this.make(entry);
    }
  }

  private make(entry: Entry): Promise<Refreshed> {
    entry.making ??= this.makeNow(entry).finally(() => {
      delete entry.making;
    });
    return entry.making;
  }

  private async makeNow(entry: Entry): Promise<Refreshed> {
    const { peer, record, said } = entry;
    if (!said?.granted) return { answer: 'refused', text: said?.text ?? `nobody lets it see ${peer.task}` };
    const { shared, aside } = this.whose;
    record.at = new Date().toISOString();
    try {
      if (shared === undefined) throw new NoSnapshot('PEER_NOT_ISOLATED');
      await mkdir(aside, { recursive: true, mode: 0o711 });
      const made = join(aside, peer.as);
      const snapshot = await this.source.make(peer, made, {
        scratch: join(aside, '.work', peer.as),
        looker: this.whose.task,
        signal: this.stopping.signal,
      });
      if (!(await this.show(entry, made, shared, snapshot)))
        return { answer: 'refused', text: entry.said?.text ?? `nobody lets it see ${peer.task} any longer` };
      const { manifest, from, commit } = snapshot;
      const leftOut = Object.values(manifest.counts).reduce((sum, count) => sum + count, 0);
      delete record.refused;
      delete record.commit;
      Object.assign(record, { files: manifest.files, bytes: manifest.bytes, leftOut, made: record.made + 1 });
      if (commit) record.commit = commit;
      entry.wait = RETRY_MS.first;
      const what = from === 'commit' ? `commit ${commit?.slice(0, 12)}` : 'the working tree';
      return {
        answer: 'refreshed',
        text: `${peer.as} is ${what} of ${peer.task}: ${manifest.files} files, ${leftOut} left out`,
      };
    } catch (error) {
      const text = (error instanceof Error ? error.message : String(error)).slice(0, MOST_TEXT);
      const refusal =
        error instanceof NoSnapshot ? error : new NoSnapshot('PEER_FAILED', { peer: peer.task, text });
      if (record.refused?.text !== refusal.message)
        this.host.log(`${this.whose.task} is not shown ${peer.task}: ${refusal.message}`);
      record.refused = { code: refusal.code, text: refusal.message };
      entry.nextAt = performance.now() + entry.wait;
      entry.wait = Math.min(entry.wait * 2, RETRY_MS.most);
      return { answer: 'refused', text: `${refusal.message} [${refusal.code}]` };
    }
  }

  private inTurn<T>(move: () => Promise<T>): Promise<T> {
    const next = this.moves.then(move, move);
    this.moves = next.catch(() => undefined);
    return next;
  }

  /** False when it may not be seen any longer. */
  private show(
    entry: Entry,
    made: string,
    shared: string,
    { manifest, from, commit }: Snapshot,
  ): Promise<boolean> {
    return this.inTurn(async () => {
      const { peer } = entry;
      if (!entry.said?.granted || this.closed) {
        await removeSnapshot(made);
        return false;
      }
      const place = join(shared, peer.as);
      await this.takeOut(entry, shared);
      // A folder that nobody may write cannot be moved to another one, not even by its owner.
      await chmod(made, 0o755);
      await rename(made, place);
      await chmod(place, 0o555);
      entry.shown = true;
      await rm(manifestFile(made), { force: true });
      const about = { task: peer.task, from, ...(commit ? { commit } : {}), at: entry.record.at };
      await writeWhole(place + MANIFEST, `${JSON.stringify({ ...about, ...manifest }, undefined, 2)}\n`);
      return true;
    });
  }

  private async hide(entry: Entry): Promise<void> {
    const { shared } = this.whose;
    if (shared === undefined || !entry.shown) return;
    await this.inTurn(() => this.takeOut(entry, shared));
  }

  /** Out of the agent's sight first, at once; then it is removed. */
  private async takeOut(entry: Entry, shared: string): Promise<void> {
    if (!entry.shown) return;
    const place = join(shared, entry.peer.as);
    const gone = join(this.whose.aside, `.${randomUUID()}`);
    await chmod(place, 0o755);
    await rename(place, gone);
    entry.shown = false;
    await rm(place + MANIFEST, { force: true });
    await removeSnapshot(gone);
  }
}

/** Asks the task's workflow. */
export const askWorkflow =
  ({ client, config }: Pick<Host, 'client' | 'config'>, task: string): AskGranted =>
  async () => {
    const workflow = client.workflow.getHandle(taskWorkflowId(config.fleet, task));
    try {
      return await client.withDeadline(Date.now() + CALL_MS, () =>
        workflow.query<PeerSeen[], []>(QUERY.peers),
      );
    } catch (error) {
      // Nobody speaks for the task any longer.
      if (error instanceof WorkflowNotFoundError) return [];
      throw error;
    }
  };
