import { expect, test } from 'vitest'
import { QuestlogError } from '../../src/core/errors.ts'
import { committedSlice } from '../../src/engines/committed-slice.ts'
import { encodeMarker } from '../../src/log/control-batch.ts'
import { decodeRecords, placeBatch, sealBatch } from '../../src/log/record-batch.ts'
import { clientBatch } from '../log/client-batch.ts'

/** A partition as a broker would send it: batches one after another, each at the next offset. */
class Partition {
  readonly #parts: Buffer[] = []
  #nextOffset = 0

  values(producerId: number, isTransactional: boolean, ...values: string[]): this {
    const bytes = clientBatch({ values, producerId, sequence: 0, isTransactional })
    placeBatch(bytes, this.#nextOffset)
    this.#nextOffset += values.length
    this.#parts.push(bytes)
    return this
  }

  end(producerId: number, outcome: 'commit' | 'abort'): this {
    const marker = { producerId, producerEpoch: 0, coordinatorEpoch: 0, outcome }
    this.#parts.push(encodeMarker(this.#nextOffset++, marker, 0).bytes)
    return this
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

const valuesOf = (slice: ReturnType<typeof committedSlice>) =>
  slice.batches.flatMap(decodeRecords).map(({ value }) => String(value))

test('of two producers that take turns, exactly the aborted transactions are left out', () => {
  const { bytes } = new Partition()
    .values(7, true, 'a', 'b') // 0, 1: aborted
    .values(8, true, 'c') // 2: committed
    .values(-1, false, 'plain') // 3
    .end(7, 'abort') // 4
    .values(7, true, 'd') // 5: the next one of the same producer, committed
    .end(8, 'commit') // 6
    .end(7, 'commit') // 7
    .values(7, true, 'e') // 8: and one more, aborted
    .end(7, 'abort') // 9
  const aborted = [
    { producerId: 7, firstOffset: 8 },
    { producerId: 7, firstOffset: 0 },
  ]
  const slice = committedSlice({ bytes, aborted }, 0)
  expect(valuesOf(slice)).toEqual(['c', 'plain', 'd'])
  expect(slice).toMatchObject({ nextOffset: 10, excluded: 7 })
  expect(slice.excludedRanges).toEqual([
    { from: 0, to: 2 },
    { from: 4, to: 5 },
    { from: 6, to: 10 },
  ])
})

test('reading may begin inside a batch, an aborted one too, and the end may be cut off', () => {
  const { bytes } = new Partition()
    .values(7, true, 'a', 'b', 'c')
    .end(7, 'abort')
    .values(-1, false, 'd', 'e')
  const aborted = [{ producerId: 7, firstOffset: 0 }]
  expect(committedSlice({ bytes, aborted }, 2)).toMatchObject({
    nextOffset: 6,
    excludedRanges: [{ from: 2, to: 4 }],
  })
  const cut = committedSlice({ bytes: bytes.subarray(0, -1), aborted }, 0)
  expect(cut).toMatchObject({ batches: [], nextOffset: 4, excluded: 4 })
  expect(valuesOf(committedSlice({ bytes, aborted }, 5))).toEqual(['d', 'e'])
})

test('a damaged batch and one of a compacted topic are refused', () => {
  const codeOf = (bytes: Buffer) => {
    try {
      committedSlice({ bytes, aborted: [] }, 0)
    } catch (error) {
      return error instanceof QuestlogError ? error.code : error
    }
    return undefined
  }
  const { bytes } = new Partition().values(-1, false, 'a', 'b')
  expect(codeOf(bytes)).toBeUndefined()
  const flipped = Buffer.from(bytes)
  flipped.writeUInt8(flipped.readUInt8(70) ^ 1, 70)
  expect(codeOf(flipped)).toBe('RECORD_BATCH_CORRUPT')
  const compacted = Buffer.from(bytes)
  compacted.writeInt32BE(5, 23)
  sealBatch(compacted)
  expect(codeOf(compacted)).toBe('RECORD_BATCH_MALFORMED')
})
