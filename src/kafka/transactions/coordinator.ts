import type { Clock } from '../../core/clock.ts'
import { QuestlogError } from '../../core/errors.ts'
import type { Logger } from '../../core/logger.ts'
import type { Settings } from '../../core/settings.ts'
import type { KnownProducer } from '../../log/record.ts'
import type { StateFile } from '../../log/state-file.ts'
import { kafkaErrors } from '../error-codes.ts'
import type { PendingOffsets } from '../groups/offset-commits.ts'
import type { RareLog } from '../rare-log.ts'
import { Entry } from './entry.ts'
import { abortUnknown, writeMarkers, type MarkerLog } from './markers.ts'
import { ProducerIds, producerIdsKey } from './producer-ids.ts'
import {
  checkProducer,
  completed,
  countPlaces,
  decided,
  extended,
  hasPartition,
  initialized,
  isDecided,
  outcomeOf,
  planEnd,
  planInit,
  type Additions,
  type Outcome,
  type ProducerClaim,
  type Transaction,
} from './transaction.ts'

export interface TransactionCoordinatorOptions {
  /** `<data>/log/transactions`. */
  readonly store: Pick<StateFile, 'get' | 'entries' | 'put'>
  readonly log: MarkerLog
  readonly offsets: Pick<PendingOffsets, 'finish'>
  readonly settings: Pick<
    Settings,
    | 'transactionTimeoutMaxMs'
    | 'transactionalIdsMax'
    | 'transactionalIdRetentionMs'
    | 'transactionPartitionsMax'
  >
  readonly clock: Clock
  readonly logger: Logger
  readonly rareLog: RareLog
}

export interface InitRequest {
  readonly transactionalId: string | null
  readonly timeoutMs: number
  /** Who asks, when it goes on after an error (KIP-360). */
  readonly claim: ProducerClaim | undefined
}

export interface InitAnswer extends ProducerClaim {
  readonly errorCode: number
}

/** A request of a transactional producer. */
export interface TransactionClaim extends ProducerClaim {
  readonly transactionalId: string
}

const keyPrefix = 'transaction/'
const retryDelayMs = 1_000
const sweepIntervalMs = 600_000
/** After this time it is kept that a transaction is done, where nothing that followed has said so. */
const settleDelayMs = 1_000

/**
 * Producer ids, and transactions over partitions and groups (KIP-98). What is answered is durable. The decision over a transaction is kept first;
 * then every partition gets its marker and every group its offsets. That this is done is kept with what follows, or soon: a start that does not know it does it once more, which does no
 * harm, and so makes good a crash in between.
 * Answers are error codes of the protocol; nothing rejects.
 */
export class TransactionCoordinator {
  readonly #options: TransactionCoordinatorOptions
  readonly #ids: ProducerIds
  readonly #entries = new Map<string, Entry>()
  readonly #byProducer = new Map<number, Entry>()
  /** What goes on without anybody waiting for it. */
  readonly #work = new Set<Promise<void>>()
  /** Whose transaction is done, which is not kept yet. */
  readonly #unsettled = new Set<Entry>()
  #settles = false
  readonly #closed = new AbortController()
  readonly #running: Promise<void>
  #alarm = new AbortController()
  #sleepsUntilMs = 0
  #nextSweepMs: number

  constructor(options: TransactionCoordinatorOptions) {
    this.#options = options
    const known = options.log.producers()
    const floor = known.reduce((next, { producerId }) => Math.max(next, producerId + 1), 0)
    this.#ids = new ProducerIds(options.store, floor)
    for (const [key, value] of options.store.entries()) this.#restore(key, value)
    for (const producer of known) this.#endUnknown(producer)
    this.#nextSweepMs = options.clock.monotonicMs() + sweepIntervalMs
    this.#running = this.#run()
  }

  /** Transactional ids that are known. */
  get size(): number {
    return this.#entries.size
  }

