import type { Clock } from '../core/clock.ts'
import type { SharedFile } from '../core/files.ts'
import type { Settings } from '../core/settings.ts'

/** What the estimate needs of a partition of the log. */
export interface BacklogPartition {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly startOffset: number
  readonly endOffset: number
  readonly visibleOffset: number
  readonly bytes: number
}

/** Next offset that the tables have not applied, by topic id and partition. */
export type AppliedOffsets = ReadonlyMap<string, ReadonlyMap<number, number>>

/** What the tables have not taken yet. */
export interface Backlog {
  /** Bytes of log that wait for them: the records behind what `lake/progress` says, at the mean size of the partition's records. Topics that the stream does not read count nothing. */
  readonly totalBytes: () => number
  /**
   * What of it counts against `backlogBytesMax` for events of a topic: what waits of all topics of which the tables take some, and what waits of the topic itself. A topic that
   * stands still, because none of its tables can be committed, is no reason to refuse events of others. For no topic: the least that it is for any.
   */
  readonly bytes: (topic: string | null) => number
  /**
   * How long a body of events is to wait before it is read, milliseconds: nothing up to `backlogBytesHeld`, then longer the more there is. Clients that wait for
   * their answers then send as fast as the tables take, long before anything is refused. Topics of which the tables take nothing are not waited for.
   */
  readonly delayMs: () => number
}

const pollIntervalMs = 250
/** A topic whose offsets have not moved for so long stands still. */
const stillMs = 1_000
const delayMsMax = 100

/** The file is read at most every 250 ms; one that can't be read leaves the last answer. */
export function createBacklog(
  progress: SharedFile,
  states: () => readonly BacklogPartition[],
  clock: Clock,
  { backlogBytesHeld }: Pick<Settings, 'backlogBytesHeld'>,
): Backlog {
  let applied: AppliedOffsets = new Map()
  let readAtMs = Number.NEGATIVE_INFINITY
  const movedAtMs = new Map<string, number>()
  let waiting: Waiting = { moving: 0, still: new Map() }
  const look = () => {
    const nowMs = clock.monotonicMs()
    if (nowMs - readAtMs < pollIntervalMs) return waiting
    readAtMs = nowMs
    const next = parseProgress(progress.read().toString('utf8')) ?? applied
    for (const [topicId, offsets] of next)
      if (sumOf(offsets) > sumOf(applied.get(topicId))) movedAtMs.set(topicId, nowMs)
    applied = next
    const isStill = (topicId: string) =>
      nowMs - (movedAtMs.get(topicId) ?? Number.NEGATIVE_INFINITY) > stillMs
    waiting = whatWaits(states(), applied, isStill)
    return waiting
  }
  return {
    totalBytes: () => {
      const { moving, still } = look()
      return [...still.values()].reduce((sum, bytes) => sum + bytes, moving)
    },
    bytes: (topic) => {
      const { moving, still } = look()
      if (topic !== null) return moving + (still.get(topic) ?? 0)
      return moving + (still.size === 0 ? 0 : Math.min(...still.values()))
    },
    delayMs: () => {
      const share = look().moving / backlogBytesHeld - 1
      return share <= 0 ? 0 : delayMsMax * Math.min(share, 1)
    },
  }
}

interface Waiting {
  /** Bytes of all topics that move. */
  readonly moving: number
  /** Bytes of each topic that stands still, by its name; 0 for those that move. */
  readonly still: ReadonlyMap<string, number>
}

function whatWaits(
  states: readonly BacklogPartition[],
  applied: AppliedOffsets,
  isStill: (topicId: string) => boolean,
): Waiting {
  let moving = 0
  const still = new Map<string, number>()
  for (const state of states) {
    const bytes = backlogOf(state, applied)
    const isOwn = isStill(state.topicId)
    if (!isOwn) moving += bytes
    still.set(state.topic, (still.get(state.topic) ?? 0) + (isOwn ? bytes : 0))
  }
  return { moving, still }
}

function sumOf(offsets: ReadonlyMap<number, number> | undefined): number {
  let sum = 0
  for (const offset of offsets?.values() ?? []) sum += offset
  return sum
}

function backlogOf(state: BacklogPartition, applied: AppliedOffsets): number {
  const topic = applied.get(state.topicId)
  const records = state.endOffset - state.startOffset
  if (topic === undefined || records <= 0) return 0
  const from = Math.max(topic.get(state.partition) ?? 0, state.startOffset)
  return Math.max(0, state.visibleOffset - from) * (state.bytes / records)
}

/** Reads `{"applied":{topicId:{partition:{"offset":N}}}}`, with or without bytes around it; undefined when there is none (torn, or not yet written). */
export function parseProgress(text: string): AppliedOffsets | undefined {
  const json = text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)
  try {
    const { applied } = JSON.parse(json) as {
      applied: Record<string, Record<string, { offset: number | string }>>
    } // a wrong form throws below, or gives numbers that only delay an answer
    return new Map(
      Object.entries(applied).map(([topicId, partitions]) => [
        topicId,
        new Map(
          Object.entries(partitions).map(([partition, { offset }]) => [
            Number(partition),
            Number(offset),
          ]),
        ),
      ]),
    )
  } catch {
    return undefined
  }
}
