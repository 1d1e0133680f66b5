// The sign of life of a running attempt: where it runs and what it printed last, for the Web UI and for whoever looks for
// its log. Heartbeats are in no history, but for the last one of an attempt whose worker was lost: so little is said.

import { heartbeat } from '@temporalio/activity';
import { type Beat, shownTail } from '../src/domain/log-reading.js';

const BEAT_MS = 1_000;
/** Of the last lines. */
const TAIL_BYTES = 1_000;

/** What was printed last; the same buffer as before when nothing has come. */
interface Printed {
  recent(): Buffer;
}

/** Beats at once, and until it is stopped. Within an activity only. */
export class Pulse {
  private readonly timer: NodeJS.Timeout;
  private printed: Printed | undefined;
  private known: Buffer | undefined;
  private tail: string | undefined;

  constructor(private readonly where: Omit<Beat, 'tail'>) {
    this.timer = setInterval(() => this.beat(), BEAT_MS);
    this.beat();
  }

  shows(printed: Printed): void {
    this.printed = printed;
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** An empty one would take away what the last one said: so it is said again, and made anew only when there is more. */
  private beat(): void {
    const recent = this.printed?.recent();
    if (recent && recent !== this.known) this.tail = shownTail(recent.toString('utf8'), TAIL_BYTES);
    this.known = recent;
    const beat: Beat = { ...this.where, ...(this.tail ? { tail: this.tail } : {}) };
    heartbeat(beat);
  }
}
