import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { codecNames, compress, decompress } from '../../src/log/compression.ts'
import { decompressZstd, TooLarge } from '../../src/core/zstd.ts'
import { MalformedData } from '../../src/core/zstd-tables.ts'

const mib = 1024 * 1024

const content = fc.oneof(
  fc.uint8Array({ maxLength: 3000 }),
  fc
    .tuple(
      fc.array(fc.constantFrom('{"event_type":"', 'sword', '"}', '\n', '12'), { maxLength: 500 }),
    )
    .map(([parts]) => Buffer.from(parts.join(''))),
  fc.nat(100_000).map((length) => Buffer.alloc(length, 'ab')),
)

function codeOf(work: () => unknown): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    if (!(error instanceof QuestlogError)) throw error
    return error.code
  }
}

/** The text that is in the zstd files, which were made by zstd 1.5.4: `level-3` by default, `level-19`, and `streamed` of its first 20,000 bytes without a size. */
function sampleText(): Buffer {
  let state = 1
  const below = (end: number) => {
    state = (state * 48_271) % 2_147_483_647
    return state % end
  }
  const lines = Array.from({ length: 2000 }, () =>
    JSON.stringify({
      event_type: ['purchase_sword', 'join_guild', 'default'][below(3)],
      player: below(500),
      Host: `user${below(9)}.comcast.com`,
    }),
  )
  return Buffer.from(lines.join('\n'))
}

const fixture = (name: string) => readFileSync(new URL(`fixtures/${name}.zst`, import.meta.url))

function xerial(blocks: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [Buffer.from('82534e41505059000000000100000001', 'hex')]
  for (const block of blocks) {
    const compressed = compress(2, block)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(compressed.length)
    parts.push(length, compressed)
  }
  return Buffer.concat(parts)
}

/** A zstd frame without a content size, of raw blocks and runs: what can be written by hand. */
function zstdFrame(blocks: readonly (Buffer | { byte: number; count: number })[]): Buffer {
  const parts: Buffer[] = [Buffer.from('28b52ffd0058', 'hex')] // window 2 MiB
  for (const [index, block] of blocks.entries()) {
    const isLast = index === blocks.length - 1 ? 1 : 0
    const isRun = 'byte' in block
    const size = isRun ? block.count : block.length
    const head = Buffer.alloc(3)
    head.writeUIntLE(size * 8 + (isRun ? 2 : 0) + isLast, 0, 3)
    parts.push(head, isRun ? Buffer.of(block.byte) : block)
  }
  return Buffer.concat(parts)
}

