import { QuestlogError } from '../core/errors.ts'
import { isControl, isTransactional, outcomeOf } from '../log/control-batch.ts'
import type { LogRange, LogSlice } from '../log/reader.ts'
import {
  batchBytesAt,
  batchIn,
  batchLengthEnd,
  isIntact,
  type RecordBatch,
} from '../log/record-batch.ts'

/** What a broker answers to a Fetch with `read_committed`. */
export interface CommittedBytes {
  /** Record batches one after another; the last one may be cut off. */
  readonly bytes: Buffer
  /** Transactions that were aborted, by producer and first offset. */
  readonly aborted: readonly { readonly producerId: number; readonly firstOffset: number }[]
}

/**
 * The batches of a Fetch that hold events, and what was left out: control batches, and those of aborted transactions. Which these are, a consumer finds out in the order of offsets (KIP-98):
 * a producer's batches are aborted from the first offset of the transaction to its control batch.
 *
 * @throws QuestlogError RECORD_BATCH_CORRUPT, and RECORD_BATCH_MALFORMED for a batch with holes: a compacted topic has no order of offsets to count by.
 */
export function committedSlice({ bytes, aborted }: CommittedBytes, fromOffset: number): LogSlice {
  const waiting = [...aborted].sort((a, b) => a.firstOffset - b.firstOffset)
  const active = new Set<number>()
  const batches: RecordBatch[] = []
  const excludedRanges: LogRange[] = []
  let nextOffset = fromOffset
  for (const batch of batchesIn(bytes)) {
    if (batch.nextOffset <= fromOffset) continue
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      if (next.firstOffset >= batch.nextOffset) break
      active.add(next.producerId)
      waiting.shift()
    }
    nextOffset = batch.nextOffset
    if (isControl(batch)) {
      if (outcomeOf(batch) === 'abort') active.delete(batch.producerId)
    } else if (!isTransactional(batch) || !active.has(batch.producerId)) {
      batches.push(batch)
      continue
    }
    addRange(excludedRanges, Math.max(batch.baseOffset, fromOffset), batch.nextOffset)
  }
  const excluded = excludedRanges.reduce((sum, { from, to }) => sum + to - from, 0)
  const kept = batches.reduce((sum, batch) => sum + batch.bytes.length, 0)
  return { batches, nextOffset, bytes: kept, excluded, excludedRanges }
}

function* batchesIn(bytes: Buffer): Generator<RecordBatch> {
  let at = 0
  while (at + batchLengthEnd <= bytes.length) {
    const size = batchBytesAt(bytes, at)
    if (size === undefined)
      throw new QuestlogError('RECORD_BATCH_MALFORMED', 'a record batch has an impossible length')
    if (at + size > bytes.length) return
    const raw = bytes.subarray(at, at + size)
    if (!isIntact(raw))
      throw new QuestlogError('RECORD_BATCH_CORRUPT', 'the CRC of a record batch is wrong')
    const batch = batchIn(raw)
    if (raw.readInt32BE(23) !== batch.recordCount - 1)
      throw new QuestlogError(
        'RECORD_BATCH_MALFORMED',
        `the batch at offset ${batch.baseOffset} has holes: its topic is compacted`,
        { offset: batch.baseOffset },
        { hint: 'use a topic with cleanup.policy=delete' },
      )
    yield batch
    at += size
  }
}

/** Adds a range behind the others; neighbours become one. */
function addRange(ranges: LogRange[], from: number, to: number): void {
  const last = ranges.at(-1)
  if (last?.to === from) ranges[ranges.length - 1] = { from: last.from, to }
  else ranges.push({ from, to })
}
