import { defineConfig } from 'vitest/config';

// The attacks on workstations alone: they need no Temporal server.
export default defineConfig({
  test: {
    include: ['test/attack/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 3,
    pool: 'forks',
  },
});
