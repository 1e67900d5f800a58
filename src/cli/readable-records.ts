import { QuestlogError } from '../core/errors.ts'
import { decodeRecords, type RecordBatch } from '../log/record-batch.ts'
import type { LogRecord } from '../log/record.ts'
import { exitCodes, printWord } from './output.ts'

/** Offsets from `from` up to `to` whose records can't be read: what a client wrote, with a right CRC. */
export interface UnreadableRange {
  readonly from: number
  readonly to: number
  readonly reason: string
}

/** Records as they are printed: those that can be read, and where others are. */
export interface ReadableRecords {
  readonly records: readonly LogRecord[]
  readonly unreadable: readonly UnreadableRange[]
}

/** The records of batches at offsets from `from` up to `to`. A batch that can't be read does not hide those that follow it. */
export function readableRecords(
  batches: readonly RecordBatch[],
  from: number,
  to: number,
): ReadableRecords {
  const records: LogRecord[] = []
  const unreadable: UnreadableRange[] = []
  for (const batch of batches) {
    try {
      for (const record of decodeRecords(batch))
        if (record.offset >= from && record.offset < to) records.push(record)
    } catch (error) {
      if (!(error instanceof QuestlogError)) throw error
      const first = Math.max(batch.baseOffset, from)
      const end = Math.min(batch.nextOffset, to)
      if (first < end) unreadable.push({ from: first, to: end, reason: error.message })
    }
  }
  return { records, unreadable }
}

/** Records of a piece of a partition, and where to read on. */
export interface ReadablePiece extends ReadableRecords {
  readonly nextOffset: number
}

/** The first records of a piece, at most `countMax`, with what can't be read before the last of them. */
export function firstOf(piece: ReadablePiece, countMax: number): ReadablePiece {
  const records = piece.records.slice(0, countMax)
  const nextOffset = (records.at(-1)?.offset ?? -1) + 1
  const unreadable = piece.unreadable.filter(({ from }) => from < nextOffset)
  const isCut =
    records.length < piece.records.length ||
    (records.length === countMax && unreadable.length < piece.unreadable.length)
  return isCut ? { records, unreadable, nextOffset } : piece
}

/** Says what is skipped, and whether a command succeeded that printed all but that. */
export class SkippedRecords {
  exitCode: number = exitCodes.ok

  readonly say = (line: string): void => {
    this.exitCode = exitCodes.failed
    printWord(line)
  }
}

/** `% Skipped topic events [0] offsets 4 to 6: the record batch at offset 4 is malformed: …` */
export function skippedLine(topic: string, partition: number, range: UnreadableRange): string {
  const { from, to, reason } = range
  const where = to - from === 1 ? `offset ${from}` : `offsets ${from} to ${to - 1}`
  return `% Skipped topic ${topic} [${partition}] ${where}: ${reason}`
}
