import { QuestlogError } from '../../core/errors.ts'
import { decodeSubscription } from '../consumer-protocol.ts'
import { kafkaErrors } from '../error-codes.ts'
import type { Handler } from '../handler.ts'
import type { GroupCoordinator, TopicSource } from './coordinator.ts'
import type { Group } from './group.ts'
import type { OffsetCommits } from './offset-commits.ts'

/**
 * OffsetCommit v2-9. Answers when the offsets are synced; commits that come together share one sync.
 * - A member commits in its generation; a client without membership (generation -1) only while the group has no members.
 * - Offsets belong to the topic's id: a topic that is deleted and made again has none.
 * - v2-4 `retentionTimeMs` is ignored: offsets are kept as long as the group has members, and offsetsRetentionMs after.
 */
export function offsetCommitHandler(commits: OffsetCommits): Handler<'offsetCommit'> {
  return {
    api: 'offsetCommit',
    minVersion: 2,
    maxVersion: 9,
    async handle(request) {
      const { groupId, memberId, groupInstanceId, topics } = request
      const generationId = request.generationIdOrMemberEpoch
      const claim = { groupId, memberId, groupInstanceId, generationId }
      return { topics: await commits.commit({ ...claim, topics }) }
    },
  }
}

type TopicsAsked = readonly {
  readonly name: string
  readonly partitionIndexes: readonly number[]
}[]

/**
 * OffsetFetch v1-9: -1 where nothing was committed, also for topics and groups that do not exist.
 * - v2 and newer: null topics asks for all of the group; v7 `requireStable` answers UNSTABLE_OFFSET_COMMIT where a transaction has not
 *   ended (KIP-447); v8 several groups, each once (KIP-709); v9 member epochs, of the newer protocol, are ignored.
 */
export function offsetFetchHandler(
  coordinator: GroupCoordinator,
  topics: TopicSource,
): Handler<'offsetFetch'> {
  const fetch = (groupId: string, asked: TopicsAsked, requireStable: boolean) =>
    asked.map(({ name, partitionIndexes }) => ({
      name,
      partitions: partitionIndexes.map((partitionIndex) => {
        const topicId = topics.topic(name)?.id
        const at = topicId === undefined ? undefined : { topicId, partition: partitionIndex }
        const isUnstable =
          requireStable && at !== undefined && coordinator.store.isStaged(groupId, at)
        const found =
          at === undefined || isUnstable ? undefined : coordinator.store.committed(groupId, at)
        return {
          partitionIndex,
          committedOffset: found?.offset ?? -1,
          committedLeaderEpoch: found?.leaderEpoch ?? -1,
          metadata: found?.metadata ?? '',
          errorCode: isUnstable ? kafkaErrors.unstableOffsetCommit : kafkaErrors.none,
        }
      }),
    }))
  return {
    api: 'offsetFetch',
    minVersion: 1,
    maxVersion: 9,
    async handle(request, { apiVersion }) {
      const { groupId, groups, requireStable } = request
      const names = new Map(topics.topics().map(({ id, name }) => [id, name]))
      const fetchAll = (id: string, asked: TopicsAsked | null) =>
        fetch(id, asked ?? allTopics(coordinator, names, id), requireStable)
      if (apiVersion < 8) return { topics: fetchAll(groupId, request.topics) }
      const seen = new Set<string>()
      const once = groups.filter((asked) => seen.size < seen.add(asked.groupId).size)
      return {
        groups: once.map((asked) => ({
          groupId: asked.groupId,
          topics: fetchAll(asked.groupId, asked.topics),
          errorCode: kafkaErrors.none,
        })),
      }
    },
  }
}

/** What a group has offsets of, those that a transaction will set included. Costs what the group has, not what the log has: a request may name thousands of groups. */
function allTopics(
  { store }: GroupCoordinator,
  names: ReadonlyMap<string, string>,
  groupId: string,
): TopicsAsked {
  const asked = new Map<string, number[]>()
  for (const { topicId, partition } of store.partitionsOf(groupId)) {
    const name = names.get(topicId)
    if (name === undefined) continue
    const partitionIndexes = asked.get(name)
    if (partitionIndexes === undefined) asked.set(name, [partition])
    else partitionIndexes.push(partition)
  }
  return [...asked].map(([name, partitionIndexes]) => ({ name, partitionIndexes }))
}

/** OffsetDelete v0 (KIP-496): forgets offsets of topics that no member reads. Members of another protocol than `consumer` could read any. */
export function offsetDeleteHandler(
  coordinator: GroupCoordinator,
  topics: TopicSource,
): Handler<'offsetDelete'> {
  return {
    api: 'offsetDelete',
    minVersion: 0,
    maxVersion: 0,
    async handle({ groupId, topics: asked }) {
      const group = coordinator.group(groupId)
      if (group === undefined) return { errorCode: kafkaErrors.groupIdNotFound, topics: [] }
      const isFree = group.state === 'Empty'
      if (!isFree && group.protocolType !== 'consumer')
        return { errorCode: kafkaErrors.nonEmptyGroup, topics: [] }
      const read = isFree ? new Set<string>() : topicsRead(group)
      const outcomes = asked.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map(({ partitionIndex }) => ({
          partitionIndex,
          errorCode: outcome(topics, read, name, partitionIndex),
        })),
      }))
      const gone = outcomes.flatMap(({ name, partitions }) => {
        const topicId = topics.topic(name)?.id ?? ''
        return partitions
          .filter(({ errorCode }) => errorCode === kafkaErrors.none)
          .map(({ partitionIndex }) => ({ topicId, partition: partitionIndex }))
      })
      const errorCode = await coordinator.keep(coordinator.store.remove(groupId, gone), groupId)
      return { errorCode, topics: errorCode === kafkaErrors.none ? outcomes : [] }
    },
  }
}

function outcome(
  topics: TopicSource,
  read: ReadonlySet<string>,
  name: string,
  partition: number,
): number {
  const topic = topics.topic(name)
  if (topic === undefined || partition < 0 || partition >= topic.partitions)
    return kafkaErrors.unknownTopicOrPartition
  return read.has(name) ? kafkaErrors.groupSubscribedToTopic : kafkaErrors.none
}

function topicsRead(group: Group): Set<string> {
  return new Set(
    group
      .members()
      .flatMap(({ protocols }) => protocols.flatMap(({ metadata }) => subscribedTopics(metadata))),
  )
}

/** None when the bytes are something else: they are a matter between clients. */
function subscribedTopics(metadata: Buffer): readonly string[] {
  try {
    return decodeSubscription(metadata).topics
  } catch (error) {
    if (error instanceof QuestlogError) return []
    throw error
  }
}
