import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { Settings } from '../../core/settings.ts'
import type { Topic } from '../../log/record.ts'
import { kafkaErrors } from '../error-codes.ts'
import { Group } from './group.ts'
import { GroupStore, type KeyedStore } from './group-store.ts'
import {
  joinRefusal,
  type JoinAnswer,
  type JoinInput,
  type MemberClaim,
  type SyncAnswer,
  type SyncInput,
  syncRefusal,
} from './member.ts'

/** As Kafka: a joining member without an id is given up after 5 minutes, expired offsets are looked for every 10. */
const newMemberJoinTimeoutMs = 300_000
const sweepIntervalMs = 600_000

export interface CoordinatorOptions {
  /** `<data>/log/groups`. */
  readonly store: KeyedStore
  readonly topics: TopicSource
  readonly settings: GroupSettings
  readonly clock: Clock
  readonly logger: Logger
  /** A text that was never given before: a UUID. */
  readonly newId: () => string
}

/** The topics there are: the part of the log that is needed here. */
export interface TopicSource {
  topics(): readonly Topic[]
  topic(name: string): Topic | undefined
}

export type GroupSettings = Pick<
  Settings,
  | 'groupsMax'
  | 'groupMembersMax'
  | 'groupBytesMax'
  | 'groupInitialRebalanceDelayMs'
  | 'groupSessionTimeoutMinMs'
  | 'groupSessionTimeoutMaxMs'
  | 'offsetMetadataBytesMax'
  | 'offsetsRetentionMs'
>

/** A join as a request brings it. */
export type JoinRequest = Omit<JoinInput, 'newMemberId' | 'answer'>
export type SyncRequest = Omit<SyncInput, 'answer'>

/** All consumer groups: gives requests to their groups, time to all of them, and keeps what outlives a restart. */
export class GroupCoordinator {
  readonly store: GroupStore
  readonly #options: CoordinatorOptions
  readonly #groups = new Map<string, Group>()
  /** Groups that time alone changes → when. */
  readonly #deadlines = new Map<Group, number>()
  /** Writes of group records, and sweeps, that are under way. */
  readonly #work = new Set<Promise<number>>()
  readonly #running: Promise<void>
  #bytes = 0
  #nextSweepMs: number
  #sleepsUntilMs = 0
  #alarm = new AbortController()
  #closing = false

  constructor(options: CoordinatorOptions) {
    this.#options = options
    this.store = new GroupStore(options.store)
    for (const groupId of this.store.groupIds()) this.#restore(groupId)
    this.#nextSweepMs = options.clock.monotonicMs() + sweepIntervalMs
    this.#running = this.#run()
  }

