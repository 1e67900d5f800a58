import { describe, expect, test } from 'vitest'
import { kafkaErrors } from '../../src/kafka/error-codes.ts'
import { zeroUuid } from '../../src/kafka/wire.ts'
import type { EventLog } from '../../src/log/event-log.ts'
import { openAdmin } from './admin-bench.ts'

const topic = (name: string, over: object = {}) => ({
  name,
  numPartitions: 2,
  replicationFactor: 1,
  ...over,
})

async function append(log: EventLog, name: string, count: number): Promise<void> {
  for (let at = 0; at < count; at++)
    await log.append(name, null, [{ key: null, value: Buffer.from(`event ${at}`), headers: [] }])
}

describe('CreateTopics', () => {
  test('makes a topic and answers with its id, its size and its configs', async () => {
    const { client, log } = await openAdmin()
    const configs = [{ name: 'max.message.bytes', value: '5242880' }]
    const { topics } = await client.call('createTopics', { topics: [topic('events', { configs })] })
    expect(log.topic('events')).toMatchObject({
      id: topics[0]?.topicId,
      partitions: 2,
      configs: { 'max.message.bytes': '5242880' },
    })
    expect(topics[0]).toMatchObject({ errorCode: 0, numPartitions: 2, replicationFactor: 1 })
    expect(topics[0]?.configs).toContainEqual({
      name: 'max.message.bytes',
      value: '5242880',
      readOnly: false,
      configSource: 1,
      isSensitive: false,
    })
  })

  test.each([0, 1, 2, 4, 5, 6])('serves v%i', async (version) => {
    const { client, log } = await openAdmin()
    const { topics } = await client.call('createTopics', { topics: [topic('events')] }, version)
    expect(topics).toMatchObject([{ name: 'events', errorCode: 0 }])
    expect(log.topic('events')?.partitions).toBe(2)
  })

  test('takes -1 for the number of partitions and of replicas, and replicas on this broker', async () => {
    const { client, log } = await openAdmin()
    const standard = { numPartitions: -1, replicationFactor: -1 }
    const assignments = [1, 0].map((partitionIndex) => ({ partitionIndex, brokerIds: [1] }))
    const topics = [topic('one', standard), topic('two', { ...standard, assignments })]
    const answer = await client.call('createTopics', { topics })
    expect(answer.topics.map(({ errorCode }) => errorCode)).toEqual([0, 0])
    expect(log.topics().map(({ partitions }) => partitions)).toEqual([1, 2])
  })

  test('makes nothing when it only checks', async () => {
    const { client, log } = await openAdmin()
    const asked = { topics: [topic('events'), topic('no spaces')], validateOnly: true }
    const { topics } = await client.call('createTopics', asked)
    expect(topics.map(({ errorCode }) => errorCode)).toEqual([0, kafkaErrors.invalidTopic])
    expect(log.topics()).toEqual([])
  })

  const replicas = (...brokerIds: number[]) => ({
    numPartitions: -1,
    replicationFactor: -1,
    assignments: [{ partitionIndex: 0, brokerIds }],
  })
  test.each([
    [
      'a name that no topic can have',
      topic('no spaces'),
      kafkaErrors.invalidTopic,
      /no valid topic name/,
    ],
    ['a topic that exists', topic('taken'), kafkaErrors.topicAlreadyExists, /topic taken exists$/],
    [
      'no partitions',
      topic('t', { numPartitions: 0 }),
      kafkaErrors.invalidPartitions,
      /0 partitions.*1 to 1000/,
    ],
    [
      'too many partitions',
      topic('t', { numPartitions: 1_001 }),
      kafkaErrors.invalidPartitions,
      /1001/,
    ],
    [
      'more replicas than one',
      topic('t', { replicationFactor: 3 }),
      kafkaErrors.invalidReplicationFactor,
      /one node/,
    ],
    [
      'replicas elsewhere',
      topic('t', replicas(1, 2)),
      kafkaErrors.invalidReplicaAssignment,
      /brokers 1, 2: questlog is one node/,
    ],
    [
      'gaps in the assignments',
      topic('t', { ...replicas(1), assignments: [{ partitionIndex: 1, brokerIds: [1] }] }),
      kafkaErrors.invalidReplicaAssignment,
      /partitions 0 to 0/,
    ],
    [
      'assignments and numbers',
      topic('t', { ...replicas(1), numPartitions: 1 }),
      kafkaErrors.invalidRequest,
      /either/,
    ],
    [
      'an unknown config',
      topic('t', { configs: [{ name: 'no.such', value: '1' }] }),
      kafkaErrors.invalidConfig,
      /no config no\.such/,
    ],
    [
      'a wrong config',
      topic('t', { configs: [{ name: 'retention.ms', value: 'x' }] }),
      kafkaErrors.invalidConfig,
      /retention\.ms is "x"/,
    ],
    [
      'a config without a value',
      topic('t', { configs: [{ name: 'retention.ms', value: null }] }),
      kafkaErrors.invalidConfig,
      /no value/,
    ],
  ])('refuses %s, with words', async (_, asked, errorCode, message) => {
    const { client, log } = await openAdmin()
    await log.createTopic({ name: 'taken', partitions: 1 })
    for (const validateOnly of [true, false]) {
      const { topics } = await client.call('createTopics', { topics: [asked], validateOnly })
      expect(topics[0]).toMatchObject({ errorCode, errorMessage: expect.stringMatching(message) })
    }
    expect(log.topics()).toHaveLength(1)
  })

  test('refuses a topic that one request names twice, and makes the others', async () => {
    const { client, log } = await openAdmin()
    const { topics } = await client.call('createTopics', {
      topics: [topic('twice'), topic('once'), topic('twice')],
    })
    const { invalidRequest } = kafkaErrors
    expect(topics.map(({ errorCode }) => errorCode)).toEqual([invalidRequest, 0, invalidRequest])
    expect(log.topics().map(({ name }) => name)).toEqual(['once'])
  })
})

