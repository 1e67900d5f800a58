import type { Files } from '../core/files.ts'
import { QuestlogError } from '../core/errors.ts'
import { AbortedLookup } from './aborted-lookup.ts'
import { damagedLog } from './failures.ts'
import {
  belowStart,
  listSegments,
  metaPath,
  partitionFolder,
  segmentPath,
  watermarkPath,
} from './layout.ts'
import { decodeMeta } from './meta.ts'
import { OpenSegments, type OpenSegment } from './open-segments.ts'
import type { RecordBatch } from './record-batch.ts'
import type { PartitionWatermark, Topic, Watermark } from './record.ts'
import { BatchWalk, loadIndex } from './segment.ts'
import { SegmentIndex } from './segment-index.ts'
import { WatermarkReader } from './watermark.ts'

/** Segments whose file and index are kept open. */
const openSegmentsMax = 32
/** Read beyond `maxBytes`: the index entry to start at may lie that much before the offset asked for. */
const indexSlackBytes = 8 * 1024
/** Read at once while looking for an offset that the index does not reach. */
const searchChunkBytes = 1024 * 1024

/** Offsets from `from` (inclusive) to `to` (exclusive). */
export interface LogRange {
  readonly from: number
  readonly to: number
}

/** What one read gives. */
export interface LogSlice {
  /** Those that hold events. */
  readonly batches: readonly RecordBatch[]
  /** Where to read on; beyond the last batch when a gap follows up to the watermark. */
  readonly nextOffset: number
  readonly bytes: number
  /** Offsets in [fromOffset, nextOffset) that were left out, how many and which: control records and records of aborted transactions. */
  readonly excluded: number
  readonly excludedRanges: readonly LogRange[]
}

/** Batches as they lie in a segment. */
interface LocatedSlice {
  readonly batches: readonly RecordBatch[]
  readonly nextOffset: number
  readonly bytes: number
  readonly segment: string
  /** Byte at which the first batch starts. */
  readonly position: number
}

interface Search {
  readonly topic: string
  readonly folder: string
  readonly offset: number
  readonly upTo: PartitionWatermark
  readonly maxBytes: number
}

/** Reads the log of another process (or of this one) while it is appended to. Never writes. */
export class LogReader {
  readonly #files: Files
  readonly #folder: string
  readonly #watermark: WatermarkReader
  readonly #segments: OpenSegments
  readonly #bases = new Map<string, readonly number[]>()
  readonly #aborted: AbortedLookup
  #meta: { key: string; topics: readonly Topic[] } = { key: '', topics: [] }
  /** The topic whose partition was last read in a folder: one that was deleted may have left its name to another. */
  readonly #owners = new Map<string, string>()

  /** `folder` is `<data>/log`. */
  constructor(files: Files, folder: string) {
    const path = watermarkPath(folder)
    this.#files = files
    this.#folder = folder
    this.#watermark = new WatermarkReader(files.openShared(path, 'read'), path)
    this.#segments = new OpenSegments(files, openSegmentsMax)
    this.#aborted = new AbortedLookup(files)
  }

