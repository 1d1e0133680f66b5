// Many JSON values of one shape, written column by column: each field of all of them together, whole numbers as the difference
// to the one before. That is what column stores do (C-Store, Stonebraker et al. 2005), and for the same reason: what
// stands together is alike, so it compresses to half. Plain JSON, and nothing is lost but the order of an object's keys.

/** Values in their order. */
export type Column =
  | { values: unknown[] }
  /** Whole numbers: the first, then the difference of each to the one before. */
  | { steps: number[] }
  /** Lists: how long each is, and all that is in them one after the other. */
  | { lengths: Column; of: Column }
  /** Objects: for each key its values and, where some have none, which do, each as the distance to the one before. */
  | { count: number; keys: Record<string, { of: Column; gaps?: number[] }> };

/** Beyond this a difference may not be exact. */
const LARGEST = 2 ** 51;

/** Of JSON values; what is undefined is left out, as JSON does. */
export function toColumn(values: readonly unknown[]): Column {
  if (values.length === 0) return { values: [] };
  if (values.every(isWhole))
    return { steps: values.map((value, i) => value - (i > 0 ? (values[i - 1] as number) : 0)) };
  if (values.every(isList)) {
    return { lengths: toColumn(values.map(({ length }) => length)), of: toColumn(values.flat()) };
  }
  if (!values.every(isObject)) return { values: [...values] };
  const keys = new Map<string, { values: unknown[]; gaps: number[]; last: number }>();
  for (const [i, value] of values.entries())
    for (const [key, part] of Object.entries(value)) {
      if (part === undefined) continue;
      let column = keys.get(key);
      if (!column) {
        column = { values: [], gaps: [], last: 0 };
        keys.set(key, column);
      }
      column.values.push(part);
      column.gaps.push(i - column.last);
      column.last = i;
    }
  const packed = [...keys].map(([key, { values: parts, gaps }]) => {
    const of = toColumn(parts);
    return [key, parts.length === values.length ? { of } : { of, gaps }] as const;
  });
  return { count: values.length, keys: Object.fromEntries(packed) };
}

/** The values again. */
export function fromColumn(column: Column): unknown[] {
  if ('values' in column) return column.values;
  if ('steps' in column) {
    let last = 0;
    return column.steps.map((step) => {
      last += step;
      return last;
    });
  }
  if ('lengths' in column) {
    const parts = fromColumn(column.of);
    let at = 0;
    return (fromColumn(column.lengths) as number[]).map((length) => {
      at += length;
      return parts.slice(at - length, at);
    });
  }
  const objects: [string, unknown][][] = Array.from({ length: column.count }, () => []);
  for (const [key, { of, gaps }] of Object.entries(column.keys)) {
    let at = 0;
    for (const [i, value] of fromColumn(of).entries()) {
      at = gaps ? at + (gaps[i] as number) : i;
      objects[at]?.push([key, value]);
    }
  }
  // A key may be called __proto__.
  return objects.map((entries) => Object.fromEntries(entries));
}

const isWhole = (value: unknown): value is number =>
  Number.isInteger(value) && Math.abs(value as number) <= LARGEST && !Object.is(value, -0);
const isList = (value: unknown): value is unknown[] => Array.isArray(value);
const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
