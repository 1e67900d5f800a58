import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../core/clock.ts'
import { QuestlogError, type ErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import { isDiskFull } from './failures.ts'
import { writeLogStart } from './log-start.ts'
import {
  batchOverheadBytes,
  planBatches,
  recordBytesMax,
  soloBatchBytes,
  type RecordGroup,
} from './record-batch.ts'
import type { Appended, NewRecord, PartitionState, PartitionWatermark, Topic } from './record.ts'
import type { RecoveredPartition } from './recovery.ts'
import { countDue, countRecords, retentionLimits, unlinkIndex, unlinkSegment } from './retention.ts'
import type { SegmentExtent, SegmentIndex } from './segment-index.ts'
import { SegmentWriter } from './segment-writer.ts'
import { topicNumber } from './topic.ts'

export interface PartitionOptions {
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly settings: Settings
  readonly folder: string
  /** As the topic is when the partition is opened; `configure` brings later configs. */
  readonly topic: Topic
  readonly partition: number
  /** Called when a group commit begins: appends from now on are in the next one. */
  readonly onCommit: () => void
  /** Makes the new end visible to readers; called before the appends up to it are acknowledged. */
  readonly publish: (watermark: PartitionWatermark) => void
}

/** How often a full disk is looked at, and what must be free until it is called full no more. */
const roomCheckIntervalMs = 1_000
const roomBytesMin = 1024 * 1024

interface PendingAppend {
  readonly group: RecordGroup
  /** Bytes in a batch, at most. */
  readonly bytes: number
  readonly resolve: (appended: Appended) => void
  readonly reject: (error: QuestlogError) => void
}

/** One partition. Appends that arrive while a commit runs wait and go together into the next one: no timer, the sync itself is the clock. */
export class Partition {
  readonly #options: PartitionOptions
  readonly #writer: SegmentWriter
  #configs: Topic['configs']
  #messageBytesMax: number
  #segmentBytesMax: number
  readonly #stopping = new AbortController()
  readonly #queue: PendingAppend[] = []
  #pendingBytes = 0
  #start: { offset: number; missingOffsets: number; removedRecords: number }
  /** First offsets of segments that are removed but whose files are still there. */
  #leftovers: readonly number[] = []
  #removing: Promise<unknown> = Promise.resolve()
  #lastTimestampMs: number
  #visible: { offset: number; segmentBaseOffset: number; position: number }
  #offline: string | null = null
  #diskFull = false
  #roomWatch: Promise<void> | undefined
  #commits: Promise<void> | undefined
  #backgroundSyncs: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(options: PartitionOptions, recovered: RecoveredPartition) {
    const { files, logger, folder, topic, settings } = options
    this.#options = options
    this.#start = {
      offset: recovered.startOffset,
      missingOffsets: recovered.missingOffsets,
      removedRecords: recovered.removedRecords,
    }
    this.#configs = topic.configs
    this.#messageBytesMax = topicNumber(topic, 'max.message.bytes', settings.messageBytesMax)
    this.#segmentBytesMax = topicNumber(topic, 'segment.bytes', settings.segmentBytesMax)
    const synchronous = settings.durability === 'fsync'
    const own = { files, logger, folder, synchronous }
    this.#writer = new SegmentWriter(own, this.#segmentLimits(), recovered)
    this.#lastTimestampMs = recovered.lastTimestampMs
    this.#visible = this.#end()
  }

  /** Why it takes no appends until the next start; null when it does. */
  get offline(): string | null {
    return this.#offline
  }

  /** The sealed segments, oldest first. */
  get sealed(): readonly SegmentExtent[] {
    return this.#writer.sealed
  }

  /** The index of the segment that takes appends; it grows with it. */
  get activeIndex(): SegmentIndex {
    return this.#writer.activeIndex
  }

  /** Goes on with other configs of the topic. */
  configure(topic: Topic): void {
    const { settings } = this.#options
    this.#configs = topic.configs
    this.#messageBytesMax = topicNumber(topic, 'max.message.bytes', settings.messageBytesMax)
    this.#segmentBytesMax = topicNumber(topic, 'segment.bytes', settings.segmentBytesMax)
    this.#writer.setLimits(this.#segmentLimits())
  }

  /** A segment is also sealed after the time that retention keeps it, so that what is old can go although little comes in. */
  #segmentLimits() {
    return { bytes: this.#segmentBytesMax, ageMs: retentionLimits(this.#configs).ageMs }
  }

  /** See EventLog.append. */
  async append(records: readonly NewRecord[]): Promise<Appended> {
    const bytes = this.#admit(records)
    const timestampMs = Math.max(this.#options.clock.nowMs(), this.#lastTimestampMs)
    this.#lastTimestampMs = timestampMs
    this.#pendingBytes += bytes
    return new Promise((resolve, reject) => {
      this.#queue.push({ group: { timestampMs, records }, bytes, resolve, reject })
      this.#commits ??= this.#commitQueue()
    })
  }

  /** Refuses what can't be kept, before anything of it is written. Gives the bytes that it takes. */
  #admit(records: readonly NewRecord[]): number {
    if (this.#closed !== undefined)
      throw this.#error('SHUTTING_DOWN', 'questlog is stopping; the event was not kept')
    if (this.#offline !== null)
      throw this.#error('PARTITION_OFFLINE', `the partition is offline: ${this.#offline}`)
    let bytes = 0
    for (const record of records) {
      const most = recordBytesMax(record)
      if (batchOverheadBytes + most > this.#messageBytesMax) this.#refuseTooLarge(record)
      bytes += most
    }
    const { pendingBytesMax } = this.#options.settings
    if (this.#pendingBytes > 0 && this.#pendingBytes + bytes > pendingBytesMax)
      throw this.#error(
        'OVERLOADED',
        `${this.#pendingBytes} bytes already wait for the disk (pendingBytesMax ${pendingBytesMax})`,
      )
    return bytes
  }

  #refuseTooLarge(record: NewRecord): void {
    const bytes = soloBatchBytes(record)
    if (bytes <= this.#messageBytesMax) return
    throw this.#error(
      'EVENT_TOO_LARGE',
      `an event takes ${bytes} bytes on the log, but max.message.bytes is ${this.#messageBytesMax}`,
    )
  }

  async #commitQueue(): Promise<void> {
    while (this.#queue.length > 0) {
      await nextTurn() // everything that this turn of the event loop brings goes into one commit
      const appends = this.#take()
      const error = await this.#commit(appends)
      for (const append of appends) this.#pendingBytes -= append.bytes
      if (error === undefined) this.#acknowledge(appends)
      else for (const append of appends) append.reject(error)
    }
    this.#commits = undefined
  }

  /** The next appends that fit into a segment together; at least one. */
  #take(): PendingAppend[] {
    let count = 0
    let bytes = 0
    for (const append of this.#queue) {
      bytes += append.bytes
      if (count > 0 && bytes > this.#segmentBytesMax) break
      count++
    }
    this.#options.onCommit()
    return this.#queue.splice(0, count)
  }

  /** Writes, syncs and publishes; gives the error for these appends if that did not work out. */
  async #commit(appends: readonly PendingAppend[]): Promise<QuestlogError | undefined> {
    if (this.#offline !== null) return this.#unknownOutcome(this.#offline)
    const groups = appends.map((append) => append.group)
    let bytes = batchOverheadBytes
    for (const append of appends) bytes += append.bytes
    const fitsOne = bytes <= this.#messageBytesMax
    try {
      await this.#writer.write(
        fitsOne ? [groups] : planBatches(groups, this.#messageBytesMax),
        bytes,
        appends.at(-1)?.group.timestampMs ?? 0,
      )
    } catch (error) {
      if (this.#writer.failure === undefined && isDiskFull(error)) return this.#diskIsFull(error)
      return this.#unknownOutcome(this.#goOffline(error), error)
    }
    this.#roomAgain()
    this.#visible = this.#end()
    const error = this.#publish()
    if (this.#writer.syncedOffset < this.#writer.endOffset)
      this.#backgroundSyncs ??= this.#syncInBackground()
    return error
  }

  #acknowledge(appends: readonly PendingAppend[]): void {
    const { topic, partition } = this.#options
    let left = 0
    for (const { group } of appends) left += group.records.length
    let baseOffset = this.#writer.endOffset - left
    for (const { group, resolve } of appends) {
      resolve({ topic: topic.name, partition, baseOffset, timestampMs: group.timestampMs })
      baseOffset += group.records.length
    }
  }

  /** With durability os: syncs what was written, each osSyncIntervalMs, as long as there is something. */
  async #syncInBackground(): Promise<void> {
    const { clock, settings } = this.#options
    while (this.#offline === null && this.#writer.syncedOffset < this.#writer.endOffset) {
      await clock.sleep(settings.osSyncIntervalMs, this.#stopping.signal)
      if (this.#stopping.signal.aborted) break
      await this.#syncAndPublish()
    }
    this.#backgroundSyncs = undefined
  }

  async #syncAndPublish(): Promise<void> {
    try {
      await this.#writer.sync()
    } catch (error) {
      this.#goOffline(error)
      return
    }
    this.#publish()
  }

  #end() {
    return { offset: this.#writer.endOffset, ...this.#writer.end }
  }

  #publish(): QuestlogError | undefined {
    try {
      this.#options.publish(this.watermark())
      return undefined
    } catch (error) {
      const reason = 'the watermark file could not be written'
      this.#options.logger.warn(reason, { ...this.#facts(), error })
      return this.#unknownOutcome(reason, error)
    }
  }

  /** What readers may see now. */
  watermark(): PartitionWatermark {
    const { topic, partition } = this.#options
    const { offset, segmentBaseOffset, position } = this.#visible
    const { offset: startOffset, missingOffsets, removedRecords } = this.#start
    return {
      topicId: topic.id,
      partition,
      visibleOffset: offset,
      highWatermark: offset,
      syncedOffset: Math.min(this.#writer.syncedOffset, offset),
      segmentBaseOffset,
      position,
      startOffset,
      missingOffsets,
      excludedOffsets: 0,
      removedRecords,
      offline: this.#offline !== null,
    }
  }

  state(): PartitionState {
    const { topicId, partition, startOffset, visibleOffset, syncedOffset, ...counts } =
      this.watermark()
    return {
      topic: this.#options.topic.name,
      topicId,
      partition,
      startOffset,
      endOffset: this.#writer.endOffset,
      visibleOffset,
      highWatermark: counts.highWatermark,
      syncedOffset,
      missingOffsets: counts.missingOffsets,
      excludedOffsets: counts.excludedOffsets,
      removedRecords: counts.removedRecords,
      bytes: this.#writer.bytes,
      pendingBytes: this.#pendingBytes,
      offline: this.#offline,
      diskFull: this.#diskFull,
    }
  }

  /** The start that the topic's retention asks for at this time; the present one when nothing is due. */
  dueStart(nowMs: number): number {
    const { sealed, bytes, startOffset } = this.#writer
    const count = countDue(sealed, bytes, retentionLimits(this.#configs), nowMs)
    return count === 0 ? startOffset : (sealed[count]?.baseOffset ?? this.#activeBase())
  }

  #activeBase(): number {
    return this.#writer.end.segmentBaseOffset
  }

  /** Removes the sealed segments that end at or below an offset, oldest first; resolves to how many. One removal at a time; nothing while offline. */
  remove(belowOffset: number): Promise<number> {
    const removed = this.#removing.then(() => this.#remove(belowOffset))
    this.#removing = removed.catch(() => {})
    return removed
  }

  async #remove(belowOffset: number): Promise<number> {
    if (this.#offline !== null || this.#closed !== undefined) return 0
    const { files, folder, logger } = this.#options
    const { sealed } = this.#writer
    const kept = sealed.findIndex(({ endOffset }) => endOffset > belowOffset)
    const removed = sealed.slice(0, kept === -1 ? sealed.length : kept)
    for (const { baseOffset } of removed) await unlinkIndex(files, folder, baseOffset)
    if (removed.length > 0) {
      // One more may have been sealed meanwhile.
      const startOffset = this.#writer.sealed[removed.length]?.baseOffset ?? this.#activeBase()
      await this.#moveStart(startOffset, removed)
      logger.info('retention removed segments', {
        ...this.#facts(),
        segments: removed.length,
        startOffset,
      })
    }
    await this.#unlinkLeftovers()
    return removed.length
  }

  /** Durable before any file goes: a segment below the start is removed, whether its file is still there or not. */
  async #moveStart(startOffset: number, removed: readonly SegmentExtent[]): Promise<void> {
    const { files, folder } = this.#options
    const records = countRecords(removed)
    const start = {
      offset: startOffset,
      missingOffsets: this.#start.missingOffsets - (startOffset - this.#start.offset - records),
      removedRecords: this.#start.removedRecords + records,
    }
    await writeLogStart(files, folder, { startOffset, removedRecords: start.removedRecords })
    this.#start = start
    this.#writer.forget(removed.length)
    this.#leftovers = [...this.#leftovers, ...removed.map(({ baseOffset }) => baseOffset)]
  }

  async #unlinkLeftovers(): Promise<void> {
    const { files, folder } = this.#options
    if (this.#leftovers.length === 0) return
    // Readers are told first, so that none of them looks for a file that goes.
    if (this.#publish() !== undefined) return
    for (const baseOffset of this.#leftovers) {
      await unlinkSegment(files, folder, baseOffset)
      this.#leftovers = this.#leftovers.slice(1)
    }
    await files.syncFolder(folder)
  }

  /** For good; gives the reason. The watermark tells it to the next start, which then trusts the disk only. */
  #goOffline(error: unknown): string {
    if (this.#offline !== null) return this.#offline
    this.#offline = error instanceof Error ? error.message : String(error)
    this.#options.logger.error('a partition is offline', { ...this.#facts(), error })
    this.#publish()
    return this.#offline
  }

  #diskIsFull(cause: unknown): QuestlogError {
    if (!this.#diskFull) this.#options.logger.warn('the disk is full', this.#facts())
    this.#diskFull = true
    this.#roomWatch ??= this.#watchForRoom()
    return this.#error('OVERLOADED', 'the disk is full; the event was not kept', cause)
  }

  /** While the disk is full clients may stay away, sent elsewhere by `/ready`: so it is not left to an append to find out that there is room. */
  async #watchForRoom(): Promise<void> {
    const { clock, files, folder } = this.#options
    while (this.#diskFull) {
      await clock.sleep(roomCheckIntervalMs, this.#stopping.signal)
      if (this.#stopping.signal.aborted) break
      const freeBytes = await files.freeBytes(folder).catch(() => 0)
      if (freeBytes >= roomBytesMin) this.#roomAgain()
    }
    this.#roomWatch = undefined
  }

  #roomAgain(): void {
    if (this.#diskFull) this.#options.logger.info('the disk has room again', this.#facts())
    this.#diskFull = false
  }

  #unknownOutcome(reason: string, cause?: unknown): QuestlogError {
    return this.#error('OUTCOME_UNKNOWN', `the event may or may not be kept: ${reason}`, cause)
  }

  #error(code: ErrorCode, message: string, cause?: unknown): QuestlogError {
    const facts = this.#facts()
    return new QuestlogError(code, `${facts.topic}/${facts.partition}: ${message}`, facts, {
      cause,
    })
  }

  #facts() {
    return { topic: this.#options.topic.name, partition: this.#options.partition }
  }

  /** Commits what waits, syncs, publishes, closes. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.#commits
    this.#stopping.abort('the log is closing')
    await this.#backgroundSyncs
    await this.#roomWatch
    await this.#removing
    if (this.#offline === null && this.#writer.syncedOffset < this.#writer.endOffset)
      await this.#syncAndPublish()
    await this.#writer.close()
  }
}
