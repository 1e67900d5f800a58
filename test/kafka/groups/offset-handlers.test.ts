import { afterEach, describe, expect, test } from 'vitest'
import { kafkaErrors } from '../../../src/kafka/error-codes.ts'
import { encodeSubscription } from '../../../src/kafka/consumer-protocol.ts'
import type { HandlerClient } from '../call-handlers.ts'
import { CoordinatorBench, fetched, offsetsOf } from './coordinator-bench.ts'

let bench = new CoordinatorBench()
afterEach(() => bench.close())

const groupId = 'readers/of everything'
const all = [{ name: 'events', partitionIndexes: [0, 1, 2, 3] }]

async function commit(client: HandlerClient, ...offsets: [number, number][]): Promise<number[]> {
  const { topics } = await client.call('offsetCommit', {
    groupId,
    topics: offsetsOf('events', ...offsets),
  })
  return topics.flatMap(({ partitions }) => partitions.map(({ errorCode }) => errorCode))
}

async function offsets(client: HandlerClient, requireStable = false) {
  const { groups } = await client.call('offsetFetch', {
    groups: [{ groupId, topics: all }],
    requireStable,
  })
  return fetched(groups.flatMap(({ topics }) => topics))
}

describe('committed offsets', () => {
  test('are fetched again, also after a restart and after a power loss', async () => {
    bench = new CoordinatorBench()
    let client = await bench.start()
    expect(await commit(client, [0, 10], [2, 30])).toEqual([0, 0])
    expect(await offsets(client)).toEqual({ 0: 10, 1: -1, 2: 30, 3: -1 })
    client = await bench.restart()
    expect(await commit(client, [0, 11])).toEqual([0])
    bench.files.crash()
    client = await bench.start()
    expect(await offsets(client)).toEqual({ 0: 11, 1: -1, 2: 30, 3: -1 })
    const { topics } = await client.call('offsetFetch', { groupId, topics: null }, 7)
    expect(topics).toEqual([
      {
        name: 'events',
        partitions: [
          {
            partitionIndex: 0,
            committedOffset: 11,
            committedLeaderEpoch: -1,
            metadata: 'at 11',
            errorCode: 0,
          },
          {
            partitionIndex: 2,
            committedOffset: 30,
            committedLeaderEpoch: -1,
            metadata: 'at 30',
            errorCode: 0,
          },
        ],
      },
    ])
  })

  test.each([2, 5, 7, 9])('are taken with OffsetCommit v%i', async (version) => {
    bench = new CoordinatorBench()
    const client = await bench.start()
    const topics = offsetsOf('events', [1, 5])
    const answer = await client.call('offsetCommit', { groupId, topics }, version)
    expect(answer.topics).toEqual([
      { name: 'events', partitions: [{ partitionIndex: 1, errorCode: 0 }] },
    ])
    for (const fetchVersion of [1, 2, 5, 7]) {
      const found = await client.call('offsetFetch', { groupId, topics: all }, fetchVersion)
      expect(fetched(found.topics)).toEqual({ 0: -1, 1: 5, 2: -1, 3: -1 })
    }
  })

  test('are not those of a topic that is made again under the same name', async () => {
    bench = new CoordinatorBench()
    const client = await bench.start()
    await commit(client, [0, 10])
    bench.topics.remove('events')
    expect(await offsets(client)).toMatchObject({ 0: -1 })
    expect(await commit(client, [0, 11])).toEqual([kafkaErrors.unknownTopicOrPartition])
    bench.topics.make('events')
    expect(await offsets(client)).toMatchObject({ 0: -1 })
  })

  test('need a topic, a partition of it, an offset, and a text that is not too long', async () => {
    bench = new CoordinatorBench({ offsetMetadataBytesMax: 10 })
    const client = await bench.start()
    expect(await commit(client, [4, 1], [-1, 1], [0, -1], [1, 12_345_678], [2, 1])).toEqual([
      kafkaErrors.unknownTopicOrPartition,
      kafkaErrors.unknownTopicOrPartition,
      kafkaErrors.invalidRequest,
      kafkaErrors.offsetMetadataTooLarge,
      0,
    ])
    expect(await offsets(client)).toEqual({ 0: -1, 1: -1, 2: 1, 3: -1 })
  })

  test('that cannot be kept are refused so that the client tries again', async () => {
    bench = new CoordinatorBench()
    const client = await bench.start()
    await commit(client, [0, 1])
    bench.files.fault = (operation) => (operation === 'sync' ? 'EIO' : undefined)
    expect(await commit(client, [0, 2])).toEqual([kafkaErrors.coordinatorNotAvailable])
    expect(await offsets(client)).toMatchObject({ 0: 1 })
  })

  test('of many partitions are kept all', async () => {
    bench = new CoordinatorBench()
    bench.topics.make('many', 1_000)
    let client = await bench.start()
    const topics = offsetsOf(
      'many',
      ...Array.from({ length: 1_000 }, (_, at): [number, number] => [at, at]),
    )
    await client.call('offsetCommit', { groupId, topics })
    client = await bench.restart()
    const found = await client.call('offsetFetch', { groupId, topics: null }, 7)
    expect(
      Object.entries(fetched(found.topics)).filter(([at, offset]) => Number(at) === offset),
    ).toHaveLength(1_000)
  })
})

