// Tables for terminals: columns as wide as they need to be, the last one cut where the line ends.

/** The first line of a text that has several. */
export function firstLine(text: string): string {
  const end = text.indexOf('\n');
  return end < 0 ? text : `${text.slice(0, end)} …`;
}

export function table(header: string[], rows: string[][], width = process.stdout.columns ?? 160): string {
  const widths = header.map((title, i) =>
    Math.max(title.length, ...rows.map((row) => (row[i] ?? '').length)),
  );
  const line = (cells: string[]) =>
    cells
      .map((cell, i) => (i === cells.length - 1 ? firstLine(cell) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .slice(0, Math.max(40, width));
  return [line(header), ...rows.map(line)].join('\n');
}