  /** The topics as they are now; the meta file is read again when it has changed. */
  async topics(): Promise<readonly Topic[]> {
    const path = metaPath(this.#folder)
    const bytes = (await this.#files.sizeOf(path)) ?? 0
    if (bytes === 0) return []
    const key = `${bytes} ${await this.#files.modifiedMs(path)}`
    if (key !== this.#meta.key) {
      const { topics } = decodeMeta(await this.#files.readAll(path), path)
      this.#meta = { key, topics }
    }
    return this.#meta.topics
  }

  /** The newest watermark, synchronously; undefined before the first start of ingest. The same object while nothing changes. */
  watermark(): Watermark | undefined {
    return this.#watermark.read()
  }

  /**
   * Whole batches from the one that contains `fromOffset`, or the next one after a gap, up to the watermark `upTo`; about `maxBytes`, at least one batch.
   * The records of the first batch that lie before `fromOffset` are the caller's to skip. Batches are views into one read. Control batches and batches of aborted transactions are left
   * out, so there may be none although `nextOffset` moves on.
   * OFFSET_OUT_OF_RANGE below `startOffset` (also when retention has moved it since `upTo` was read) or above `visibleOffset`; LOG_DAMAGED with the place when a batch in the range is bad.
   */
  async read(
    topic: Topic,
    partition: number,
    fromOffset: number,
    upTo: PartitionWatermark,
    maxBytes: number,
  ): Promise<LogSlice> {
    const { startOffset, visibleOffset } = upTo
    if (fromOffset < startOffset || fromOffset > visibleOffset)
      throw outOfRange(
        topic.name,
        partition,
        fromOffset,
        `holds offsets from ${startOffset} to ${visibleOffset}`,
      )
    const found = await this.#find(topic, partition, fromOffset, upTo, maxBytes)
    const none = { batches: [], nextOffset: visibleOffset, bytes: 0, excluded: 0 }
    if (found === undefined) return { ...none, excludedRanges: [] }
    const { nextOffset, bytes } = found
    const isExcluded = await this.#exclusion(topic, upTo, found.batches)
    const excludedRanges = rangesOf(found.batches.filter(isExcluded), fromOffset)
    const excluded = excludedRanges.reduce((sum, { from, to }) => sum + to - from, 0)
    const batches = excluded === 0 ? found.batches : found.batches.filter((b) => !isExcluded(b))
    return { batches, nextOffset, bytes, excluded, excludedRanges }
  }

  #exclusion(topic: Topic, upTo: PartitionWatermark, batches: readonly RecordBatch[]) {
    const folder = partitionFolder(this.#folder, topic.name, upTo.partition)
    const incarnation = () => this.#watermark.read()?.incarnation
    return this.#aborted.exclusion(folder, incarnation, upTo.visibleOffset, batches)
  }

  /** Segment and byte position of the batch that holds an offset, and whether it is one that holds no event; undefined when no visible record has it. LOG_DAMAGED as `read`. */
  async locate(
    topic: Topic,
    partition: number,
    offset: number,
    upTo: PartitionWatermark,
  ): Promise<{ segment: string; position: number; isExcluded: boolean } | undefined> {
    if (offset < upTo.startOffset || offset >= upTo.visibleOffset) return undefined
    const found = await this.#find(topic, partition, offset, upTo, 1).catch((error: unknown) => {
      if (error instanceof QuestlogError && error.code === 'OFFSET_OUT_OF_RANGE') return undefined
      throw error
    })
    const first = found?.batches[0]
    if (found === undefined || first === undefined || first.baseOffset > offset) return undefined
    const isExcluded = (await this.#exclusion(topic, upTo, [first]))(first)
    return { segment: found.segment, position: found.position, isExcluded }
  }

  /** Syncs a segment that another process appends to: what the page cache holds of it is durable afterwards. */
  async syncSegment(topic: Topic, partition: number, baseOffset: number): Promise<void> {
    await this.#files.syncFile(
      segmentPath(partitionFolder(this.#folder, topic.name, partition), baseOffset),
    )
  }

  async close(): Promise<void> {
    this.#watermark.close()
    await this.#segments.close()
  }

  /** Closes the segments of a partition that retention has removed: as long as one is open, the disk does not get its room back. */
  async releaseRemoved(topic: Topic, partition: number, startOffset: number): Promise<void> {
    const folder = partitionFolder(this.#folder, topic.name, partition)
    const bases = this.#bases.get(folder) ?? []
    const removed = belowStart(bases, startOffset)
    if (removed.length === 0) return
    this.#bases.set(folder, bases.slice(removed.length))
    await this.#segments.drop(removed.map((base) => segmentPath(folder, base)))
  }

  /** What fails is tried once more with files opened anew: a restart with --repair may have replaced them. */
  async #find(
    topic: Topic,
    partition: number,
    offset: number,
    upTo: PartitionWatermark,
    maxBytes: number,
  ): Promise<LocatedSlice | undefined> {
    if (offset === upTo.visibleOffset) return undefined
    const folder = partitionFolder(this.#folder, topic.name, partition)
    const search: Search = { topic: topic.name, folder, offset, upTo, maxBytes }
    if ((this.#owners.get(folder) ?? topic.id) !== topic.id) await this.#forget(folder)
    this.#owners.set(folder, topic.id)
    try {
      return await this.#search(search)
    } catch {
      await this.#forget(folder)
      return this.#search(search).catch((error: unknown) => {
        // Removed while it was being opened, or its topic was: the watermark says so before the file goes.
        const now = this.#watermark
          .read()
          ?.partitions.find((each) => each.topicId === topic.id && each.partition === partition)
        throw now === undefined || now.startOffset > offset ? removedOffset(search) : error
      })
    }
  }

  async #forget(folder: string): Promise<void> {
    this.#bases.delete(folder)
    this.#aborted.forget(folder)
    await this.#segments.forget(folder)
  }

  async #search(search: Search): Promise<LocatedSlice | undefined> {
    const { folder, offset, upTo } = search
    const bases = await this.#segmentsUpTo(folder, upTo.segmentBaseOffset)
    const first = bases.findLastIndex((base) => base <= offset)
    if (first === -1) throw removedOffset(search)
    for (const base of bases.slice(first)) {
      if (base > upTo.segmentBaseOffset) break
      const path = segmentPath(folder, base)
      const found = await this.#segments.use(
        path,
        () => this.#loadIndex(path, base, search),
        (segment) => readSegment(segment, search),
      )
      if (found.batches.length > 0) return found
    }
    return undefined
  }

  /** Base offsets of the segments; the folder is listed again when the watermark names one that is not among them. */
  async #segmentsUpTo(folder: string, activeBase: number): Promise<readonly number[]> {
    const known = this.#bases.get(folder)
    if (known?.includes(activeBase)) return known
    const bases = await listSegments(this.#files, folder)
    this.#bases.set(folder, bases)
    return bases
  }

  /** A sealed segment has an index file; what the active one holds is learned by walking over it. */
  async #loadIndex(path: string, base: number, { topic, upTo }: Search): Promise<SegmentIndex> {
    const place = { topic, partition: upTo.partition, baseOffset: base }
    const sealed = base < upTo.segmentBaseOffset
    const index = sealed ? await loadIndex(this.#files, path, place) : undefined
    return index ?? new SegmentIndex(base)
  }
}

/** The offsets of these batches from an offset on; neighbours are one range. */
function rangesOf(batches: readonly RecordBatch[], fromOffset: number): LogRange[] {
  const ranges: LogRange[] = []
  for (const { baseOffset, nextOffset } of batches) {
    const from = Math.max(baseOffset, fromOffset)
    const last = ranges.at(-1)
    if (last?.to === from) ranges[ranges.length - 1] = { from: last.from, to: nextOffset }
    else ranges.push({ from, to: nextOffset })
  }
  return ranges
}

function outOfRange(topic: string, partition: number, offset: number, why: string): QuestlogError {
  return new QuestlogError(
    'OFFSET_OUT_OF_RANGE',
    `topic ${topic}, partition ${partition} ${why}, not ${offset}`,
    { topic, partition, offset },
  )
}

function removedOffset({ topic, upTo, offset }: Search): QuestlogError {
  return outOfRange(topic, upTo.partition, offset, 'begins later by now, or is gone')
}

/** Batches of one segment from the offset on; none when the segment ends before it. */
async function readSegment(segment: OpenSegment, search: Search): Promise<LocatedSlice> {
  const { topic, offset, upTo, maxBytes } = search
  const { file, index, path } = segment
  const active = index.baseOffset === upTo.segmentBaseOffset
  const limit = active ? upTo.position : await file.size()
  const chunkBytes = offset > index.endOffset ? searchChunkBytes : indexSlackBytes
  const walk = new BatchWalk(file, index.floor(offset), limit, maxBytes + chunkBytes)
  const batches: RecordBatch[] = []
  let start = 0
  let bytes = 0
  while (bytes < maxBytes) {
    const { position } = walk
    const batch = walk.next()
    if (batch === 'more' && bytes === 0) {
      await walk.load()
      continue
    }
    if (batch === 'end' && (!active || walk.offset === upTo.visibleOffset)) break
    if (typeof batch === 'string') {
      if (bytes > 0) break // what is there is given first
      const place = { topic, partition: upTo.partition, file: path, position, offset: walk.offset }
      throw damagedLog(place, 'the bytes there are not the record batch that must be there')
    }
    index.note(batch, position)
    if (batch.nextOffset <= offset) continue
    if (bytes === 0) start = position
    if (bytes > 0 && bytes + batch.bytes.length > maxBytes) break
    batches.push(batch)
    bytes += batch.bytes.length
  }
  const nextOffset = batches.at(-1)?.nextOffset ?? offset
  return { batches, nextOffset, bytes, segment: path, position: start }
}