describe('offsets of a transaction', () => {
  const claim = { memberId: '', groupInstanceId: null, generationId: -1 }
  const producer = { producerId: 7, producerEpoch: 2 }
  const stage = (at: [number, number], by = producer) =>
    bench.commits.stage({
      ...claim,
      ...by,
      groupId,
      topics: offsetsOf('events', at).map(({ name, partitions }) => ({
        name,
        partitions: partitions.map((given) => ({ ...given, committedLeaderEpoch: -1 })),
      })),
    })

  test('wait for its end, and make a stable fetch wait too', async () => {
    bench = new CoordinatorBench()
    const client = await bench.start()
    await commit(client, [0, 1])
    expect(await stage([0, 10])).toEqual([
      { name: 'events', partitions: [{ partitionIndex: 0, errorCode: 0 }] },
    ])
    expect(await offsets(client)).toMatchObject({ 0: 1 })
    const stable = await client.call('offsetFetch', {
      groups: [{ groupId, topics: all }],
      requireStable: true,
    })
    expect(stable.groups[0]?.topics[0]?.partitions.slice(0, 2)).toMatchObject([
      { committedOffset: -1, errorCode: kafkaErrors.unstableOffsetCommit },
      { committedOffset: -1, errorCode: 0 },
    ])
    await bench.commits.finish(7, 2, 'commit')
    expect(await offsets(client, true)).toMatchObject({ 0: 10 })
  })

  test('are forgotten when it aborts', async () => {
    bench = new CoordinatorBench()
    const client = await bench.start()
    await commit(client, [0, 1])
    await stage([0, 10])
    await bench.commits.finish(7, 3, 'abort')
    expect(await offsets(client, true)).toMatchObject({ 0: 1 })
    await bench.commits.finish(7, 3, 'commit')
    expect(await offsets(client, true)).toMatchObject({ 0: 1 })
  })

  test('outlive a power loss in between', async () => {
    bench = new CoordinatorBench()
    await bench.start()
    await stage([0, 10])
    bench.files.crash()
    const client = await bench.start()
    const stable = await client.call('offsetFetch', {
      groups: [{ groupId, topics: null }],
      requireStable: true,
    })
    expect(stable.groups[0]?.topics[0]?.partitions[0]?.errorCode).toBe(
      kafkaErrors.unstableOffsetCommit,
    )
    await bench.commits.finish(7, 2, 'commit')
    expect(await offsets(client, true)).toMatchObject({ 0: 10 })
  })

  test('do not end with the transaction of another producer, or of an earlier epoch', async () => {
    bench = new CoordinatorBench()
    const client = await bench.start()
    await stage([0, 10])
    await stage([1, 20], { producerId: 8, producerEpoch: 0 })
    await bench.commits.finish(7, 1, 'commit')
    await bench.commits.finish(8, 0, 'commit')
    expect(await offsets(client)).toMatchObject({ 0: -1, 1: 20 })
  })

  test('that are staged while the transaction ends are not left behind', async () => {
    bench = new CoordinatorBench()
    const client = await bench.start()
    const staged = stage([0, 10])
    await bench.commits.finish(7, 3, 'abort')
    await staged
    expect(await offsets(client, true)).toMatchObject({ 0: -1 })
    const stable = await client.call(
      'offsetFetch',
      { groupId, topics: all, requireStable: true },
      7,
    )
    expect(stable.topics[0]?.partitions[0]?.errorCode).toBe(0)
  })
})

