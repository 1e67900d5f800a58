import { crc32c } from '@node-rs/crc32'
import { QuestlogError } from '../core/errors.ts'
import { decompress } from './compression.ts'
import { readInt64, writeInt64 } from './int64.ts'
import type { LogRecord, NewRecord, RecordHeader } from './record.ts'

// Record batch, magic 2 (Kafka documentation, "Record Batch"): the fixed part is 61 bytes, all numbers are big-endian.
//   0 baseOffset int64 · 8 batchLength int32 · 12 partitionLeaderEpoch int32 · 16 magic int8 · 17 crc uint32 (CRC-32C of everything from 21) ·
//   21 attributes int16 · 23 lastOffsetDelta int32 · 27 baseTimestamp int64 · 35 maxTimestamp int64 ·
//   43 producerId int64 · 51 producerEpoch int16 · 53 baseSequence int32 · 57 records int32 · 61 the records

/** Bytes of a batch before its first record. */
export const batchOverheadBytes = 61
/** Bytes that must be there to know how long a batch is. */
export const batchLengthEnd = 12
/** No batch in a log is longer; a length beyond it is damage. Above the largest max.message.bytes. */
export const batchBytesMax = 128 * 1024 * 1024
/** Records of a compressed batch are refused beyond this size. */
const decompressedBytesMax = 256 * 1024 * 1024
/** A record takes so many bytes at least, before compression. */
const recordBytesMin = 7
/** None compresses so well that a byte holds more than these: a batch that says so lies about its count. */
export const recordsPerByteMax = 64

const magicOffset = 16
const currentMagic = 2
const crcStart = 21
export const compressionMask = 0x07
export const logAppendTimeBit = 0x08
export const transactionalBit = 0x10
/** The batch holds markers of transactions, no events. */
export const controlBit = 0x20
/** Varints around a record's payload: length 5, attributes 1, timestampDelta 10, offsetDelta 5. */
const recordOverheadMax = 21

/** A batch whose length, magic, counts and CRC are right. */
export interface RecordBatch {
  readonly baseOffset: number
  /** Offset after the last record; the base offset of a batch that follows without a gap. */
  readonly nextOffset: number
  readonly recordCount: number
  readonly baseTimestampMs: number
  readonly maxTimestampMs: number
  /** Bits 0-2 compression, bit 3 LogAppendTime, bit 4 transactional, bit 5 control. */
  readonly attributes: number
  /** Of an idempotent or transactional producer; -1 without one. */
  readonly producerId: number
  /** The whole batch as it lies on disk. */
  readonly bytes: Buffer
}

/** Records that share one record time. */
export interface RecordGroup {
  readonly timestampMs: number
  readonly records: readonly NewRecord[]
}

/** Bytes that a batch with this one record takes; what `max.message.bytes` limits. */
export function soloBatchBytes(record: NewRecord): number {
  const body = 3 + payloadBytes(record)
  return batchOverheadBytes + varintBytes(body * 2) + body
}

/** Bytes that a record takes in any batch, at most. */
export function recordBytesMax(record: NewRecord): number {
  return recordOverheadMax + payloadBytes(record)
}

/** Splits groups, in order, into batches of at most `maxBytes` each. A record that only fits alone gets a batch of its own. */
export function planBatches(groups: readonly RecordGroup[], maxBytes: number): RecordGroup[][] {
  const batches: RecordGroup[][] = []
  let batch: RecordGroup[] = []
  let bytes = batchOverheadBytes
  for (const { timestampMs, records } of groups) {
    let from = 0
    for (const [index, record] of records.entries()) {
      const size = recordBytesMax(record)
      if (bytes + size > maxBytes && bytes > batchOverheadBytes) {
        if (index > from) batch.push({ timestampMs, records: records.slice(from, index) })
        batches.push(batch)
        batch = []
        bytes = batchOverheadBytes
        from = index
      }
      bytes += size
    }
    if (from < records.length) batch.push({ timestampMs, records: records.slice(from) })
  }
  if (batch.length > 0) batches.push(batch)
  return batches
}

