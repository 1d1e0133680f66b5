import { defineConfig } from 'vitest/config';

// For `npm run properties`: the properties alone, without a server, however long they take.
export default defineConfig({
  test: {
    include: ['test/decide.test.ts'],
    testNamePattern: /^properties/,
    testTimeout: 24 * 60 * 60_000,
    pool: 'forks',
  },
});
