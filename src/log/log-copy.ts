import { randomBytes } from 'node:crypto'
import { copyFile, emptySum, sumBytes, sumFile, type FileSum } from '../core/copy.ts'
import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { encodeAborted, encodeAbortedHeader } from './aborted.ts'
import { endTransactions, outcomesBeyond } from './copy-transactions.ts'
import { damagedLog } from './failures.ts'
import {
  abortedPath,
  belowStart,
  groupsPath,
  indexPath,
  listSegments,
  metaPath,
  partitionFolder,
  segmentPath,
  startPath,
  transactionsPath,
  watermarkPath,
} from './layout.ts'
import { writeLogStart } from './log-start.ts'
import { decodeMeta } from './meta.ts'
import { countExcludedBelow, countMissing } from './partition-counts.ts'
import type { RecoveredProducers } from './producer-recovery.ts'
import type { PartitionWatermark, Topic } from './record.ts'
import { scanSegment } from './segment.ts'
import { SegmentIndex, type SegmentExtent } from './segment-index.ts'
import { decodeState } from './state-file.ts'
import { uuidFrom, WatermarkWriter } from './watermark.ts'

/** A partition as it lies in the copy. */
export interface CopiedPartition {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  /** First offset of the first segment. */
  readonly startOffset: number
  /** Offset after the last record. */
  readonly endOffset: number
  readonly missingOffsets: number
  /** Offsets that hold no event: control records, and records of aborted transactions. Absent in copies from before there were any. */
  readonly excludedOffsets?: number
  /** Events that retention had removed below `startOffset`. */
  readonly removedRecords: number
  /** Offsets that held no event and that retention had removed; absent as above. */
  readonly removedExcluded?: number
  /** The last segment and its bytes. */
  readonly segmentBaseOffset: number
  readonly position: number
}

/** What has been copied of a segment; `extent` once it is whole and its batches were checked. */
interface CopiedSegment {
  readonly baseOffset: number
  sum: FileSum
  extent: SegmentExtent | undefined
}

interface PartitionCopy {
  readonly topic: Topic
  readonly partition: number
  end: PartitionWatermark
  /** How the partition stood when it began as the copy does. */
  begin: PartitionWatermark
  segments: CopiedSegment[]
  /** How transactions end of which only the records are copied. */
  outcomes: Awaited<ReturnType<typeof outcomesBeyond>>
}

/**
 * Copies a log that may be written to meanwhile, in passes: `advance` copies up to the ends that it is given, a later call goes on from there. Every batch
 * of the copy is checked. `finish` writes what is not segments. The folder of the copy must be empty at first.
 */
export class LogCopy {
  readonly #files: Files
  readonly #from: string
  readonly #to: string
  readonly #partitions = new Map<string, PartitionCopy>()
  readonly #sums = new Map<string, FileSum>()
  /** As they were before the first record was copied: no group has read further than the copy reaches. */
  #groups: Buffer | undefined

  /** Both folders are those that hold `meta`. */
  constructor(files: Files, from: string, to: string) {
    this.#files = files
    this.#from = from
    this.#to = to
  }

