interface Waiting {
  readonly least: number
  readonly most: number
  readonly resolve: (bytes: number) => void
}

/** Bounds the bytes that many holders have together. Whoever wants more than is free waits in turn. */
export class ByteBudget {
  readonly #bytesMax: number
  #held = 0
  #waiting: Waiting[] = []

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get held(): number {
    return this.#held
  }

  /** Whether the bytes were free, and are taken now, past those who wait for more. More than the whole budget is given to whoever comes when nothing is held. */
  tryTake(bytes: number): boolean {
    if (!this.#isFree(bytes)) return false
    this.#held += bytes
    return true
  }

  /** Takes at most `most` bytes if `least` are free and nobody waits for some; gives how many, else 0. */
  takeNow(least: number, most: number): number {
    return this.#waiting.length === 0 && this.#isFree(least) ? this.#give(least, most) : 0
  }

  /** Takes at most `most` bytes as soon as `least` are free and its turn has come; resolves to how many. 0 when it has to wait and the signal aborts. */
  take(least: number, most: number, signal: AbortSignal): Promise<number> {
    const bytes = this.takeNow(least, most)
    if (bytes > 0 || signal.aborted) return Promise.resolve(bytes)
    return new Promise((resolve) => {
      const onAbort = () => {
        this.#waiting = this.#waiting.filter((other) => other !== waiting)
        resolve(0)
        this.#wake() // it may have been the first, and the next may want less
      }
      const waiting: Waiting = {
        least,
        most,
        resolve: (bytes) => {
          signal.removeEventListener('abort', onAbort)
          resolve(bytes)
        },
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.push(waiting)
    })
  }

  /** Bytes that are there already, whether there is room for them or not. */
  add(bytes: number): void {
    this.#held += bytes
  }

  release(bytes: number): void {
    this.#held -= bytes
    this.#wake()
  }

  #wake(): void {
    for (;;) {
      const [first] = this.#waiting
      if (first === undefined || !this.#isFree(first.least)) return
      this.#waiting.shift()
      first.resolve(this.#give(first.least, first.most))
    }
  }

  #give(least: number, most: number): number {
    const bytes = Math.max(least, Math.min(most, this.#bytesMax - this.#held))
    this.#held += bytes
    return bytes
  }

  #isFree(bytes: number): boolean {
    return this.#held === 0 || this.#held + bytes <= this.#bytesMax
  }
}
