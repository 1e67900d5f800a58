import { defineConfig } from 'vitest/config'
import { longSuites } from './vitest.config.ts'

/** Suites that take minutes: real tools on a fresh clone, failing disks, overload. `.ci/run` runs them after `npm test`. */
export default defineConfig({
  test: {
    include: [
      'test/slow/**/*.test.ts',
      'test/faults/**/*.test.ts',
      'test/conformance/**/*.test.ts',
      ...longSuites,
    ],
    pool: 'forks',
    fileParallelism: false,
    bail: 1,
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
})
