import { isDeepStrictEqual } from 'node:util'
import { crc32c } from '@node-rs/crc32'
import { readInt64, writeInt64 } from './int64.ts'
import { controlBit, type RecordBatch } from './record-batch.ts'

/** A batch boundary in a segment: the batch with this base offset starts at this byte. */
export interface Place {
  readonly offset: number
  readonly position: number
}

/** Where a segment begins and ends. */
export interface SegmentExtent {
  readonly baseOffset: number
  /** Offset after the last batch. */
  readonly endOffset: number
  /** Bytes of its batches. */
  readonly endPosition: number
  /** `maxTimestamp` of the last batch; -1 when there is none. */
  readonly lastTimestampMs: number
  /** Largest `maxTimestamp` of a batch that holds events; -1 when there is none, Infinity when it is not known. */
  readonly maxTimestampMs: number
  /** Whether a batch has a producer: idempotent, transactional or the marker of a transaction. */
  readonly hasProducers: boolean
  /** When the last batch was written, by the clock of the log and never that of a client; -1 when that is not known. */
  readonly writtenAtMs: number
}

const entryEveryBytes = 4096
const magicText = 'QLIX'
const currentVersion = 3
const headerBytes = 64
const entryBytes = 16
/** Version 2 did not know times of batches other than the last, and there were no producers. */
const headerBytesBefore = 52
const entryBytesBefore = 8
const crcBytes = 4
const producersFlag = 1

/**
 * Where batches of one segment start: an entry about every 4 KiB, and the exact end of what is known. It grows batch by batch, in the order of the file.
 * A writer knows its whole segment; a reader as much as it has walked over.
 */
export class SegmentIndex implements SegmentExtent {
  readonly baseOffset: number
  readonly #offsets: number[] = []
  readonly #positions: number[] = []
  /** For each entry the largest time before it; without them nothing is known of times but the last. */
  readonly #timesBefore: number[] = []
  #hasTimes = true
  #hasProducers = false
  #endOffset: number
  #endPosition = 0
  #firstTimestampMs = -1
  #beganAtMs = -1
  #lastTimestampMs = -1
  #maxTimestampMs = -1
  #writtenAtMs = -1

  constructor(baseOffset: number) {
    this.baseOffset = baseOffset
    this.#endOffset = baseOffset
  }

  get endOffset(): number {
    return this.#endOffset
  }

  get endPosition(): number {
    return this.#endPosition
  }

  get lastTimestampMs(): number {
    return this.#lastTimestampMs
  }

  get maxTimestampMs(): number {
    return this.#hasTimes ? this.#maxTimestampMs : Infinity
  }

  get hasProducers(): boolean {
    return this.#hasProducers
  }

  /** When the first batch was written; after a restart, what it says itself. -1 when there is none. */
  get beganAtMs(): number {
    return this.#beganAtMs < 0 ? this.#firstTimestampMs : this.#beganAtMs
  }

  get writtenAtMs(): number {
    return this.#writtenAtMs
  }

  /** Notes that the first batch is written at this time. */
  begin(atMs: number): void {
    this.#beganAtMs = atMs
  }

  /** Notes that the last batch was written at this time. */
  written(atMs: number): void {
    this.#writtenAtMs = Math.max(this.#writtenAtMs, atMs)
  }

  /** The ends without the entries, for keeping. */
  get extent(): SegmentExtent {
    const { baseOffset, endOffset, endPosition, hasProducers } = this
    const { lastTimestampMs, maxTimestampMs, writtenAtMs } = this
    const times = { lastTimestampMs, maxTimestampMs, writtenAtMs }
    return { baseOffset, endOffset, endPosition, hasProducers, ...times }
  }

