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
    setupFiles: ['test/support/fixed-seed.ts'],
    pool: 'forks',
    fileParallelism: false,
    bail: 1,
    // Guards against what hangs: no test may depend on how fast the machine is.
    testTimeout: 1_200_000,
    hookTimeout: 1_200_000,
  },
})
