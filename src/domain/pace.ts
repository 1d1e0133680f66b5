// How fast the coordinator wants to be told. A workflow that is signaled without a pause can fail to continue as new
// for ever: so it measures how many signals come and says how long each worker should wait between two of its own.

/** Signals a second, from all workers together, that leave the coordinator room to continue as new. */
const WANTED = 10;
/** Milliseconds. */
export const LEAST_GAP = 50;
const MOST_GAP = 5_000;
/** The rate is measured over at least this time, in milliseconds. */
const WINDOW = 1_000;

export class Pace {
  private signals = 0;
  private since: number;

  /** `gap`: as an earlier run of the coordinator has left it. */
  constructor(
    now: number,
    public gap = LEAST_GAP,
  ) {
    this.since = now;
  }

  count(): void {
    this.signals += 1;
  }

  /** Under load, what all workers send is inverse to the gap: one step leads to the wanted rate. */
  adjust(now: number): void {
    const elapsed = now - this.since;
    if (elapsed < WINDOW) return;
    const rate = (this.signals * 1_000) / elapsed;
    this.gap = Math.min(MOST_GAP, Math.max(LEAST_GAP, Math.round((this.gap * rate) / WANTED)));
    this.signals = 0;
    this.since = now;
  }
}
