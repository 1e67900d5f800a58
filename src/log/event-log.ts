import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../core/clock.ts'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import { PartitionFetch } from './fetch.ts'
import { metaPath, partitionFolder, topicOfFolder, watermarkPath } from './layout.ts'
import { beginAt } from './log-start.ts'
import { MetaFile, type DeletedTopic, type StoredTopic } from './meta.ts'
import { OpenSegments } from './open-segments.ts'
import { Partition } from './partition.ts'
import { partitionForKey } from './partitioner.ts'
import type {
  Appended,
  BatchesAppended,
  EndMarker,
  KnownProducer,
  NewRecord,
  PartitionState,
  PartitionView,
  PartitionWatermark,
  Topic,
  Watermark,
} from './record.ts'
import { recoverPartition, type RecoveredPartition } from './recovery.ts'
import { checkTopic, type TopicSpec } from './topic.ts'
import { withConfigs, withDeclared, withPartitions } from './topic-changes.ts'
import { removeIndexes, removeTopicFolders } from './topic-removal.ts'
import { logPartitionsMax, uuidFrom, WatermarkReader, WatermarkWriter } from './watermark.ts'

export interface EventLogOptions {
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  /** `<data>/log`. */
  readonly folder: string
  readonly settings: Settings
  /** Topic id → partition → offset up to which tables have committed: no lower offset is given again. */
  readonly floors: ReadonlyMap<string, ReadonlyMap<number, number>>
  /** Sets damaged bytes aside instead of refusing to open. */
  readonly repair: boolean
  readonly randomBytes?: (count: number) => Buffer
}

/** The embedded log: topics of partitions of record batches, owned by one process. */
export interface EventLog {
  /** UUID of this opening; readers see it in the watermark. */
  readonly incarnation: string
  topics(): readonly Topic[]
  topic(name: string): Topic | undefined
  /** Resolves when the topic is durable and takes appends. TOPIC_EXISTS, TOPIC_INVALID, TOPIC_CONFIG_INVALID; OVERLOADED when the disk is full. */
  createTopic(spec: TopicSpec): Promise<Topic>
  /** Gives a topic the configs that the definition declares. What the definition declared before and no longer does is as if it was never set. TOPIC_UNKNOWN, TOPIC_CONFIG_INVALID. */
  declareConfigs(topic: string, configs: Readonly<Record<string, string>>): Promise<void>
  /** What it gives back makes the configs of all topics of now what they are now, whoever has set each; topics that are gone meanwhile stay gone. */
  rememberConfigs(): () => Promise<void>
  /** The partitions of which retention would remove something now, and up to which offset. */
  retentionDue(): readonly RetentionDue[]
  /** Removes the sealed segments of a partition that end at or below an offset; resolves to how many. */
  removeSegments(topicId: string, partition: number, belowOffset: number): Promise<number>
  /**
   * Appends records, in order, to one partition: that of the key, or with null one that stays the same until its next group commit.
   * Resolves when they are acknowledged under the `durability` setting and the watermark file shows them.
   * Nothing was kept: TOPIC_UNKNOWN, EVENT_TOO_LARGE, OVERLOADED, PARTITION_OFFLINE, SHUTTING_DOWN. It may have been: OUTCOME_UNKNOWN.
   */
  append(topic: string, key: Uint8Array | null, records: readonly NewRecord[]): Promise<Appended>
  /**
   * Appends the record batches of one Kafka produce request for one partition as they are: only base offset and leader epoch are written in, on a topic with LogAppendTime also type, maxTimestamp and CRC.
   * 'written' resolves after write(), before the sync of the same group commit; 'acknowledged' as `append` does. A duplicate of one of the producer's last 5 batches resolves with the original offsets (KIP-98).
   * Nothing was kept: TOPIC_UNKNOWN, RECORD_BATCH_MALFORMED, RECORD_BATCH_CORRUPT, MESSAGE_FORMAT_OLD, EVENT_TOO_LARGE, TIMESTAMP_INVALID, SEQUENCE_OUT_OF_ORDER, PRODUCER_EPOCH_OLD,
   * TRANSACTION_STATE_INVALID, OVERLOADED, PARTITION_OFFLINE, SHUTTING_DOWN. It may have been: OUTCOME_UNKNOWN.
   */
  appendBatches(
    topic: string,
    partition: number,
    records: Buffer,
    until: 'written' | 'acknowledged',
  ): Promise<BatchesAppended>
  /** Whether an append of so many bytes would be let in now: false where it would be OVERLOADED because too much waits for the disk already. */
  hasRoom(topic: string, partition: number, bytes: number): boolean
  /** Appends the control batch that ends the open transaction of a producer in a partition; resolves when it is acknowledged. Errors as of `appendBatches`. */
  appendMarker(topic: string, partition: number, marker: EndMarker): Promise<void>
  /** One partition; undefined when there is none. */
  partition(topic: string, partition: number): PartitionView | undefined
  /** Calls the listener after the high watermark or the last stable offset of a partition moved, or the partition went away; it must be cheap and must not throw. Gives the unsubscription. */
  onAdvance(listener: (topic: string, partition: number) => void): () => void
  /** Gives a topic more partitions. TOPIC_UNKNOWN, TOPIC_INVALID. */
  addPartitions(topic: string, total: number): Promise<Topic>
  /** Changes configs of a topic; null = back to the default. TOPIC_UNKNOWN, TOPIC_CONFIG_INVALID. */
  setConfigs(topic: string, changes: ReadonlyMap<string, string | null>): Promise<Topic>
  /**
   * Removes a topic and what it holds. Whether tables read it is the caller's to check; where they do, `continueOffsets` lets a new topic of the name begin where this one ended, so that
   * partition and offset go on to name one record of a table. TOPIC_UNKNOWN; OVERLOADED when the disk is full and nothing could be removed.
   */
  deleteTopic(topic: string, options?: { readonly continueOffsets?: boolean }): Promise<void>
  /** Moves the start of a partition up to an offset; resolves to the new start. Whole segments below it go. Whether tables have committed so far is the caller's to check. TOPIC_UNKNOWN, OFFSET_OUT_OF_RANGE. */
  deleteRecords(topic: string, partition: number, beforeOffset: number): Promise<number>
  states(): readonly PartitionState[]
  /** The idempotent producers that the partitions know. */
  producers(): readonly KnownProducer[]
  /** Commits what waits, syncs, publishes, closes. Idempotent. */
  close(): Promise<void>
}

