import { crc32c } from '@node-rs/crc32'
import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { unknownFormat } from './failures.ts'
import { readInt64, writeInt64 } from './int64.ts'
import type { AbortedTransaction } from './record.ts'
import type { AbortedEntry } from './transactions.ts'

// docs/internals/log-format.md, "Index of aborted transactions": magic 4 · version 4 · number of the first entry 8, then entries:
// producerId 8 · firstOffset 8 · lastOffset 8 · lastStableOffset 8 · CRC-32C of these 32 bytes 4.
const magicText = 'QLAB'
const currentVersion = 1
const headerBytes = 16
const payloadBytes = 32
const entryBytes = payloadBytes + 4

/** The whole index, as a file of it says. */
export interface AbortedContents {
  /** Number of the first entry: as many were before it, in this index, and are pruned. */
  readonly firstNumber: number
  readonly entries: readonly AbortedEntry[]
}

/** The header of a file of which the first entry has this number. */
export function encodeAbortedHeader(firstNumber: number): Buffer {
  const bytes = Buffer.alloc(headerBytes)
  bytes.write(magicText, 0, 'latin1')
  bytes.writeUInt32BE(currentVersion, 4)
  writeInt64(bytes, 8, firstNumber)
  return bytes
}

/** Entries as the file keeps them, one after another. */
export function encodeAborted(entries: readonly AbortedEntry[]): Buffer {
  const bytes = Buffer.alloc(entries.length * entryBytes)
  for (const [index, entry] of entries.entries()) {
    const at = index * entryBytes
    writeInt64(bytes, at, entry.producerId)
    writeInt64(bytes, at + 8, entry.firstOffset)
    writeInt64(bytes, at + 16, entry.lastOffset)
    writeInt64(bytes, at + 24, entry.lastStableOffset)
    bytes.writeUInt32BE(crc32c(bytes.subarray(at, at + payloadBytes)), at + payloadBytes)
  }
  return bytes
}

/** Reads a file up to its first bad entry; undefined when its header is bad. FORMAT_UNKNOWN for a later version. */
export function decodeAborted(bytes: Buffer, path: string): AbortedContents | undefined {
  if (bytes.length < headerBytes || bytes.toString('latin1', 0, 4) !== magicText) return undefined
  const version = bytes.readUInt32BE(4)
  if (version > currentVersion) throw unknownFormat(path, version)
  const entries: AbortedEntry[] = []
  for (let at = headerBytes; at + entryBytes <= bytes.length; at += entryBytes) {
    if (crc32c(bytes.subarray(at, at + payloadBytes)) !== bytes.readUInt32BE(at + payloadBytes))
      break
    entries.push({
      producerId: readInt64(bytes, at),
      firstOffset: readInt64(bytes, at + 8),
      lastOffset: readInt64(bytes, at + 16),
      lastStableOffset: readInt64(bytes, at + 24),
    })
  }
  return { firstNumber: readInt64(bytes, 8), entries }
}

/** Bytes of a file with so many entries. */
export const abortedBytes = (entries: number): number => headerBytes + entries * entryBytes

/** The contents of an index; undefined when there is no file, or its header is bad. */
export async function readAborted(
  files: Files,
  path: string,
): Promise<AbortedContents | undefined> {
  const bytes = await files.readAll(path).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  })
  return bytes === undefined ? undefined : decodeAborted(bytes, path)
}

/** What an index has beyond its first entries, where it still begins with the same number; else all of it. Undefined when there is no file. */
export async function readAbortedSince(
  files: Files,
  path: string,
  known: { readonly firstNumber: number; readonly count: number } | undefined,
): Promise<(AbortedContents & { readonly isMore: boolean }) | undefined> {
  const file = await files.openRead(path).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  })
  if (file === undefined) return undefined
  try {
    const header = await file.read(0, headerBytes)
    const firstNumber = decodeAborted(header, path)?.firstNumber
    const isMore = known !== undefined && known.firstNumber === firstNumber
    const from = abortedBytes(isMore ? known.count : 0)
    const rest = await file.read(from, Math.max(0, (await file.size()) - from))
    const contents = decodeAborted(Buffer.concat([header, rest]), path)
    return contents === undefined ? undefined : { ...contents, isMore }
  } finally {
    await file.close()
  }
}

/** Transactions that were aborted and may have records in a range of offsets. `entries` are in the order of their markers. */
export function abortedIn(
  entries: readonly AbortedEntry[],
  fromOffset: number,
  toOffset: number,
): AbortedTransaction[] {
  const found: AbortedTransaction[] = []
  for (let at = firstEndingFrom(entries, fromOffset); at < entries.length; at++) {
    const entry = entries[at]
    if (entry === undefined) break
    const { producerId, firstOffset, lastStableOffset } = entry
    if (firstOffset < toOffset) found.push({ producerId, firstOffset })
    if (lastStableOffset >= toOffset) break
  }
  return found
}

/** Whether the record of a producer at this offset belongs to an aborted transaction. `entries` are all of its own, in order. */
export function isAborted(entries: readonly AbortedEntry[] | undefined, offset: number): boolean {
  if (entries === undefined) return false
  const entry = entries[firstEndingFrom(entries, offset)]
  return entry !== undefined && entry.firstOffset <= offset
}

function firstEndingFrom(entries: readonly AbortedEntry[], offset: number): number {
  let low = 0
  let high = entries.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((entries[middle]?.lastOffset ?? Infinity) < offset) low = middle + 1
    else high = middle
  }
  return low
}
