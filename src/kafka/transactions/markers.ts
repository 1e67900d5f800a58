import { QuestlogError } from '../../core/errors.ts'
import type { EventLog } from '../../log/event-log.ts'
import type { EndMarker, KnownProducer } from '../../log/record.ts'
import { outcomeOf, type Transaction } from './transaction.ts'

export type MarkerLog = Pick<EventLog, 'topic' | 'appendMarker' | 'producers'>

/** There is one coordinator, for ever. */
const coordinatorEpoch = 0

/**
 * Writes the marker of a decided transaction to each of its partitions; durable when it resolves. Written again, markers do no harm.
 * Rejects with the first error when all have been tried.
 */
export async function writeMarkers(log: MarkerLog, transaction: Transaction): Promise<void> {
  const { producerId, producerEpoch } = transaction
  const marker = { producerId, producerEpoch, coordinatorEpoch, outcome: outcomeOf(transaction) }
  const written = await Promise.allSettled(
    transaction.partitions.flatMap(({ topicId, topic, partitions }) =>
      partitions.map((partition) => writeMarker(log, { topicId, topic, partition }, marker)),
    ),
  )
  for (const result of written) if (result.status === 'rejected') throw result.reason
}

/** Ends what nobody else will end: records of a transaction that the coordinator does not know, because its file is older than the log. */
export async function abortUnknown(log: MarkerLog, unknown: KnownProducer): Promise<void> {
  const { topic, partition, producerId, producerEpoch } = unknown
  const marker = { producerId, producerEpoch, coordinatorEpoch, outcome: 'abort' } as const
  await writeMarker(log, { topicId: log.topic(topic)?.id, topic, partition }, marker)
}

async function writeMarker(
  log: MarkerLog,
  place: {
    readonly topicId: string | undefined
    readonly topic: string
    readonly partition: number
  },
  marker: EndMarker,
): Promise<void> {
  const { topicId, topic, partition } = place
  // With a topic its records are gone; one of the same name has nothing to do with them.
  if (log.topic(topic)?.id !== topicId) return
  try {
    await log.appendMarker(topic, partition, marker)
  } catch (error) {
    const code = error instanceof QuestlogError ? error.code : undefined
    // PRODUCER_EPOCH_OLD: the partition knows a later epoch of the producer, so this transaction has its marker there.
    if (code !== 'TOPIC_UNKNOWN' && code !== 'PRODUCER_EPOCH_OLD') throw error
  }
}
