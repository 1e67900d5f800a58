import { availableParallelism } from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Run by `.ci/run`, with vitest.slow.config.ts.
    exclude: [...configDefaults.exclude, 'test/slow/**', 'test/faults/**', 'test/conformance/**'],
    pool: 'forks',
    // By default one core is left out, which on two cores means one worker.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
})
