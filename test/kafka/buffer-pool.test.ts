import { expect, test } from 'vitest'
import { BufferPool } from '../../src/kafka/buffer-pool.ts'

const KiB = 1024

test('what was given back is used again, when it fits and there is not too much of it', () => {
  const pool = new BufferPool(600 * KiB)
  const first = pool.take(200 * KiB)
  expect(first.length).toBe(200 * KiB)
  pool.give(first)
  const second = pool.take(250 * KiB)
  expect(second.length).toBe(250 * KiB)
  expect(second.buffer).toBe(first.buffer)
  const third = pool.take(250 * KiB)
  expect(third.buffer).not.toBe(first.buffer)
  for (const buffer of [second, third, pool.take(200 * KiB)]) pool.give(buffer)
  // The third was more than is kept.
  const again = [200, 200, 200].map((size) => pool.take(size * KiB).buffer)
  expect(again.filter((buffer) => buffer === first.buffer || buffer === third.buffer)).toHaveLength(
    2,
  )
  expect(pool.take(100 * KiB).length).toBe(100 * KiB)
  expect(pool.take(10).length).toBe(10)
})
