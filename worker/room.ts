// The room for agents on one host. A slot is reserved before it is known what kind of agent it will be for, so it takes
// the memory of the largest kind; the attempt that gets it gives back what its own kind does not need. So a host never
// runs more than fits, and no attempt ever waits on a full host while another host could have taken it.

import type { ActivitySlotInfo, CustomSlotSupplier, SlotPermit } from '@temporalio/worker';
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

interface Waiter {
  take: (permit: SlotPermit) => void;
}

export class Room implements CustomSlotSupplier<ActivitySlotInfo> {
  readonly type = 'custom';
  private slots = 0;
  private taken = 0;
  private readonly memory: number;
  private readonly largest: number;
  private readonly waiting = new Set<Waiter>();

  constructor(
    private readonly config: Pick<Config, 'agents'>,
    private readonly size: HostSize,
  ) {
    this.memory = size.memory ?? 0;
    this.largest =
      size.memory === undefined ? 0 : Math.max(...kindsOf(config).map((kind) => this.needs(kind)));
  }

  /** Runs an attempt with what its kind takes of the host. */
  async holding<T>(agent: string | undefined, run: () => Promise<T>): Promise<T> {
    const spare = this.largest - this.needs(agentKind(this.config, agent));
    this.give(spare);
    try {
      return await run();
    } finally {
      this.give(-spare);
    }
  }

  reserveSlot(_context: unknown, abort: AbortSignal): Promise<SlotPermit> {
    const permit = this.tryReserveSlot();
    if (permit) return Promise.resolve(permit);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        take: (granted) => {
          abort.removeEventListener('abort', onAbort);
          resolve(granted);
        },
      };
      const onAbort = () => {
        this.waiting.delete(waiter);
        reject(abort.reason);
      };
      if (abort.aborted) onAbort();
      else {
        abort.addEventListener('abort', onAbort, { once: true });
        this.waiting.add(waiter);
      }
    });
  }

  tryReserveSlot(): SlotPermit | null {
    if (this.slots >= this.size.slots || this.taken + this.largest > this.memory) return null;
    this.slots += 1;
    this.taken += this.largest;
    return {};
  }

  markSlotUsed(): void {}

  releaseSlot(): void {
    this.slots -= 1;
    this.give(this.largest);
  }

  private needs(kind: string | undefined): number {
    if (this.size.memory === undefined) return 0;
    return (kind === undefined ? undefined : this.config.agents[kind]?.memory) ?? 0;
  }

  private give(memory: number): void {
    this.taken -= memory;
    for (const waiter of this.waiting) {
      const permit = this.tryReserveSlot();
      if (!permit) return;
      this.waiting.delete(waiter);
      waiter.take(permit);
    }
  }
}

const kindsOf = (config: Pick<Config, 'agents'>): string[] => Object.keys(config.agents);
