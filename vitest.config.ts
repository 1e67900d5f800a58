import { configDefaults, defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Run by `.ci/run`, with vitest.slow.config.ts.
    exclude: [...configDefaults.exclude, 'test/slow/**', 'test/faults/**'],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
})
