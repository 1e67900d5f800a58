import type { Clock } from '../core/clock.ts'
import type { KafkaClient } from '../kafka/client.ts'
import { partitionForKey } from '../log/partitioner.ts'
import { encodeBatch, recordBytesMax } from '../log/record-batch.ts'
import type { NewRecord } from '../log/record.ts'
import { brokerError, fetchPartitions, versions } from './broker.ts'

/** A batch is sent at this size. */
const batchBytesMax = 512 * 1024
const batchRecordsMax = 10_000
const produceTimeoutMs = 30_000

/** Offsets of a partition that were acknowledged. */
export interface ProducedRange {
  readonly partition: number
  readonly firstOffset: number
  readonly lastOffset: number
  readonly count: number
}

interface Batch {
  readonly records: NewRecord[]
  bytes: number
}

/** Sends records to one topic; one request is on the way at a time, so they keep their order in each partition. */
export class TopicProducer {
  readonly #client: KafkaClient
  readonly #clock: Clock
  readonly #topic: string
  readonly #partitions: readonly number[]
  readonly #only: number | undefined
  readonly #batches = new Map<number, Batch>()
  readonly #produced = new Map<number, ProducedRange>()
  #sticky = 0

  private constructor(
    client: KafkaClient,
    clock: Clock,
    topic: string,
    partitions: readonly number[],
    only: number | undefined,
  ) {
    this.#client = client
    this.#clock = clock
    this.#topic = topic
    this.#partitions = partitions
    this.#only = only
  }

  /** `only`: every record goes to this partition. TOPIC_UNKNOWN; BROKER_REFUSED without such a partition. */
  static async open(options: {
    readonly client: KafkaClient
    readonly clock: Clock
    readonly topic: string
    readonly only: number | undefined
  }): Promise<TopicProducer> {
    const { client, clock, topic, only } = options
    const partitions = await fetchPartitions(client, topic, true)
    if (only !== undefined && !partitions.includes(only))
      throw brokerError(3, `topic "${topic}" has no partition ${only}`)
    return new TopicProducer(client, clock, topic, partitions, only)
  }

  /** What was acknowledged, by partition: what a failure leaves out may or may not be on the log. */
  get produced(): readonly ProducedRange[] {
    return [...this.#produced.values()].toSorted((one, other) => one.partition - other.partition)
  }

  get count(): number {
    return this.produced.reduce((sum, { count }) => sum + count, 0)
  }

  async send(record: NewRecord): Promise<void> {
    const partition = this.#partitionOf(record.key)
    const bytes = recordBytesMax(record)
    const batch = this.#batches.get(partition) ?? { records: [], bytes: 0 }
    this.#batches.set(partition, batch)
    const isFull = batch.bytes + bytes > batchBytesMax || batch.records.length >= batchRecordsMax
    if (isFull && batch.records.length > 0) {
      await this.#flush(partition)
      return this.send(record)
    }
    batch.records.push(record)
    batch.bytes += bytes
  }

  /** Sends what waits, and resolves when everything is acknowledged. */
  async flush(): Promise<void> {
    for (const partition of this.#batches.keys()) await this.#flush(partition)
  }

  #partitionOf(key: Uint8Array | null): number {
    if (this.#only !== undefined) return this.#only
    const index = key === null ? this.#sticky : partitionForKey(key, this.#partitions.length)
    return this.#partitions[index] ?? 0
  }

  async #flush(partition: number): Promise<void> {
    const records = this.#batches.get(partition)?.records ?? []
    this.#batches.delete(partition)
    this.#sticky = (this.#sticky + 1) % this.#partitions.length
    if (records.length === 0) return
    const { bytes } = encodeBatch(0, [{ timestampMs: this.#clock.nowMs(), records }])
    const answer = await this.#client.request('produce', versions.produce, {
      transactionalId: null,
      acks: -1,
      timeoutMs: produceTimeoutMs,
      topicData: [{ name: this.#topic, partitionData: [{ index: partition, records: bytes }] }],
    })
    const [found] = answer.responses[0]?.partitionResponses ?? []
    if (found === undefined || found.errorCode !== 0)
      throw brokerError(
        found?.errorCode ?? -1,
        `${records.length} records for ${this.#topic}/${partition} were refused`,
      )
    this.#note(partition, found.baseOffset, records.length)
  }

  #note(partition: number, baseOffset: number, added: number): void {
    const { firstOffset = baseOffset, count = 0 } = this.#produced.get(partition) ?? {}
    const lastOffset = baseOffset + added - 1
    this.#produced.set(partition, { partition, firstOffset, lastOffset, count: count + added })
  }
}
