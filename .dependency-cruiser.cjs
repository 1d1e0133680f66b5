/** The arrows of docs/architecture.md. `npm run check` fails when an import goes against one. */
const only = (name, from, allowed) => ({
  name,
  severity: 'error',
  from: { path: from },
  to: { path: '^(src|workflows|activities|worker|test|bench)/', pathNot: [from, ...allowed] },
});

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    only('domain-stands-alone', '^src/domain/', []),
    {
      name: 'domain-imports-zod-only',
      severity: 'error',
      from: { path: '^src/domain/' },
      to: { pathNot: ['^src/domain/', '^node_modules/zod/'] },
    },
    only('client-arrows', '^src/client/', ['^src/domain/']),
    only('cli-arrows', '^src/cli/', ['^src/client/', '^src/domain/', '^worker/']),
    only('activities-arrows', '^activities/', ['^src/client/', '^src/domain/']),
    only('workflows-arrows', '^workflows/', ['^src/domain/', '^activities/']),
    {
      name: 'workflows-use-only-types-of-activities',
      severity: 'error',
      from: { path: '^workflows/' },
      to: { path: '^activities/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'workflows-use-no-node',
      severity: 'error',
      from: { path: '^workflows/' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'nobody-imports-bench-or-cli',
      severity: 'error',
      from: { path: '^(src|workflows|activities|worker)/', pathNot: '^src/cli/' },
      to: { path: '^(bench|src/cli)/' },
    },
    only('bench-arrows', '^bench/', [
      '^worker/',
      '^workflows/',
      '^activities/',
      '^src/client/',
      '^src/domain/',
    ]),
    only('worker-arrows', '^worker/', ['^workflows/', '^activities/', '^src/client/', '^src/domain/']),
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.mjs'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'types'],
    },
  },
};