describe('time', () => {
  const day = 86_400_000
  const sweepMs = 600_000

  test('removes the offsets of a client without membership so long after its last commit', async () => {
    bench = new CoordinatorBench({ offsetsRetentionMs: day })
    const client = await bench.start()
    await commit(client, [0, 1])
    await bench.advance(day / 2)
    await commit(client, [1, 2])
    await bench.advance(day / 2)
    expect(await offsets(client)).toMatchObject({ 0: -1, 1: 2 })
    await bench.advance(day / 2)
    await bench.advance(sweepMs)
    expect(await offsets(client)).toMatchObject({ 0: -1, 1: -1 })
    expect(bench.coordinator.groups()).toEqual([])
  })

  test('leaves the offsets of a group that has members, and counts from when the last has gone', async () => {
    bench = new CoordinatorBench({ offsetsRetentionMs: day, groupSessionTimeoutMaxMs: day })
    let client = await bench.start()
    await commit(client, [0, 1])
    const protocols = [{ name: 'range', metadata: Buffer.alloc(0) }]
    const member = {
      groupId,
      sessionTimeoutMs: day,
      rebalanceTimeoutMs: day,
      protocolType: 'x',
      protocols,
    }
    const { memberId } = await client.call('joinGroup', { ...member, memberId: '' }, 3)
    const claim = { groupId, memberId, generationId: 1 }
    await client.call('syncGroup', { ...claim, assignments: [] }, 4)
    await bench.advance(day / 2)
    client = await bench.restart()
    await client.call('heartbeat', claim)
    await bench.advance(day) // since when it has no members
    expect(bench.coordinator.group(groupId)?.state).toBe('Empty')
    await bench.advance(day - 1)
    expect(await offsets(client)).toMatchObject({ 0: 1 })
    client = await bench.restart()
    await bench.advance(sweepMs)
    expect(await offsets(client)).toMatchObject({ 0: -1 })
  })

  test('removes the offsets of topics that are gone', async () => {
    bench = new CoordinatorBench()
    const client = await bench.start()
    await commit(client, [0, 1])
    const { id } = bench.topics.topic('events') ?? { id: '' }
    bench.topics.remove('events')
    await bench.advance(sweepMs)
    expect(
      bench.coordinator.store.committed(groupId, { topicId: id, partition: 0 }),
    ).toBeUndefined()
  })
})

describe('deleting', () => {
  test('a group takes its offsets along, for good; one with members stays', async () => {
    bench = new CoordinatorBench()
    let client = await bench.start()
    await commit(client, [0, 1])
    const protocols = [{ name: 'range', metadata: Buffer.alloc(0) }]
    const member = {
      sessionTimeoutMs: 6_000,
      rebalanceTimeoutMs: 6_000,
      protocolType: 'x',
      protocols,
    }
    await client.call('joinGroup', { ...member, groupId: 'busy', memberId: '' }, 3)
    const { results } = await client.call('deleteGroups', { groupsNames: [groupId, 'busy', 'no'] })
    expect(results).toEqual([
      { groupId, errorCode: 0 },
      { groupId: 'busy', errorCode: kafkaErrors.nonEmptyGroup },
      { groupId: 'no', errorCode: kafkaErrors.groupIdNotFound },
    ])
    expect(bench.coordinator.groups().map(({ id }) => id)).toEqual(['busy'])
    client = await bench.restart()
    expect(await offsets(client)).toMatchObject({ 0: -1 })
    expect(bench.coordinator.group(groupId)).toBeUndefined()
  })

  test('offsets of topics that members read is refused', async () => {
    bench = new CoordinatorBench()
    bench.topics.make('other')
    const client = await bench.start()
    for (const name of ['events', 'other'])
      await client.call('offsetCommit', { groupId, topics: offsetsOf(name, [0, 1]) })
    const metadata = encodeSubscription({ topics: ['events'], userData: null })
    const protocols = [{ name: 'range', metadata }]
    const member = {
      sessionTimeoutMs: 6_000,
      rebalanceTimeoutMs: 6_000,
      protocolType: 'consumer',
      protocols,
    }
    await client.call('joinGroup', { ...member, groupId, memberId: '' }, 3)
    const partitions = [{ partitionIndex: 0 }]
    const topics = ['events', 'other', 'none'].map((name) => ({ name, partitions }))
    const answer = await client.call('offsetDelete', { groupId, topics })
    expect(answer.topics.map(({ partitions: outcomes }) => outcomes[0]?.errorCode)).toEqual([
      kafkaErrors.groupSubscribedToTopic,
      0,
      kafkaErrors.unknownTopicOrPartition,
    ])
    const found = await client.call('offsetFetch', { groupId, topics: null }, 7)
    expect(found.topics.map(({ name }) => name)).toEqual(['events'])
  })
})
