// Fails what Temporal had handed to dead workers of this host. It looks more than once: the list of live workflows lags
// behind a little, and the server may go on handing work to a connection before it has noticed that nobody is there.

import type { Host } from '../activities/host.js';
import { forget } from '../activities/presence.js';
import type { ProcessIdentity } from '../activities/processes.js';
import { failAbandoned } from '../activities/reaper.js';

/** Milliseconds before each look. Once the last one succeeded the dead are forgotten. */
const LOOKS = [0, 2_000, 5_000, 15_000, 30_000];

export class Undertaker {
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(
    private readonly host: Host,
    private readonly dead: readonly ProcessIdentity[],
  ) {}

  start(): void {
    if (this.dead.length > 0) this.schedule(0);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private schedule(look: number): void {
    if (this.stopped) return;
    this.timer = setTimeout(() => void this.look(look), LOOKS[look]);
  }

  private async look(look: number): Promise<void> {
    const { host, dead } = this;
    try {
      const failed = await failAbandoned(host, dead);
      if (failed > 0) host.log(`${failed} activities of a worker that died have been failed`);
      if (look + 1 < LOOKS.length) this.schedule(look + 1);
      else await forget(host.home, dead);
    } catch (error) {
      if (this.stopped) return;
      host.log(`what a dead worker left could not be looked for: ${String(error)}`);
      this.schedule(Math.max(look, 1));
    }
  }
}