describe('DeleteTopics', () => {
  test.each([1, 4, 5, 6])('deletes by name in v%i', async (version) => {
    const { client, log } = await openAdmin()
    await log.createTopic({ name: 'events', partitions: 1 })
    const names = ['events', 'none']
    const asked = {
      timeoutMs: 1_000,
      topicNames: names,
      topics: names.map((name) => ({ name, topicId: zeroUuid })),
    }
    const { responses } = await client.call('deleteTopics', asked, version)
    expect(responses.map(({ name, errorCode }) => [name, errorCode])).toEqual([
      ['events', 0],
      ['none', kafkaErrors.unknownTopicOrPartition],
    ])
    expect(log.topics()).toEqual([])
  })

  test('deletes by id', async () => {
    const { client, log } = await openAdmin()
    const { id } = await log.createTopic({ name: 'events', partitions: 1 })
    const asked = [
      { name: null, topicId: id },
      { name: null, topicId: '00000000-0000-0000-0000-000000000009' },
      { name: 'events', topicId: id },
    ]
    const { responses } = await client.call('deleteTopics', { timeoutMs: 1_000, topics: asked })
    expect(responses.map(({ errorCode }) => errorCode)).toEqual([
      0,
      kafkaErrors.unknownTopicId,
      kafkaErrors.invalidRequest,
    ])
    expect(responses[0]).toMatchObject({ name: 'events', topicId: id })
    expect(log.topics()).toEqual([])
  })

  test('refuses a topic that feeds tables, names them, and says how to delete it all the same', async () => {
    const { client, log } = await openAdmin({ tables: { events: ['swords', 'guilds'] } })
    await log.createTopic({ name: 'events', partitions: 1 })
    const topics = [{ name: 'events', topicId: zeroUuid }]
    const { responses } = await client.call('deleteTopics', { timeoutMs: 1_000, topics })
    expect(responses[0]).toMatchObject({ errorCode: kafkaErrors.topicDeletionDisabled })
    expect(responses[0]?.errorMessage).toMatch(
      /feeds tables swords, guilds; .*`questlog topics delete events --force`/,
    )
    expect(log.topic('events')).toBeDefined()
  })
})