/** Encodes an uncompressed batch without a producer. `groups` hold at least one record; times do not go back from group to group. */
export function encodeBatch(baseOffset: number, groups: readonly RecordGroup[]): RecordBatch {
  let bound = batchOverheadBytes
  for (const { records } of groups) for (const record of records) bound += recordBytesMax(record)
  const target = Buffer.allocUnsafe(bound)
  const baseTimestampMs = groups[0]?.timestampMs ?? 0
  let maxTimestampMs = baseTimestampMs
  let at = batchOverheadBytes
  let count = 0
  for (const { timestampMs, records } of groups) {
    const timestampDelta = zigzag(timestampMs - baseTimestampMs)
    const timestampDeltaBytes = varintBytes(timestampDelta)
    if (timestampMs > maxTimestampMs) maxTimestampMs = timestampMs
    for (const record of records) {
      const body = 1 + timestampDeltaBytes + varintBytes(count * 2) + payloadBytes(record)
      at = writeVarint(target, at, body * 2)
      target[at++] = 0 // attributes: none are defined
      at = writeVarint(target, at, timestampDelta)
      at = writeVarint(target, at, count * 2)
      at = writePayload(target, at, record)
      count++
    }
  }
  const bytes = target.subarray(0, at)
  writeInt64(bytes, 0, baseOffset)
  bytes.writeInt32BE(at - batchLengthEnd, 8)
  bytes.writeInt32BE(0, 12) // partitionLeaderEpoch
  bytes[magicOffset] = currentMagic
  bytes.writeInt16BE(0, 21) // attributes
  bytes.writeInt32BE(count - 1, 23)
  writeInt64(bytes, 27, baseTimestampMs)
  writeInt64(bytes, 35, maxTimestampMs)
  writeInt64(bytes, 43, -1) // producerId
  bytes.writeInt16BE(-1, 51) // producerEpoch
  bytes.writeInt32BE(-1, 53) // baseSequence
  bytes.writeInt32BE(count, 57)
  sealBatch(bytes)
  return {
    baseOffset,
    nextOffset: baseOffset + count,
    recordCount: count,
    baseTimestampMs,
    maxTimestampMs,
    attributes: 0,
    producerId: -1,
    bytes,
  }
}

/** Length of the batch that starts at `at`, or undefined when no batch can have it. Needs `batchLengthEnd` bytes from `at`. */
export function batchBytesAt(bytes: Buffer, at: number): number | undefined {
  const size = bytes.readInt32BE(at + 8) + batchLengthEnd
  return size >= batchOverheadBytes && size <= batchBytesMax ? size : undefined
}

/** Whether a batch could start at `at`, judged cheaply by its fixed part: for finding the next batch after damage. Needs the whole fixed part. */
export function looksLikeBatch(bytes: Buffer, at: number, offsetMin: number): boolean {
  if (bytes[at + magicOffset] !== currentMagic || bytes.readInt32BE(at + 12) !== 0) return false
  const ahead = readInt64(bytes, at) - offsetMin
  return ahead >= 0 && ahead < 2 ** 32 && batchBytesAt(bytes, at) !== undefined
}

/**
 * The batch that `bytes` hold exactly, or undefined when anything is wrong with it. Base offset, length and epoch lie outside the CRC, so they are compared with what must stand there:
 * the expected offset, the length of `bytes`, and 0.
 */
export function decodeBatch(bytes: Buffer, expectedOffset: number): RecordBatch | undefined {
  if (bytes.length < batchOverheadBytes || batchBytesAt(bytes, 0) !== bytes.length) return undefined
  if (bytes[magicOffset] !== currentMagic || bytes.readInt32BE(12) !== 0) return undefined
  if (readInt64(bytes, 0) !== expectedOffset) return undefined
  if (!isIntact(bytes)) return undefined
  const recordCount = bytes.readInt32BE(57)
  // Offsets are counted as records everywhere, so a batch with holes is none of ours.
  if (recordCount < 1 || bytes.readInt32BE(23) !== recordCount - 1) return undefined
  return batchIn(bytes)
}

/** The batch that `bytes` hold exactly, when that is known to be a good one. */
export function batchIn(bytes: Buffer): RecordBatch {
  const baseOffset = readInt64(bytes, 0)
  const recordCount = bytes.readInt32BE(57)
  return {
    baseOffset,
    nextOffset: baseOffset + recordCount,
    recordCount,
    baseTimestampMs: readInt64(bytes, 27),
    maxTimestampMs: readInt64(bytes, 35),
    attributes: bytes.readInt16BE(21),
    producerId: readInt64(bytes, 43),
    bytes,
  }
}

/** Epoch and first sequence number of a batch that has a producer. */
export function sequenceOf({ bytes }: RecordBatch): { epoch: number; firstSequence: number } {
  return { epoch: bytes.readInt16BE(51), firstSequence: bytes.readInt32BE(53) }
}

/** Writes the offset in that the log gives a batch, and the epoch of its leader: the two fields before the CRC that a broker sets. */
export function placeBatch(bytes: Buffer, baseOffset: number): void {
  writeInt64(bytes, 0, baseOffset)
  bytes.writeInt32BE(0, 12)
}

/** Writes the CRC of a batch whose fields were changed. */
export function sealBatch(bytes: Buffer): void {
  bytes.writeUInt32BE(crc32c(bytes.subarray(crcStart)), 17)
}

/** Whether the CRC of a batch fits its bytes. */
export function isIntact(bytes: Buffer): boolean {
  return crc32c(bytes.subarray(crcStart)) === bytes.readUInt32BE(17)
}

