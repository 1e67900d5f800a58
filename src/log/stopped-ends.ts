import type { Files } from '../core/files.ts'
import { damagedLog } from './failures.ts'
import { listSegments, metaPath, partitionFolder, segmentPath, watermarkPath } from './layout.ts'
import { readLogStart } from './log-start.ts'
import { decodeMeta } from './meta.ts'
import type { PartitionWatermark } from './record.ts'
import { findBatchAfter, scanSegment } from './segment.ts'
import { WatermarkReader } from './watermark.ts'

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
  const bases = there.filter((each) => each >= start.startOffset)
  const base = bases.at(-1)
  if (base === undefined) return undefined
  const path = segmentPath(folder, base)
  const file = await files.openRead(path)
  try {
    const size = await file.size()
    const { endOffset: offset, endPosition: position } = await scanSegment(file, base, size)
    const place = { topic, partition, file: path, position, offset }
    const synced = published?.syncedOffset ?? 0
    if (offset < synced) throw damagedLog(place, `everything below offset ${synced} was synced`)
    const bad = { offset, position }
    if (position < size && (await findBatchAfter(file, bad, size)) !== undefined)
      throw damagedLog(place, 'the bytes there are no valid record batch')
    return {
      visibleOffset: offset,
      highWatermark: offset,
      syncedOffset: offset,
      segmentBaseOffset: base,
      position,
      startOffset: bases[0] ?? base,
      missingOffsets: 0, // the copy counts its own
      excludedOffsets: 0,
      removedRecords: start.removedRecords,
      offline: false,
    }
  } finally {
    await file.close()
  }
}