describe('records', () => {
  test('that were compressed come back as they were', () => {
    fc.assert(
      fc.property(content, fc.constantFrom(1, 2, 3), (array, codec) => {
        const bytes = Buffer.from(array)
        expect(decompress(codec, compress(codec, bytes), mib).equals(bytes)).toBe(true)
      }),
    )
  })

  test('in the xerial framing of snappy, as Java clients write it, come back as they were', () => {
    fc.assert(
      fc.property(fc.array(content, { maxLength: 4 }), (arrays) => {
        const blocks = arrays.map((array) => Buffer.from(array))
        expect(decompress(2, xerial(blocks), mib).equals(Buffer.concat(blocks))).toBe(true)
      }),
      { numRuns: 50 },
    )
  })

  test('in zstd frames come back as they were', () => {
    const text = sampleText()
    for (const decode of [
      decompressZstd,
      (bytes: Buffer, max: number) => decompress(4, bytes, max),
    ]) {
      expect(decode(fixture('level-3'), mib).equals(text)).toBe(true)
      expect(decode(fixture('level-19'), mib).equals(text)).toBe(true)
      expect(decode(fixture('streamed'), mib).equals(text.subarray(0, 20_000))).toBe(true)
      const two = Buffer.concat([fixture('streamed'), zstdFrame([Buffer.from('tail')])])
      expect(
        decode(two, mib).equals(Buffer.concat([text.subarray(0, 20_000), Buffer.from('tail')])),
      ).toBe(true)
    }
  })

  test('in zstd blocks that are not compressed, or one byte many times, come back as they were', () => {
    const block = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
      fc.record({ byte: fc.nat(255), count: fc.nat(128 * 1024) }),
    )
    fc.assert(
      fc.property(fc.array(block, { minLength: 1, maxLength: 5 }), (blocks) => {
        const plain = blocks.map((each) =>
          'byte' in each ? Buffer.alloc(each.count, each.byte) : each,
        )
        expect(decompressZstd(zstdFrame(blocks), mib).equals(Buffer.concat(plain))).toBe(true)
      }),
      { numRuns: 50 },
    )
  })

  test('of up to the limit are given, beyond it they are refused', () => {
    const plain = Buffer.alloc(200_000, 'abcd')
    const frames: [number, Buffer][] = [
      [1, gzipSync(plain)],
      [2, compress(2, plain)],
      [2, xerial([plain.subarray(0, 100_000), plain.subarray(100_000)])],
      [3, compress(3, plain)],
      [
        4,
        zstdFrame([
          { byte: 1, count: 100_000 },
          { byte: 2, count: 100_000 },
        ]),
      ],
    ]
    for (const [codec, bytes] of frames) {
      expect(decompress(codec, bytes, 200_000).length).toBe(200_000)
      expect(
        codeOf(() => decompress(codec, bytes, 199_999)),
        codecNames[codec],
      ).toBe('EVENT_TOO_LARGE')
    }
    expect(codeOf(() => decompress(4, fixture('level-19'), 100_000))).toBe('EVENT_TOO_LARGE')
  })

  test('that only claim to be large take no memory', () => {
    const before = process.memoryUsage()
    const lies: [number, string][] = [
      [2, 'ffffff7f00'], // raw snappy of 256 MiB in one byte
      [2, '82534e4150505900000000010000000100000005ffffff7f00'],
      [4, `28b52ffde0${'ffffffff00000000'}010000`], // a zstd frame of 4 GiB
      [4, '28b52ffd00ff010000'], // with a window of 3.75 TiB
    ]
    for (const [codec, hex] of lies) {
      const code = codeOf(() => decompress(codec, Buffer.from(hex, 'hex'), 512 * mib))
      if (hex !== '28b52ffd00ff010000') expect(code, hex).toBe('RECORD_BATCH_MALFORMED')
    }
    const after = process.memoryUsage()
    expect(
      after.external + after.arrayBuffers - before.external - before.arrayBuffers,
    ).toBeLessThan(20 * mib)
  })

  test('with a changed byte are decompressed to something bounded or refused, and never take long', () => {
    const text = sampleText().subarray(0, 20_000)
    const good: [number, Buffer][] = [
      [1, compress(1, text)],
      [2, compress(2, text)],
      [2, xerial([text, text])],
      [3, compress(3, text)],
      [4, fixture('streamed')],
      [4, fixture('level-19')],
    ]
    const change = fc.record({ at: fc.nat(), value: fc.nat(255) })
    fc.assert(
      fc.property(
        fc.constantFrom(...good),
        fc.array(change, { minLength: 1, maxLength: 3 }),
        fc.boolean(),
        ([codec, bytes], changes, atHead) => {
          const bad = Buffer.from(bytes)
          for (const { at, value } of changes) bad[at % (atHead ? 200 : bad.length)] = value
          expectBounded(codec, bad)
          if (codec === 4) expectBounded(4, bad, decompressZstd)
        },
      ),
      { numRuns: 1500 },
    )
  })

  test('that are cut off are refused', () => {
    const text = sampleText().subarray(0, 20_000)
    for (const codec of [1, 2, 3, 4]) {
      const bytes = codec === 4 ? fixture('streamed') : compress(codec, text)
      for (let length = 0; length < bytes.length; length += 1 + (length >> 4)) {
        const part = bytes.subarray(0, length)
        if (codec === 4 && length === 0) continue // no frame at all
        expect(
          codeOf(() => decompress(codec, part, mib)),
          `${codecNames[codec]} ${length}`,
        ).toBe('RECORD_BATCH_MALFORMED')
      }
    }
  })

  test('of arbitrary bytes behind a good head are refused or bounded', () => {
    const heads: [number, string][] = [
      [1, '1f8b08000000000000ff'],
      [2, ''],
      [2, '82534e41505059000000000100000001'],
      [3, '04224d186040ff'],
      [4, '28b52ffd0058'],
    ]
    fc.assert(
      fc.property(
        fc.constantFrom(...heads),
        fc.uint8Array({ maxLength: 200 }),
        ([codec, hex], tail) => {
          expectBounded(codec, Buffer.concat([Buffer.from(hex, 'hex'), tail]))
        },
      ),
      { numRuns: 1000 },
    )
    const compressedBlock = fc.uint8Array({ minLength: 1, maxLength: 200 })
    fc.assert(
      fc.property(compressedBlock, (tail) => {
        const head = Buffer.from('28b52ffd0058000000', 'hex')
        head.writeUIntLE(tail.length * 8 + 5, 6, 3) // one compressed block of this length
        expectBounded(4, Buffer.concat([head, tail]), decompressZstd)
      }),
      { numRuns: 3000 },
    )
  })

  test('whose Huffman table never ends are refused', () => {
    const bytes = Buffer.from('28b52ffd0058650000a2000205f003010101010100', 'hex')
    expect(() => decompressZstd(bytes, mib)).toThrow(MalformedData)
  })

  test('of an unknown codec are refused', () => {
    for (const codec of [0, 5, 6, 7])
      expect(codeOf(() => decompress(codec, Buffer.from('x'), mib))).toBe('RECORD_BATCH_MALFORMED')
  })
})

function expectBounded(
  codec: number,
  bytes: Buffer,
  decode: (bytes: Buffer, bytesMax: number) => Buffer = (each, max) => decompress(codec, each, max),
): void {
  const beganAt = process.cpuUsage()
  try {
    expect(decode(bytes, mib).length).toBeLessThanOrEqual(mib)
  } catch (error) {
    if (error instanceof MalformedData || error instanceof TooLarge) return
    if (!(error instanceof QuestlogError)) throw error
    expect(['RECORD_BATCH_MALFORMED', 'EVENT_TOO_LARGE']).toContain(error.code)
    const cause: unknown = error.cause
    const isBug = cause instanceof TypeError || cause instanceof RangeError
    if (codec === 4) expect(isBug && cause).toBe(false)
  }
  expect(process.cpuUsage(beganAt).user).toBeLessThan(1_000_000)
}
