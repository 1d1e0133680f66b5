// Where the tree of a peer comes from. Commits: those in the clone of the owner's agent while that runs here in a sandbox, taken
// out by a sandboxed upload-pack; else the newest that an attempt of the owner has left; else what it has landed. A
// working tree: that of the owner's agent, while it runs here, through the copier; of one that runs nowhere, its commits.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { WorkflowNotFoundError } from '@temporalio/client';
import { compareFences, type Fence } from '../src/domain/fence.js';
import { attemptRef, peerRef, QUERY, taskWorkflowId } from '../src/domain/ids.js';
import type { Outcome } from '../src/domain/messages.js';
import { type Manifest, SNAPSHOT_LIMITS } from '../src/domain/peering.js';
import type { Peer, PeerFrom } from '../src/domain/peering-grants.js';
import { type Evidence, explain } from '../src/domain/reasons.js';
import type { Host } from './host.js';
import type { Mirror } from './mirror.js';
import { isAlive } from './processes.js';
import { snapshotCommit, snapshotWorktree } from './snapshot.js';
import { copierIn } from './workstation/copier.js';
import { headOf } from './workstation/leftovers.js';
import { findRecords, type WorkstationRecord } from './workstation/record.js';
import { Sandboxes } from './workstation/sandboxed.js';

type RefusedCode = 'PEER_NOT_ISOLATED' | 'PEER_ELSEWHERE' | 'PEER_NOTHING_KEPT' | 'PEER_FAILED';

/** A snapshot that cannot be had, and why. */
export class NoSnapshot extends Error {
  constructor(
    readonly code: RefusedCode,
    evidence: Evidence = {},
  ) {
    super(explain(code, evidence));
  }
}

export interface Snapshot {
  manifest: Manifest;
  /** What it was made from in the end. */
  from: PeerFrom;
  commit?: string;
}

export interface Making {
  /** A folder of ours that nobody else makes a snapshot with at the same time, and only we can write. */
  scratch: string;
  /** The task that looks, full name. */
  looker: string;
  /** Aborted when nobody is to see it any longer. */
  signal: AbortSignal;
}

interface Live {
  dir: string;
  record: WorkstationRecord;
}

/** What only the fleet knows. */
export interface KnownOfOwners {
  /** How tasks have ended that have a change packet. */
  outcomes(tasks: readonly string[]): Promise<{ task: string; outcome: Outcome }[]>;
  /** An agent of the task runs, wherever that is. */
  runs(task: string): Promise<boolean>;
}

export class PeerSource {
  constructor(
    private readonly host: Pick<Host, 'home' | 'mirrors' | 'sandboxes' | 'log'>,
    private readonly known: KnownOfOwners,
  ) {}

  /** Makes the snapshot at `into`, whole or not at all. Throws NoSnapshot, or what went wrong. */
  async make(peer: Peer, into: string, making: Making): Promise<Snapshot> {
    const { scratch } = making;
    await mkdir(scratch, { recursive: true, mode: 0o711 });
    const live = await this.liveOf(peer.task);
    if (peer.from === 'worktree') {
      const made = live && (await this.worktree(live, into, making));
      if (made) return made;
      if (await this.known.runs(peer.task)) throw new NoSnapshot('PEER_ELSEWHERE', { peer: peer.task });
    }
    const kept =
      (await this.uncollected(live, peer, making)) ??
      (await this.kept(peer.task)) ??
      (await this.landed(peer.task));
    if (!kept) throw new NoSnapshot('PEER_NOTHING_KEPT', { peer: peer.task });
    const { mirror, commit } = kept;
    return { manifest: await snapshotCommit(mirror, commit, into), from: 'commit', commit };
  }

  /** The workstation in which the owner's agent runs on this host. */
  private async liveOf(task: string): Promise<Live | undefined> {
    const found = (await findRecords(this.host.home)).filter((one) => one.record.task === task && runs(one));
    return found.sort((a, b) => compareFences(b.record.fence, a.record.fence))[0];
  }

