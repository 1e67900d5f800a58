import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  avroFormat,
  decodeContainer,
  encodeContainer,
  rewriteContainer,
} from '../../src/lake/avro-container.ts'

const field = (id: number, name: string, type: unknown) => ({ name, type, 'field-id': id })
const format = avroFormat({
  type: 'record',
  name: 'row',
  fields: [
    field(1, 'id', 'long'),
    { ...field(2, 'name', ['null', 'string']), default: null },
    field(3, 'inner', { type: 'record', name: 'r3', fields: [field(4, 'bytes', 'bytes')] }),
  ],
})

const row = fc.record({
  id: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  name: fc.option(fc.string()),
  inner: fc.record({ bytes: fc.uint8Array().map((bytes) => Buffer.from(bytes)) }),
})

const plain = (rows: readonly unknown[]) =>
  rows.map((value) => {
    const { id, name, inner } = value as { id: bigint; name: string; inner: { bytes: Buffer } }
    return { id, name, inner: { bytes: inner.bytes } }
  })

describe('an Avro container', () => {
  test('gives back what went in, all 64 bits of a long included', () => {
    fc.assert(
      fc.property(fc.array(row), (rows) => {
        expect(plain(decodeContainer(format, encodeContainer(format, rows, {})))).toEqual(rows)
      }),
    )
  })

  test('that was cut anywhere is refused, never read in part', () => {
    const rows = [{ id: 1n, name: 'a', inner: { bytes: Buffer.alloc(50) } }]
    const bytes = encodeContainer(format, rows, { 'format-version': '2' })
    const headerOnly = encodeContainer(format, [], { 'format-version': '2' }).length
    for (let length = 0; length < bytes.length; length++) {
      if (length === headerOnly) continue // a file that ends after its header is whole, and empty
      expect(() => decodeContainer(format, bytes.subarray(0, length))).toThrow()
    }
  })

  test('of another writer is read by field id, whatever its names, order, further fields and codec', () => {
    const foreign = avroFormat({
      type: 'record',
      name: 'other',
      fields: [
        field(9, 'first_row_id', 'long'),
        field(3, 'stuff', { type: 'record', name: 'x', fields: [field(4, 'b', 'bytes')] }),
        field(1, 'key', 'long'),
      ],
    })
    const rows = [{ first_row_id: 5n, stuff: { b: Buffer.from('hi') }, key: 2n ** 60n }]
    const [read] = decodeContainer(format, encodeContainer(foreign, rows, {}))
    expect(read).toMatchObject({
      first_row_id: 5n,
      inner: { bytes: Buffer.from('hi') },
      id: 2n ** 60n,
    })
  })

  test('with a codec that is not known says so', () => {
    const bytes = encodeContainer(format, [], {})
    const patched = Buffer.from(bytes.toString('latin1').replace('deflate', 'zstd012'), 'latin1')
    expect(decodeContainer(format, patched)).toEqual([])
    const full = encodeContainer(
      format,
      [{ id: 1, name: null, inner: { bytes: Buffer.alloc(1) } }],
      {},
    )
    const other = Buffer.from(full.toString('latin1').replace('deflate', 'zstd012'), 'latin1')
    expect(() => decodeContainer(format, other)).toThrow(/codec zstd012/)
  })
})

/** Written by PyIceberg 0.12.0: rows n = 0 to 79 in two blocks, `key` n × 2^40, `label` n mod 5 times "sword ", null where 7 divides n. */
const fixture = (codec: string) =>
  readFileSync(join(import.meta.dirname, 'fixtures', `pyiceberg-${codec}.avro`))

const labelled = avroFormat({
  type: 'record',
  name: 'row',
  fields: [field(1, 'n', 'long'), { ...field(2, 'text', ['null', 'string']), default: null }],
})

describe('a container of another engine', () => {
  const expected = Array.from({ length: 80 }, (_, n) => ({
    n: BigInt(n) * 2n ** 40n,
    text: n % 7 === 0 ? null : 'sword '.repeat(n % 5),
  }))

  test.each(['null', 'deflate', 'snappy', 'zstandard'])('with the codec %s is read', (codec) => {
    expect(decodeContainer(labelled, fixture(codec))).toEqual(expected)
    const again = rewriteContainer(fixture(codec), (record) => record)
    expect(decodeContainer(labelled, again)).toEqual(expected)
  })

  test('with a snappy block whose checksum is another one is refused', () => {
    const bytes = fixture('snappy')
    const at = bytes.length - 17 // the last byte before the sync marker
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    expect(() => decodeContainer(labelled, bytes)).toThrow('another checksum')
  })
})

test("numbers of 64 bits keep every digit also where a writer gives their type as DuckDB's does", () => {
  const id = 2n ** 63n - 1n
  const one = (type: unknown) =>
    avroFormat({ type: 'record', name: 'r', fields: [{ name: 'id', type, 'field-id': 1 }] })
  const bytes = encodeContainer(one({ type: 'long' }), [{ id }], {})
  expect(decodeContainer(one('long'), bytes)).toEqual([{ id }])
  const optional = encodeContainer(one(['null', { type: 'long' }]), [{ id }, { id: null }], {})
  expect(decodeContainer(one(['null', 'long']), optional)).toEqual([{ id }, { id: null }])
  expect(
    decodeContainer(
      one('long'),
      rewriteContainer(bytes, (record) => record),
    ),
  ).toEqual([{ id }])
})
