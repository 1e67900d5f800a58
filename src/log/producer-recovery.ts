import { QuestlogError } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { readAborted, type AbortedContents } from './aborted.ts'
import { damagedLog } from './failures.ts'
import { abortedPath, listSnapshots, segmentPath } from './layout.ts'
import {
  emptyProducerState,
  replayBatch,
  restoreState,
  type ProducerState,
} from './producer-state.ts'
import { readSnapshot } from './producer-snapshot.ts'
import type { ProducerLimits } from './producers.ts'
import { BatchWalk } from './segment.ts'
import type { SegmentExtent } from './segment-index.ts'
import type { AbortedEntry } from './transactions.ts'

const walkChunkBytes = 1024 * 1024

export interface ProducerRecoveryOptions {
  readonly files: Files
  /** When the producers of batches that are read again were last heard of. */
  readonly nowMs: number
  readonly folder: string
  readonly topic: string
  readonly partition: number
  readonly producerLimits: ProducerLimits
}

/** What the producers of a partition have done, and the index of aborted transactions as it must be. */
export interface RecoveredProducers {
  readonly state: ProducerState
  readonly aborted: AbortedContents
}

interface Start extends RecoveredProducers {
  readonly offset: number
}

const noAborted: AbortedContents = { firstNumber: 0, entries: [] }

/**
 * Rebuilds what the producers have done from the newest good snapshot and the batches after it. Reads only segments that have batches of producers; changes nothing.
 * `segments` are all of the partition, oldest first, as they were recovered. LOG_DAMAGED when one that must be read is bad.
 */
export async function recoverProducers(
  options: ProducerRecoveryOptions,
  segments: readonly SegmentExtent[],
): Promise<RecoveredProducers> {
  const start = await findStart(options, segments)
  const { state } = start
  const entries = [...start.aborted.entries]
  for (const segment of segments) {
    if (segment.baseOffset > start.offset || start.offset === 0)
      state.transactions.beginSegment(segment.baseOffset)
    if (segment.hasProducers && segment.endOffset > start.offset)
      await replaySegment(options, segment, start.offset, state, entries)
  }
  return { state, aborted: { firstNumber: start.aborted.firstNumber, entries } }
}

/** The newest snapshot that fits the log and the index of aborted transactions; else the empty state before the first segment. */
async function findStart(
  options: ProducerRecoveryOptions,
  segments: readonly SegmentExtent[],
): Promise<Start> {
  const { files, folder, producerLimits } = options
  const index = (await readIndex(files, abortedPath(folder))) ?? noAborted
  for (const offset of (await listSnapshots(files, folder)).toReversed()) {
    const within = segments.filter(({ baseOffset }) => baseOffset <= offset)
    if ((within.at(-1)?.endOffset ?? -1) < offset) continue
    const snapshot = await readSnapshot(files, folder, offset)
    const count = (snapshot?.abortedCount ?? -1) - index.firstNumber
    if (snapshot === undefined || count < 0 || count > index.entries.length) continue
    const state = restoreState(snapshot, producerLimits)
    const isWhole = within.every(
      ({ baseOffset }) => state.transactions.excludedAt(baseOffset) !== undefined,
    )
    if (!isWhole) continue
    const aborted = { ...index, entries: index.entries.slice(0, count) }
    return { offset, state, aborted }
  }
  return { offset: 0, state: emptyProducerState(producerLimits), aborted: noAborted }
}

/** One of a version that is not known is made anew, as one that is bad. */
async function readIndex(files: Files, path: string): Promise<AbortedContents | undefined> {
  try {
    return await readAborted(files, path)
  } catch (error) {
    if (error instanceof QuestlogError && error.code === 'FORMAT_UNKNOWN') return undefined
    throw error
  }
}

async function replaySegment(
  options: ProducerRecoveryOptions,
  segment: SegmentExtent,
  fromOffset: number,
  state: ProducerState,
  entries: AbortedEntry[],
): Promise<void> {
  const { files, nowMs, folder, topic, partition } = options
  const { baseOffset: segmentBaseOffset, endPosition } = segment
  const path = segmentPath(folder, segmentBaseOffset)
  const file = await files.openRead(path)
  try {
    const from = { offset: segmentBaseOffset, position: 0 }
    const walk = new BatchWalk(file, from, endPosition, walkChunkBytes)
    for (;;) {
      const { offset, position } = walk
      const batch = walk.next()
      if (batch === 'end') return
      if (batch === 'more') {
        await walk.load()
        continue
      }
      if (batch === 'bad') {
        const place = { topic, partition, file: path, position, offset }
        throw damagedLog(place, 'the bytes there are no valid record batch')
      }
      if (batch.nextOffset <= fromOffset) continue
      const place = { offset, segmentBaseOffset, position }
      const entry = replayBatch(state, batch, place, nowMs)
      if (entry !== undefined) entries.push(entry)
    }
  } finally {
    await file.close()
  }
}
