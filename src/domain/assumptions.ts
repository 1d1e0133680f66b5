// What a task relies on beside the ends of others: facts about a branch, a file, an artifact or an issue. Each is either
// as assumed or not; what follows from a broken one is the task's policy.

import { z } from 'zod';
import { NAME } from './ids.js';

const Commit = z.string().regex(/^[0-9a-f]{40}([0-9a-f]{24})?$/, "a commit's full id");
const Sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'a SHA-256 digest: 64 hexadecimal digits, as `sha256sum` prints it');
const Repository = z
  .string()
  .regex(NAME, 'the name of a repository of the fleet')
  .optional()
  .describe("The repository; the task's own when left out.");

export const Assumption = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('branch-at').describe('The shared branch stands at the commit.'),
    commit: Commit.describe("The commit's full id."),
    repository: Repository,
  }),
  z.strictObject({
    kind: z.literal('branch-contains').describe('The shared branch contains the commit.'),
    commit: Commit.describe("The commit's full id."),
    repository: Repository,
  }),
  z.strictObject({
    kind: z.literal('file').describe('A file on the shared branch has this content.'),
    path: z
      .string()
      .regex(
        /^(?!\/)(?!.*(?:^|\/)\.{1,2}(?:\/|$))[^\u0000-\u001f\\]+[^/]$|^[^/.\\]$/,
        "a file's path from the repository's root",
      )
      .describe("The file, from the repository's root."),
    sha256: Sha256.describe('Of its content.'),
    repository: Repository,
  }),
  z.strictObject({
    kind: z
      .literal('artifact')
      .describe("A file on the worker's host, what a URL gives, or a task's artifact has this digest."),
    at: z
      .string()
      .regex(
        /^(?:(?:\/|https?:\/\/).|task:[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$)/,
        'an absolute path, an http(s) URL, or task:PLAN/TASK',
      )
      .describe("An absolute path on the worker's host, an http(s) URL, or `task:PLAN/TASK`."),
    sha256: Sha256.describe("Of its bytes; of a task's artifact the digest in its packet."),
  }),
  z.strictObject({
    kind: z.literal('issue').describe("The tracker's issue is in this state."),
    key: z.string().min(1).max(200).describe("The issue's key."),
    state: z.string().min(1).max(200).describe('The state that `signalbox issue` tells.'),
    revision: z.string().min(1).max(200).optional().describe('And at this revision of its text.'),
  }),
]);
export type Assumption = z.infer<typeof Assumption>;

export const ON_BROKEN = ['continue', 'hold', 'retry', 'cancel'] as const;
export type OnBroken = (typeof ON_BROKEN)[number];

/** What a check found. `holds` absent: it could not be found out, and `found` says why. */
export interface Finding {
  holds?: boolean;
  found: string;
}

const short = (id: string): string => id.slice(0, 12);

/** What is expected, in words. */
export function expectation(assumption: Assumption): string {
  switch (assumption.kind) {
    case 'branch-at':
      return `the branch at ${short(assumption.commit)}`;
    case 'branch-contains':
      return `the branch to contain ${short(assumption.commit)}`;
    case 'file':
      return `${assumption.path} with the content ${short(assumption.sha256)}`;
    case 'artifact':
      return `${assumption.at} with the digest ${short(assumption.sha256)}`;
    case 'issue':
      return `issue ${assumption.key} to be ${assumption.state}${assumption.revision === undefined ? '' : ` at revision ${assumption.revision}`}`;
  }
}
