import type { PartitionView } from '../log/record.ts'
import type { RequestOf, ResponseOf } from './apis.ts'
import type { BrokerLog } from './broker-log.ts'
import { kafkaErrorOf, kafkaErrors } from './error-codes.ts'
import type { Handler } from './handler.ts'
import { checkPartitionCount } from './partition-count.ts'

export interface LookupParts {
  readonly log: Pick<BrokerLog, 'partition'>
}

type ListRequest = RequestOf<'listOffsets'>
type ListAnswer = ResponseOf<'listOffsets'>['topics'][number]['partitions'][number]
type EpochAnswer = ResponseOf<'offsetForLeaderEpoch'>['topics'][number]['partitions'][number]

/** What a timestamp below 0 asks for. */
const latest = -1
const earliest = -2
const largestTime = -3
const earliestLocal = -4
const readCommitted = 1
/** There is one leader, and it never changes. */
const leaderEpoch = 0
const unknownEpoch = { leaderEpoch: -1, endOffset: -1 }

/**
 * ListOffsets 1 to 9 (KIP-79, KIP-98, KIP-734, KIP-1005): the end (-1; with read_committed the last stable offset), the start (-2, -4), the record with the largest timestamp (-3),
 * none for tiered storage (-5), or the first record at or after a time; offset -1 when there is none.
 */
export function listOffsetsHandler({ log }: LookupParts): Handler<'listOffsets'> {
  return {
    api: 'listOffsets',
    minVersion: 1,
    maxVersion: 9,
    async handle({ topics, isolationLevel }) {
      checkPartitionCount(topics.map(({ partitions }) => partitions.length))
      const answered = []
      for (const { name, partitions } of topics) {
        const answers: ListAnswer[] = []
        for (const wanted of partitions) {
          const view = log.partition(name, wanted.partitionIndex)
          answers.push(await listOffset(view, wanted, isolationLevel === readCommitted))
        }
        answered.push({ name, partitions: answers })
      }
      return { topics: answered }
    },
  }
}

async function listOffset(
  view: PartitionView | undefined,
  wanted: ListRequest['topics'][number]['partitions'][number],
  isCommitted: boolean,
): Promise<ListAnswer> {
  const { partitionIndex, currentLeaderEpoch, timestamp } = wanted
  if (view === undefined) return { partitionIndex, errorCode: kafkaErrors.unknownTopicOrPartition }
  if (currentLeaderEpoch > leaderEpoch)
    return { partitionIndex, errorCode: kafkaErrors.unknownLeaderEpoch }
  try {
    const found = await lookUp(view, timestamp, isCommitted)
    return { partitionIndex, errorCode: kafkaErrors.none, ...found }
  } catch (error) {
    return { partitionIndex, errorCode: kafkaErrorOf(error) }
  }
}

async function lookUp(
  view: PartitionView,
  timestamp: number,
  isCommitted: boolean,
): Promise<{ offset: number; timestamp: number; leaderEpoch: number } | undefined> {
  const end = isCommitted ? view.lastStableOffset : view.highWatermark
  if (timestamp === latest) return { offset: end, timestamp: -1, leaderEpoch }
  if (timestamp === earliest || timestamp === earliestLocal)
    return { offset: view.startOffset, timestamp: -1, leaderEpoch }
  if (timestamp < 0 && timestamp !== largestTime) return undefined
  const found =
    timestamp === largestTime
      ? await view.offsetOfMaxTimestamp()
      : await view.offsetAtTime(timestamp)
  if (found === undefined || found.offset >= end) return undefined
  return { offset: found.offset, timestamp: found.timestampMs, leaderEpoch }
}

/**
 * OffsetForLeaderEpoch 0 to 4 (KIP-101, KIP-279, KIP-320): epoch 0 ends at the end of the log; any other is unknown.
 */
export function offsetForLeaderEpochHandler({ log }: LookupParts): Handler<'offsetForLeaderEpoch'> {
  return {
    api: 'offsetForLeaderEpoch',
    minVersion: 0,
    maxVersion: 4,
    async handle({ topics }) {
      checkPartitionCount(topics.map(({ partitions }) => partitions.length))
      return {
        topics: topics.map(({ topic, partitions }) => ({
          topic,
          partitions: partitions.map((wanted): EpochAnswer => {
            const { partition } = wanted
            const view = log.partition(topic, partition)
            if (view === undefined)
              return { partition, errorCode: kafkaErrors.unknownTopicOrPartition }
            if (wanted.currentLeaderEpoch > leaderEpoch)
              return { partition, errorCode: kafkaErrors.unknownLeaderEpoch }
            const end =
              wanted.leaderEpoch === leaderEpoch
                ? { leaderEpoch, endOffset: view.highWatermark }
                : unknownEpoch
            return { partition, errorCode: kafkaErrors.none, ...end }
          }),
        })),
      }
    },
  }
}