  groups(): readonly Group[] {
    return [...this.#groups.values()]
  }

  group(groupId: string): Group | undefined {
    return this.#groups.get(groupId)
  }

  /** JoinGroup: resolves when the rebalance has made a generation, or with an error code. */
  join(groupId: string, request: JoinRequest): Promise<JoinAnswer> {
    const { memberId, sessionTimeoutMs, protocols } = request
    const { groupSessionTimeoutMinMs, groupSessionTimeoutMaxMs } = this.#options.settings
    const refuse = (code: number) => Promise.resolve(joinRefusal(memberId, code))
    if (this.#closing) return refuse(kafkaErrors.coordinatorNotAvailable)
    if (groupId === '') return refuse(kafkaErrors.invalidGroupId)
    if (sessionTimeoutMs < groupSessionTimeoutMinMs || sessionTimeoutMs > groupSessionTimeoutMaxMs)
      return refuse(kafkaErrors.invalidSessionTimeout)
    if (memberId !== '' && !this.#groups.has(groupId)) return refuse(kafkaErrors.unknownMemberId)
    const bytes = protocols.reduce((sum, { metadata }) => sum + metadata.length, 0)
    if (!this.#hasRoom(groupId, bytes)) return refuse(kafkaErrors.groupMaxSizeReached)
    const group = this.#findOrMake(groupId)
    if (group === undefined) return refuse(kafkaErrors.groupMaxSizeReached)
    const newMemberId = `${request.groupInstanceId ?? request.clientId}-${this.#options.newId()}`
    return new Promise((answer) => {
      this.#change(group, (nowMs) => group.join({ ...request, newMemberId, answer }, nowMs))
    })
  }

  /** SyncGroup: resolves when the leader has assigned, or with an error code. */
  sync(groupId: string, request: SyncRequest): Promise<SyncAnswer> {
    const refuse = (code: number) => Promise.resolve(syncRefusal(code))
    if (this.#closing) return refuse(kafkaErrors.coordinatorNotAvailable)
    if (groupId === '') return refuse(kafkaErrors.invalidGroupId)
    const group = this.#groups.get(groupId)
    if (group === undefined) return refuse(kafkaErrors.unknownMemberId)
    const bytes = [...request.assignments.values()].reduce((sum, { length }) => sum + length, 0)
    if (!this.#hasRoom(groupId, bytes)) return refuse(kafkaErrors.groupMaxSizeReached)
    return new Promise((answer) => {
      this.#change(group, (nowMs) => group.sync({ ...request, answer }, nowMs))
    })
  }

  /** Heartbeat: an error code. */
  heartbeat(groupId: string, claim: MemberClaim): number {
    return this.#ask(groupId, (group, nowMs) => group.heartbeat(claim, nowMs))
  }

  /** LeaveGroup of one member: an error code. */
  leave(groupId: string, memberId: string, groupInstanceId: string | null): number {
    return this.#ask(groupId, (group, nowMs) => group.leave(memberId, groupInstanceId, nowMs))
  }

  /** Whether a member, or a client without membership, may commit offsets now: an error code. */
  admitCommit(groupId: string, claim: MemberClaim, isTransactional: boolean): number {
    if (this.#closing) return kafkaErrors.coordinatorNotAvailable
    // A client that shares no partitions makes its group by committing.
    if (!this.#groups.has(groupId) && claim.generationId >= 0) return kafkaErrors.illegalGeneration
    const group = this.#findOrMake(groupId)
    if (group === undefined) return kafkaErrors.groupMaxSizeReached
    return this.#change(group, (nowMs) => group.commit(claim, isTransactional, nowMs))
  }

  /** Ends groups without members, with their offsets: an error code. */
  async delete(groupId: string): Promise<number> {
    if (this.#closing) return kafkaErrors.coordinatorNotAvailable
    const group = this.#groups.get(groupId)
    if (group === undefined) return kafkaErrors.groupIdNotFound
    const errorCode = group.delete()
    if (errorCode !== kafkaErrors.none) return errorCode
    this.#forget(group)
    return this.keep(this.store.removeGroup(groupId), groupId)
  }

  /** The error code for a change of the store: COORDINATOR_NOT_AVAILABLE, which clients try again, when it failed. */
  async keep(change: Promise<void>, groupId: string): Promise<number> {
    try {
      await change
      return kafkaErrors.none
    } catch (error) {
      this.#options.logger.warn('a change of a consumer group could not be kept', {
        group: groupId,
        error: error instanceof Error ? error.message : String(error),
      })
      return kafkaErrors.coordinatorNotAvailable
    }
  }

  /** Answers whoever waits, then waits for what is being written. Idempotent. The store stays open: it is the caller's. */
  async close(): Promise<void> {
    this.#closing = true
    for (const group of this.#groups.values()) group.close(kafkaErrors.coordinatorNotAvailable)
    this.#deadlines.clear()
    this.#alarm.abort()
    await this.#running
    await Promise.all(this.#work)
  }

  /** Groups that had members when the process ended are empty from now on, until they have joined again. */
  #restore(groupId: string): void {
    const record = this.store.record(groupId)
    this.#groups.set(groupId, new Group(groupId, this.#rules(), record))
    if (record !== undefined && record.emptySinceMs === null)
      this.#background(groupId, () =>
        this.store.putRecord(groupId, { ...record, emptySinceMs: this.#options.clock.nowMs() }),
      )
  }

  #rules() {
    const { groupMembersMax, groupInitialRebalanceDelayMs } = this.#options.settings
    return {
      membersMax: groupMembersMax,
      initialRebalanceDelayMs: groupInitialRebalanceDelayMs,
      newMemberJoinTimeoutMs,
    }
  }

  #hasRoom(groupId: string, bytes: number): boolean {
    if (this.#bytes + bytes <= this.#options.settings.groupBytesMax) return true
    this.#options.logger.warn('a member was refused: consumer groups hold groupBytesMax', {
      group: groupId,
    })
    return false
  }

  #findOrMake(groupId: string): Group | undefined {
    const known = this.#groups.get(groupId)
    if (known !== undefined) return known
    if (this.#groups.size >= this.#options.settings.groupsMax) this.#dropUnused()
    if (this.#groups.size >= this.#options.settings.groupsMax) {
      this.#options.logger.warn('a consumer group was refused: there are groupsMax', {
        group: groupId,
      })
      return undefined
    }
    const group = new Group(groupId, this.#rules())
    this.#groups.set(groupId, group)
    return group
  }

  #ask(groupId: string, question: (group: Group, nowMs: number) => number): number {
    if (this.#closing) return kafkaErrors.coordinatorNotAvailable
    if (groupId === '') return kafkaErrors.invalidGroupId
    const group = this.#groups.get(groupId)
    if (group === undefined) return kafkaErrors.unknownMemberId
    return this.#change(group, (nowMs) => question(group, nowMs))
  }

  /** Lets a group change, and sees to what follows from it. */
  #change<T>(group: Group, work: (nowMs: number) => T): T {
    const bytes = group.bytes
    const before = shownOf(group)
    const result = work(this.#options.clock.monotonicMs())
    this.#bytes += group.bytes - bytes
    const { deadlineMs } = group
    if (Number.isFinite(deadlineMs)) this.#deadlines.set(group, deadlineMs)
    else this.#deadlines.delete(group)
    if (deadlineMs < this.#sleepsUntilMs) this.#alarm.abort()
    if (before !== shownOf(group)) this.#record(group)
    return result
  }

  #record(group: Group): void {
    const { id, protocolType, generationId, state } = group
    const emptySinceMs = state === 'Empty' ? this.#options.clock.nowMs() : null
    this.#background(id, () =>
      this.store.putRecord(id, { protocolType, generationId, emptySinceMs }),
    )
  }

  #background(groupId: string, work: () => Promise<void>): void {
    const done = this.keep(work(), groupId)
    this.#work.add(done)
    void done.finally(() => this.#work.delete(done))
  }

  #forget(group: Group): void {
    this.#groups.delete(group.id)
    this.#deadlines.delete(group)
  }

  async #run(): Promise<void> {
    const { clock } = this.#options
    while (!this.#closing) {
      this.#alarm = new AbortController()
      this.#sleepsUntilMs = this.#nextSweepMs
      for (const deadlineMs of this.#deadlines.values())
        this.#sleepsUntilMs = Math.min(this.#sleepsUntilMs, deadlineMs)
      const delayMs = Math.ceil(this.#sleepsUntilMs - clock.monotonicMs())
      if (delayMs > 0) await clock.sleep(delayMs, this.#alarm.signal)
      if (this.#closing) return
      const nowMs = clock.monotonicMs()
      for (const [group, deadlineMs] of this.#deadlines)
        if (deadlineMs <= nowMs) this.#change(group, () => group.tick(nowMs))
      if (this.#nextSweepMs > nowMs) continue
      this.#nextSweepMs = nowMs + sweepIntervalMs
      this.#sweep()
    }
  }

  /** Forgets offsets of topics that are gone, offsets that are too old, and groups of which nothing is left. */
  #sweep(): void {
    const topicIds = new Set(this.#options.topics.topics().map(({ id }) => id))
    for (const group of this.#groups.values()) {
      const gone = this.store
        .offsetsOf(group.id)
        .filter((at) => !topicIds.has(at.topicId) || this.#isExpired(group, at.committedAtMs))
      if (gone.length > 0) this.#background(group.id, () => this.store.remove(group.id, gone))
    }
    this.#dropUnused()
  }

  #isExpired(group: Group, committedAtMs: number): boolean {
    const record = this.store.record(group.id)
    // Null while the record that it is empty is on its way to the disk.
    if (!group.isIdle || record?.emptySinceMs === null) return false
    const emptySinceMs = record?.emptySinceMs ?? 0
    const { clock, settings } = this.#options
    return Math.max(emptySinceMs, committedAtMs) + settings.offsetsRetentionMs <= clock.nowMs()
  }

  #dropUnused(): void {
    for (const group of this.#groups.values()) {
      if (!group.isIdle || this.store.hasOffsets(group.id)) continue
      group.delete()
      this.#forget(group)
      this.#background(group.id, () => this.store.removeGroup(group.id))
    }
  }
}

/** What the record of a group says, for comparison. */
function shownOf({ generationId, protocolType, state }: Group): string {
  return `${generationId} ${state === 'Empty'} ${protocolType}`
}
