import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 240_000,
    hookTimeout: 240_000,
    // Two cores, and much of the time is spent waiting for real processes.
    maxWorkers: 3,
    pool: 'forks',
  },
});
