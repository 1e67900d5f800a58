import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import { isDiskFull } from './failures.ts'
import { segmentPath } from './layout.ts'
import { encodeBatch, type RecordBatch, type RecordGroup } from './record-batch.ts'
import { writeIndex, type ActiveSegment, type RecoveredPartition } from './recovery.ts'
import { SegmentIndex, type SegmentExtent } from './segment-index.ts'

export interface SegmentWriterOptions {
  readonly files: Files
  readonly logger: Logger
  readonly folder: string
  /** Whether write() returns only when everything is synced. */
  readonly synchronous: boolean
}

/** When a segment is sealed. */
export interface SegmentLimits {
  readonly bytes: number
  /** By the record time of its first record; null = by size only. */
  readonly ageMs: number | null
}

/**
 * Writes batches to the end of a partition and seals full segments. One caller at a time may write; sync() may be called beside.
 * With `synchronous` at most one batch is unsynced at any time, so what a crash can tear is one batch at the end, and bad bytes before a good batch are always damage.
 */
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
  get end(): { segmentBaseOffset: number; position: number } {
    const { baseOffset, endPosition } = this.#active.index
    return { segmentBaseOffset: baseOffset, position: endPosition }
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
   * Writes a batch for each part of `plan` into one segment; `bytes` is their size, at most, `nowMs` the log's time. Throws when that failed: with `failure` set for good,
   * otherwise the disk was full, nothing was kept and it can be tried again.
   */
  async write(
    plan: readonly (readonly RecordGroup[])[],
    bytes: number,
    nowMs: number,
  ): Promise<void> {
    if (this.#rollDue(bytes, nowMs)) await this.#roll(nowMs)
    const written: RecordBatch[] = []
    let offset = this.#endOffset
    for (const groups of plan) {
      const batch = encodeBatch(offset, groups)
      await this.#append(batch.bytes)
      if (this.#options.synchronous) await this.sync()
      written.push(batch)
      offset = batch.nextOffset
    }
    if (this.#failure !== undefined) throw this.#failure // of a sync beside
    const { index } = this.#active
    for (const batch of written) index.note(batch, index.endPosition)
    index.written(nowMs)
    this.#endOffset = offset
    if (this.#options.synchronous) this.#syncedOffset = offset
  }

  async #append(bytes: Buffer): Promise<void> {
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
    const { endPosition, firstTimestampMs } = this.#active.index
    if (this.#mustRoll || endPosition === 0) return this.#mustRoll
    const { bytes: bytesMax, ageMs } = this.#limits
    return endPosition + bytes > bytesMax || (ageMs !== null && nowMs - firstTimestampMs > ageMs)
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
