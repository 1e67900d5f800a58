import type { Clock } from '../core/clock.ts'

/** Rests that a call ends before their time: of one loop, one rest after another. */
export class Wake {
  readonly #clock: Clock
  #isCalled = false
  #end: (() => void) | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Ends the rest; when there is none now, the next one, unless `begin` comes before it. */
  call(): void {
    this.#isCalled = true
    this.#end?.()
  }

  /** What was called for until now is about to be done. */
  begin(): void {
    this.#isCalled = false
  }

  /** Resolves after this time, or the first call since `begin`. */
  rest(delayMs: number): Promise<void> {
    if (this.#isCalled) return Promise.resolve()
    return new Promise((resolve) => {
      const end = () => {
        this.#end = undefined
        stopTimer()
        resolve()
      }
      const stopTimer = this.#clock.after(delayMs, end)
      this.#end = end
    })
  }
}