/** Segments that retention would remove: those below `startOffset`. */
export interface RetentionDue {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly startOffset: number
}

/**
 * Opens the log in a folder, recovers it and publishes what it holds. The caller holds the lock on the folder.
 * LOG_DAMAGED with file and position unless `repair`; FORMAT_UNKNOWN for files of a later version; DATA_UNUSABLE when the folder can't be written.
 */
export async function openEventLog(options: EventLogOptions): Promise<EventLog> {
  try {
    return await OpenLog.open(options)
  } catch (error) {
    const code = systemErrorCode(error) ?? ''
    if (error instanceof QuestlogError || !unusableCodes.has(code)) throw error
    const message = error instanceof Error ? error.message : code
    throw new QuestlogError(
      'DATA_UNUSABLE',
      `the log folder ${options.folder} can't be used: ${message}`,
      { folder: options.folder },
      { cause: error },
    )
  }
}

/** Segments that are kept open for consumers. */
const openSegmentsMax = 64

const unusableCodes = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'ENOSPC'])

interface LiveTopic {
  topic: StoredTopic
  partitions: readonly Partition[]
  /** The partition that records without a key go to until its next commit begins. */
  sticky: number
}

class OpenLog implements EventLog {
  readonly incarnation: string
  readonly #options: EventLogOptions
  readonly #random: (count: number) => Buffer
  readonly #meta: MetaFile
  readonly #watermark: WatermarkWriter
  readonly #live = new Map<string, LiveTopic>()
  /** What consumers read. */
  readonly #segments: OpenSegments
  readonly #listeners = new Set<{ listener: (topic: string, partition: number) => void }>()
  #creating: Promise<unknown> = Promise.resolve()
  #closing = false
  #closed: Promise<void> | undefined

