// One component of a `:(glob)`, as git's wildmatch takes it: `*` any characters, `?` one, `[a-z]` one of a class,
// `[!a-z]` or `[^a-z]` one that is not in it, never a `/`; no escape (`[*]` is a star). Characters are code points, where
// git counts bytes. Whatever the pattern, matching takes at most time in proportion to both lengths multiplied.

import { fold, foldedLetters } from './folding.js';

/** Code points as ranges, ascending, apart. */
export type Chars = readonly (readonly [number, number])[];

/** One character out of a set, or any number of any characters. */
export type Token = { readonly chars: Chars } | 'star';

/** A component that holds a wildcard. */
export interface Wild {
  readonly tokens: readonly Token[];
  /** The tokens for names that are folded. */
  readonly folded: () => readonly Token[];
}

export class BadComponent extends Error {}

type Piece =
  | { kind: 'text'; text: string }
  | { kind: 'class'; chars: Chars; negated: boolean }
  | { kind: 'one' }
  | { kind: 'star' };

const LAST = 0x10ffff;
const SLASH = 0x2f;

/** Reads a component; one without a wildcard is a name. Throws BadComponent, which says what is wrong. */
export function parseComponent(text: string): string | Wild {
  const pieces = piecesOf([...text]);
  const [first] = pieces;
  if (first?.kind === 'text' && pieces.length === 1) return first.text;
  let folded: readonly Token[] | undefined;
  return {
    tokens: pieces.flatMap(tokensOf),
    folded: () => {
      folded ??= pieces.map(foldPiece).flatMap(tokensOf);
      return folded;
    },
  };
}

function piecesOf(letters: readonly string[]): Piece[] {
  const pieces: Piece[] = [];
  const literal = (text: string) => {
    const last = pieces.at(-1);
    if (last?.kind === 'text') last.text += text;
    else pieces.push({ kind: 'text', text });
  };
  for (let at = 0; at < letters.length; at++) {
    const letter = letters[at] as string;
    if (letter === '*') {
      if (pieces.at(-1)?.kind !== 'star') pieces.push({ kind: 'star' });
    } else if (letter === '?') {
      pieces.push({ kind: 'one' });
    } else if (letter === '[') {
      const { piece, end } = classAt(letters, at);
      const [one] = piece.chars;
      if (!piece.negated && piece.chars.length === 1 && one && one[0] === one[1])
        literal(String.fromCodePoint(one[0]));
      else pieces.push(piece);
      at = end;
    } else {
      literal(letter);
    }
  }
  return pieces;
}

/** The class that begins at `[`, and where its `]` is. A `]` right at its beginning stands for itself, as in git. */
function classAt(
  letters: readonly string[],
  begin: number,
): { piece: Extract<Piece, { kind: 'class' }>; end: number } {
  let at = begin + 1;
  const negated = letters[at] === '!' || letters[at] === '^';
  if (negated) at++;
  const ranges: (readonly [number, number])[] = [];
  /** What a `-` would begin a range from. */
  let from: number | undefined;
  for (let first = true; first || letters[at] !== ']'; first = false) {
    const letter = letters[at];
    if (letter === undefined)
      throw new BadComponent(
        'a "[" begins a class that no "]" ends before the next "/": write [[] for a "["',
      );
    const next = letters[at + 1];
    const named = letter === '[' && next === ':' ? namedClass(letters, at) : undefined;
    if (named) {
      ranges.push(...named.chars);
      at = named.end + 1;
      from = undefined;
    } else if (letter === '-' && from !== undefined && next !== undefined && next !== ']') {
      const to = codeOf(next);
      if (to < from)
        throw new BadComponent(`the range ${String.fromCodePoint(from)}-${next} in a class is empty`);
      ranges.push([from, to]);
      at += 2;
      from = undefined;
    } else {
      from = codeOf(letter);
      ranges.push([from, from]);
      at++;
    }
  }
  return { piece: { kind: 'class', chars: union(ranges), negated }, end: at };
}

const codeOf = (letter: string): number => letter.codePointAt(0) ?? 0;

const NAMED: Readonly<Record<string, string>> = {
  alnum: '09AZaz',
  alpha: 'AZaz',
  blank: '  \t\t',
  cntrl: '\0\x1f\x7f\x7f',
  digit: '09',
  graph: '!~',
  lower: 'az',
  print: ' ~',
  punct: '!/:@[`{~',
  space: '  \t\r',
  upper: 'AZ',
  xdigit: '09AFaf',
};

