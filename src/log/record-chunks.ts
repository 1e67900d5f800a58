import { QuestlogError } from '../core/errors.ts'
import { decodeRecords, type RecordBatch } from './record-batch.ts'
import type { LogRecord } from './record.ts'

/** A record with its place. */
export interface PlacedRecord {
  readonly partition: number
  readonly record: LogRecord
  /** Why no table can have it. Where its batch can't be read, `record.value` is the whole batch at its first offset, and null at the others. */
  readonly unreadable?: string
}

/** What the offsets from `from` to `to` hold. */
export interface RecordChunk {
  readonly from: number
  readonly to: number
  readonly records: readonly PlacedRecord[]
  /** Decompressed size, about. */
  readonly bytes: number
}

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
export function* recordChunks(
  partition: number,
  {
    batches,
    nextOffset,
  }: { readonly batches: readonly RecordBatch[]; readonly nextOffset: number },
  from: number,
  end: number,
  bytesMax: number,
): Generator<RecordChunk> {
  const last = Math.min(nextOffset, end)
  let start = from
  let records: PlacedRecord[] = []
  let bytes = 0
  for (const batch of batches) {
    const first = Math.max(batch.baseOffset, from)
    for (const piece of piecesOf(batch, first, Math.min(batch.nextOffset, last))) {
      for (const record of piece.records) records.push(place(partition, record, piece.unreadable))
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

function place(partition: number, record: LogRecord, unreadable: string | undefined): PlacedRecord {
  const { timestampMs } = record
  const isInRange = timestampMs >= timestampMinMs && timestampMs <= timestampMaxMs
  if (isInRange)
    return unreadable === undefined ? { partition, record } : { partition, record, unreadable }
  const clampedMs = Math.min(Math.max(timestampMs, timestampMinMs), timestampMaxMs)
  return {
    partition,
    record: { ...record, timestampMs: clampedMs },
    unreadable: unreadable ?? `record time out of range: ${timestampMs} ms`,
  }
}

interface Piece {
  readonly records: readonly LogRecord[]
  /** Why they can't be read. */
  readonly unreadable?: string
  readonly to: number
  readonly bytes: number
  /** Whether the batch goes on after it. */
  readonly isPart: boolean
}

function* piecesOf(batch: RecordBatch, from: number, to: number): Generator<Piece> {
  if (from >= to) return
  let reason: string
  try {
    const records = decodeRecords(batch)
    const isWhole = from === batch.baseOffset && to === batch.nextOffset
    yield {
      records: isWhole ? records : records.slice(from - batch.baseOffset, to - batch.baseOffset),
      to,
      bytes: Math.max(batch.bytes.length, bytesOf(records)),
      isPart: false,
    }
    return
  } catch (error) {
    if (!(error instanceof QuestlogError)) throw error
    reason = error.message
  }
  for (let at = from; at < to; at += malformedRecordsMax) {
    const until = Math.min(at + malformedRecordsMax, to)
    yield unreadablePiece(batch, reason, at, until, until < to)
  }
}

function unreadablePiece(
  { baseOffset, bytes, maxTimestampMs: timestampMs }: RecordBatch,
  reason: string,
  from: number,
  to: number,
  isPart: boolean,
): Piece {
  const raw = bytes.subarray(0, malformedBytesMax)
  const records = Array.from({ length: to - from }, (_, index) => {
    const offset = from + index
    return {
      key: null,
      value: offset === baseOffset ? raw : null,
      headers: [],
      offset,
      timestampMs,
    }
  })
  return {
    records,
    unreadable: `${malformedReason}: ${reason}`,
    to,
    bytes: (from === baseOffset ? raw.length : 0) + records.length * placeBytes,
    isPart,
  }
}

function bytesOf(records: readonly LogRecord[]): number {
  return records.reduce((sum, { value }) => sum + (value?.length ?? 0), 0)
}
