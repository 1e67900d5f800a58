/** One way of sharing partitions that a member can do, with what it subscribes to. The bytes are the clients' own affair. */
export interface GroupProtocol {
  readonly name: string
  readonly metadata: Buffer
}

/** A member as its leader sees it. */
export interface JoinedMember {
  readonly memberId: string
  readonly groupInstanceId: string | null
  readonly metadata: Buffer
}

/** What becomes of a JoinGroup request. */
export interface JoinAnswer {
  readonly errorCode: number
  /** The member's id; the one to come back with when the error is MEMBER_ID_REQUIRED. */
  readonly memberId: string
  /** -1 with an error. */
  readonly generationId: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly leader: string
  readonly skipAssignment: boolean
  /** All members for the leader, none for the others. */
  readonly members: readonly JoinedMember[]
}

/** What becomes of a SyncGroup request. */
export interface SyncAnswer {
  readonly errorCode: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly assignment: Buffer
}

export interface JoinInput {
  /** Empty for one that has no id yet. */
  readonly memberId: string
  /** Taken when the member needs an id. Never the same twice. */
  readonly newMemberId: string
  /** Given to static members (KIP-345). */
  readonly groupInstanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly protocolType: string
  /** The one it likes best first. */
  readonly protocols: readonly GroupProtocol[]
  /** A first join is answered with an id to come back with (KIP-394, JoinGroup v4 and newer). */
  readonly needsMemberId: boolean
  /** Understands `skipAssignment` (KIP-814, JoinGroup v9 and newer). */
  readonly canSkipAssignment: boolean
  /** Called exactly once. */
  readonly answer: (answer: JoinAnswer) => void
}

/** Who speaks for a member, and of which generation. */
export interface MemberClaim {
  readonly memberId: string
  readonly groupInstanceId: string | null
  readonly generationId: number
}

export interface SyncInput extends MemberClaim {
  /** Null before SyncGroup v5. */
  readonly protocolType: string | null
  readonly protocolName: string | null
  /** By the leader only: member id → what it is to do. */
  readonly assignments: ReadonlyMap<string, Buffer>
  /** Called exactly once. */
  readonly answer: (answer: SyncAnswer) => void
}

/** A member of a group, as the group keeps it. */
export interface Member {
  id: string
  readonly groupInstanceId: string | null
  clientId: string
  clientHost: string
  sessionTimeoutMs: number
  rebalanceTimeoutMs: number
  protocols: readonly GroupProtocol[]
  assignment: Buffer
  /** It was never in a generation: it has no id yet and can't send heartbeats. */
  isNew: boolean
  /** It is removed at this time; Infinity while an answer is owed to it. */
  expiresAtMs: number
  /** Answers the join that waits for the others. */
  join: ((answer: JoinAnswer) => void) | null
  /** Answers the sync that waits for the leader. */
  sync: ((answer: SyncAnswer) => void) | null
}

export const noBytes: Buffer = Buffer.alloc(0)

/** A JoinGroup answer that says only what is wrong. */
export function joinRefusal(memberId: string, errorCode: number): JoinAnswer {
  return {
    errorCode,
    memberId,
    generationId: -1,
    protocolType: null,
    protocolName: null,
    leader: '',
    skipAssignment: false,
    members: [],
  }
}

/** A SyncGroup answer that says only what is wrong. */
export function syncRefusal(errorCode: number): SyncAnswer {
  return { errorCode, protocolType: null, protocolName: null, assignment: noBytes }
}

/** Whether a member comes back with what it had. */
export function hasProtocols(member: Member, protocols: readonly GroupProtocol[]): boolean {
  return (
    member.protocols.length === protocols.length &&
    member.protocols.every(({ name, metadata }, index) => {
      const other = protocols[index]
      return other !== undefined && other.name === name && other.metadata.equals(metadata)
    })
  )
}

/** The names of protocols that every one of the members can do, in the first one's order. */
export function commonProtocols(members: Iterable<Member>): string[] {
  let common: string[] | undefined
  for (const { protocols } of members) {
    const names = new Set(protocols.map(({ name }) => name))
    common = common === undefined ? [...names] : common.filter((name) => names.has(name))
  }
  return common ?? []
}

/** Each member votes for the first of its protocols that all can do; the one with most votes wins, of equals the one voted for first. Null when there is none. */
export function voteProtocol(members: readonly Member[]): string | null {
  const candidates = new Set(commonProtocols(members))
  const votes = new Map<string, number>()
  for (const { protocols } of members) {
    const choice = protocols.find(({ name }) => candidates.has(name))
    if (choice !== undefined) votes.set(choice.name, (votes.get(choice.name) ?? 0) + 1)
  }
  let winner: string | null = null
  for (const [name, count] of votes)
    if (winner === null || count > (votes.get(winner) ?? 0)) winner = name
  return winner
}

/** What the member said about a protocol. */
export function metadataOf(member: Member, protocolName: string | null): Buffer {
  return member.protocols.find(({ name }) => name === protocolName)?.metadata ?? noBytes
}

/** Bytes that clients make a group keep for a member. */
export function memberBytes(member: Member): number {
  const { id, groupInstanceId, clientId, protocols, assignment } = member
  const names = id.length + (groupInstanceId?.length ?? 0) + clientId.length
  return protocols.reduce(
    (sum, { name, metadata }) => sum + name.length + metadata.length,
    names + assignment.length,
  )
}
