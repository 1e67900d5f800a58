import { QuestlogError } from '../../core/errors.ts'
import type { GroupRecord } from './group-record.ts'

/** Where groups are kept: the part of a `StateFile` that is needed here. */
export interface KeyedStore {
  get(key: string): unknown
  entries(): Iterable<[string, unknown]>
  /** Durable when it resolves, and visible to `get` from then on. */
  put(changes: ReadonlyMap<string, unknown>): Promise<void>
}

/** A partition, also when its topic's name has come back as another topic. */
export interface TopicPartition {
  readonly topicId: string
  readonly partition: number
}

export interface CommittedOffset {
  /** Offset of the next record to read. */
  readonly offset: number
  /** -1 when the client gave none. */
  readonly leaderEpoch: number
  /** The client's own text. */
  readonly metadata: string
  /** Wall time of the commit, milliseconds. */
  readonly committedAtMs: number
}

export interface PartitionOffset extends TopicPartition, CommittedOffset {}

/** Who stages offsets in a transaction. */
export interface OffsetProducer {
  readonly producerId: number
  readonly producerEpoch: number
}

interface StagedOffset extends CommittedOffset {
  readonly producerEpoch: number
}

// docs/internals/log-format.md, "Groups file". A group's name comes last in a key: it may hold any character.
const stoppedKey = 'stopped'
const groupKey = (groupId: string) => `group/${groupId}`
const offsetKey = ({ topicId, partition }: TopicPartition, groupId: string) =>
  `offset/${topicId}/${partition}/${groupId}`
const stagedKey = (producerId: number, at: TopicPartition, groupId: string) =>
  `staged/${producerId}/${at.topicId}/${at.partition}/${groupId}`

/** Of more changes than this, each so many are all-or-nothing, and not the whole. Keeps an entry far below what the file takes. */
const changesTogetherMax = 200

/** Committed offsets and records of groups, durable. Offsets belong to topic ids, so that a topic that is made again has none. */
export class GroupStore {
  readonly #store: KeyedStore
  /** Group → `topic id/partition`, those included whose commit is under way. */
  readonly #offsets = new Map<string, Map<string, TopicPartition>>()
  /** Group → `topic id/partition` → ids of the producers that have staged an offset there. */
  readonly #staged = new Map<string, Map<string, Set<number>>>()
  /** Offsets that are being staged → by which producer. */
  readonly #staging = new Map<Promise<void>, number>()

  constructor(store: KeyedStore) {
    this.#store = store
    for (const [key] of store.entries()) {
      const { kind, producerId, at, groupId } = parseKey(key)
      if (at === undefined) continue
      if (kind === 'offset') this.#note(groupId, at)
      else this.#noteStaged(groupId, at, producerId)
    }
  }

