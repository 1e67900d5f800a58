import { describe, expect, test } from 'vitest'
import { kafkaErrors } from '../../src/kafka/error-codes.ts'
import { openAdmin } from './admin-bench.ts'

const topicResource = 2
const brokerResource = 4

async function withTopic(configs: Record<string, string> = {}, options = {}) {
  const bench = await openAdmin(options)
  await bench.log.createTopic({ name: 'events', partitions: 1, configs })
  return bench
}

const of = (resourceName: string, resourceType = topicResource) => ({ resourceType, resourceName })

describe('DescribeConfigs', () => {
  test('shows the configs of a topic, where each comes from, and what it is', async () => {
    const { client } = await withTopic(
      { 'max.message.bytes': '1000' },
      { settings: { segmentBytesMax: 5_000 } },
    )
    const { results } = await client.call('describeConfigs', {
      resources: [{ ...of('events'), configurationKeys: null }],
      includeSynonyms: true,
      includeDocumentation: true,
    })
    const configs = new Map(results[0]?.configs.map((config) => [config.name, config]))
    expect([...configs.keys()]).toEqual([
      'cleanup.policy',
      'max.message.bytes',
      'message.timestamp.type',
      'retention.bytes',
      'retention.ms',
      'segment.bytes',
    ])
    expect(configs.get('max.message.bytes')).toMatchObject({
      value: '1000',
      configSource: 1,
      readOnly: false,
      configType: 3,
      synonyms: [
        { name: 'max.message.bytes', value: '1000', source: 1 },
        { name: 'message.max.bytes', value: '5242880', source: 5 },
      ],
      documentation: expect.stringMatching(/bytes/),
    })
    expect(configs.get('segment.bytes')).toMatchObject({
      value: '5000',
      configSource: 4,
      synonyms: [{ name: 'log.segment.bytes', value: '5000', source: 4 }],
    })
    expect(configs.get('retention.ms')).toMatchObject({ value: '-1', configSource: 5 })
  })

  test.each([0, 1, 2, 3])('serves v%i', async (version) => {
    const { client } = await withTopic({ 'retention.ms': '60000' })
    const resources = [{ ...of('events'), configurationKeys: ['retention.ms', 'segment.bytes'] }]
    const { results } = await client.call('describeConfigs', { resources }, version)
    expect(results[0]?.configs.map(({ name, value }) => [name, value])).toEqual([
      ['retention.ms', '60000'],
      ['segment.bytes', '134217728'],
    ])
    if (version === 0)
      expect(results[0]?.configs.map(({ isDefault }) => isDefault)).toEqual([false, true])
  })

  test("shows the settings of the broker under Kafka's names, read-only", async () => {
    const { client } = await openAdmin({ settings: { messageBytesMax: 5_000_000 } })
    const keys = [
      'message.max.bytes',
      'offsets.retention.minutes',
      'auto.create.topics.enable',
      'no.such',
    ]
    const { results } = await client.call('describeConfigs', {
      resources: [{ ...of('1', brokerResource), configurationKeys: keys }],
      includeDocumentation: true,
    })
    expect(results[0]?.configs).toMatchObject([
      {
        name: 'message.max.bytes',
        value: '5000000',
        readOnly: true,
        configSource: 4,
        documentation: expect.stringContaining('QUESTLOG_MESSAGE_BYTES_MAX'),
      },
      { name: 'auto.create.topics.enable', value: 'true', configSource: 5, configType: 1 },
      { name: 'offsets.retention.minutes', value: '10080', configSource: 5 },
    ])
  })

  test('refuses what does not exist, each for itself', async () => {
    const { client } = await withTopic()
    const { results } = await client.call('describeConfigs', {
      resources: [of('none'), of('2', brokerResource), of('events', 8), of('events')].map(
        (resource) => ({ ...resource, configurationKeys: null }),
      ),
    })
    expect(results.map(({ errorCode }) => errorCode)).toEqual([
      kafkaErrors.unknownTopicOrPartition,
      kafkaErrors.invalidRequest,
      kafkaErrors.invalidRequest,
      0,
    ])
    expect(results[1]?.errorMessage).toBe('there is no broker 2, only 1')
  })
})

