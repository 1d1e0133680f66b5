// What a benchmark is. Each file in rows/ exports one as its default; run.ts finds it there, runs it in a process of its
// own (nobody warms up another's code, and its memory is its own) and prints its rows.

/** A figure reaches this when it is not above `atMost`, or not below `atLeast`. */
export type Threshold = { atMost: number } | { atLeast: number };

/** One line of the table. */
export interface Row {
  row: string;
  /** The median, or the worst, of what was measured: the row says which. */
  figure: number;
  /** Lowest and highest of the repeats. */
  spread?: readonly [number, number];
  /** What stands behind a figure, such as "s" or " events/s". Ratios have none. */
  unit?: string;
  /** Depends on the machine and is only a guard; all others are ratios within one run. */
  absolute?: true;
  mustReach?: Threshold;
  aim?: Threshold;
}

export interface Options {
  /** Says on stderr how far it is. */
  progress: (text: string) => void;
  /** A stream to try instead of the one in workloads/, for those that take one. */
  workload?: string;
  /** How many agents run at once, for those that take a stream. */
  agents?: number;
}

export interface Bench {
  /** What `npm run bench NAME` picks it by. */
  name: string;
  /** One sentence for `npm run bench -- --list`. */
  about: string;
  /** Options of node for its process, such as a limit of the heap. */
  node?: readonly string[];
  /** True for those that only run when named, or when a workload is given. */
  onDemand?: true;
  run: (options: Options) => Promise<Row[]> | Row[];
}

export const reaches = (figure: number, threshold: Threshold): boolean =>
  'atMost' in threshold ? figure <= threshold.atMost : figure >= threshold.atLeast;

/** Median, lowest and highest of the repeats of one figure. */
export function spreadOf(figures: readonly number[]): { figure: number; spread: [number, number] } {
  const sorted = [...figures].sort((a, b) => a - b);
  const at = (index: number) => sorted[index] ?? Number.NaN;
  const middle = (sorted.length - 1) / 2;
  return {
    figure: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    spread: [at(0), at(sorted.length - 1)],
  };
}