  private constructor(
    options: EventLogOptions,
    random: (count: number) => Buffer,
    incarnation: string,
    meta: MetaFile,
    watermark: WatermarkWriter,
  ) {
    this.#options = options
    this.#random = random
    this.incarnation = incarnation
    this.#meta = meta
    this.#watermark = watermark
    this.#segments = new OpenSegments(options.files, openSegmentsMax)
  }

  static async open(options: EventLogOptions): Promise<EventLog> {
    const { files, folder } = options
    await files.makeFolder(folder)
    const random = options.randomBytes ?? randomBytes
    const incarnation = uuidFrom(random(16))
    const names = await files.list(folder)
    const folders = names.filter((name) => topicOfFolder(name) !== undefined)
    const meta = await MetaFile.open(files, metaPath(folder), folders)
    const path = watermarkPath(folder)
    const published = readPublished(files, path)
    const watermark = new WatermarkWriter(files.openShared(path, 'write'), incarnation)
    const log = new OpenLog(options, random, incarnation, meta, watermark)
    try {
      for (const { name } of meta.deleted()) {
        await removeTopicFolders(files, folder, name)
        meta.gone(name)
      }
      for (const topic of meta.topics()) await log.#openTopic(topic, published)
      watermark.publish()
    } catch (error) {
      await log.close()
      throw error
    }
    return log
  }

