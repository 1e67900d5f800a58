import { batchIn, batchOverheadBytes, sequenceOf } from '../log/record-batch.ts'
import type { ClientConnection } from './handler.ts'

/** Refused batches that are remembered of a connection. */
const refusedMax = 1_000
const magicAt = 16
const batchMagic = 2

/** Work of each connection that holds up what comes after it on the same connection. */
export class ConnectionTurns {
  readonly #last = new WeakMap<ClientConnection, Promise<unknown>>()

  isTaken(connection: ClientConnection): boolean {
    return this.#last.has(connection)
  }

  /** Calls `work` when everything that took its turn before has resolved; nothing that comes later begins before this has. `work` must not reject. */
  take<T>(connection: ClientConnection, work: () => Promise<T>): Promise<T> {
    const turn = (this.#last.get(connection) ?? Promise.resolve()).then(work)
    const last = turn.then(() => {
      if (this.#last.get(connection) === last) this.#last.delete(connection)
    })
    this.#last.set(connection, last)
    return turn
  }
}

interface Sequence {
  readonly producerId: number
  readonly epoch: number
  readonly firstSequence: number
}

/**
 * The batches of idempotent producers that were refused although they may come again. A partition that does not know a producer takes any sequence number as its first (KIP-360): what was sent behind a
 * refused batch would pass for the first, and the one before it, sent again, for out of order. Kafka remembers the lowest sequence number in the same way, for transactional producers.
 */
export class RefusedBatches {
  readonly #refused = new WeakMap<ClientConnection, Map<string, Sequence>>()

  /** Whether a batch was sent behind a refused one of its producer that has not come again. */
  isBehind(connection: ClientConnection, place: string, records: Buffer): boolean {
    const refused = this.#refused.get(connection)
    const sequence = refused && sequenceIn(records)
    if (refused === undefined || sequence === undefined) return false
    const key = keyOf(place, sequence)
    const before = refused.get(key)
    if (before?.epoch === sequence.epoch && sequence.firstSequence > before.firstSequence)
      return true
    refused.delete(key) // it is the one, or the producer has begun anew
    return false
  }

  note(connection: ClientConnection, place: string, records: Buffer): void {
    const sequence = sequenceIn(records)
    if (sequence === undefined) return
    const refused = this.#refused.get(connection) ?? new Map<string, Sequence>()
    this.#refused.set(connection, refused)
    if (this.isBehind(connection, place, records)) return // the first of them has to come first
    refused.set(keyOf(place, sequence), sequence)
    const [oldest] = refused.keys()
    if (refused.size > refusedMax && oldest !== undefined) refused.delete(oldest)
  }
}

function keyOf(place: string, { producerId }: Sequence): string {
  return `${place}/${producerId}`
}

/** Undefined for what is no batch, and for a batch of a producer that is not idempotent. */
function sequenceIn(records: Buffer): Sequence | undefined {
  if (records.length < batchOverheadBytes || records.readInt8(magicAt) !== batchMagic)
    return undefined
  const batch = batchIn(records)
  return batch.producerId < 0 ? undefined : { producerId: batch.producerId, ...sequenceOf(batch) }
}