describe('CreatePartitions', () => {
  const grow = async (asked: object, validateOnly = false) => {
    const { client, log } = await openAdmin()
    await log.createTopic({ name: 'events', partitions: 2 })
    const topics = [{ name: 'events', count: 4, assignments: null, ...asked }]
    const { results } = await client.call('createPartitions', {
      topics,
      timeoutMs: 1_000,
      validateOnly,
    })
    return { result: results[0], partitions: log.topic('events')?.partitions }
  }

  test('adds partitions, or only says that it could', async () => {
    expect(await grow({})).toMatchObject({ result: { errorCode: 0 }, partitions: 4 })
    expect(await grow({}, true)).toMatchObject({ result: { errorCode: 0 }, partitions: 2 })
    const assignments = [{ brokerIds: [1] }, { brokerIds: [1] }]
    expect(await grow({ assignments })).toMatchObject({ result: { errorCode: 0 }, partitions: 4 })
  })

  test.each([
    [
      'fewer or as many',
      { count: 2 },
      kafkaErrors.invalidPartitions,
      /has 2 partitions; 2 would not be more/,
    ],
    ['too many', { count: 100_000 }, kafkaErrors.invalidPartitions, /100000 partitions/],
    [
      'a topic that does not exist',
      { name: 'none' },
      kafkaErrors.unknownTopicOrPartition,
      /no topic none/,
    ],
    [
      'replicas for others',
      { assignments: [{ brokerIds: [1] }] },
      kafkaErrors.invalidReplicaAssignment,
      /2 partitions are new, but 1/,
    ],
    [
      'replicas elsewhere',
      { assignments: [{ brokerIds: [1] }, { brokerIds: [2] }] },
      kafkaErrors.invalidReplicaAssignment,
      /one node/,
    ],
  ])('refuses %s', async (_, asked, errorCode, message) => {
    for (const validateOnly of [true, false])
      expect(await grow(asked, validateOnly)).toMatchObject({
        result: { errorCode, errorMessage: expect.stringMatching(message) },
        partitions: 2,
      })
  })
})

describe('DeleteRecords', () => {
  const remove = async (options: object, offset: number, partitionIndex = 0) => {
    const bench = await openAdmin(options)
    await bench.log.createTopic({ name: 'events', partitions: 1 })
    await append(bench.log, 'events', 10)
    const topics = [{ name: 'events', partitions: [{ partitionIndex, offset }] }]
    const answer = await bench.client.call('deleteRecords', { topics, timeoutMs: 1_000 })
    return { ...bench, outcome: answer.topics[0]?.partitions[0] }
  }

  test('moves the start of a partition', async () => {
    const { outcome, log } = await remove({}, 4)
    expect(outcome).toMatchObject({ errorCode: 0, lowWatermark: 4 })
    expect(log.partition('events', 0)?.startOffset).toBe(4)
  })

  test('removes everything for -1', async () => {
    const { outcome } = await remove({}, -1)
    expect(outcome).toMatchObject({ errorCode: 0, lowWatermark: 10 })
  })

  test('refuses what is no offset of the partition', async () => {
    for (const offset of [11, -2])
      expect((await remove({}, offset)).outcome?.errorCode).toBe(kafkaErrors.offsetOutOfRange)
    expect((await remove({}, 1, 7)).outcome?.errorCode).toBe(kafkaErrors.unknownTopicOrPartition)
  })

  test('removes what the tables have committed, and nothing above it', async () => {
    const options = { tables: { events: ['swords'] }, committed: 5 }
    expect((await remove(options, 5)).outcome).toMatchObject({ errorCode: 0, lowWatermark: 5 })
    const { outcome, log, lines } = await remove(options, 6)
    expect(outcome?.errorCode).toBe(kafkaErrors.policyViolation)
    expect(log.partition('events', 0)?.startOffset).toBe(0)
    expect(lines.join()).toMatch(/tables have not committed.*swords/)
  })
})

test('the cluster is this one broker, at the address that the client has reached', async () => {
  const { client } = await openAdmin()
  const asked = { includeClusterAuthorizedOperations: true }
  for (const version of [0, 1])
    expect(await client.call('describeCluster', asked, version)).toMatchObject({
      errorCode: 0,
      clusterId: 'a-cluster',
      controllerId: 1,
      brokers: [{ brokerId: 1, host: '127.0.0.1', port: 9092 }],
    })
  const controllers = await client.call('describeCluster', { ...asked, endpointType: 2 })
  expect(controllers.errorCode).toBe(kafkaErrors.mismatchedEndpointType)
})
