import type { Clock } from '../core/clock.ts'
import { asQuestlogError, errorCatalog, QuestlogError } from '../core/errors.ts'
import type { Settings } from '../core/settings.ts'
import type { RequestOf, ResponseOf } from './apis.ts'
import type { BrokerCounters } from './broker-counters.ts'
import type { BrokerLog } from './broker-log.ts'
import { kafkaErrorOf, kafkaErrors } from './error-codes.ts'
import type { ClientConnection, Handler } from './handler.ts'
import { checkPartitionCount } from './partition-count.ts'
import { ConnectionTurns, RefusedBatches } from './produce-turns.ts'
import type { RareLog } from './rare-log.ts'
import type { TransactionCoordinator } from './transactions/coordinator.ts'
import { transactionalProducers } from './transactions/transaction-handlers.ts'

export interface ProduceParts {
  readonly log: Pick<BrokerLog, 'appendBatches' | 'hasRoom' | 'topic'>
  readonly settings: Settings
  readonly clock: Clock
  readonly counters: BrokerCounters
  readonly rareLog: RareLog
  readonly transactions: Pick<TransactionCoordinator, 'checkWrite'>
  /** Bytes of log that the tables have not taken yet. */
  readonly backlogBytes: (topic: string) => number
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
const isAfterRefused =
  'a batch before this one was refused and has not come again: send them in their order'
const oneBatchOnly = 'a Produce request holds one record batch for each partition'
const acksAll = -1
const acksNone = 0

/**
 * Produce 0 to 11 (KIP-98, KIP-467, KIP-951): appends each partition's batches as they are. acks -1 is answered when they are synced, acks 1 when they are written, acks 0 not
 * at all; then an error ends the connection, as it does with Kafka. Versions 0 to 2 are offered because librdkafka compresses only then; their records have the old format
 * and are refused with UNSUPPORTED_FOR_MESSAGE_FORMAT.
 *
 * Records of a transaction are taken while it is open and has the partition (KIP-890). While more than `backlogBytesMax` of the log wait for the tables, or a partition has no room for what waits for the disk, producers are held back: up to the
 * timeout of the request, then they get REQUEST_TIMED_OUT, with which clients send again. What an idempotent producer has sent behind a batch that was refused so is
 * OUT_OF_ORDER_SEQUENCE_NUMBER until that one has come again, also where the partition knows nothing of the producer yet.
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

/** One append of a request. */
interface Piece {
  readonly topic: string
  readonly index: number
  readonly records: Buffer
  readonly until: 'written' | 'acknowledged'
  readonly connection: ClientConnection
  /** When it is given up, monotonic. */
  readonly untilMs: number
}

/** Keeps the appends of each connection in order: a producer has several requests under way. */
class Producers {
  readonly #parts: ProduceParts
  /** Requests that wait for room. */
  readonly #held = new ConnectionTurns()
  /** Appends that the log could not take and that are tried again: they came before all that is held. */
  readonly #retries = new ConnectionTurns()
  readonly #refused = new RefusedBatches()

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
    const isFree = !this.#held.isTaken(connection) && this.#mayBegin(request, connection)
    const response = isFree
      ? await this.#append(request, connection, untilMs)
      : await this.#hold(request, connection, untilMs)
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

  /** Whether the tables are too far behind for one of its topics. */
  #isBehind({ topicData }: ProduceRequest): boolean {
    const { backlogBytes, settings } = this.#parts
    return topicData.some(({ name }) => backlogBytes(name) > settings.backlogBytesMax)
  }

  /** Whether nothing before it is tried again, and the tables and the partitions can take the request now. */
  #mayBegin(request: ProduceRequest, connection: ClientConnection): boolean {
    if (this.#retries.isTaken(connection) || this.#isBehind(request)) return false
    return request.topicData.every(({ name, partitionData }) =>
      partitionData.every(({ index, records }) =>
        this.#parts.log.hasRoom(name, index, records?.length ?? 0),
      ),
    )
  }

