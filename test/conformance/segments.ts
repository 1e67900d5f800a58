import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** One record batch as it lies in a segment file. */
export interface StoredBatch {
  readonly baseOffset: number
  /** 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd. */
  readonly codec: number
  readonly isTransactional: boolean
  readonly isControl: boolean
  readonly producerId: bigint
  readonly count: number
}

/** The headers of all batches of a partition, in order, read without any code of ours. Format: Kafka's documentation, "Record Batch". */
export function readBatches(partitionFolder: string): StoredBatch[] {
  const segments = readdirSync(partitionFolder).filter((name) => name.endsWith('.log'))
  return segments.toSorted().flatMap((name) => batchesOf(readFileSync(join(partitionFolder, name))))
}

function batchesOf(bytes: Buffer): StoredBatch[] {
  const batches: StoredBatch[] = []
  // A segment may be preallocated: zeros follow its last batch.
  for (let at = 0; at + 61 <= bytes.length && bytes.readInt32BE(at + 8) > 0;) {
    const attributes = bytes.readInt16BE(at + 21)
    batches.push({
      baseOffset: Number(bytes.readBigInt64BE(at)),
      codec: attributes & 7,
      isTransactional: (attributes & 16) !== 0,
      isControl: (attributes & 32) !== 0,
      producerId: bytes.readBigInt64BE(at + 43),
      count: bytes.readInt32BE(at + 57),
    })
    at += 12 + bytes.readInt32BE(at + 8)
  }
  return batches
}
