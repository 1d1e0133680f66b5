// Setup commands: what makes a fresh clone ready to work in, such as `npm ci`, and which folders of it stand for the
// result. Two workstations get the same result when their keys are the same text.

import { z } from 'zod';
import { formatDuration } from './durations.js';
import { Command, Duration } from './fields.js';

const CONTROL = /[\u0000-\u001f\u007f]/;

/** A path from the repository's root, written in the one way there is. */
const PlainPath = z
  .string()
  .max(1_000)
  .refine(
    (path) =>
      !CONTROL.test(path) &&
      path.split('/').every((part) => !['', '.', '..'].includes(part) && part.toLowerCase() !== '.git'),
    'a path from the repository\'s root, such as "web/node_modules": no pattern, no "..", no "/" at its ends, nothing of .git',
  );

export const SetupCommand = z.strictObject({
  run: Command,
  key: z
    .array(PlainPath)
    .default([])
    .describe(
      'Files of the repository that decide what comes out, such as the lockfile: same contents, same result. Where one is missing the command is run, and nothing kept.',
    ),
  keep: z
    .array(PlainPath)
    .default([])
    .describe(
      'Folders that it makes. Later workstations with the same key get copies of them instead of running it. They are never part of what an agent leaves.',
    ),
  timeout: Duration.prefault('10m').describe('The longest it may take.'),
});
export type SetupCommand = z.infer<typeof SetupCommand>;

const meet = (a: string, b: string): boolean => a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);

export const Setup = z
  .array(SetupCommand)
  .default([])
  .superRefine((commands, ctx) => {
    const complain = (path: (string | number)[], message: string) =>
      ctx.addIssue({ code: 'custom', path, message });
    const kept: string[] = [];
    for (const [i, { key, keep }] of commands.entries()) {
      if (keep.length > 0 && key.length === 0)
        complain([i, 'key'], 'what is kept needs a key: the files that decide what comes out');
      if (key.length > 0 && keep.length === 0)
        complain([i, 'keep'], 'a key is for what is kept: name the folders, or leave the key out');
      for (const [j, path] of keep.entries()) {
        const other = kept.find((one) => meet(one, path));
        if (other !== undefined)
          complain([i, 'keep', j], `"${path}" overlaps "${other}", which is kept already`);
        kept.push(path);
      }
    }
  })
  .describe(
    'Run in the clone before the agent, one after the other, in the same sandbox with the same limits and network and without secrets. One that fails ends the attempt.',
  );

/** What became of one setup command in an attempt. */
export interface SetupRecord {
  run: string;
  how: 'ran' | 'reused' | 'failed';
  /** Milliseconds. */
  took: number;
  /** Its result was kept for others. */
  kept?: true;
  /** Connections that the network of its kind of agent does not allow. */
  refused?: { host: string; port: number; why: string; count: number }[];
}

/** A file that a key names, with the digest of what is in it. */
export interface KeyFile {
  path: string;
  digest: string;
}

/** What two workstations must have in common to get the same result. The digest of this text is the key. */
export const setupKey = (
  { run, keep }: Pick<SetupCommand, 'run' | 'keep'>,
  where: { repository: string; system: string },
  files: readonly KeyFile[],
): string =>
  JSON.stringify([
    'signalbox setup 1',
    where.repository,
    where.system,
    run,
    keep,
    files.map(({ path, digest }) => [path, digest]),
  ]);

export const runText = (run: SetupCommand['run']): string =>
  (typeof run === 'string' ? run : run.join(' ')).slice(0, 200);

/** A line of git's exclude file for exactly this path. */
export const excludeLine = (path: string): string => `/${path.replace(/[\\*?[\] ]/g, '\\$&')}`;

const HOW = { ran: 'took', reused: 'its result was reused, in', failed: 'failed after' } as const;

export const setupLines = (records: readonly SetupRecord[] = []): string[] =>
  records.flatMap(({ run, how, took, kept, refused = [] }) => [
    `     setup ${run}: ${HOW[how]} ${formatDuration(took)}${kept ? ', kept for others' : ''}`,
    ...refused.map(({ host, port, why, count }) => `       refused ${count}x ${host}:${port}: ${why}`),
  ]);
