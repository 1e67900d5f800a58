import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import { isDiskFull } from './failures.ts'
import { segmentPath } from './layout.ts'
import type { RecordBatch } from './record-batch.ts'
import { writeIndex, type ActiveSegment, type RecoveredPartition } from './recovery.ts'
import { unsyncedBytesMax } from './segment.ts'
import { SegmentIndex, type SegmentExtent } from './segment-index.ts'
import type { BatchPlace } from './transactions.ts'

/** Batches smaller than this are written together, up to some of them. */
const gatherBytesMax = 256 * 1024

export interface SegmentWriterOptions {
  readonly files: Files
  readonly logger: Logger
  readonly folder: string
  /** Whether each write is synced before the next: then write() keeps to `unsyncedBytesMax`. */
  readonly synchronous: boolean
  /** Called at once when the next batch will begin a new segment. */
  readonly onBegin: (baseOffset: number) => void
  /** Called when the segment is there. */
  readonly onRoll: (baseOffset: number) => Promise<void>
}

/** When a segment is sealed. */
export interface SegmentLimits {
  readonly bytes: number
  /** Since its first record was written; null = by size only. */
  readonly ageMs: number | null
}

/** Writes batches to the end of a partition and seals full segments. One caller at a time may write; sync() may be called beside. */
export class SegmentWriter {
  readonly #options: SegmentWriterOptions
  #active: ActiveSegment
  #endOffset: number
  #syncedOffset: number
  #limits: SegmentLimits
  #sealed: readonly SegmentExtent[]
  #sealedBytes: number
  #mustRoll = false
  #syncing: Promise<void> = Promise.resolve()
  #failure: unknown

  constructor(options: SegmentWriterOptions, limits: SegmentLimits, recovered: RecoveredPartition) {
    this.#options = options
    this.#limits = limits
    this.#active = recovered.active
    this.#sealed = recovered.sealed
    this.#sealedBytes = bytesOf(recovered.sealed)
    this.#endOffset = recovered.active.index.endOffset
    this.#syncedOffset = this.#endOffset
  }

  /** Offset of the next record; everything below was written as a whole. */
  get endOffset(): number {
    return this.#endOffset
  }

  get syncedOffset(): number {
    return this.#syncedOffset
  }

  /** Bytes of all segments. */
  get bytes(): number {
    return this.#sealedBytes + this.#active.index.endPosition
  }

  /** The sealed segments, oldest first. */
  get sealed(): readonly SegmentExtent[] {
    return this.#sealed
  }

  /** The index of the segment that takes appends; it grows with it. */
  get activeIndex(): SegmentIndex {
    return this.#active.index
  }

