// Tables for terminals.

import { expect, test } from 'vitest';
import { table } from '../src/cli/table.js';

test('a row stays one line, whatever its last cell says', () => {
  const rows = [
    ['s/a', 'failed', 'verify `npm test`: exit code 1\n12 tests\n1 failed'],
    ['s/b', 'held', 'waits'],
  ];
  expect(table(['TASK', 'STATE', 'WHY'], rows, 80).split('\n')).toEqual([
    'TASK  STATE   WHY',
    's/a   failed  verify `npm test`: exit code 1 …',
    's/b   held    waits',
  ]);
});