  /** Waits for its turn on the connection, then for room. */
  async #hold(
    request: ProduceRequest,
    connection: ClientConnection,
    untilMs: number,
  ): Promise<ResponseOf<'produce'>> {
    const begun = await this.#held.take(connection, async () => {
      await this.#waitFor(() => this.#mayBegin(request, connection), connection, untilMs)
      const isFirst = !this.#retries.isTaken(connection)
      if (isFirst && !this.#isBehind(request))
        return { answer: this.#append(request, connection, untilMs) }
      for (const { name, partitionData } of request.topicData)
        for (const { index, records } of partitionData)
          if (records !== null) this.#refused.note(connection, placeOf(name, index), records)
      const why = isFirst
        ? `the tables are more than ${this.#parts.settings.backlogBytesMax} bytes behind`
        : 'there is still no room for what came before it'
      return { answer: this.#refuse(request, kafkaErrors.requestTimedOut, why, throttleTimeMs) }
    })
    return begun.answer
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
        const bytes = records ?? Buffer.alloc(0)
        const piece = { topic: name, index, records: bytes, until, connection, untilMs } as const
        return this.#appendOne(piece).catch((error: unknown) =>
          this.#retry(asQuestlogError(error), piece),
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

  async #appendOne(piece: Piece): Promise<PartitionAnswer> {
    const { log, counters, transactions } = this.#parts
    const { topic, index, records, connection } = piece
    if (moreThanOneBatch(records)) return failure(index, kafkaErrors.invalidRecord, oneBatchOnly)
    if (this.#refused.isBehind(connection, placeOf(topic, index), records))
      return failure(index, kafkaErrors.outOfOrderSequenceNumber, isAfterRefused)
    for (const producer of transactionalProducers(records)) {
      const errorCode = transactions.checkWrite(producer, topic, index)
      if (errorCode !== kafkaErrors.none) return failure(index, errorCode, notInTransaction)
    }
    const appended = await log.appendBatches(topic, index, records, piece.until)
    counters.recordBytesIn += records.length
    return {
      index,
      errorCode: kafkaErrors.none,
      baseOffset: appended.baseOffset,
      logAppendTimeMs: appended.logAppendTimeMs,
      logStartOffset: appended.startOffset,
    }
  }

  /** What the log could not take is tried again in a moment, and holds up what comes later on the connection until it is taken or given up. */
  #retry(error: QuestlogError, piece: Piece): Promise<PartitionAnswer> | PartitionAnswer {
    if (!this.#mayRetry(error, piece)) return this.#giveUp(error, piece)
    return this.#retries.take(piece.connection, async () => {
      let last = error
      while (this.#mayRetry(last, piece)) {
        await this.#parts.clock.sleep(lookIntervalMs, piece.connection.closed)
        try {
          return await this.#appendOne(piece)
        } catch (again) {
          last = asQuestlogError(again)
        }
      }
      return this.#giveUp(last, piece)
    })
  }

  #mayRetry({ code }: QuestlogError, { connection, untilMs }: Piece): boolean {
    if (code !== 'OVERLOADED' || connection.closed.aborted) return false
    return this.#parts.clock.monotonicMs() < untilMs
  }

  #giveUp(error: QuestlogError, { topic, index, records, connection }: Piece): PartitionAnswer {
    if (error.code === 'INTERNAL') this.#parts.rareLog.warn('a Kafka append failed', { error })
    if (errorCatalog[error.code].retriable)
      this.#refused.note(connection, placeOf(topic, index), records)
    return failure(index, kafkaErrorOf(error), error.message)
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

function placeOf(topic: string, index: number): string {
  return `${topic}/${index}`
}

function failure(index: number, errorCode: number, errorMessage: string): PartitionAnswer {
  return { index, errorCode, baseOffset: -1, errorMessage }
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value))
}
