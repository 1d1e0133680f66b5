import fc from 'fast-check';
import { describe, test } from 'vitest';
import { Fleet, ops, specs } from './support/fleet-model.js';

const RUNS = Number(process.env.SIGNALBOX_RUNS ?? 150);

describe('properties', () => {
  for (const faults of [false, true])
    test(`faults ${faults}`, () => {
      fc.assert(
        fc.property(specs(), ops(faults), (list, what) => {
          const fleet = new Fleet(list);
          for (const op of what) fleet.perform(op);
          fleet.finish();
        }),
        { numRuns: RUNS },
      );
    });
});
