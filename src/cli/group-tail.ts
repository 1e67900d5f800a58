import type { Clock } from '../core/clock.ts'
import type { KafkaClient } from '../kafka/client.ts'
import type { LogRecord } from '../log/record.ts'
import { endOfLog, fetchOffsets, startOfLog } from './broker.ts'
import { fetchRecords } from './consumer.ts'
import { GroupMembership } from './group-membership.ts'
import { firstOf, skippedLine } from './readable-records.ts'
import { endLine } from './tail.ts'

const fetchWaitMs = 500

export interface GroupTailOptions {
  readonly client: KafkaClient
  readonly clock: Clock
  readonly group: string
  readonly topic: string
  /** Where to begin a partition that the group has committed nothing of. */
  readonly begin: 'beginning' | 'end'
  readonly countMax: number
  /** Go on at the end, until `signal`. */
  readonly follow: boolean
  /** A record as it is printed, with the end of its line. */
  readonly format: (partition: number, record: LogRecord) => Uint8Array
  readonly write: (bytes: Uint8Array) => Promise<void>
  readonly reachedEnd: (line: string) => void
  /** One line for standard error for records that can't be read; it goes on after them. */
  readonly skipped: (line: string) => void
  readonly signal: AbortSignal
}

/**
 * Prints a topic as a member of a consumer group: each record goes to one of its members. What was printed is committed after it was printed, so that a member that is
 * killed has its last records printed by another once more, and none is left out.
 */
export async function tailGroup(options: GroupTailOptions): Promise<void> {
  const { client, clock, group, topic, signal } = options
  const membership = new GroupMembership({ client, clock, group, topic })
  let left = options.countMax
  try {
    while (left > 0 && !signal.aborted) {
      const next = await begin(options, membership)
      const outcome = await readGeneration(options, membership, next, left)
      left -= outcome.count
      if (outcome.atEnd) return
    }
  } finally {
    await membership.leave().catch(() => {}) // its session ends by itself
  }
}

/** Joins and finds where each assigned partition goes on. */
async function begin(
  { client, topic, begin: start }: GroupTailOptions,
  membership: GroupMembership,
): Promise<Map<number, number>> {
  const partitions = await membership.join()
  if (partitions.length === 0) return new Map()
  const committed = await membership.committed(partitions)
  const time = start === 'beginning' ? startOfLog : endOfLog
  const fallback = await fetchOffsets(client, topic, partitions, time)
  const firsts = await fetchOffsets(client, topic, partitions, startOfLog)
  return new Map(
    partitions.map((partition) => {
      const own = committed.get(partition) ?? -1
      const offset = own >= 0 ? own : (fallback.get(partition) ?? 0)
      return [partition, Math.max(offset, firsts.get(partition) ?? 0)] // retention may have gone on
    }),
  )
}

/** Reads until the group is assigned anew, the count is reached, or the end when not following. */
async function readGeneration(
  options: GroupTailOptions,
  membership: GroupMembership,
  next: Map<number, number>,
  countMax: number,
): Promise<{ count: number; atEnd: boolean }> {
  const { client, clock, topic, signal } = options
  let count = 0
  while (count < countMax && !signal.aborted) {
    if (!(await membership.isCurrent())) return { count, atEnd: false }
    if (next.size === 0) {
      await clock.sleep(fetchWaitMs, signal)
      continue
    }
    const fetched = await fetchRecords(client, topic, next, fetchWaitMs)
    const progress = new Map<number, number>()
    let isLevel = true
    for (const read of fetched) {
      const { partition, endOffset } = read
      const { records, unreadable, nextOffset: reached } = firstOf(read, countMax - count)
      count += records.length
      const lines = records.map((record) => options.format(partition, record))
      if (lines.length > 0) await options.write(Buffer.concat(lines))
      for (const range of unreadable) options.skipped(skippedLine(topic, partition, range))
      if (reached > (next.get(partition) ?? 0)) progress.set(partition, reached)
      isLevel &&= reached >= endOffset
    }
    for (const [partition, offset] of progress) next.set(partition, offset)
    if (!(await membership.commit(progress))) return { count, atEnd: false }
    if (isLevel && !options.follow) {
      for (const [partition, offset] of next)
        options.reachedEnd(endLine(topic, partition, offset, false))
      return { count, atEnd: true }
    }
  }
  return { count, atEnd: true }
}