  /** Undefined when its agent has ended by now: what is left of its folder may be half removed. */
  private async worktree(
    live: Live,
    into: string,
    { scratch, signal }: Making,
  ): Promise<Snapshot | undefined> {
    const { sandboxes, home } = this.host;
    if (!(sandboxes instanceof Sandboxes)) throw new NoSnapshot('PEER_FAILED', { text: sandboxes.missing });
    const copy = copierIn(sandboxes.host, home, { uid: live.record.uid, marker: scratch, signal });
    const whole = () => runs(live);
    try {
      const manifest = await snapshotWorktree(
        join(live.dir, 'clone'),
        into,
        copy,
        SNAPSHOT_LIMITS,
        undefined,
        whole,
      );
      return { manifest, from: 'worktree' };
    } catch (error) {
      if (!whole()) return undefined;
      throw error;
    }
  }

  /** The commits of an agent at work, where that is safe to look at; undefined when there are none. */
  private async uncollected(
    live: Live | undefined,
    { as }: Peer,
    { scratch, looker }: Making,
  ): Promise<{ mirror: Mirror; commit: string } | undefined> {
    const { sandboxes, mirrors } = this.host;
    const mirror = live && mirrors.get(live.record.repository);
    if (!mirror || live.record.plain || !(sandboxes instanceof Sandboxes)) return undefined;
    try {
      await mirror.open();
      // Not in the owner's name: that its worker ends, and what fails here must not end the owner's agent.
      const clone = sandboxes.open(live.dir, live.record.uid, mirror, scratch);
      const commit = await headOf(clone);
      if (commit === live.record.base) return undefined;
      await clone.bring(mirror, commit, peerRef(looker, as));
      return { mirror, commit };
    } catch (error) {
      this.host.log(`the commits of ${live.record.task} at work cannot be seen: ${String(error)}`);
      return undefined;
    }
  }

  /** The newest commits that an attempt has left, in whichever repository. */
  private async kept(task: string): Promise<{ mirror: Mirror; commit: string } | undefined> {
    const prefix = attemptRef(task, '');
    for (const mirror of this.host.mirrors.values()) {
      await mirror.fetch([`+${prefix}*:${prefix}*`]);
      const refs = (await mirror.text(['for-each-ref', '--format=%(refname)', prefix]))
        .split('\n')
        .filter(Boolean);
      const newest = refs
        .flatMap((ref) => {
          const fence = fenceIn(ref.slice(prefix.length));
          return fence ? [{ ref, fence }] : [];
        })
        .sort((a, b) => compareFences(b.fence, a.fence))[0];
      const commit = newest && (await mirror.find(newest.ref));
      if (commit !== undefined) return { mirror, commit };
    }
    return undefined;
  }

  /** What it has landed, as its change packet says. */
  private async landed(task: string): Promise<{ mirror: Mirror; commit: string } | undefined> {
    const commit = (await this.known.outcomes([task])).find((one) => one.task === task)?.outcome.commit;
    if (commit === undefined) return undefined;
    for (const mirror of this.host.mirrors.values()) {
      await mirror.refresh();
      if ((await mirror.find(commit)) !== undefined) return { mirror, commit };
    }
    return undefined;
  }
}

/** Whether an agent of the task runs, as its workflow says. */
export async function isRunning(
  { client, config }: Pick<Host, 'client' | 'config'>,
  task: string,
): Promise<boolean> {
  const workflow = client.workflow.getHandle(taskWorkflowId(config.fleet, task));
  try {
    if ((await workflow.describe()).status.name !== 'RUNNING') return false;
    return (await workflow.query<{ phase: string }>(QUERY.state)).phase === 'running';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}

const runs = ({ record: { base, processes } }: Live): boolean =>
  base !== undefined && processes !== undefined && processes.length > 0 && processes.every(isAlive);

function fenceIn(text: string): Fence | undefined {
  const [, epoch, number] = /^(\d+)\.(\d+)$/.exec(text) ?? [];
  return epoch === undefined ? undefined : { epoch: Number(epoch), number: Number(number) };
}
