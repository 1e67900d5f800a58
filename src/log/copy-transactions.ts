import type { Files } from '../core/files.ts'
import { isControl, encodeMarker, outcomeOf } from './control-batch.ts'
import { damagedLog } from './failures.ts'
import { listSegments, segmentPath } from './layout.ts'
import { recoverProducers, type RecoveredProducers } from './producer-recovery.ts'
import { replayBatch } from './producer-state.ts'
import type { RecordBatch } from './record-batch.ts'
import type { EndMarker, PartitionWatermark } from './record.ts'
import { BatchWalk } from './segment.ts'
import type { SegmentExtent } from './segment-index.ts'

type Outcomes = ReadonlyMap<number, EndMarker['outcome']>

const walkChunkBytes = 1024 * 1024

/** How the transactions end that have records below the last stable offset and their marker above it: producer id → outcome. Reads the log from there to the high watermark. */
export async function outcomesBeyond(
  files: Files,
  folder: string,
  topic: string,
  end: PartitionWatermark,
): Promise<Outcomes> {
  const outcomes = new Map<number, EndMarker['outcome']>()
  if (end.visibleOffset >= end.highWatermark) return outcomes
  const bases = await listSegments(files, folder)
  for (const base of bases.filter((each) => each >= end.segmentBaseOffset)) {
    const isFirst = base === end.segmentBaseOffset
    const from = isFirst
      ? { offset: end.visibleOffset, position: end.position }
      : { offset: base, position: 0 }
    if (from.offset >= end.highWatermark) break
    const place = { topic, partition: end.partition, file: segmentPath(folder, base) }
    await walkBatches(files, place, from, end.highWatermark, (batch) => {
      if (!isControl(batch) || outcomes.has(batch.producerId)) return
      const outcome = outcomeOf(batch)
      if (outcome !== undefined) outcomes.set(batch.producerId, outcome)
    })
  }
  return outcomes
}

/** Tells `visit` of the batches of a segment from a place up to an offset. */
async function walkBatches(
  files: Files,
  place: { readonly topic: string; readonly partition: number; readonly file: string },
  from: { readonly offset: number; readonly position: number },
  toOffset: number,
  visit: (batch: RecordBatch) => void,
): Promise<void> {
  const file = await files.openRead(place.file)
  try {
    const walk = new BatchWalk(file, from, await file.size(), walkChunkBytes)
    while (walk.offset < toOffset) {
      const batch = walk.next()
      if (batch === 'more') await walk.load()
      else if (batch === 'end') return
      else if (batch === 'bad')
        throw damagedLog(
          { ...place, position: walk.position, offset: walk.offset },
          'the bytes there are no valid record batch',
        )
      else visit(batch)
    }
  } finally {
    await file.close()
  }
}

/**
 * Ends the transactions that are open at the end of a copied partition the way they end in the log that it was copied from: appends their markers to the last segment. Gives what the
 * producers have done by then.
 */
export async function endTransactions(
  files: Files,
  place: { readonly folder: string; readonly topic: string; readonly partition: number },
  segments: readonly SegmentExtent[],
  outcomes: Outcomes,
): Promise<RecoveredProducers> {
  const producerLimits = { countMax: Infinity, idleMaxMs: Infinity }
  const last = segments.at(-1)
  const options = { files, nowMs: 0, producerLimits, ...place }
  const { state, aborted } = await recoverProducers(options, segments)
  const { open } = state.transactions.store()
  if (last === undefined || open.length === 0) return { state, aborted }
  const entries = [...aborted.entries]
  const path = segmentPath(place.folder, last.baseOffset)
  const file = await files.openAppend(path)
  try {
    let offset = last.endOffset
    for (const { producerId } of open) {
      const outcome = outcomes.get(producerId)
      if (outcome === undefined)
        throw damagedLog(
          { ...place, file: path, position: file.size, offset },
          `the transaction of producer ${producerId} has no end`,
        )
      const producerEpoch = state.producers.get(producerId)?.epoch ?? 0
      const marker = { producerId, producerEpoch, coordinatorEpoch: 0, outcome }
      const batch = encodeMarker(offset, marker, last.lastTimestampMs)
      const at = { offset, segmentBaseOffset: last.baseOffset, position: file.size }
      const entry = replayBatch(state, batch, at, 0)
      if (entry !== undefined) entries.push(entry)
      await file.append(batch.bytes)
      offset = batch.nextOffset
    }
    await file.sync()
  } finally {
    await file.close()
  }
  return { state, aborted: { ...aborted, entries } }
}
