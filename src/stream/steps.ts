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
  }

  /** Resolves after the next one, or this time, or when the signal aborts: whether there was one that did anything. */
  next(waitMsMax: number, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (worked: boolean) => {
        this.#waiters.delete(end)
        stopTimer()
        signal.removeEventListener('abort', giveUp)
        resolve(worked)
      }
      const giveUp = () => end(false)
      const stopTimer = this.#clock.after(waitMsMax, giveUp)
      signal.addEventListener('abort', giveUp)
      this.#waiters.add(end)
    })
  }
}
