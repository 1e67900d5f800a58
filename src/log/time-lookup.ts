import type { Files } from '../core/files.ts'
import {
  controlBit,
  decodeRecordsWithin,
  logAppendTimeBit,
  type RecordBatch,
} from './record-batch.ts'
import { writeIndex } from './recovery.ts'
import type { OpenSegment } from './open-segments.ts'
import { BatchWalk, scanSegment } from './segment.ts'
import type { Place, SegmentIndex } from './segment-index.ts'

/** A record's place in a partition and its time. */
export interface TimedOffset {
  readonly offset: number
  /** Milliseconds since 1970 UTC. */
  readonly timestampMs: number
}

/** A segment in which a time is looked for. */
export interface TimedSegment extends OpenSegment {
  readonly files: Files
  /** Records from `startOffset` on, below `limit`. */
  readonly startOffset: number
  readonly limit: number
  readonly damaged: (place: Place) => Error
}

const searchChunkBytes = 64 * 1024
/** A batch is looked into only up to this size, also decompressed: it is done in the thread that answers games. */
const lookUpBytesMax = 4 * 1024 * 1024

/** The first record of a segment, by offset, at or after a time; undefined when there is none. What is not looked into (a large batch) counts from its first record on. */
export async function findTime(
  segment: TimedSegment,
  timestampMs: number,
): Promise<TimedOffset | undefined> {
  const index = await withTimes(segment)
  if (index.maxTimestampMs < timestampMs) return undefined
  for await (const batch of batches(segment, index, index.beforeTime(timestampMs))) {
    if (batch.maxTimestampMs < timestampMs) continue
    const found = times(batch, segment).find((record) => record.timestampMs >= timestampMs)
    if (found !== undefined) return found
  }
  return undefined
}

/** The first of the records of a segment that have its latest time; undefined when it has no record. */
export async function findLatest(segment: TimedSegment): Promise<TimedOffset | undefined> {
  const index = await withTimes(segment)
  let latestMs = index.maxTimestampBefore(segment.limit)
  if (segment.limit < index.endOffset)
    for await (const batch of batches(segment, index, index.floor(segment.limit)))
      latestMs = Math.max(latestMs, batch.maxTimestampMs)
  if (latestMs < 0) return undefined
  let latest: TimedOffset | undefined
  for await (const batch of batches(segment, index, index.beforeTime(latestMs))) {
    if (batch.maxTimestampMs < latestMs) continue
    for (const record of times(batch, segment))
      if (record.timestampMs > (latest?.timestampMs ?? -1)) latest = record
    if (latest?.timestampMs === latestMs) break
  }
  return latest
}

/** The index of a segment with its times: one of an earlier version has none, and is made anew. */
async function withTimes({ files, path, file, index }: TimedSegment): Promise<SegmentIndex> {
  if (index.maxTimestampMs !== Infinity) return index
  const scanned = await scanSegment(file, index.baseOffset, index.endPosition)
  scanned.written(index.writtenAtMs)
  if (scanned.endOffset === index.endOffset) await writeIndex(files, path, scanned).catch(() => {})
  return scanned
}

/** The batches with events from a boundary on, as far as readers may see them. */
async function* batches(
  { file, limit, startOffset, damaged }: TimedSegment,
  index: SegmentIndex,
  from: Place,
): AsyncGenerator<RecordBatch> {
  const walk = new BatchWalk(file, from, index.endPosition, searchChunkBytes)
  while (walk.offset < limit) {
    const batch = walk.next()
    if (batch === 'end') return
    if (batch === 'bad') throw damaged({ offset: walk.offset, position: walk.position })
    if (batch === 'more') await walk.load()
    else if ((batch.attributes & controlBit) === 0 && batch.nextOffset > startOffset) yield batch
  }
}

/** The times of the records of a batch; of one that is not looked into, or can't be read, only the first offset with the latest time. */
function times(batch: RecordBatch, { startOffset }: TimedSegment): readonly TimedOffset[] {
  const whole = {
    offset: Math.max(batch.baseOffset, startOffset),
    timestampMs: batch.maxTimestampMs,
  }
  const isOneTime = (batch.attributes & logAppendTimeBit) !== 0
  if (isOneTime || batch.bytes.length > lookUpBytesMax) return [whole]
  try {
    return decodeRecordsWithin(batch, lookUpBytesMax)
      .filter(({ offset }) => offset >= startOffset)
      .map(({ offset, timestampMs }) => ({ offset, timestampMs })) // not the bytes of the batch
  } catch {
    return [whole]
  }
}