  topics(): readonly Topic[] {
    return [...this.#live.values()].map(({ topic }) => topic)
  }

  topic(name: string): Topic | undefined {
    return this.#live.get(name)?.topic
  }

  createTopic(spec: TopicSpec): Promise<Topic> {
    const created = this.#creating.then(() => this.#createTopic(spec))
    this.#creating = created.catch(() => {})
    return created
  }

  async #createTopic({ name, partitions, configs = {} }: TopicSpec): Promise<Topic> {
    if (this.#closing) throw shuttingDown()
    checkTopic({ name, partitions, configs })
    this.#checkTaken(name)
    this.#checkRoom(name, partitions)
    const before = this.#meta.deleted().find((topic) => topic.name === name)
    // What a failed removal has left is not to become the new topic's.
    if (before !== undefined) await this.#removeFolders(name)
    // An entry without a live topic is what a failed creation left: the same id goes on.
    const left = this.#meta.topic(name)
    const id = left?.id ?? uuidFrom(this.#random(16))
    const createdAtMs = this.#options.clock.nowMs()
    const begun: StoredTopic = { id, name, partitions, configs: { ...configs }, createdAtMs }
    const ends = before?.ends ?? left?.firstOffsets
    const topic = ends === undefined ? begun : { ...begun, firstOffsets: ends }
    await this.#meta.put(topic)
    await this.#openTopic(topic, undefined)
    this.#watermark.publish()
    return topic
  }

  declareConfigs(name: string, configs: Readonly<Record<string, string>>): Promise<void> {
    return this.#change(name, (live) => this.#store(live, withDeclared(live.topic, configs)))
  }

  rememberConfigs(): () => Promise<void> {
    const before = [...this.#live.values()].map(({ topic }) => topic)
    return async () => {
      for (const { id, name, configs, declared = [] } of before)
        if (this.#live.get(name)?.topic.id === id)
          await this.#change(name, (live) =>
            this.#store(live, { ...live.topic, configs, declared }),
          )
    }
  }

  retentionDue(): readonly RetentionDue[] {
    const nowMs = this.#options.clock.nowMs()
    return [...this.#live.values()].flatMap(({ topic, partitions }) =>
      partitions.flatMap((live, partition) => {
        const startOffset = live.dueStart(nowMs)
        return startOffset > live.watermark().startOffset || live.hasDeletedSegment
          ? [{ topic: topic.name, topicId: topic.id, partition, startOffset }]
          : []
      }),
    )
  }

  async removeSegments(topicId: string, partition: number, belowOffset: number): Promise<number> {
    const live = [...this.#live.values()].find(({ topic }) => topic.id === topicId)
    const found = live?.partitions[partition]
    if (live === undefined || found === undefined) return 0
    const count = await found.remove(belowOffset)
    // As long as a file is open, the disk does not get its room back.
    const folder = partitionFolder(this.#options.folder, live.topic.name, partition)
    await this.#segments.dropBelow(folder, found.watermark().startOffset)
    return count
  }

  #checkTaken(name: string): void {
    if (this.#live.has(name))
      throw new QuestlogError('TOPIC_EXISTS', `topic ${name} exists`, { topic: name })
    for (const { topic } of this.#live.values()) {
      // On file systems that ignore case they would share a folder.
      if (topic.name.toLowerCase() === name.toLowerCase())
        throw new QuestlogError(
          'TOPIC_INVALID',
          `topic ${name} differs from topic ${topic.name} only in upper and lower case`,
          { topic: name },
          { hint: 'choose another name' },
        )
    }
  }

  #checkRoom(name: string, more: number): void {
    let total = more
    for (const { topic } of this.#live.values()) total += topic.partitions
    if (total > logPartitionsMax)
      throw new QuestlogError(
        'TOPIC_INVALID',
        `the log can hold ${logPartitionsMax} partitions; with those of topic ${name} it would have ${total}`,
        { topic: name, partitions: more },
        { hint: 'use fewer partitions' },
      )
  }

  async #openTopic(topic: StoredTopic, published: Watermark | undefined): Promise<void> {
    const live: LiveTopic = { topic, sticky: 0, partitions: [] }
    await this.#openPartitions(live, topic.partitions, published)
    this.#live.set(topic.name, live)
  }

  /** Opens the partitions of a topic that are not open yet, up to so many; none when one can't be opened. */
  async #openPartitions(
    live: LiveTopic,
    total: number,
    published: Watermark | undefined,
  ): Promise<void> {
    const { topic } = live
    const first = live.partitions.length
    const recovered: RecoveredPartition[] = []
    try {
      for (let partition = first; partition < total; partition++)
        recovered.push(await this.#recover(topic, partition, published))
    } catch (error) {
      for (const { active } of recovered) await active.file.close()
      throw error
    }
    const opened = recovered.map((found, index) => this.#openPartition(live, first + index, found))
    for (const partition of opened) this.#watermark.set(partition.watermark())
    live.partitions = [...live.partitions, ...opened]
  }

  #openPartition(live: LiveTopic, partition: number, recovered: RecoveredPartition): Partition {
    const { topic } = live
    const onCommit = () => {
      if (live.sticky === partition) live.sticky = (partition + 1) % live.partitions.length
    }
    const publish = (watermark: PartitionWatermark) => {
      this.#watermark.set(watermark)
      this.#watermark.publish()
      this.#advanced(topic.name, partition)
    }
    const folder = partitionFolder(this.#options.folder, topic.name, partition)
    const own = { topic, partition, folder, onCommit, publish }
    return new Partition({ ...this.#options, ...own }, recovered)
  }

  async #recover(
    topic: StoredTopic,
    partition: number,
    published: Watermark | undefined,
  ): Promise<RecoveredPartition> {
    const { files } = this.#options
    const folder = partitionFolder(this.#options.folder, topic.name, partition)
    await beginAt(files, folder, topic.firstOffsets?.[partition] ?? 0)
    return recoverPartition({
      ...this.#options,
      folder,
      topic: topic.name,
      partition,
      published: published?.partitions.find(
        (entry) => entry.topicId === topic.id && entry.partition === partition,
      ),
      floor: this.#options.floors.get(topic.id)?.get(partition) ?? 0,
      durability: this.#options.settings.durability,
      producerLimits: {
        countMax: this.#options.settings.producersMax,
        idleMaxMs: this.#options.settings.producerIdleMaxMs,
      },
    })
  }

  async append(
    topic: string,
    key: Uint8Array | null,
    records: readonly NewRecord[],
  ): Promise<Appended> {
    if (this.#closing) throw shuttingDown()
    const live = this.#live.get(topic)
    if (live === undefined) throw unknownTopic(topic)
    if (records.length === 0)
      throw new QuestlogError('REQUEST_MALFORMED', 'an append needs at least one record', { topic })
    const { partitions } = live
    const partition =
      key === null ? stickyPartition(live) : partitions[partitionForKey(key, partitions.length)]
    if (partition === undefined) throw new QuestlogError('INTERNAL', 'no partition was chosen')
    return partition.append(records)
  }

  async appendBatches(
    topic: string,
    partition: number,
    records: Buffer,
    until: 'written' | 'acknowledged',
  ): Promise<BatchesAppended> {
    return this.#partition(topic, partition).appendBatches(records, until)
  }

  hasRoom(topic: string, partition: number, bytes: number): boolean {
    return this.#live.get(topic)?.partitions[partition]?.hasRoom(bytes) ?? true
  }

  async appendMarker(topic: string, partition: number, marker: EndMarker): Promise<void> {
    await this.#partition(topic, partition).appendMarker(marker)
  }

  #partition(topic: string, partition: number): Partition {
    if (this.#closing) throw shuttingDown()
    const found = this.#live.get(topic)?.partitions[partition]
    if (found === undefined)
      throw new QuestlogError('TOPIC_UNKNOWN', `there is no partition ${topic}/${partition}`, {
        topic,
        partition,
      })
    return found
  }

  partition(topic: string, partition: number): PartitionView | undefined {
    const live = this.#live.get(topic)
    const found = live?.partitions[partition]
    if (live === undefined || found === undefined) return undefined
    return new PartitionFetch(this.#options.files, this.#segments, {
      folder: partitionFolder(this.#options.folder, topic, partition),
      topicName: topic,
      partition: found,
      abortedIn: (fromOffset, toOffset) => found.abortedIn(fromOffset, toOffset),
    })
  }

  onAdvance(listener: (topic: string, partition: number) => void): () => void {
    const entry = { listener } // the same function may be given twice
    this.#listeners.add(entry)
    return () => void this.#listeners.delete(entry)
  }

  #advanced(topic: string, partition: number): void {
    for (const { listener } of this.#listeners) listener(topic, partition)
  }

  addPartitions(name: string, total: number): Promise<Topic> {
    return this.#change(name, (live) => this.#addPartitions(live, total))
  }

  async #addPartitions(live: LiveTopic, total: number): Promise<Topic> {
    const topic = withPartitions(live.topic, total)
    this.#checkRoom(topic.name, total - live.topic.partitions)
    await this.#meta.put(topic)
    await this.#openPartitions(live, total, undefined)
    live.topic = topic
    this.#watermark.publish()
    return topic
  }

  setConfigs(name: string, changes: ReadonlyMap<string, string | null>): Promise<Topic> {
    return this.#change(name, (live) => this.#setConfigs(live, changes))
  }

  async #setConfigs(live: LiveTopic, changes: ReadonlyMap<string, string | null>): Promise<Topic> {
    const topic = withConfigs(live.topic, changes)
    await this.#store(live, topic)
    return topic
  }

  async #store(live: LiveTopic, topic: StoredTopic): Promise<void> {
    if (isDeepStrictEqual({ declared: [], ...topic }, { declared: [], ...live.topic })) return
    await this.#meta.put(topic)
    live.topic = topic
    for (const partition of live.partitions) partition.configure(topic)
  }

  deleteTopic(name: string, { continueOffsets = false } = {}): Promise<void> {
    return this.#change(name, (live) => this.#deleteTopic(live, continueOffsets))
  }

  async #deleteTopic(live: LiveTopic, continueOffsets: boolean): Promise<void> {
    const { name, id, firstOffsets = [] } = live.topic
    // Nothing is acknowledged any more beyond the ends that are kept.
    this.#live.delete(name)
    await Promise.all(live.partitions.map((partition) => partition.settled()))
    const ends = live.partitions.map((partition) => partition.state().endOffset)
    // Also of partitions that the topic did not get.
    const kept = [...ends, ...firstOffsets.slice(ends.length)]
    const isKept = continueOffsets || firstOffsets.length > 0
    try {
      await this.#forgetTopic(live, isKept ? { id, name, ends: kept } : { id, name })
    } catch (error) {
      this.#live.set(name, live)
      throw error
    }
    await Promise.allSettled(live.partitions.map((partition) => partition.close()))
    this.#watermark.remove(id)
    this.#watermark.publish()
    for (const partition of live.partitions.keys()) this.#advanced(name, partition)
    const { logger } = this.#options
    logger.info('topic deleted', { topic: name, topicId: id })
    await this.#removeFolders(name).catch((error: unknown) =>
      logger.warn('files of a deleted topic are left; the next start removes them', {
        topic: name,
        error,
      }),
    )
  }

  /** Durable: from here on the topic is deleted, whenever its files go. */
  async #forgetTopic({ topic }: LiveTopic, deleted: DeletedTopic): Promise<void> {
    try {
      await this.#meta.remove(deleted)
    } catch (error) {
      if (!(error instanceof QuestlogError) || error.code !== 'OVERLOADED') throw error
      // The disk is full: the indexes of what goes make the room.
      for (let partition = 0; partition < topic.partitions; partition++) {
        const folder = partitionFolder(this.#options.folder, topic.name, partition)
        await removeIndexes(this.#options.files, folder)
      }
      await this.#meta.remove(deleted)
    }
  }

  async #removeFolders(name: string): Promise<void> {
    const { files, folder } = this.#options
    const names = (await files.list(folder)).filter((each) => topicOfFolder(each) === name)
    const forget = async () => {
      for (const each of names) await this.#segments.forget(join(folder, each))
    }
    await forget()
    await removeTopicFolders(files, folder, name)
    await forget() // who had begun to read may have opened some again
    this.#meta.gone(name)
  }

  /** Does work on a topic, one piece at a time. TOPIC_UNKNOWN, SHUTTING_DOWN. */
  #change<T>(name: string, work: (live: LiveTopic) => Promise<T>): Promise<T> {
    const changed = this.#creating.then(() => {
      if (this.#closing) throw shuttingDown()
      const live = this.#live.get(name)
      if (live === undefined) throw unknownTopic(name)
      return work(live)
    })
    this.#creating = changed.catch(() => {})
    return changed
  }

  async deleteRecords(topic: string, partition: number, beforeOffset: number): Promise<number> {
    const startOffset = await this.#partition(topic, partition).deleteBefore(beforeOffset)
    await this.#segments.dropBelow(
      partitionFolder(this.#options.folder, topic, partition),
      startOffset,
    )
    return startOffset
  }

  producers(): readonly KnownProducer[] {
    return [...this.#live.values()].flatMap(({ partitions }) =>
      partitions.flatMap((partition) => partition.producers()),
    )
  }

  states(): readonly PartitionState[] {
    return [...this.#live.values()].flatMap(({ partitions }) =>
      partitions.map((partition) => partition.state()),
    )
  }

  close(): Promise<void> {
    this.#closing = true
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.#creating
    const partitions = [...this.#live.values()].flatMap((live) => live.partitions)
    await Promise.all(partitions.map((partition) => partition.close()))
    await this.#segments.close()
    this.#watermark.close()
    await this.#meta.close()
  }
}

function readPublished(files: Files, path: string): Watermark | undefined {
  const reader = new WatermarkReader(files.openShared(path, 'read'), path)
  try {
    return reader.read()
  } finally {
    reader.close()
  }
}

/** The sticky partition, or the next one that is online; offline ones only when there is no other. */
function stickyPartition({ partitions, sticky }: LiveTopic): Partition | undefined {
  const current = partitions[sticky]
  if (current?.offline === null) return current
  const inTurn = [...partitions.slice(sticky), ...partitions.slice(0, sticky)]
  return inTurn.find((partition) => partition.offline === null) ?? current
}

function unknownTopic(topic: string): QuestlogError {
  return new QuestlogError('TOPIC_UNKNOWN', `there is no topic ${topic}`, { topic })
}

function shuttingDown(): QuestlogError {
  return new QuestlogError('SHUTTING_DOWN', 'questlog is stopping; nothing was kept')
}