  /** InitProducerId. */
  async initProducerId(request: InitRequest): Promise<InitAnswer> {
    const { transactionalId, timeoutMs, claim } = request
    if (transactionalId === null) return this.#guard(refusedInit, () => this.#newProducer())
    if (transactionalId === '') return refusedInit(kafkaErrors.invalidRequest)
    if (timeoutMs <= 0 || timeoutMs > this.#options.settings.transactionTimeoutMaxMs)
      return refusedInit(kafkaErrors.invalidTransactionTimeout)
    const entry = this.#findOrMake(transactionalId)
    if (entry === undefined) return refusedInit(kafkaErrors.policyViolation)
    return this.#inTurn(entry, refusedInit, () => this.#initialize(entry, claim, timeoutMs))
  }

  /** AddPartitionsToTxn and AddOffsetsToTxn: the open transaction, or a new one, writes to these too. */
  async add(claim: TransactionClaim, added: Additions): Promise<number> {
    const entry = this.#entries.get(claim.transactionalId)
    if (entry === undefined) return kafkaErrors.invalidProducerIdMapping
    return this.#inTurn(entry, asItIs, () => this.#add(entry, claim, added))
  }

  /** EndTxn: the decision is durable when it is answered with 0; so are the markers, unless the log had trouble. */
  async end(claim: TransactionClaim, outcome: Outcome): Promise<number> {
    const entry = this.#entries.get(claim.transactionalId)
    if (entry === undefined) return kafkaErrors.invalidProducerIdMapping
    const errorCode = await this.#inTurn(entry, asItIs, () => this.#end(entry, claim, outcome))
    if (errorCode === kafkaErrors.none) await entry.markers
    return errorCode
  }

  /** Whether the producer's open transaction takes offsets of this group: an error code. */
  checkGroup(claim: TransactionClaim, groupId: string): number {
    const transaction = this.#entries.get(claim.transactionalId)?.transaction
    const errorCode = checkProducer(transaction, claim)
    if (errorCode === kafkaErrors.producerFenced) return kafkaErrors.invalidProducerEpoch
    if (errorCode !== kafkaErrors.none) return errorCode
    const isPart = transaction?.state === 'ongoing' && transaction.groups.includes(groupId)
    return isPart ? kafkaErrors.none : kafkaErrors.invalidTxnState
  }

  /**
   * Whether a producer may write transactional records to a partition now: an error code. Without this, records that come after their transaction's
   * end would open one that nobody ever ends, and hold back everything after them (KIP-890).
   */
  checkWrite(claim: ProducerClaim, topic: string, partition: number): number {
    const entry = this.#byProducer.get(claim.producerId)
    const errorCode = checkProducer(entry?.transaction, claim)
    if (errorCode === kafkaErrors.producerFenced) return kafkaErrors.invalidProducerEpoch
    if (errorCode !== kafkaErrors.none) return errorCode
    const topicId = this.#options.log.topic(topic)?.id
    const isPart = topicId !== undefined && entry?.writesTo(topicId, partition) === true
    return isPart ? kafkaErrors.none : kafkaErrors.invalidTxnState
  }

  /** Waits for what is being written. What is not finished then is finished after the next start. Idempotent. */
  async close(): Promise<void> {
    this.#closed.abort()
    this.#alarm.abort()
    await this.#running
    await Promise.all([...this.#entries.values()].map(({ work }) => work.run(async () => {})))
    await Promise.all(this.#work)
  }

  async #newProducer(): Promise<InitAnswer> {
    return answerInit({ producerId: await this.#ids.next(), producerEpoch: 0 })
  }

  async #initialize(
    entry: Entry,
    claim: ProducerClaim | undefined,
    timeoutMs: number,
  ): Promise<InitAnswer> {
    let plan = planInit(entry.transaction, claim)
    if (plan.kind === 'abort') {
      await this.#decide(entry, 'abort', plan.fence)
      await entry.markers
      plan = planInit(entry.transaction, claim)
    }
    const before = entry.transaction
    if (plan.kind === 'refuse') return refusedInit(plan.errorCode)
    if (plan.kind === 'abort') return refusedInit(kafkaErrors.concurrentTransactions)
    if (plan.kind === 'answer') return answerInit(plan.producer)
    const producer =
      plan.kind === 'epoch'
        ? plan.producer
        : { producerId: await this.#ids.next(), producerEpoch: 0 }
    const next = initialized({ before, claim, producer, timeoutMs }, this.#options.clock.nowMs())
    await this.#keep(entry, next)
    return answerInit(producer)
  }

  async #add(entry: Entry, claim: TransactionClaim, added: Additions): Promise<number> {
    const { transaction } = entry
    const errorCode = checkProducer(transaction, claim)
    if (errorCode !== kafkaErrors.none || transaction === undefined) return errorCode
    if (isDecided(transaction)) return kafkaErrors.concurrentTransactions
    const next = extended(transaction, added, this.#options.clock.nowMs())
    if (next === transaction) return kafkaErrors.none
    if (countPlaces(next) > this.#options.settings.transactionPartitionsMax)
      return kafkaErrors.policyViolation
    await this.#keep(entry, next)
    if (transaction.state !== 'ongoing') this.#setDeadline(entry, next.timeoutMs)
    return kafkaErrors.none
  }

  async #end(entry: Entry, claim: TransactionClaim, outcome: Outcome): Promise<number> {
    const { transaction } = entry
    const errorCode = checkProducer(transaction, claim)
    if (errorCode !== kafkaErrors.none || transaction === undefined) return errorCode
    const plan = planEnd(transaction, outcome)
    if (plan !== 'decide') return plan
    await this.#decide(entry, outcome, false)
    return kafkaErrors.none
  }

  /** Keeps the decision over the open transaction and begins to carry it out. */
  async #decide(entry: Entry, outcome: Outcome, fence: boolean): Promise<void> {
    const { transaction } = entry
    if (transaction?.state !== 'ongoing') return
    await this.#keep(entry, decided(transaction, outcome, fence, this.#options.clock.nowMs()))
    entry.deadlineMs = Number.POSITIVE_INFINITY
    this.#finish(entry)
  }

  /** Durable first; then it holds. */
  async #keep(entry: Entry, transaction: Transaction): Promise<void> {
    await this.#options.store.put(new Map([[keyPrefix + entry.id, transaction]]))
    this.#unsettled.delete(entry)
    this.#hold(entry, transaction)
  }

  #hold(entry: Entry, transaction: Transaction): void {
    const before = entry.transaction?.producerId
    if (before !== undefined && before !== transaction.producerId) this.#byProducer.delete(before)
    entry.hold(transaction)
    this.#byProducer.set(transaction.producerId, entry)
  }

  #restore(key: string, value: unknown): void {
    if (key === producerIdsKey) return
    if (!key.startsWith(keyPrefix))
      throw new QuestlogError('FORMAT_UNKNOWN', `the transactions file has the key ${key}`, { key })
    const transaction = value as Transaction // written by #keep
    const entry = new Entry(key.slice(keyPrefix.length))
    this.#entries.set(entry.id, entry)
    this.#hold(entry, transaction)
    if (isDecided(transaction)) return this.#finish(entry)
    if (transaction.state !== 'ongoing') return
    const leftMs = transaction.startedAtMs + transaction.timeoutMs - this.#options.clock.nowMs()
    // Whatever the wall clock did meanwhile: never longer than the timeout.
    this.#setDeadline(entry, Math.min(Math.max(leftMs, 0), transaction.timeoutMs))
  }

  #endUnknown(producer: KnownProducer): void {
    const { topic, partition, producerId, isInTransaction } = producer
    const { log, logger } = this.#options
    const transaction = this.#byProducer.get(producerId)?.transaction
    if (!isInTransaction) return
    if (transaction !== undefined && hasPartition(transaction, log.topic(topic)?.id, partition))
      return
    logger.warn('records of a transaction that nobody knows are aborted', {
      topic,
      partition,
      producerId,
    })
    void this.#untilDone(`producer ${producerId}`, () => abortUnknown(log, producer)) // close() waits for it
  }

  /** Carries out what was decided. */
  #finish(entry: Entry): void {
    entry.markers = this.#untilDone(entry.id, async () => {
      const { transaction } = entry
      if (transaction === undefined) return
      const { producerId, producerEpoch, groups } = transaction
      const { log, offsets, clock } = this.#options
      await writeMarkers(log, transaction)
      if (groups.length > 0) await offsets.finish(producerId, producerEpoch, outcomeOf(transaction))
      const done = completed(transaction, clock.nowMs())
      if (this.#isClosed) return this.#keep(entry, done)
      this.#hold(entry, done)
      this.#unsettled.add(entry)
      this.#settleSoon()
    })
  }

  /** A sync for each transaction would be for nothing: the next one of the producer says it as well. */
  #settleSoon(): void {
    if (this.#settles) return
    this.#settles = true
    const settle = async () => {
      await this.#options.clock.sleep(settleDelayMs, this.#closed.signal)
      this.#settles = false
      await Promise.all(
        [...this.#unsettled].map((entry) => entry.work.run(() => this.#settle(entry))),
      )
    }
    this.#background(settle())
  }

  async #settle(entry: Entry): Promise<void> {
    const { transaction } = entry
    if (!this.#unsettled.has(entry) || transaction === undefined) return
    try {
      await this.#keep(entry, transaction)
    } catch (error) {
      this.#warn('the end of a transaction can not be kept now', entry.id, error)
    }
  }

  /** Tries again and again until it is done, or the process ends. Resolves after the first try. */
  #untilDone(transactionalId: string, work: () => Promise<void>): Promise<void> {
    const attempt = async () => {
      if (this.#isClosed) return false
      try {
        await work()
        return true
      } catch (error) {
        const what = 'a transaction is decided but can not be finished now'
        this.#warn(what, transactionalId, error)
        return false
      }
    }
    const first = attempt()
    const rest = async () => {
      for (let isDone = await first; !isDone && !this.#isClosed; isDone = await attempt())
        await this.#options.clock.sleep(retryDelayMs, this.#closed.signal)
    }
    this.#background(rest())
    return first.then(() => {})
  }

  #setDeadline(entry: Entry, delayMs: number): void {
    entry.deadlineMs = this.#options.clock.monotonicMs() + delayMs
    if (entry.deadlineMs < this.#sleepsUntilMs) this.#alarm.abort()
  }

  async #run(): Promise<void> {
    const { clock } = this.#options
    while (!this.#isClosed) {
      this.#alarm = new AbortController()
      this.#sleepsUntilMs = this.#nextSweepMs
      for (const { deadlineMs } of this.#entries.values())
        this.#sleepsUntilMs = Math.min(this.#sleepsUntilMs, deadlineMs)
      const delayMs = Math.ceil(this.#sleepsUntilMs - clock.monotonicMs())
      if (delayMs > 0) await clock.sleep(delayMs, this.#alarm.signal)
      if (this.#isClosed) return
      const nowMs = clock.monotonicMs()
      for (const entry of this.#entries.values()) if (entry.deadlineMs <= nowMs) this.#expire(entry)
      if (this.#nextSweepMs > nowMs) continue
      this.#nextSweepMs = nowMs + sweepIntervalMs
      this.#sweep()
    }
  }

  /** Aborts a transaction that was open for too long, and shuts its producer out. */
  #expire(entry: Entry): void {
    const expired = entry.transaction
    entry.deadlineMs = Number.POSITIVE_INFINITY
    const abort = async () => {
      const { transaction } = entry
      // While this waited for its turn another one may have begun.
      if (this.#isClosed || transaction?.startedAtMs !== expired?.startedAtMs) return
      try {
        await this.#decide(entry, 'abort', true)
        this.#options.logger.info('a transaction was open for too long and is aborted', {
          transactionalId: entry.id,
        })
      } catch (error) {
        this.#setDeadline(entry, retryDelayMs)
        this.#warn(
          'a transaction was open for too long and can not be aborted now',
          entry.id,
          error,
        )
      }
    }
    this.#background(entry.work.run(abort))
  }

  #findOrMake(transactionalId: string): Entry | undefined {
    const known = this.#entries.get(transactionalId)
    if (known !== undefined) return known
    const { settings, rareLog } = this.#options
    if (this.#entries.size >= settings.transactionalIdsMax) {
      this.#sweep()
      const what = `a transactional id was refused: there are transactionalIdsMax`
      rareLog.warn(what, { transactionalId })
      return undefined
    }
    const entry = new Entry(transactionalId)
    this.#entries.set(transactionalId, entry)
    return entry
  }

  /** Forgets ids that were not used for long. */
  #sweep(): void {
    const { clock, settings } = this.#options
    const beforeMs = clock.nowMs() - settings.transactionalIdRetentionMs
    const isUnused = ({ transaction }: Entry) =>
      transaction === undefined ||
      (transaction.changedAtMs <= beforeMs &&
        transaction.state !== 'ongoing' &&
        !isDecided(transaction))
    const forget = async (entry: Entry) => {
      if (!isUnused(entry)) return kafkaErrors.none
      await this.#options.store.put(new Map([[keyPrefix + entry.id, undefined]]))
      this.#entries.delete(entry.id)
      this.#unsettled.delete(entry)
      if (entry.transaction !== undefined) this.#byProducer.delete(entry.transaction.producerId)
      return kafkaErrors.none
    }
    for (const entry of this.#entries.values()) {
      if (!isUnused(entry)) continue
      this.#background(this.#inTurn(entry, asItIs, () => forget(entry)).then(() => {}))
    }
  }

  get #isClosed(): boolean {
    return this.#closed.signal.aborted
  }

  #background(work: Promise<void>): void {
    this.#work.add(work)
    void work.finally(() => this.#work.delete(work))
  }

  /** Does the work when it is the entry's turn. Who waited while it was forgotten is told to come again. */
  #inTurn<T>(entry: Entry, refused: (errorCode: number) => T, work: () => Promise<T>): Promise<T> {
    return this.#guard(refused, () =>
      entry.work.run(() => {
        if (this.#entries.get(entry.id) === entry) return work()
        return Promise.resolve(refused(kafkaErrors.concurrentTransactions))
      }),
    )
  }

  /** COORDINATOR_NOT_AVAILABLE, with which clients come again, when something could not be kept. */
  async #guard<T>(refused: (errorCode: number) => T, work: () => Promise<T>): Promise<T> {
    if (this.#isClosed) return refused(kafkaErrors.coordinatorNotAvailable)
    try {
      return await work()
    } catch (error) {
      this.#warn('a change of a transaction can not be kept now', undefined, error)
      return refused(kafkaErrors.coordinatorNotAvailable)
    }
  }

  #warn(what: string, transactionalId: string | undefined, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    this.#options.rareLog.warn(what, { transactionalId, error: message })
  }
}

const asItIs = (errorCode: number): number => errorCode

function refusedInit(errorCode: number): InitAnswer {
  return { errorCode, producerId: -1, producerEpoch: -1 }
}

function answerInit({ producerId, producerEpoch }: ProducerClaim): InitAnswer {
  return { errorCode: kafkaErrors.none, producerId, producerEpoch }
}
