import { connect, type Socket } from 'node:net'
import { realClock, type Clock } from '../../src/core/clock.ts'
import { QuestlogError } from '../../src/core/errors.ts'
import { silentLogger, type Logger } from '../../src/core/logger.ts'
import { resolveSettings, type Settings } from '../../src/core/settings.ts'
import { createBroker, type Broker, type BrokerOptions } from '../../src/kafka/broker.ts'
import type { BrokerLog } from '../../src/kafka/broker-log.ts'
import type { ClientRequestOf, ClientResponseOf } from '../../src/kafka/apis.ts'
import { KafkaClient } from '../../src/kafka/client.ts'
import { batchIn, decodeRecords } from '../../src/log/record-batch.ts'
import type { BatchesAppended, PartitionView, Topic } from '../../src/log/record.ts'
import { StateFile } from '../../src/log/state-file.ts'
import { checkTopic, type TopicSpec } from '../../src/log/topic.ts'
import { batchOf } from '../support/kafka-batches.ts'
import { SimulatedFiles } from '../support/simulated-files.ts'

interface FakePartition {
  readonly batches: { readonly baseOffset: number; readonly bytes: Buffer }[]
  endOffset: number
  highWatermark: number
  lastStableOffset: number | undefined
  startOffset: number
}

/** The event log's promise in memory: order kept, acknowledged when the test says so. */
export class FakeLog implements BrokerLog {
  /** Acknowledgements wait for this: a sync that takes its time. */
  sync: Promise<void> = Promise.resolve()
  /** A larger append is refused. */
  roomBytes = Number.POSITIVE_INFINITY
  /** How often somebody looked whether there is room. */
  looks = 0
  /** Each append that comes is rejected with the next of these. */
  readonly failures: QuestlogError[] = []
  readonly appended: { topic: string; partition: number; values: string[] }[] = []
  readonly #topics = new Map<string, { topic: Topic; partitions: FakePartition[] }>()
  readonly #listeners = new Set<(topic: string, partition: number) => void>()

