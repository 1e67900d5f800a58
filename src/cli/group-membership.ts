import type { Clock } from '../core/clock.ts'
import type { KafkaClient } from '../kafka/client.ts'
import {
  decodeAssignment,
  encodeAssignment,
  encodeSubscription,
} from '../kafka/consumer-protocol.ts'
import { kafkaErrors } from '../kafka/error-codes.ts'
import { brokerError, commitOffsets, fetchPartitions, versions } from './broker.ts'

const sessionTimeoutMs = 10_000
const heartbeatIntervalMs = 2_000
const rebalanceTimeoutMs = 30_000
const protocolType = 'consumer'
/** Every client knows this one; the newer ones serve assignors that move partitions one by one. */
const consumerProtocolVersion = 0
/** Each member gets a run of neighbouring partitions; every client knows this assignor. */
const protocolName = 'range'

/** A member must join again. */
const rejoinCodes: ReadonlySet<number> = new Set([
  kafkaErrors.rebalanceInProgress,
  kafkaErrors.illegalGeneration,
  kafkaErrors.unknownMemberId,
])

/** Membership of a consumer group that reads one topic (classic protocol). */
export class GroupMembership {
  readonly #client: KafkaClient
  readonly #clock: Clock
  readonly #group: string
  readonly #topic: string
  #memberId = ''
  #generationId = -1
  #heartbeatAtMs = 0
  #partitions: readonly number[] = []

  constructor(parts: {
    readonly client: KafkaClient
    readonly clock: Clock
    readonly group: string
    readonly topic: string
  }) {
    this.#client = parts.client
    this.#clock = parts.clock
    this.#group = parts.group
    this.#topic = parts.topic
  }

  /** The partitions that this member reads since it last joined. */
  get partitions(): readonly number[] {
    return this.#partitions
  }

  /** Joins the group, or joins it again, and resolves with the partitions that it is to read. */
  async join(): Promise<readonly number[]> {
    for (;;) {
      const answer = await this.#client.request(
        'joinGroup',
        versions.joinGroup,
        {
          groupId: this.#group,
          sessionTimeoutMs,
          rebalanceTimeoutMs,
          memberId: this.#memberId,
          protocolType,
          protocols: [{ name: protocolName, metadata: this.#subscription() }],
        },
        rebalanceTimeoutMs + sessionTimeoutMs,
      )
      if (answer.errorCode === kafkaErrors.memberIdRequired) this.#memberId = answer.memberId
      else if (answer.errorCode === kafkaErrors.unknownMemberId) this.#memberId = ''
      else if (answer.errorCode !== 0 && !rejoinCodes.has(answer.errorCode))
        throw brokerError(answer.errorCode, `group "${this.#group}" can't be joined`)
      else if (answer.errorCode === 0) {
        this.#memberId = answer.memberId
        this.#generationId = answer.generationId
        const members = answer.members.map(({ memberId }) => memberId)
        const isLeader = answer.leader === answer.memberId
        const assigned = await this.#sync(isLeader ? members : [])
        if (assigned !== undefined) return assigned
      }
    }
  }

  /** Undefined when the group began to join anew meanwhile. */
  async #sync(members: readonly string[]): Promise<readonly number[] | undefined> {
    const partitions =
      members.length === 0 ? [] : await fetchPartitions(this.#client, this.#topic, false)
    const answer = await this.#client.request(
      'syncGroup',
      versions.syncGroup,
      {
        groupId: this.#group,
        generationId: this.#generationId,
        memberId: this.#memberId,
        assignments: assignRanges(members, partitions).map((assigned) => ({
          memberId: assigned.memberId,
          assignment: this.#assignment(assigned.partitions),
        })),
      },
      rebalanceTimeoutMs + sessionTimeoutMs,
    )
    if (rejoinCodes.has(answer.errorCode)) return undefined
    if (answer.errorCode !== 0)
      throw brokerError(answer.errorCode, `group "${this.#group}" gave no assignment`)
    this.#heartbeatAtMs = this.#clock.monotonicMs() + heartbeatIntervalMs
    this.#partitions = this.#assigned(answer.assignment)
    return this.#partitions
  }

  #subscription(): Buffer {
    return encodeSubscription({ topics: [this.#topic], userData: null }, consumerProtocolVersion)
  }

  #assignment(partitions: readonly number[]): Buffer {
    const assignedPartitions = [{ topic: this.#topic, partitions }]
    return encodeAssignment({ assignedPartitions, userData: null }, consumerProtocolVersion)
  }

  #assigned(assignment: Buffer): readonly number[] {
    if (assignment.length === 0) return []
    return decodeAssignment(assignment).assignedPartitions.flatMap(({ topic, partitions }) =>
      topic === this.#topic ? partitions : [],
    )
  }

  /** Says now and then that the member is alive; false when it must join again. */
  async isCurrent(): Promise<boolean> {
    if (this.#clock.monotonicMs() < this.#heartbeatAtMs) return true
    const { errorCode } = await this.#client.request('heartbeat', versions.heartbeat, this.#claim())
    this.#heartbeatAtMs = this.#clock.monotonicMs() + heartbeatIntervalMs
    if (errorCode === 0) return true
    if (rejoinCodes.has(errorCode)) return false
    throw brokerError(errorCode, `group "${this.#group}" does not know this member`)
  }

  /** The offsets that the group has committed for these partitions; -1 where it has none. */
  async committed(partitions: readonly number[]): Promise<ReadonlyMap<number, number>> {
    const answer = await this.#client.request('offsetFetch', versions.offsetFetch, {
      groupId: this.#group,
      topics: [{ name: this.#topic, partitionIndexes: partitions }],
    })
    if (answer.errorCode !== 0)
      throw brokerError(answer.errorCode, `group "${this.#group}" has no offsets`)
    const found = answer.topics.flatMap((topic) => topic.partitions)
    return new Map(found.map((each) => [each.partitionIndex, each.committedOffset]))
  }

  /** Commits up to where each partition was read; false when the member must join again first. */
  async commit(offsets: ReadonlyMap<number, number>): Promise<boolean> {
    if (offsets.size === 0) return true
    const claim = {
      groupId: this.#group,
      generationIdOrMemberEpoch: this.#generationId,
      memberId: this.#memberId,
    }
    const failed = await commitOffsets(this.#client, claim, this.#topic, offsets)
    if (failed === 0) return true
    if (rejoinCodes.has(failed)) return false
    throw brokerError(failed, `group "${this.#group}" did not take the offsets`)
  }

  /** Leaves, so that the others need not wait for the session to end. */
  async leave(): Promise<void> {
    if (this.#memberId === '') return
    await this.#client.request('leaveGroup', versions.leaveGroup, {
      groupId: this.#group,
      members: [{ memberId: this.#memberId }],
    })
  }

  #claim() {
    return {
      groupId: this.#group,
      generationId: this.#generationId,
      memberId: this.#memberId,
    }
  }
}

/** Runs of neighbouring partitions, the first members one more where they do not divide evenly. */
export function assignRanges(
  members: readonly string[],
  partitions: readonly number[],
): { memberId: string; partitions: readonly number[] }[] {
  const sorted = members.toSorted()
  let from = 0
  return sorted.map((memberId, index) => {
    const count =
      Math.floor(partitions.length / sorted.length) +
      (index < partitions.length % sorted.length ? 1 : 0)
    from += count
    return { memberId, partitions: partitions.slice(from - count, from) }
  })
}
