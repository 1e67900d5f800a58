import type { Clock } from '../core/clock.ts'
import type { SharedFile } from '../core/files.ts'
import type { Settings } from '../core/settings.ts'

/** What the estimate needs of a partition of the log. */
export interface BacklogPartition {
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
  readonly bytes: () => number
  /**
   * How long a body of events is to wait before it is read, milliseconds: nothing up to `backlogBytesHeld`, then longer the more there is. Clients that wait for
   * their answers then send as fast as the tables take, long before anything is refused. Tables that take nothing are not waited for.
   */
  readonly delayMs: () => number
}

const pollIntervalMs = 250
/** Tables whose offsets have not moved for so long take nothing. */
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
  let movedAtMs = Number.NEGATIVE_INFINITY
  let bytes = 0
  const look = () => {
    const nowMs = clock.monotonicMs()
    if (nowMs - readAtMs < pollIntervalMs) return bytes
    readAtMs = nowMs
    const next = parseProgress(progress.read().toString('utf8')) ?? applied
    if (offsetsOf(next) > offsetsOf(applied)) movedAtMs = nowMs
    applied = next
    bytes = states().reduce((sum, state) => sum + backlogOf(state, applied), 0)
    return bytes
  }
  return {
    bytes: look,
    delayMs: () => {
      const share = look() / backlogBytesHeld - 1
      return share <= 0 || readAtMs - movedAtMs > stillMs ? 0 : delayMsMax * Math.min(share, 1)
    },
  }
}

function offsetsOf(applied: AppliedOffsets): number {
  let sum = 0
  for (const partitions of applied.values()) for (const offset of partitions.values()) sum += offset
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
