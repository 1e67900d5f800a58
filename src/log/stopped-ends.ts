import type { Files } from '../core/files.ts'
import { damagedLog } from './failures.ts'
import {
  belowStart,
  listSegments,
  metaPath,
  partitionFolder,
  segmentPath,
  watermarkPath,
} from './layout.ts'
import { readLogStart } from './log-start.ts'
import { decodeMeta } from './meta.ts'
import type { PartitionWatermark } from './record.ts'
import { recoverProducers } from './producer-recovery.ts'
import { findBatchAfter, loadIndex, scanSegment } from './segment.ts'
import type { SegmentExtent } from './segment-index.ts'
import { WatermarkReader } from './watermark.ts'

/** Nobody appends: what the producers may do does not matter. */
const producerLimits = { countMax: Infinity, idleMaxMs: Infinity }

/**
 * The ends of a log that nothing writes to, as the next start would find them: the watermark file may be old or gone after a power loss, so the last segments are
 * read. Changes nothing. The caller holds the lock of the log. LOG_DAMAGED where a start would be refused.
 */
export async function readStoppedEnds(
  files: Files,
  logFolder: string,
): Promise<readonly PartitionWatermark[]> {
  const path = metaPath(logFolder)
  if (((await files.sizeOf(path)) ?? 0) === 0) return []
  const { topics } = decodeMeta(await files.readAll(path), path)
  const reader = new WatermarkReader(
    files.openShared(watermarkPath(logFolder), 'read'),
    watermarkPath(logFolder),
  )
  const published = reader.read()?.partitions ?? []
  reader.close()
  const ends: PartitionWatermark[] = []
  for (const topic of topics)
    for (let partition = 0; partition < topic.partitions; partition++) {
      const last = published.find(
        (each) => each.topicId === topic.id && each.partition === partition,
      )
      const folder = partitionFolder(logFolder, topic.name, partition)
      const end = await readEnd(files, folder, topic.name, partition, last)
      if (end !== undefined) ends.push({ ...end, topicId: topic.id, partition })
    }
  return ends
}

/** Undefined when the partition has no segment yet. */
async function readEnd(
  files: Files,
  folder: string,
  topic: string,
  partition: number,
  published: PartitionWatermark | undefined,
): Promise<Omit<PartitionWatermark, 'topicId' | 'partition'> | undefined> {
  const start = await readLogStart(files, folder)
  const there = await listSegments(files, folder)
  const bases = there.slice(belowStart(there, start.startOffset).length)
  const base = bases.at(-1)
  if (base === undefined) return undefined
  const path = segmentPath(folder, base)
  const file = await files.openRead(path)
  try {
    const size = await file.size()
    const last = await scanSegment(file, base, size)
    const { endOffset: offset, endPosition: position } = last
    const place = { topic, partition, file: path, position, offset }
    const synced = published?.syncedOffset ?? 0
    if (offset < synced) throw damagedLog(place, `everything below offset ${synced} was synced`)
    const bad = { offset, position }
    if (position < size && (await findBatchAfter(file, bad, size)) !== undefined)
      throw damagedLog(place, 'the bytes there are no valid record batch')
    const sealed = await readExtents(files, folder, topic, partition, bases.slice(0, -1))
    const options = { files, folder, topic, partition, nowMs: 0, producerLimits }
    const { state } = await recoverProducers(options, [...sealed, last.extent])
    const end = { offset, segmentBaseOffset: base, position }
    const visible = state.transactions.firstOpen ?? end
    return {
      visibleOffset: visible.offset,
      highWatermark: offset,
      syncedOffset: offset,
      segmentBaseOffset: visible.segmentBaseOffset,
      position: visible.position,
      startOffset: Math.max(start.startOffset, bases[0] ?? base),
      missingOffsets: 0, // the copy counts its own
      excludedOffsets: 0, // as well
      removedRecords: start.removedRecords,
      removedExcluded: start.removedExcluded,
      offline: false,
    }
  } finally {
    await file.close()
  }
}

/** Sealed segments, by their indexes; those without one are read. */
async function readExtents(
  files: Files,
  folder: string,
  topic: string,
  partition: number,
  bases: readonly number[],
): Promise<SegmentExtent[]> {
  const extents: SegmentExtent[] = []
  for (const baseOffset of bases) {
    const path = segmentPath(folder, baseOffset)
    const known = await loadIndex(files, path, { topic, partition, baseOffset })
    if (known !== undefined) extents.push(known.extent)
    else {
      const file = await files.openRead(path)
      try {
        extents.push((await scanSegment(file, baseOffset, await file.size())).extent)
      } finally {
        await file.close()
      }
    }
  }
  return extents
}
