import { dirname, join } from 'node:path'
import type { Clock } from '../core/clock.ts'
import type { AppendFile, Files } from '../core/files.ts'
import type { Logger } from '../core/logger.ts'
import { AbortedIndex } from './aborted-index.ts'
import { damagedLog, isDiskFull } from './failures.ts'
import {
  abortedPath,
  baseOffsetOf,
  belowStart,
  indexPath,
  listSegments,
  segmentPath,
} from './layout.ts'
import { readLogStart, type LogStart } from './log-start.ts'
import { recoverProducers } from './producer-recovery.ts'
import { dropSnapshotsAbove } from './producer-snapshot.ts'
import type { ProducerState } from './producer-state.ts'
import type { ProducerLimits } from './producers.ts'
import type { PartitionWatermark } from './record.ts'
import { countExcludedBelow, countMissing } from './partition-counts.ts'
import { canBeTorn, findBatchAfter, loadIndex, scanSegment } from './segment.ts'
import { SegmentIndex, type Place, type SegmentExtent } from './segment-index.ts'

const copyChunkBytes = 4 * 1024 * 1024
/** The times of files may be behind the clock, and as coarse as this. */
const modifiedLateMs = 100

export interface RecoveryOptions {
  readonly files: Files
  readonly clock: Clock
  readonly logger: Logger
  readonly folder: string
  readonly topic: string
  readonly partition: number
  /** What the last run published, if its watermark file survived. */
  readonly published: PartitionWatermark | undefined
  /** Offset up to which tables have committed. */
  readonly floor: number
  readonly repair: boolean
  /** With durability os a power loss may leave holes in what was never synced: they are repaired without asking. */
  readonly durability: 'fsync' | 'os'
  readonly producerLimits: ProducerLimits
}

/** A segment that takes appends: its file is as long as its index says. */
export interface ActiveSegment {
  readonly file: AppendFile
  readonly index: SegmentIndex
}

export interface RecoveredPartition {
  readonly active: ActiveSegment
  /** The sealed segments, oldest first. */
  readonly sealed: readonly SegmentExtent[]
  /** First offset that can be read. */
  readonly startOffset: number
  /** Offsets from there on, between segments, that hold no record. Only a restart or a repair makes such gaps, a roll never. */
  readonly missingOffsets: number
  /** Offsets below the start that hold no event, as the transactions count them. */
  readonly excludedBelow: number
  /** Records that retention has removed. */
  readonly removedRecords: number
  readonly removedExcluded: number
  /** No record time that the log gives may be lower. */
  readonly lastTimestampMs: number
  readonly producers: ProducerState
  readonly aborted: AbortedIndex
}

type Opened = Pick<RecoveredPartition, 'active' | 'sealed' | 'lastTimestampMs'>

/**
 * Brings the folder of a partition into order after any end of the last run: everything it returns is synced. Sealed segments are taken from their indexes, the last one is scanned.
 * A torn tail is cut off; LOG_DAMAGED for anything else unless `repair` is set, which then checks every segment.
 */
export async function recoverPartition(options: RecoveryOptions): Promise<RecoveredPartition> {
  const { files, folder } = options
  await files.makeFolder(folder)
  for (const name of await files.list(folder))
    if (name.endsWith('.new')) await files.unlink(join(folder, name))
  const start = await readLogStart(files, folder, options.repair)
  await finishRemoval(options, start)
  if (options.repair) await dropSnapshotsAbove(files, folder, -1) // what they say of may be set aside
  const before: SegmentExtent[] = []
  let last: SegmentIndex | undefined
  let bases = await listSegments(files, folder)
  for (let at = 0; at < bases.length; at++) {
    const base = bases[at] ?? 0
    if (last !== undefined) before.push(last.extent)
    const nextBase = bases[at + 1]
    last = await checkSegment(options, base, nextBase)
    refuseOverlap(options, before.at(-1), base)
    if (nextBase === undefined || options.repair) bases = await listSegments(files, folder) // one may be new
  }
  const end = last?.endOffset ?? 0
  const { syncedOffset = 0, highWatermark = 0 } = options.published ?? {}
  if (end < syncedOffset && !options.repair)
    throw damagedLog(
      placeIn(options, last ?? new SegmentIndex(0)),
      `the log ends at offset ${end}, but everything below ${syncedOffset} was synced`,
    )
  const restartOffset = Math.max(end, options.floor, highWatermark, start.startOffset)
  await dropSnapshotsAbove(files, folder, end)
  const opened = await openActive(options, before, last, restartOffset)
  try {
    const { removedRecords, removedExcluded } = start
    const segments = [...opened.sealed, opened.active.index]
    const found = await recoverProducers({ ...options, nowMs: options.clock.nowMs() }, segments)
    const aborted = await AbortedIndex.open(files, abortedPath(folder), found.aborted)
    const startOffset = Math.max(start.startOffset, segments[0]?.baseOffset ?? 0)
    const { state: producers } = found
    const place = { ...options, transactions: producers.transactions, aborted: found.aborted }
    return {
      ...opened,
      startOffset,
      missingOffsets: countMissing(segments, startOffset),
      excludedBelow: await countExcludedBelow(place, segments, startOffset),
      removedRecords,
      removedExcluded,
      producers,
      aborted,
    }
  } catch (error) {
    await opened.active.file.close()
    throw error
  }
}

