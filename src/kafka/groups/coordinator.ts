import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { Metric } from '../../core/metrics.ts'
import type { Settings } from '../../core/settings.ts'
import type { Topic } from '../../log/record.ts'
import { kafkaErrors } from '../error-codes.ts'
import { Group } from './group.ts'
import { earlierGroup, recordOf } from './group-record.ts'
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
/** Clients name one or two. Those of all members are compared whenever one joins. */
const protocolsMax = 100

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
  /** The last write of a group's record, until it is done. */
  readonly #recording = new Map<Group, Promise<number>>()
  readonly #running: Promise<void>
  #bytes = 0
  #nextSweepMs: number
  #sleepsUntilMs = 0
  #alarm = new AbortController()
  #closing = false
  #closed: Promise<void> | undefined

  constructor(options: CoordinatorOptions) {
    this.#options = options
    this.store = new GroupStore(options.store)
    this.#restoreAll()
    this.#nextSweepMs = options.clock.monotonicMs() + sweepIntervalMs
    this.#running = this.#run()
  }

  metrics(): readonly Metric[] {
    const states = new Map<string, number>()
    let members = 0
    for (const group of this.#groups.values()) {
      states.set(group.state, (states.get(group.state) ?? 0) + 1)
      members += group.size
    }
    const gauge = (name: string, help: string, values: Metric['values']): Metric => ({
      name: `questlog_broker_${name}`,
      help,
      type: 'gauge',
      values,
    })
    const byState = [...states].map(([state, value]) => ({ labels: { state }, value }))
    return [
      gauge('groups', 'Consumer groups by state.', byState),
      gauge('group_members', 'Members of all consumer groups.', [{ value: members }]),
      gauge('group_bytes', 'Bytes of subscriptions and assignments of all members.', [
        { value: this.#bytes },
      ]),
    ]
  }

  groups(): readonly Group[] {
    return [...this.#groups.values()]
  }

  group(groupId: string): Group | undefined {
    return this.#groups.get(groupId)
  }

  /** JoinGroup: resolves when the rebalance has made a generation, or with an error code. */
  async join(groupId: string, request: JoinRequest): Promise<JoinAnswer> {
    const { memberId, sessionTimeoutMs, protocols } = request
    const { groupSessionTimeoutMinMs, groupSessionTimeoutMaxMs } = this.#options.settings
    const refuse = (code: number) => joinRefusal(memberId, code)
    if (this.#closing) return refuse(kafkaErrors.coordinatorNotAvailable)
    if (groupId === '') return refuse(kafkaErrors.invalidGroupId)
    if (sessionTimeoutMs < groupSessionTimeoutMinMs || sessionTimeoutMs > groupSessionTimeoutMaxMs)
      return refuse(kafkaErrors.invalidSessionTimeout)
    if (protocols.length > protocolsMax) return refuse(kafkaErrors.inconsistentGroupProtocol)
    if (memberId !== '' && !this.#groups.has(groupId)) return refuse(kafkaErrors.unknownMemberId)
    const bytes = protocols.reduce((sum, { metadata }) => sum + metadata.length, 0)
    if (!this.#hasRoom(groupId, bytes)) return refuse(kafkaErrors.groupMaxSizeReached)
    const group = this.#findOrMake(groupId)
    if (group === undefined) return refuse(kafkaErrors.groupMaxSizeReached)
    const newMemberId = `${request.groupInstanceId ?? request.clientId}-${this.#options.newId()}`
    const given = await new Promise<JoinAnswer>((answer) => {
      this.#change(group, (nowMs) => group.join({ ...request, newMemberId, answer }, nowMs))
    })
    await this.#recording.get(group)
    return given
  }

  /** SyncGroup: resolves when the leader has assigned, or with an error code. */
  async sync(groupId: string, request: SyncRequest): Promise<SyncAnswer> {
    if (this.#closing) return syncRefusal(kafkaErrors.coordinatorNotAvailable)
    if (groupId === '') return syncRefusal(kafkaErrors.invalidGroupId)
    const group = this.#groups.get(groupId)
    if (group === undefined) return syncRefusal(kafkaErrors.unknownMemberId)
    const bytes = [...request.assignments.values()].reduce((sum, { length }) => sum + length, 0)
    if (!this.#hasRoom(groupId, bytes)) return syncRefusal(kafkaErrors.groupMaxSizeReached)
    const given = await new Promise<SyncAnswer>((answer) => {
      this.#change(group, (nowMs) => group.sync({ ...request, answer }, nowMs))
    })
    // A generation that members act on must not come again as another one after a crash.
    await this.#recording.get(group)
    return given
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
  close(): Promise<void> {
    this.#closing = true
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    const hasMembers = this.groups().some(({ state }) => state !== 'Empty')
    for (const group of this.#groups.values()) group.close(kafkaErrors.coordinatorNotAvailable)
    this.#deadlines.clear()
    this.#alarm.abort()
    await this.#running
    if (hasMembers) void this.#background('', this.store.putStopped(this.#options.clock.nowMs()))
    await Promise.all(this.#work)
  }

  #restoreAll(): void {
    const { clock } = this.#options
    const stoppedAtMs = this.store.stoppedAtMs()
    const downMs = stoppedAtMs === undefined ? 0 : clock.nowMs() - stoppedAtMs
    for (const groupId of this.store.groupIds()) this.#restore(groupId, downMs)
    // After a crash it would say the wrong time.
    if (stoppedAtMs !== undefined) void this.#background('', this.store.putStopped(undefined))
  }

  #restore(groupId: string, downMs: number): void {
    const record = this.store.record(groupId)
    const nowMs = this.#options.clock.monotonicMs()
    const earlier = record === undefined ? undefined : earlierGroup(record, nowMs, downMs)
    const group = new Group(groupId, this.#rules(), earlier)
    this.#groups.set(groupId, group)
    this.#bytes += group.bytes
    if (group.state === 'Stable') this.#deadlines.set(group, group.deadlineMs)
    // Its members were too large to be kept.
    else if (record?.emptySinceMs === null) this.#record(group)
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
    const { settlements } = group
    const result = work(this.#options.clock.monotonicMs())
    this.#bytes += group.bytes - bytes
    const { deadlineMs } = group
    if (Number.isFinite(deadlineMs)) this.#deadlines.set(group, deadlineMs)
    else this.#deadlines.delete(group)
    if (deadlineMs < this.#sleepsUntilMs) this.#alarm.abort()
    if (group.settlements > settlements) this.#record(group)
    return result
  }

  #record(group: Group): void {
    const record = recordOf(group, this.#options.clock.nowMs())
    const done = this.#background(group.id, this.store.putRecord(group.id, record))
    this.#recording.set(group, done)
    void done.finally(() => {
      if (this.#recording.get(group) === done) this.#recording.delete(group)
    })
  }

  #background(groupId: string, change: Promise<void>): Promise<number> {
    const done = this.keep(change, groupId)
    this.#work.add(done)
    void done.finally(() => this.#work.delete(done))
    return done
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
      if (gone.length > 0) void this.#background(group.id, this.store.remove(group.id, gone))
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
      void this.#background(group.id, this.store.removeGroup(group.id))
    }
  }
}
