import { isUtf8 } from 'node:buffer'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  batchOverheadBytes,
  encodeBatch,
  recordBytes,
  type RecordBatch,
} from '../../src/log/record-batch.ts'
import { recordChunks, type Pack } from '../../src/log/record-chunks.ts'
import type { NewRecord } from '../../src/log/record.ts'
import { nestsDeeper } from '../../src/stream/nesting.ts'
import {
  countRecords,
  isRun,
  packRuns,
  recordsOf,
  type RecordRun,
} from '../../src/stream/record-runs.ts'

const depthMax = 3

/** Mostly values that may be in a run, with each thing that keeps a record out of one. */
const value = fc.oneof(
  { weight: 60, arbitrary: fc.json({ maxDepth: 1 }).filter((text) => text !== '') },
  { weight: 20, arbitrary: fc.string({ minLength: 1, unit: 'grapheme' }) },
  fc.constantFrom('[[[[1]]]]', '"[[[[[["', '{"a":{"b":{"c":{"d":1}}}}', 'a\u001eb', '\u0000'),
  fc.constantFrom(null, ''),
  fc.uint8Array({ minLength: 1, maxLength: 4 }),
)
const newRecord = value.map((each): NewRecord => ({
  key: null,
  value: each === null ? null : Buffer.from(each),
  headers: [],
}))
const spoiling = fc.constantFrom<NewRecord>(
  {
    key: Buffer.from('k'),
    value: Buffer.from('{}'),
    headers: [{ key: 'event_id', value: Buffer.from('7') }],
  },
  { key: Buffer.from([0x1e, 0xff]), value: Buffer.from('{}'), headers: [] },
)
const groups = fc.array(
  fc.record({
    timestampMs: fc.constantFrom(1_000, 1_001, 1e15),
    records: fc.array(fc.oneof({ weight: 50, arbitrary: newRecord }, spoiling), {
      minLength: 1,
      maxLength: 5,
    }),
  }),
  { minLength: 1, maxLength: 3 },
)

function zipped(batch: RecordBatch): RecordBatch {
  const records = gzipSync(batch.bytes.subarray(batchOverheadBytes))
  const bytes = Buffer.concat([batch.bytes.subarray(0, batchOverheadBytes), records])
  return { ...batch, attributes: 1, bytes }
}

test('runs hold the records that they stand for, each once and in order, and none that has to be looked at', () => {
  let inRuns = 0
  fc.assert(
    fc.property(
      fc.array(fc.tuple(groups, fc.boolean()), { minLength: 1, maxLength: 5 }),
      (parts) => {
        let offset = 7
        const batches = parts.map(([part, isZipped]) => {
          const ordered = part.toSorted((one, other) => one.timestampMs - other.timestampMs)
          const batch = encodeBatch(offset, ordered)
          offset = batch.nextOffset
          return isZipped ? zipped(batch) : batch
        })
        const slice = { batches, nextOffset: offset }
        const [plain] = recordChunks(2, slice, 7, offset, 1e9)
        const [packed] = recordChunks<RecordRun>(2, slice, 7, offset, 1e9, packRuns(depthMax))
        const unpacked = packed?.records.flatMap((each) => (isRun(each) ? recordsOf(each) : [each]))
        const facts = (records: typeof unpacked) =>
          records?.map(({ partition, unreadable, record }) => {
            const bytes = record.value === null ? null : Buffer.from(record.value).toString('hex')
            return [partition, record.offset, record.timestampMs, bytes, unreadable]
          })
        expect(facts(unpacked)).toEqual(facts(plain?.records.slice()))
        expect(countRecords(packed?.records ?? [])).toBe(offset - 7)
        expect(packed?.bytes).toBeGreaterThanOrEqual(batches[0]?.bytes.length ?? 0)
        const runs = packed?.records.filter(isRun) ?? []
        inRuns += countRecords(runs)
        for (const { record } of runs.flatMap(recordsOf)) {
          const bytes = record.value ?? Buffer.alloc(0)
          expect(bytes.length).toBeGreaterThan(0)
          expect(isUtf8(bytes)).toBe(true)
          expect(nestsDeeper(bytes, depthMax)).toBe(false)
          expect(record.timestampMs).toBeLessThan(1e15)
        }
      },
    ),
  )
  expect(inRuns).toBeGreaterThan(100)
})

test('a whole batch of one record time is one run', () => {
  const records = Array.from({ length: 1_000 }, (_, index) => ({
    key: null,
    value: Buffer.from(`{"n":${index}}`),
    headers: [],
  }))
  const batch = encodeBatch(5, [{ timestampMs: 9, records }])
  const together = packRuns(64)(1, batch, recordBytes(batch))
  expect(together?.packed).toMatchObject([
    { partition: 1, firstOffset: 5, timestampMs: 9, count: 1_000 },
  ])
  expect(together?.bytes).toBe(records.reduce((sum, each) => sum + each.value.length + 1, -1))
})

test('a batch that claims more records than its bytes can hold is left to the reader of single records', () => {
  const batch = encodeBatch(0, [
    { timestampMs: 9, records: [{ key: null, value: Buffer.from('{}'), headers: [] }] },
  ])
  expect(packRuns(64)(0, { ...batch, recordCount: 2 ** 31 }, recordBytes(batch))).toBeUndefined()
})

test('a batch that can not be packed is decompressed once: its records lie in the bytes that were looked at', () => {
  const headers = [{ key: 'event_id', value: Buffer.from('7') }]
  const value = Buffer.alloc(10_000, 'x')
  const records = [{ key: null, value, headers }]
  const batch = zipped(encodeBatch(0, [{ timestampMs: 9, records }]))
  const seen: Buffer[] = []
  const pack: Pack<RecordRun> = (partition, whole, bytes) => {
    seen.push(bytes)
    return packRuns(64)(partition, whole, bytes)
  }
  const [chunk] = recordChunks(0, { batches: [batch], nextOffset: 1 }, 0, 1, 1e9, pack)
  const [first] = chunk?.records ?? []
  const read = first === undefined || isRun(first) ? undefined : first.record
  expect(read?.headers).toEqual(headers)
  expect(value.equals(read?.value ?? Buffer.of())).toBe(true)
  expect(seen).toHaveLength(1)
  expect(seen[0]?.buffer === read?.value?.buffer).toBe(true)
})
