// @platformatic/kafka 2: producer in each codec, transactions, consumer streams, admin. Arguments: bootstrap server, prefix of the topics.
import { quiet, result, until } from './results.mjs'

// It is made for Node 22, which has this.
Promise.withResolvers ??= () => {
  let resolve, reject
  const promise = new Promise((...functions) => ([resolve, reject] = functions))
  return { promise, resolve, reject }
}
const {
  Admin,
  Consumer,
  FetchIsolationLevels,
  MessagesStreamModes,
  Producer,
  stringDeserializers,
  stringSerializers,
} = await import('@platformatic/kafka')

const [bootstrap, prefix] = process.argv.slice(2)
const base = { clientId: 'conformance', bootstrapBrokers: [bootstrap], strict: true }
const topic = `${prefix}-records`
const transactional = `${prefix}-transactions`
const codes = (error) =>
  [error, ...(error.errors ?? [])].flatMap((each) =>
    each === error && error.errors
      ? error.errors.flatMap((inner) => codes(inner))
      : [each.apiId ?? each.code],
  )
const failure = async (call) => {
  try {
    await call()
    return null
  } catch (error) {
    return [...new Set(codes(error))]
  }
}

const admin = new Admin(base)
const [created] = await admin.createTopics({
  topics: [topic],
  partitions: 2,
  replicas: 1,
  configs: [{ name: 'max.message.bytes', value: '5242880' }],
})
result('created', [
  created.name === topic,
  created.partitions,
  created.replicas,
  created.configuration['max.message.bytes'],
])
result(
  'again',
  await failure(() => admin.createTopics({ topics: [topic], partitions: 2, replicas: 1 })),
)
result('listed', (await admin.listTopics()).includes(topic))
const metadata = await admin.metadata({ topics: [topic] })
result('metadata', [
  [...metadata.brokers.keys()],
  metadata.topics.get(topic).partitions.map(({ leader, replicas, isr }) => [leader, replicas, isr]),
])

// Records in each codec. On Node 20 there is no zstd.
const message = (name, n) => ({
  topic,
  partition: 0,
  key: `k${n}`,
  value: `${name} ${n}`,
  headers: { name },
  timestamp: BigInt(1_600_000_000_000 + n),
})
const offsets = []
for (const compression of ['none', 'gzip', 'snappy', 'lz4']) {
  const producer = new Producer({
    ...base,
    serializers: stringSerializers,
    compression,
    idempotent: true,
  })
  const messages = Array.from({ length: 20 }, (_, n) => message(compression, n))
  const sent = await producer.send({ messages })
  offsets.push(...sent.offsets.map(({ partition, offset }) => [partition, Number(offset)]))
  await producer.close()
}
result('offsets', offsets)
const producer = new Producer({ ...base, serializers: stringSerializers })
const acks1 = await producer.send({ acks: 1, messages: [{ topic, partition: 1, value: 'one' }] })
result('acks-1', Number(acks1.offsets[0].offset))
await producer.send({ acks: 0, messages: [{ topic, partition: 1, value: 'two' }] })
// That one has no answer to wait for, and closing would cut it off.
const endOf = async (partition) => {
  const partitions = [{ partitionIndex: partition, timestamp: -1n }]
  const [found] = await admin.listOffsets({ topics: [{ name: topic, partitions }] })
  return found.partitions[0].offset
}
await until(async () => (await endOf(1)) === 2n)
result(
  'unknown-topic',
  (await failure(() => producer.send({ messages: [{ topic: `${prefix}-none`, value: 'x' }] }))) !==
    null,
)
await producer.close()

