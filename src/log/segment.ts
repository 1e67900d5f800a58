import type { Files, ReadFile } from '../core/files.ts'
import {
  batchBytesAt,
  batchLengthEnd,
  batchOverheadBytes,
  decodeBatch,
  looksLikeBatch,
  recordsPerByteMax,
  type RecordBatch,
} from './record-batch.ts'
import { damagedLog } from './failures.ts'
import { readInt64 } from './int64.ts'
import { indexPath } from './layout.ts'
import { SegmentIndex, type Place } from './segment-index.ts'

/**
 * The index file of a sealed segment, when there is a good one that covers the whole segment. LOG_DAMAGED when the index is good and the segment is shorter than it:
 * bytes that were synced are gone.
 */
export async function loadIndex(
  files: Files,
  segment: string,
  place: { topic: string; partition: number; baseOffset: number },
): Promise<SegmentIndex | undefined> {
  const path = indexPath(segment)
  if ((await files.sizeOf(path)) === undefined) return undefined
  const index = SegmentIndex.decode(await files.readAll(path), place.baseOffset)
  const size = await files.sizeOf(segment)
  if (index === undefined || size === undefined || index.endPosition < size) return undefined
  if (index.endPosition === size) return index
  throw damagedLog(
    {
      topic: place.topic,
      partition: place.partition,
      file: segment,
      position: size,
      offset: index.endOffset,
    },
    `it was sealed with ${index.endPosition} bytes and has ${size}`,
  )
}

/** Walks over the batches of a segment file, from a boundary up to a limit, reading ahead in chunks. Every batch is checked against its CRC and the offset that must stand there. */
export class BatchWalk {
  readonly #file: ReadFile
  readonly #limit: number
  readonly #chunkBytes: number
  #chunk: Buffer = Buffer.alloc(0)
  #chunkStart: number
  #wanted = batchOverheadBytes
  #fileEnded = false
  #position: number
  #offset: number

  /** Reads up to byte `limit`; `chunkBytes` at a time, more when one batch is longer. */
  constructor(file: ReadFile, from: Place, limit: number, chunkBytes: number) {
    this.#file = file
    this.#limit = limit
    this.#chunkBytes = chunkBytes
    this.#chunkStart = from.position
    this.#position = from.position
    this.#offset = from.offset
  }

  /** Byte at which the next batch starts. */
  get position(): number {
    return this.#position
  }

  /** Base offset that the next batch must have. */
  get offset(): number {
    return this.#offset
  }

  /** The next batch; `end` at the limit; `more` when load() must be called first; `bad` when what is left up to the limit does not begin with a valid batch. */
  next(): RecordBatch | 'end' | 'more' | 'bad' {
    const left = this.#limit - this.#position
    if (left === 0) return 'end'
    if (left < batchOverheadBytes) return 'bad'
    const at = this.#position - this.#chunkStart
    this.#wanted = batchOverheadBytes
    if (this.#chunk.length - at < batchLengthEnd) return this.#fileEnded ? 'bad' : 'more'
    const size = batchBytesAt(this.#chunk, at)
    if (size === undefined || size > left) return 'bad'
    this.#wanted = size
    if (this.#chunk.length - at < size) return this.#fileEnded ? 'bad' : 'more'
    const batch = decodeBatch(this.#chunk.subarray(at, at + size), this.#offset)
    if (batch === undefined) return 'bad'
    this.#position += size
    this.#offset = batch.nextOffset
    return batch
  }

  /** Reads the bytes that the next batch needs, and some ahead. */
  async load(): Promise<void> {
    const left = this.#limit - this.#position
    const length = Math.min(left, Math.max(this.#chunkBytes, this.#wanted))
    this.#chunk = await this.#file.read(this.#position, length)
    this.#chunkStart = this.#position
    this.#fileEnded = this.#chunk.length < this.#wanted
  }
}

const scanChunkBytes = 1024 * 1024

/** Reads a whole segment and indexes it up to the first byte that is not part of a valid batch. */
export async function scanSegment(
  file: ReadFile,
  baseOffset: number,
  size: number,
): Promise<SegmentIndex> {
  const index = new SegmentIndex(baseOffset)
  const walk = new BatchWalk(file, { offset: baseOffset, position: 0 }, size, scanChunkBytes)
  for (;;) {
    const { position } = walk
    const batch = walk.next()
    if (batch === 'end' || batch === 'bad') return index
    if (batch === 'more') await walk.load()
    else index.note(batch, position)
  }
}

/**
 * With durability fsync no more than these bytes are unsynced at any time, or one batch that is larger. So what a crash can tear, in any order, lies in the last such bytes of a log:
 * recovery counts on it, and must count on what versions before have written.
 */
export const unsyncedBytesMax = 8 * 1024 * 1024

/** Whether bad bytes at the end of a log, none of which is known to be synced, can be what a crash left of one commit; `next` is the valid batch after them. */
export function canBeTorn(bad: Place, size: number, next: Place | undefined): boolean {
  return next === undefined || size - bad.position <= unsyncedBytesMax
}

/**
 * The first valid batch after bad bytes at `bad`, or undefined when there is none up to `size`. Its base offset lies outside its CRC, so one that
 * the bytes between can't account for is damage too: there are only so many records in a byte, and a segment has no gaps. So is one that reaches beyond
 * `endOffset`, where the next segment begins.
 */
export async function findBatchAfter(
  file: ReadFile,
  bad: Place,
  size: number,
  endOffset = Number.POSITIVE_INFINITY,
): Promise<Place | undefined> {
  for (let start = bad.position + 1; start < size; start += scanChunkBytes) {
    const window = await file.read(start, scanChunkBytes + batchOverheadBytes)
    const last = Math.min(scanChunkBytes - 1, window.length - batchOverheadBytes)
    for (let at = 0; at <= last; at++) {
      if (!looksLikeBatch(window, at, bad.offset)) continue
      const position = start + at
      const length = batchBytesAt(window, at) ?? 0
      if (position + length > size) continue
      const offset = readInt64(window, at)
      if (offset - bad.offset > (position - bad.position) * recordsPerByteMax) continue
      const bytes = await file.read(position, length)
      const batch = decodeBatch(bytes, offset)
      if (batch !== undefined && batch.nextOffset <= endOffset) return { offset, position }
    }
  }
  return undefined
}
