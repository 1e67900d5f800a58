import { QuestlogError } from '../core/errors.ts'

/** Lets at most `concurrencyMax` in at once and keeps at most `queueMax` waiting, first come, first served. */
export class Gate {
  readonly #concurrencyMax: number
  readonly #queueMax: number
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(concurrencyMax: number, queueMax: number) {
    this.#concurrencyMax = concurrencyMax
    this.#queueMax = queueMax
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Resolves with a function that gives the place back; it may be called more than once. SQL_TOO_MANY when the queue is full; rejects with the signal's reason when it aborts first. */
  async enter(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#running < this.#concurrencyMax) this.#running++
    else await this.#wait(signal)
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      const next = this.#waiting.shift()
      // The place passes to the next one without becoming free in between.
      if (next === undefined) this.#running--
      else next()
    }
  }

  #wait(signal: AbortSignal): Promise<void> {
    if (this.#waiting.length >= this.#queueMax)
      throw new QuestlogError(
        'SQL_TOO_MANY',
        `${this.#running} statements run and ${this.#waiting.length} wait for their turn`,
        { running: this.#running, waiting: this.#waiting.length },
      )
    return new Promise((resolve, reject) => {
      const enter = () => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      const leave = () => {
        const index = this.#waiting.indexOf(enter)
        if (index !== -1) this.#waiting.splice(index, 1)
        reject(signal.reason)
      }
      this.#waiting.push(enter)
      signal.addEventListener('abort', leave, { once: true })
    })
  }
}
