// Reason codes: one list, one kind each, a sentence for each; the page that lists them says what the list says.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { explain, KINDS, REASONS, type ReasonCode } from '../src/domain/reasons.js';
import { reasonsPage } from '../src/domain/reasons-page.js';

const CODES = Object.keys(REASONS) as ReasonCode[];

describe('a reason code', () => {
  it('stands in exactly one kind', () => {
    const all = Object.values(KINDS).flatMap((codes) => Object.keys(codes));
    expect([...all].sort()).toEqual([...CODES].sort());
    expect(new Set(all).size).toBe(all.length);
  });

  it.each(CODES)('%s has a sentence of its own, that does not need the code to be understood', (code) => {
    const text = explain(code, {});
    expect(text.length).toBeGreaterThan(5);
    expect(text).not.toContain(code);
  });
});

describe('docs/reasons.md', () => {
  it('is what `npm run reasons` makes of the list', () => {
    expect(readFileSync('docs/reasons.md', 'utf8')).toBe(reasonsPage());
  });

  it('shows each code with the evidence that fills its sentence', () => {
    expect(reasonsPage()).toContain('- `PATH_HELD`: ‹path› overlaps ‹held›, held by ‹holder›');
    for (const code of CODES) expect(reasonsPage()).toContain(`- \`${code}\`: `);
  });
});