describe('IncrementalAlterConfigs', () => {
  const set = (name: string, value: string | null, configOperation = 0) => ({
    name,
    value,
    configOperation,
  })
  const alter = async (...configs: ReturnType<typeof set>[]) => {
    const bench = await withTopic({ 'retention.ms': '60000', 'cleanup.policy': 'delete' })
    const request = { resources: [{ ...of('events'), configs }], validateOnly: false }
    const { responses } = await bench.client.call('incrementalAlterConfigs', request)
    return { answer: responses[0], configs: bench.log.topic('events')?.configs }
  }

  test('sets and takes back single configs, and leaves the others', async () => {
    const changes = [set('max.message.bytes', '1000'), set('retention.ms', null, 1)]
    expect(await alter(...changes)).toEqual({
      answer: { ...of('events'), errorCode: 0, errorMessage: null },
      configs: { 'max.message.bytes': '1000', 'cleanup.policy': 'delete' },
    })
  })

  test('adds to a list', async () => {
    const { answer, configs } = await alter(set('cleanup.policy', 'delete', 2))
    expect(answer?.errorCode).toBe(0)
    expect(configs?.['cleanup.policy']).toBe('delete')
  })

  test.each([
    ['an unknown config', [set('no.such', '1')], kafkaErrors.invalidConfig, /no config no\.such/],
    [
      'a wrong value',
      [set('max.message.bytes', 'x')],
      kafkaErrors.invalidConfig,
      /must be a whole number/,
    ],
    [
      'a list operation on what is none',
      [set('retention.ms', '1', 2)],
      kafkaErrors.invalidConfig,
      /no list/,
    ],
    ['no value', [set('retention.ms', null)], kafkaErrors.invalidRequest, /no value/],
    [
      'an operation that does not exist',
      [set('retention.ms', '1', 9)],
      kafkaErrors.invalidRequest,
      /no operation 9/,
    ],
    [
      'one config twice',
      [set('retention.ms', '1'), set('retention.ms', '2')],
      kafkaErrors.invalidRequest,
      /twice/,
    ],
    [
      'all for one wrong one',
      [set('retention.ms', '1'), set('segment.bytes', 'x')],
      kafkaErrors.invalidConfig,
      /segment\.bytes/,
    ],
  ])('refuses %s and changes nothing', async (_, changes, errorCode, message) => {
    const { answer, configs } = await alter(...changes)
    expect(answer).toMatchObject({ errorCode, errorMessage: expect.stringMatching(message) })
    expect(configs).toEqual({ 'retention.ms': '60000', 'cleanup.policy': 'delete' })
  })

  test('says that configs of the broker are settings', async () => {
    const { client } = await openAdmin()
    const configs = [set('message.max.bytes', '1')]
    const resources = [{ ...of('1', brokerResource), configs }]
    const request = { resources, validateOnly: false }
    const { responses } = await client.call('incrementalAlterConfigs', request)
    expect(responses[0]).toMatchObject({
      errorCode: kafkaErrors.invalidRequest,
      errorMessage: expect.stringMatching(/settings of questlog/),
    })
  })

  test('changes nothing when it only checks', async () => {
    const { client, log } = await withTopic()
    const resources = [{ ...of('events'), configs: [set('retention.ms', '1')] }]
    const request = { resources, validateOnly: true }
    const { responses } = await client.call('incrementalAlterConfigs', request)
    expect(responses[0]?.errorCode).toBe(0)
    expect(log.topic('events')?.configs).toEqual({})
  })
})

test('AlterConfigs takes back every config that it does not name', async () => {
  const { client, log } = await withTopic({ 'retention.ms': '60000', 'max.message.bytes': '1000' })
  const configs = [{ name: 'max.message.bytes', value: '2000' }]
  const request = { resources: [{ ...of('events'), configs }], validateOnly: false }
  for (const version of [0, 1, 2]) {
    const { responses } = await client.call('alterConfigs', request, version)
    expect(responses[0]?.errorCode).toBe(0)
    expect(log.topic('events')?.configs).toEqual({ 'max.message.bytes': '2000' })
  }
})
