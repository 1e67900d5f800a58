import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KafkaClient } from '../../src/kafka/client.ts'
import { kafkaErrors } from '../../src/kafka/error-codes.ts'
import { zeroUuid } from '../../src/kafka/wire.ts'
import { waitFor } from '../support/commands.ts'
import { targets, type Target } from './target.ts'

/** Requests of admin clients, one by one: what is expected is what Kafka answers. */
describe.each(targets)('topics and configs of $name', ({ start }) => {
  let target: Target
  let client: KafkaClient

  beforeAll(async () => {
    target = await start()
    const [host = '', port] = target.bootstrap.split(':')
    client = await KafkaClient.open({ host, port: Number(port), clientId: 'c', timeoutMs: 60_000 })
  })
  afterAll(async () => {
    await client.close()
    await target[Symbol.asyncDispose]()
  })

  const topic = (name: string, over: object = {}) => ({
    name,
    numPartitions: 2,
    replicationFactor: 1,
    ...over,
  })
  const create = async (topics: ReturnType<typeof topic>[], validateOnly = false) =>
    (await client.request('createTopics', 7, { topics, validateOnly })).topics
  /** The topic, once the broker knows of it. */
  const seen = (name: string, partitions = 2) =>
    waitFor(`topic ${name} has ${partitions} partitions`, 60_000, async () => {
      const asked = { topics: [{ name, topicId: zeroUuid }], allowAutoTopicCreation: false }
      const { topics } = await client.request('metadata', 12, asked)
      return topics[0]?.partitions.length === partitions ? topics[0] : undefined
    })
  const resource = (resourceName: string, resourceType = 2) => ({ resourceType, resourceName })

  test('a topic is made, found again under its id, and deleted by it', async () => {
    const [made] = await create([topic('made')])
    expect(made).toMatchObject({ errorCode: 0, numPartitions: 2, replicationFactor: 1 })
    expect((await seen('made')).topicId).toBe(made?.topicId)
    const names = made?.configs?.map(({ name }) => name)
    expect(names).toEqual(
      expect.arrayContaining(['max.message.bytes', 'retention.ms', 'cleanup.policy']),
    )
    const asked = [
      { name: null, topicId: made?.topicId ?? '' },
      { name: null, topicId: '00000000-0000-0000-0000-000000000009' },
      { name: 'never', topicId: zeroUuid },
    ]
    const { responses } = await client.request('deleteTopics', 6, {
      topics: asked,
      timeoutMs: 10_000,
    })
    expect(responses.map(({ errorCode }) => errorCode).toSorted((a, b) => a - b)).toEqual([
      0,
      kafkaErrors.unknownTopicOrPartition,
      kafkaErrors.unknownTopicId,
    ])
    await waitFor('a topic of this name can be made again', 60_000, async () => {
      return (await create([topic('made')]))[0]?.errorCode === 0
    })
  })

  test('what does not fit is refused', async () => {
    await create([topic('taken')])
    await seen('taken')
    const config = (name: string, value: string) => ({ configs: [{ name, value }] })
    const assigned = (...brokerIds: number[]) => ({
      numPartitions: -1,
      replicationFactor: -1,
      assignments: [{ partitionIndex: 0, brokerIds }],
    })
    const asked = {
      'no spaces': [topic('no spaces'), kafkaErrors.invalidTopic],
      taken: [topic('taken'), kafkaErrors.topicAlreadyExists],
      'no-partitions': [
        topic('no-partitions', { numPartitions: 0 }),
        kafkaErrors.invalidPartitions,
      ],
      replicas: [topic('replicas', { replicationFactor: 3 }), kafkaErrors.invalidReplicationFactor],
      elsewhere: [topic('elsewhere', assigned(7)), kafkaErrors.invalidReplicaAssignment],
      both: [topic('both', { ...assigned(1), numPartitions: 1 }), kafkaErrors.invalidRequest],
      unknown: [topic('unknown', config('no.such', '1')), kafkaErrors.invalidConfig],
      wrong: [topic('wrong', config('retention.ms', 'x')), kafkaErrors.invalidConfig],
      standard: [topic('standard', { numPartitions: -1, replicationFactor: -1 }), 0],
      here: [topic('here', assigned(1)), 0],
      twice: [topic('twice'), kafkaErrors.invalidRequest],
    } as const
    const topics = [...Object.values(asked).map(([wanted]) => wanted), topic('twice')]
    for (const validateOnly of [true, false]) {
      const answers = await create(topics, validateOnly)
      expect(Object.fromEntries(answers.map(({ name, errorCode }) => [name, errorCode]))).toEqual(
        Object.fromEntries(Object.entries(asked).map(([name, [, errorCode]]) => [name, errorCode])),
      )
    }
    await seen('standard', 1)
    await seen('here', 1)
  })

  test('partitions are added, never taken away', async () => {
    await create([topic('grows')])
    await seen('grows')
    const grow = async (
      name: string,
      count: number,
      assignments: readonly number[] | null,
      validateOnly = false,
    ) => {
      const brokers = assignments?.map((broker) => ({ brokerIds: [broker] })) ?? null
      const topics = [{ name, count, assignments: brokers }]
      const asked = { topics, timeoutMs: 10_000, validateOnly }
      return (await client.request('createPartitions', 3, asked)).results[0]?.errorCode
    }
    expect(await grow('grows', 1, null)).toBe(kafkaErrors.invalidPartitions)
    expect(await grow('grows', 2, null)).toBe(kafkaErrors.invalidPartitions)
    expect(await grow('grows', 3, [7])).toBe(kafkaErrors.invalidReplicaAssignment)
    expect(await grow('grows', 4, [1])).toBe(kafkaErrors.invalidReplicaAssignment)
    expect(await grow('never', 4, null)).toBe(kafkaErrors.unknownTopicOrPartition)
    expect(await grow('grows', 4, null, true)).toBe(0)
    expect(await grow('grows', 3, [1])).toBe(0)
    await seen('grows', 3)
  })

  test('configs are described, changed one by one and taken back', async () => {
    await create([topic('set', { configs: [{ name: 'max.message.bytes', value: '1000' }] })])
    await seen('set')
    const describeAll = async () => {
      const resources = [
        { ...resource('set'), configurationKeys: ['max.message.bytes', 'retention.ms'] },
      ]
      const { results } = await client.request('describeConfigs', 4, {
        resources,
        includeSynonyms: true,
      })
      const configs = results[0]?.configs ?? []
      return Object.fromEntries(
        configs.map((config) => [
          config.name,
          [
            config.value,
            config.configSource,
            config.readOnly,
            config.configType,
            config.synonyms[0]?.name,
          ],
        ]),
      )
    }
    expect(await describeAll()).toMatchObject({
      'max.message.bytes': ['1000', 1, false, 3, 'max.message.bytes'],
      'retention.ms': ['-1', expect.any(Number), false, 5, 'log.retention.ms'],
    })
    const alter = async (
      name: string,
      value: string | null,
      configOperation: number,
      of = resource('set'),
    ) => {
      const resources = [{ ...of, configs: [{ name, value, configOperation }] }]
      const asked = { resources, validateOnly: false }
      return (await client.request('incrementalAlterConfigs', 1, asked)).responses[0]?.errorCode
    }
    expect(await alter('retention.ms', '60000', 0)).toBe(0)
    expect(await alter('max.message.bytes', null, 1)).toBe(0)
    await waitFor('the configs have changed', 60_000, async () => {
      const shown = await describeAll()
      return shown['retention.ms']?.[0] === '60000' && shown['max.message.bytes']?.[1] !== 1
    })
    expect(await alter('retention.ms', 'x', 0)).toBe(kafkaErrors.invalidConfig)
    expect(await alter('no.such', '1', 0)).toBe(kafkaErrors.invalidConfig)
    expect(await alter('retention.ms', '1', 2)).toBe(kafkaErrors.invalidConfig)
    expect(await alter('retention.ms', '1', 0, resource('never'))).toBe(
      kafkaErrors.unknownTopicOrPartition,
    )
    expect(await alter('retention.ms', null, 0)).toBe(kafkaErrors.invalidRequest)
    const unknown = [resource('never'), resource('77', 4)].map((of) => ({
      ...of,
      configurationKeys: null,
    }))
    const { results } = await client.request('describeConfigs', 4, { resources: unknown })
    expect(results.map(({ errorCode }) => errorCode)).toEqual([
      kafkaErrors.unknownTopicOrPartition,
      kafkaErrors.invalidRequest,
    ])
  })

  test("the broker's configs are shown under the names that tools look for", async () => {
    const keys = [
      'message.max.bytes',
      'num.partitions',
      'auto.create.topics.enable',
      'log.retention.ms',
    ]
    const resources = [{ ...resource('1', 4), configurationKeys: keys }]
    const { results } = await client.request('describeConfigs', 4, { resources })
    const shown = results[0]?.configs.map(({ name, value, configType }) => [
      name,
      [value, configType],
    ])
    expect(Object.fromEntries(shown ?? [])).toEqual({
      'message.max.bytes': ['5242880', 3],
      'num.partitions': ['1', 3],
      'auto.create.topics.enable': ['true', 1],
      'log.retention.ms': ['-1', 5],
    })
  })

  test('records are deleted up to an offset', async () => {
    await create([topic('shrinks', { numPartitions: 1 })])
    await seen('shrinks', 1)
    const remove = async (offset: number, partitionIndex = 0) => {
      const topics = [{ name: 'shrinks', partitions: [{ partitionIndex, offset }] }]
      const answer = await client.request('deleteRecords', 2, { topics, timeoutMs: 10_000 })
      const outcome = answer.topics[0]?.partitions[0]
      return [outcome?.errorCode, outcome?.lowWatermark]
    }
    // Kafka shows a topic a moment before it takes requests for it.
    await waitFor('the partition is there', 60_000, async () => (await remove(0))[0] === 0)
    expect(await remove(0)).toEqual([0, 0])
    expect(await remove(-1)).toEqual([0, 0])
    expect(await remove(1)).toEqual([kafkaErrors.offsetOutOfRange, -1])
    expect(await remove(0, 5)).toEqual([kafkaErrors.unknownTopicOrPartition, -1])
  })

  test('the cluster is one broker', async () => {
    const { brokers, controllerId, errorCode } = await client.request('describeCluster', 1, {
      includeClusterAuthorizedOperations: false,
    })
    const [host, port] = target.bootstrap.split(':')
    expect({ brokers, controllerId, errorCode }).toEqual({
      brokers: [{ brokerId: 1, host, port: Number(port), rack: null }],
      controllerId: 1,
      errorCode: 0,
    })
  })
})