  /** First offset that the segments hold. */
  get startOffset(): number {
    return (this.#sealed[0] ?? this.#active.index).baseOffset
  }

  /** Where `endOffset` lies. */
  get end(): BatchPlace {
    const { baseOffset, endOffset, endPosition } = this.#active.index
    return { offset: endOffset, segmentBaseOffset: baseOffset, position: endPosition }
  }

  /** The first error after which nothing is known about the unsynced bytes: nothing more is written or synced on top of them. */
  get failure(): unknown {
    return this.#failure
  }

  setLimits(limits: SegmentLimits): void {
    this.#limits = limits
  }

  /** Forgets the oldest sealed segments. */
  forget(count: number): void {
    this.#sealedBytes -= bytesOf(this.#sealed.slice(0, count))
    this.#sealed = this.#sealed.slice(count)
  }

  /**
   * Writes batches, the first of them at `endOffset`, into one segment; `nowMs` is the log's time. They are not synced yet. Throws when that failed: with `failure` set for good,
   * otherwise the disk was full, nothing was kept and it can be tried again.
   */
  async write(batches: readonly RecordBatch[], nowMs: number): Promise<void> {
    let bytes = 0
    for (const batch of batches) bytes += batch.bytes.length
    if (this.#rollDue(bytes, nowMs)) await this.#roll(nowMs)
    await this.#append(batches)
    if (this.#failure !== undefined) throw this.#failure // of a sync beside
    const { index } = this.#active
    if (index.endPosition === 0) index.begin(nowMs)
    for (const batch of batches) index.note(batch, index.endPosition)
    index.written(nowMs)
    this.#endOffset = index.endOffset
  }

  async #append(batches: readonly RecordBatch[]): Promise<void> {
    let unsynced = 0
    let gathered: Buffer[] = []
    let gatheredBytes = 0
    const flush = async () => {
      const [only] = gathered
      if (only === undefined) return
      await this.#appendBytes(gathered.length === 1 ? only : Buffer.concat(gathered, gatheredBytes))
      gathered = []
      gatheredBytes = 0
    }
    for (const { bytes } of batches) {
      if (this.#options.synchronous && unsynced > 0 && unsynced + bytes.length > unsyncedBytesMax) {
        await flush()
        await this.sync()
        unsynced = 0
      }
      if (gatheredBytes + bytes.length > gatherBytesMax) await flush()
      gathered.push(bytes)
      gatheredBytes += bytes.length
      unsynced += bytes.length
    }
    await flush()
  }

  async #appendBytes(bytes: Buffer): Promise<void> {
    const { file, index } = this.#active
    try {
      await file.append(bytes)
    } catch (error) {
      // To the end of the last whole write: none of this one is kept.
      if (isDiskFull(error)) await this.#orFail(file.truncate(index.endPosition))
      else this.#failure ??= error
      throw error
    }
  }

  #rollDue(bytes: number, nowMs: number): boolean {
    const { endPosition, beganAtMs } = this.#active.index
    if (this.#mustRoll || endPosition === 0) return this.#mustRoll
    const { bytes: bytesMax, ageMs } = this.#limits
    return endPosition + bytes > bytesMax || (ageMs !== null && nowMs - beganAtMs > ageMs)
  }

  /** Seals the active segment and begins the next: the old one synced and the new name durable before anything goes into it. */
  async #roll(nowMs: number): Promise<void> {
    const { files, folder, logger } = this.#options
    const old = this.#active
    // Once begun it is finished, if need be by a later write: a file of the next name may be there already.
    this.#mustRoll = true
    await this.sync()
    const next = files.openAppend(segmentPath(folder, this.#endOffset))
    const file = await next.catch((error: unknown) => {
      if (!isDiskFull(error)) this.#failure ??= error
      throw error
    })
    this.#active = { file, index: new SegmentIndex(this.#endOffset) }
    this.#options.onBegin(this.#endOffset)
    if (old.index.writtenAtMs < 0) old.index.written(nowMs) // by the run before this one
    this.#sealed = [...this.#sealed, old.index.extent]
    this.#sealedBytes += old.index.endPosition
    await this.#syncing // one beside may still use the old file
    await this.#orFail(old.file.close())
    await this.#orFail(files.syncFolder(folder))
    this.#mustRoll = false
    const sealed = segmentPath(folder, old.index.baseOffset)
    await writeIndex(files, sealed, old.index).catch((error: unknown) =>
      logger.warn('an index could not be written; it is made anew when needed', { sealed, error }),
    )
    await this.#options.onRoll(this.#endOffset)
  }

  /** Makes everything written before the call durable; one sync at a time. An error is final. */
  sync(): Promise<void> {
    const sync = this.#syncing.then(async () => {
      if (this.#failure !== undefined) throw this.#failure
      const end = this.#endOffset
      await this.#orFail(this.#active.file.sync())
      this.#syncedOffset = end
    })
    this.#syncing = sync.catch(() => {})
    return sync
  }

  async #orFail(work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (error) {
      this.#failure ??= error
      throw error
    }
  }

  close(): Promise<void> {
    return this.#active.file.close()
  }
}

function bytesOf(segments: readonly SegmentExtent[]): number {
  return segments.reduce((bytes, { endPosition }) => bytes + endPosition, 0)
}
