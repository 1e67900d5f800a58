import { kafkaErrors } from '../error-codes.ts'
import {
  commonProtocols,
  hasProtocols,
  joinRefusal,
  type JoinAnswer,
  type JoinInput,
  type Member,
  type MemberClaim,
  memberBytes,
  metadataOf,
  noBytes,
  type SyncInput,
  syncRefusal,
  voteProtocol,
} from './member.ts'

/** As DescribeGroups and ListGroups spell it. */
export type GroupState = 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable' | 'Dead'

export interface GroupRules {
  /** Members of a group, those that were only given an id included. */
  readonly membersMax: number
  /** How long the first members of an empty group wait for more. Each new one prolongs it by as much, up to the rebalance timeout. */
  readonly initialRebalanceDelayMs: number
  /** A member that waits for its first generation is given up after this time: it has no id and can't send heartbeats. */
  readonly newMemberJoinTimeoutMs: number
}

/** A group as it was when it was last stable, or empty. */
export interface EarlierGroup {
  readonly generationId: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly leaderId: string | null
  readonly members: readonly Member[]
}

/**
 * One consumer group of the classic protocol (KIP-62; static members KIP-345, member ids KIP-394, protocol type and name KIP-559,
 * skipped assignments KIP-814; cooperative rebalancing, KIP-429, needs nothing of a broker).
 *
 * No time, chance or I/O in here: each call brings the time, `tick` is due at `deadlineMs`, and answers go to the callbacks that
 * came with the requests. So a seed replays a history.
 *
 * A member whose connection ends stays until its session timeout, as the protocol wants it: it may come back on another one.
 */
export class Group {
  readonly id: string
  readonly #rules: GroupRules
  readonly #members = new Map<string, Member>()
  /** Group instance id → member id. */
  readonly #instances = new Map<string, string>()
  /** Ids that were given to members that have not joined with them yet → when they expire. */
  readonly #promised = new Map<string, number>()
  /** Members that have been told of the generation and have not sent their sync. */
  readonly #unsynced = new Set<string>()
  #state: GroupState = 'Empty'
  #generationId: number
  #protocolType: string | null
  #protocolName: string | null = null
  #leaderId: string | null = null
  /** When the rebalance stops waiting for joins, and for syncs. */
  #joinDeadlineMs = Number.POSITIVE_INFINITY
  #syncDeadlineMs = Number.POSITIVE_INFINITY
  /** While the first members of an empty group wait: how much longer the wait may become. */
  #initialDelay: { leftMs: number; isProlonged: boolean } | null = null
  #bytes = 0
  #settlements = 0

  constructor(id: string, rules: GroupRules, earlier?: EarlierGroup) {
    this.id = id
    this.#rules = rules
    this.#generationId = earlier?.generationId ?? 0
    this.#protocolType = earlier?.protocolType ?? null
    if (earlier === undefined || earlier.members.length === 0) return
    this.#protocolName = earlier.protocolName
    this.#leaderId = earlier.leaderId
    for (const member of earlier.members) {
      this.#members.set(member.id, member)
      this.#bytes += memberBytes(member)
      if (member.groupInstanceId !== null) this.#instances.set(member.groupInstanceId, member.id)
    }
    this.#state = 'Stable'
  }

  get state(): GroupState {
    return this.#state
  }

  get generationId(): number {
    return this.#generationId
  }

  get protocolType(): string | null {
    return this.#protocolType
  }

  get protocolName(): string | null {
    return this.#protocolName
  }

  get leaderId(): string | null {
    return this.#leaderId
  }

  /** Bytes that its members make it keep. */
  get bytes(): number {
    return this.#bytes
  }

  /** Counts how often it became stable or empty, or stable with another member id: what should outlive a restart has changed. */
  get settlements(): number {
    return this.#settlements
  }

  /** Nothing is known of it but its name and generation. */
  get isIdle(): boolean {
    return this.#state === 'Empty' && this.#promised.size === 0
  }

  /** Members. */
  get size(): number {
    return this.#members.size
  }

