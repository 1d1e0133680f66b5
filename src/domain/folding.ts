// Names as a repository sees them that takes `A` for `a`: Unicode case folding, after NFC. Locale and context do not
// matter (`ς`, `Σ` and `σ` are one letter, `ß` and `SS` are one name), so two spellings of one file never look like two.

/** The name that stands for all spellings of it. Folding twice changes nothing. */
export const fold = (name: string): string => (ASCII.test(name) ? name.toLowerCase() : foldUnicode(name));

const ASCII = /^[\0-\x7f]*$/;

function foldUnicode(name: string): string {
  let folded = '';
  // Upper case first: what has none of its own (`ß`, `ŉ`) shows there what it is made of. Twice, for `ẞ` becomes `ß`.
  // Letter by letter, for the lower case of `Σ` depends on where it stands.
  for (const letter of name.normalize('NFC')) folded += lower(lower(letter));
  return folded.normalize('NFC');
}

const lower = (letter: string): string => {
  let text = '';
  for (const one of letter.toUpperCase()) text += one.toLowerCase();
  return text;
};

/** The last letter that has a case, and a little more. */
const LAST_CASED = 0x1e9ff;

let table: (readonly [number, number])[] | undefined;

/** Every code point that folds to another single one, with that one, in ascending order. */
export function foldedLetters(): readonly (readonly [number, number])[] {
  if (table) return table;
  table = [];
  for (let code = 0; code <= LAST_CASED; code++) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const [first, ...more] = fold(String.fromCodePoint(code));
    const to = first?.codePointAt(0);
    if (to !== undefined && to !== code && more.length === 0) table.push([code, to]);
  }
  return table;
}
