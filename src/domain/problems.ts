// What is wrong with an input, all of it at once: the field, what was found, what would be right.

import type { z } from 'zod';

export interface Problem {
  path: (string | number)[];
  message: string;
  /** What stood there, shortened; absent when nothing did. */
  found?: string;
  /** "did you mean …?" */
  hint?: string;
  /** True when the path names a key that should not be there, so that the place is the key's. */
  atKey?: boolean;
}

/** The nearest of the candidates by edit distance (Levenshtein, and two letters swapped count as one slip), when it is near enough to be a slip. */
export function didYouMean(word: string, candidates: readonly string[]): string | undefined {
  const near = candidates
    .map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  return near && near.distance <= Math.max(1, Math.floor(word.length / 3)) ? near.candidate : undefined;
}

function editDistance(a: string, b: string): number {
  let above: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const turned = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      next.push(
        Math.min(
          swap,
          (row[j] ?? 0) + 1,
          (next[j - 1] ?? 0) + 1,
          turned ? (above[j - 2] ?? 0) + 1 : Infinity,
        ),
      );
    }
    above = row;
    row = next;
  }
  return row[b.length] ?? 0;
}

/** Turns what zod found into problems; `schema` is asked for the keys that would have been known. */
export function problemsOf(error: z.ZodError, schema: z.ZodType, input: unknown): Problem[] {
  return error.issues.flatMap((issue) => fromIssue(issue, schema, input));
}

function fromIssue(issue: z.core.$ZodIssue, schema: z.ZodType, input: unknown): Problem[] {
  const path = issue.path.filter((part) => typeof part !== 'symbol');
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, path);
    return issue.keys.map((key) => {
      const near = didYouMean(key, known);
      const hint = near ? `did you mean "${near}"?` : `known here: ${known.join(', ')}`;
      return { path: [...path, key], message: `unknown key "${key}"`, hint, atKey: true };
    });
  }
  if (issue.code === 'invalid_union') {
    const nearest = nearestOption(issue);
    if (nearest.length > 0)
      return nearest.flatMap((inner) =>
        fromIssue({ ...inner, path: [...path, ...inner.path] }, schema, input),
      );
  }
  const found = at(input, path);
  const candidates =
    issue.code === 'custom'
      ? (issue.params as { candidates?: string[]; found?: string } | undefined)
      : undefined;
  const near =
    candidates?.candidates && candidates.found
      ? didYouMean(candidates.found, candidates.candidates)
      : undefined;
  return [
    {
      path,
      message: expectation(issue, found),
      ...(found === undefined ? {} : { found: shown(found) }),
      ...(near ? { hint: `did you mean "${near}"?` } : {}),
    },
  ];
}

/** The option of a union that fits the input's type: its own errors say more than "none of these". */
function nearestOption(issue: z.core.$ZodIssueInvalidUnion): z.core.$ZodIssue[] {
  const without = (code: string, options: z.core.$ZodIssue[][]) =>
    options.filter((errors) => !errors.some((error) => error.code === code && error.path.length === 0));
  const fitting = without('invalid_type', issue.errors);
  // A list of words is no type: a map fits it no more than another word does.
  const options = fitting.length > 1 ? without('invalid_value', fitting) : fitting;
  return options.length === 1 ? (options[0] ?? []) : [];
}

function expectation(issue: z.core.$ZodIssue, found: unknown): string {
  switch (issue.code) {
    case 'invalid_type':
      return found === undefined
        ? `is missing (expected ${issue.expected})`
        : `expected ${issue.expected}, found ${typeName(found)}`;
    case 'invalid_value':
      return `expected one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
    case 'invalid_format':
      return `expected ${issue.message}`;
    case 'too_small':
      return issue.origin === 'string' || issue.origin === 'array'
        ? `must not be ${issue.minimum === 1 ? 'empty' : `shorter than ${issue.minimum}`}`
        : `must be at least ${issue.minimum}`;
    case 'too_big':
      return issue.origin === 'string' || issue.origin === 'array'
        ? `must not be longer than ${issue.maximum}`
        : `must be at most ${issue.maximum}`;
    case 'invalid_union': {
      if (found === undefined) return 'is missing';
      const kinds = issue.errors
        .flat()
        .flatMap((error) => (error.code === 'invalid_type' ? error.expected : []));
      return kinds.length > 0
        ? `expected ${[...new Set(kinds)].join(' or ')}, found ${typeName(found)}`
        : issue.message;
    }
    case 'invalid_key':
      return `not a good name: ${issue.issues.map((inner) => inner.message).join('; ')}`;
    default:
      return issue.message;
  }
}

const typeName = (value: unknown): string =>
  value === null
    ? 'nothing'
    : Array.isArray(value)
      ? 'a list'
      : typeof value === 'object'
        ? 'a map'
        : `a ${typeof value}`;

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

function at(input: unknown, path: readonly (string | number)[]): unknown {
  let value = input;
  for (const part of path)
    value =
      typeof value === 'object' && value !== null
        ? (value as Record<string | number, unknown>)[part]
        : undefined;
  return value;
}

/** The keys of the object schema at the path, through optionals, defaults, lists, records and unions. */
function keysAt(schema: z.core.$ZodType, path: readonly (string | number)[]): string[] {
  const def = (schema as z.ZodType).def as unknown as Record<string, unknown>;
  const inner = (def.innerType ?? (def.type === 'pipe' ? def.in : undefined)) as z.core.$ZodType | undefined;
  if (inner) return keysAt(inner, path);
  if (def.type === 'union')
    return (def.options as z.core.$ZodType[]).flatMap((option) => keysAt(option, path));
  const [head, ...rest] = path;
  if (def.type === 'object') {
    const shape = def.shape as Record<string, z.core.$ZodType>;
    if (head === undefined) return Object.keys(shape);
    const next = shape[String(head)];
    return next ? keysAt(next, rest) : [];
  }
  const element = (def.element ?? def.valueType) as z.core.$ZodType | undefined;
  return element && head !== undefined ? keysAt(element, rest) : [];
}

/** One problem as a sentence; `where` is said of the input itself. */
export function problemText({ path, message, found, hint }: Problem, where = ''): string {
  const field = fieldPath(path) || where;
  return `${field ? `${field}: ` : ''}${message}${found === undefined ? '' : ` (found ${found})`}${hint ? `; ${hint}` : ''}`;
}

/** `tasks[2].after[0]`: a field path as people read it. */
export function fieldPath(path: readonly (string | number)[]): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join('');
}
