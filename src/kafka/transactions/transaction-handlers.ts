import type { EventLog } from '../../log/event-log.ts'
import { kafkaErrors } from '../error-codes.ts'
import type { PendingOffsets } from '../groups/offset-commits.ts'
import type { AnyHandler, Handler } from '../handler.ts'
import type { TransactionCoordinator } from './coordinator.ts'
import type { ProducerClaim, TopicPartitions } from './transaction.ts'

export interface TransactionParts {
  readonly coordinator: TransactionCoordinator
  readonly offsets: PendingOffsets
  readonly topics: Pick<EventLog, 'topic'>
}

/** The requests of idempotent and transactional producers. */
export function transactionHandlers(parts: TransactionParts): readonly AnyHandler[] {
  return [
    initProducerIdHandler(parts),
    addPartitionsToTxnHandler(parts),
    addOffsetsToTxnHandler(parts),
    endTxnHandler(parts),
    txnOffsetCommitHandler(parts),
  ]
}

/** First versions that know PRODUCER_FENCED (KIP-588); older ones are told INVALID_PRODUCER_EPOCH. */
const fencedKnownFrom = { initProducerId: 4, addPartitionsToTxn: 2, addOffsetsToTxn: 2, endTxn: 2 }

function inVersion(
  api: keyof typeof fencedKnownFrom,
  apiVersion: number,
  errorCode: number,
): number {
  const isKnown = apiVersion >= fencedKnownFrom[api]
  return errorCode === kafkaErrors.producerFenced && !isKnown
    ? kafkaErrors.invalidProducerEpoch
    : errorCode
}

/**
 * InitProducerId 0 to 5. Without a transactional id: an id that nobody had, epoch 0. With one: the next epoch, durable; an open transaction of whoever
 * had it is aborted first, and that producer is shut out (KIP-98). Version 3 and newer may say who they are (KIP-360).
 */
function initProducerIdHandler({ coordinator }: TransactionParts): Handler<'initProducerId'> {
  return {
    api: 'initProducerId',
    minVersion: 0,
    maxVersion: 5,
    async handle(request, { apiVersion }) {
      const { transactionalId, transactionTimeoutMs, producerId, producerEpoch } = request
      const claim = producerId < 0 ? undefined : { producerId, producerEpoch }
      if (producerId < 0 !== producerEpoch < 0)
        return { errorCode: kafkaErrors.invalidRequest, producerEpoch: -1 }
      const timeoutMs = transactionTimeoutMs
      const answer = await coordinator.initProducerId({ transactionalId, timeoutMs, claim })
      return { ...answer, errorCode: inVersion('initProducerId', apiVersion, answer.errorCode) }
    },
  }
}

/** AddPartitionsToTxn 0 to 3: all of the partitions, or none with OPERATION_NOT_ATTEMPTED where one does not exist. */
function addPartitionsToTxnHandler({
  coordinator,
  topics,
}: TransactionParts): Handler<'addPartitionsToTxn'> {
  return {
    api: 'addPartitionsToTxn',
    minVersion: 0,
    maxVersion: 3,
    async handle(request, { apiVersion }) {
      const asked = request.v3AndBelowTopics
      const isThere = (name: string, partition: number) => {
        const topic = topics.topic(name)
        return topic !== undefined && partition >= 0 && partition < topic.partitions
      }
      const answer = (errorOf: (name: string, partition: number) => number) => ({
        resultsByTopicV3AndBelow: asked.map(({ name, partitions }) => ({
          name,
          resultsByPartition: partitions.map((partitionIndex) => ({
            partitionIndex,
            partitionErrorCode: errorOf(name, partitionIndex),
          })),
        })),
      })
      const areAllThere = asked.every(({ name, partitions }) =>
        partitions.every((partition) => isThere(name, partition)),
      )
      if (!areAllThere)
        return answer((name, partition) =>
          isThere(name, partition)
            ? kafkaErrors.operationNotAttempted
            : kafkaErrors.unknownTopicOrPartition,
        )
      const claim = {
        transactionalId: request.v3AndBelowTransactionalId,
        producerId: request.v3AndBelowProducerId,
        producerEpoch: request.v3AndBelowProducerEpoch,
      }
      const partitions: TopicPartitions[] = asked.map(({ name, partitions: places }) => ({
        topicId: topics.topic(name)?.id ?? '',
        topic: name,
        partitions: places,
      }))
      const errorCode = await coordinator.add(claim, { partitions, groups: [] })
      return answer(() => inVersion('addPartitionsToTxn', apiVersion, errorCode))
    },
  }
}

/** AddOffsetsToTxn 0 to 4: the group's offsets become part of the transaction. */
function addOffsetsToTxnHandler({ coordinator }: TransactionParts): Handler<'addOffsetsToTxn'> {
  return {
    api: 'addOffsetsToTxn',
    minVersion: 0,
    maxVersion: 4,
    async handle(request, { apiVersion }) {
      if (request.groupId === '') return { errorCode: kafkaErrors.invalidGroupId }
      const added = { partitions: [], groups: [request.groupId] }
      const errorCode = await coordinator.add(request, added)
      return { errorCode: inVersion('addOffsetsToTxn', apiVersion, errorCode) }
    },
  }
}

/** EndTxn 0 to 4: answered when the decision and the markers are durable; then consumers that read committed records see the transaction. */
function endTxnHandler({ coordinator }: TransactionParts): Handler<'endTxn'> {
  return {
    api: 'endTxn',
    minVersion: 0,
    maxVersion: 4,
    async handle(request, { apiVersion }) {
      const errorCode = await coordinator.end(request, request.committed ? 'commit' : 'abort')
      return { errorCode: inVersion('endTxn', apiVersion, errorCode) }
    },
  }
}

/** TxnOffsetCommit 0 to 4: offsets that take effect when the transaction commits (KIP-447: with the member's generation from version 3 on). */
function txnOffsetCommitHandler({
  coordinator,
  offsets,
}: TransactionParts): Handler<'txnOffsetCommit'> {
  return {
    api: 'txnOffsetCommit',
    minVersion: 0,
    maxVersion: 4,
    async handle(request) {
      const { groupId, topics } = request
      const errorCode = coordinator.checkGroup(request, groupId)
      if (errorCode === kafkaErrors.none) return { topics: await offsets.stage(request) }
      return {
        topics: topics.map(({ name, partitions }) => ({
          name,
          partitions: partitions.map(({ partitionIndex }) => ({ partitionIndex, errorCode })),
        })),
      }
    },
  }
}

// Where the fields of a record batch lie (Kafka documentation, "Record Batch").
const lengthAt = 8
const lengthEnd = 12
const attributesAt = 21
const producerIdAt = 43
const epochAt = 51
const batchBytesMin = 61
const transactionalBit = 0x10

/** Whose transactional batches the records of one partition of a Produce request hold. Stops where they are no batches: the log refuses those. */
export function transactionalProducers(records: Buffer): ProducerClaim[] {
  const claims: ProducerClaim[] = []
  for (let at = 0; at + batchBytesMin <= records.length;) {
    if ((records.readInt16BE(at + attributesAt) & transactionalBit) !== 0) {
      const producerId = Number(records.readBigInt64BE(at + producerIdAt))
      claims.push({ producerId, producerEpoch: records.readInt16BE(at + epochAt) })
    }
    const length = records.readInt32BE(at + lengthAt)
    if (length < batchBytesMin - lengthEnd) return claims
    at += lengthEnd + length
  }
  return claims
}
