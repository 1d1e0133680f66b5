import { defineConfig } from 'vitest/config';

// For `npm run mutants`: what tests the rules, without a server. It stops at the first test that fails.
export default defineConfig({
  test: {
    include: [
      'test/{assumptions,busy,circuits,claims,decide,epochs,extend,graph,handoff,hands,order,resources}.test.ts',
    ],
    testTimeout: 10 * 60_000,
    bail: 1,
    maxWorkers: 1,
    pool: 'forks',
  },
});
