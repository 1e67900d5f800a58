import * as fc from 'fast-check'
import { crc32c } from '@node-rs/crc32'
import { describe, expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { compress } from '../../src/log/compression.ts'
import {
  batchBytesAt,
  batchOverheadBytes,
  decodeBatch,
  decodeRecords,
  encodeBatch,
  planBatches,
  soloBatchBytes,
  type RecordBatch,
  type RecordGroup,
} from '../../src/log/record-batch.ts'
import type { NewRecord } from '../../src/log/record.ts'

const text = (value: string): NewRecord => ({ key: null, value: Buffer.from(value), headers: [] })

const bytes = (maxLength: number) =>
  fc.oneof(
    fc.constant(null),
    fc.uint8Array({ maxLength }).map((array) => Buffer.from(array)),
  )
const record: fc.Arbitrary<NewRecord> = fc.record({
  key: bytes(20),
  value: bytes(300),
  headers: fc.array(fc.record({ key: fc.string({ unit: 'grapheme' }), value: bytes(10) }), {
    maxLength: 3,
  }),
})
/** Groups of records whose times do not go back. */
const groups: fc.Arbitrary<RecordGroup[]> = fc
  .tuple(
    fc.integer({ min: 0, max: 2 ** 41 }),
    fc.array(
      fc.record({
        laterMs: fc.oneof(fc.nat(2000), fc.nat(2 ** 31)),
        records: fc.array(record, { minLength: 1, maxLength: 40 }),
      }),
      { minLength: 1, maxLength: 6 },
    ),
  )
  .map(([startMs, parts]) => {
    let timestampMs = startMs
    return parts.map(({ laterMs, records }) => ({ timestampMs: (timestampMs += laterMs), records }))
  })
const offset = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 1000 })

function decoded(batch: Buffer, expectedOffset: number): RecordBatch {
  const result = decodeBatch(batch, expectedOffset)
  if (result === undefined) throw new Error('the batch is not valid')
  return result
}

describe('record batch', () => {
  test('what is encoded is decoded: offsets, times, keys, values, headers', () => {
    fc.assert(
      fc.property(offset, groups, (baseOffset, parts) => {
        const batch = decoded(encodeBatch(baseOffset, parts).bytes, baseOffset)
        let next = baseOffset
        const expected = parts.flatMap(({ timestampMs, records }) =>
          records.map((one) => ({ ...one, offset: next++, timestampMs })),
        )
        expect(decodeRecords(batch)).toEqual(expected)
        expect(batch.nextOffset).toBe(next)
        expect(batch.maxTimestampMs).toBe(parts.at(-1)?.timestampMs)
      }),
    )
  })

  test('the encoder says of a batch what the decoder says of its bytes', () => {
    fc.assert(
      fc.property(offset, groups, (baseOffset, parts) => {
        const batch = encodeBatch(baseOffset, parts)
        expect(decoded(batch.bytes, baseOffset)).toEqual(batch)
      }),
    )
  })

  test('one batch has exactly these bytes', () => {
    // By hand from the Kafka documentation, "Record Batch" and "Record". Only the CRC is computed: its value is checked against the standard vector below.
    const records = [
      '1a 00 00 00', // length 13, attributes, timestampDelta 0, offsetDelta 0
      '02 6b', // key "k"
      '04 68 69', // value "hi"
      '02 02 61 02 31', // one header: "a" = "1"
      '0c 00 0a 02 01 01 00', // length 6, attributes, timestampDelta 5, offsetDelta 1, null key, null value, no headers
    ].join(' ')
    const fromCrc = [
      '00 00', // attributes
      '00 00 00 01', // lastOffsetDelta
      '00 00 01 64 0f 9f 98 00', // baseTimestamp 1529348462592
      '00 00 01 64 0f 9f 98 05', // maxTimestamp
      'ff ff ff ff ff ff ff ff', // producerId
      'ff ff', // producerEpoch
      'ff ff ff ff', // baseSequence
      '00 00 00 02', // record count
      records,
    ].join(' ')
    const tail = Buffer.from(fromCrc.replaceAll(' ', ''), 'hex')
    const head = Buffer.from('00000000000000070000004600000000' + '02', 'hex')
    const crc = Buffer.alloc(4)
    crc.writeUInt32BE(crc32c(tail))
    const startMs = 0x1640f9f9800
    const { bytes: encoded } = encodeBatch(7, [
      {
        timestampMs: startMs,
        records: [
          {
            key: Buffer.from('k'),
            value: Buffer.from('hi'),
            headers: [{ key: 'a', value: Buffer.from('1') }],
          },
        ],
      },
      { timestampMs: startMs + 5, records: [{ key: null, value: null, headers: [] }] },
    ])
    expect(encoded.toString('hex')).toBe(Buffer.concat([head, crc, tail]).toString('hex'))
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283) // RFC 3720, the check value of CRC-32C
  })

  test('every flipped bit is detected', () => {
    const { bytes: good } = encodeBatch(5, [{ timestampMs: 1, records: [text('a'), text('bb')] }])
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bad = Buffer.from(good)
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(decodeBatch(bad, 5), `bit ${bit}`).toBeUndefined()
    }
  })

  test('every shortened batch is detected', () => {
    const { bytes: good } = encodeBatch(5, [{ timestampMs: 1, records: [text('a'), text('bb')] }])
    for (let length = 0; length < good.length; length++)
      expect(decodeBatch(good.subarray(0, length), 5)).toBeUndefined()
    expect(decodeBatch(Buffer.concat([good, Buffer.from([0])]), 5)).toBeUndefined()
  })

  test('arbitrary bytes are no batch, and are refused without a crash', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (array) => {
        const foreign = Buffer.from(array)
        if (foreign.length >= batchOverheadBytes) {
          batchBytesAt(foreign, 0)
          foreign.writeInt32BE(foreign.length - 12, 8) // so that more than the length is looked at
          foreign.writeInt32BE(0, 12)
          foreign[16] = 2
        }
        expect(decodeBatch(foreign, 0)).toBeUndefined()
      }),
    )
  })

  test('arbitrary records under a right CRC are decoded or refused with RECORD_BATCH_MALFORMED', () => {
    const count = fc.integer({ min: 1, max: 5 })
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), count, (array, recordCount) => {
        const foreign = sealed(Buffer.from(array), recordCount, 0)
        expectRecordsOrRefusal(decoded(foreign, 0), recordCount)
      }),
      { numRuns: 2000 },
    )
  })

  test('a mutated record section under a right CRC is decoded or refused with RECORD_BATCH_MALFORMED', () => {
    fc.assert(
      fc.property(groups, fc.nat(), fc.integer({ min: 0, max: 255 }), (parts, place, value) => {
        const batch = encodeBatch(0, parts)
        const section = Buffer.from(batch.bytes.subarray(batchOverheadBytes))
        section[place % section.length] = value
        const { recordCount } = batch
        expectRecordsOrRefusal(decoded(sealed(section, recordCount, 0), 0), recordCount)
      }),
      { numRuns: 1000 },
    )
  })

  test('values are views into the batch', () => {
    const batch = encodeBatch(0, [{ timestampMs: 0, records: [text('abc')] }])
    const value = decodeRecords(batch)[0]?.value
    expect(value?.buffer).toBe(batch.bytes.buffer)
  })

  test('a compressed batch is read, a bomb or an unknown codec is refused', () => {
    const plain = encodeBatch(9, [{ timestampMs: 3, records: [text('one'), text('two')] }])
    const section = plain.bytes.subarray(batchOverheadBytes)
    for (const codec of [1, 2, 3]) {
      const batch = decoded(sealed(compress(codec, section), 2, codec), 0)
      expect(decodeRecords(batch).map(({ value }) => String(value))).toEqual(['one', 'two'])
    }
    for (const codec of [1, 2, 3, 4, 5, 7]) {
      const batch = decoded(sealed(section, 2, codec), 0)
      expect(codeOf(() => decodeRecords(batch))).toBe('RECORD_BATCH_MALFORMED')
    }
    const bomb = compress(3, Buffer.alloc(260 * 1024 * 1024))
    expect(codeOf(() => decodeRecords(decoded(sealed(bomb, 1, 3), 0)))).toBe('EVENT_TOO_LARGE')
  })

  test('with LogAppendTime every record has the time of the batch', () => {
    const batch = encodeBatch(0, [
      { timestampMs: 5, records: [text('a')] },
      { timestampMs: 8, records: [text('b')] },
    ])
    const times = (attributes: number) =>
      decodeRecords({ ...batch, attributes }).map((one) => one.timestampMs)
    expect(times(0)).toEqual([5, 8])
    expect(times(8)).toEqual([8, 8])
  })
})

