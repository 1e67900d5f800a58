import type { Clock } from '../core/clock.ts'
import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import type { Settings } from '../core/settings.ts'
import type { RequestOf, ResponseOf } from './apis.ts'
import type { BrokerCounters } from './broker-counters.ts'
import type { BrokerLog } from './broker-log.ts'
import { kafkaErrorOf, kafkaErrors } from './error-codes.ts'
import type { ClientConnection, Handler } from './handler.ts'
import { checkPartitionCount } from './partition-count.ts'
import type { RareLog } from './rare-log.ts'
import type { TransactionCoordinator } from './transactions/coordinator.ts'
import { transactionalProducers } from './transactions/transaction-handlers.ts'

export interface ProduceParts {
  readonly log: Pick<BrokerLog, 'appendBatches' | 'topic'>
  readonly settings: Settings
  readonly clock: Clock
  readonly counters: BrokerCounters
  readonly rareLog: RareLog
  readonly transactions: Pick<TransactionCoordinator, 'checkWrite'>
  /** Bytes of log that the tables have not taken yet. */
  readonly backlogBytes: () => number
}

type ProduceRequest = RequestOf<'produce'>
type TopicAnswer = ResponseOf<'produce'>['responses'][number]
type PartitionAnswer = TopicAnswer['partitionResponses'][number]

// Where the fields of a record batch lie (Kafka documentation, "Record Batch").
const batchLengthAt = 8
const batchLengthEnd = 12
const magicAt = 16
const batchMagic = 2

/** How often a producer that is held back is looked at again. */
const lookIntervalMs = 20
/** Nobody is held back longer, whatever the request says. */
const heldMsMax = 60_000
/** What a client that was held back in vain is told to wait. */
const throttleTimeMs = 1_000
const notInTransaction = 'the partition is in no open transaction of the producer'
const oneBatchOnly = 'a Produce request holds one record batch for each partition'
const acksAll = -1
const acksNone = 0

/**
 * Produce 0 to 11 (KIP-98, KIP-467, KIP-951): appends each partition's batches as they are. acks -1 is answered when they are synced, acks 1 when they are written, acks 0 not
 * at all; then an error ends the connection, as it does with Kafka. Versions 0 to 2 are offered because librdkafka compresses only then; their records have the old format
 * and are refused with UNSUPPORTED_FOR_MESSAGE_FORMAT.
 *
 * Records of a transaction are taken while it is open and has the partition (KIP-890). While more than `backlogBytesMax` of the log wait for the tables, or a partition has no room for what waits for the disk, producers are held back: up to the
 * timeout of the request, then they get REQUEST_TIMED_OUT, with which clients send again.
 */
export function produceHandler(parts: ProduceParts): Handler<'produce'> {
  const producers = new Producers(parts)
  return {
    api: 'produce',
    minVersion: 0,
    maxVersion: 11,
    handle: (request, { connection }) => producers.produce(request, connection),
  }
}

/** Keeps the appends of each connection in order: an idempotent producer has several requests under way. */
class Producers {
  readonly #parts: ProduceParts
  /** Settles when the requests of a connection that are held back are on their way. */
  readonly #held = new WeakMap<ClientConnection, Promise<unknown>>()

  constructor(parts: ProduceParts) {
    this.#parts = parts
  }

  async produce(
    request: ProduceRequest,
    connection: ClientConnection,
  ): Promise<ResponseOf<'produce'> | null> {
    const { acks, topicData } = request
    checkPartitionCount(topicData.map(({ partitionData }) => partitionData.length))
    if (acks !== acksAll && acks !== acksNone && acks !== 1)
      return this.#refuse(request, kafkaErrors.invalidRequiredAcks, `acks can't be ${acks}`)
    const untilMs = this.#parts.clock.monotonicMs() + clamp(request.timeoutMs, 0, heldMsMax)
    const held = this.#held.get(connection)
    const response =
      held === undefined && !this.#isBehind()
        ? await this.#append(request, connection, untilMs)
        : await this.#hold(request, connection, untilMs, held)
    if (acks !== acksNone) return response
    const failed = response.responses
      .flatMap(({ partitionResponses }) => partitionResponses)
      .find(({ errorCode }) => errorCode !== kafkaErrors.none)
    if (failed === undefined) return null
    throw new QuestlogError(
      'REQUEST_MALFORMED',
      `records without acks were not kept: ${failed.errorMessage ?? failed.errorCode}`,
    )
  }

