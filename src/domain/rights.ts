// What a landing may change: the paths that its task claims in the repository where it lands.

import { fold } from './folding.js';
import { covers, type Pattern, parsePattern } from './paths.js';

/** The repository where the work lands. */
export interface Place {
  repository: string;
  caseInsensitive: boolean;
}

/** Says of a path whether a task with these claims may change it there. Claims in other repositories do not count. */
export function mayChange(writes: readonly string[], place: Place): (path: string) => boolean {
  const here = writes
    .map(parsePattern)
    .filter(({ repository = place.repository }) => repository === place.repository);
  return coveredBy(here, place.caseInsensitive);
}

/** As `covers` by one of the patterns; files and directories are looked up, however many they are. */
function coveredBy(patterns: readonly Pattern[], caseInsensitive: boolean): (path: string) => boolean {
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
