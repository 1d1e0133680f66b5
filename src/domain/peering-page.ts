// The lists of docs/peering.md, as the program goes by them.

import { BAD_KINDS, BAD_NAMES } from './peering.js';
import { EXCLUDES } from './peering-excludes.js';

const list = (entries: readonly (readonly [string, string])[]): string =>
  entries.map(([what, why]) => `- ${what}: ${why}`).join('\n');

/** By the marker that stands before each in the page. */
const lists = (): Record<string, string> => ({
  excludes: list(EXCLUDES.map(({ pattern, reason }) => [`\`${pattern}\``, reason])),
  names: list(Object.entries(BAD_NAMES)),
  kinds: list(Object.entries(BAD_KINDS)),
});

/** The page with its lists as they have to be. Throws when one has no place in it. */
export function withLists(page: string): string {
  return Object.entries(lists()).reduce((text, [name, rows]) => {
    const [before, rest] = split(text, `<!-- ${name} -->\n`);
    const [, after] = split(rest, '<!-- end -->');
    return `${before}<!-- ${name} -->\n\n${rows}\n\n<!-- end -->${after}`;
  }, page);
}

function split(text: string, marker: string): [string, string] {
  const at = text.indexOf(marker);
  if (at < 0) throw new Error(`the page has no ${marker.trim()}`);
  return [text.slice(0, at), text.slice(at + marker.length)];
}
