import type { Clock } from '../core/clock.ts'
import type { Advances } from './advances.ts'
import type { RequestOf, ResponseOf } from './apis.ts'
import type { BrokerCounters } from './broker-counters.ts'
import type { BrokerLog } from './broker-log.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { ByteBudget } from './byte-budget.ts'
import { kafkaErrors } from './error-codes.ts'
import { PartitionFetch } from './fetch-partition.ts'
import type { ClientConnection, Handler, RequestContext } from './handler.ts'
import { checkPartitionCount } from './partition-count.ts'
import type { RareLog } from './rare-log.ts'
import type { TopicNames } from './topic-names.ts'

export interface FetchParts {
  readonly log: Pick<BrokerLog, 'partition'>
  readonly names: TopicNames
  readonly advances: Advances
  readonly clock: Clock
  readonly counters: BrokerCounters
  readonly rareLog: RareLog
  /** How much memory answers to Fetch may have, and where it comes from. */
  readonly budget: ByteBudget
  readonly pool: BufferPool
}

type FetchRequest = RequestOf<'fetch'>
type FetchResponse = ResponseOf<'fetch'>

/** One answer holds no more, whatever the request allows; Kafka's own limit (fetch.max.bytes of a broker). */
const answerBytesMax = 55 * 1024 * 1024
/** An answer begins when there is memory for this much of it. */
const answerBytesLeast = 64 * 1024
const waitMsMax = 60_000
/** Who wants more than a byte is not woken for each record. */
const gatherMs = 5
const byIdFrom = 13
const readCommitted = 1
/** Given to signals, which else make an error with a stack for each. */
const over = 'over'

/**
 * Fetch 4 to 17, offered from 0 as brokers do that librdkafka knows (KIP-74, KIP-98, KIP-227, KIP-392, KIP-516, KIP-903): record batches as they lie in the segments. Waits up to `maxWaitMs` until there are `minBytes`, an error, or
 * the broker stops. The first batch is given also when it is larger than the limits (KIP-74). Sessions are not kept: the answer's session id is 0, and clients send
 * every partition again. Which partition comes first changes from request to request, so that a full answer does not starve the others. Of one connection one answer
 * is made at a time, and none while there is no memory for it.
 */
export function fetchHandler(parts: FetchParts): Handler<'fetch'> {
  const fetches = new Fetches(parts)
  return {
    api: 'fetch',
    minVersion: 4,
    maxVersion: 17,
    advertisedMinVersion: 0,
    handle: (request, context) => fetches.fetch(request, context),
  }
}

class Fetches {
  readonly #parts: FetchParts
  /** Settles when the last answer to Fetch has left a connection. */
  readonly #leaving = new WeakMap<ClientConnection, Promise<void>>()
  #turn = 0

  constructor(parts: FetchParts) {
    this.#parts = parts
  }

  async fetch(request: FetchRequest, context: RequestContext): Promise<FetchResponse> {
    const sessionProblem = checkSession(request)
    if (sessionProblem !== undefined) return { errorCode: sessionProblem, responses: [] }
    const partitions = this.#plan(request, context.apiVersion)
    const { connection, onSent } = context
    const before = this.#leaving.get(connection)
    let left = () => {}
    const leaves = new Promise<void>((resolve) => (left = resolve))
    this.#leaving.set(connection, leaves)
    onSent?.(left)
    try {
      await before
      await this.#fill(partitions.flat(), request, context)
    } finally {
      if (onSent === undefined) left()
    }
    return { responses: describe(request, partitions, context.apiVersion) }
  }

