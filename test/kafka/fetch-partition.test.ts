import { expect, test } from 'vitest'
import { realClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { BufferPool } from '../../src/kafka/buffer-pool.ts'
import { kafkaErrors } from '../../src/kafka/error-codes.ts'
import { PartitionFetch } from '../../src/kafka/fetch-partition.ts'
import { RareLog } from '../../src/kafka/rare-log.ts'
import type { PartitionView } from '../../src/log/record.ts'

const megabyte = 1024 * 1024

/** A pool that knows how many bytes are taken. */
class CountingPool extends BufferPool {
  taken = 0

  override take(bytes: number): Buffer {
    this.taken += bytes
    return super.take(bytes)
  }

  override give(buffer: Buffer): void {
    this.taken -= buffer.length
    super.give(buffer)
  }
}

function partOf(buffer: Buffer | undefined, bytes: number): Buffer {
  if (buffer === undefined) throw new Error('no memory was taken')
  return buffer.subarray(0, bytes)
}

/** Fetches from a partition of which the view reads what `choose` makes of memory of these sizes. */
async function fetched(sizes: readonly number[], choose: (memory: readonly Buffer[]) => Buffer) {
  const pool = new CountingPool(16 * megabyte)
  const view: PartitionView = {
    topicId: '00000000-0000-4000-8000-000000000001',
    startOffset: 0,
    highWatermark: 10,
    lastStableOffset: 10,
    offline: null,
    read: async (_offset, { allocate = (bytes: number) => Buffer.alloc(bytes) }) => ({
      bytes: choose(sizes.map((size) => allocate(size).fill(size % 251))),
      aborted: [],
    }),
    offsetAtTime: async () => undefined,
    offsetOfMaxTimestamp: async () => undefined,
  }
  const partition = new PartitionFetch({
    log: { partition: () => view },
    rareLog: new RareLog(silentLogger, realClock),
    pool,
    isolation: 'uncommitted',
    missing: kafkaErrors.unknownTopicOrPartition,
    name: 'events',
    wanted: {
      partition: 0,
      currentLeaderEpoch: -1,
      fetchOffset: 0,
      lastFetchedEpoch: -1,
      logStartOffset: -1,
      partitionMaxBytes: megabyte,
    } as ConstructorParameters<typeof PartitionFetch>[0]['wanted'],
  })
  partition.look()
  await partition.read(megabyte, false)
  return { partition, pool }
}

test('memory in which nothing was found to send is given back at once', async () => {
  const { partition, pool } = await fetched([megabyte], () => Buffer.alloc(0))
  expect(pool.taken).toBe(0)
  expect(partition.answer().records).toHaveLength(0)
})

test('memory is not kept for a small part of it', async () => {
  const { partition, pool } = await fetched([megabyte], (memory) => partOf(memory[0], 100))
  expect(pool.taken).toBeLessThanOrEqual(100)
  expect(partition.answer().records).toEqual(Buffer.alloc(100, megabyte % 251))
})

test('memory of what is sent is kept until it has left, that of an earlier try is not', async () => {
  const { partition, pool } = await fetched([megabyte, megabyte / 2], (memory) =>
    partOf(memory[1], megabyte / 2),
  )
  expect(pool.taken).toBe(megabyte / 2)
  expect(partition.answer().records).toHaveLength(megabyte / 2)
  partition.release()
  expect(pool.taken).toBe(0)
})
