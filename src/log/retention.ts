import { systemErrorCode } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { indexPath, segmentPath } from './layout.ts'
import type { SegmentExtent } from './segment-index.ts'

/** How much of a partition is kept; null = without a limit. Kafka's topic configs `retention.ms` and `retention.bytes`. */
export interface RetentionLimits {
  readonly ageMs: number | null
  readonly bytes: number | null
}

/** The limits in a topic's configs: none is no limit, and so is -1. Without `delete` in `cleanup.policy` there are none: what is only to be compacted is kept as it is. */
export function retentionLimits(configs: Readonly<Record<string, string>>): RetentionLimits {
  if (configs['cleanup.policy'] === 'compact') return { ageMs: null, bytes: null }
  const limit = (text = '-1') => (Number(text) < 0 ? null : Number(text))
  return { ageMs: limit(configs['retention.ms']), bytes: limit(configs['retention.bytes']) }
}

/**
 * How many of the sealed segments, from the oldest on, are due: written longer ago than the limit, or not needed to keep the size (at least that many bytes stay, as with Kafka).
 * `bytes` is the size of the partition with its active segment.
 */
export function countDue(
  sealed: readonly SegmentExtent[],
  bytes: number,
  limits: RetentionLimits,
  nowMs: number,
): number {
  let count = 0
  let left = bytes
  for (const segment of sealed) {
    const isOld = limits.ageMs !== null && nowMs - segment.writtenAtMs > limits.ageMs
    const isMuch = limits.bytes !== null && left - segment.endPosition >= limits.bytes
    if (!isOld && !isMuch) break
    left -= segment.endPosition
    count++
  }
  return count
}

/** Removes the index of a segment: on a full disk that makes the room for the start file. It can be made anew, should the segment stay. */
export function unlinkIndex(files: Files, folder: string, baseOffset: number): Promise<void> {
  return unlinkIfThere(files, indexPath(segmentPath(folder, baseOffset)))
}

export function unlinkSegment(files: Files, folder: string, baseOffset: number): Promise<void> {
  return unlinkIfThere(files, segmentPath(folder, baseOffset))
}

async function unlinkIfThere(files: Files, path: string): Promise<void> {
  try {
    await files.unlink(path)
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error
  }
}
