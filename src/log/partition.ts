import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../core/clock.ts'
import { QuestlogError, type ErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { Settings } from '../core/settings.ts'
import type { AbortedIndex } from './aborted-index.ts'
import { readClientBatches } from './client-batches.ts'
import { formCommit, type Commit, type Content, type Placed, type QueueItem } from './commit.ts'
import { markerBytes } from './control-batch.ts'
import { isDiskFull } from './failures.ts'
import { PartitionStart } from './partition-start.ts'
import { Publication } from './publication.ts'
import { noteTransaction, storeState, type ProducerState } from './producer-state.ts'
import { writeSnapshot } from './producer-snapshot.ts'
import { batchOverheadBytes, recordBytesMax, soloBatchBytes } from './record-batch.ts'
import type {
  AbortedTransaction,
  Appended,
  BatchesAppended,
  EndMarker,
  KnownProducer,
  NewRecord,
  PartitionState,
  PartitionWatermark,
  Topic,
} from './record.ts'
import type { RecoveredPartition } from './recovery.ts'
import { countDue, retentionLimits } from './retention.ts'
import { RoomWatch } from './room-watch.ts'
import type { SegmentExtent, SegmentIndex } from './segment-index.ts'
import { unsyncedBytesMax } from './segment.ts'
import { SegmentWriter } from './segment-writer.ts'
import { topicNumber } from './topic.ts'
import type { BatchPlace } from './transactions.ts'

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

const unpublished = 'the watermark file could not be written'

/** One partition. Appends that arrive while a commit runs wait and go together into the next one: no timer, the sync itself is the clock. */
export class Partition {
  readonly #options: PartitionOptions
  readonly #writer: SegmentWriter
  readonly #state: ProducerState
  readonly #aborted: AbortedIndex
  readonly #start: PartitionStart
  readonly #room: RoomWatch
  readonly #publication: Publication
  #configs: Topic['configs']
  #messageBytesMax: number
  #segmentBytesMax: number
  readonly #stopping = new AbortController()
  readonly #queue: QueueItem[] = []
  #pendingBytes = 0
  #lastTimestampMs: number
  /** Everything below is acknowledged. */
  #end: BatchPlace
  #offline: string | null = null
  #commits: Promise<void> | undefined
  #backgroundSyncs: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(options: PartitionOptions, recovered: RecoveredPartition) {
    const { files, logger, folder, topic, settings } = options
    this.#options = options
    this.#state = recovered.producers
    this.#aborted = recovered.aborted
    this.#configs = topic.configs
    this.#messageBytesMax = topicNumber(topic, 'max.message.bytes', settings.messageBytesMax)
    this.#segmentBytesMax = topicNumber(topic, 'segment.bytes', settings.segmentBytesMax)
    const hooks = {
      synchronous: settings.durability === 'fsync',
      onBegin: (baseOffset: number) => this.#state.transactions.beginSegment(baseOffset),
      onRoll: (baseOffset: number) => this.#writeSnapshot(baseOffset),
    }
    const own = { files, logger, folder, ...hooks }
    this.#writer = new SegmentWriter(own, this.#segmentLimits(), recovered)
    this.#lastTimestampMs = recovered.lastTimestampMs
    this.#end = this.#writer.end
    const facts = this.#facts()
    const tell = () => options.publish(this.watermark())
    this.#publication = new Publication({ ...options, facts, tell })
    const { transactions } = this.#state
    const publish = () => this.#publish() === undefined
    const parts = { writer: this.#writer, transactions, aborted: this.#aborted, publish }
    this.#start = new PartitionStart({ ...options, facts, ...parts }, recovered)
    this.#room = new RoomWatch({ ...options, facts, onRoom: () => this.#releaseAborted() })
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

  /** See PartitionView.read. */
  abortedIn(fromOffset: number, toOffset: number): readonly AbortedTransaction[] {
    return this.#aborted.abortedIn(fromOffset, toOffset)
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
    this.#checkOpen()
    let bytes = 0
    for (const record of records) {
      const most = recordBytesMax(record)
      if (batchOverheadBytes + most > this.#messageBytesMax) this.#refuseTooLarge(record)
      bytes += most
    }
    this.#checkRoom(bytes)
    const timestampMs = this.#arrivalMs()
    const { topic, partition } = this.#options
    const group = { timestampMs, records }
    const { baseOffset } = await this.#enqueue({ kind: 'events', group }, bytes, false)
    return { topic: topic.name, partition, baseOffset, timestampMs }
  }

  /** See EventLog.appendBatches. */
  async appendBatches(
    records: Buffer,
    until: 'written' | 'acknowledged',
  ): Promise<BatchesAppended> {
    this.#checkOpen()
    this.#checkRoom(records.length)
    const nowMs = this.#arrivalMs()
    const givesTime = this.#configs['message.timestamp.type'] === 'LogAppendTime'
    const rules = {
      messageBytesMax: this.#messageBytesMax,
      nowMs: this.#options.clock.nowMs(),
      logAppendTimeMs: givesTime ? nowMs : null,
    }
    const batches = readClientBatches(records, rules, (code, text) => this.#error(code, text))
    const content: Content = { kind: 'batches', batches }
    const placed = await this.#enqueue(content, records.length, until === 'written')
    const { baseOffset, logAppendTimeMs } = placed
    return { baseOffset, logAppendTimeMs, startOffset: this.#start.offset }
  }

  /** See EventLog.producers. */
  producers(): KnownProducer[] {
    const { topic, partition } = this.#options
    return [...this.#state.producers.entries()].map(([producerId, { epoch, openSince }]) => ({
      topic: topic.name,
      partition,
      producerId,
      producerEpoch: epoch,
      isInTransaction: openSince !== null,
    }))
  }

  /** See EventLog.appendMarker. It takes little, and lets others go on: there is always room for it in the queue. */
  async appendMarker(marker: EndMarker): Promise<void> {
    this.#checkOpen()
    const content: Content = { kind: 'marker', marker, timestampMs: this.#arrivalMs() }
    await this.#enqueue(content, markerBytes, false)
  }

  #checkOpen(): void {
    if (this.#closed !== undefined)
      throw this.#error('SHUTTING_DOWN', 'questlog is stopping; the event was not kept')
    if (this.#offline !== null)
      throw this.#error('PARTITION_OFFLINE', `the partition is offline: ${this.#offline}`)
  }

  /** See EventLog.hasRoom. */
  hasRoom(bytes: number): boolean {
    const { pendingBytesMax } = this.#options.settings
    return this.#pendingBytes === 0 || this.#pendingBytes + bytes <= pendingBytesMax
  }

  #checkRoom(bytes: number): void {
    const { pendingBytesMax } = this.#options.settings
    if (!this.hasRoom(bytes))
      throw this.#error(
        'OVERLOADED',
        `${this.#pendingBytes} bytes already wait for the disk (pendingBytesMax ${pendingBytesMax})`,
      )
  }

  #refuseTooLarge(record: NewRecord): void {
    const bytes = soloBatchBytes(record)
    if (bytes <= this.#messageBytesMax) return
    throw this.#error(
      'EVENT_TOO_LARGE',
      `an event takes ${bytes} bytes on the log, but max.message.bytes is ${this.#messageBytesMax}`,
    )
  }

  /** The time that the log gives; it never goes back. */
  #arrivalMs(): number {
    this.#lastTimestampMs = Math.max(this.#options.clock.nowMs(), this.#lastTimestampMs)
    return this.#lastTimestampMs
  }

  #enqueue(content: Content, bytes: number, untilWritten: boolean): Promise<Placed> {
    this.#pendingBytes += bytes
    return new Promise((resolve, reject) => {
      this.#queue.push({ content, bytes, untilWritten, resolve, reject })
      this.#commits ??= this.#commitQueue()
    })
  }

  async #commitQueue(): Promise<void> {
    while (this.#queue.length > 0) {
      await nextTurn() // everything that this turn of the event loop brings goes into one commit
      const items = this.#take()
      if (this.#offline === null) await this.#commit(items)
      else this.#refuse(items, this.#unknownOutcome(this.#offline))
    }
    this.#commits = undefined
  }

  /** The next items that fit into a segment, and into one sync, together; at least one. */
  #take(): QueueItem[] {
    const bytesMax = Math.min(this.#segmentBytesMax, unsyncedBytesMax)
    let count = 0
    let bytes = 0
    for (const item of this.#queue) {
      bytes += item.bytes
      if (count > 0 && bytes > bytesMax) break
      count++
    }
    this.#options.onCommit()
    return this.#queue.splice(0, count)
  }

  /** Writes, syncs, publishes and settles. */
  async #commit(items: readonly QueueItem[]): Promise<void> {
    // A duplicate is answered at once, so readers have to know of its original; and more that can't be shown would only be repeated by clients.
    if (this.#publication.isDue && this.#publish() !== undefined) {
      const reason = 'nothing is taken until the watermark file can be written'
      this.#refuse([...items, ...this.#queue.splice(0)], this.#error('OVERLOADED', reason))
      return
    }
    const nowMs = this.#arrivalMs()
    const commit = formCommit(items, {
      baseOffset: this.#writer.endOffset,
      messageBytesMax: this.#messageBytesMax,
      producers: this.#state.producers,
      nowMs,
      refusal: (code, text) => this.#error(code, text),
    })
    const error = commit.batches.length === 0 ? undefined : await this.#write(commit, nowMs)
    for (const { bytes } of items) this.#pendingBytes -= bytes
    for (const { item, placed } of commit.accepted)
      if (error === undefined) item.resolve(placed)
      else item.reject(error)
    // What came meanwhile must not get ahead of what comes again.
    if (error?.code === 'OVERLOADED') this.#refuse(this.#queue.splice(0), error)
  }

  #refuse(items: readonly QueueItem[], error: QuestlogError): void {
    for (const item of items) {
      this.#pendingBytes -= item.bytes
      item.reject(error)
    }
  }

  /** Gives the error of the commit if it did not work out. */
  async #write(commit: Commit, nowMs: number): Promise<QuestlogError | undefined> {
    try {
      await this.#writer.write(commit.batches, nowMs)
      for (const { item, placed } of commit.accepted) if (item.untilWritten) item.resolve(placed)
      if (this.#mustSync(commit)) await this.#writer.sync()
      this.#end = this.#writer.end
      this.#note(commit)
      await this.#storeAborted()
    } catch (error) {
      if (this.#writer.failure === undefined && isDiskFull(error)) return this.#diskIsFull(error)
      return this.#unknownOutcome(this.#goOffline(error), error)
    }
    if (this.#aborted.isStored) this.#room.room()
    const error = this.#publish()
    if (this.#writer.syncedOffset < this.#writer.endOffset)
      this.#backgroundSyncs ??= this.#syncInBackground()
    return error
  }

  /** A marker is synced also with durability os: the coordinator goes on to the next transaction, and after a power loss nobody would write it again. */
  #mustSync({ accepted }: Commit): boolean {
    return (
      this.#options.settings.durability === 'fsync' ||
      accepted.some(({ item }) => item.content.kind === 'marker')
    )
  }

  /** Takes what the producers of a commit have done, now that it is on the log. */
  #note({ batches, producers }: Commit): void {
    for (const [producerId, producer] of producers) this.#state.producers.set(producerId, producer)
    const { segmentBaseOffset, position: endPosition } = this.#writer.end
    let position = endPosition
    for (const { bytes } of batches) position -= bytes.length
    for (const batch of batches) {
      const place = { offset: batch.baseOffset, segmentBaseOffset, position }
      const entry = noteTransaction(this.#state.transactions, batch, place, true)
      if (entry !== undefined) this.#aborted.add(entry)
      position += batch.bytes.length
    }
  }

  /** Readers look aborted transactions up in the file: until they are there, the last stable offset stays below them. */
  async #storeAborted(): Promise<void> {
    if (this.#aborted.isStored) return
    if ((await this.#aborted.store()) && this.#aborted.isStored) this.#state.transactions.release()
    else if (!this.#aborted.isStored) this.#room.full()
  }

  async #releaseAborted(): Promise<void> {
    if (this.#aborted.isStored || this.#offline !== null) return
    try {
      await this.#storeAborted()
      this.#publish()
    } catch (error) {
      this.#goOffline(error)
    }
  }

  /** Not needed to go on: without it the next start reads more. */
  async #writeSnapshot(offset: number): Promise<void> {
    const { files, folder, logger } = this.#options
    const { producers, transactions } = this.#state
    if ((producers.size === 0 && !transactions.isUsed) || !this.#aborted.isStored) return
    const snapshot = storeState(this.#state, offset, this.#aborted.count)
    await writeSnapshot(files, folder, snapshot).catch((error: unknown) =>
      logger.warn('a producer snapshot could not be written', { ...this.#facts(), error }),
    )
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

  #publish(): QuestlogError | undefined {
    const error = this.#publication.publish()
    return error === undefined ? undefined : this.#unknownOutcome(unpublished, error)
  }

  /** What readers may see now. */
  watermark(): PartitionWatermark {
    const { topic, partition } = this.#options
    const { offset: highWatermark } = this.#end
    const { offset, segmentBaseOffset, position } = this.#state.transactions.firstOpen ?? this.#end
    return {
      topicId: topic.id,
      partition,
      visibleOffset: offset,
      highWatermark,
      syncedOffset: Math.min(this.#writer.syncedOffset, highWatermark),
      segmentBaseOffset,
      position,
      ...this.#start.counts,
      offline: this.#offline !== null,
    }
  }

  state(): PartitionState {
    const { segmentBaseOffset: _base, position: _position, ...watermark } = this.watermark()
    return {
      ...watermark,
      topic: this.#options.topic.name,
      endOffset: this.#writer.endOffset,
      bytes: this.#writer.bytes,
      pendingBytes: this.#pendingBytes,
      offline: this.#offline,
      diskFull: this.#room.isFull,
    }
  }

  /** The start that the topic's retention asks for at this time; the present one when nothing is due. */
  dueStart(nowMs: number): number {
    const { sealed, bytes } = this.#writer
    const count = countDue(sealed, bytes, retentionLimits(this.#configs), nowMs)
    if (count === 0) return this.#start.offset
    return sealed[count]?.baseOffset ?? this.#writer.end.segmentBaseOffset
  }

  /** Whether a segment is sealed of which everything was deleted. */
  get hasDeletedSegment(): boolean {
    const [first] = this.#writer.sealed
    return first !== undefined && first.endOffset <= this.#start.offset
  }

  /** See EventLog.deleteRecords. */
  async deleteBefore(offset: number): Promise<number> {
    this.#checkOpen()
    const { highWatermark } = this.watermark()
    if (!Number.isInteger(offset) || offset < 0 || offset > highWatermark)
      throw this.#error(
        'OFFSET_OUT_OF_RANGE',
        `records can be deleted up to offset ${highWatermark}, not ${offset}`,
      )
    try {
      return await this.#start.deleteBefore(offset, () => this.watermark().visibleOffset)
    } catch (error) {
      if (!isDiskFull(error)) throw error
      throw this.#error('OVERLOADED', 'the disk is full; nothing was deleted', error)
    }
  }

  /** Removes the sealed segments that end at or below an offset; resolves to how many. Nothing while offline, and nothing that an open transaction may make visible. */
  async remove(belowOffset: number): Promise<number> {
    if (this.#offline !== null || this.#closed !== undefined) return 0
    return this.#start.remove(belowOffset)
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
    this.#room.full()
    return this.#error('OVERLOADED', 'the disk is full; the event was not kept', cause)
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

  /** Resolves when no append waits or is under way. */
  async settled(): Promise<void> {
    await this.#commits
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
    await this.#room.close()
    await this.#start.settled()
    if (this.#offline === null && this.#writer.syncedOffset < this.#writer.endOffset)
      await this.#syncAndPublish()
    await this.#publication.close()
    if (this.#offline === null) await this.#writeSnapshot(this.#writer.endOffset)
    await this.#aborted.close()
    await this.#writer.close()
  }
}
