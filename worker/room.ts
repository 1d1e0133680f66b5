// The room for agents on one host. A slot is reserved before it is known what kind of agent it will be for, so it takes
// the memory of the largest kind; the attempt that gets it gives back what its own kind does not need. Two queues hand
// out the same room, that of all hosts and the host's own: what one offers to its pollers, the other may take meanwhile.
// So an attempt may come to a host that has just become full. It waits a moment, and then goes back. A host never runs
// more than fits.

import type { ActivitySlotInfo, CustomSlotSupplier, SlotPermit } from '@temporalio/worker';
import type { AgentRoom, Entry } from '../activities/host.js';
import { agentKind, type Config } from '../src/domain/config.js';
import { formatSize } from '../src/domain/sizes.js';

/** What a worker may use of its host. */
export interface HostSize {
  /** Agents at once. */
  slots: number;
  /** For all agents together, in bytes; not looked at when left out. */
  memory?: number;
}

/** What keeps a host of this size from serving the fleet; undefined when nothing does. */
export function sizeRefused(config: Pick<Config, 'agents'>, memory: number): string | undefined {
  for (const [kind, agent] of Object.entries(config.agents)) {
    if (agent.memory === undefined)
      return `--memory: it is not known what agents of kind "${kind}" take: declare agents.${kind}.memory in signalbox.yaml`;
    if (agent.memory > memory)
      return `--memory ${formatSize(memory)}: agents of kind "${kind}" take ${formatSize(agent.memory)} each`;
  }
  return undefined;
}

/** An attempt that finds its host full goes back after this. */
const FULL_MS = 5_000;

export class Room implements AgentRoom {
  /** For the queue that all hosts poll. */
  readonly common = new Offers(this);
  /** For the host's own queue. */
  readonly own = new Offers(this);
  private readonly memory: number;
  private readonly largest: number;
  private running = 0;
  /** Memory of those that run. */
  private taken = 0;
  /** Attempts that found no room. */
  private readonly entering = new Set<() => boolean>();

  constructor(
    private readonly config: Pick<Config, 'agents'>,
    private readonly size: HostSize,
    private readonly fullMs = FULL_MS,
  ) {
    this.memory = size.memory ?? 0;
    this.largest =
      size.memory === undefined ? 0 : Math.max(...Object.keys(config.agents).map((kind) => this.needs(kind)));
  }

  async holding<T>({ agent, own, stop }: Entry, run: () => Promise<T>): Promise<T | undefined> {
    const needs = this.needs(agentKind(this.config, agent));
    const offers = own ? this.own : this.common;
    offers.count -= 1;
    let entered = false;
    try {
      entered = await this.enter(needs, stop);
      return entered ? await run() : undefined;
    } finally {
      if (entered) {
        this.running -= 1;
        this.taken -= needs;
      }
      offers.count += 1;
      this.settle();
    }
  }

  /** Whether one more slot may be offered, of whatever kind its agent will be, beside so many that are. */
  mayOffer(others: number): boolean {
    return (
      this.entering.size === 0 &&
      this.running + others < this.size.slots &&
      this.taken + (others + 1) * this.largest <= this.memory
    );
  }

  /** Gives what has become free to those who wait for it: attempts that are here already come first. */
  settle(): void {
    for (const enter of this.entering) if (!enter()) return;
    this.own.settle();
    this.common.settle();
  }

  private enter(needs: number, stop: AbortSignal): Promise<boolean> {
    const take = () => {
      if (this.running >= this.size.slots || this.taken + needs > this.memory) return false;
      this.running += 1;
      this.taken += needs;
      return true;
    };
    if (take()) {
      // The largest kind was reserved for it.
      this.settle();
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const over = (entered: boolean) => {
        clearTimeout(timer);
        stop.removeEventListener('abort', giveUp);
        this.entering.delete(enter);
        resolve(entered);
        return entered;
      };
      const enter = () => take() && over(true);
      const giveUp = () => void over(false);
      const timer = setTimeout(giveUp, this.fullMs);
      this.entering.add(enter);
      if (stop.aborted) giveUp();
      else stop.addEventListener('abort', giveUp, { once: true });
    });
  }

  private needs(kind: string | undefined): number {
    if (this.size.memory === undefined) return 0;
    return (kind === undefined ? undefined : this.config.agents[kind]?.memory) ?? 0;
  }
}

/** The slots that one queue's pollers hold while they wait for an attempt. */
class Offers implements CustomSlotSupplier<ActivitySlotInfo> {
  readonly type = 'custom';
  count = 0;
  private readonly waiting = new Set<(permit: SlotPermit) => void>();

  constructor(private readonly room: Pick<Room, 'mayOffer' | 'settle'>) {}

  reserveSlot(_context: unknown, abort: AbortSignal): Promise<SlotPermit> {
    const permit = this.tryReserveSlot();
    if (permit) return Promise.resolve(permit);
    return new Promise((resolve, reject) => {
      const take = (granted: SlotPermit) => {
        abort.removeEventListener('abort', onAbort);
        resolve(granted);
      };
      const onAbort = () => {
        this.waiting.delete(take);
        reject(abort.reason);
      };
      if (abort.aborted) onAbort();
      else {
        abort.addEventListener('abort', onAbort, { once: true });
        this.waiting.add(take);
      }
    });
  }

  tryReserveSlot(): SlotPermit | null {
    if (!this.room.mayOffer(this.count)) return null;
    this.count += 1;
    return {};
  }

  markSlotUsed(): void {}

  releaseSlot(): void {
    this.count -= 1;
    this.room.settle();
  }

  settle(): void {
    for (const take of this.waiting) {
      const permit = this.tryReserveSlot();
      if (!permit) return;
      this.waiting.delete(take);
      take(permit);
    }
  }
}
