import { expect, test } from 'vitest'
import { resolveSettings } from '../../src/core/settings.ts'
import { restAfter, restForAll } from '../../src/stream/pace.ts'

test('a stream that no statement waits for rests three times as long as it worked, nine times when none came for a second, within its two settings', () => {
  const settings = resolveSettings({ pollIntervalMs: 20, pollIntervalMsMax: 100 })
  const rests = (sinceAskedMs: number) =>
    [0, 5, 10, 30, 500].map((tookMs) => restAfter(tookMs, sinceAskedMs, settings))
  expect(rests(999)).toEqual([20, 20, 30, 90, 100])
  expect(rests(1_000)).toEqual([20, 45, 90, 100, 100])
  expect(rests(Number.POSITIVE_INFINITY)).toEqual(rests(1_000))
})

test('statements that come while it rests share a micro-batch: it rests as long as it worked, at most a poll', () => {
  const settings = resolveSettings({ pollIntervalMs: 20 })
  expect([0, 5, 500].map((tookMs) => restForAll(tookMs, settings))).toEqual([0, 5, 20])
})