/**
 * The records of a batch, in order; keys, values and header values are views into it (into the decompressed bytes if it is compressed).
 * RECORD_BATCH_MALFORMED when the CRC is right but the records are not (a client wrote them so); EVENT_TOO_LARGE beyond 256 MiB decompressed, or a million records.
 */
export function decodeRecords(batch: RecordBatch): LogRecord[] {
  return decodeRecordsIn(batch, recordBytes(batch))
}

/** So many records a compressed batch may have: some bytes can stand for any number. */
const compressedRecordsMax = 1_000_000

/** `decodeRecords` with another limit: EVENT_TOO_LARGE beyond `bytesMax` decompressed. */
export function decodeRecordsWithin(batch: RecordBatch, bytesMax: number): LogRecord[] {
  return decodeRecordsIn(batch, recordBytes(batch, bytesMax))
}

/** `decodeRecords` of a batch whose `recordBytes` are at hand. RECORD_BATCH_MALFORMED */
export function decodeRecordsIn(batch: RecordBatch, bytes: Buffer): LogRecord[] {
  const cursor = new Cursor(bytes, batch.baseOffset)
  const appendTime = (batch.attributes & logAppendTimeBit) !== 0
  const records: LogRecord[] = []
  for (let index = 0; index < batch.recordCount; index++) {
    const end = cursor.begin()
    const timestampDelta = cursor.varlong()
    if (cursor.varint() !== index) cursor.fail('the offsets have a hole')
    const key = cursor.nullable()
    const value = cursor.nullable()
    const headers = cursor.headers()
    cursor.end(end)
    const timestampMs = appendTime ? batch.maxTimestampMs : batch.baseTimestampMs + timestampDelta
    records.push({ key, value, headers, offset: batch.baseOffset + index, timestampMs })
  }
  cursor.endAll()
  return records
}

/** Where the values of a batch lie, by index of the record. */
export interface ValuePlaces {
  /** The records as they are encoded, decompressed. */
  readonly bytes: Buffer
  /** First byte of each value, and the one after its last. */
  readonly starts: Uint32Array
  readonly ends: Uint32Array
  /** Record times, milliseconds. */
  readonly timestampsMs: Float64Array
}

/** The values of a batch, whose `recordBytes` are given, without an object for each record; undefined when one has none, or a record has headers. RECORD_BATCH_MALFORMED */
export function locateValues(batch: RecordBatch, bytes: Buffer): ValuePlaces | undefined {
  const { recordCount, baseTimestampMs } = batch
  if (recordCount > bytes.length / recordBytesMin) return undefined // malformed: decodeRecords says how
  const cursor = new Cursor(bytes, batch.baseOffset)
  const appendTime = (batch.attributes & logAppendTimeBit) !== 0
  const starts = new Uint32Array(recordCount)
  const ends = new Uint32Array(recordCount)
  const timestampsMs = new Float64Array(recordCount)
  for (let index = 0; index < recordCount; index++) {
    const end = cursor.begin()
    const timestampDelta = cursor.varlong()
    if (cursor.varint() !== index) cursor.fail('the offsets have a hole')
    cursor.skip(cursor.varint())
    const length = cursor.varint()
    starts[index] = cursor.at
    cursor.skip(length)
    ends[index] = cursor.at
    if (length <= 0 || cursor.varint() !== 0) return undefined
    cursor.end(end)
    timestampsMs[index] = appendTime ? batch.maxTimestampMs : baseTimestampMs + timestampDelta
  }
  cursor.endAll()
  return { bytes, starts, ends, timestampsMs }
}

/** The records of a batch as they are encoded, decompressed: a view into the batch where it is not compressed. Errors as `decodeRecords`; `bytesMax` limits what is decompressed. */
export function recordBytes(batch: RecordBatch, bytesMax = decompressedBytesMax): Buffer {
  const bytes = batch.bytes.subarray(batchOverheadBytes)
  const codec = batch.attributes & compressionMask
  if (codec === 0) return bytes
  if (batch.recordCount > compressedRecordsMax)
    throw new QuestlogError(
      'EVENT_TOO_LARGE',
      `the record batch at offset ${batch.baseOffset} has ${batch.recordCount} records; a compressed one may have ${compressedRecordsMax}`,
      { offset: batch.baseOffset },
    )
  try {
    return decompress(codec, bytes, bytesMax)
  } catch (error) {
    if (!(error instanceof QuestlogError)) throw error
    throw new QuestlogError(
      error.code,
      `the record batch at offset ${batch.baseOffset} can't be read: ${error.message}`,
      { ...error.facts, offset: batch.baseOffset },
      { cause: error.cause },
    )
  }
}

const noHeaders: readonly RecordHeader[] = []

/** Reads record fields; every length is checked before it is used. */
class Cursor {
  readonly bytes: Buffer
  readonly #baseOffset: number
  at = 0

