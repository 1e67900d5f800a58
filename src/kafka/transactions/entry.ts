import { Exclusive } from '../../core/exclusive.ts'
import type { Transaction } from './transaction.ts'

/** A transactional id while the broker runs. */
export class Entry {
  readonly id: string
  /** What changes it, one after the other. */
  readonly work = new Exclusive<undefined>(undefined)
  /** Settles with the first try to carry out what was decided. */
  markers: Promise<void> | undefined
  /** Monotonic time at which the open transaction is aborted. */
  deadlineMs = Number.POSITIVE_INFINITY
  #transaction: Transaction | undefined
  /** `topic id/partition` of the open transaction. */
  #places: ReadonlySet<string> = new Set()

  constructor(id: string) {
    this.id = id
  }

  /** As it was kept last; undefined before the first time. */
  get transaction(): Transaction | undefined {
    return this.#transaction
  }

  hold(transaction: Transaction): void {
    this.#transaction = transaction
    const topics = transaction.state === 'ongoing' ? transaction.partitions : []
    this.#places = new Set(
      topics.flatMap(({ topicId, partitions }) => partitions.map((place) => `${topicId}/${place}`)),
    )
  }

  /** Whether the open transaction has said that it writes there. */
  writesTo(topicId: string, partition: number): boolean {
    return this.#places.has(`${topicId}/${partition}`)
  }
}
