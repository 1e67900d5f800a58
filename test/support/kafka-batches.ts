import { encodeBatch } from '../../src/log/record-batch.ts'

/** One record batch of these values, as a producer sends it. */
export function batchOf(...values: readonly string[]): Buffer {
  return batchOfAll(values)
}

/** The same for more of them than a call takes arguments. */
export function batchOfAll(values: readonly string[]): Buffer {
  const records = values.map((value) => ({ key: null, value: Buffer.from(value), headers: [] }))
  return encodeBatch(0, [{ timestampMs: 1_600_000_000_000, records }]).bytes
}
