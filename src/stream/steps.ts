import type { Clock } from '../core/clock.ts'

/** The steps of the stream, for those who wait for them. */
export class Steps {
  readonly #clock: Clock
  readonly #waiters = new Set<(worked: boolean) => void>()
  #count = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** How many have ended. */
  get count(): number {
    return this.#count
  }

  ended(worked: boolean): void {
    this.#count++
    for (const resolve of this.#waiters) resolve(worked)
    this.#waiters.clear()
  }

  /** Resolves after the next one, or this time, or when the signal aborts: whether there was one that did anything. */
  async next(waitMsMax: number, signal: AbortSignal): Promise<boolean> {
    const over = new AbortController()
    const end = () => over.abort(null)
    signal.addEventListener('abort', end)
    try {
      return await new Promise<boolean>((resolve) => {
        this.#waiters.add(resolve)
        // Its timer ends with the step: a statement may wait for many of them.
        void this.#clock.sleep(waitMsMax, over.signal).then(() => {
          this.#waiters.delete(resolve)
          resolve(false)
        })
      })
    } finally {
      end()
      signal.removeEventListener('abort', end)
    }
  }
}
