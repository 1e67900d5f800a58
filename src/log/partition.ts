import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import { isDiskFull } from './failures.ts'
import { segmentPath } from './layout.ts'
import {
  batchOverheadBytes,
  encodeBatch,
  planBatches,
  recordBytesMax,
  soloBatchBytes,
  type RecordBatch,
  type RecordGroup,
} from './record-batch.ts'
import type { Appended, NewRecord, PartitionState, PartitionWatermark, Topic } from './record.ts'
import { writeIndex, type ActiveSegment, type RecoveredPartition } from './recovery.ts'
import { SegmentIndex } from './segment-index.ts'
import { topicNumber } from './topic.ts'

export interface PartitionOptions {
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly settings: Settings
  readonly folder: string
  readonly topic: Topic
  readonly partition: number
  /** Called when a group commit begins: appends from now on are in the next one. */
  readonly onCommit: () => void
  /** Makes the new end visible to readers; called before the appends up to it are acknowledged. */
  readonly publish: (watermark: PartitionWatermark) => void
}

interface PendingAppend {
  readonly group: RecordGroup
  /** Bytes in a batch, at most. */
  readonly bytes: number
  readonly resolve: (appended: Appended) => void
  readonly reject: (error: QuestlogError) => void
}

/**
 * One partition and its one writer. Appends that arrive while a commit runs wait and go together into the next one: no timer, the sync itself is the clock.
 * With durability fsync at most one batch is unsynced at any time, so what a crash can tear is one batch at the end, and bad bytes before a good batch are always damage.
 */
export class Partition {
  readonly #options: PartitionOptions
  readonly #messageBytesMax: number
  readonly #segmentBytesMax: number
  readonly #synchronous: boolean
  readonly #sealed: SegmentIndex[]
  readonly #startOffset: number
  readonly #missingOffsets: number
  readonly #stopping = new AbortController()
  #active: ActiveSegment
  #queue: PendingAppend[] = []
  #pendingBytes = 0
  #lastTimestampMs: number
  /** Everything below is written and not in doubt. */
  #endOffset: number
  #syncedOffset: number
  #visible: { offset: number; segmentBaseOffset: number; position: number }
  #offline: string | null = null
  #diskFull = false
  #mustRoll = false
  #closing = false
  #commits: Promise<void> | undefined
  #backgroundSyncs: Promise<void> | undefined
  #syncing: Promise<void> = Promise.resolve()
  #closed: Promise<void> | undefined

  constructor(options: PartitionOptions, recovered: RecoveredPartition) {
    const { topic, settings } = options
    this.#options = options
    this.#messageBytesMax = topicNumber(topic, 'max.message.bytes', settings.messageBytesMax)
    this.#segmentBytesMax = topicNumber(topic, 'segment.bytes', settings.segmentBytesMax)
    this.#synchronous = settings.durability === 'fsync'
    this.#sealed = [...recovered.sealed]
    this.#active = recovered.active
    this.#lastTimestampMs = recovered.lastTimestampMs
    this.#endOffset = recovered.active.index.endOffset
    this.#syncedOffset = this.#endOffset
    this.#startOffset = (recovered.sealed[0] ?? recovered.active.index).baseOffset
    this.#missingOffsets = countMissing([...recovered.sealed, recovered.active.index])
    this.#visible = this.#end()
  }

