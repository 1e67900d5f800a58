import { setImmediate as nextTurn } from 'node:timers/promises'
import { crc32c } from '@node-rs/crc32'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { damagedLog } from './failures.ts'
import { readInt64 } from './int64.ts'
import { segmentPath } from './layout.ts'
import type { OpenSegment, OpenSegments } from './open-segments.ts'
import { batchBytesAt, batchOverheadBytes, looksLikeBatch } from './record-batch.ts'
import type { AbortedTransaction, PartitionView, PartitionWatermark } from './record.ts'
import { loadIndex, scanSegment } from './segment.ts'
import type { Place, SegmentExtent, SegmentIndex } from './segment-index.ts'
import { findLatest, findTime, type TimedOffset, type TimedSegment } from './time-lookup.ts'

type FetchOptions = Parameters<PartitionView['read']>[1]
type FetchedBatches = Awaited<ReturnType<PartitionView['read']>>

/** What a view asks of its partition. */
export interface FetchSource {
  readonly folder: string
  readonly topicName: string
  readonly partition: {
    readonly offline: string | null
    watermark(): PartitionWatermark
    /** The sealed segments, oldest first. */
    readonly sealed: readonly SegmentExtent[]
    /** The index of the segment that takes appends, as it grows. */
    readonly activeIndex: SegmentIndex
  }
  /** Transactions that were aborted and have records in this range. */
  abortedIn(fromOffset: number, toOffset: number): readonly AbortedTransaction[]
}

/** Read beyond what was asked for: the index entry to start at lies less than 4 KiB before the batch. */
const slackBytes = 8 * 1024

/** So many batches are looked at in one turn of the event loop: megabytes of small ones would hold up the answers to games. */
const batchesPerTurn = 4_096

const nothing: FetchedBatches = { bytes: Buffer.alloc(0), aborted: [] }

interface Wanted {
  readonly offset: number
  /** Batches from here on are not given. */
  readonly limit: number
  readonly maxBytes: number
  readonly atLeastOne: boolean
  readonly allocate: ((bytes: number) => Buffer) | undefined
}

/** What a piece of a segment has of the batches that are wanted. */
type Selection =
  /** They are the bytes from `start` to `end`; `nextOffset` is that after them. */
  | {
      readonly kind: 'found'
      readonly start: number
      readonly end: number
      readonly nextOffset: number
    }
  /** The next one begins at `from` and is not whole: so many bytes are needed from there. */
  | { readonly kind: 'more'; readonly from: Place; readonly bytes: number }
  /** What stands at `from` is no batch. */
  | { readonly kind: 'bad'; readonly from: Place }
  | { readonly kind: 'nothing' }

/** Reads the segments of a partition for consumers, without looking into what it gives them. */
export class PartitionFetch implements PartitionView {
  readonly #files: Files
  readonly #open: OpenSegments
  readonly #source: FetchSource

  /** `open` may be shared by all partitions: it bounds how many files are open. */
  constructor(files: Files, open: OpenSegments, source: FetchSource) {
    this.#files = files
    this.#open = open
    this.#source = source
  }

  get topicId(): string {
    return this.#source.partition.watermark().topicId
  }

  get startOffset(): number {
    return this.#source.partition.watermark().startOffset
  }

  get highWatermark(): number {
    return this.#source.partition.watermark().highWatermark
  }

  get lastStableOffset(): number {
    return this.#source.partition.watermark().visibleOffset
  }

  get offline(): string | null {
    return this.#source.partition.offline
  }

  /** See PartitionView. Gives batches of one segment. LOG_DAMAGED when the first one is bad; a bad one after others is for the next read to find. */
  async read(offset: number, options: FetchOptions): Promise<FetchedBatches> {
    const { startOffset, highWatermark, visibleOffset } = this.#source.partition.watermark()
    if (offset < startOffset || offset > highWatermark) throw this.#outOfRange(offset)
    const isCommitted = options.isolation === 'committed'
    const limit = isCommitted ? visibleOffset : highWatermark
    const extent = offset < limit ? this.#segmentAt(offset) : undefined
    // In the gap before a segment its first batch is the next one.
    const from = Math.max(offset, extent?.baseOffset ?? 0)
    if (extent === undefined || from >= limit) return nothing
    const { atLeastOne, allocate } = options
    const maxBytes = Math.max(options.maxBytes, 0)
    const wanted = { offset: from, limit, maxBytes, atLeastOne, allocate }
    const found = await this.#use(extent, offset, (segment) => this.#read(segment, wanted))
    if (found === undefined) return nothing
    const aborted = isCommitted ? this.#source.abortedIn(from, found.nextOffset) : []
    return { bytes: found.bytes, aborted }
  }

