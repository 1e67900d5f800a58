import { crc32c } from '@node-rs/crc32'
import { QuestlogError } from '../core/errors.ts'
import { replaceFile, type Files } from '../core/files.ts'
import { unknownFormat } from './failures.ts'
import { readInt64, writeInt64 } from './int64.ts'
import { startPath } from './layout.ts'

/** What retention has removed of a partition. */
export interface LogStart {
  /** What lies below is removed, also where its file is still there. */
  readonly startOffset: number
  /** Events that lay there. */
  readonly removedRecords: number
  /** Offsets there that held no event: control records, and records of aborted transactions. */
  readonly removedExcluded: number
}

/** Nothing was ever removed. */
export const firstStart: LogStart = {
  startOffset: 0,
  removedRecords: 0,
  removedExcluded: 0,
}

// docs/internals/log-format.md, "Start file": magic 4 · version 4 · startOffset 8 · removedRecords 8 · removedExcluded 8 · CRC-32C 4. Version 1 had no removedExcluded.
const magicText = 'QLST'
const currentVersion = 2
const crcAt = 32
const crcAtBefore = 24
const crcBytes = 4

/** Reads the start file of a partition's folder. LOG_DAMAGED when it is bad, unless `repair`: then nothing is known to be removed; FORMAT_UNKNOWN for a later version. */
export async function readLogStart(
  files: Files,
  folder: string,
  repair = false,
): Promise<LogStart> {
  const path = startPath(folder)
  if ((await files.sizeOf(path)) === undefined) return firstStart
  const bytes = await files.readAll(path)
  const whole = bytes.length >= 8 && bytes.toString('latin1', 0, 4) === magicText
  if (whole && bytes.readUInt32BE(4) > currentVersion)
    throw unknownFormat(path, bytes.readUInt32BE(4))
  const isCurrent = whole && bytes.readUInt32BE(4) === currentVersion
  const end = isCurrent ? crcAt : crcAtBefore
  const good =
    whole &&
    bytes.length === end + crcBytes &&
    crc32c(bytes.subarray(0, end)) === bytes.readUInt32BE(end)
  if (good)
    return {
      startOffset: readInt64(bytes, 8),
      removedRecords: readInt64(bytes, 16),
      removedExcluded: isCurrent ? readInt64(bytes, 24) : 0,
    }
  if (repair) return firstStart
  throw new QuestlogError(
    'LOG_DAMAGED',
    `${path} is damaged: it says what retention has removed`,
    { file: path, position: 0 },
    { hint: '`questlog up --repair` goes on with the segments that are there' },
  )
}

/** Replaces the start file, durably. */
export async function writeLogStart(files: Files, folder: string, start: LogStart): Promise<void> {
  const bytes = Buffer.alloc(crcAt + crcBytes)
  bytes.write(magicText, 0, 'latin1')
  bytes.writeUInt32BE(currentVersion, 4)
  writeInt64(bytes, 8, start.startOffset)
  writeInt64(bytes, 16, start.removedRecords)
  writeInt64(bytes, 24, start.removedExcluded)
  bytes.writeUInt32BE(crc32c(bytes.subarray(0, crcAt)), crcAt)
  await replaceFile(files, startPath(folder), bytes)
}

/** Lets a partition that holds nothing yet begin at an offset: those below are taken for removed, and for none of events. */
export async function beginAt(files: Files, folder: string, startOffset: number): Promise<void> {
  if (startOffset === 0 || (await files.sizeOf(startPath(folder))) !== undefined) return
  await files.makeFolder(folder)
  await writeLogStart(files, folder, {
    startOffset,
    removedRecords: 0,
    removedExcluded: startOffset,
  })
}
