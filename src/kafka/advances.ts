import type { BrokerLog } from './broker-log.ts'

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** Wakes those who wait for new records. One subscription to the log serves them all. */
export class Advances {
  readonly #waiting = new Map<string, Map<number, Set<() => void>>>()
  readonly #unsubscribe: () => void

  constructor(log: Pick<BrokerLog, 'onAdvance'>) {
    this.#unsubscribe = log.onAdvance((topic, partition) => {
      for (const wake of this.#waiting.get(topic)?.get(partition) ?? []) wake()
    })
  }

  /** Calls `wake` each time that one of the partitions moves on, until the function that it gives is called. */
  watch(partitions: readonly TopicPartition[], wake: () => void): () => void {
    for (const { topic, partition } of partitions) {
      const byPartition = this.#waiting.get(topic) ?? new Map<number, Set<() => void>>()
      this.#waiting.set(topic, byPartition)
      const listeners = byPartition.get(partition) ?? new Set<() => void>()
      byPartition.set(partition, listeners)
      listeners.add(wake)
    }
    return () => {
      for (const { topic, partition } of partitions) {
        const byPartition = this.#waiting.get(topic)
        const listeners = byPartition?.get(partition)
        listeners?.delete(wake)
        if (listeners?.size === 0) byPartition?.delete(partition)
        if (byPartition?.size === 0) this.#waiting.delete(topic)
      }
    }
  }

  close(): void {
    this.#unsubscribe()
  }
}
