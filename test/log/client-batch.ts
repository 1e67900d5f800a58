import { gzipSync } from 'node:zlib'
import { writeInt64 } from '../../src/log/int64.ts'
import { batchOverheadBytes, encodeBatch, sealBatch } from '../../src/log/record-batch.ts'
import { record } from './support.ts'

export interface ClientBatchSpec {
  readonly values: readonly string[]
  readonly timestampMs?: number
  readonly producerId?: number
  readonly epoch?: number
  readonly sequence?: number
  readonly isTransactional?: boolean
  readonly isGzipped?: boolean
}

/** A batch as a Kafka client sends it: base offset 0, leader epoch -1. */
export function clientBatch(spec: ClientBatchSpec): Buffer {
  const { values, timestampMs = 1_600_000_000_000, producerId = -1 } = spec
  const { epoch = producerId < 0 ? -1 : 0, sequence = -1 } = spec
  let { bytes } = encodeBatch(0, [{ timestampMs, records: values.map(record) }])
  if (spec.isGzipped === true) {
    const body = gzipSync(bytes.subarray(batchOverheadBytes))
    bytes = Buffer.concat([bytes.subarray(0, batchOverheadBytes), body])
    bytes.writeInt32BE(bytes.length - 12, 8)
  }
  bytes.writeInt32BE(-1, 12)
  bytes.writeInt16BE(
    (spec.isGzipped === true ? 1 : 0) | (spec.isTransactional === true ? 0x10 : 0),
    21,
  )
  writeInt64(bytes, 43, producerId)
  bytes.writeInt16BE(epoch, 51)
  bytes.writeInt32BE(sequence, 53)
  sealBatch(bytes)
  return Buffer.from(bytes)
}

/** What the log may not change of a batch: all but base offset and leader epoch. */
export function untouched(batch: Buffer): Buffer {
  return Buffer.concat([batch.subarray(8, 12), batch.subarray(16)])
}
