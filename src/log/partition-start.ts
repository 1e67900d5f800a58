import type { Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import type { AbortedIndex } from './aborted-index.ts'
import { writeLogStart } from './log-start.ts'
import type { RecoveredPartition } from './recovery.ts'
import { countRecords, unlinkIndex, unlinkSegment } from './retention.ts'
import type { SegmentExtent } from './segment-index.ts'
import type { SegmentWriter } from './segment-writer.ts'
import type { Transactions } from './transactions.ts'

export interface PartitionStartOptions {
  readonly files: Files
  readonly logger: Logger
  readonly folder: string
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
    this.#excludedBelow = options.transactions.excludedAt(recovered.startOffset) ?? 0
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
    const { files, folder, logger, writer, transactions, aborted } = this.#options
    const { sealed } = writer
    // What an open transaction has written may still become visible.
    const limit = Math.min(belowOffset, transactions.firstOpen?.offset ?? Infinity)
    const kept = sealed.findIndex(({ endOffset }) => endOffset > limit)
    const removed = sealed.slice(0, kept === -1 ? sealed.length : kept)
    for (const { baseOffset } of removed) await unlinkIndex(files, folder, baseOffset)
    if (removed.length > 0) {
      // One more may have been sealed meanwhile.
      const startOffset = writer.sealed[removed.length]?.baseOffset ?? writer.end.segmentBaseOffset
      await this.#move(startOffset, removed)
      logger.info('retention removed segments', {
        ...this.#options.facts,
        segments: removed.length,
        startOffset,
      })
    }
    await this.#unlinkLeftovers()
    await aborted
      .prune(this.#offset)
      .catch((error: unknown) =>
        logger.warn('the index of aborted transactions could not be pruned', { folder, error }),
      )
    return removed.length
  }

  /** Durable before any file goes: a segment below the start is removed, whether its file is still there or not. */
  async #move(startOffset: number, removed: readonly SegmentExtent[]): Promise<void> {
    const { files, folder, writer, transactions } = this.#options
    const offsets = countRecords(removed)
    const excludedBelow = transactions.excludedAt(startOffset) ?? this.#excludedBelow
    const excluded = excludedBelow - this.#excludedBelow
    const removedRecords = this.#removedRecords + offsets - excluded
    const removedExcluded = this.#removedExcluded + excluded
    await writeLogStart(files, folder, { startOffset, removedRecords, removedExcluded })
    this.#missingOffsets -= startOffset - this.#offset - offsets
    this.#removedRecords = removedRecords
    this.#removedExcluded = removedExcluded
    this.#excludedBelow = excludedBelow
    this.#offset = startOffset
    writer.forget(removed.length)
    transactions.forgetSegments(startOffset)
    this.#leftovers = [...this.#leftovers, ...removed.map(({ baseOffset }) => baseOffset)]
  }

  async #unlinkLeftovers(): Promise<void> {
    const { files, folder } = this.#options
    if (this.#leftovers.length === 0) return
    // Readers are told first, so that none of them looks for a file that goes.
    if (!this.#options.publish()) return
    for (const baseOffset of this.#leftovers) {
      await unlinkSegment(files, folder, baseOffset)
      this.#leftovers = this.#leftovers.slice(1)
    }
    await files.syncFolder(folder)
  }

  /** Resolves when no removal is under way. */
  async settled(): Promise<void> {
    await this.#work
  }
}