  topics(): readonly Topic[] {
    return [...this.#topics.values()].map(({ topic }) => topic)
  }

  topic(name: string): Topic | undefined {
    return this.#topics.get(name)?.topic
  }

  async createTopic(spec: TopicSpec): Promise<Topic> {
    checkTopic(spec)
    const { name, partitions } = spec
    const number = String(this.#topics.size + 1).padStart(12, '0')
    const topic = { id: `00000000-0000-4000-8000-${number}`, name, partitions, configs: {} }
    const empty = (): FakePartition => ({
      batches: [],
      endOffset: 0,
      highWatermark: 0,
      lastStableOffset: undefined,
      startOffset: 0,
    })
    this.#topics.set(name, { topic, partitions: Array.from({ length: partitions }, empty) })
    return topic
  }

  hasRoom(_topic: string, _partition: number, bytes: number): boolean {
    this.looks++
    return bytes <= this.roomBytes
  }

  async appendBatches(
    topic: string,
    partition: number,
    records: Buffer,
    until: 'written' | 'acknowledged',
  ): Promise<BatchesAppended> {
    const failure = this.failures.shift()
    if (failure !== undefined) throw failure
    if (!this.hasRoom(topic, partition, records.length))
      throw new QuestlogError('OVERLOADED', 'no room')
    const found = this.#topics.get(topic)?.partitions[partition]
    if (found === undefined) throw new QuestlogError('TOPIC_UNKNOWN', `no ${topic}/${partition}`)
    if (records.length < 61) throw new QuestlogError('RECORD_BATCH_MALFORMED', 'no batch')
    const bytes = Buffer.from(records)
    const values = decodeRecords(batchIn(bytes)).map(({ value }) => String(value))
    this.appended.push({ topic, partition, values })
    const baseOffset = found.endOffset
    bytes.writeBigInt64BE(BigInt(baseOffset), 0)
    found.batches.push({ baseOffset, bytes })
    found.endOffset += values.length
    const end = found.endOffset
    const acknowledged = this.sync.then(() => {
      found.highWatermark = Math.max(found.highWatermark, end)
      this.advance(topic, partition)
    })
    if (until === 'acknowledged') await acknowledged
    return { baseOffset, logAppendTimeMs: -1, startOffset: found.startOffset }
  }

  /** Holds the last stable offset back, or lets it go on. */
  holdStable(topic: string, partition: number, offset: number | undefined): void {
    const found = this.#topics.get(topic)?.partitions[partition]
    if (found !== undefined) found.lastStableOffset = offset
    this.advance(topic, partition)
  }

  advance(topic: string, partition: number): void {
    for (const listener of this.#listeners) listener(topic, partition)
  }

  partition(topic: string, partition: number): PartitionView | undefined {
    const found = this.#topics.get(topic)
    const part = found?.partitions[partition]
    if (found === undefined || part === undefined) return undefined
    const lastStableOffset = part.lastStableOffset ?? part.highWatermark
    return {
      topicId: found.topic.id,
      startOffset: part.startOffset,
      highWatermark: part.highWatermark,
      lastStableOffset,
      offline: null,
      async read(offset, { maxBytes, atLeastOne, isolation }) {
        const end = isolation === 'committed' ? lastStableOffset : part.highWatermark
        const chosen: Buffer[] = []
        let total = 0
        for (const { baseOffset, bytes } of part.batches) {
          const next = baseOffset + bytes.readInt32BE(23) + 1
          if (next <= offset || next > end) continue
          if (total + bytes.length > maxBytes && !(atLeastOne && total === 0)) break
          chosen.push(bytes)
          total += bytes.length
        }
        return { bytes: Buffer.concat(chosen), aborted: [] }
      },
      offsetAtTime: async (timestampMs) => ({ offset: 0, timestampMs }),
      offsetOfMaxTimestamp: async () => undefined,
    }
  }

  onAdvance(listener: (topic: string, partition: number) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  producers = () => []
  appendMarker = () => Promise.reject(new Error('not in this test'))
  addPartitions = () => Promise.reject(new Error('not in this test'))
  setConfigs = () => Promise.reject(new Error('not in this test'))
  deleteTopic = () => Promise.reject(new Error('not in this test'))
  deleteRecords = () => Promise.reject(new Error('not in this test'))
}

export interface StartOptions {
  readonly settings?: Partial<Settings>
  readonly log?: BrokerLog
  readonly advertised?: BrokerOptions['advertised']
  readonly backlogBytes?: (topic: string) => number
  readonly clock?: Clock
  readonly logger?: Logger
  readonly port?: number
}

const running: (() => Promise<unknown>)[] = []

/** A broker on a free port, on a log in memory with the topic `events` of two partitions. */
export async function start(options: StartOptions = {}) {
  const fake = new FakeLog()
  await fake.createTopic({ name: 'events', partitions: 2 })
  const files = new SimulatedFiles({ seed: 1 })
  await files.makeFolder('/log')
  const settings = { ...resolveSettings(), groupInitialRebalanceDelayMs: 0, ...options.settings }
  const broker = createBroker({
    log: options.log ?? fake,
    groups: await StateFile.open({ files, path: '/log/groups' }),
    transactions: await StateFile.open({ files, path: '/log/transactions' }),
    settings,
    clock: options.clock ?? realClock,
    logger: options.logger ?? silentLogger,
    clusterId: 'a-cluster',
    brokerId: 1,
    advertised: options.advertised ?? null,
    guard: { tablesOf: () => [], committed: async () => Number.POSITIVE_INFINITY },
    backlogBytes: options.backlogBytes ?? (() => 0),
  })
  running.push(() => broker.close())
  const port = await broker.listen('127.0.0.1', options.port ?? 0)
  return { broker, log: fake, port, client: () => openClient(port) }
}

export async function openClient(port: number): Promise<KafkaClient> {
  const client = await KafkaClient.open({
    host: '127.0.0.1',
    port,
    clientId: 'test',
    timeoutMs: 60_000,
  })
  running.unshift(() => client.close())
  return client
}

export async function stopAll(): Promise<void> {
  for (const stop of running.splice(0)) await stop()
}

/** A connection of bytes only. */
export async function openRaw(port: number): Promise<Socket & { ended: Promise<void> }> {
  const socket = connect(port, '127.0.0.1')
  await new Promise((resolve) => socket.once('connect', resolve))
  socket.on('error', () => {})
  running.unshift(async () => socket.destroy())
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  return Object.assign(socket, { ended })
}

export function produceRequest(
  records: Buffer | null,
  over: { acks?: number; topic?: string; partition?: number; timeoutMs?: number } = {},
): ClientRequestOf<'produce'> {
  const { acks = -1, topic = 'events', partition = 0, timeoutMs = 60_000 } = over
  const topicData = [{ name: topic, partitionData: [{ index: partition, records }] }]
  return { acks, timeoutMs, topicData }
}

/** Appends one batch of these values to events/0. */
export async function produce(
  client: KafkaClient,
  values: readonly string[],
  over: Parameters<typeof produceRequest>[1] = {},
) {
  const answer = await client.request('produce', 9, produceRequest(batchOf(...values), over))
  return partitionAnswer(answer)
}

export function partitionAnswer(answer: ClientResponseOf<'produce'>) {
  const found = answer.responses[0]?.partitionResponses[0]
  if (found === undefined) throw new Error('no answer for the partition')
  return { ...found, throttleTimeMs: answer.throttleTimeMs }
}

export interface FetchOver {
  readonly offset?: number
  readonly partitions?: readonly number[]
  readonly topic?: string
  readonly maxWaitMs?: number
  readonly minBytes?: number
  readonly maxBytes?: number
  readonly partitionMaxBytes?: number
  readonly isolationLevel?: number
}

export function fetchRequest(over: FetchOver = {}): ClientRequestOf<'fetch'> {
  const { offset = 0, partitions = [0], topic = 'events', partitionMaxBytes = 1_000_000 } = over
  return {
    maxWaitMs: over.maxWaitMs ?? 0,
    minBytes: over.minBytes ?? 1,
    maxBytes: over.maxBytes ?? 10_000_000,
    isolationLevel: over.isolationLevel ?? 0,
    topics: [
      {
        topic,
        partitions: partitions.map((partition) => ({
          partition,
          fetchOffset: offset,
          partitionMaxBytes,
        })),
      },
    ],
  }
}

export async function fetchOnce(client: KafkaClient, over: FetchOver = {}) {
  return readFetch(await client.request('fetch', 11, fetchRequest(over)))
}

/** The partitions of an answer to Fetch, with the values of their records. */
export function readFetch(answer: ClientResponseOf<'fetch'>) {
  return answer.responses.flatMap(({ partitions }) =>
    partitions.map((partition) => ({ ...partition, values: valuesIn(partition.records) })),
  )
}

function valuesIn(records: Buffer | null): string[] {
  const values: string[] = []
  let rest = records ?? Buffer.alloc(0)
  while (rest.length > 0) {
    const size = rest.readInt32BE(8) + 12
    values.push(...decodeRecords(batchIn(rest.subarray(0, size))).map(({ value }) => String(value)))
    rest = rest.subarray(size)
  }
  return values
}

/** A value of the metrics without labels, or with these. */
export function metricOf(broker: Broker, name: string, label?: string): number {
  const metric = broker.metrics().find((found) => found.name === `questlog_broker_${name}`)
  const value = metric?.values.find(
    ({ labels = {} }) => label === undefined || Object.values(labels).includes(label),
  )
  return value?.value ?? 0
}

export async function until(what: string, condition: () => boolean): Promise<void> {
  const endMs = Date.now() + 60_000
  while (!condition()) {
    if (Date.now() > endMs) throw new Error(`still waiting: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