  #isBehind(): boolean {
    return this.#parts.backlogBytes() > this.#parts.settings.backlogBytesMax
  }

  /** Waits for its turn on the connection, then for the tables. */
  async #hold(
    request: ProduceRequest,
    connection: ClientConnection,
    untilMs: number,
    before: Promise<unknown> | undefined,
  ): Promise<ResponseOf<'produce'>> {
    const ready = (before ?? Promise.resolve()).then(() =>
      this.#waitFor(() => !this.#isBehind(), connection, untilMs),
    )
    return this.#inTurn(connection, ready, () => {
      if (!this.#isBehind()) return this.#append(request, connection, untilMs)
      const why = `the tables are more than ${this.#parts.settings.backlogBytesMax} bytes behind`
      return this.#refuse(request, kafkaErrors.requestTimedOut, why, throttleTimeMs)
    })
  }

  /** Calls `run` after `ready`; what comes on this connection meanwhile waits until it was called. */
  async #inTurn<T>(
    connection: ClientConnection,
    ready: Promise<void>,
    run: () => T | Promise<T>,
  ): Promise<T> {
    let result: T | Promise<T> | undefined
    const turn = ready.then(() => {
      if (this.#held.get(connection) === turn) this.#held.delete(connection)
      result = run()
    })
    this.#held.set(connection, turn)
    await turn
    return result as T | Promise<T> // set by the turn
  }

  async #waitFor(
    isOver: () => boolean,
    { closed }: ClientConnection,
    untilMs: number,
  ): Promise<void> {
    const { clock } = this.#parts
    while (!isOver() && !closed.aborted) {
      const leftMs = untilMs - clock.monotonicMs()
      if (leftMs <= 0) return
      await clock.sleep(Math.min(lookIntervalMs, leftMs), closed)
    }
  }

  /** All partitions at once: they sync side by side. Every append is under way when this returns. */
  async #append(
    request: ProduceRequest,
    connection: ClientConnection,
    untilMs: number,
  ): Promise<ResponseOf<'produce'>> {
    const until = request.acks === acksAll ? 'acknowledged' : 'written'
    const appends = request.topicData.map(({ name, partitionData }) => {
      const partitions = this.#parts.log.topic(name)?.partitions ?? 0
      const named = new Set<number>()
      return partitionData.map(async ({ index, records }) => {
        // Looked at before, so that what can't be costs nothing.
        if (index < 0 || index >= partitions)
          return failure(index, kafkaErrors.unknownTopicOrPartition, `there is no ${name}/${index}`)
        if (named.has(index))
          return failure(index, kafkaErrors.invalidRequest, `${name}/${index} is named twice`)
        named.add(index)
        const append = () => this.#appendOne(name, index, records, until)
        return append().catch((error: unknown) =>
          this.#retry(asQuestlogError(error), append, connection, untilMs, index),
        )
      })
    })
    const answers = await Promise.all(appends.map((partitions) => Promise.all(partitions)))
    return {
      responses: request.topicData.map(({ name }, topic) => ({
        name,
        partitionResponses: answers[topic] ?? [],
      })),
    }
  }

  async #appendOne(
    topic: string,
    index: number,
    records: Buffer | null,
    until: 'written' | 'acknowledged',
  ): Promise<PartitionAnswer> {
    const { log, counters, transactions } = this.#parts
    const bytes = records ?? Buffer.alloc(0)
    if (moreThanOneBatch(bytes)) return failure(index, kafkaErrors.invalidRecord, oneBatchOnly)
    for (const producer of transactionalProducers(bytes)) {
      const errorCode = transactions.checkWrite(producer, topic, index)
      if (errorCode !== kafkaErrors.none) return failure(index, errorCode, notInTransaction)
    }
    const appended = await log.appendBatches(topic, index, bytes, until)
    counters.recordBytesIn += bytes.length
    return {
      index,
      errorCode: kafkaErrors.none,
      baseOffset: appended.baseOffset,
      logAppendTimeMs: appended.logAppendTimeMs,
      logStartOffset: appended.startOffset,
    }
  }

  /** What the partition had no room for is tried again in a moment, before anything that comes later on the connection. */
  async #retry(
    error: QuestlogError,
    append: () => Promise<PartitionAnswer>,
    connection: ClientConnection,
    untilMs: number,
    index: number,
  ): Promise<PartitionAnswer> {
    const { clock, rareLog } = this.#parts
    const mayRetry = error.code === 'OVERLOADED' && clock.monotonicMs() < untilMs
    if (!mayRetry || connection.closed.aborted) {
      if (error.code === 'INTERNAL') rareLog.warn('a Kafka append failed', { error })
      return failure(index, kafkaErrorOf(error), error.message)
    }
    const pause = clock.sleep(lookIntervalMs, connection.closed)
    const before = this.#held.get(connection) ?? Promise.resolve()
    return this.#inTurn(
      connection,
      before.then(() => pause),
      () =>
        append().catch((again: unknown) =>
          this.#retry(asQuestlogError(again), append, connection, untilMs, index),
        ),
    )
  }

  #refuse(
    { topicData }: ProduceRequest,
    errorCode: number,
    message: string,
    throttleMs = 0,
  ): ResponseOf<'produce'> {
    return {
      responses: topicData.map(({ name, partitionData }) => ({
        name,
        partitionResponses: partitionData.map(({ index }) => failure(index, errorCode, message)),
      })),
      throttleTimeMs: throttleMs,
    }
  }
}

/** Clients send one batch for each partition, as Kafka demands. The older formats (magic below 2) are left to the log to refuse. */
function moreThanOneBatch(records: Buffer): boolean {
  if (records.length <= magicAt || records.readInt8(magicAt) < batchMagic) return false
  return records.readInt32BE(batchLengthAt) < records.length - batchLengthEnd
}

function failure(index: number, errorCode: number, errorMessage: string): PartitionAnswer {
  return { index, errorCode, baseOffset: -1, errorMessage }
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value))
}
