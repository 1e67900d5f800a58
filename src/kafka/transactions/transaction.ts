import { kafkaErrors } from '../error-codes.ts'

/**
 * - `empty`: the transactional id has a producer, which has begun nothing yet.
 * - `ongoing`: records may be written; nothing is decided.
 * - `prepareCommit`, `prepareAbort`: decided for good; markers are being written.
 * - `completeCommit`, `completeAbort`: every partition has its marker.
 */
export type TransactionState =
  | 'empty'
  | 'ongoing'
  | 'prepareCommit'
  | 'prepareAbort'
  | 'completeCommit'
  | 'completeAbort'

export type Outcome = 'commit' | 'abort'

/** Partitions of one topic. A topic that is deleted and made again has another id. */
export interface TopicPartitions {
  readonly topicId: string
  readonly topic: string
  readonly partitions: readonly number[]
}

/** What is kept of a transactional id: its producer and its last transaction (KIP-98). docs/internals/log-format.md, "State files". */
export interface Transaction {
  readonly producerId: number
  readonly producerEpoch: number
  /** Who the producer was before it asked for a new epoch itself: when its answer was lost it asks again with this (KIP-360); -1 when another took over. */
  readonly lastProducerId: number
  readonly lastEpoch: number
  readonly timeoutMs: number
  readonly state: TransactionState
  readonly partitions: readonly TopicPartitions[]
  /** Groups whose offsets are part of it. */
  readonly groups: readonly string[]
  /** Wall times, milliseconds. */
  readonly startedAtMs: number
  readonly changedAtMs: number
}

/** Who a request says it is. */
export interface ProducerClaim {
  readonly producerId: number
  readonly producerEpoch: number
}

/** Epochs are 16-bit numbers; the last one is for shutting a producer out. */
const epochLast = 32_766
const none = -1

export function isDecided({ state }: Transaction): boolean {
  return state === 'prepareCommit' || state === 'prepareAbort'
}

/** How a decided transaction ends. */
export function outcomeOf({ state }: Transaction): Outcome {
  return state === 'prepareCommit' ? 'commit' : 'abort'
}

/** What InitProducerId does with a transactional id. */
export type InitPlan =
  | { readonly kind: 'refuse'; readonly errorCode: number }
  /** The transaction that is open ends first, then it is planned again. `fence`: its producer is shut out. */
  | { readonly kind: 'abort'; readonly fence: boolean }
  /** It takes a producer id that nobody had. */
  | { readonly kind: 'newId' }
  /** The same producer id with the next epoch. */
  | { readonly kind: 'epoch'; readonly producer: ProducerClaim }
  /** What was answered before: that answer was lost. */
  | { readonly kind: 'answer'; readonly producer: ProducerClaim }

/**
 * Plans InitProducerId (KIP-98; KIP-360 for a producer that goes on after an error and says who it is).
 *
 * @param claim undefined when the request names no producer: then whoever had the id is shut out
 */
export function planInit(
  transaction: Transaction | undefined,
  claim: ProducerClaim | undefined,
): InitPlan {
  if (transaction === undefined) return { kind: 'newId' }
  const { producerId, producerEpoch, state } = transaction
  const isPresent = claim === undefined || checkProducer(transaction, claim) === kafkaErrors.none
  if (!isPresent && (state === 'ongoing' || !isLast(transaction, claim)))
    return { kind: 'refuse', errorCode: kafkaErrors.producerFenced }
  if (isDecided(transaction))
    return { kind: 'refuse', errorCode: kafkaErrors.concurrentTransactions }
  if (state === 'ongoing') return { kind: 'abort', fence: claim === undefined }
  if (!isPresent) return { kind: 'answer', producer: { producerId, producerEpoch } }
  if (producerEpoch >= epochLast) return { kind: 'newId' }
  return { kind: 'epoch', producer: { producerId, producerEpoch: producerEpoch + 1 } }
}

function isLast({ lastProducerId, lastEpoch }: Transaction, claim: ProducerClaim): boolean {
  return claim.producerId === lastProducerId && claim.producerEpoch === lastEpoch
}