  async #read(
    segment: OpenSegment,
    wanted: Wanted,
  ): Promise<{ bytes: Buffer; nextOffset: number } | undefined> {
    const { file, index, path } = segment
    let from = index.floor(wanted.offset)
    let length = wanted.maxBytes + slackBytes
    for (;;) {
      const readBytes = Math.min(length, index.endPosition - from.position)
      const bytes = await file.read(from.position, readBytes, wanted.allocate?.(readBytes))
      const selection = await select(bytes, from, wanted)
      if (selection.kind === 'nothing') return undefined
      if (selection.kind === 'bad') throw this.#damaged(path, selection.from)
      if (selection.kind === 'found') return this.#checked(segment, bytes, from, selection)
      const isShort = selection.from.position === from.position && selection.bytes <= length
      if (isShort) throw this.#damaged(path, from)
      from = selection.from
      length = selection.bytes
    }
  }

  /** What is active was checked when it came, and is still in memory; what is sealed is checked when it is read. */
  async #checked(
    { index, path }: OpenSegment,
    bytes: Buffer,
    from: Place,
    { start, end, nextOffset }: Extract<Selection, { kind: 'found' }>,
  ): Promise<{ bytes: Buffer; nextOffset: number }> {
    const goodEnd =
      index === this.#source.partition.activeIndex ? end : await endOfGood(bytes, start, end)
    if (goodEnd === start)
      throw this.#damaged(path, {
        offset: readInt64(bytes, start),
        position: from.position + start,
      })
    return {
      bytes: bytes.subarray(start, goodEnd),
      nextOffset: goodEnd === end ? nextOffset : readInt64(bytes, goodEnd),
    }
  }

  async offsetAtTime(timestampMs: number): Promise<TimedOffset | undefined> {
    for (const extent of this.#segmentsBelow(this.highWatermark)) {
      if (extent.maxTimestampMs < timestampMs) continue
      const found = await this.#look(extent, (segment) => findTime(segment, timestampMs))
      if (found !== undefined) return found
    }
    return undefined
  }

  async offsetOfMaxTimestamp(): Promise<TimedOffset | undefined> {
    let latest: TimedOffset | undefined
    for (const extent of this.#segmentsBelow(this.highWatermark)) {
      if (extent.maxTimestampMs <= (latest?.timestampMs ?? -1)) continue
      const found = await this.#look(extent, findLatest)
      if (found !== undefined && found.timestampMs > (latest?.timestampMs ?? -1)) latest = found
    }
    return latest
  }

  /** Looks for a time in what consumers may see of a segment; none when it was removed meanwhile. */
  async #look(
    extent: SegmentExtent,
    work: (segment: TimedSegment) => Promise<TimedOffset | undefined>,
  ): Promise<TimedOffset | undefined> {
    const { startOffset, highWatermark } = this.#source.partition.watermark()
    try {
      return await this.#use(extent, extent.baseOffset, (segment) =>
        work({
          files: this.#files,
          ...segment,
          startOffset,
          limit: highWatermark,
          damaged: (place) => this.#damaged(segment.path, place),
        }),
      )
    } catch (error) {
      const isGone = error instanceof QuestlogError && error.code === 'OFFSET_OUT_OF_RANGE'
      if (isGone) return undefined
      throw error
    }
  }

  #segmentsBelow(limit: number): SegmentExtent[] {
    const { sealed, activeIndex } = this.#source.partition
    return [...sealed, activeIndex].filter(({ baseOffset }) => baseOffset < limit)
  }

  /** The segment that holds an offset, or the next one after a gap. */
  #segmentAt(offset: number): SegmentExtent | undefined {
    const { sealed, activeIndex } = this.#source.partition
    if (offset >= activeIndex.baseOffset) return activeIndex
    let low = 0
    let high = sealed.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((sealed[middle]?.endOffset ?? Infinity) <= offset) low = middle + 1
      else high = middle
    }
    return sealed[low] ?? activeIndex
  }

  /** Does work with a segment; OFFSET_OUT_OF_RANGE when `offset` was removed before it could be opened. */
  async #use<T>(
    extent: SegmentExtent,
    offset: number,
    work: (segment: OpenSegment) => Promise<T>,
  ): Promise<T> {
    const path = segmentPath(this.#source.folder, extent.baseOffset)
    try {
      return await this.#open.use(path, () => this.#loadIndex(path, extent), work)
    } catch (error) {
      await this.#open.drop([path])
      if (offset < this.startOffset) throw this.#outOfRange(offset)
      if (systemErrorCode(error) !== 'ENOENT') throw error
      const { topicName: topic } = this.#source
      const text = `topic ${topic} was deleted while it was read`
      throw new QuestlogError('TOPIC_UNKNOWN', text, { topic }, { cause: error })
    }
  }

  /** That of the active segment grows with it, and stays right when it is sealed. */
  async #loadIndex(path: string, { baseOffset }: SegmentExtent): Promise<SegmentIndex> {
    const { partition, topicName } = this.#source
    if (partition.activeIndex.baseOffset === baseOffset) return partition.activeIndex
    const place = { topic: topicName, partition: partition.watermark().partition, baseOffset }
    const known = await loadIndex(this.#files, path, place)
    if (known !== undefined) return known
    const file = await this.#files.openRead(path)
    try {
      return await scanSegment(file, baseOffset, await file.size())
    } finally {
      await file.close()
    }
  }

  #outOfRange(offset: number): QuestlogError {
    const { topicName: topic } = this.#source
    const { partition, startOffset, highWatermark } = this.#source.partition.watermark()
    return new QuestlogError(
      'OFFSET_OUT_OF_RANGE',
      `topic ${topic}, partition ${partition} holds offsets from ${startOffset} to ${highWatermark}, not ${offset}`,
      { topic, partition, offset },
    )
  }

  #damaged(file: string, { offset, position }: Place): QuestlogError {
    const { partition } = this.#source.partition.watermark()
    return damagedLog(
      { topic: this.#source.topicName, partition, file, position, offset },
      'the bytes there are not the record batch that must be there',
    )
  }
}