  /** Whether the other index says the same of the same bytes, as far as both know. */
  agrees(other: SegmentIndex): boolean {
    return (
      this.baseOffset === other.baseOffset &&
      this.#endOffset === other.#endOffset &&
      this.#endPosition === other.#endPosition &&
      this.#lastTimestampMs === other.#lastTimestampMs &&
      this.#hasProducers === other.#hasProducers &&
      (!this.#hasTimes || !other.#hasTimes || this.#sameTimes(other)) &&
      isDeepStrictEqual(this.#offsets, other.#offsets) &&
      isDeepStrictEqual(this.#positions, other.#positions)
    )
  }

  #sameTimes(other: SegmentIndex): boolean {
    return (
      this.#maxTimestampMs === other.#maxTimestampMs &&
      isDeepStrictEqual(this.#timesBefore, other.#timesBefore)
    )
  }

  /** Adds a batch that starts at the known end; any other is already known, or can't be placed yet. */
  note(batch: RecordBatch, position: number): void {
    if (position !== this.#endPosition) return
    const indexed = this.#positions.at(-1)
    if (indexed === undefined || position - indexed >= entryEveryBytes) {
      this.#offsets.push(batch.baseOffset)
      this.#positions.push(position)
      this.#timesBefore.push(this.#maxTimestampMs)
    }
    if (batch.producerId >= 0) this.#hasProducers = true
    if (this.#endPosition === 0) this.#firstTimestampMs = batch.baseTimestampMs
    this.#endOffset = batch.nextOffset
    this.#endPosition = position + batch.bytes.length
    this.#lastTimestampMs = batch.maxTimestampMs
    const isControl = (batch.attributes & controlBit) !== 0
    if (!isControl && batch.maxTimestampMs > this.#maxTimestampMs)
      this.#maxTimestampMs = batch.maxTimestampMs
  }

  /** The last known boundary at or below `offset`: at most about 4 KiB before it, unless it lies beyond the known end. */
  floor(offset: number): Place {
    if (offset >= this.#endOffset) return { offset: this.#endOffset, position: this.#endPosition }
    return this.#entry(lastAtMost(this.#offsets, offset))
  }

  /** A boundary before which every batch that holds events has a lower `maxTimestamp`: at most about 4 KiB before the first that has not. */
  beforeTime(timestampMs: number): Place {
    return this.#entry(lastAtMost(this.#timesBefore, timestampMs - 1))
  }

  /** Largest `maxTimestamp` of the batches that hold events before `floor(offset)`; -1 when there is none. */
  maxTimestampBefore(offset: number): number {
    if (!this.#hasTimes || offset >= this.#endOffset) return this.maxTimestampMs
    return this.#timesBefore[lastAtMost(this.#offsets, offset)] ?? -1
  }

  #entry(at: number): Place {
    return { offset: this.#offsets[at] ?? this.baseOffset, position: this.#positions[at] ?? 0 }
  }

  /** The `.index` file of a sealed segment (docs/internals/log-format.md). */
  encode(): Buffer {
    const count = this.#offsets.length
    const bytes = Buffer.allocUnsafe(headerBytes + count * entryBytes + crcBytes)
    bytes.write(magicText, 0, 'latin1')
    bytes.writeUInt32BE(currentVersion, 4)
    writeInt64(bytes, 8, this.baseOffset)
    writeInt64(bytes, 16, this.#endOffset)
    writeInt64(bytes, 24, this.#endPosition)
    writeInt64(bytes, 32, this.#lastTimestampMs)
    writeInt64(bytes, 40, this.#writtenAtMs)
    writeInt64(bytes, 48, this.#maxTimestampMs)
    bytes.writeUInt32BE(this.#hasProducers ? producersFlag : 0, 56)
    bytes.writeUInt32BE(count, headerBytes - 4)
    for (let index = 0, at = headerBytes; index < count; index++, at += entryBytes) {
      bytes.writeUInt32BE((this.#offsets[index] ?? 0) - this.baseOffset, at)
      bytes.writeUInt32BE(this.#positions[index] ?? 0, at + 4)
      writeInt64(bytes, at + 8, this.#timesBefore[index] ?? -1)
    }
    const crcAt = bytes.length - crcBytes
    bytes.writeUInt32BE(crc32c(bytes.subarray(0, crcAt)), crcAt)
    return bytes
  }

  /** The index in these bytes; undefined when they are not a whole index, of a version that is known, of the segment with this base offset: then it is made anew by a scan. */
  static decode(bytes: Buffer, baseOffset: number): SegmentIndex | undefined {
    const crcAt = bytes.length - crcBytes
    if (crcAt < headerBytesBefore || bytes.toString('latin1', 0, 4) !== magicText) return undefined
    const version = bytes.readUInt32BE(4)
    if (version !== currentVersion && version !== currentVersion - 1) return undefined
    const isCurrent = version === currentVersion
    const entriesAt = isCurrent ? headerBytes : headerBytesBefore
    const size = isCurrent ? entryBytes : entryBytesBefore
    if (crcAt < entriesAt) return undefined
    if (crc32c(bytes.subarray(0, crcAt)) !== bytes.readUInt32BE(crcAt)) return undefined
    const count = bytes.readUInt32BE(entriesAt - 4)
    if (readInt64(bytes, 8) !== baseOffset || entriesAt + count * size !== crcAt) return undefined
    const index = new SegmentIndex(baseOffset)
    for (let at = entriesAt; at < crcAt; at += size) {
      index.#offsets.push(baseOffset + bytes.readUInt32BE(at))
      index.#positions.push(bytes.readUInt32BE(at + 4))
      if (isCurrent) index.#timesBefore.push(readInt64(bytes, at + 8))
    }
    index.#endOffset = readInt64(bytes, 16)
    index.#endPosition = readInt64(bytes, 24)
    index.#lastTimestampMs = readInt64(bytes, 32)
    index.#writtenAtMs = readInt64(bytes, 40)
    index.#hasTimes = isCurrent
    if (isCurrent) index.#maxTimestampMs = readInt64(bytes, 48)
    index.#hasProducers = isCurrent && (bytes.readUInt32BE(56) & producersFlag) !== 0
    return index
  }
}

/** Place of the last of these ascending values that is at most `limit`; -1 when there is none. */
function lastAtMost(ascending: readonly number[], limit: number): number {
  let low = 0
  let high = ascending.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((ascending[middle] ?? Infinity) <= limit) low = middle + 1
    else high = middle
  }
  return low - 1
}