/** `[:alpha:]` within a class, ASCII only, as in git. Undefined when it is none: then its `[` stands for itself. */
function namedClass(letters: readonly string[], begin: number): { chars: Chars; end: number } | undefined {
  const end = letters.indexOf(']', begin + 2);
  if (end < begin + 3 || letters[end - 1] !== ':') return undefined;
  const name = letters.slice(begin + 2, end - 1).join('');
  const bounds = Object.hasOwn(NAMED, name) ? NAMED[name] : undefined;
  if (bounds === undefined)
    throw new BadComponent(`[:${name}:] is no class: there are ${Object.keys(NAMED).join(', ')}`);
  const chars: [number, number][] = [];
  for (let i = 0; i < bounds.length; i += 2) chars.push([bounds.charCodeAt(i), bounds.charCodeAt(i + 1)]);
  return { chars, end };
}

function tokensOf(piece: Piece): Token[] {
  switch (piece.kind) {
    case 'text':
      return nameTokens(piece.text);
    case 'class':
      return [{ chars: piece.negated ? complement(piece.chars) : without(piece.chars, SLASH) }];
    case 'one':
      return [{ chars: complement([]) }];
    case 'star':
      return ['star'];
  }
}

/** A name as tokens, one for each of its characters. */
export const nameTokens = (name: string): Token[] =>
  [...name].map((letter) => ({ chars: [[codeOf(letter), codeOf(letter)]] }));

/** A class holds what one of its members folds to; a negated one what none of them does. */
function foldPiece(piece: Piece): Piece {
  if (piece.kind === 'text') return { kind: 'text', text: fold(piece.text) };
  if (piece.kind !== 'class') return piece;
  let chars = piece.chars;
  const targets: [number, number][] = [];
  for (const [code, to] of foldedLetters()) {
    if (!contains(chars, code)) continue;
    targets.push([to, to]);
    chars = without(chars, code);
  }
  return { ...piece, chars: union([...chars, ...targets]) };
}

// ---- sets of characters

function union(ranges: readonly (readonly [number, number])[]): Chars {
  const joined: [number, number][] = [];
  for (const [low, high] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = joined.at(-1);
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else joined.push([low, high]);
  }
  return joined;
}

/** All characters that a name can hold and the set does not. */
function complement(chars: Chars): Chars {
  const left: [number, number][] = [];
  let from = 0;
  for (const [low, high] of union([...chars, [SLASH, SLASH]])) {
    if (low > from) left.push([from, low - 1]);
    from = high + 1;
  }
  if (from <= LAST) left.push([from, LAST]);
  return left;
}

const without = (chars: Chars, code: number): Chars =>
  contains(chars, code)
    ? chars.flatMap(([low, high]): [number, number][] =>
        code < low || code > high
          ? [[low, high]]
          : ([
              [low, code - 1],
              [code + 1, high],
            ].filter(([from = 0, to = 0]) => from <= to) as [number, number][]),
      )
    : chars;

const contains = (chars: Chars, code: number): boolean =>
  chars.some(([low, high]) => low <= code && code <= high);

export const charsMeet = (a: Chars, b: Chars): boolean =>
  a.some(([low, high]) => b.some(([from, to]) => low <= to && from <= high));

/** The only character of a set, if it has one. */
export function onlyChar(chars: Chars): number | undefined {
  const [first, ...more] = chars;
  return first && more.length === 0 && first[0] === first[1] ? first[0] : undefined;
}

// ---- matching

/** Whether the whole name matches: no star is ever tried again once a later one has been reached. */
export function matchesName(tokens: readonly Token[], name: string): boolean {
  const letters = [...name];
  let token = 0;
  let at = 0;
  let star = -1;
  let resume = 0;
  while (at < letters.length) {
    const wanted = tokens[token];
    if (wanted === 'star') {
      star = token++;
      resume = at;
    } else if (wanted && contains(wanted.chars, codeOf(letters[at] as string))) {
      token++;
      at++;
    } else if (star >= 0) {
      token = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
  while (tokens[token] === 'star') token++;
  return token === tokens.length;
}

/** Whether some name matches both: exact, by the product of the two patterns as automata. */
export function tokensMeet(a: readonly Token[], b: readonly Token[]): boolean {
  const width = b.length + 1;
  let reached = new Uint8Array(width);
  reached[0] = 1;
  for (let i = 0; ; i++) {
    const x = a[i];
    for (let j = 0; j < b.length; j++) if (reached[j] && b[j] === 'star') reached[j + 1] = 1;
    if (x === undefined) return reached[b.length] === 1;
    const next = new Uint8Array(width);
    for (let j = 0; j <= b.length; j++) {
      if (!reached[j]) continue;
      const y = b[j];
      if (x === 'star') {
        // The star takes nothing, or what the other asks for next.
        next[j] = 1;
        if (y !== undefined) reached[j + 1] = 1;
      } else if (y === 'star') {
        next[j] = 1;
      } else if (y && charsMeet(x.chars, y.chars)) {
        next[j + 1] = 1;
      }
    }
    reached = next;
  }
}
