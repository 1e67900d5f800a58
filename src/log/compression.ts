import { createRequire } from 'node:module'
import * as zlib from 'node:zlib'
import { snappy, unsnappy, unzstd, type Decoder } from '../core/decompress.ts'
import { QuestlogError, systemErrorCode } from '../core/errors.ts'
import { TooLarge } from '../core/zstd.ts'
import { MalformedData } from '../core/zstd-tables.ts'

/** As the others, loaded when a batch needs it. */
const load = createRequire(import.meta.url)
const lz4 = () => load('lz4-napi') as typeof import('lz4-napi')

/** Compression of the records of a batch: bits 0 to 2 of its attributes (Kafka documentation, "Record Batch"). */
export const codecNames = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const

/**
 * Decompresses the records of a batch: 1 gzip, 2 snappy (raw as librdkafka writes it, or in the xerial framing of Java clients), 3 lz4 frame, 4 zstd. Never makes more
 * than `bytesMax` bytes. RECORD_BATCH_MALFORMED for bytes that are none of it, or a codec that is not known; EVENT_TOO_LARGE beyond `bytesMax`.
 */
export function decompress(codec: number, bytes: Buffer, bytesMax: number): Buffer {
  const decoder = decoders[codec]
  const name = codecNames[codec] ?? `codec ${codec}`
  if (decoder === undefined)
    throw new QuestlogError('RECORD_BATCH_MALFORMED', `there is no compression ${name}`, { codec })
  try {
    return decoder(bytes, bytesMax)
  } catch (error) {
    const isTooLarge =
      error instanceof TooLarge || systemErrorCode(error) === 'ERR_BUFFER_TOO_LARGE'
    const reason = error instanceof Error ? error.message : String(error)
    throw new QuestlogError(
      isTooLarge ? 'EVENT_TOO_LARGE' : 'RECORD_BATCH_MALFORMED',
      isTooLarge
        ? `the records have more than ${bytesMax} bytes when decompressed`
        : `the records are not valid ${name}: ${reason}`,
      { codec },
      { cause: error },
    )
  }
}

/** Compresses records: 1 gzip, 2 snappy (raw), 3 lz4 frame. For tests and commands: the log keeps what clients send. */
export function compress(codec: number, bytes: Buffer): Buffer {
  if (codec === 1) return zlib.gzipSync(bytes)
  if (codec === 2) return snappy().compressSync(bytes)
  if (codec === 3) return lz4().compressFrameSync(bytes)
  throw new QuestlogError('INTERNAL', `records can't be compressed with codec ${codec}`, { codec })
}

const decoders: readonly (Decoder | undefined)[] = [
  undefined,
  (bytes, bytesMax) => zlib.gunzipSync(bytes, { maxOutputLength: bytesMax }),
  decompressSnappy,
  decompressLz4,
  unzstd,
]

const xerialMagic = Buffer.from('82534e4150505900', 'hex')
const xerialHeaderBytes = 16

/** Snappy's own format, or blocks of it behind a header: `magic 8 · version 4 · compatible version 4`, then `length 4 · block` each. */
function decompressSnappy(bytes: Buffer, bytesMax: number): Buffer {
  if (!bytes.subarray(0, xerialMagic.length).equals(xerialMagic)) return unsnappy(bytes, bytesMax)
  const blocks: Buffer[] = []
  let left = bytesMax
  let at = xerialHeaderBytes
  if (at > bytes.length) throw new MalformedData('the header is cut off')
  while (at < bytes.length) {
    if (at + 4 > bytes.length) throw new MalformedData('a block is cut off')
    const end = at + 4 + bytes.readUInt32BE(at)
    if (end > bytes.length) throw new MalformedData('a block is cut off')
    const block = unsnappy(bytes.subarray(at + 4, end), left)
    blocks.push(block)
    left -= block.length
    at = end
  }
  return Buffer.concat(blocks)
}

/** LZ4 frame format 1.6.1: `magic 4 · flags 1 · block size 1 · [content size 8] · header checksum 1`, blocks, an empty one, [content checksum 4]. */
function decompressLz4(bytes: Buffer, bytesMax: number): Buffer {
  if (bytes.length < 7 || bytes.readUInt32LE(0) !== 0x184d2204)
    throw new MalformedData('there is no frame')
  const flags = bytes[4] ?? 0
  if (flags >> 6 !== 1 || (flags & 0x03) !== 0)
    throw new MalformedData('the frame has an unknown version or needs a dictionary')
  const blockTailBytes = (flags & 0x10) === 0 ? 0 : 4
  let at = (flags & 0x08) === 0 ? 7 : 15
  let size = 0
  for (;;) {
    if (at + 4 > bytes.length) throw new MalformedData('a block is cut off')
    const head = bytes.readUInt32LE(at)
    if (head === 0) break
    const end = at + 4 + (head & 0x7fffffff)
    if (end + blockTailBytes > bytes.length) throw new MalformedData('a block is cut off')
    const isPlain = head > 0x7fffffff
    size += isPlain ? end - at - 4 : lz4BlockBytes(bytes, at + 4, end)
    if (size > bytesMax) throw new TooLarge(bytesMax)
    at = end + blockTailBytes
  }
  if (at + ((flags & 0x04) === 0 ? 4 : 8) !== bytes.length)
    throw new MalformedData('the frame has another length than it says')
  const output = lz4().decompressFrameSync(bytes)
  if (output.length !== size) throw new MalformedData('the blocks do not add up')
  return output
}

/** Bytes that a block decompresses to, found by walking over its sequences: `lengths 1 · [literal length …] · literals · offset 2 · [match length …]`. */
function lz4BlockBytes(bytes: Buffer, start: number, end: number): number {
  let size = 0
  let at = start
  while (at < end) {
    const lengths = bytes[at++] ?? 0
    let count = lengths >> 4
    for (let more = count === 15; more; at++) {
      const byte = at < end ? (bytes[at] ?? 0) : 0
      count += byte
      more = byte === 255
    }
    at += count
    size += count
    if (at >= end) break // the last sequence has only literals
    at += 2
    count = (lengths & 15) + 4
    for (let more = count === 19; more; at++) {
      const byte = at < end ? (bytes[at] ?? 0) : 0
      count += byte
      more = byte === 255
    }
    size += count
  }
  return size
}
