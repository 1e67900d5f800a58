import type { Clock } from '../../core/clock.ts'
import { kafkaErrors } from '../error-codes.ts'
import type { GroupCoordinator, GroupSettings, TopicSource } from './coordinator.ts'
import type { OffsetProducer, PartitionOffset } from './group-store.ts'
import type { MemberClaim } from './member.ts'

/** Offsets by topic, as OffsetCommit and TxnOffsetCommit bring them. */
export interface TopicOffsets {
  readonly name: string
  readonly partitions: readonly {
    readonly partitionIndex: number
    readonly committedOffset: number
    readonly committedLeaderEpoch: number
    readonly committedMetadata: string | null
  }[]
}

/** An error code for each, as OffsetCommit and TxnOffsetCommit answer. */
export interface TopicOutcomes {
  readonly name: string
  readonly partitions: readonly { readonly partitionIndex: number; readonly errorCode: number }[]
}

export interface OffsetsToKeep extends MemberClaim {
  readonly groupId: string
  readonly topics: readonly TopicOffsets[]
}

/** Offsets that take effect with a transaction. The caller has checked that the producer is the transaction's. */
export interface PendingOffsets {
  /** TxnOffsetCommit: checks group, member, topics and sizes; what is answered with 0 is durable and waits for `finish`. Never rejects. */
  stage(request: OffsetsToKeep & OffsetProducer): Promise<readonly TopicOutcomes[]>
  /** Makes all that the producer has staged, up to its epoch, the committed offsets of the groups, or forgets it. Durable when it resolves; may be repeated. Rejects when it can't be kept. */
  finish(producerId: number, producerEpoch: number, outcome: 'commit' | 'abort'): Promise<void>
}

export interface OffsetCommitsOptions {
  readonly coordinator: GroupCoordinator
  readonly topics: TopicSource
  readonly settings: Pick<GroupSettings, 'offsetMetadataBytesMax'>
  readonly clock: Clock
}

/** Takes offsets from clients: at once, or with their transaction. */
export class OffsetCommits implements PendingOffsets {
  readonly #options: OffsetCommitsOptions

  constructor(options: OffsetCommitsOptions) {
    this.#options = options
  }

  /** OffsetCommit: what is answered with 0 is durable. Never rejects. */
  commit(request: OffsetsToKeep): Promise<readonly TopicOutcomes[]> {
    const { store } = this.#options.coordinator
    return this.#keep(request, false, (offsets) => store.commit(request.groupId, offsets))
  }

  stage(request: OffsetsToKeep & OffsetProducer): Promise<readonly TopicOutcomes[]> {
    const { store } = this.#options.coordinator
    return this.#keep(request, true, (offsets) => store.stage(request.groupId, request, offsets))
  }

  finish(producerId: number, producerEpoch: number, outcome: 'commit' | 'abort'): Promise<void> {
    return this.#options.coordinator.store.finish({ producerId, producerEpoch }, outcome)
  }

  /** Calls `keep` before it returns: commits take effect in the order in which they came. */
  async #keep(
    request: OffsetsToKeep,
    isTransactional: boolean,
    keep: (offsets: readonly PartitionOffset[]) => Promise<void>,
  ): Promise<readonly TopicOutcomes[]> {
    const { coordinator } = this.#options
    const { groupId, topics } = request
    const admitted = coordinator.admitCommit(groupId, request, isTransactional)
    if (admitted !== kafkaErrors.none) return outcomesOf(topics, () => admitted)
    const offsets: PartitionOffset[] = []
    const outcomes = outcomesOf(topics, (name, partition) => {
      const checked = this.#check(name, partition)
      if (typeof checked === 'number') return checked
      offsets.push(checked)
      return kafkaErrors.none
    })
    if (offsets.length === 0) return outcomes
    const kept = await coordinator.keep(keep(offsets), groupId)
    return outcomes.map(({ name, partitions }) => ({
      name,
      partitions: partitions.map(({ partitionIndex, errorCode }) => ({
        partitionIndex,
        errorCode: errorCode === kafkaErrors.none ? kept : errorCode,
      })),
    }))
  }

  #check(name: string, given: TopicOffsets['partitions'][number]): PartitionOffset | number {
    const { topics, settings, clock } = this.#options
    const topic = topics.topic(name)
    const partition = given.partitionIndex
    if (topic === undefined || partition < 0 || partition >= topic.partitions)
      return kafkaErrors.unknownTopicOrPartition
    if (given.committedOffset < 0) return kafkaErrors.invalidRequest
    const metadata = given.committedMetadata ?? ''
    if (Buffer.byteLength(metadata) > settings.offsetMetadataBytesMax)
      return kafkaErrors.offsetMetadataTooLarge
    return {
      topicId: topic.id,
      partition,
      offset: given.committedOffset,
      leaderEpoch: given.committedLeaderEpoch,
      metadata,
      committedAtMs: clock.nowMs(),
    }
  }
}

function outcomesOf(
  topics: readonly TopicOffsets[],
  outcome: (name: string, partition: TopicOffsets['partitions'][number]) => number,
): TopicOutcomes[] {
  return topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map((partition) => ({
      partitionIndex: partition.partitionIndex,
      errorCode: outcome(name, partition),
    })),
  }))
}
