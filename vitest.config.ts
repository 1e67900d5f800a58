import { availableParallelism } from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'

/** Suites of a room that take long. They run with the slow ones, so that `npm test` stays short. */
export const longSuites = [
  'test/app/backup-guests.test.ts',
  'test/app/backup.test.ts',
  'test/app/lost-tail.test.ts',
  'test/app/retention.test.ts',
  'test/app/role.test.ts',
  'test/cli/commands.test.ts',
  'test/e2e/bad-input.test.ts',
  'test/lake/crash.test.ts',
  'test/lake/histories.test.ts',
  'test/lake/relocate.test.ts',
  'test/log/transactions.test.ts',
  'test/stream/ambiguous-commits.test.ts',
  'test/stream/crash.test.ts',
  'test/stream/maintenance.test.ts',
  'test/stream/narrowed.test.ts',
  'test/stream/shared-rows.test.ts',
]

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [
      ...configDefaults.exclude,
      // Run by `.ci/run`, with vitest.slow.config.ts.
      'test/slow/**',
      'test/faults/**',
      'test/conformance/**',
      ...longSuites,
    ],
    setupFiles: ['test/support/fixed-seed.ts'],
    pool: 'forks',
    // By default one core is left out, which on two cores means one worker.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // Guards against what hangs: no test may depend on how fast the machine is.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
