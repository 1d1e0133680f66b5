// YAML and JSON files as people write them, checked against a schema: every error at once, each with its place.

import { readFile } from 'node:fs/promises';
import { type Document, isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import type { z } from 'zod';
import { fieldPath, type Problem, problemsOf, problemText } from '../domain/problems.js';

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
  /** What was written, without the schema's defaults and transformations. */
  source: unknown;
}

/**
 * Reads and parses a file; `choose` picks the schema by what stands in it, `misfits` finds what a schema cannot know.
 * Throws BadDocument.
 */
export async function readDocument<T extends z.ZodType>(
  file: string,
  choose: (source: unknown) => T,
  misfits?: (source: unknown) => Problem[],
): Promise<Checked<z.infer<T>>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new BadDocument(file, [
      code === 'ENOENT'
        ? 'there is no such file'
        : code === 'EISDIR'
          ? 'is a folder: name a file in it'
          : message,
    ]);
  }
  return parseText(file, text, choose, misfits);
}

export function parseText<T extends z.ZodType>(
  file: string,
  text: string,
  choose: (source: unknown) => T,
  misfits: (source: unknown) => Problem[] = () => [],
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
  let source: unknown;
  try {
    source = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new BadDocument(file, [error instanceof Error ? error.message : String(error)]);
  }
  const schema = choose(source);
  const parsed = schema.safeParse(source);
  const problems = parsed.success ? [] : problemsOf(parsed.error, schema, source);
  const told = new Set(problems.map(({ path }) => fieldPath(path)));
  problems.push(...misfits(source).filter(({ path }) => !told.has(fieldPath(path))));
  if (parsed.success && problems.length === 0) return { value: parsed.data, source };
  throw new BadDocument(
    file,
    problems
      .map((problem) => ({ problem, offset: offsetOf(document, problem.path, problem.atKey === true) }))
      .sort((a, b) => a.offset - b.offset)
      .map(({ problem, offset }) => `${place(file, lines, offset)}: ${problemText(problem)}`),
  );
}

function place(file: string, lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${file}:${line}:${col}`;
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