  constructor(bytes: Buffer, baseOffset: number) {
    this.bytes = bytes
    this.#baseOffset = baseOffset
  }

  fail(reason: string): never {
    throw new QuestlogError(
      'RECORD_BATCH_MALFORMED',
      `the record batch at offset ${this.#baseOffset} is malformed: ${reason}`,
      { offset: this.#baseOffset },
    )
  }

  byte(): number {
    return this.bytes[this.at++] ?? this.fail('it ends inside a record')
  }

  /** Reads the length and the attributes (none are defined) of a record, and gives where it ends. */
  begin(): number {
    const length = this.varint()
    const end = this.at + length
    if (length < 0 || end > this.bytes.length) this.fail('a record is longer than its batch')
    this.at++
    return end
  }

  end(expected: number): void {
    if (this.at !== expected) this.fail('a record has another length than it says')
  }

  /** After the last record. */
  endAll(): void {
    if (this.at !== this.bytes.length) this.fail('bytes follow the last record')
  }

  /** Zigzag varint of at most 32 bits. */
  varint(): number {
    let byte = this.byte()
    let value = byte & 0x7f
    for (let shift = 7; byte > 0x7f; shift += 7) {
      byte = this.byte()
      if (shift === 28 && byte > 0x0f) this.fail('a number has more than 32 bits')
      value |= (byte & 0x7f) << shift
    }
    return (value >>> 1) ^ -(value & 1)
  }

  /** Zigzag varint of at most 64 bits; refused beyond 2^53. */
  varlong(): number {
    let byte = this.byte()
    let value = byte & 0x7f
    for (let scale = 128; byte > 0x7f; scale *= 128) {
      byte = this.byte()
      value += (byte & 0x7f) * scale
      if (value > Number.MAX_SAFE_INTEGER) this.fail('a time is out of range')
    }
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  nullable(): Buffer | null {
    const length = this.varint()
    return length === -1 ? null : this.take(length)
  }

  take(length: number): Buffer {
    const start = this.at
    if (length < 0) this.fail('a field has a negative length')
    this.skip(length)
    return this.bytes.subarray(start, this.at)
  }

  /** Goes over a field; -1 is one that is null. */
  skip(length: number): void {
    if (length < -1 || this.at + length > this.bytes.length)
      this.fail('a field is longer than its batch')
    if (length > 0) this.at += length
  }

  headers(): readonly RecordHeader[] {
    const count = this.varint()
    if (count === 0) return noHeaders
    if (count < 0 || count > this.bytes.length - this.at) this.fail('it has too many headers')
    const headers: RecordHeader[] = []
    for (let index = 0; index < count; index++)
      headers.push({ key: this.take(this.varint()).toString('utf8'), value: this.nullable() })
    return headers
  }
}

function payloadBytes({ key, value, headers }: NewRecord): number {
  let bytes = nullableBytes(key) + nullableBytes(value) + varintBytes(headers.length * 2)
  for (const header of headers) {
    const keyBytes = Buffer.byteLength(header.key)
    bytes += varintBytes(keyBytes * 2) + keyBytes + nullableBytes(header.value)
  }
  return bytes
}

function nullableBytes(bytes: Uint8Array | null): number {
  return bytes === null ? 1 : varintBytes(bytes.length * 2) + bytes.length
}

function writePayload(target: Buffer, start: number, record: NewRecord): number {
  let at = writeNullable(target, start, record.key)
  at = writeNullable(target, at, record.value)
  at = writeVarint(target, at, record.headers.length * 2)
  for (const header of record.headers) {
    at = writeVarint(target, at, Buffer.byteLength(header.key) * 2)
    at += target.write(header.key, at)
    at = writeNullable(target, at, header.value)
  }
  return at
}

function writeNullable(target: Buffer, at: number, bytes: Uint8Array | null): number {
  if (bytes === null) {
    target[at] = 1 // zigzag of -1
    return at + 1
  }
  const start = writeVarint(target, at, bytes.length * 2)
  target.set(bytes, start)
  return start + bytes.length
}

function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1
}

function writeVarint(target: Buffer, start: number, unsigned: number): number {
  let at = start
  let value = unsigned
  while (value > 0x7fffffff) {
    target[at++] = (value % 128) | 0x80
    value = Math.floor(value / 128)
  }
  while (value > 0x7f) {
    target[at++] = (value & 0x7f) | 0x80
    value >>>= 7
  }
  target[at++] = value
  return at
}

function varintBytes(unsigned: number): number {
  if (unsigned < 0x80) return 1
  if (unsigned < 0x4000) return 2
  if (unsigned < 0x20_0000) return 3
  if (unsigned < 0x1000_0000) return 4
  let bytes = 5
  for (let value = unsigned / 2 ** 35; value >= 1; value /= 128) bytes++
  return bytes
}
