import type { StateFile } from '../../log/state-file.ts'

/** Of the state file: docs/internals/log-format.md, "Transactions file". */
export const producerIdsKey = 'producer-ids'
const blockSize = 1_000

/** Gives producer ids, each once for the life of the log. A block of them is taken durably before its first is given; what is left of one is lost with the process. */
export class ProducerIds {
  readonly #store: Pick<StateFile, 'get' | 'put'>
  readonly #floor: number
  #next = 0
  #end = 0
  #taking: Promise<void> | undefined

  /** @param floor no id below is given: what the log knows already, should the file be older than the log */
  constructor(store: Pick<StateFile, 'get' | 'put'>, floor: number) {
    this.#store = store
    this.#floor = floor
  }

  /** Rejects as the state file's `put` does. */
  async next(): Promise<number> {
    while (this.#next >= this.#end) {
      this.#taking ??= this.#take().finally(() => {
        this.#taking = undefined
      })
      await this.#taking
    }
    return this.#next++
  }

  async #take(): Promise<void> {
    const stored = this.#store.get(producerIdsKey)
    const start = Math.max(typeof stored === 'number' ? stored : 0, this.#floor)
    await this.#store.put(new Map([[producerIdsKey, start + blockSize]]))
    this.#next = start
    this.#end = start + blockSize
  }
}