  /** The wanted partitions, topic by topic as in the request. */
  #plan(request: FetchRequest, apiVersion: number): PartitionFetch[][] {
    checkPartitionCount(request.topics.map(({ partitions }) => partitions.length))
    const { log, names, rareLog, pool } = this.#parts
    const isolation = request.isolationLevel === readCommitted ? 'committed' : 'uncommitted'
    return request.topics.map(({ topic, topicId, partitions }) => {
      const name = apiVersion < byIdFrom ? topic : names.nameOf(topicId)
      const missing =
        apiVersion < byIdFrom ? kafkaErrors.unknownTopicOrPartition : kafkaErrors.unknownTopicId
      return partitions.map(
        (wanted) => new PartitionFetch({ log, rareLog, pool, isolation, missing, name, wanted }),
      )
    })
  }

  /** Reads, and waits until it is enough. */
  async #fill(
    partitions: readonly PartitionFetch[],
    request: FetchRequest,
    { connection, onSent }: RequestContext,
  ): Promise<void> {
    const { clock, budget, counters } = this.#parts
    const untilMs = clock.monotonicMs() + Math.min(waitMsMax, Math.max(0, request.maxWaitMs))
    const deadline = new Deadline(clock, untilMs, connection.closed)
    let held = 0
    try {
      for (;;) {
        held += await this.#read(partitions, request.maxBytes, deadline)
        const bytes = partitions.reduce((sum, { bytes: read }) => sum + read, 0)
        const failed = partitions.some(({ errorCode }) => errorCode !== kafkaErrors.none)
        const isEnough = failed || bytes >= request.minBytes
        if (isEnough || deadline.isOver) {
          counters.recordBytesOut += bytes
          return
        }
        // It is read anew anyway: until then others may have the memory.
        for (const partition of partitions) partition.release()
        budget.release(held)
        held = 0
        await this.#waitForMore(partitions, bytes > 0, deadline.signal)
      }
    } finally {
      deadline.clear()
      if (onSent === undefined) budget.release(held)
      else
        onSent(() => {
          budget.release(held)
          for (const partition of partitions) partition.release()
        })
    }
  }

  /** One pass over the partitions; gives the bytes of memory that it took. */
  async #read(
    partitions: readonly PartitionFetch[],
    maxBytes: number,
    deadline: Deadline,
  ): Promise<number> {
    const { budget } = this.#parts
    for (const partition of partitions) partition.look()
    const readable = partitions.filter(({ isReadable }) => isReadable)
    if (readable.length === 0) return 0
    const asked = readable.reduce((sum, { bytesMax }) => sum + bytesMax, 0)
    const most = Math.max(1, Math.min(maxBytes, asked, answerBytesMax))
    const least = Math.min(most, answerBytesLeast)
    const granted = budget.takeNow(least, most) || (await budget.take(least, most, deadline.signal))
    if (granted === 0) return 0
    const first = this.#turn++ % readable.length
    let read = 0
    for (const partition of [...readable.slice(first), ...readable.slice(0, first)]) {
      if (read > 0 && read >= granted) break
      read += await partition.read(granted - read, read === 0)
    }
    if (read > granted) budget.add(read - granted)
    else budget.release(granted - read)
    return read
  }

  /** Resolves when there may be more to read than before. */
  async #waitForMore(
    partitions: readonly PartitionFetch[],
    hasSome: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    if (signal.aborted) return
    const { advances, clock } = this.#parts
    const places = partitions.flatMap(({ place }) => (place === undefined ? [] : [place]))
    await new Promise<void>((resolve) => {
      const done = () => {
        unwatch()
        signal.removeEventListener('abort', done)
        resolve()
      }
      const unwatch = advances.watch(places, done)
      signal.addEventListener('abort', done, { once: true })
      // What came between the last look and now woke nobody.
      if (partitions.some((partition) => partition.hasMoved())) done()
    })
    if (hasSome) await clock.sleep(gatherMs, signal)
  }
}

/** A time, or the end of another signal. Most answers are there before either matters: the timer is made when somebody waits. */
class Deadline {
  readonly #clock: Clock
  readonly #untilMs: number
  readonly #early: AbortSignal
  readonly #unneeded = new AbortController()
  #over: AbortController | undefined

  constructor(clock: Clock, untilMs: number, early: AbortSignal) {
    this.#clock = clock
    this.#untilMs = untilMs
    this.#early = early
  }

  get isOver(): boolean {
    // A timer may be a moment early by the clock.
    if (this.#early.aborted || this.#over?.signal.aborted === true) return true
    return this.#clock.monotonicMs() >= this.#untilMs
  }

  get signal(): AbortSignal {
    this.#over ??= this.#start()
    return this.#over.signal
  }

  clear(): void {
    if (this.#over === undefined) return
    this.#early.removeEventListener('abort', this.#abort)
    this.#unneeded.abort(over)
  }

  readonly #abort = () => this.#over?.abort(over)

  #start(): AbortController {
    const controller = new AbortController()
    if (this.isOver) controller.abort(over)
    this.#early.addEventListener('abort', this.#abort, { once: true })
    const leftMs = this.#untilMs - this.#clock.monotonicMs()
    void this.#clock.sleep(leftMs, this.#unneeded.signal).then(this.#abort)
    return controller
  }
}

/** Clients start or end a session with id 0; any other is unknown here (KIP-227). */
function checkSession({ sessionId, sessionEpoch }: FetchRequest): number | undefined {
  if (sessionId !== 0) return kafkaErrors.fetchSessionIdNotFound
  return sessionEpoch > 0 ? kafkaErrors.invalidFetchSessionEpoch : undefined
}

function describe(
  { topics }: FetchRequest,
  partitions: readonly (readonly PartitionFetch[])[],
  apiVersion: number,
): FetchResponse['responses'] {
  return topics.map(({ topic, topicId }, index) => ({
    ...(apiVersion < byIdFrom ? { topic } : { topicId }),
    partitions: (partitions[index] ?? []).map((partition) => partition.answer()),
  }))
}
