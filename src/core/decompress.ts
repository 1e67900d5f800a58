import { createRequire } from 'node:module'
import * as zlib from 'node:zlib'
import { decompressZstd, TooLarge } from './zstd.ts'
import { MalformedData } from './zstd-tables.ts'

/** Throws TooLarge, or node:zlib's ERR_BUFFER_TOO_LARGE, instead of making more than `bytesMax` bytes, and MalformedData, or the codec's own error, for other bytes. */
export type Decoder = (bytes: Buffer, bytesMax: number) => Buffer

/** The native codecs are loaded when something needs them: most processes never see one, and it takes longer than all else at their start. */
const load = createRequire(import.meta.url)
export const snappy = () => load('snappy') as typeof import('snappy')

/** Frames of Zstandard, by Node or by our own decoder. */
export const unzstd: Decoder = nativeZstd() ?? decompressZstd

/** Node has it since 22.15. */
function nativeZstd(): Decoder | undefined {
  const { zstdDecompressSync } = zlib as {
    zstdDecompressSync?: (bytes: Buffer, options: { maxOutputLength: number }) => Buffer
  }
  return (
    zstdDecompressSync &&
    ((bytes, bytesMax) => zstdDecompressSync(bytes, { maxOutputLength: bytesMax }))
  )
}

/** A block makes at most 64 bytes out of 3: what it says beyond that would only take memory. */
const snappyRatioMax = 22

/** A block in Snappy's own format. */
export function unsnappy(bytes: Buffer, bytesMax: number): Buffer {
  let size = 0
  for (let at = 0, scale = 1; ; at++, scale *= 128) {
    const byte = bytes[at]
    if (byte === undefined || at > 4) throw new MalformedData('the length is cut off')
    size += (byte & 0x7f) * scale
    if (byte < 0x80) break
  }
  if (size > bytes.length * snappyRatioMax) throw new MalformedData('the length is too large')
  if (size > bytesMax) throw new TooLarge(bytesMax)
  const output = snappy().uncompressSync(bytes, { asBuffer: true })
  if (typeof output === 'string') throw new TypeError('snappy gave text')
  return output
}