/** What follows from `newId` and `epoch`. */
export function initialized(
  change: {
    readonly before: Transaction | undefined
    readonly claim: ProducerClaim | undefined
    readonly producer: ProducerClaim
    readonly timeoutMs: number
  },
  nowMs: number,
): Transaction {
  const { before, claim, producer, timeoutMs } = change
  const isOwn = before !== undefined && claim !== undefined
  return {
    ...producer,
    lastProducerId: isOwn ? before.producerId : none,
    lastEpoch: isOwn ? before.producerEpoch : none,
    timeoutMs,
    state: 'empty',
    partitions: [],
    groups: [],
    startedAtMs: none,
    changedAtMs: nowMs,
  }
}

/** Why a request of this producer can't be carried out; 0 when it can. */
export function checkProducer(transaction: Transaction | undefined, claim: ProducerClaim): number {
  if (transaction === undefined || transaction.producerId !== claim.producerId)
    return kafkaErrors.invalidProducerIdMapping
  if (transaction.producerEpoch !== claim.producerEpoch) return kafkaErrors.producerFenced
  return kafkaErrors.none
}

/** What a transaction writes to besides what it did already. */
export interface Additions {
  readonly partitions: readonly TopicPartitions[]
  readonly groups: readonly string[]
}

/** The transaction with more partitions and groups: the one that is open, or a new one. The same object when there is nothing to add. */
export function extended(transaction: Transaction, added: Additions, nowMs: number): Transaction {
  const isOpen = transaction.state === 'ongoing'
  const partitions = joined(isOpen ? transaction.partitions : [], added.partitions)
  const groups = [...new Set([...(isOpen ? transaction.groups : []), ...added.groups])]
  if (isOpen && countPlaces({ partitions, groups }) === countPlaces(transaction)) return transaction
  return {
    ...transaction,
    state: 'ongoing',
    partitions,
    groups,
    startedAtMs: isOpen ? transaction.startedAtMs : nowMs,
    changedAtMs: nowMs,
  }
}

/** Whether it has said that it writes there. */
export function hasPartition(
  { partitions }: Transaction,
  topicId: string | undefined,
  partition: number,
): boolean {
  return partitions.some((each) => each.topicId === topicId && each.partitions.includes(partition))
}

/** Partitions and groups together. */
export function countPlaces({ partitions, groups }: Additions): number {
  return partitions.reduce((sum, topic) => sum + topic.partitions.length, groups.length)
}

function joined(
  present: readonly TopicPartitions[],
  added: readonly TopicPartitions[],
): readonly TopicPartitions[] {
  const topics = new Map(present.map((topic) => [topic.topicId, topic]))
  for (const { topicId, topic, partitions } of added) {
    const known = topics.get(topicId)?.partitions ?? []
    topics.set(topicId, { topicId, topic, partitions: [...new Set([...known, ...partitions])] })
  }
  return [...topics.values()]
}

/** What EndTxn of the transaction's own producer does: decide, or answer this error code. A repeated request is answered as the first one was. */
export function planEnd({ state }: Transaction, outcome: Outcome): 'decide' | number {
  if (state === 'ongoing') return 'decide'
  const isCommit = outcome === 'commit'
  if (state === (isCommit ? 'completeCommit' : 'completeAbort')) return kafkaErrors.none
  if (state === (isCommit ? 'prepareCommit' : 'prepareAbort'))
    return kafkaErrors.concurrentTransactions
  return kafkaErrors.invalidTxnState
}

/**
 * The open transaction, decided.
 *
 * @param fence whether its producer is shut out by the next epoch, so that nothing of it can follow
 */
export function decided(
  transaction: Transaction,
  outcome: Outcome,
  fence: boolean,
  nowMs: number,
): Transaction {
  const { producerEpoch, lastProducerId, lastEpoch } = transaction
  const fenced = { producerEpoch: producerEpoch + 1, lastProducerId: none, lastEpoch: none }
  return {
    ...transaction,
    ...(fence ? fenced : { producerEpoch, lastProducerId, lastEpoch }),
    state: outcome === 'commit' ? 'prepareCommit' : 'prepareAbort',
    changedAtMs: nowMs,
  }
}

/** The decided transaction when every partition has its marker. */
export function completed(transaction: Transaction, nowMs: number): Transaction {
  return {
    ...transaction,
    state: outcomeOf(transaction) === 'commit' ? 'completeCommit' : 'completeAbort',
    partitions: [],
    groups: [],
    startedAtMs: none,
    changedAtMs: nowMs,
  }
}