  /** Groups that anything is kept of. */
  groupIds(): ReadonlySet<string> {
    const ids = new Set([...this.#offsets.keys(), ...this.#staged.keys()])
    for (const [key] of this.#store.entries()) {
      const { kind, groupId } = parseKey(key)
      if (kind === 'group') ids.add(groupId)
    }
    return ids
  }

  /** Wall time at which the last run ended in order, milliseconds; undefined when it did not. */
  stoppedAtMs(): number | undefined {
    return this.#store.get(stoppedKey) as number | undefined // written by putStopped
  }

  async putStopped(atMs: number | undefined): Promise<void> {
    await this.#store.put(new Map([[stoppedKey, atMs]]))
  }

  record(groupId: string): GroupRecord | undefined {
    return this.#store.get(groupKey(groupId)) as GroupRecord | undefined // written by putRecord
  }

  async putRecord(groupId: string, record: GroupRecord): Promise<void> {
    await this.#store.put(new Map([[groupKey(groupId), record]]))
  }

  /** The committed offset of a partition, once its commit is durable. */
  committed(groupId: string, at: TopicPartition): CommittedOffset | undefined {
    return this.#store.get(offsetKey(at, groupId)) as CommittedOffset | undefined // written by commit and finish
  }

  /** All committed offsets of a group. */
  offsetsOf(groupId: string): PartitionOffset[] {
    return [...(this.#offsets.get(groupId)?.values() ?? [])].flatMap((at) => {
      const offset = this.committed(groupId, at)
      return offset === undefined ? [] : [{ ...at, ...offset }]
    })
  }

  /** Partitions of which a group has a committed offset, or will have one when a transaction commits; in order. */
  partitionsOf(groupId: string): TopicPartition[] {
    const slots = new Set([
      ...(this.#offsets.get(groupId)?.keys() ?? []),
      ...(this.#staged.get(groupId)?.keys() ?? []),
    ])
    return [...slots]
      .map(partitionOf)
      .filter((at) => this.committed(groupId, at) !== undefined || this.isStaged(groupId, at))
      .toSorted((one, other) => one.partition - other.partition)
  }

  /** Whether anything of the group is kept or on the way besides its record. */
  hasOffsets(groupId: string): boolean {
    return this.#offsets.has(groupId) || this.#staged.has(groupId)
  }

  /** Durable when it resolves. Commits of one partition take effect in the order of the calls. */
  async commit(groupId: string, offsets: readonly PartitionOffset[]): Promise<void> {
    const changes = new Map<string, CommittedOffset>()
    for (const { topicId, partition, ...offset } of offsets) {
      this.#note(groupId, { topicId, partition })
      changes.set(offsetKey({ topicId, partition }, groupId), offset)
    }
    await this.#put(changes)
  }

  /** Forgets the offsets of some partitions. */
  async remove(groupId: string, partitions: readonly TopicPartition[]): Promise<void> {
    await this.#put(new Map(partitions.map((at) => [offsetKey(at, groupId), undefined])))
  }

  /** Forgets a group with all its offsets, also those that transactions have staged. */
  async removeGroup(groupId: string): Promise<void> {
    const changes = new Map<string, undefined>([[groupKey(groupId), undefined]])
    for (const at of this.#offsets.get(groupId)?.values() ?? [])
      changes.set(offsetKey(at, groupId), undefined)
    for (const [slot, producerIds] of this.#staged.get(groupId) ?? [])
      for (const producerId of producerIds)
        changes.set(stagedKey(producerId, partitionOf(slot), groupId), undefined)
    await this.#put(changes)
  }

  /** Whether a transaction that has not ended will set the offset of a partition. */
  isStaged(groupId: string, at: TopicPartition): boolean {
    return this.#staged.get(groupId)?.has(slotOf(at)) ?? false
  }

  /** Keeps offsets for the time when the producer's transaction commits. Durable when it resolves: a transaction outlives a restart. */
  async stage(
    groupId: string,
    { producerId, producerEpoch }: OffsetProducer,
    offsets: readonly PartitionOffset[],
  ): Promise<void> {
    const changes = new Map<string, StagedOffset>()
    for (const { topicId, partition, ...offset } of offsets) {
      const at = { topicId, partition }
      this.#noteStaged(groupId, at, producerId)
      changes.set(stagedKey(producerId, at, groupId), { ...offset, producerEpoch })
    }
    const staging = this.#put(changes)
    this.#staging.set(staging, producerId)
    try {
      await staging
    } finally {
      this.#staging.delete(staging)
    }
  }

  /**
   * Makes what the producer has staged, up to its epoch, the committed offsets, or forgets it. Durable when it resolves.
   * Done again, it does nothing: so after a crash it is simply repeated.
   */
  async finish(producer: OffsetProducer, outcome: 'commit' | 'abort'): Promise<void> {
    const { producerId, producerEpoch } = producer
    // What is still on its way to the disk would stay there for good.
    const staging = [...this.#staging].filter(([, by]) => by === producerId)
    if (staging.length > 0) await Promise.allSettled(staging.map(([promise]) => promise))
    const changes = new Map<string, CommittedOffset | undefined>()
    for (const [groupId, slots] of this.#staged)
      for (const [slot, producerIds] of slots) {
        if (!producerIds.has(producerId)) continue
        const at = partitionOf(slot)
        const key = stagedKey(producerId, at, groupId)
        const staged = this.#store.get(key) as StagedOffset | undefined // written by stage
        if (staged === undefined || staged.producerEpoch > producerEpoch) continue
        changes.set(key, undefined)
        if (outcome === 'abort') continue
        const { producerEpoch: _, ...offset } = staged
        this.#note(groupId, at)
        changes.set(offsetKey(at, groupId), offset)
      }
    await this.#put(changes)
  }

  async #put(changes: ReadonlyMap<string, unknown>): Promise<void> {
    const entries = [...changes]
    const puts: Promise<void>[] = []
    for (let at = 0; at < entries.length; at += changesTogetherMax)
      puts.push(this.#store.put(new Map(entries.slice(at, at + changesTogetherMax))))
    try {
      await Promise.all(puts)
    } finally {
      await Promise.allSettled(puts)
      for (const [key] of entries) this.#settle(key)
    }
  }

  /** Brings the index in line with what became of a key. */
  #settle(key: string): void {
    const { kind, producerId, at, groupId } = parseKey(key)
    if (at === undefined) return
    const isKept = this.#store.get(key) !== undefined
    if (kind === 'offset' && isKept) this.#note(groupId, at)
    else if (kind === 'offset') dropFrom(this.#offsets, groupId, slotOf(at))
    else if (isKept) this.#noteStaged(groupId, at, producerId)
    else {
      const producerIds = this.#staged.get(groupId)?.get(slotOf(at))
      producerIds?.delete(producerId)
      if (producerIds?.size === 0) dropFrom(this.#staged, groupId, slotOf(at))
    }
  }

  #note(groupId: string, at: TopicPartition): void {
    const slots = this.#offsets.get(groupId) ?? new Map<string, TopicPartition>()
    this.#offsets.set(groupId, slots.set(slotOf(at), at))
  }

  #noteStaged(groupId: string, at: TopicPartition, producerId: number): void {
    const slots = this.#staged.get(groupId) ?? new Map<string, Set<number>>()
    const producerIds = slots.get(slotOf(at)) ?? new Set<number>()
    this.#staged.set(groupId, slots.set(slotOf(at), producerIds.add(producerId)))
  }
}

const slotOf = ({ topicId, partition }: TopicPartition) => `${topicId}/${partition}`

function partitionOf(slot: string): TopicPartition {
  const [topicId = '', partition] = slot.split('/')
  return { topicId, partition: Number(partition) }
}

function dropFrom(index: Map<string, Map<string, unknown>>, groupId: string, slot: string): void {
  const slots = index.get(groupId)
  slots?.delete(slot)
  if (slots?.size === 0) index.delete(groupId)
}

interface ParsedKey {
  readonly kind: 'group' | 'offset' | 'staged' | 'stopped'
  readonly producerId: number
  readonly at: TopicPartition | undefined
  readonly groupId: string
}

function parseKey(key: string): ParsedKey {
  const [kind = '', ...rest] = key.split('/')
  const groupOf = (from: number) => rest.slice(from).join('/')
  const partitionAt = (index: number) => ({
    topicId: rest[index] ?? '',
    partition: Number(rest[index + 1]),
  })
  if (kind === 'group' || kind === 'stopped')
    return { kind, producerId: -1, at: undefined, groupId: groupOf(0) }
  if (kind === 'offset') return { kind, producerId: -1, at: partitionAt(0), groupId: groupOf(2) }
  if (kind === 'staged')
    return { kind, producerId: Number(rest[0]), at: partitionAt(1), groupId: groupOf(3) }
  throw new QuestlogError(
    'FORMAT_UNKNOWN',
    `the file of consumer groups has an entry that this questlog does not know: ${key}`,
    { key },
  )
}
