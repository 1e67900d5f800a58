import { expect, test } from 'vitest'
import { describeTopic, requireTopic } from '../../src/cli/topics.ts'

const topic = { id: 'u', name: 'events', partitions: 1, configs: {} }

test('describe has the tabs of kafka-topics', () => {
  expect(describeTopic(topic)).toEqual([
    'Topic:events\tPartitionCount:1\tReplicationFactor:1\tConfigs:',
    '\tTopic: events\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1',
  ])
  const limited = { ...topic, partitions: 2, configs: { 'max.message.bytes': '5242880' } }
  expect(describeTopic(limited)[0]).toBe(
    'Topic:events\tPartitionCount:2\tReplicationFactor:1\tConfigs:max.message.bytes=5242880',
  )
  expect(describeTopic(limited)).toHaveLength(3)
})

test('an unknown topic is told with the nearest name', () => {
  expect(requireTopic([topic], 'events')).toBe(topic)
  expect(() => requireTopic([topic], 'event')).toThrow('topic "event" does not exist')
  try {
    requireTopic([topic], 'event')
  } catch (error) {
    expect(error).toMatchObject({
      code: 'TOPIC_UNKNOWN',
      hint: expect.stringContaining('"events"'),
    })
  }
})
