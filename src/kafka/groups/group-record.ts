import type { EarlierGroup, Group } from './group.ts'
import type { Member } from './member.ts'

/** What is kept of a member. Bytes are base64. */
interface MemberRecord {
  readonly id: string
  readonly groupInstanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly protocols: readonly { readonly name: string; readonly metadata: string }[]
  readonly assignment: string
}

/** What is kept of a group besides its offsets: as it was when it was last stable, or empty. docs/internals/log-format.md, "Groups file". */
export interface GroupRecord {
  readonly generationId: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly leaderId: string | null
  readonly members: readonly MemberRecord[]
  /** Wall time since when it has no members, milliseconds; null while it has. */
  readonly emptySinceMs: number | null
}

/** Members that are larger, all of a group together, are not kept: they join again after a restart. */
const memberBytesMax = 4 * 1024 * 1024

/** A group that is stable or empty, for the disk. */
export function recordOf(group: Group, nowMs: number): GroupRecord {
  const { generationId, protocolType, protocolName, leaderId, state, bytes } = group
  const members = bytes > memberBytesMax ? [] : group.members()
  return {
    generationId,
    protocolType,
    protocolName,
    leaderId,
    members: members.map((member) => ({
      id: member.id,
      groupInstanceId: member.groupInstanceId,
      clientId: member.clientId,
      clientHost: member.clientHost,
      sessionTimeoutMs: member.sessionTimeoutMs,
      rebalanceTimeoutMs: member.rebalanceTimeoutMs,
      protocols: member.protocols.map(({ name, metadata }) => ({
        name,
        metadata: metadata.toString('base64'),
      })),
      assignment: member.assignment.toString('base64'),
    })),
    emptySinceMs: state === 'Empty' ? nowMs : null,
  }
}

/**
 * The group of a record. A member has its whole session timeout to be heard of, from `nowMs` of the monotonic clock on; when nothing ran for longer
 * than that, it is given up at once.
 */
export function earlierGroup(record: GroupRecord, nowMs: number, downMs: number): EarlierGroup {
  const { generationId, protocolType, protocolName, leaderId, members } = record
  return {
    generationId,
    protocolType,
    protocolName,
    leaderId,
    members: members.map((member): Member => ({
      ...member,
      protocols: member.protocols.map(({ name, metadata }) => ({
        name,
        metadata: Buffer.from(metadata, 'base64'),
      })),
      assignment: Buffer.from(member.assignment, 'base64'),
      isNew: false,
      expiresAtMs: downMs > member.sessionTimeoutMs ? nowMs : nowMs + member.sessionTimeoutMs,
      join: null,
      sync: null,
    })),
  }
}
