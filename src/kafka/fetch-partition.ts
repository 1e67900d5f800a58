import type { AbortedTransaction, PartitionView } from '../log/record.ts'
import type { TopicPartition } from './advances.ts'
import type { RequestOf, ResponseOf } from './apis.ts'
import type { BrokerLog } from './broker-log.ts'
import type { BufferPool } from './buffer-pool.ts'
import { kafkaErrorOf, kafkaErrors } from './error-codes.ts'
import type { RareLog } from './rare-log.ts'

type Wanted = RequestOf<'fetch'>['topics'][number]['partitions'][number]
type Answer = ResponseOf<'fetch'>['responses'][number]['partitions'][number]

interface PartitionFetchOptions {
  readonly log: Pick<BrokerLog, 'partition'>
  readonly rareLog: RareLog
  /** Memory for what is read. */
  readonly pool: BufferPool
  readonly isolation: 'uncommitted' | 'committed'
  /** The error when the topic does not exist. */
  readonly missing: number
  /** Undefined when there is no topic with the id. */
  readonly name: string | undefined
  readonly wanted: Wanted
}

const nothing: Buffer = Buffer.alloc(0)

/** One partition of a Fetch: looked at, read, described. */
export class PartitionFetch {
  readonly place: TopicPartition | undefined
  errorCode: number = kafkaErrors.none
  readonly #options: PartitionFetchOptions
  #records = nothing
  #memory: Buffer[] = []
  #aborted: readonly AbortedTransaction[] = []
  #end = -1
  #highWatermark = -1
  #lastStableOffset = -1
  #startOffset = -1

  constructor(options: PartitionFetchOptions) {
    const { name, wanted } = options
    this.#options = options
    this.place = name === undefined ? undefined : { topic: name, partition: wanted.partition }
  }

  /** Bytes that were read. */
  get bytes(): number {
    return this.#records.length
  }

  get bytesMax(): number {
    return Math.max(0, this.#options.wanted.partitionMaxBytes)
  }

  get isReadable(): boolean {
    return this.errorCode === kafkaErrors.none && this.#end > this.#options.wanted.fetchOffset
  }

  /** Notes how the partition stands now, and forgets what was read before. */
  look(): void {
    const { wanted } = this.#options
    const view = this.#view()
    this.release()
    this.errorCode = kafkaErrors.none
    if (view === undefined) return this.#fail(this.#options.missing)
    if (wanted.currentLeaderEpoch > 0) return this.#fail(kafkaErrors.unknownLeaderEpoch)
    const { fetchOffset } = wanted
    if (fetchOffset < view.startOffset || fetchOffset > view.highWatermark)
      return this.#fail(kafkaErrors.offsetOutOfRange)
    this.#note(view)
  }

  /** Whether the partition stands otherwise than when it was looked at. */
  hasMoved(): boolean {
    const view = this.#view()
    if (view === undefined) return this.errorCode === kafkaErrors.none
    return this.#endOf(view) !== this.#end
  }

  /** Reads at most about `maxBytes`; gives how many. `atLeastOne`: one batch in any case. */
  async read(maxBytes: number, atLeastOne: boolean): Promise<number> {
    const { isolation, rareLog, pool, wanted } = this.#options
    const view = this.#view()
    if (view === undefined) {
      this.#fail(this.#options.missing)
      return 0
    }
    try {
      const read = await view.read(wanted.fetchOffset, {
        maxBytes: Math.min(maxBytes, this.bytesMax),
        atLeastOne,
        isolation,
        allocate: (bytes) => {
          const buffer = pool.take(bytes)
          this.#memory.push(buffer)
          return buffer
        },
      })
      this.#note(view)
      this.#records = this.#keep(read.bytes)
      this.#aborted = read.aborted
    } catch (error) {
      this.release()
      this.#fail(kafkaErrorOf(error))
      if (this.errorCode !== kafkaErrors.offsetOutOfRange)
        rareLog.warn('a partition could not be read', { ...this.place, error })
    }
    return this.bytes
  }

  answer(): Answer {
    return {
      partitionIndex: this.#options.wanted.partition,
      errorCode: this.errorCode,
      highWatermark: this.#highWatermark,
      lastStableOffset: this.#lastStableOffset,
      logStartOffset: this.#startOffset,
      abortedTransactions: this.#options.isolation === 'committed' ? this.#aborted : null,
      records: this.#records,
    }
  }

  /** Gives back the memory of what was read; called when the answer has left. */
  release(): void {
    this.#records = nothing
    for (const buffer of this.#memory) this.#options.pool.give(buffer)
    this.#memory = []
  }

  /** Gives back at once what memory the records do not need: a Fetch of many partitions may find only few that fit. A small part of a large buffer is copied. */
  #keep(records: Buffer): Buffer {
    const isHolder = ({ buffer, length }: Buffer) =>
      buffer === records.buffer && length <= 2 * records.length
    const { pool } = this.#options
    const kept = this.#memory.filter(isHolder)
    const isCopied = kept.length === 0 && this.#memory.length > 0
    const own = isCopied ? Buffer.from(records) : records
    for (const buffer of this.#memory) if (!kept.includes(buffer)) pool.give(buffer)
    this.#memory = kept
    return own
  }

  #view(): PartitionView | undefined {
    const { place } = this
    return place && this.#options.log.partition(place.topic, place.partition)
  }

  #note(view: PartitionView): void {
    this.#end = this.#endOf(view)
    this.#highWatermark = view.highWatermark
    this.#lastStableOffset = view.lastStableOffset
    this.#startOffset = view.startOffset
  }

  #endOf(view: PartitionView): number {
    return this.#options.isolation === 'committed' ? view.lastStableOffset : view.highWatermark
  }

  #fail(errorCode: number): void {
    this.errorCode = errorCode
    this.#end = -1
    this.#highWatermark = -1
    this.#lastStableOffset = -1
    this.#startOffset = -1
  }
}