describe('plan', () => {
  test('batches keep order and count, and none is above the limit', () => {
    fc.assert(
      fc.property(groups, fc.integer({ min: 0, max: 2000 }), (parts, extra) => {
        const all = parts.flatMap((part) => part.records)
        const maxBytes = Math.max(...all.map(soloBatchBytes)) + extra
        const plan = planBatches(parts, maxBytes)
        expect(plan.flat().flatMap((part) => part.records)).toEqual(all)
        for (const batch of plan)
          expect(encodeBatch(0, batch).bytes.length).toBeLessThanOrEqual(maxBytes)
      }),
    )
  })

  test('the size of a batch of one record is known exactly', () => {
    fc.assert(
      fc.property(record, (one) => {
        const batch = encodeBatch(0, [{ timestampMs: 0, records: [one] }])
        expect(batch.bytes.length).toBe(soloBatchBytes(one))
      }),
    )
  })
})

/** A batch at offset 0 with this record section, as a client could send it. */
function sealed(section: Buffer, recordCount: number, attributes: number): Buffer {
  const batch = encodeBatch(0, [{ timestampMs: 0, records: [text('')] }]).bytes
  const foreign = Buffer.concat([batch.subarray(0, batchOverheadBytes), section])
  foreign.writeInt32BE(foreign.length - 12, 8)
  foreign.writeInt16BE(attributes, 21)
  foreign.writeInt32BE(recordCount - 1, 23)
  foreign.writeInt32BE(recordCount, 57)
  foreign.writeUInt32BE(crc32c(foreign.subarray(21)), 17)
  return foreign
}

function expectRecordsOrRefusal(batch: RecordBatch, recordCount: number): void {
  try {
    expect(decodeRecords(batch)).toHaveLength(recordCount)
  } catch (error) {
    if (!(error instanceof QuestlogError)) throw error
    expect(error.code).toBe('RECORD_BATCH_MALFORMED')
  }
}

function codeOf(work: () => unknown): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    if (!(error instanceof QuestlogError)) throw error
    return error.code
  }
}
