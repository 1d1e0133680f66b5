// YAML and JSON files as people write them, checked against a schema: every error at once, each with its place.

import { readFile } from 'node:fs/promises';
import { type Document, isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import type { z } from 'zod';
import { fieldPath, type Problem, problemsOf } from '../domain/problems.js';

/** All that is wrong with a file. The message has a line for each problem. */
export class BadDocument extends Error {
  constructor(
    readonly file: string,
    readonly problems: string[],
  ) {
    super(
      `${file} cannot be accepted: ${problems.length} problem${problems.length === 1 ? '' : 's'}\n${problems.map((problem) => `  ${problem}`).join('\n')}`,
    );
  }
}

export interface Checked<T> {
  value: T;
  /** Says further problems of the same document in the same way. */
  fail(problems: Problem[]): BadDocument;
}

/** Reads and parses a file; `choose` picks the schema by what stands in it. Throws BadDocument. */
export async function readDocument<T extends z.ZodType>(
  file: string,
  choose: (value: unknown) => T,
): Promise<Checked<z.infer<T>>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new BadDocument(file, [code === 'ENOENT' ? 'there is no such file' : message]);
  }
  return parseText(file, text, choose);
}

export function parseText<T extends z.ZodType>(
  file: string,
  text: string,
  choose: (value: unknown) => T,
): Checked<z.infer<T>> {
  const lines = new LineCounter();
  // Aliases are bounded: a small file must not expand into a large one.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  if (document.errors.length > 0) {
    throw new BadDocument(
      file,
      document.errors.map((error) => `${place(file, lines, error.pos[0])}: ${error.message}`),
    );
  }
  let input: unknown;
  try {
    input = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new BadDocument(file, [error instanceof Error ? error.message : String(error)]);
  }
  const fail = (problems: Problem[]) =>
    new BadDocument(
      file,
      problems.map((problem) => sentence(file, document, lines, problem)),
    );
  const schema = choose(input);
  const parsed = schema.safeParse(input);
  if (!parsed.success) throw fail(problemsOf(parsed.error, schema, input));
  return { value: parsed.data, fail };
}

function place(file: string, lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${file}:${line}:${col}`;
}

function sentence(file: string, document: Document, lines: LineCounter, problem: Problem): string {
  const { path, message, found, hint } = problem;
  const field = fieldPath(path);
  const where = place(file, lines, offsetOf(document, path, problem.atKey === true));
  return `${where}: ${field ? `${field}: ` : ''}${message}${found === undefined ? '' : ` (found ${found})`}${hint ? `; ${hint}` : ''}`;
}

/** Where the field stands, or the nearest thing around it that does. */
function offsetOf(document: Document, path: readonly (string | number)[], atKey: boolean): number {
  for (let length = path.length; length > 0; length--) {
    const inner = path.slice(0, length);
    const key = inner.at(-1);
    const parent = document.getIn(inner.slice(0, -1), true);
    if (isMap(parent)) {
      const pair = parent.items.find((item) => (isScalar(item.key) ? item.key.value : item.key) === key);
      const node = (atKey && length === path.length ? pair?.key : (pair?.value ?? pair?.key)) as
        | Node
        | null
        | undefined;
      if (node?.range) return node.range[0];
      continue;
    }
    const node = document.getIn(inner, true) as Node | undefined;
    if (node?.range) return node.range[0];
  }
  return document.contents?.range?.[0] ?? 0;
}