  get offline(): string | null {
    return this.#offline
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
    if (this.#closing)
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
      if (count > 0 && bytes + append.bytes > this.#segmentBytesMax) break
      bytes += append.bytes
      count++
    }
    this.#options.onCommit()
    return this.#queue.splice(0, count)
  }

  /** Writes, syncs and publishes; the error for these appends if that did not work out. */
  async #commit(appends: readonly PendingAppend[]): Promise<QuestlogError | undefined> {
    try {
      if (this.#offline !== null) return this.#unknownOutcome()
      await this.#write(appends)
      if (this.#isOffline()) return this.#unknownOutcome()
    } catch (error) {
      if (error instanceof QuestlogError) return error
      this.#goOffline(error)
      return this.#unknownOutcome(error)
    }
    this.#visible = this.#end()
    const error = this.#publish()
    if (!this.#synchronous) this.#backgroundSyncs ??= this.#syncInBackground()
    return error
  }

  #acknowledge(appends: readonly PendingAppend[]): void {
    const { topic, partition } = this.#options
    let left = 0
    for (const { group } of appends) left += group.records.length
    let baseOffset = this.#endOffset - left
    for (const { group, resolve } of appends) {
      resolve({ topic: topic.name, partition, baseOffset, timestampMs: group.timestampMs })
      baseOffset += group.records.length
    }
  }

  /** Throws a QuestlogError when nothing was kept and the partition goes on; anything else means that it can't. */
  async #write(appends: readonly PendingAppend[]): Promise<void> {
    const groups = appends.map((append) => append.group)
    let bytes = batchOverheadBytes
    for (const append of appends) bytes += append.bytes
    const plan =
      bytes <= this.#messageBytesMax ? [groups] : planBatches(groups, this.#messageBytesMax)
    if (this.#rollDue(bytes)) await this.#roll()
    const written: RecordBatch[] = []
    let offset = this.#endOffset
    for (const part of plan) {
      const batch = encodeBatch(offset, part)
      await this.#appendBytes(batch.bytes)
      // Before the next batch is written, so that a crash tears one batch only.
      if (this.#synchronous) await this.#sync()
      written.push(batch)
      offset = batch.nextOffset
    }
    const { index } = this.#active
    for (const batch of written) index.note(batch, index.endPosition)
    this.#endOffset = offset
    if (this.#synchronous) this.#syncedOffset = offset
    if (this.#diskFull) this.#options.logger.info('the disk has room again', this.#facts())
    this.#diskFull = false
  }

  async #appendBytes(bytes: Buffer): Promise<void> {
    const { file, index } = this.#active
    try {
      await file.append(bytes)
    } catch (error) {
      if (!isDiskFull(error)) throw error
      await file.truncate(index.endPosition) // the whole commit: none of it is kept
      throw this.#diskIsFull(error)
    }
  }

  #diskIsFull(cause: unknown): QuestlogError {
    if (!this.#diskFull) this.#options.logger.warn('the disk is full', this.#facts())
    this.#diskFull = true
    return this.#error('OVERLOADED', 'the disk is full; the event was not kept', cause)
  }

  #rollDue(bytes: number): boolean {
    const { endPosition } = this.#active.index
    return this.#mustRoll || (endPosition > 0 && endPosition + bytes > this.#segmentBytesMax)
  }

  /** Seals the active segment and starts the next: the old one synced, the new name durable, before anything goes into it. */
  async #roll(): Promise<void> {
    const { files, folder, logger } = this.#options
    const old = this.#active
    // Once begun it is finished, if need be by a later commit: a file of the next name may be there already.
    this.#mustRoll = true
    await this.#sync()
    const path = segmentPath(folder, this.#endOffset)
    const file = await files.openAppend(path).catch((error: unknown) => {
      throw isDiskFull(error) ? this.#diskIsFull(error) : error
    })
    this.#active = { file, index: new SegmentIndex(this.#endOffset) }
    this.#sealed.push(old.index)
    await this.#syncing // one in the background may still use the old file
    await old.file.close()
    await files.syncFolder(folder)
    this.#mustRoll = false
    await writeIndex(files, segmentPath(folder, old.index.baseOffset), old.index).catch(
      (error: unknown) => logger.warn('an index could not be written', { ...this.#facts(), error }),
    )
  }

  /** With durability os: syncs what was written, each osSyncIntervalMs, as long as there is something. */
  async #syncInBackground(): Promise<void> {
    const { clock, settings } = this.#options
    while (this.#offline === null && this.#syncedOffset < this.#endOffset) {
      await clock.sleep(settings.osSyncIntervalMs, this.#stopping.signal)
      if (this.#stopping.signal.aborted || this.#isOffline()) break
      await this.#syncAndPublish()
    }
    this.#backgroundSyncs = undefined
  }

  async #syncAndPublish(): Promise<void> {
    try {
      await this.#sync()
    } catch {
      return // the partition is offline, and has said so
    }
    this.#publish()
  }

  /** Makes everything written before the call durable; one sync at a time. Throws when the partition is offline or goes offline by it. */
  #sync(): Promise<void> {
    const sync = this.#syncing.then(async () => {
      if (this.#offline !== null) throw new Error(this.#offline)
      const end = this.#endOffset
      try {
        await this.#active.file.sync()
      } catch (error) {
        this.#goOffline(error)
        throw error
      }
      this.#syncedOffset = end
    })
    this.#syncing = sync.catch(() => {})
    return sync
  }

  #end() {
    const { index } = this.#active
    return {
      offset: this.#endOffset,
      segmentBaseOffset: index.baseOffset,
      position: index.endPosition,
    }
  }

  #publish(): QuestlogError | undefined {
    try {
      this.#options.publish(this.watermark())
      return undefined
    } catch (error) {
      this.#options.logger.warn('the watermark file could not be written', {
        ...this.#facts(),
        error,
      })
      return this.#unknownOutcome(error)
    }
  }

  /** What readers may see now. */
  watermark(): PartitionWatermark {
    const { topic, partition } = this.#options
    const { offset, segmentBaseOffset, position } = this.#visible
    return {
      topicId: topic.id,
      partition,
      visibleOffset: offset,
      syncedOffset: Math.min(this.#syncedOffset, offset),
      segmentBaseOffset,
      position,
      startOffset: this.#startOffset,
      missingOffsets: this.#missingOffsets,
      offline: this.#offline !== null,
    }
  }

  state(): PartitionState {
    const { topic, partition } = this.#options
    let bytes = this.#active.index.endPosition
    for (const index of this.#sealed) bytes += index.endPosition
    return {
      topic: topic.name,
      topicId: topic.id,
      partition,
      startOffset: this.#startOffset,
      endOffset: this.#endOffset,
      visibleOffset: this.#visible.offset,
      syncedOffset: Math.min(this.#syncedOffset, this.#visible.offset),
      missingOffsets: this.#missingOffsets,
      bytes,
      pendingBytes: this.#pendingBytes,
      offline: this.#offline,
    }
  }

  #isOffline(): boolean {
    return this.#offline !== null
  }

  /** For good: after a failed sync nothing is known about the unsynced bytes, so nothing more is promised on top of them. */
  #goOffline(error: unknown): void {
    if (this.#offline !== null) return
    this.#offline = error instanceof Error ? error.message : String(error)
    this.#options.logger.error('a partition is offline', { ...this.#facts(), error })
    this.#publish() // the next start must know that what it reads may not be on the disk
  }

  #unknownOutcome(cause?: unknown): QuestlogError {
    const reason = this.#offline ?? 'the watermark file could not be written'
    return this.#error('OUTCOME_UNKNOWN', `the event may or may not be kept: ${reason}`, cause)
  }

  #error(
    code:
      | 'SHUTTING_DOWN'
      | 'PARTITION_OFFLINE'
      | 'OVERLOADED'
      | 'EVENT_TOO_LARGE'
      | 'OUTCOME_UNKNOWN',
    message: string,
    cause?: unknown,
  ): QuestlogError {
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
    this.#closing = true
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.#commits
    this.#stopping.abort('the log is closing')
    await this.#backgroundSyncs
    if (this.#offline === null && this.#syncedOffset < this.#endOffset) await this.#syncAndPublish()
    await this.#active.file.close()
  }
}

/** Offsets between segments that hold no record. Only a restart makes such gaps, a roll never. */
function countMissing(indexes: readonly SegmentIndex[]): number {
  let missing = 0
  for (const [at, index] of indexes.entries())
    missing += index.baseOffset - (indexes[at - 1]?.endOffset ?? index.baseOffset)
  return missing
}
