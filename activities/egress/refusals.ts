// What an agent was refused, for its packet: once each with how often. Bounded, whatever the agent tries.

export interface Refusal {
  host: string;
  port: number;
  why: string;
  count: number;
}

const MOST = 100;
const MOST_HOST = 253;

export class Refusals {
  private readonly found = new Map<string, Refusal>();
  private beyond = 0;

  /** True the first time. */
  add(host: string, port: number, why: string): boolean {
    const shown = host.replace(/[^\x21-\x7e]/g, '?').slice(0, MOST_HOST);
    const key = `${shown} ${port} ${why}`;
    const known = this.found.get(key);
    if (known) known.count += 1;
    else if (this.found.size >= MOST) this.beyond += 1;
    else this.found.set(key, { host: shown, port, why, count: 1 });
    return known === undefined && this.found.has(key);
  }

  /** In the order they came first; the last one stands for all that are not listed. */
  list(): Refusal[] {
    const list = [...this.found.values()].map((one) => ({ ...one }));
    if (this.beyond === 0) return list;
    return [
      ...list,
      { host: '(others)', port: 0, why: `only the first ${MOST} are listed`, count: this.beyond },
    ];
  }
}
