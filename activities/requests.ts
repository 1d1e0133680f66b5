// How an agent, which has no credentials for the server, changes its task's claims, or asks for new snapshots of its peers: it
// leaves a file in a folder of its workstation, and its worker, which knows whose folder that is, asks the task's workflow, or makes
// the snapshots, and leaves the answer in a folder that the agent cannot write. `NAME.request.json` is {"do": "extend" |
// "release", "paths": [...], "wait": true} or {"do": "refresh", "names": [...]}; `NAME.answer.json` is the newest ClaimAnswer.
// Whoever removes the request goes without.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type Fence, fenceText } from '../src/domain/fence.js';
import { QUERY, SIGNAL, taskWorkflowId } from '../src/domain/ids.js';
import type { ClaimAnswer, ClaimRequest } from '../src/domain/own-claims.js';
import type { Host } from './host.js';
import type { Refreshed } from './peers.js';
import { writeWhole } from './presence.js';
import { bytesOf } from './workstation/guarded.js';

/** How often the folder is looked at, and an answer is asked for at first; then ever more rarely. */
const LOOK_MS = 200;
const MOST_WAIT_MS = 3_000;
const MOST_REQUEST_BYTES = 256 * 1024;
/** So that nobody floods the fleet through it: how many are open at once, and served in one attempt. */
const LIMITS = { open: 8, all: 1_000 };
/** What a request may be called: it becomes part of an id, and of a file name that is a little longer. */
const NAME = /^[A-Za-z0-9][\w.-]{0,99}$/;
const REQUEST = '.request.json';
const ANSWER = '.answer.json';

const Request = z.discriminatedUnion('do', [
  z.strictObject({
    do: z.enum(['extend', 'release']),
    paths: z.array(z.string()).min(1),
    wait: z.boolean().default(false),
  }),
  z.strictObject({ do: z.literal('refresh'), names: z.array(z.string().max(200)).max(100) }),
]);

interface Open {
  wait: number;
  next: number;
  /** The answer that was written last. */
  written: string;
  sent: boolean;
  /** It is about snapshots: being made, and then what came of it. */
  refresh?: { done?: Refreshed };
}

const isFinal = ({ answer }: ClaimAnswer): boolean => answer !== 'asked' && answer !== 'waiting';

export interface Whose {
  task: string;
  fence: Fence;
  refresh?: (names: readonly string[]) => Promise<Refreshed>;
}

/** Serves the folder until it is closed. */
export function serveRequests(
  host: Pick<Host, 'client' | 'config' | 'log'>,
  folders: { requests: string; answers: string },
  whose: Whose,
  limits = LIMITS,
): { close(): Promise<void> } {
  const desk = new Desk(host, folders, whose, limits);
  return { close: () => desk.close() };
}

class Desk {
  private readonly open = new Map<string, Open>();
  private readonly done = new Set<string>();
  private closed = false;
  private full = false;
  private timer: NodeJS.Timeout | undefined;
  private looking: Promise<void> = Promise.resolve();

  constructor(
    private readonly host: Pick<Host, 'client' | 'config' | 'log'>,
    private readonly folders: { requests: string; answers: string },
    private readonly whose: Whose,
    private readonly limits: typeof LIMITS,
  ) {
    this.schedule();
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await this.looking;
  }

  private schedule(): void {
    if (this.closed || (this.full && this.open.size === 0)) return;
    this.timer = setTimeout(() => {
      this.looking = this.look()
        .catch((error: unknown) => this.host.log(`requests of ${this.whose.task}: ${String(error)}`))
        .finally(() => this.schedule());
    }, LOOK_MS);
  }

  private async look(): Promise<void> {
    const found = await readdir(this.folders.requests).catch(() => []);
    const names = new Set(
      found.filter((name) => name.endsWith(REQUEST)).map((name) => name.slice(0, -REQUEST.length)),
    );
    for (const name of names) {
      if (this.done.has(name) || this.open.has(name) || !NAME.test(name)) continue;
      if (this.done.size + this.open.size >= this.limits.all) {
        this.sayFull();
        break;
      }
      if (this.open.size >= this.limits.open) break;
      this.open.set(name, { wait: LOOK_MS, next: 0, written: '', sent: false });
    }
    for (const [name, open] of this.open) {
      if (this.closed) return;
      if (!names.has(name)) await this.withdraw(name, open);
      else if (performance.now() >= open.next) await this.serve(name, open);
    }
  }