  /**
   * Copies up to these ends: segments before the last one whole, the last one up to its position. False when retention removed segments that were not copied
   * yet: then the copy starts later than it did, and tables that were copied before the call may not have read so far.
   */
  async advance(ends: readonly PartitionWatermark[]): Promise<boolean> {
    this.#groups ??= await this.#readState(groupsPath(this.#from))
    const topics = new Map((await this.#readMeta()).topics.map((topic) => [topic.id, topic]))
    await this.#dropDeleted(topics)
    let isWhole = true
    for (const end of ends) {
      const topic = topics.get(end.topicId)
      if (topic === undefined) continue
      const key = `${end.topicId}/${end.partition}`
      const copy = this.#partitions.get(key) ?? {
        topic,
        partition: end.partition,
        end,
        begin: end,
        segments: [],
        outcomes: new Map(),
      }
      this.#partitions.set(key, copy)
      copy.end = end
      if (!(await this.#advancePartition(copy))) isWhole = false
    }
    return isWhole
  }

  async #advancePartition(copy: PartitionCopy): Promise<boolean> {
    const { end, segments } = copy
    copy.outcomes = await outcomesBeyond(
      this.#files,
      this.#sourceFolder(copy),
      copy.topic.name,
      end,
    )
    const there = await listSegments(this.#files, this.#sourceFolder(copy))
    const listed = there.slice(belowStart(there, end.startOffset).length) // what lies before is removed already
    const known = segments.at(-1)
    let isWhole = known === undefined || listed.includes(known.baseOffset)
    if (!isWhole) await this.#forget(copy)
    const from = copy.segments.at(-1)?.baseOffset ?? 0
    for (const base of listed.filter((each) => each >= from && each <= end.segmentBaseOffset)) {
      if (await this.#copySegment(copy, base)) continue
      // Retention takes the lowest segments first: those copied before this one are gone as well.
      isWhole = false
      await this.#forget(copy)
    }
    // What retention removes after it was copied is in the copy.
    const first = copy.segments[0]?.baseOffset
    if (first === undefined || end.startOffset <= first) copy.begin = end
    return isWhole
  }

  /** False when the segment is gone. */
  async #copySegment(copy: PartitionCopy, base: number): Promise<boolean> {
    const { end, segments } = copy
    const folder = this.#targetFolder(copy)
    if (segments.length === 0) await this.#files.makeFolder(folder)
    const source = segmentPath(this.#sourceFolder(copy), base)
    const target = segmentPath(folder, base)
    const isLast = base === end.segmentBaseOffset
    const last = segments.at(-1)
    const segment: CopiedSegment =
      last?.baseOffset === base
        ? last
        : { baseOffset: base, sum: { ...emptySum }, extent: undefined }
    try {
      const bytes = isLast ? end.position : undefined
      segment.sum = await copyFile(this.#files, source, target, bytes, segment.sum)
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT') return false
      throw error
    }
    if (segment !== last) segments.push(segment)
    this.#sums.set(target, segment.sum)
    if (!isLast) await this.#seal(copy, segment)
    return true
  }

  /** Checks every batch of a whole segment, and copies its index, which also knows when it was written. Without one the next start makes it. */
  async #seal(copy: PartitionCopy, segment: CopiedSegment): Promise<void> {
    const { baseOffset } = segment
    const index = await this.#scan(copy, segment)
    segment.extent = index.extent
    const bytes = await this.#readIndex(segmentPath(this.#sourceFolder(copy), baseOffset), index)
    if (bytes === undefined) return
    const path = indexPath(segmentPath(this.#targetFolder(copy), baseOffset))
    await this.#files.writeNew(path, bytes)
    this.#sums.set(path, sumBytes(bytes))
  }

  /** The index file of a segment; undefined when there is none, or when it does not say what the scan found. */
  async #readIndex(segment: string, scanned: SegmentIndex): Promise<Buffer | undefined> {
    const path = indexPath(segment)
    if ((await this.#files.sizeOf(path)) === undefined) return undefined
    const bytes = await this.#files.readAll(path).catch(() => undefined)
    if (bytes === undefined) return undefined
    return SegmentIndex.decode(bytes, scanned.baseOffset)?.agrees(scanned) === true
      ? bytes
      : undefined
  }

  async #scan(copy: PartitionCopy, segment: CopiedSegment) {
    const { baseOffset, sum } = segment
    const file = await this.#files.openRead(segmentPath(this.#targetFolder(copy), baseOffset))
    try {
      const index = await scanSegment(file, baseOffset, sum.bytes)
      if (index.endPosition !== sum.bytes)
        throw this.#damaged(copy, index, 'the bytes there are no valid record batch')
      return index
    } finally {
      await file.close()
    }
  }

  #damaged(copy: PartitionCopy, extent: SegmentExtent, reason: string) {
    const file = segmentPath(this.#sourceFolder(copy), extent.baseOffset)
    const { endOffset: offset, endPosition: position } = extent
    return damagedLog(
      { topic: copy.topic.name, partition: copy.partition, file, position, offset },
      reason,
    )
  }

  /** Takes back what was copied of topics that were deleted since. */
  async #dropDeleted(topics: ReadonlyMap<string, Topic>): Promise<void> {
    for (const [key, copy] of this.#partitions) {
      if (topics.has(copy.topic.id)) continue
      const isThere = copy.segments.length > 0
      await this.#forget(copy)
      if (isThere) await this.#files.removeFolder(this.#targetFolder(copy))
      this.#partitions.delete(key)
    }
  }

  /** Takes back what was copied of a partition. */
  async #forget(copy: PartitionCopy): Promise<void> {
    for (const { baseOffset } of copy.segments) {
      const path = segmentPath(this.#targetFolder(copy), baseOffset)
      for (const each of [path, indexPath(path)]) {
        if (this.#sums.delete(each)) await this.#files.unlink(each)
      }
    }
    copy.segments = []
    copy.begin = copy.end
  }

  /** Checks the last segments, writes the meta file and syncs the folders: `sums` are all files of the copy by path. */
  async finish(): Promise<{
    partitions: readonly CopiedPartition[]
    sums: ReadonlyMap<string, FileSum>
  }> {
    const meta = await this.#readMeta()
    await this.#dropDeleted(new Map(meta.topics.map((topic) => [topic.id, topic])))
    const partitions: CopiedPartition[] = []
    for (const copy of this.#partitions.values()) {
      const last = copy.segments.at(-1)
      if (last === undefined) continue
      last.extent = (await this.#scan(copy, last)).extent
      if (last.extent.endOffset !== copy.end.visibleOffset)
        throw this.#damaged(copy, last.extent, `offset ${copy.end.visibleOffset} should end there`)
      const producers = await this.#endTransactions(copy, last)
      const partition = await this.#describe(copy, last, producers)
      await this.#writeStart(copy, partition)
      await this.#files.syncFolder(this.#targetFolder(copy))
      partitions.push(partition)
    }
    await this.#files.makeFolder(this.#to)
    await this.#write(metaPath(this.#to), meta.bytes)
    await this.#write(groupsPath(this.#to), this.#groups)
    // As they are after the last record was copied: no producer id of the copy is given out again.
    const transactions = await this.#readState(transactionsPath(this.#from))
    await this.#write(transactionsPath(this.#to), transactions)
    await this.#files.syncFolder(this.#to)
    return { partitions, sums: this.#sums }
  }

  async #write(path: string, bytes: Buffer | undefined): Promise<void> {
    if (bytes === undefined || bytes.length === 0) return
    await this.#files.writeNew(path, bytes)
    this.#sums.set(path, sumBytes(bytes))
  }

  /** A state file without the end of a change that is under way; undefined when there is none. */
  async #readState(path: string): Promise<Buffer | undefined> {
    if (((await this.#files.sizeOf(path)) ?? 0) === 0) return undefined
    const bytes = await this.#files.readAll(path)
    return bytes.subarray(0, decodeState(bytes, path).goodBytes)
  }

  /** The copy ends at the last stable offset: transactions that were decided later end there as well. */
  async #endTransactions(copy: PartitionCopy, last: CopiedSegment): Promise<RecoveredProducers> {
    const folder = this.#targetFolder(copy)
    const place = { folder, topic: copy.topic.name, partition: copy.partition }
    const before = copy.segments
      .map(({ extent }) => extent)
      .filter((extent) => extent !== undefined)
    const producers = await endTransactions(this.#files, place, before, copy.outcomes)
    const path = segmentPath(folder, last.baseOffset)
    if ((await this.#files.sizeOf(path)) !== last.sum.bytes) {
      last.sum = await sumFile(this.#files, path)
      this.#sums.set(path, last.sum)
      last.extent = (await this.#scan(copy, last)).extent
    }
    const { firstNumber, entries } = producers.aborted
    if (entries.length > 0) {
      const bytes = Buffer.concat([encodeAbortedHeader(firstNumber), encodeAborted(entries)])
      await this.#files.writeNew(abortedPath(folder), bytes)
      this.#sums.set(abortedPath(folder), sumBytes(bytes))
    }
    return producers
  }

  async #describe(
    copy: PartitionCopy,
    last: CopiedSegment,
    { state, aborted }: RecoveredProducers,
  ): Promise<CopiedPartition> {
    const { topic, partition, begin } = copy
    const extents = copy.segments
      .map(({ extent }) => extent)
      .filter((extent) => extent !== undefined)
    const startOffset = Math.max(begin.startOffset, extents[0]?.baseOffset ?? last.baseOffset)
    const { transactions } = state
    const own = { files: this.#files, folder: this.#targetFolder(copy), topic: topic.name }
    const place = { ...own, partition, transactions, aborted }
    const excludedBelow = await countExcludedBelow(place, extents, startOffset)
    return {
      topic: topic.name,
      topicId: topic.id,
      partition,
      startOffset,
      endOffset: last.extent?.endOffset ?? copy.end.visibleOffset,
      missingOffsets: countMissing(extents, startOffset),
      excludedOffsets: transactions.excluded - excludedBelow,
      removedRecords: begin.removedRecords,
      removedExcluded: begin.removedExcluded,
      segmentBaseOffset: last.baseOffset,
      position: last.sum.bytes,
    }
  }

  /** What was removed before the copy begins. */
  async #writeStart(copy: PartitionCopy, partition: CopiedPartition): Promise<void> {
    const { startOffset, removedRecords, removedExcluded = 0 } = partition
    const isInside = startOffset > (copy.segments[0]?.baseOffset ?? startOffset)
    if (removedRecords + removedExcluded === 0 && !isInside) return
    const folder = this.#targetFolder(copy)
    await writeLogStart(this.#files, folder, { startOffset, removedRecords, removedExcluded })
    this.#sums.set(startPath(folder), await sumFile(this.#files, startPath(folder)))
  }

  /** The topics, and the bytes that name them without the end of an append that is under way. */
  async #readMeta(): Promise<{ topics: readonly Topic[]; bytes: Buffer }> {
    const path = metaPath(this.#from)
    if (((await this.#files.sizeOf(path)) ?? 0) === 0) return { topics: [], bytes: Buffer.alloc(0) }
    const bytes = await this.#files.readAll(path)
    const { topics, goodBytes } = decodeMeta(bytes, path)
    return { topics, bytes: bytes.subarray(0, goodBytes) }
  }

  #sourceFolder({ topic, partition }: PartitionCopy): string {
    return partitionFolder(this.#from, topic.name, partition)
  }

  #targetFolder({ topic, partition }: PartitionCopy): string {
    return partitionFolder(this.#to, topic.name, partition)
  }
}

/** Publishes the ends of a log that was copied here, so that it can be read before ingest has run on it. */
export async function writeCopiedEnds(
  files: Files,
  logFolder: string,
  partitions: readonly CopiedPartition[],
): Promise<void> {
  const path = watermarkPath(logFolder)
  const writer = new WatermarkWriter(files.openShared(path, 'write'), uuidFrom(randomBytes(16)))
  try {
    for (const each of partitions)
      writer.set({
        topicId: each.topicId,
        partition: each.partition,
        visibleOffset: each.endOffset,
        highWatermark: each.endOffset,
        syncedOffset: each.endOffset,
        segmentBaseOffset: each.segmentBaseOffset,
        position: each.position,
        startOffset: each.startOffset,
        missingOffsets: each.missingOffsets,
        excludedOffsets: each.excludedOffsets ?? 0,
        removedRecords: each.removedRecords,
        removedExcluded: each.removedExcluded ?? 0,
        offline: false,
      })
    writer.publish()
  } finally {
    writer.close()
  }
  await files.syncFile(path)
}
