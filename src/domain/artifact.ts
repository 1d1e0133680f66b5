// A task's artifact: what a read-only task left in its result folder beside the report. What may be in one, and the
// text that its digest is of.

import { formatSize } from './sizes.js';

/** What an artifact holds at most; `bytes` in all. */
export interface ArtifactLimits {
  files: number;
  bytes: number;
}

export const ARTIFACT_LIMITS: ArtifactLimits = { files: 1_000, bytes: 20 * 1_024 ** 2 };

/** Folders below each other. */
export const ARTIFACT_DEPTH = 32;

/** The report in the result folder: it stands in the packet, and is no part of the artifact. */
export const REPORT = 'report.md';

export interface ArtifactFile {
  /** From the artifact's root on, with `/`. */
  path: string;
  /** Bytes. */
  size: number;
  /** Of its content, 64 hexadecimal digits in lower case. */
  sha256: string;
}

/** An artifact on the shared repository. */
export interface StoredArtifact {
  /** SHA-256 of listingOf(its files), 64 hexadecimal digits. */
  digest: string;
  files: number;
  /** Of all files together. */
  bytes: number;
  /** The fleet's name of the repository. */
  repository: string;
  /** There, it names a commit whose tree is the artifact. */
  ref: string;
}

/** What came back of an attempt's result folder. */
export interface ArtifactRecord {
  /** Absent when nothing was left that may be in it. */
  stored?: StoredArtifact;
  /** The first of what is not in it, with the reason; a folder stands for all below it. */
  leftOut?: { path: string; reason: string }[];
  /** How many more were left out. */
  leftOutMore?: number;
}

/** As many are named of what was left out: the record travels through a history. */
export const NAMED = 50;

/**
 * The canonical listing: a line `sha256 size path` for each file, each with one space between and a newline at its end, in the
 * order of the paths' UTF-8 bytes. Nothing else counts: no mode, no time, no empty folder. No path holds a newline.
 */
export const listingOf = (files: readonly ArtifactFile[]): string =>
  [...files]
    .sort((a, b) => byCodePoints(a.path, b.path))
    .map(({ sha256, size, path }) => `${sha256} ${size} ${path}\n`)
    .join('');

/** The order of UTF-8 bytes is that of code points; that of JavaScript's strings is another one. */
function byCodePoints(a: string, b: string): number {
  const [left, right] = [[...a], [...b]];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const more = (left[i]?.codePointAt(0) ?? 0) - (right[i]?.codePointAt(0) ?? 0);
    if (more !== 0) return more;
  }
  return left.length - right.length;
}

/** "3 files, 1.5MB". */
export const amountOf = ({ files, bytes }: Pick<StoredArtifact, 'files' | 'bytes'>): string =>
  `${files} ${files === 1 ? 'file' : 'files'}, ${bytes < 1_024 ? `${bytes} bytes` : formatSize(bytes)}`;

/** The lines of a packet about it. */
export function artifactLines(task: string, attempt: number, record: ArtifactRecord | undefined): string[] {
  if (!record) return [];
  const { stored, leftOut = [], leftOutMore } = record;
  return [
    ...(stored
      ? [
          `     artifact: ${amountOf(stored)}, sha256 ${stored.digest}`,
          `       at ${stored.ref} of ${stored.repository}; signalbox artifact ${task} --attempt ${attempt} --out DIR`,
        ]
      : []),
    ...leftOut.map(({ path, reason }) => `     not in the artifact: ${path}: ${reason}`),
    ...(leftOutMore ? [`     and ${leftOutMore} more`] : []),
  ];
}
