import { QuestlogError } from '../core/errors.ts'
import { decodeRecordsIn, recordBytes, type RecordBatch } from './record-batch.ts'
import type { LogRecord } from './record.ts'

/** A record with its place. */
export interface PlacedRecord {
  readonly partition: number
  readonly record: LogRecord
  /** Why no table can have it. Where its batch can't be read, `record.value` is the whole batch at its first offset, and null at the others. */
  readonly unreadable?: string
}

/** What the offsets from `from` to `to` hold. `Packed` is what stands for several records. */
export interface RecordChunk<Packed = never> {
  readonly from: number
  readonly to: number
  readonly records: readonly (PlacedRecord | Packed)[]
  /** Decompressed size, about. */
  readonly bytes: number
}

/** Takes the records of a whole batch together, where it can: undefined for one whose records are to come one by one. `records` is what `recordBytes` gives, which it must not change; `bytes` is their size. */
export type Pack<Packed> = (
  partition: number,
  batch: RecordBatch,
  records: Buffer,
) => { readonly packed: readonly Packed[]; readonly bytes: number } | undefined

/** How the reason begins for which records are set aside whose batch can't be read. */
export const malformedReason = 'record batch malformed'

/** A batch that can't be read may claim any number of records: so many of them at a time. */
const malformedRecordsMax = 10_000
/** Of such a batch so much is kept as its raw bytes. */
const malformedBytesMax = 8 * 1024 * 1024
/** What a place among the dead letters takes, about. */
const placeBytes = 100

/**
 * The records of a partition's batches with offsets from `from` up to `end`, in chunks of about `bytesMax` decompressed bytes, at least one batch each: what is small on the disk may be large in memory.
 * The last chunk reaches to `nextOffset`, or `end`. A batch whose records can't be read (its CRC is right: a client wrote it so) gives each of its offsets with the reason.
 */
export function* recordChunks<Packed = never>(
  partition: number,
  {
    batches,
    nextOffset,
  }: { readonly batches: readonly RecordBatch[]; readonly nextOffset: number },
  from: number,
  end: number,
  bytesMax: number,
  pack: Pack<Packed> = () => undefined,
): Generator<RecordChunk<Packed>> {
  const last = Math.min(nextOffset, end)
  let start = from
  let records: (PlacedRecord | Packed)[] = []
  let bytes = 0
  for (const batch of batches) {
    const first = Math.max(batch.baseOffset, from)
    for (const piece of piecesOf(partition, batch, first, Math.min(batch.nextOffset, last), pack)) {
      for (const record of piece.records) records.push(record)
      bytes += piece.bytes
      if (bytes < bytesMax && !piece.isPart) continue
      yield { from: start, to: piece.to, records, bytes }
      start = piece.to
      records = []
      bytes = 0
    }
  }
  if (start < last) yield { from: start, to: last, records, bytes }
}

/** What tables, dates as text and other engines have room for: the years 1 to 9999. */
const timestampMinMs = -62_135_596_800_000
const timestampMaxMs = Date.UTC(9999, 11, 31, 23, 59, 59, 999)

/** Whether a table can have the record time. */
export const isTimeInRange = (timestampMs: number) =>
  timestampMs >= timestampMinMs && timestampMs <= timestampMaxMs

function place(partition: number, record: LogRecord, unreadable: string | undefined): PlacedRecord {
  const { timestampMs } = record
  if (isTimeInRange(timestampMs))
    return unreadable === undefined ? { partition, record } : { partition, record, unreadable }
  const clampedMs = Math.min(Math.max(timestampMs, timestampMinMs), timestampMaxMs)
  return {
    partition,
    record: { ...record, timestampMs: clampedMs },
    unreadable: unreadable ?? `record time out of range: ${timestampMs} ms`,
  }
}

interface Piece<Packed> {
  readonly records: readonly (PlacedRecord | Packed)[]
  readonly to: number
  readonly bytes: number
  /** Whether the batch goes on after it. */
  readonly isPart: boolean
}

function* piecesOf<Packed>(
  partition: number,
  batch: RecordBatch,
  from: number,
  to: number,
  pack: Pack<Packed>,
): Generator<Piece<Packed>> {
  if (from >= to) return
  let reason: string
  try {
    yield readablePiece(partition, batch, from, to, pack)
    return
  } catch (error) {
    if (!(error instanceof QuestlogError)) throw error
    reason = error.message
  }
  for (let at = from; at < to; at += malformedRecordsMax) {
    const until = Math.min(at + malformedRecordsMax, to)
    yield unreadablePiece(partition, batch, reason, at, until, until < to)
  }
}

/** Throws what `decodeRecords` throws. */
function readablePiece<Packed>(
  partition: number,
  batch: RecordBatch,
  from: number,
  to: number,
  pack: Pack<Packed>,
): Piece<Packed> {
  const isWhole = from === batch.baseOffset && to === batch.nextOffset
  const encoded = recordBytes(batch)
  const together = isWhole ? pack(partition, batch, encoded) : undefined
  if (together !== undefined) {
    const { packed, bytes } = together
    return { records: packed, to, bytes: Math.max(batch.bytes.length, bytes), isPart: false }
  }
  const decoded = decodeRecordsIn(batch, encoded)
  const wanted = isWhole ? decoded : decoded.slice(from - batch.baseOffset, to - batch.baseOffset)
  return {
    records: wanted.map((record) => place(partition, record, undefined)),
    to,
    bytes: Math.max(batch.bytes.length, bytesOf(decoded)),
    isPart: false,
  }
}

function unreadablePiece(
  partition: number,
  { baseOffset, bytes, maxTimestampMs: timestampMs }: RecordBatch,
  reason: string,
  from: number,
  to: number,
  isPart: boolean,
): Piece<never> {
  const raw = bytes.subarray(0, malformedBytesMax)
  const records = Array.from({ length: to - from }, (_, index) => {
    const offset = from + index
    const value = offset === baseOffset ? raw : null
    const record = { key: null, value, headers: [], offset, timestampMs }
    return place(partition, record, `${malformedReason}: ${reason}`)
  })
  return {
    records,
    to,
    bytes: (from === baseOffset ? raw.length : 0) + records.length * placeBytes,
    isPart,
  }
}

function bytesOf(records: readonly LogRecord[]): number {
  return records.reduce((sum, { value }) => sum + (value?.length ?? 0), 0)
}
