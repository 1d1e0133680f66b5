// Streams of changes as tasks to simulate, and what no schedule of them can beat.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { type Random, randomFrom } from './random.js';

/** A task to simulate. Times in milliseconds. */
export interface Job {
  paths: string[];
  /** Positions of the tasks it waits for. */
  after: number[];
  duration: number;
}

interface Line {
  paths: (string | number)[];
  after?: number[];
  minutes?: number;
}

const MINUTE = 60_000;
/** How long agents take where nothing else is said: lognormal. */
const MEDIAN_MINUTES = 8;
const SIGMA = 0.9;

// From dist/bench/.
export const workloadFile = (name: string): string =>
  fileURLToPath(new URL(`../../bench/workloads/${name}`, import.meta.url));

/** Reads JSON lines, gzipped or not. Throws when a line is not of the format. */
export function readLines(file: string): Line[] {
  const bytes = readFileSync(file);
  const text = (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString('utf8');
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line, i, all) => {
      const parsed = JSON.parse(line) as Line;
      const after = parsed.after ?? [];
      if (!Array.isArray(parsed.paths) || !after.every((to) => Number.isInteger(to) && to >= 0 && to < i))
        throw new Error(
          `${file}, line ${i + 1} of ${all.length}: needs "paths", and "after" with earlier lines only`,
        );
      return parsed;
    });
}

/** The tasks of a stream; durations that it lacks are drawn from the seed. */
export function jobsOf(lines: Line[], seed: number, keep: (path: string) => boolean = () => true): Job[] {
  const random = randomFrom(seed);
  return lines.map(({ paths, after = [], minutes }) => ({
    paths: paths.map(String).filter(keep),
    after,
    duration: minutes === undefined ? durationFrom(random) : milliseconds(minutes),
  }));
}

const milliseconds = (minutes: number): number => Math.max(1, Math.round(minutes * MINUTE));

export const durationFrom = (random: Random): number =>
  milliseconds(MEDIAN_MINUTES * Math.exp(SIGMA * random.normal()));

/** No schedule ends earlier: critical path, work shared by all agents, or work on one path. */
export function boundOf(jobs: Job[], agents: number): number {
  const ends: number[] = [];
  const onPath = new Map<string, number>();
  let work = 0;
  for (const { paths, after, duration } of jobs) {
    ends.push(duration + Math.max(0, ...after.map((to) => ends[to] ?? 0)));
    for (const path of paths) onPath.set(path, (onPath.get(path) ?? 0) + duration);
    work += duration;
  }
  const longest = ends.reduce((a, b) => Math.max(a, b), 0);
  const hottest = [...onPath.values()].reduce((a, b) => Math.max(a, b), 0);
  return Math.max(longest, work / agents, hottest);
}
