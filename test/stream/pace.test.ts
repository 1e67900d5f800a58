import { expect, test } from 'vitest'
import { resolveSettings } from '../../src/core/settings.ts'
import { restAfter, restForAll } from '../../src/stream/pace.ts'

test('a stream that nobody asks rests three times as long as it worked, within its two settings', () => {
  const settings = resolveSettings({ pollIntervalMs: 20, pollIntervalMsMax: 100 })
  expect([0, 5, 10, 30, 500].map((tookMs) => restAfter(tookMs, settings))).toEqual([
    20, 20, 30, 90, 100,
  ])
})

test('statements that come while it rests share a micro-batch: it rests as long as it worked, at most a poll', () => {
  const settings = resolveSettings({ pollIntervalMs: 20 })
  expect([0, 5, 500].map((tookMs) => restForAll(tookMs, settings))).toEqual([0, 5, 20])
})