  private sayFull(): void {
    if (!this.full)
      this.host.log(
        `${this.whose.task} has asked ${this.limits.all} times; what else it asks for is not looked at`,
      );
    this.full = true;
  }

  private get workflow() {
    const { client, config } = this.host;
    return client.workflow.getHandle(taskWorkflowId(config.fleet, this.whose.task));
  }

  private idOf = (name: string): string => `${fenceText(this.whose.fence)}/${name}`;

  private async serve(name: string, open: Open): Promise<void> {
    open.next = performance.now() + open.wait;
    open.wait = Math.min(open.wait * 1.5, MOST_WAIT_MS);
    try {
      if (!open.sent) {
        const problem = await this.send(name, open);
        if (problem !== undefined) {
          await this.write(name, open, { answer: 'refused', text: problem, writes: [] });
          return;
        }
        open.sent = true;
      }
      if (open.refresh) {
        const { done } = open.refresh;
        if (done) await this.write(name, open, { ...done, writes: [] });
        return;
      }
      const answer = await this.workflow.query<ClaimAnswer | null, [string]>(
        QUERY.claimAnswer,
        this.idOf(name),
      );
      if (answer) await this.write(name, open, answer);
    } catch (error) {
      // The server is away, or the workflow just now: it is tried again, for as long as the agent lives.
      this.host.log(`what ${this.whose.task} asks for cannot be told: ${String(error)}`);
    }
  }

  /** Gives what is wrong with the request; undefined when it was sent. */
  private async send(name: string, open: Open): Promise<string | undefined> {
    const bytes = await bytesOf(join(this.folders.requests, name + REQUEST), MOST_REQUEST_BYTES + 1);
    const parsed =
      bytes && bytes.length <= MOST_REQUEST_BYTES
        ? Request.safeParse(jsonOf(bytes.toString('utf8')))
        : undefined;
    if (!parsed?.success)
      return 'not a request: expected {"do": "extend" or "release", "paths": ["…"], "wait": true or false}, or {"do": "refresh", "names": ["…"]}';
    if (parsed.data.do === 'refresh') {
      this.refresh(open, parsed.data.names);
      return undefined;
    }
    const { do: what, paths, wait } = parsed.data;
    const request: ClaimRequest = { id: this.idOf(name), paths, wait, fence: fenceText(this.whose.fence) };
    await this.workflow.signal(what === 'extend' ? SIGNAL.extend : SIGNAL.giveBack, request);
    return undefined;
  }

  /** Snapshots may take long: other requests are served meanwhile. */
  private refresh(open: Open, names: readonly string[]): void {
    const { refresh } = this.whose;
    const state: Open['refresh'] = {};
    open.refresh = state;
    const nothing: Refreshed = { answer: 'refused', text: `${this.whose.task} names no peers` };
    void (refresh?.(names) ?? Promise.resolve(nothing))
      .catch((error: unknown): Refreshed => ({ answer: 'refused', text: String(error) }))
      .then((done) => {
        state.done = done;
        open.next = 0;
      });
  }

  private async withdraw(name: string, open: Open): Promise<void> {
    if (open.sent && !open.refresh)
      await this.workflow.signal(SIGNAL.goWithout, this.idOf(name)).catch(() => undefined);
    this.open.delete(name);
    this.done.add(name);
  }

  private async write(name: string, open: Open, answer: ClaimAnswer): Promise<void> {
    const text = JSON.stringify(answer);
    if (text !== open.written) await writeWhole(join(this.folders.answers, name + ANSWER), text);
    open.written = text;
    if (!isFinal(answer)) return;
    this.open.delete(name);
    this.done.add(name);
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
