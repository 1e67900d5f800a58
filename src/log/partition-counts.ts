import type { Files } from '../core/files.ts'
import { isAborted, type AbortedContents } from './aborted.ts'
import { isControl, isTransactional } from './control-batch.ts'
import { damagedLog } from './failures.ts'
import { segmentPath } from './layout.ts'
import { BatchWalk } from './segment.ts'
import type { SegmentExtent } from './segment-index.ts'
import type { AbortedEntry, Transactions } from './transactions.ts'

const walkChunkBytes = 1024 * 1024

/** Offsets of a range that lie in segments; `segments` are all of a partition, oldest first. */
export function countPresent(segments: readonly SegmentExtent[], from: number, to: number): number {
  return segments.reduce(
    (sum, { baseOffset, endOffset }) =>
      sum + Math.max(0, Math.min(endOffset, to) - Math.max(baseOffset, from)),
    0,
  )
}

/** Offsets from a start on that lie between segments. */
export function countMissing(segments: readonly SegmentExtent[], startOffset: number): number {
  const endOffset = segments.at(-1)?.endOffset ?? startOffset
  const first = Math.max(startOffset, segments[0]?.baseOffset ?? startOffset)
  return Math.max(0, endOffset - first) - countPresent(segments, first, endOffset)
}

export interface ExcludedPlace {
  readonly files: Files
  readonly folder: string
  readonly topic: string
  readonly partition: number
  readonly transactions: Transactions
  readonly aborted: Pick<AbortedContents, 'entries'>
}

/**
 * Offsets below a place that hold no event, counted from the same beginning as `Transactions.excludedAt`. No transaction that has records below the place is open. Reads
 * the segment in which it lies, when producers have written to that. LOG_DAMAGED when it is bad.
 */
export async function countExcludedBelow(
  place: ExcludedPlace,
  segments: readonly SegmentExtent[],
  offset: number,
): Promise<number> {
  const { transactions } = place
  const segment = segments.findLast(({ baseOffset }) => baseOffset <= offset)
  if (segment === undefined) return 0
  const below = transactions.excludedAt(segment.baseOffset) ?? 0
  if (!segment.hasProducers || segment.baseOffset === offset) return below
  return below + (await countInSegment(place, segment, offset))
}

async function countInSegment(
  { files, folder, topic, partition, aborted }: ExcludedPlace,
  { baseOffset, endPosition }: SegmentExtent,
  toOffset: number,
): Promise<number> {
  const path = segmentPath(folder, baseOffset)
  const byProducer = new Map<number, AbortedEntry[]>()
  for (const entry of aborted.entries) {
    const own = byProducer.get(entry.producerId)
    if (own === undefined) byProducer.set(entry.producerId, [entry])
    else own.push(entry)
  }
  const file = await files.openRead(path)
  let count = 0
  try {
    const start = { offset: baseOffset, position: 0 }
    const walk = new BatchWalk(file, start, endPosition, walkChunkBytes)
    while (walk.offset < toOffset) {
      const { position, offset } = walk
      const batch = walk.next()
      if (batch === 'end') break
      if (batch === 'bad')
        throw damagedLog(
          { topic, partition, file: path, position, offset },
          'the bytes there are no valid record batch',
        )
      if (batch === 'more') await walk.load()
      else if (
        isControl(batch) ||
        (isTransactional(batch) && isAborted(byProducer.get(batch.producerId), batch.baseOffset))
      )
        count += Math.min(batch.nextOffset, toOffset) - batch.baseOffset
    }
    return count
  } finally {
    await file.close()
  }
}
