import { expect, test } from 'vitest'
import { murmur2, partitionForKey } from '../../src/log/partitioner.ts'

test('murmur2 gives the values that Kafka clients give', () => {
  const vectors: readonly (readonly [string, number])[] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ]
  for (const [key, hash] of vectors) expect(murmur2(Buffer.from(key)), key).toBe(hash)
})

test('a key always has the same partition, and keys spread over all', () => {
  const used = new Set<number>()
  for (let player = 0; player < 200; player++) {
    const key = Buffer.from(`player-${player}`)
    const partition = partitionForKey(key, 8)
    expect(partitionForKey(key, 8)).toBe(partition)
    used.add(partition)
  }
  expect([...used].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
})
