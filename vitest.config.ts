import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes longest begins first, for the others to fill the time beside it. */
const LONGEST = [
  'workflows',
  'replay',
  'cli',
  'coordinator',
  'extend-run',
  'replay-history',
  'graph-fleet',
  'decide',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const place = LONGEST.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return place < 0 ? LONGEST.length : place;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    sequence: { sequencer: LongestFirst },
    // More than two cores: much of the time is spent waiting for real processes.
    maxWorkers: 4,
    pool: 'forks',
    // Real processes on a loaded machine: one more try there, and each use of it shows in the report as a retry.
    retry: process.env.CI ? 1 : 0,
  },
});
