// Amounts of memory, disk and output as people write them ("512MB", "8GB") and as the code uses them: bytes, in powers of 1,024.

const UNITS = { KB: 1_024, MB: 1_024 ** 2, GB: 1_024 ** 3, TB: 1_024 ** 4 } as const;

export const SIZE = /^(\d+(?:\.\d+)?)(KB|MB|GB|TB)$/;

/** Bytes; undefined when the text is no size. */
export function parseSize(text: string): number | undefined {
  const match = SIZE.exec(text.trim());
  if (!match) return undefined;
  return Math.round(Number(match[1]) * UNITS[match[2] as keyof typeof UNITS]);
}

/** "512MB", "1.5GB": the largest unit that gives at least one. */
export function formatSize(bytes: number): string {
  const [name, unit] =
    Object.entries(UNITS).findLast(([, size]) => bytes >= size) ?? (['KB', UNITS.KB] as const);
  return `${Number((bytes / unit).toFixed(1))}${name}`;
}
