const stateStep = 0x9e3779b9 // 2^32 divided by the golden ratio: visits every state once

/** A seeded source of whole numbers: a counter, mixed by the finalizer of MurmurHash3 (fmix32). Not for secrets. */
export class SeededRandom {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.#next() / 2 ** 32) * limit)
  }

  /** The same items in another order (Fisher and Yates). */
  shuffle<T>(items: readonly T[]): T[] {
    const shuffled: T[] = []
    for (const item of items) {
      const place = this.below(shuffled.length + 1)
      const displaced = shuffled[place]
      if (displaced !== undefined) shuffled.push(displaced)
      shuffled[place] = item
    }
    return shuffled
  }

  /** 32 bits. */
  #next(): number {
    this.#state = (this.#state + stateStep) >>> 0
    let bits = this.#state
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
    return (bits ^ (bits >>> 16)) >>> 0
  }
}
