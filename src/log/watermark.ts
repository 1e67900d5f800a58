import { crc32c } from '@node-rs/crc32'
import type { SharedFile } from '../core/files.ts'
import { unknownFormat } from './failures.ts'
import { readInt64, writeInt64 } from './int64.ts'
import type { PartitionWatermark, Watermark } from './record.ts'

// docs/internals/log-format.md, "Watermark file": magic 4 · version 4 · incarnation 16 · sequence 8 · count 4 · entries · CRC-32C 4.
// An entry of version 2 ends before highWatermark, one of version 1 before removedRecords.
const magicText = 'QLWM'
const currentVersion = 3
const headerBytes = 36
const entryBytes = 104
const entryBytesOfVersion2 = 80
const entryBytesOfVersion1 = 72
const offlineFlag = 1
const crcBytes = 4
/** A torn read is repeated this often before the last good reading is given instead. */
const tornReadsMax = 100

/** Partitions that the file, and so a log, can hold; keeps one reading under 320 KiB. */
export const logPartitionsMax = 3_000

/** Publishes the ends of all partitions: one write a group commit, nothing allocated. */
export class WatermarkWriter {
  readonly #file: SharedFile
  readonly #slots = new Map<string, number>()
  #bytes: Buffer
  #sequence = 0

  constructor(file: SharedFile, incarnation: string) {
    this.#file = file
    this.#bytes = Buffer.alloc(headerBytes + crcBytes)
    this.#bytes.write(magicText, 0, 'latin1')
    this.#bytes.writeUInt32BE(currentVersion, 4)
    writeUuid(this.#bytes, 8, incarnation)
  }

  /** Changes the entry of a partition, or adds it. Readers see it after `publish`. */
  set(watermark: PartitionWatermark): void {
    const key = `${watermark.topicId}/${watermark.partition}`
    const slot = this.#slots.get(key) ?? this.#addSlot(key, watermark)
    const at = headerBytes + slot * entryBytes + 20
    writeInt64(this.#bytes, at, watermark.visibleOffset)
    writeInt64(this.#bytes, at + 8, watermark.syncedOffset)
    writeInt64(this.#bytes, at + 16, watermark.segmentBaseOffset)
    writeInt64(this.#bytes, at + 24, watermark.position)
    writeInt64(this.#bytes, at + 32, watermark.startOffset)
    writeInt64(this.#bytes, at + 40, watermark.missingOffsets)
    this.#bytes.writeUInt32BE(watermark.offline ? offlineFlag : 0, at + 48)
    writeInt64(this.#bytes, at + 52, watermark.removedRecords)
    writeInt64(this.#bytes, at + 60, watermark.highWatermark)
    writeInt64(this.#bytes, at + 68, watermark.excludedOffsets)
    writeInt64(this.#bytes, at + 76, watermark.removedExcluded)
  }

  #addSlot(key: string, { topicId, partition }: PartitionWatermark): number {
    const slot = this.#slots.size
    this.#slots.set(key, slot)
    const at = headerBytes + slot * entryBytes
    const grown = Buffer.alloc(at + entryBytes + crcBytes)
    this.#bytes.copy(grown, 0, 0, at)
    this.#bytes = grown
    grown.writeUInt32BE(slot + 1, 32)
    writeUuid(grown, at, topicId)
    grown.writeUInt32BE(partition, at + 16)
    return slot
  }

  /** Takes the entries of a topic out. Readers see it after `publish`. */
  remove(topicId: string): void {
    for (const [key, slot] of this.#slots) {
      if (!key.startsWith(`${topicId}/`)) continue
      // The last entry takes its place.
      const last = this.#slots.size - 1
      const lastAt = headerBytes + last * entryBytes
      this.#bytes.copyWithin(headerBytes + slot * entryBytes, lastAt, lastAt + entryBytes)
      for (const [other, at] of this.#slots) if (at === last) this.#slots.set(other, slot)
      this.#slots.delete(key)
      this.#bytes = this.#bytes.subarray(0, lastAt + crcBytes)
      this.#bytes.writeUInt32BE(last, 32)
    }
  }

  /** Writes the file: readers see every entry as it is now. */
  publish(): void {
    this.#sequence++
    writeInt64(this.#bytes, 24, this.#sequence)
    const crcAt = this.#bytes.length - crcBytes
    this.#bytes.writeUInt32BE(crc32c(this.#bytes.subarray(0, crcAt)), crcAt)
    this.#file.write(this.#bytes)
  }

  close(): void {
    this.#file.close()
  }
}

interface Reading {
  readonly watermark: Watermark
  readonly sequence: number
  readonly crc: number
  /** Bytes, the CRC included. */
  readonly length: number
}

/** Whether the bytes begin and end as those of a reading did, whose sequence and CRC no other has; those between were checked then. */
function isStill(bytes: Buffer, { sequence, crc, length }: Reading): boolean {
  return (
    bytes.length >= length &&
    readInt64(bytes, 24) === sequence &&
    bytes.readUInt32BE(length - crcBytes) === crc
  )
}

/** Reads the watermark file while another process overwrites it. */
export class WatermarkReader {
  readonly #file: SharedFile
  readonly #path: string
  #last: Reading | undefined

  constructor(file: SharedFile, path: string) {
    this.#file = file
    this.#path = path
  }

  /** The newest whole reading; undefined when there was none yet. The same object as before when nothing changed. */
  read(): Watermark | undefined {
    for (let attempt = 0; attempt < tornReadsMax; attempt++) {
      const bytes = this.#file.read()
      if (bytes.length === 0) return this.#last?.watermark
      const last = this.#last
      if (last !== undefined && isStill(bytes, last)) return last.watermark
      const length = watermarkBytes(bytes, this.#path)
      if (length === undefined) continue
      const sequence = readInt64(bytes, 24)
      const crc = bytes.readUInt32BE(length - crcBytes)
      const watermark = decode(bytes)
      this.#last = { watermark, sequence, crc, length }
      return watermark
    }
    return this.#last?.watermark
  }

  close(): void {
    this.#file.close()
  }
}

/** Length of the whole watermark that `bytes` start with; undefined when they are torn. FORMAT_UNKNOWN for a later version. */
function watermarkBytes(bytes: Buffer, path: string): number | undefined {
  if (bytes.length < headerBytes + crcBytes) return undefined
  if (bytes.toString('latin1', 0, 4) !== magicText) return undefined
  const version = bytes.readUInt32BE(4)
  if (version > currentVersion) throw unknownFormat(path, version)
  const crcAt = headerBytes + bytes.readUInt32BE(32) * entrySize(version)
  if (crcAt + crcBytes > bytes.length) return undefined
  if (crc32c(bytes.subarray(0, crcAt)) !== bytes.readUInt32BE(crcAt)) return undefined
  return crcAt + crcBytes
}

function entrySize(version: number): number {
  if (version === currentVersion) return entryBytes
  return version === 2 ? entryBytesOfVersion2 : entryBytesOfVersion1
}

function decode(bytes: Buffer): Watermark {
  const partitions: PartitionWatermark[] = []
  const size = entrySize(bytes.readUInt32BE(4))
  for (let slot = 0; slot < bytes.readUInt32BE(32); slot++) {
    const at = headerBytes + slot * size
    const visibleOffset = readInt64(bytes, at + 20)
    partitions.push({
      topicId: readUuid(bytes, at),
      partition: bytes.readUInt32BE(at + 16),
      visibleOffset,
      syncedOffset: readInt64(bytes, at + 28),
      segmentBaseOffset: readInt64(bytes, at + 36),
      position: readInt64(bytes, at + 44),
      startOffset: readInt64(bytes, at + 52),
      missingOffsets: readInt64(bytes, at + 60),
      offline: (bytes.readUInt32BE(at + 68) & offlineFlag) !== 0,
      removedRecords: size >= entryBytesOfVersion2 ? readInt64(bytes, at + 72) : 0,
      highWatermark: size === entryBytes ? readInt64(bytes, at + 80) : visibleOffset,
      excludedOffsets: size === entryBytes ? readInt64(bytes, at + 88) : 0,
      removedExcluded: size === entryBytes ? readInt64(bytes, at + 96) : 0,
    })
  }
  return { incarnation: readUuid(bytes, 8), partitions }
}

/** A random UUID (RFC 9562, version 4) from 16 random bytes. */
export function uuidFrom(random: Buffer): string {
  const bytes = Buffer.from(random)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  return readUuid(bytes, 0)
}

function writeUuid(target: Buffer, at: number, uuid: string): void {
  target.write(uuid.replaceAll('-', ''), at, 16, 'hex')
}

function readUuid(bytes: Buffer, at: number): string {
  const hex = bytes.toString('hex', at, at + 16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
