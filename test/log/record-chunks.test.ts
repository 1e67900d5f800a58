import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { batchOverheadBytes, encodeBatch, type RecordBatch } from '../../src/log/record-batch.ts'
import { malformedReason, recordChunks } from '../../src/log/record-chunks.ts'
import { record } from './support.ts'

/** A batch of so many records; of a bad one the records can't be read. */
function batchAt(
  offset: number,
  plan: { count: number; valueBytes: number; isBad: boolean },
): RecordBatch {
  const records = Array.from({ length: plan.count }, () => record('x'.repeat(plan.valueBytes)))
  const batch = encodeBatch(offset, [{ timestampMs: 5, records }])
  return plan.isBad ? { ...batch, attributes: 1 } : batch
}

const plans = fc.array(
  fc.record({
    count: fc.integer({ min: 1, max: 30 }),
    valueBytes: fc.nat(100),
    isBad: fc.boolean(),
    gap: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(5)),
  }),
  { maxLength: 12 },
)

test('every offset of the batches comes once, in order, in chunks that join and are bounded', () => {
  fc.assert(
    fc.property(plans, fc.nat(50), fc.nat(100), fc.nat(2_000), (parts, skip, less, bytesMax) => {
      let offset = 10
      const batches = parts.map((plan) => {
        const batch = batchAt(offset + plan.gap, plan)
        offset = batch.nextOffset
        return batch
      })
      const from = 10 + skip
      const end = Math.max(from, offset + 3 - less)
      const chunks = [...recordChunks(4, { batches, nextOffset: offset + 3 }, from, end, bytesMax)]
      const records = chunks.flatMap((chunk) => chunk.records)
      const expected = batches.flatMap(({ baseOffset, recordCount }) =>
        Array.from({ length: recordCount }, (_, index) => baseOffset + index),
      )
      expect(records.map((each) => each.record.offset)).toEqual(
        expected.filter((each) => each >= from && each < end),
      )
      expect(records.every((each) => each.partition === 4)).toBe(true)
      const isRight = ({ unreadable, record: read }: (typeof records)[number]) => {
        const batch = batches.find((each) => each.nextOffset > read.offset)
        if (batch?.attributes !== 1) return unreadable === undefined
        const value = read.offset === batch.baseOffset ? batch.bytes : null
        return (
          unreadable?.startsWith(malformedReason) === true && isDeepStrictEqual(read.value, value)
        )
      }
      expect(records.find((each) => !isRight(each))).toBeUndefined()
      let next = from
      for (const chunk of chunks) {
        expect(chunk.from).toBe(next)
        expect(chunk.to).toBeGreaterThan(chunk.from)
        expect(chunk.records.every((each) => each.record.offset < chunk.to)).toBe(true)
        next = chunk.to
      }
      const last = Math.min(offset + 3, end)
      expect(next).toBe(last > from ? last : from)
      const largest = Math.max(
        0,
        ...batches.map((each) => each.bytes.length + each.recordCount * 100),
      )
      for (const chunk of chunks) expect(chunk.bytes).toBeLessThanOrEqual(bytesMax + largest)
    }),
  )
})

test('of a batch that claims any number of records so many are given at a time', () => {
  const bytes = Buffer.alloc(batchOverheadBytes + 100)
  const batch = { ...batchAt(0, { count: 1, valueBytes: 1, isBad: true }), bytes }
  const huge = { ...batch, recordCount: 2 ** 31, nextOffset: 2 ** 31 }
  let seen = 0
  for (const chunk of recordChunks(0, { batches: [huge], nextOffset: 2 ** 31 }, 0, 2 ** 31, 1e9)) {
    expect(chunk.records.length).toBe(10_000)
    expect(chunk.from).toBe(seen)
    seen = chunk.to
    if (seen > 50_000) break
  }
  const [later] = recordChunks(0, { batches: [huge], nextOffset: 2 ** 31 }, seen, 2 ** 31, 1e9)
  expect(later?.from).toBe(seen)
  expect(later?.records[0]?.record).toMatchObject({ offset: seen, value: null })
})
