import { expect, test } from 'vitest'
import { resolveSettings } from '../../src/core/settings.ts'
import { restAfter } from '../../src/stream/pace.ts'

test('a stream that nobody asks rests three times as long as it worked, within its two settings', () => {
  const settings = resolveSettings({ pollIntervalMs: 20, pollIntervalMsMax: 100 })
  expect([0, 5, 10, 30, 500].map((tookMs) => restAfter(tookMs, settings))).toEqual([
    20, 20, 30, 90, 100,
  ])
})
