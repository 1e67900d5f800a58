import { isControl, isTransactional, outcomeOf } from './control-batch.ts'
import { afterBatch, afterMarker, Producers, type ProducerLimits } from './producers.ts'
import type { ProducerSnapshot } from './producer-snapshot.ts'
import { logAppendTimeBit, sequenceOf, type RecordBatch } from './record-batch.ts'
import { Transactions, type AbortedEntry, type BatchPlace } from './transactions.ts'

/** What the producers of a partition have done: sequence numbers and transactions. All of it comes from the record batches, in order. */
export interface ProducerState {
  readonly producers: Producers
  readonly transactions: Transactions
}

export function emptyProducerState(limits: ProducerLimits): ProducerState {
  return { producers: new Producers(limits), transactions: new Transactions() }
}

/** The record time that the log gave a batch; -1 where it is the client's. */
export function logAppendTimeOf({ attributes, maxTimestampMs }: RecordBatch): number {
  return (attributes & logAppendTimeBit) === 0 ? -1 : maxTimestampMs
}

/** Tells the transactions of a batch that is on the log. Gives the entry of the index when it is the marker of an aborted one; see `Transactions.end` for `hold`. */
export function noteTransaction(
  transactions: Transactions,
  batch: RecordBatch,
  place: BatchPlace,
  hold: boolean,
): AbortedEntry | undefined {
  if (isControl(batch))
    return transactions.end(batch.producerId, outcomeOf(batch), batch.baseOffset, hold)
  if (isTransactional(batch)) transactions.note(batch.producerId, batch.recordCount, place)
  return undefined
}

/** Takes a batch of the log that was written before: no check, only what follows from it. */
export function replayBatch(
  { producers, transactions }: ProducerState,
  batch: RecordBatch,
  place: BatchPlace,
  nowMs: number,
): AbortedEntry | undefined {
  const { producerId, baseOffset } = batch
  if (producerId < 0) return undefined
  const known = producers.get(producerId)
  const after = isControl(batch)
    ? afterMarker(known, { producerEpoch: sequenceOf(batch).epoch }, nowMs)
    : afterBatch(known, batch, { baseOffset, logAppendTimeMs: logAppendTimeOf(batch) }, nowMs)
  producers.set(producerId, after)
  return noteTransaction(transactions, batch, place, false)
}

/** The state for keeping, as it is below `offset`. */
export function storeState(
  { producers, transactions }: ProducerState,
  offset: number,
  abortedCount: number,
): ProducerSnapshot {
  return {
    offset,
    abortedCount,
    producers: [...producers.entries()],
    transactions: transactions.store(),
  }
}

export function restoreState(snapshot: ProducerSnapshot, limits: ProducerLimits): ProducerState {
  const producers = new Producers(limits)
  for (const [producerId, producer] of snapshot.producers) producers.set(producerId, producer)
  return { producers, transactions: Transactions.restore(snapshot.transactions) }
}