/** Reads so many records, and what comes in a second more. */
async function read(groupId, from, count, { commit = false, ...options } = {}) {
  const consumer = new Consumer({
    ...base,
    groupId,
    deserializers: stringDeserializers,
    maxWaitTime: 200,
    sessionTimeout: 10_000,
  })
  const stream = await consumer.consume({
    topics: [from],
    mode: MessagesStreamModes.EARLIEST,
    autocommit: false,
    ...options,
  })
  const messages = []
  stream.on('data', (each) => messages.push(each))
  await until(() => messages.length >= count)
  await quiet(1_000)
  if (commit) {
    const last = new Map()
    for (const { partition, offset } of messages)
      last.set(partition, offset > (last.get(partition) ?? -1n) ? offset : last.get(partition))
    await consumer.commit({
      offsets: [...last].map(([partition, offset]) => ({
        topic: from,
        partition,
        offset: offset + 1n,
        leaderEpoch: 0,
      })),
    })
  }
  await stream.close()
  await consumer.close()
  return messages
}
const all = await read(`${prefix}-group`, topic, 82, { commit: true })
const zero = all.filter(({ partition }) => partition === 0)
result('read', [
  all.length,
  zero.every(
    ({ value, offset }, at) =>
      value === `${['none', 'gzip', 'snappy', 'lz4'][Math.floor(at / 20)]} ${at % 20}` &&
      offset === BigInt(at),
  ),
])
result('record', [
  zero[25].key,
  zero[25].value,
  zero[25].headers.get('name'),
  Number(zero[25].timestamp),
])
result(
  'again-in-group',
  (await read(`${prefix}-group`, topic, 0, { mode: MessagesStreamModes.COMMITTED })).length,
)
const manual = {
  mode: MessagesStreamModes.MANUAL,
  offsets: [
    { topic, partition: 0, offset: 75n },
    { topic, partition: 1, offset: 2n },
  ],
}
result(
  'from-75',
  (await read(`${prefix}-manual`, topic, 5, manual)).map(({ offset }) => Number(offset)),
)
const asked = [
  {
    name: topic,
    partitions: [-1n, -2n, -3n, 1_600_000_000_005n].map((timestamp) => ({
      partitionIndex: 0,
      timestamp,
    })),
  },
]
const listed = []
for (const entry of asked[0].partitions) {
  const [found] = await admin.listOffsets({ topics: [{ name: topic, partitions: [entry] }] })
  listed.push([Number(found.partitions[0].offset), Number(found.partitions[0].timestamp)])
}
result('list-offsets', listed)

// Transactions.
await admin.createTopics({ topics: [transactional], partitions: 1, replicas: 1 })
const writer = new Producer({
  ...base,
  serializers: stringSerializers,
  idempotent: true,
  transactionalId: `${prefix}-id`,
})
for (const outcome of ['committed', 'aborted', 'committed too']) {
  const transaction = await writer.beginTransaction()
  await transaction.send({ messages: [{ topic: transactional, value: outcome }] })
  await (outcome === 'aborted' ? transaction.abort() : transaction.commit())
}
await writer.close()
for (const [name, isolationLevel, count] of [
  ['read-committed', FetchIsolationLevels.READ_COMMITTED, 2],
  ['read-uncommitted', FetchIsolationLevels.READ_UNCOMMITTED, 3],
])
  result(
    name,
    (await read(`${prefix}-${name}`, transactional, count, { isolationLevel })).map(
      ({ value }) => value,
    ),
  )

// Groups, configs, the rest of topics.
const groupId = `${prefix}-group`
result('groups', (await admin.listGroups()).has(groupId))
const group = (await admin.describeGroups({ groups: [groupId] })).get(groupId)
result('group', [group.state, group.members.size])
const [committed] = await admin.listConsumerGroupOffsets({ groups: [groupId] })
result(
  'committed',
  committed.topics[0].partitions
    .map(({ partitionIndex, committedOffset }) => [partitionIndex, Number(committedOffset)])
    .toSorted(([a], [b]) => a - b),
)
await admin.deleteGroups({ groups: [groupId] })
result('groups-after', (await admin.listGroups()).has(groupId))
const resource = { resourceType: 2, resourceName: topic }
await admin.incrementalAlterConfigs({
  resources: [
    { ...resource, configs: [{ name: 'retention.ms', configOperation: 0, value: '999999999999' }] },
  ],
})
const [described] = await admin.describeConfigs({
  resources: [{ ...resource, configurationKeys: ['retention.ms'] }],
})
result(
  'config',
  described.configs.map(({ name, value }) => [name, value]),
)
await admin.createPartitions({
  topics: [{ name: topic, count: 3, assignments: [{ brokerIds: [1] }] }],
})
result(
  'partitions-after',
  (await admin.metadata({ topics: [topic], forceUpdate: true })).topics.get(topic).partitionsCount,
)
const [cut] = await admin.deleteRecords({
  topics: [{ name: topic, partitions: [{ partition: 0, offset: 30n }] }],
})
result('low-after', Number(cut.partitions[0].lowWatermark))
await admin.deleteTopics({ topics: [topic, transactional] })
await until(async () => !(await admin.listTopics()).includes(topic))
await admin.close()
