import { afterEach, describe, expect, test } from 'vitest'
import type { KafkaClient } from '../../../src/kafka/client.ts'
import { kafkaErrors } from '../../../src/kafka/error-codes.ts'
import { transactionalProducers } from '../../../src/kafka/transactions/transaction-handlers.ts'
import { clientBatch } from '../../log/client-batch.ts'
import { openLog } from '../../log/support.ts'
import { SimulatedFiles } from '../../support/simulated-files.ts'
import { fetchOnce, partitionAnswer, produceRequest, start, stopAll } from '../harness.ts'

afterEach(stopAll)

/** A broker on a real log with the topic `events` of two partitions, and a client of it. */
async function connected(): Promise<KafkaClient> {
  const log = await openLog(new SimulatedFiles({ seed: 1 }))
  await log.createTopic({ name: 'events', partitions: 2 })
  const { client } = await start({ log })
  return client()
}

interface Producer {
  readonly transactionalId: string
  readonly producerId: number
  readonly producerEpoch: number
}

async function init(client: KafkaClient, transactionalId = 'x', version = 4): Promise<Producer> {
  const request = { transactionalId, transactionTimeoutMs: 60_000 }
  const answer = await client.request('initProducerId', version, request)
  expect(answer.errorCode).toBe(0)
  return { transactionalId, ...answer }
}

async function add(
  client: KafkaClient,
  { transactionalId, producerId, producerEpoch }: Producer,
  topics: readonly { name: string; partitions: readonly number[] }[],
  version = 3,
): Promise<number[]> {
  const answer = await client.request('addPartitionsToTxn', version, {
    v3AndBelowTransactionalId: transactionalId,
    v3AndBelowProducerId: producerId,
    v3AndBelowProducerEpoch: producerEpoch,
    v3AndBelowTopics: topics,
  })
  return answer.resultsByTopicV3AndBelow.flatMap(({ resultsByPartition }) =>
    resultsByPartition.map(({ partitionErrorCode }) => partitionErrorCode),
  )
}

async function write(
  client: KafkaClient,
  producer: Producer,
  sequence: number,
  value: string,
  partition = 0,
): Promise<number> {
  const { producerId, producerEpoch: epoch } = producer
  const records = clientBatch({
    values: [value],
    producerId,
    epoch,
    sequence,
    isTransactional: true,
  })
  const answer = await client.request('produce', 9, produceRequest(records, { partition }))
  return partitionAnswer(answer).errorCode
}

const end = async (client: KafkaClient, producer: Producer, committed: boolean, version = 3) =>
  (await client.request('endTxn', version, { ...producer, committed })).errorCode

const committedRecords = async (client: KafkaClient) =>
  (await fetchOnce(client, { isolationLevel: 1 }))[0]

const events = [{ name: 'events', partitions: [0, 1] }]

describe('a transaction over the wire', () => {
  test('shows its records to careful consumers when it has committed, and names what was aborted', async () => {
    const client = await connected()
    const producer = await init(client)
    expect(await add(client, producer, events)).toEqual([0, 0])
    expect(await write(client, producer, 0, 'first')).toBe(0)
    expect(await write(client, producer, 0, 'elsewhere', 1)).toBe(0)
    expect(await committedRecords(client)).toMatchObject({
      highWatermark: 1,
      lastStableOffset: 0,
      values: [],
    })
    expect((await fetchOnce(client))[0]?.values).toEqual(['first'])
    expect(await end(client, producer, true)).toBe(0)
    expect(await add(client, producer, events)).toEqual([0, 0])
    expect(await write(client, producer, 1, 'second')).toBe(0)
    expect(await end(client, producer, false)).toBe(0)
    expect(await committedRecords(client)).toMatchObject({
      highWatermark: 4,
      lastStableOffset: 4,
      abortedTransactions: [{ producerId: producer.producerId, firstOffset: 2 }],
    })
  })

  test('takes no records outside of it', async () => {
    const client = await connected()
    const producer = await init(client)
    expect(await write(client, producer, 0, 'early')).toBe(kafkaErrors.invalidTxnState)
    expect(await add(client, producer, [{ name: 'events', partitions: [1] }])).toEqual([0])
    expect(await write(client, producer, 0, 'elsewhere')).toBe(kafkaErrors.invalidTxnState)
    expect(await end(client, producer, true)).toBe(0)
    expect(await write(client, producer, 0, 'late', 1)).toBe(kafkaErrors.invalidTxnState)
    expect((await fetchOnce(client))[0]?.highWatermark).toBe(0)
  })

  test('has all of the partitions that one request names, or none', async () => {
    const client = await connected()
    const producer = await init(client)
    const topics = [
      { name: 'events', partitions: [0, 7] },
      { name: 'nothing', partitions: [0] },
    ]
    const { operationNotAttempted, unknownTopicOrPartition } = kafkaErrors
    expect(await add(client, producer, topics)).toEqual([
      operationNotAttempted,
      unknownTopicOrPartition,
      unknownTopicOrPartition,
    ])
    expect(await write(client, producer, 0, 'no')).toBe(kafkaErrors.invalidTxnState)
  })

  test('says in words of the version that another producer has taken over', async () => {
    const client = await connected()
    const old = await init(client)
    await add(client, old, events)
    await init(client)
    const { invalidProducerEpoch, producerFenced } = kafkaErrors
    expect(await add(client, old, events, 1)).toEqual([invalidProducerEpoch, invalidProducerEpoch])
    expect(await add(client, old, events, 2)).toEqual([producerFenced, producerFenced])
    expect(await end(client, old, true, 1)).toBe(invalidProducerEpoch)
    expect(await end(client, old, true, 2)).toBe(producerFenced)
    const offsets = async (version: number) =>
      (await client.request('addOffsetsToTxn', version, { ...old, groupId: 'g' })).errorCode
    expect(await offsets(1)).toBe(invalidProducerEpoch)
    expect(await offsets(2)).toBe(producerFenced)
    expect(await write(client, old, 0, 'late')).toBe(invalidProducerEpoch)
    const request = { ...old, transactionTimeoutMs: 60_000 }
    const again = async (version: number) =>
      (await client.request('initProducerId', version, request)).errorCode
    expect(await again(3)).toBe(invalidProducerEpoch)
    expect(await again(4)).toBe(producerFenced)
  })
})

