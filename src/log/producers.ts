import type { ErrorCode } from '../core/errors.ts'
import { isTransactional } from './control-batch.ts'
import { sequenceOf, type RecordBatch } from './record-batch.ts'
import type { EndMarker } from './record.ts'

/** Where a batch of a producer lies; what a duplicate of it is told. */
export interface SequencedBatch {
  readonly firstSequence: number
  readonly lastSequence: number
  readonly baseOffset: number
  /** -1 unless the log gave the time. */
  readonly logAppendTimeMs: number
}

/** What a partition knows of an idempotent producer (KIP-98, KIP-360). */
export interface Producer {
  readonly epoch: number
  /** Of its last batch; -1 = the next one must be 0, null = not known: the next one may be any. */
  readonly lastSequence: number | null
  /** Its last batches in this epoch, oldest first. */
  readonly batches: readonly SequencedBatch[]
  /** When it was last heard of, by the clock of the log. */
  readonly usedAtMs: number
  /** First offset of its open transaction. */
  readonly openSince: number | null
}

/** Batches of a producer of which a duplicate is known; a client has no more in flight. */
const batchesKept = 5
const sequenceCount = 2 ** 31

/** Why a batch or marker of a producer is refused. */
export interface ProducerRefusal {
  readonly code: ErrorCode
  readonly message: string
}

function lastSequenceOf(batch: RecordBatch): number {
  return (sequenceOf(batch).firstSequence + batch.recordCount - 1) % sequenceCount
}

/** The batch that this one is a duplicate of. */
export function findDuplicate(
  producer: Producer | undefined,
  batch: RecordBatch,
): SequencedBatch | undefined {
  const { epoch, firstSequence } = sequenceOf(batch)
  if (producer?.epoch !== epoch) return undefined
  const lastSequence = lastSequenceOf(batch)
  return producer.batches.find(
    (known) => known.firstSequence === firstSequence && known.lastSequence === lastSequence,
  )
}

/** Why a batch that is no duplicate can't follow what is known of its producer; undefined when it can. */
export function refusalOf(
  producer: Producer | undefined,
  batch: RecordBatch,
): ProducerRefusal | undefined {
  if (producer === undefined) return undefined
  const { epoch, firstSequence } = sequenceOf(batch)
  const who = `producer ${batch.producerId}`
  if (epoch < producer.epoch)
    return {
      code: 'PRODUCER_EPOCH_OLD',
      message: `${who} has epoch ${epoch}, but epoch ${producer.epoch} has taken over`,
    }
  const expected = epoch > producer.epoch ? 0 : nextSequence(producer)
  if (expected !== null && firstSequence !== expected)
    return {
      code: 'SEQUENCE_OUT_OF_ORDER',
      message: `a batch of ${who}, epoch ${epoch} begins at sequence ${firstSequence}, but ${expected} must follow`,
    }
  if (producer.openSince !== null && !isTransactional(batch))
    return {
      code: 'TRANSACTION_STATE_INVALID',
      message: `${who} has an open transaction since offset ${producer.openSince}, but the batch is not part of it`,
    }
  return undefined
}

function nextSequence({ lastSequence }: Producer): number | null {
  return lastSequence === null ? null : (lastSequence + 1) % sequenceCount
}

/** Why a marker can't be written; undefined when it can. */
export function markerRefusal(
  producer: Producer | undefined,
  { producerId, producerEpoch }: Pick<EndMarker, 'producerId' | 'producerEpoch'>,
): ProducerRefusal | undefined {
  if (producer === undefined || producerEpoch >= producer.epoch) return undefined
  return {
    code: 'PRODUCER_EPOCH_OLD',
    message: `a marker for producer ${producerId} has epoch ${producerEpoch}, but epoch ${producer.epoch} has taken over`,
  }
}

/** The producer after a batch at this offset. */
export function afterBatch(
  producer: Producer | undefined,
  batch: RecordBatch,
  place: { readonly baseOffset: number; readonly logAppendTimeMs: number },
  nowMs: number,
): Producer {
  const { epoch, firstSequence } = sequenceOf(batch)
  const lastSequence = lastSequenceOf(batch)
  const before = producer?.epoch === epoch ? producer.batches : []
  const batches = [...before, { firstSequence, lastSequence, ...place }].slice(-batchesKept)
  const openSince = producer?.openSince ?? null
  return {
    epoch,
    lastSequence,
    batches,
    usedAtMs: nowMs,
    openSince: isTransactional(batch) ? (openSince ?? place.baseOffset) : openSince,
  }
}

/** The producer after the marker that ends its transaction. A higher epoch shuts out who has the one before. */
export function afterMarker(
  producer: Producer | undefined,
  { producerEpoch }: Pick<EndMarker, 'producerEpoch'>,
  nowMs: number,
): Producer {
  const same = producer?.epoch === producerEpoch ? producer : undefined
  return {
    epoch: producerEpoch,
    lastSequence: producer === undefined ? null : same === undefined ? -1 : same.lastSequence,
    batches: same?.batches ?? [],
    usedAtMs: nowMs,
    openSince: null,
  }
}

/** How many producers a partition knows, and for how long. */
export interface ProducerLimits {
  readonly countMax: number
  readonly idleMaxMs: number
}

/** The producers of a partition. Bounded: those that were silent for long go, and beyond the count those that were silent longest; never one with an open transaction. */
export class Producers {
  /** Longest silent first. */
  readonly #known = new Map<number, Producer>()
  readonly #limits: ProducerLimits

  constructor(limits: ProducerLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#known.size
  }

  get(producerId: number): Producer | undefined {
    return this.#known.get(producerId)
  }

  entries(): IterableIterator<[number, Producer]> {
    return this.#known.entries()
  }

  set(producerId: number, producer: Producer): void {
    this.#known.delete(producerId)
    this.#known.set(producerId, producer)
    this.#forget(producer.usedAtMs)
  }

  #forget(nowMs: number): void {
    const { countMax, idleMaxMs } = this.#limits
    let excess = this.#known.size - countMax
    for (const [producerId, { usedAtMs, openSince }] of this.#known) {
      if (excess <= 0 && nowMs - usedAtMs <= idleMaxMs) return
      if (openSince !== null) continue
      this.#known.delete(producerId)
      excess--
    }
  }
}
