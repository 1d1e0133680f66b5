// Looks at what tasks assume: branches and files through the mirrors, artifacts on this host, by URL or in packets. Answers with what
// was found; what cannot be found out is said so, and is neither held nor broken.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { eachInParallel } from '../src/client/parallel.js';
import type { Assumption, Finding } from '../src/domain/assumptions.js';
import type { Checked, CheckRequest } from '../src/domain/decide/assume.js';
import { PARALLEL } from './delivery.js';
import { type Host, mirrorOf } from './host.js';
import type { Mirror } from './mirror.js';
import { packetOf } from './packets.js';

const TASK = 'task:';
const URL_TIMEOUT_MS = 20_000;

export function assumptionActivities(host: Host) {
  return {
    /** What is so of the things assumed, at one moment for each repository: the newest state of its branch. */
    async checkAssumptions(requests: CheckRequest[]): Promise<Checked['results']> {
      const look = new Look(host);
      const results: Checked['results'] = [];
      await eachInParallel(requests, PARALLEL, async ({ task, life, number, repository, assumes }) => {
        const findings: Finding[] = [];
        for (const one of assumes) findings.push(await look.at(one, repository));
        results.push({ task, life, number, findings });
      });
      return results;
    },
  };
}

class Look {
  private readonly tips = new Map<string, Promise<string>>();

  constructor(private readonly host: Host) {}

  async at(assumption: Assumption, own: string): Promise<Finding> {
    try {
      switch (assumption.kind) {
        case 'issue':
          return { holds: true, found: 'the coordinator knows' };
        case 'artifact':
          return digestFinding(await this.artifact(assumption.at), assumption.sha256);
        case 'file': {
          const mirror = mirrorOf(this.host, assumption.repository ?? own);
          return digestFinding(
            await fileDigest(mirror, await this.tip(mirror), assumption.path),
            assumption.sha256,
          );
        }
        case 'branch-at': {
          const tip = await this.tip(mirrorOf(this.host, assumption.repository ?? own));
          return { holds: tip === assumption.commit, found: `it is at ${tip.slice(0, 12)}` };
        }
        case 'branch-contains': {
          const mirror = mirrorOf(this.host, assumption.repository ?? own);
          const tip = await this.tip(mirror);
          const holds = await contains(mirror, tip, assumption.commit);
          return { holds, found: `at ${tip.slice(0, 12)} it ${holds ? 'does' : 'does not'}` };
        }
      }
    } catch (error) {
      return {
        found: `that cannot be found out: ${String(error instanceof Error ? error.message : error).slice(-300)}`,
      };
    }
  }

  private async artifact(at: string): Promise<string | undefined> {
    if (!at.startsWith(TASK)) return await artifactDigest(at);
    const task = at.slice(TASK.length);
    const packet = await packetOf(this.host, task);
    // It is written after the task's end: there may be one in a moment.
    if (!packet) throw new Error(`no change packet of ${task}: it has not ended, or never was`);
    return packet.attempts.findLast(({ artifact }) => artifact?.stored)?.artifact?.stored?.digest;
  }

  /** Fetched once for all that is looked at together. */
  private tip(mirror: Mirror): Promise<string> {
    const known = this.tips.get(mirror.name) ?? mirror.refresh();
    this.tips.set(mirror.name, known);
    return known;
  }
}

const digestFinding = (digest: string | undefined, wanted: string): Finding => ({
  holds: digest === wanted,
  found: digest === undefined ? 'it is not there' : `it has ${digest.slice(0, 12)}`,
});

async function fileDigest(mirror: Mirror, tip: string, path: string): Promise<string | undefined> {
  const oid = await mirror.lookUp(`${tip}:${path}`);
  if (oid === undefined) return undefined;
  return createHash('sha256')
    .update(await mirror.contents(oid))
    .digest('hex');
}

async function contains(mirror: Mirror, tip: string, commit: string): Promise<boolean> {
  if ((await mirror.find(commit)) === undefined) return false;
  return (await mirror.text(['rev-list', '-n', '1', commit, `^${tip}`])) === '';
}

/** Undefined when there is no such file, or the server says that there is none. */
async function artifactDigest(at: string): Promise<string | undefined> {
  if (!at.startsWith('/')) {
    const answer = await fetch(at, { signal: AbortSignal.timeout(URL_TIMEOUT_MS) });
    if (answer.status === 404 || answer.status === 410) return undefined;
    if (!answer.ok || !answer.body) throw new Error(`${at} answers ${answer.status}`);
    return await digest(Readable.fromWeb(answer.body as Parameters<typeof Readable.fromWeb>[0]));
  }
  try {
    return await digest(createReadStream(at));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function digest(stream: Readable): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of stream) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
