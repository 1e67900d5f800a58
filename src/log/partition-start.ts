import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { AbortedIndex } from './aborted-index.ts'
import { writeLogStart } from './log-start.ts'
import type { RecoveredPartition } from './recovery.ts'
import { countExcludedBelow, countPresent } from './partition-counts.ts'
import { unlinkIndex, unlinkSegment } from './retention.ts'
import type { SegmentWriter } from './segment-writer.ts'
import type { Transactions } from './transactions.ts'

export interface PartitionStartOptions {
  readonly files: Files
  readonly logger: Logger
  readonly folder: string
  readonly topic: { readonly name: string }
  readonly partition: number
  readonly facts: Readonly<Record<string, string | number>>
  readonly writer: SegmentWriter
  readonly transactions: Transactions
  readonly aborted: AbortedIndex
  /** Tells the readers; false when that failed. */
  readonly publish: () => boolean
}

/** Where a partition begins, and what retention has removed of it. */
export class PartitionStart {
  readonly #options: PartitionStartOptions
  #offset: number
  #missingOffsets: number
  #removedRecords: number
  #removedExcluded: number
  /** Offsets below the start that hold no event, as the transactions count them. */
  #excludedBelow: number
  /** First offsets of segments that are removed but whose files are still there. */
  #leftovers: readonly number[] = []
  #work: Promise<unknown> = Promise.resolve()

  constructor(options: PartitionStartOptions, recovered: RecoveredPartition) {
    this.#options = options
    this.#offset = recovered.startOffset
    this.#missingOffsets = recovered.missingOffsets
    this.#removedRecords = recovered.removedRecords
    this.#removedExcluded = recovered.removedExcluded
    this.#excludedBelow = recovered.excludedBelow
  }

  /** First offset that the partition holds. */
  get offset(): number {
    return this.#offset
  }

  /** What the watermark says of the offsets from the start to the last stable one. */
  get counts(): {
    readonly startOffset: number
    readonly missingOffsets: number
    readonly excludedOffsets: number
    readonly removedRecords: number
    readonly removedExcluded: number
  } {
    return {
      startOffset: this.#offset,
      missingOffsets: this.#missingOffsets,
      excludedOffsets: this.#options.transactions.excluded - this.#excludedBelow,
      removedRecords: this.#removedRecords,
      removedExcluded: this.#removedExcluded,
    }
  }

  /** Removes the sealed segments that end at or below an offset, oldest first; resolves to how many. One removal at a time. */
  remove(belowOffset: number): Promise<number> {
    const removed = this.#work.then(() => this.#remove(belowOffset))
    this.#work = removed.catch(() => {})
    return removed
  }

  async #remove(belowOffset: number): Promise<number> {
    const { writer, transactions } = this.#options
    // What an open transaction has written may still become visible.
    const limit = Math.min(belowOffset, transactions.firstOpen?.offset ?? Infinity)
    const count = this.#removable(limit)
    if (count > 0) {
      await this.#unlinkIndexes(count)
      // One more may have been sealed meanwhile.
      const startOffset = writer.sealed[count]?.baseOffset ?? writer.end.segmentBaseOffset
      const excludedBelow = transactions.excludedAt(startOffset) ?? this.#excludedBelow
      if (startOffset > this.#offset) await this.#move(startOffset, excludedBelow)
      this.#forget(count)
    }
    await this.#unlinkLeftovers()
    return count
  }

  /**
   * Moves the start up to an offset, which need not be the first of a segment, but not beyond `limit`, and removes the segments that end there or below. Resolves to the start.
   * One move at a time.
   */
  deleteBefore(offset: number, limit: () => number): Promise<number> {
    const deleted = this.#work.then(() => this.#deleteBefore(offset, limit()))
    this.#work = deleted.catch(() => {})
    return deleted
  }

  async #deleteBefore(offset: number, limit: number): Promise<number> {
    const { writer, publish, logger, facts } = this.#options
    const startOffset = Math.min(offset, limit)
    if (startOffset > this.#offset) {
      const count = this.#removable(startOffset)
      await this.#unlinkIndexes(count)
      const { topic, partition, ...options } = this.#options
      const place = { ...options, topic: topic.name, partition }
      const segments = [...writer.sealed, writer.activeIndex]
      await this.#move(startOffset, await countExcludedBelow(place, segments, startOffset))
      this.#forget(count)
      publish()
      logger.info('records were deleted', { ...facts, startOffset })
    }
    await this.#unlinkLeftovers()
    return this.#offset
  }

  /** How many of the sealed segments end at or below an offset. */
  #removable(offset: number): number {
    const { sealed } = this.#options.writer
    const kept = sealed.findIndex(({ endOffset }) => endOffset > offset)
    return kept === -1 ? sealed.length : kept
  }

  async #unlinkIndexes(count: number): Promise<void> {
    const { files, folder, writer } = this.#options
    for (const { baseOffset } of writer.sealed.slice(0, count))
      await unlinkIndex(files, folder, baseOffset)
  }

  /** Durable before any file goes: what lies below the start is removed, whether its file is still there or not. */
  async #move(startOffset: number, excludedBelow: number): Promise<void> {
    const { files, folder, writer } = this.#options
    const segments = [...writer.sealed, writer.activeIndex]
    const present = countPresent(segments, this.#offset, startOffset)
    const excluded = excludedBelow - this.#excludedBelow
    const removedRecords = this.#removedRecords + present - excluded
    const removedExcluded = this.#removedExcluded + excluded
    await writeLogStart(files, folder, { startOffset, removedRecords, removedExcluded })
    this.#missingOffsets -= startOffset - this.#offset - present
    this.#removedRecords = removedRecords
    this.#removedExcluded = removedExcluded
    this.#excludedBelow = excludedBelow
    this.#offset = startOffset
  }

  /** Forgets the oldest segments; their files are to go. */
  #forget(count: number): void {
    const { writer, transactions, logger, facts } = this.#options
    if (count === 0) return
    const removed = writer.sealed.slice(0, count)
    this.#leftovers = [...this.#leftovers, ...removed.map(({ baseOffset }) => baseOffset)]
    writer.forget(count)
    transactions.forgetSegments(writer.startOffset)
    logger.info('segments are removed', { ...facts, segments: count, startOffset: this.#offset })
  }

  async #unlinkLeftovers(): Promise<void> {
    const { files, folder, logger } = this.#options
    if (this.#leftovers.length === 0) return
    // Readers are told first, so that none of them looks for a file that goes.
    if (!this.#options.publish()) return
    for (const baseOffset of this.#leftovers) {
      await unlinkSegment(files, folder, baseOffset)
      this.#leftovers = this.#leftovers.slice(1)
    }
    await files.syncFolder(folder)
    await this.#options.aborted
      .prune(this.#options.writer.startOffset)
      .catch((error: unknown) =>
        logger.warn('the index of aborted transactions could not be pruned', { folder, error }),
      )
  }

  /** Resolves when no removal is under way. */
  async settled(): Promise<void> {
    await this.#work
  }
}
