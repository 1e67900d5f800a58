// kafkajs 2.2: producer, transactions, group and admin. Arguments: bootstrap server, prefix of the topics.
import kafkajs from 'kafkajs'
import { quiet, result, until } from './results.mjs'

const [bootstrap, prefix] = process.argv.slice(2)
const kafka = new kafkajs.Kafka({
  clientId: 'conformance',
  brokers: [bootstrap],
  logLevel: kafkajs.logLevel.NOTHING,
  connectionTimeout: 30_000,
})
const topic = `${prefix}-records`
const values = (messages) => messages.map(({ value }) => value.toString())

const admin = kafka.admin()
await admin.connect()
const spec = { topic, numPartitions: 2, replicationFactor: 1 }
result('create', await admin.createTopics({ topics: [spec], waitForLeaders: true }))
result('again', await admin.createTopics({ topics: [spec] }))
result('listed', (await admin.listTopics()).includes(topic))
const found = (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0]
result(
  'partitions',
  found.partitions
    .map(({ partitionId, leader, replicas, isr }) => [partitionId, leader, replicas, isr])
    .toSorted(([a], [b]) => a - b),
)
const cluster = await admin.describeCluster()
result('cluster', [cluster.brokers.map(({ nodeId }) => nodeId), cluster.controller])

// Records: plain and gzip, acks of each kind, an idempotent producer.
const producer = kafka.producer({ allowAutoTopicCreation: false })
await producer.connect()
const batch = (name, count) =>
  Array.from({ length: count }, (_, n) => ({
    key: `k${n}`,
    value: `${name} ${n}`,
    headers: { name },
    timestamp: String(1_600_000_000_000 + n),
    partition: 0,
  }))
const sent = []
sent.push(...(await producer.send({ topic, acks: -1, messages: batch('plain', 20) })))
const compression = kafkajs.CompressionTypes.GZIP
sent.push(...(await producer.send({ topic, acks: 1, compression, messages: batch('gzip', 20) })))
result(
  'base-offsets',
  sent.map(({ baseOffset }) => baseOffset),
)
const [none] = await producer
  .send({ topic, acks: 0, messages: batch('none', 1) })
  .then((r) => r ?? [])
result('acks-0', none?.baseOffset ?? null)
await producer.disconnect()
const endOf = async (partition) =>
  (await admin.fetchTopicOffsets(topic)).find((entry) => entry.partition === partition).high
await until(async () => (await endOf(0)) === '41')
const idempotent = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
await idempotent.connect()
result('idempotent', [
  (await idempotent.send({ topic, messages: batch('idempotent', 10) }))[0].baseOffset,
  (await idempotent.send({ topic, messages: batch('idempotent', 10) }))[0].baseOffset,
])
await idempotent.disconnect()
result('offsets', [await endOf(0), await endOf(1)])
result(
  'for-time',
  (await admin.fetchTopicOffsetsByTimestamp(topic, 1_600_000_000_005))
    .toSorted((a, b) => a.partition - b.partition)
    .map(({ offset }) => offset),
)

/** Reads in a group until it has its part and so many records came, and what comes in two seconds more; commits; resolves to them. */
async function readInGroup(groupId, from, count, options = {}) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 10_000, ...options })
  await consumer.connect()
  await consumer.subscribe({ topics: [from], fromBeginning: true })
  const messages = []
  let hasJoined = false
  consumer.on(consumer.events.GROUP_JOIN, () => (hasJoined = true))
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => messages.push({ partition, ...message }),
  })
  await until(() => hasJoined && messages.length >= count)
  await quiet(2_000)
  if (messages.length > 0) {
    const last = Math.max(...messages.map(({ offset }) => Number(offset)))
    await consumer.commitOffsets([{ topic: from, partition: 0, offset: String(last + 1) }])
  }
  await consumer.disconnect()
  return messages
}

const read = await readInGroup(`${prefix}-group`, topic, 61)
result('read', [
  read.length,
  values(read)[20],
  read[25].key.toString(),
  read[25].headers.name.toString(),
  read[25].timestamp,
])
result(
  'committed',
  await admin
    .fetchOffsets({ groupId: `${prefix}-group`, topics: [topic] })
    .then(([{ partitions }]) => partitions.map(({ offset }) => offset).toSorted()),
)
result('again-in-group', (await readInGroup(`${prefix}-group`, topic, 0)).length)

// Transactions.
const transactional = `${prefix}-transactions`
await admin.createTopics({
  topics: [{ topic: transactional, numPartitions: 1 }],
  waitForLeaders: true,
})
const writer = kafka.producer({
  transactionalId: `${prefix}-id`,
  maxInFlightRequests: 1,
  idempotent: true,
})
await writer.connect()
const first = await writer.transaction()
await first.send({ topic: transactional, messages: [{ value: 'committed' }] })
await first.sendOffsets({
  consumerGroupId: `${prefix}-work`,
  topics: [{ topic, partitions: [{ partition: 0, offset: '99' }] }],
})
await first.commit()
const second = await writer.transaction()
await second.send({ topic: transactional, messages: [{ value: 'aborted' }] })
await second.abort()
await writer.disconnect()
result('read-committed', values(await readInGroup(`${prefix}-committed`, transactional, 1)))
result(
  'read-uncommitted',
  values(await readInGroup(`${prefix}-uncommitted`, transactional, 2, { readUncommitted: true })),
)
result(
  'offset-after-transaction',
  (await admin.fetchOffsets({ groupId: `${prefix}-work`, topics: [topic] }))[0].partitions.find(
    ({ partition }) => partition === 0,
  ).offset,
)

// The rest of the admin client.
result(
  'groups',
  (await admin.listGroups()).groups.some(({ groupId }) => groupId === `${prefix}-group`),
)
const [group] = (await admin.describeGroups([`${prefix}-group`])).groups
result('group', [group.state, group.protocolType, group.members.length])
await admin.setOffsets({
  groupId: `${prefix}-group`,
  topic,
  partitions: [{ partition: 0, offset: '7' }],
})
result(
  'offsets-set',
  (await admin.fetchOffsets({ groupId: `${prefix}-group`, topics: [topic] }))[0].partitions.find(
    ({ partition }) => partition === 0,
  ).offset,
)
await admin.deleteGroups([`${prefix}-group`])
result(
  'groups-after',
  (await admin.listGroups()).groups.some(({ groupId }) => groupId === `${prefix}-group`),
)
const type = kafkajs.ConfigResourceTypes.TOPIC
await admin.alterConfigs({
  validateOnly: false,
  resources: [
    { type, name: topic, configEntries: [{ name: 'retention.ms', value: '999999999999' }] },
  ],
})
const { resources } = await admin.describeConfigs({
  includeSynonyms: false,
  resources: [{ type, name: topic, configNames: ['retention.ms'] }],
})
result(
  'config',
  resources[0].configEntries.map(({ configName, configValue }) => [configName, configValue]),
)
await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
result(
  'partitions-after',
  (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length,
)
await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '30' }] })
result(
  'low-after',
  (await admin.fetchTopicOffsets(topic)).find(({ partition }) => partition === 0).low,
)
await admin.deleteTopics({ topics: [topic, transactional] })
await until(async () => !(await admin.listTopics()).includes(topic))
await admin.disconnect()
