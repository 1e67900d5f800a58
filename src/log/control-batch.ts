import { writeInt64 } from './int64.ts'
import {
  batchIn,
  controlBit,
  decodeRecords,
  encodeBatch,
  sealBatch,
  transactionalBit,
  type RecordBatch,
} from './record-batch.ts'
import type { EndMarker } from './record.ts'

const version = 0
const types = { abort: 0, commit: 1 } as const
/** Bytes of the batch of a marker, always. */
export const markerBytes = 78

/** The control batch that ends a transaction (Kafka documentation, "Control Batches"): its record has version and type as key, version and epoch of the coordinator as value. */
export function encodeMarker(
  baseOffset: number,
  marker: EndMarker,
  timestampMs: number,
): RecordBatch {
  const key = Buffer.alloc(4)
  key.writeInt16BE(version, 0)
  key.writeInt16BE(types[marker.outcome], 2)
  const value = Buffer.alloc(6)
  value.writeInt16BE(version, 0)
  value.writeInt32BE(marker.coordinatorEpoch, 2)
  const groups = [{ timestampMs, records: [{ key, value, headers: [] }] }]
  const { bytes } = encodeBatch(baseOffset, groups)
  bytes.writeInt16BE(transactionalBit | controlBit, 21)
  writeInt64(bytes, 43, marker.producerId)
  bytes.writeInt16BE(marker.producerEpoch, 51)
  sealBatch(bytes)
  return batchIn(bytes)
}

/** How a control batch ends the transaction of its producer; undefined when it is of another kind. */
export function outcomeOf(batch: RecordBatch): EndMarker['outcome'] | undefined {
  const key = decodeRecords(batch)[0]?.key
  if (key === undefined || key === null || key.length < 4) return undefined
  const type = Buffer.from(key).readInt16BE(2)
  if (type === types.abort) return 'abort'
  return type === types.commit ? 'commit' : undefined
}

export const isControl = ({ attributes }: RecordBatch): boolean => (attributes & controlBit) !== 0

export const isTransactional = ({ attributes }: RecordBatch): boolean =>
  (attributes & transactionalBit) !== 0