describe('offsets in a transaction', () => {
  const topics = (committedOffset: number) => [
    {
      name: 'events',
      partitions: [{ partitionIndex: 0, committedOffset, committedMetadata: null }],
    },
  ]

  async function offsetOf(client: KafkaClient, requireStable: boolean) {
    const asked = [{ name: 'events', partitionIndexes: [0] }]
    const answer = await client.request('offsetFetch', 7, {
      groupId: 'g',
      topics: asked,
      requireStable,
    })
    const { committedOffset, errorCode } = answer.topics[0]?.partitions[0] ?? {}
    return { committedOffset, errorCode }
  }

  test('take effect when it commits, and not when it aborts', async () => {
    const client = await connected()
    const producer = await init(client)
    for (const [offset, committed] of [
      [7, true],
      [9, false],
    ] as const) {
      const added = await client.request('addOffsetsToTxn', 3, { ...producer, groupId: 'g' })
      expect(added.errorCode).toBe(0)
      const request = { ...producer, groupId: 'g', topics: topics(offset) }
      const staged = await client.request('txnOffsetCommit', 3, request)
      expect(staged.topics[0]?.partitions[0]?.errorCode).toBe(0)
      expect((await offsetOf(client, true)).errorCode).toBe(kafkaErrors.unstableOffsetCommit)
      expect(await end(client, producer, committed)).toBe(0)
      expect(await offsetOf(client, true)).toEqual({ committedOffset: 7, errorCode: 0 })
    }
  })

  test('are refused for a group that it does not have', async () => {
    const client = await connected()
    const producer = await init(client)
    const commit = async (claim: Producer) => {
      const request = { ...claim, groupId: 'g', topics: topics(1) }
      const answer = await client.request('txnOffsetCommit', 3, request)
      return answer.topics[0]?.partitions[0]?.errorCode
    }
    expect(await commit(producer)).toBe(kafkaErrors.invalidTxnState)
    expect(await commit({ ...producer, producerEpoch: 9 })).toBe(kafkaErrors.invalidProducerEpoch)
    expect(await commit({ ...producer, transactionalId: 'y' })).toBe(
      kafkaErrors.invalidProducerIdMapping,
    )
    const empty = await client.request('addOffsetsToTxn', 3, { ...producer, groupId: '' })
    expect(empty.errorCode).toBe(kafkaErrors.invalidGroupId)
  })
})

test('a producer without transactions gets an id of its own, and none that names half of itself', async () => {
  const client = await connected()
  const init4 = (over: { producerId?: number; producerEpoch?: number }) =>
    client.request('initProducerId', 4, { transactionalId: null, transactionTimeoutMs: 1, ...over })
  const ids = [await init4({}), await init4({}), await init4({ producerId: 5, producerEpoch: 5 })]
  expect(new Set(ids.map(({ producerId }) => producerId)).size).toBe(3)
  expect((await init4({ producerId: 5 })).errorCode).toBe(kafkaErrors.invalidRequest)
})

test('transactional batches are found among others, and what is no batch is left to the log', () => {
  const batch = (producerId: number, isTransactional: boolean) =>
    clientBatch({ values: ['a'], producerId, epoch: 3, sequence: 0, isTransactional })
  const all = [batch(1, false), batch(2 ** 40, true), batch(3, true)]
  expect(transactionalProducers(Buffer.concat(all))).toEqual([
    { producerId: 2 ** 40, producerEpoch: 3 },
    { producerId: 3, producerEpoch: 3 },
  ])
  expect(transactionalProducers(Buffer.alloc(60))).toEqual([])
  expect(transactionalProducers(Buffer.alloc(200))).toEqual([])
  expect(transactionalProducers(Buffer.alloc(200, 0xff)).length).toBeLessThan(3)
})