  members(): readonly Readonly<Member>[] {
    return [...this.#members.values()]
  }

  /** When `tick` has something to do; Infinity for never. */
  get deadlineMs(): number {
    let deadlineMs = Math.min(this.#joinDeadlineMs, this.#syncDeadlineMs)
    for (const { expiresAtMs } of this.#members.values())
      deadlineMs = Math.min(deadlineMs, expiresAtMs)
    for (const expiresAtMs of this.#promised.values())
      deadlineMs = Math.min(deadlineMs, expiresAtMs)
    return deadlineMs
  }

  /** JoinGroup. Answered at once, or when the rebalance that it takes part in has a generation. */
  join(input: JoinInput, nowMs: number): void {
    const errorCode = this.#refusalOf(input)
    if (errorCode !== kafkaErrors.none) input.answer(joinRefusal(input.memberId, errorCode))
    else if (input.memberId === '') this.#joinWithoutId(input, nowMs)
    else this.#joinWithId(input, nowMs)
  }

  /** SyncGroup. Answered at once, or when the leader has sent the assignments. */
  sync(input: SyncInput, nowMs: number): void {
    const member = this.#claimed(input)
    if (typeof member === 'number') return input.answer(syncRefusal(member))
    const isOther = (wanted: string | null, is: string | null) => wanted !== null && wanted !== is
    if (
      isOther(input.protocolType, this.#protocolType) ||
      isOther(input.protocolName, this.#protocolName)
    )
      return input.answer(syncRefusal(kafkaErrors.inconsistentGroupProtocol))
    if (this.#state === 'PreparingRebalance')
      return input.answer(syncRefusal(kafkaErrors.rebalanceInProgress))
    this.#unsynced.delete(member.id)
    if (this.#unsynced.size === 0) this.#syncDeadlineMs = Number.POSITIVE_INFINITY
    // Of two syncs of one member, the later is the one whose client still listens.
    member.sync?.(syncRefusal(kafkaErrors.rebalanceInProgress))
    member.sync = input.answer
    if (this.#state === 'CompletingRebalance' && member.id === this.#leaderId)
      this.#assign(input.assignments)
    if (this.#state === 'Stable') this.#answerSyncs(nowMs)
    else this.#touch(member, nowMs)
  }

  /** Heartbeat: an error code. REBALANCE_IN_PROGRESS asks the member to join again. */
  heartbeat(claim: MemberClaim, nowMs: number): number {
    const member = this.#claimed(claim)
    if (typeof member === 'number') return member
    this.#touch(member, nowMs)
    return this.#state === 'PreparingRebalance' ? kafkaErrors.rebalanceInProgress : kafkaErrors.none
  }

  /** LeaveGroup of one member: an error code. A static member may be named by its instance id alone. */
  leave(memberId: string, groupInstanceId: string | null, nowMs: number): number {
    if (this.#promised.delete(memberId)) {
      this.#afterRemoval(nowMs)
      return kafkaErrors.none
    }
    const id =
      memberId === '' && groupInstanceId !== null ? this.#instances.get(groupInstanceId) : memberId
    const member = this.#identified(id ?? '', groupInstanceId)
    if (typeof member === 'number') return member
    this.#remove(member)
    this.#afterRemoval(nowMs)
    return kafkaErrors.none
  }

  /** Whether offsets may be committed by whom says so: an error code. A member that commits is alive. */
  commit(claim: MemberClaim, isTransactional: boolean, nowMs: number): number {
    if (this.#state === 'Dead') return kafkaErrors.coordinatorNotAvailable
    const { memberId, groupInstanceId, generationId } = claim
    if (generationId < 0 && memberId === '' && groupInstanceId === null) {
      // Clients that assign partitions to themselves; and transactions before KIP-447, which know no generation.
      const isFree = isTransactional || this.#state === 'Empty'
      return isFree ? kafkaErrors.none : kafkaErrors.unknownMemberId
    }
    const member = this.#claimed(claim)
    if (typeof member === 'number') return member
    if (!isTransactional && this.#state === 'CompletingRebalance')
      return kafkaErrors.rebalanceInProgress
    this.#touch(member, nowMs)
    return kafkaErrors.none
  }

  /** Ends an empty group: an error code. It takes no more requests then. */
  delete(): number {
    if (this.#state === 'Dead') return kafkaErrors.groupIdNotFound
    if (this.#state !== 'Empty') return kafkaErrors.nonEmptyGroup
    this.#promised.clear()
    this.#state = 'Dead'
    return kafkaErrors.none
  }

  /** Answers everything that waits with an error, and removes everyone. For the end of the process. */
  close(errorCode: number): void {
    for (const member of this.#members.values()) {
      const { join, sync } = member
      member.join = member.sync = null
      join?.(joinRefusal(member.id, errorCode))
      sync?.(syncRefusal(errorCode))
    }
    this.#members.clear()
    this.#promised.clear()
    this.#joinDeadlineMs = this.#syncDeadlineMs = Number.POSITIVE_INFINITY
    this.#state = 'Dead'
  }

  /** Does what time alone brings about. */
  tick(nowMs: number): void {
    const expired = [...this.#members.values()].filter(({ expiresAtMs }) => expiresAtMs <= nowMs)
    for (const member of expired) this.#remove(member)
    let isChanged = expired.length > 0
    for (const [id, expiresAtMs] of this.#promised)
      if (expiresAtMs <= nowMs) isChanged = this.#promised.delete(id) || isChanged
    if (isChanged) this.#afterRemoval(nowMs)
    if (this.#state === 'PreparingRebalance') this.#completeJoinIfDue(nowMs)
    if (this.#syncDeadlineMs <= nowMs) this.#giveUpUnsynced(nowMs)
  }

  #refusalOf({ memberId, groupInstanceId, protocolType, protocols }: JoinInput): number {
    if (this.#state === 'Dead') return kafkaErrors.coordinatorNotAvailable
    const isKnown =
      this.#members.has(memberId) ||
      this.#promised.has(memberId) ||
      (groupInstanceId !== null && this.#instances.has(groupInstanceId))
    if (!isKnown && memberId !== '') return kafkaErrors.unknownMemberId
    if (!isKnown && this.#members.size + this.#promised.size >= this.#rules.membersMax)
      return kafkaErrors.groupMaxSizeReached
    const names = new Set(protocols.map(({ name }) => name))
    const fits =
      this.#members.size === 0
        ? protocolType !== '' && names.size > 0
        : protocolType === this.#protocolType &&
          commonProtocols(this.#members.values()).some((name) => names.has(name))
    return fits ? kafkaErrors.none : kafkaErrors.inconsistentGroupProtocol
  }

  #joinWithoutId(input: JoinInput, nowMs: number): void {
    const { groupInstanceId, newMemberId } = input
    if (groupInstanceId !== null) {
      const current = this.#members.get(this.#instances.get(groupInstanceId) ?? '')
      if (current !== undefined) return this.#replace(current, input, nowMs)
    } else if (input.needsMemberId) {
      this.#promised.set(newMemberId, nowMs + input.sessionTimeoutMs)
      return input.answer(joinRefusal(newMemberId, kafkaErrors.memberIdRequired))
    }
    this.#add(newMemberId, input, nowMs)
  }

  #joinWithId(input: JoinInput, nowMs: number): void {
    if (this.#promised.delete(input.memberId)) return this.#add(input.memberId, input, nowMs)
    const member = this.#identified(input.memberId, input.groupInstanceId)
    if (typeof member === 'number') return input.answer(joinRefusal(input.memberId, member))
    const isSame = hasProtocols(member, input.protocols)
    // A leader that joins again has seen something change (a topic grew); a member that only missed its answer has not.
    const onlyMissedAnswer =
      isSame &&
      (this.#state === 'CompletingRebalance' ||
        (this.#state === 'Stable' && member.id !== this.#leaderId))
    if (onlyMissedAnswer) {
      this.#touch(member, nowMs)
      return input.answer(this.#joinAnswer(member))
    }
    this.#update(member, input)
    this.#touch(member, nowMs)
    this.#rebalance(nowMs)
  }

  #add(id: string, input: JoinInput, nowMs: number): void {
    const member: Member = {
      id,
      groupInstanceId: input.groupInstanceId,
      clientId: input.clientId,
      clientHost: input.clientHost,
      sessionTimeoutMs: input.sessionTimeoutMs,
      rebalanceTimeoutMs: input.rebalanceTimeoutMs,
      protocols: input.protocols,
      assignment: noBytes,
      isNew: true,
      expiresAtMs: nowMs + this.#rules.newMemberJoinTimeoutMs,
      join: input.answer,
      sync: null,
    }
    if (this.#members.size === 0) this.#protocolType = input.protocolType
    this.#members.set(id, member)
    this.#bytes += memberBytes(member)
    if (member.groupInstanceId !== null) this.#instances.set(member.groupInstanceId, id)
    this.#leaderId ??= id
    if (this.#initialDelay !== null) this.#initialDelay.isProlonged = true
    this.#rebalance(nowMs)
  }

  /** A static member has come back as a new process: the old one is fenced off (KIP-345). */
  #replace(member: Member, input: JoinInput, nowMs: number): void {
    const oldId = member.id
    const { join, sync } = member
    member.join = member.sync = null
    join?.(joinRefusal(oldId, kafkaErrors.fencedInstanceId))
    sync?.(syncRefusal(kafkaErrors.fencedInstanceId))
    const others = [...this.#members.values()]
    this.#bytes -= memberBytes(member)
    member.id = input.newMemberId
    member.clientId = input.clientId
    member.clientHost = input.clientHost
    this.#bytes += memberBytes(member)
    // The order of members stays, and with it what an assignor makes of them.
    this.#members.clear()
    for (const other of others) this.#members.set(other.id, other)
    this.#instances.set(input.groupInstanceId ?? '', member.id)
    const wasLeader = this.#leaderId === oldId
    if (wasLeader) this.#leaderId = member.id
    if (this.#unsynced.delete(oldId)) this.#unsynced.add(member.id)
    if (member.isNew) member.expiresAtMs = nowMs + this.#rules.newMemberJoinTimeoutMs
    this.#update(member, input)
    this.#touch(member, nowMs)
    const keepsGeneration = this.#state === 'Stable' && voteProtocol(others) === this.#protocolName
    if (!keepsGeneration) return this.#rebalance(nowMs)
    member.join = null
    this.#settlements += 1
    this.#touch(member, nowMs)
    // One that can't be told to skip the assignment must not believe that it leads: it would assign, and nobody would ask.
    const answer = this.#joinAnswer(member)
    if (!wasLeader) input.answer(answer)
    else if (input.canSkipAssignment) input.answer({ ...answer, skipAssignment: true })
    else input.answer({ ...answer, leader: oldId, members: [] })
  }

  #update(member: Member, input: JoinInput): void {
    // Of two joins of one member, the later is the one whose client still listens.
    member.join?.(joinRefusal(member.id, kafkaErrors.rebalanceInProgress))
    member.join = input.answer
    this.#bytes -= memberBytes(member)
    member.protocols = input.protocols
    this.#bytes += memberBytes(member)
    member.sessionTimeoutMs = input.sessionTimeoutMs
    member.rebalanceTimeoutMs = input.rebalanceTimeoutMs
  }

  /** Starts a rebalance, or goes on with the one there is. */
  #rebalance(nowMs: number): void {
    if (this.#state !== 'PreparingRebalance') {
      if (this.#state === 'CompletingRebalance') this.#refuseSyncs(nowMs)
      this.#unsynced.clear()
      this.#syncDeadlineMs = Number.POSITIVE_INFINITY
      const waitMs = this.#rebalanceTimeoutMs()
      const delayMs = Math.min(this.#rules.initialRebalanceDelayMs, waitMs)
      const isFirst = this.#state === 'Empty'
      this.#initialDelay = isFirst ? { leftMs: waitMs - delayMs, isProlonged: false } : null
      this.#joinDeadlineMs = nowMs + (isFirst ? delayMs : waitMs)
      this.#state = 'PreparingRebalance'
    }
    if (!Number.isFinite(this.#joinDeadlineMs))
      this.#joinDeadlineMs = nowMs + this.#rebalanceTimeoutMs()
    this.#completeJoinIfDue(nowMs)
  }

  #rebalanceTimeoutMs(): number {
    let timeoutMs = 0
    for (const { rebalanceTimeoutMs } of this.#members.values())
      timeoutMs = Math.max(timeoutMs, rebalanceTimeoutMs)
    return timeoutMs
  }

  #completeJoinIfDue(nowMs: number): void {
    const isDue = nowMs >= this.#joinDeadlineMs
    const isDeserted = this.#members.size === 0
    const delay = this.#initialDelay
    if (delay !== null && !isDeserted) {
      if (!isDue) return
      if (delay.isProlonged && delay.leftMs > 0) {
        const byMs = Math.min(this.#rules.initialRebalanceDelayMs, delay.leftMs)
        this.#joinDeadlineMs = nowMs + byMs
        this.#initialDelay = { leftMs: delay.leftMs - byMs, isProlonged: false }
        return
      }
    }
    const areAllHere =
      this.#promised.size === 0 && [...this.#members.values()].every(({ join }) => join !== null)
    if (isDue || isDeserted || areAllHere) this.#completeJoin(nowMs)
  }

  /** Makes the next generation of those who have joined. */
  #completeJoin(nowMs: number): void {
    for (const member of this.#members.values())
      if (member.join === null && member.groupInstanceId === null) this.#remove(member)
    const members = [...this.#members.values()]
    const joined = members.filter(({ join }) => join !== null)
    const first = joined[0]
    if (members.length > 0 && first === undefined) {
      // Only static members that have not come back. The first that does starts the wait for the others anew.
      this.#joinDeadlineMs = Number.POSITIVE_INFINITY
      return
    }
    this.#initialDelay = null
    this.#joinDeadlineMs = Number.POSITIVE_INFINITY
    this.#generationId += 1
    this.#protocolName = voteProtocol(members)
    if (first === undefined) {
      this.#state = 'Empty'
      this.#settlements += 1
      return
    }
    if (!joined.some(({ id }) => id === this.#leaderId)) this.#leaderId = first.id
    this.#state = 'CompletingRebalance'
    this.#syncDeadlineMs = nowMs + this.#rebalanceTimeoutMs()
    for (const member of joined) {
      const answer = this.#joinAnswer(member)
      const { join } = member
      member.join = null
      member.isNew = false
      this.#unsynced.add(member.id)
      this.#touch(member, nowMs)
      join?.(answer)
    }
  }

  #joinAnswer(member: Member): JoinAnswer {
    const isLeader = member.id === this.#leaderId
    const members = isLeader ? [...this.#members.values()] : []
    return {
      errorCode: kafkaErrors.none,
      memberId: member.id,
      generationId: this.#generationId,
      protocolType: this.#protocolType,
      protocolName: this.#protocolName,
      leader: this.#leaderId ?? '',
      skipAssignment: false,
      members: members.map((other) => ({
        memberId: other.id,
        groupInstanceId: other.groupInstanceId,
        metadata: metadataOf(other, this.#protocolName),
      })),
    }
  }

  #assign(assignments: ReadonlyMap<string, Buffer>): void {
    for (const member of this.#members.values()) {
      this.#bytes -= memberBytes(member)
      member.assignment = assignments.get(member.id) ?? noBytes
      this.#bytes += memberBytes(member)
    }
    this.#state = 'Stable'
    this.#settlements += 1
  }

  #answerSyncs(nowMs: number): void {
    for (const member of this.#members.values()) {
      const { sync } = member
      if (sync === null) continue
      member.sync = null
      this.#touch(member, nowMs)
      sync({
        errorCode: kafkaErrors.none,
        protocolType: this.#protocolType,
        protocolName: this.#protocolName,
        assignment: member.assignment,
      })
    }
  }

  #refuseSyncs(nowMs: number): void {
    for (const member of this.#members.values()) {
      const { sync } = member
      if (sync === null) continue
      member.sync = null
      this.#touch(member, nowMs)
      sync(syncRefusal(kafkaErrors.rebalanceInProgress))
    }
  }

  /** Those that took a generation and never asked for their part hold it up. */
  #giveUpUnsynced(nowMs: number): void {
    this.#syncDeadlineMs = Number.POSITIVE_INFINITY
    for (const id of this.#unsynced) {
      const member = this.#members.get(id)
      if (member !== undefined) this.#remove(member)
    }
    this.#unsynced.clear()
    this.#afterRemoval(nowMs)
  }

  #remove(member: Member): void {
    const { join, sync } = member
    member.join = member.sync = null
    this.#members.delete(member.id)
    this.#bytes -= memberBytes(member)
    this.#unsynced.delete(member.id)
    if (member.groupInstanceId !== null) this.#instances.delete(member.groupInstanceId)
    if (this.#leaderId === member.id) this.#leaderId = this.#members.keys().next().value ?? null
    join?.(joinRefusal(member.id, kafkaErrors.unknownMemberId))
    sync?.(syncRefusal(kafkaErrors.unknownMemberId))
  }

  #afterRemoval(nowMs: number): void {
    if (this.#state !== 'Empty' && this.#state !== 'Dead') this.#rebalance(nowMs)
  }

  /** The member is alive. */
  #touch(member: Member, nowMs: number): void {
    if (member.isNew) return
    const isOwedAnswer = member.join !== null || member.sync !== null
    member.expiresAtMs = isOwedAnswer ? Number.POSITIVE_INFINITY : nowMs + member.sessionTimeoutMs
  }

  /** The member of a claim, or the error code that refuses it. */
  #claimed({ memberId, groupInstanceId, generationId }: MemberClaim): Member | number {
    const member = this.#identified(memberId, groupInstanceId)
    if (typeof member === 'number') return member
    return generationId === this.#generationId ? member : kafkaErrors.illegalGeneration
  }

  #identified(memberId: string, groupInstanceId: string | null): Member | number {
    if (this.#state === 'Dead') return kafkaErrors.coordinatorNotAvailable
    if (groupInstanceId !== null) {
      const current = this.#instances.get(groupInstanceId)
      if (current === undefined) return kafkaErrors.unknownMemberId
      if (current !== memberId) return kafkaErrors.fencedInstanceId
    }
    return this.#members.get(memberId) ?? kafkaErrors.unknownMemberId
  }
}
