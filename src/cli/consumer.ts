import { committedSlice } from '../engines/committed-slice.ts'
import type { KafkaClient } from '../kafka/client.ts'
import { kafkaErrors } from '../kafka/error-codes.ts'
import type { LogRecord } from '../log/record.ts'
import {
  brokerError,
  endOfLog,
  fetchOffsets,
  fetchPartitions,
  startOfLog,
  versions,
} from './broker.ts'
import { firstOf, readableRecords, skippedLine, type ReadablePiece } from './readable-records.ts'
import { endLine, type TailStart } from './tail.ts'

const fetchBytesMax = 8 * 1024 * 1024

export interface ConsumeOptions {
  readonly client: KafkaClient
  readonly topic: string
  /** One partition; undefined = all. */
  readonly only: number | undefined
  readonly start: TailStart
  readonly countMax: number
  /** Go on at the end. */
  readonly follow: boolean
  /** A record as it is printed, with the end of its line. */
  readonly format: (partition: number, record: LogRecord) => Uint8Array
  readonly write: (bytes: Uint8Array) => Promise<void>
  /** One line for standard error at the end of each partition, when not following. */
  readonly reachedEnd: (line: string) => void
  /** One line for standard error for records that can't be read; it goes on after them. */
  readonly skipped: (line: string) => void
}

const fetchWaitMs = 500

/** Prints a topic's records from any broker, without a group. TOPIC_UNKNOWN, OFFSET_OUT_OF_RANGE */
export async function consumeTopic(options: ConsumeOptions): Promise<void> {
  const { client, topic, only, countMax } = options
  const all = await fetchPartitions(client, topic, false)
  const partitions = all.filter((partition) => only === undefined || partition === only)
  if (partitions.length === 0)
    throw brokerError(kafkaErrors.unknownTopicOrPartition, `${topic} has no partition ${only}`)
  const next = await startOffsets(options, partitions)
  let count = 0
  while (count < countMax && next.size > 0) {
    for (const read of await fetchRecords(client, topic, next, fetchWaitMs)) {
      const { partition, endOffset } = read
      const { records, unreadable, nextOffset } = firstOf(read, countMax - count)
      count += records.length
      const lines = records.map((record) => options.format(partition, record))
      if (lines.length > 0) await options.write(Buffer.concat(lines))
      for (const range of unreadable) options.skipped(skippedLine(topic, partition, range))
      next.set(partition, nextOffset)
      if (nextOffset < endOffset || options.follow) continue
      next.delete(partition)
      options.reachedEnd(endLine(topic, partition, nextOffset, next.size === 0))
    }
  }
}

async function startOffsets(
  { client, topic, start }: ConsumeOptions,
  partitions: readonly number[],
): Promise<Map<number, number>> {
  if (start.kind === 'offset')
    return new Map(partitions.map((partition) => [partition, start.offset]))
  const firsts = await fetchOffsets(client, topic, partitions, startOfLog)
  if (start.kind === 'beginning') return new Map(firsts)
  const ends = await fetchOffsets(client, topic, partitions, endOfLog)
  if (start.kind !== 'last') return new Map(ends)
  return new Map(
    [...ends].map(([partition, end]) => [
      partition,
      Math.max(firsts.get(partition) ?? 0, end - start.count),
    ]),
  )
}

/** Records of one partition from an answer, and where to read on. */
export interface FetchedPartition extends ReadablePiece {
  readonly partition: number
  /** Where the partition ends now, for a reader of committed records. */
  readonly endOffset: number
}

/** Reads from each of these offsets what is there; with none, waits up to `waitMs` for some. Records of aborted transactions and control records are left out. OFFSET_OUT_OF_RANGE */
export async function fetchRecords(
  client: KafkaClient,
  topic: string,
  from: ReadonlyMap<number, number>,
  waitMs: number,
): Promise<readonly FetchedPartition[]> {
  const answer = await client.request('fetch', versions.fetch, {
    maxWaitMs: waitMs,
    minBytes: 1,
    maxBytes: fetchBytesMax,
    isolationLevel: 1, // committed records only
    topics: [
      {
        topic,
        partitions: [...from].map(([partition, fetchOffset]) => ({
          partition,
          fetchOffset,
          partitionMaxBytes: fetchBytesMax,
        })),
      },
    ],
  })
  if (answer.errorCode !== kafkaErrors.none)
    throw brokerError(answer.errorCode, `topic "${topic}" can't be read`)
  return (answer.responses[0]?.partitions ?? []).map((each) => {
    const partition = each.partitionIndex
    const start = from.get(partition) ?? 0
    if (each.errorCode !== kafkaErrors.none)
      throw brokerError(each.errorCode, `${topic}/${partition} can't be read from offset ${start}`)
    const aborted = each.abortedTransactions ?? []
    const endOffset = each.lastStableOffset < 0 ? each.highWatermark : each.lastStableOffset
    return { partition, endOffset, ...readBatches(each.records ?? Buffer.alloc(0), start, aborted) }
  })
}

/** The records at and after `start`. An answer may end inside of a batch: what is left of it comes with the next. */
function readBatches(
  bytes: Buffer,
  start: number,
  aborted: readonly { producerId: number; firstOffset: number }[],
): ReadablePiece {
  const { batches, nextOffset } = committedSlice({ bytes, aborted }, start)
  return { ...readableRecords(batches, start, nextOffset), nextOffset }
}
