import { QuestlogError } from '../core/errors.ts'
import type { KafkaClient } from '../kafka/client.ts'
import {
  brokerError,
  commitOffsets,
  endOfLog,
  fetchOffsets,
  fetchPartitions,
  startOfLog,
  versions,
} from './broker.ts'

/** How far a group is in one partition. */
export interface GroupPosition {
  readonly topic: string
  readonly partition: number
  /** -1 = nothing committed. */
  readonly committed: number
  readonly end: number
}

export interface GroupMember {
  readonly id: string
  readonly client: string
  readonly host: string
}

export interface GroupDescription {
  readonly state: string
  readonly members: readonly GroupMember[]
  readonly positions: readonly GroupPosition[]
}

/** Names of all groups, sorted. */
export async function listGroups(client: KafkaClient): Promise<readonly string[]> {
  const answer = await client.request('listGroups', versions.listGroups, {})
  if (answer.errorCode !== 0) throw brokerError(answer.errorCode, "the groups can't be listed")
  return answer.groups.map(({ groupId }) => groupId).toSorted()
}

/** GROUP_UNKNOWN when nothing is known of it. */
export async function describeGroup(client: KafkaClient, group: string): Promise<GroupDescription> {
  const answer = await client.request('describeGroups', versions.describeGroups, {
    groups: [group],
  })
  const found = answer.groups[0]
  if (found === undefined || found.errorCode !== 0)
    throw brokerError(found?.errorCode ?? -1, `group "${group}" can't be described`)
  const positions = await fetchPositions(client, group)
  if (found.groupState === 'Dead' && positions.length === 0)
    throw new QuestlogError('GROUP_UNKNOWN', `there is no group "${group}"`, { group })
  return {
    state: found.groupState,
    positions,
    members: found.members.map(({ memberId, clientId, clientHost }) => ({
      id: memberId,
      client: clientId,
      host: clientHost.replace(/^\//, ''),
    })),
  }
}

async function fetchPositions(
  client: KafkaClient,
  group: string,
): Promise<readonly GroupPosition[]> {
  const answer = await client.request('offsetFetch', versions.offsetFetch, {
    groupId: group,
    topics: null,
  })
  if (answer.errorCode !== 0) throw brokerError(answer.errorCode, `group "${group}" has no offsets`)
  const positions: GroupPosition[] = []
  for (const { name, partitions } of answer.topics) {
    const numbers = partitions.map(({ partitionIndex }) => partitionIndex)
    const ends = await fetchOffsets(client, name, numbers, endOfLog)
    for (const { partitionIndex, committedOffset } of partitions)
      positions.push({
        topic: name,
        partition: partitionIndex,
        committed: committedOffset,
        end: ends.get(partitionIndex) ?? -1,
      })
  }
  return positions.toSorted(
    (one, other) => one.topic.localeCompare(other.topic) || one.partition - other.partition,
  )
}

export type ResetTarget =
  | { readonly kind: 'beginning' | 'end' }
  | { readonly kind: 'offset'; readonly offset: number }

/** Commits other offsets for a group that has no members; resolves to what they are now. BROKER_REFUSED while it has some. */
export async function resetGroup(
  client: KafkaClient,
  group: string,
  topic: string,
  target: ResetTarget,
): Promise<ReadonlyMap<number, number>> {
  const partitions = await fetchPartitions(client, topic, false)
  const first = await fetchOffsets(client, topic, partitions, startOfLog)
  const end = await fetchOffsets(client, topic, partitions, endOfLog)
  const offsets = new Map(
    partitions.map((partition) => {
      const low = first.get(partition) ?? 0
      const high = end.get(partition) ?? 0
      const wanted = target.kind === 'offset' ? target.offset : null
      if (wanted !== null) return [partition, Math.min(Math.max(wanted, low), high)]
      return [partition, target.kind === 'beginning' ? low : high]
    }),
  )
  const claim = { groupId: group, generationIdOrMemberEpoch: -1, memberId: '' }
  const failed = await commitOffsets(client, claim, topic, offsets)
  if (failed !== 0)
    throw brokerError(failed, `group "${group}" was not reset; does it still have members?`)
  return offsets
}

/** BROKER_REFUSED while the group has members. */
export async function deleteGroup(client: KafkaClient, group: string): Promise<void> {
  const answer = await client.request('deleteGroups', versions.deleteGroups, {
    groupsNames: [group],
  })
  const code = answer.results[0]?.errorCode ?? -1
  if (code !== 0) throw brokerError(code, `group "${group}" was not deleted`)
}
