import type { Admin, Connection, Producer, Writer as KafkaWriter } from '@platformatic/kafka'
import type { Clock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import { apis, decodeResponse, encodeRequest, type ClientResponseOf } from '../kafka/apis.ts'
import { Reader } from '../kafka/wire.ts'
import { partitionForKey } from '../log/partitioner.ts'
import type { LogSlice } from '../log/reader.ts'
import type { Appended, NewRecord, Topic } from '../log/record.ts'
import type { TopicSpec } from '../log/topic.ts'
import { committedSlice, type CommittedBytes } from './committed-slice.ts'
import { AppendQueue, type SentBatch } from './kafka-appends.ts'
import { clusterError, refusal } from './kafka-errors.ts'
import { loadKafkaModule, type KafkaModule } from './kafka-module.ts'
import type { LogClient, LogOffsets } from './log-client.ts'

export interface KafkaLogOptions {
  /** `host:port`, some brokers of the cluster. */
  readonly brokers: readonly string[]
  readonly clientId: string
  readonly clock: Clock
  /** Copies that a new topic has; -1 = as many as the cluster gives by itself. */
  readonly replicas: number
  /** Appends to a partition are put together up to this size, bytes. Not above `max.message.bytes` of the cluster (1 MiB unless set). */
  readonly batchBytesMax: number
  /** Most bytes of a partition that wait for their answer; more is refused with OVERLOADED. */
  readonly pendingBytesMax: number
  /** A request without an answer after this time is sent again, a few times. */
  readonly timeoutMs: number
}

/** By topic name: every broker since 0.11 takes it. */
const fetchVersion = 12
const latest = -1n
const earliest = -2n
/** DescribeConfigs: a config of a topic, and one that was set on the topic itself. */
const topicResource = 2
const dynamicTopicConfig = 1
const notLeader = 6
const retryDelayMs = 250

/** A Kafka cluster as the log, through @platformatic/kafka. Sends idempotently, with acks from all replicas in sync. */
export class KafkaLog implements LogClient {
  readonly #module: KafkaModule
  readonly #options: KafkaLogOptions
  readonly #admin: Admin
  readonly #queues = new Map<string, AppendQueue>()
  /** Those under way. */
  readonly #appends = new Set<Promise<void>>()
  readonly #sticky = new Map<string, number>()
  #producer: Producer
  #closed: Promise<void> | undefined

  private constructor(module: KafkaModule, options: KafkaLogOptions) {
    this.#module = module
    this.#options = options
    this.#admin = new module.Admin(this.#clientOptions())
    this.#producer = this.#newProducer()
  }

  /** Connects to a cluster. PACKAGE_MISSING; NOT_RUNNING when no broker answers. */
  static async open(
    options: KafkaLogOptions,
    load: () => Promise<KafkaModule> = loadKafkaModule,
  ): Promise<KafkaLog> {
    const log = new KafkaLog(await load(), options)
    try {
      await log.#call('the cluster', () => log.#admin.listTopics())
    } catch (error) {
      await log.close()
      throw error
    }
    return log
  }

  async topics(): Promise<readonly Topic[]> {
    return this.#call('the topics', async () => {
      const names = await this.#admin.listTopics()
      return names.length === 0 ? [] : this.#describe(names)
    })
  }

  async createTopic({ name, partitions, configs = {} }: TopicSpec): Promise<Topic> {
    const { replicas } = this.#options
    const entries = Object.entries(configs).map(([config, value]) => ({ name: config, value }))
    return this.#call(`topic ${name} can't be created`, async () => {
      await this.#admin.createTopics({ topics: [name], partitions, replicas, configs: entries })
      const [topic] = await this.#describe([name])
      if (topic === undefined) throw unknownTopic(name)
      return topic
    })
  }

  async deleteTopic(name: string): Promise<void> {
    await this.#call(`topic ${name} can't be deleted`, () =>
      this.#admin.deleteTopics({ topics: [name] }),
    )
    for (const key of this.#queues.keys()) if (key.startsWith(`${name}/`)) this.#queues.delete(key)
    this.#admin.clearMetadata()
    this.#producer.clearMetadata()
  }

  async append(
    topic: string,
    key: Uint8Array | null,
    records: readonly NewRecord[],
  ): Promise<Appended> {
    if (this.#closed !== undefined)
      throw new QuestlogError('SHUTTING_DOWN', 'questlog is stopping; nothing was kept')
    if (records.length === 0)
      throw new QuestlogError('REQUEST_MALFORMED', 'an append needs at least one record', { topic })
    const appended = this.#append(topic, key, records)
    const settled = appended.then(
      () => {},
      () => {},
    )
    this.#appends.add(settled)
    void settled.then(() => this.#appends.delete(settled))
    return appended
  }

  async #append(
    topic: string,
    key: Uint8Array | null,
    records: readonly NewRecord[],
  ): Promise<Appended> {
    const count = await this.#partitions(topic)
    const next = this.#sticky.get(topic) ?? 0
    const partition = key === null ? next % count : partitionForKey(key, count)
    if (key === null) this.#sticky.set(topic, (partition + 1) % count)
    return { topic, partition, ...(await this.#queue(topic, partition).append(records)) }
  }

  async offsets(topic: string, partition: number): Promise<LogOffsets> {
    const [startOffset, endOffset] = await this.#call(`offsets of ${topic}`, () =>
      Promise.all([earliest, latest].map((time) => this.#offsetAt(topic, partition, time))),
    )
    return { startOffset: startOffset ?? 0, endOffset: endOffset ?? 0 }
  }

  async fetch(
    topic: string,
    partition: number,
    fromOffset: number,
    maxBytes: number,
  ): Promise<LogSlice> {
    const what = `topic ${topic}, partition ${partition}, offset ${fromOffset}`
    const wanted = { topic, partition, fetchOffset: fromOffset, maxBytes }
    let found = await this.#call(what, () => this.#fetch(wanted))
    if (found.code === notLeader) {
      this.#admin.clearMetadata()
      found = await this.#call(what, () => this.#fetch(wanted))
    }
    if (found.code !== 0) throw refusal(found.code, what)
    return committedSlice(found, fromOffset)
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await Promise.all(this.#appends)
    await Promise.all([this.#producer.close(true), this.#admin.close()])
  }

  #clientOptions() {
    const { brokers, clientId, timeoutMs } = this.#options
    return {
      clientId,
      bootstrapBrokers: [...brokers],
      requestTimeout: timeoutMs,
      connectTimeout: timeoutMs,
      timeout: timeoutMs,
      retries: 3,
      retryDelay: retryDelayMs,
    }
  }

  #newProducer(): Producer {
    return new this.#module.Producer({ ...this.#clientOptions(), idempotent: true })
  }

  async #describe(names: readonly string[]): Promise<Topic[]> {
    const topics = [...names]
    const metadata = await this.#admin.metadata({ topics, forceUpdate: true })
    const described = await this.#admin.describeConfigs({
      resources: topics.map((name) => ({ resourceType: topicResource, resourceName: name })),
    })
    return topics.map((name) => {
      const found = metadata.topics.get(name)
      const { configs = [] } = described.find((each) => each.resourceName === name) ?? {}
      const own = configs.filter(({ configSource }) => configSource === dynamicTopicConfig)
      return {
        id: found?.id ?? '',
        name,
        partitions: found?.partitionsCount ?? 0,
        configs: Object.fromEntries(own.map(({ name: config, value }) => [config, value ?? ''])),
      }
    })
  }

  async #partitions(topic: string): Promise<number> {
    const metadata = await this.#call(`topic ${topic}`, () =>
      this.#admin.metadata({ topics: [topic] }),
    )
    const count = metadata.topics.get(topic)?.partitionsCount ?? 0
    if (count === 0) throw unknownTopic(topic)
    return count
  }

  #queue(topic: string, partition: number): AppendQueue {
    const key = `${topic}/${partition}`
    const known = this.#queues.get(key)
    if (known !== undefined) return known
    const { batchBytesMax, pendingBytesMax } = this.#options
    const send = (records: readonly NewRecord[]) => this.#send(topic, partition, records)
    const queue = new AppendQueue({ send, batchBytesMax, pendingBytesMax })
    this.#queues.set(key, queue)
    return queue
  }

  async #send(topic: string, partition: number, records: readonly NewRecord[]): Promise<SentBatch> {
    const timestampMs = this.#options.clock.nowMs()
    const place = { topic, partition, timestamp: BigInt(timestampMs) }
    const messages = records.map(({ key, value, headers }) => ({
      ...place,
      ...(key === null ? {} : { key: Buffer.from(key) }),
      ...(value === null ? {} : { value: Buffer.from(value) }),
      // Each name is an object of its own, so that a repeated one stays.
      headers: new Map(headers.map((each) => [Buffer.from(each.key), valueOf(each.value)])),
    }))
    const producer = this.#producer
    try {
      const { offsets = [] } = await producer.send({ messages, acks: -1 })
      return { baseOffset: Number(offsets[0]?.offset ?? -1n), timestampMs }
    } catch (error) {
      // Its sequence numbers may be ahead of the broker's now.
      if (this.#producer === producer) this.#producer = this.#newProducer()
      await producer.close(true).catch(() => {})
      throw clusterError(error, `${records.length} records for ${topic}`, 'OUTCOME_UNKNOWN')
    }
  }

  async #offsetAt(topic: string, partition: number, timestamp: bigint): Promise<number> {
    const partitions = [{ partitionIndex: partition, timestamp }]
    const isolationLevel = this.#module.FetchIsolationLevels.READ_COMMITTED
    const topics = [{ name: topic, partitions }]
    const [found] = await this.#admin.listOffsets({ topics, isolationLevel })
    return Number(found?.partitions[0]?.offset ?? 0n)
  }

  async #fetch(wanted: FetchOf): Promise<CommittedBytes & { readonly code: number }> {
    const { topic, partition } = wanted
    const metadata = await this.#admin.metadata({ topics: [topic] })
    const leader = metadata.topics.get(topic)?.partitions[partition]?.leader
    if (leader === undefined) throw unknownTopic(topic)
    const connection = (await this.#admin.connectToBrokers([leader])).get(leader)
    if (connection === undefined)
      throw new QuestlogError('NOT_RUNNING', `broker ${leader} can't be reached`)
    const response = await this.#sendFetch(connection, wanted)
    const answer = response.responses[0]?.partitions[0]
    return {
      code: response.errorCode === 0 ? (answer?.errorCode ?? 0) : response.errorCode,
      bytes: answer?.records ?? Buffer.alloc(0),
      aborted: answer?.abortedTransactions ?? [],
    }
  }

  /**
   * A Fetch over a connection of the client, written and read by our own codec: the client's own reading takes only the last aborted transaction of a producer out of a response, and knows no
   * zstd on Node 20.
   */
  #sendFetch(
    connection: Connection,
    { topic, partition, fetchOffset, maxBytes }: FetchOf,
  ): Promise<ClientResponseOf<'fetch'>> {
    const request = encodeRequest('fetch', fetchVersion, {
      replicaId: -1,
      maxWaitMs: 0,
      minBytes: 0,
      maxBytes,
      isolationLevel: 1,
      topics: [{ topic, partitions: [{ partition, fetchOffset, partitionMaxBytes: maxBytes }] }],
    })
    const write = (): KafkaWriter => {
      const writer = this.#module.Writer.create()
      for (const part of request.chunks()) writer.append(part)
      return writer
    }
    return new Promise((resolve, reject) => {
      connection.send(
        apis.fetch.key,
        fetchVersion,
        write,
        (_id, _key, _version, reader) =>
          decodeResponse('fetch', fetchVersion, new Reader(reader.buffer.slice(reader.position))),
        true,
        true,
        (error, response) => {
          if (response === undefined) reject(error ?? new Error('the client gave no answer'))
          else resolve(response)
        },
      )
    })
  }

  async #call<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw clusterError(error, what)
    }
  }
}

interface FetchOf {
  readonly topic: string
  readonly partition: number
  readonly fetchOffset: number
  readonly maxBytes: number
}

function valueOf(value: Uint8Array | null): Buffer {
  return Buffer.from(value ?? [])
}

function unknownTopic(topic: string): QuestlogError {
  return new QuestlogError('TOPIC_UNKNOWN', `there is no topic ${topic}`, { topic })
}
