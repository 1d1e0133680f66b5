// What a landing may change in a repository: what its task claims, and what the repository's own words leave to others.
// Which of its paths are shared, and so need a claim; which directories are one role's own; which files are generated.

import { z } from 'zod';
import { Claim, Command, Name } from './fields.js';
import { fold } from './folding.js';
import { covers, type Pattern, parsePattern } from './paths.js';

/** A pattern of the repository that it stands under. */
const Here = Claim.superRefine((claim, ctx) => {
  if (/^[^:/]+:/.test(claim))
    ctx.addIssue({ code: 'custom', message: 'these are paths of this repository: leave its name out' });
});
const Paths = z.array(Here).min(1);

export const Surfaces = z.strictObject({
  shared: Paths.optional().describe(
    'The paths that need a claim, such as code that runs, migrations, rules for agents; what else there is needs none. Every path when left out.',
  ),
  own: z
    .record(Name, Paths)
    .default({})
    .describe(
      "Directories that are one role's own: it needs no claim there, and no other role lands anything there.",
    ),
  generated: z
    .array(
      z.strictObject({
        paths: Paths.describe('Files that a command makes from others, such as lockfiles.'),
        regenerate: Command.optional().describe(
          'Makes them anew, in a checkout of the merged tree. Without it they stay as they are on the branch.',
        ),
      }),
    )
    .default([])
    .describe(
      'Files that need no claim: what a task without one changes there is set aside, and they are made anew before verify. Claimed, they land as written.',
    ),
});
export type Surfaces = z.infer<typeof Surfaces>;

/** The repository where the work lands, and whose work it is. */
export interface Place {
  repository: string;
  caseInsensitive: boolean;
  claims?: Surfaces | undefined;
  role: string;
}

/** `generated`: set aside and made anew, by the entry of that position. */
export type Right =
  | { kind: 'lands' }
  | { kind: 'generated'; entry: number }
  | { kind: 'unclaimed' }
  | { kind: 'own'; of: string };

/** Says of each path what becomes of a change there. Claims in other repositories do not count. */
export function rightsOf(writes: readonly string[], place: Place): (path: string) => Right {
  const { repository, caseInsensitive, claims: surfaces, role } = place;
  const among = (patterns: readonly Pattern[]) => coveredBy(patterns, caseInsensitive);
  const ours = writes.map(parsePattern).filter((one) => (one.repository ?? repository) === repository);
  const claimed = among(ours);
  const shared = surfaces?.shared && among(surfaces.shared.map(parsePattern));
  const own = Object.entries(surfaces?.own ?? {}).map(([of, paths]) => ({
    of,
    covers: among(paths.map(parsePattern)),
  }));
  const generated = (surfaces?.generated ?? []).map(({ paths }) => among(paths.map(parsePattern)));
  return (path) => {
    const owners = own.filter((one) => one.covers(path)).map(({ of }) => of);
    if (owners[0] !== undefined && !owners.includes(role)) return { kind: 'own', of: owners[0] };
    if (claimed(path)) return { kind: 'lands' };
    const entry = generated.findIndex((one) => one(path));
    if (entry >= 0) return { kind: 'generated', entry };
    if (owners.length > 0 || (shared && !shared(path))) return { kind: 'lands' };
    return { kind: 'unclaimed' };
  };
}

/** As `covers` by one of the patterns; files and directories are looked up, however many they are. */
export function coveredBy(patterns: readonly Pattern[], caseInsensitive: boolean): (path: string) => boolean {
  const spelling = (path: string) => (caseInsensitive ? fold(path) : path.normalize('NFC'));
  const literal = new Set<string>();
  const rest: Pattern[] = [];
  for (const pattern of patterns) {
    if (pattern.glob || pattern.segments.length === 0) rest.push(pattern);
    else literal.add(spelling(pattern.segments.join('/')));
  }
  return (path) => {
    const text = spelling(path);
    for (let at = text.length; at > 0; at = text.lastIndexOf('/', at - 1))
      if (literal.has(text.slice(0, at))) return true;
    return rest.some((pattern) => covers(pattern, path, caseInsensitive));
  };
}