/** Removes the segments that retention had already taken from the log when the last run ended. */
async function finishRemoval({ files, folder }: RecoveryOptions, start: LogStart): Promise<void> {
  const removed = new Set(belowStart(await listSegments(files, folder), start.startOffset))
  const names = (await files.list(folder)).filter((name) => removed.has(baseOffsetOf(name)))
  for (const name of names) await files.unlink(join(folder, name))
  if (names.length > 0) await files.syncFolder(folder)
}

async function openActive(
  options: RecoveryOptions,
  before: readonly SegmentExtent[],
  last: SegmentIndex | undefined,
  restartOffset: number,
): Promise<Opened> {
  const { files, folder } = options
  if (last !== undefined && options.published?.offline === true) {
    // After a failed sync the page cache may show bytes that the disk does not have: they are written once more.
    const path = segmentPath(folder, last.baseOffset)
    await copyRange(files, path, 0, last.endPosition, path)
  }
  let file = last === undefined ? undefined : await openAt(options, last)
  let index = last
  const sealed = [...before]
  if (file === undefined || index?.endOffset !== restartOffset) {
    // Offsets are never given twice: the gap lies between two segments and shows in their names.
    await file?.close()
    if (last?.endPosition === 0) await files.unlink(segmentPath(folder, last.baseOffset))
    else if (last !== undefined) sealed.push(sealNow(options, last).extent)
    index = new SegmentIndex(restartOffset)
    file = await openAt(options, index)
  }
  await files.syncFolder(folder)
  return {
    active: { file, index },
    sealed,
    lastTimestampMs: await lastTimestamp(options, sealed, index),
  }
}

/** The last time that the log gave. The last record may have the time of a client instead, up to an hour ahead: it counts only as far as the file was written by then. */
async function lastTimestamp(
  { files, clock, folder }: RecoveryOptions,
  sealed: readonly SegmentExtent[],
  { baseOffset, lastTimestampMs }: SegmentIndex,
): Promise<number> {
  const sealedMs = Math.max(0, sealed.at(-1)?.writtenAtMs ?? 0)
  if (lastTimestampMs <= clock.nowMs()) return Math.max(sealedMs, lastTimestampMs)
  const modifiedMs = (await files.modifiedMs(segmentPath(folder, baseOffset))) ?? 0
  const writtenMs = Math.max(clock.nowMs(), modifiedMs + modifiedLateMs)
  return Math.max(sealedMs, Math.min(lastTimestampMs, writtenMs))
}

/** A scan does not tell when a segment was written: at the latest now, whatever time a client gave its records. */
function sealNow({ clock }: RecoveryOptions, index: SegmentIndex): SegmentIndex {
  index.written(clock.nowMs())
  return index
}

/** Opens a segment for appending, cut to its good part and synced. */
async function openAt(options: RecoveryOptions, index: SegmentIndex): Promise<AppendFile> {
  const file = await options.files.openAppend(segmentPath(options.folder, index.baseOffset))
  if (file.size === index.endPosition) {
    await file.sync()
    return file
  }
  options.logger.warn('a torn tail was cut off: it was never acknowledged', {
    topic: options.topic,
    partition: options.partition,
    file: file.path,
    position: index.endPosition,
    bytes: file.size - index.endPosition,
  })
  await file.truncate(index.endPosition)
  return file
}

function placeIn({ folder, topic, partition }: RecoveryOptions, extent: SegmentExtent) {
  const file = segmentPath(folder, extent.baseOffset)
  return { topic, partition, file, position: extent.endPosition, offset: extent.endOffset }
}

function refuseOverlap(
  options: RecoveryOptions,
  before: SegmentExtent | undefined,
  base: number,
): void {
  if (before === undefined || before.endOffset <= base) return
  throw damagedLog(
    placeIn(options, before),
    `it holds offsets up to ${before.endOffset}, but the next segment begins at ${base}`,
  )
}