/** Walks over the heads of batches, from a boundary to those that are wanted. */
async function select(bytes: Buffer, from: Place, wanted: Wanted): Promise<Selection> {
  let at = 0
  let { offset } = from
  let start = -1
  for (let seen = 1; offset < wanted.limit; seen++) {
    if (seen % batchesPerTurn === 0) await nextTurn()
    const head = headAt(bytes, at, offset)
    if (start === -1) {
      const place = { offset, position: from.position + at }
      if (head === 'bad') return { kind: 'bad', from: place }
      if (head === 'short') return { kind: 'more', from: place, bytes: slackBytes }
      if (head.nextOffset > wanted.offset) {
        if (head.bytes > wanted.maxBytes && !wanted.atLeastOne) return { kind: 'nothing' }
        if (at + head.bytes > bytes.length) return { kind: 'more', from: place, bytes: head.bytes }
        start = at
      }
    } else {
      const end = typeof head === 'string' ? Infinity : at + head.bytes
      if (end > bytes.length || end - start > wanted.maxBytes) break
    }
    if (typeof head === 'string') break
    at += head.bytes
    offset = head.nextOffset
  }
  return start === -1 ? { kind: 'nothing' } : { kind: 'found', start, end: at, nextOffset: offset }
}

/** Size and end of the batch that must begin here with this offset. */
function headAt(bytes: Buffer, at: number, offset: number) {
  if (at + batchOverheadBytes > bytes.length) return 'short'
  const lastOffsetDelta = bytes.readInt32BE(at + 23)
  const isOne = looksLikeBatch(bytes, at, offset) && readInt64(bytes, at) === offset
  if (!isOne || lastOffsetDelta < 0) return 'bad'
  return { bytes: batchBytesAt(bytes, at) ?? 0, nextOffset: offset + lastOffsetDelta + 1 }
}

/** End of the batches that are as they were written, by their CRC. */
async function endOfGood(bytes: Buffer, start: number, end: number): Promise<number> {
  let at = start
  for (let seen = 1; at < end; seen++) {
    if (seen % batchesPerTurn === 0) await nextTurn()
    const next = at + (batchBytesAt(bytes, at) ?? 0)
    if (crc32c(bytes.subarray(at + 21, next)) !== bytes.readUInt32BE(at + 17)) return at
    at = next
  }
  return at
}
