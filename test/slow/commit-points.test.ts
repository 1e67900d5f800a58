import { expect, test } from 'vitest'
import { cutCommits } from '../stream/commit-points.ts'

test('a commit that is cut off at any of its file operations leaves every event in its table once, and set aside once', async () => {
  expect(await cutCommits(1, 1)).toBeGreaterThan(20)
})
