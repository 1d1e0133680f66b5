// Values written by columns: they come back as they were, also those of a coordinator, and take less room.

import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromColumn, toColumn } from '../src/domain/columns.js';
import { carry, restore } from '../src/domain/state.js';
import { Box } from './support/box.js';

/** As another run of the coordinator gets it. */
const travelled = <T>(value: T): T => JSON.parse(JSON.stringify(value));

describe('a column', () => {
  test('gives back any JSON values', () => {
    const keys = fc.constantFrom('a', 'b', '__proto__', 'constructor', 'length', '0');
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom(null, true, '', 'x', 0, 1.5, -7, 2 ** 51, 2 ** 53 - 1, 1e300),
        fc.integer(),
        fc.array(tie('value'), { maxLength: 4 }),
        fc
          .array(fc.tuple(keys, tie('value')), { maxLength: 4 })
          .map((entries) => Object.fromEntries(entries)),
      ),
    }));
    fc.assert(
      fc.property(fc.array(value, { maxLength: 12 }), (values) => {
        expect(fromColumn(travelled(toColumn(values)))).toEqual(travelled(values));
      }),
      { numRuns: 2_000 },
    );
  });

  test('leaves out what is undefined, as JSON does', () => {
    expect(fromColumn(travelled(toColumn([{ a: undefined, b: 1 }, {}])))).toEqual([{ b: 1 }, {}]);
  });

  test('makes the tasks of a coordinator take half the room, and loses nothing of them', () => {
    const box = new Box({ ceiling: 500 });
    for (let i = 0; i < 300; i++) {
      const after = i > 30 && i % 3 === 0 ? [{ task: `s/t${i - 29}` }] : [];
      box.writes(`s/t${i}`, [`src/file${i % 100}.ts`], { after });
      if (box.phase(`s/t${i}`) === 'running' && i % 2 === 0) box.commits(`s/t${i}`);
    }
    const { tasks, ...rest } = carry(box.state);
    const column = travelled(toColumn(tasks));
    const again = restore({ ...travelled(rest), tasks: fromColumn(column) as typeof tasks });
    expect(carry(again)).toEqual(carry(restore(travelled({ ...rest, tasks }))));
    const size = (value: unknown) => gzipSync(JSON.stringify(value)).length;
    expect(size(column)).toBeLessThan(0.6 * size(tasks));
  });
});