/** The index of a segment, from its file or by a scan. When the segment is damaged: LOG_DAMAGED, or the repaired part up to the damage. */
async function checkSegment(
  options: RecoveryOptions,
  base: number,
  nextBase: number | undefined,
): Promise<SegmentIndex> {
  const { files, folder, topic, partition, published, repair, durability } = options
  const last = nextBase === undefined
  const path = segmentPath(folder, base)
  if (!last && !repair) {
    const index = await loadIndex(files, path, { topic, partition, baseOffset: base })
    if (index !== undefined) return index
  }
  const size = (await files.sizeOf(path)) ?? 0
  const file = await files.openRead(path)
  try {
    const index = await scanSegment(file, base, size)
    const bad: Place = { offset: index.endOffset, position: index.endPosition }
    if (bad.position < size) {
      const next = await findBatchAfter(file, bad, size, nextBase)
      const neverSynced = last && bad.offset >= (published?.syncedOffset ?? 0)
      if (neverSynced && next === undefined) return index
      const isTorn = durability === 'fsync' && canBeTorn(bad, size, next)
      if (neverSynced && isTorn && !repair) {
        await keepTorn(options, index, size)
        return index
      }
      if (!repair && !(neverSynced && durability === 'os'))
        throw damagedLog(placeIn(options, index), 'the bytes there are no valid record batch')
      await setAside(options, index, size, next)
      if (next?.offset === base) return await checkSegment(options, base, nextBase)
    } else if (!last) await writeIndex(files, path, sealNow(options, index))
    return index
  } finally {
    await file.close()
  }
}

/** What a crash left of the last commit is cut off, as it was never acknowledged. Where it holds valid batches after bad ones it is kept beside: should it be damage after all, nothing is lost. */
async function keepTorn(
  { files, folder, logger, topic, partition }: RecoveryOptions,
  { baseOffset, endPosition }: SegmentIndex,
  size: number,
): Promise<void> {
  const path = segmentPath(folder, baseOffset)
  const saved = `${path}.torn-${endPosition}`
  const facts = { topic, partition, file: path, position: endPosition, saved }
  try {
    await copyRange(files, path, endPosition, size, saved)
    logger.warn('the last commit was torn by a crash: its bytes are kept beside', facts)
  } catch (error) {
    if (!isDiskFull(error)) throw error
    logger.warn('the last commit was torn by a crash', { ...facts, error })
  }
}

/** Moves valid batches after the damage to a segment of their own and the damaged bytes to a file beside. Can be interrupted and repeated at any point: the damaged segment is cut last. */
async function setAside(
  { files, folder, logger, topic, partition }: RecoveryOptions,
  index: SegmentIndex,
  size: number,
  next: Place | undefined,
): Promise<void> {
  const path = segmentPath(folder, index.baseOffset)
  const position = index.endPosition
  await dropSnapshotsAbove(files, folder, index.endOffset)
  const saved = `${path}.damaged-${position}`
  await copyRange(files, path, position, next?.position ?? size, saved)
  const rest = next === undefined ? undefined : segmentPath(folder, next.offset)
  if (next !== undefined && rest !== undefined)
    await copyRange(files, path, next.position, size, rest)
  if ((await files.sizeOf(indexPath(path))) !== undefined) {
    await files.unlink(indexPath(path))
    await files.syncFolder(folder)
  }
  if (rest !== path) {
    const file = await files.openAppend(path)
    await file.truncate(position)
    await file.close()
  }
  logger.warn('damaged bytes were set aside', {
    topic,
    partition,
    file: path,
    position,
    saved,
    rest,
  })
}

/** Copies bytes of a file to a new file, synced before it takes the name `target`. */
async function copyRange(
  files: Files,
  path: string,
  from: number,
  to: number,
  target: string,
): Promise<void> {
  const temporary = `${target}.new`
  if ((await files.sizeOf(temporary)) !== undefined) await files.unlink(temporary)
  const source = await files.openRead(path)
  const copy = await files.openAppend(temporary)
  try {
    for (let at = from; at < to; at += copyChunkBytes)
      await copy.append(await source.read(at, Math.min(copyChunkBytes, to - at)))
    await copy.sync()
  } finally {
    await source.close()
    await copy.close()
  }
  await files.rename(temporary, target)
  await files.syncFolder(dirname(target))
}

/** Writes the index of a sealed segment. Not synced: a bad one is made again by a scan. */
export async function writeIndex(
  files: Files,
  segment: string,
  index: SegmentIndex,
): Promise<void> {
  const path = indexPath(segment)
  const temporary = `${path}.new`
  if ((await files.sizeOf(temporary)) !== undefined) await files.unlink(temporary)
  const file = await files.openAppend(temporary)
  try {
    await file.append(index.encode())
  } finally {
    await file.close()
  }
  await files.rename(temporary, path)
}
