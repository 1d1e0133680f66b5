import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Two cores: more files at once only make each of them slower.
    maxWorkers: 2,
    pool: 'forks',
    // Real processes on a loaded machine: one more try there, and each use of it shows in the report as a retry.
    retry: process.env.CI ? 1 : 0,
  },
});
