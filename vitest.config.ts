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
    // Real processes on a loaded machine: one more try there, and each use of it shows in the report as a retry.
    retry: process.env.CI ? 1 : 0,
  },
});
