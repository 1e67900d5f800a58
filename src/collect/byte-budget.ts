import { QuestlogError } from '../core/errors.ts'

/** Bounds the bytes that all request bodies hold together. */
export class ByteBudget {
  readonly #bytesMax: number
  #held = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get held(): number {
    return this.#held
  }

  lease(): ByteLease {
    let leased = 0
    return {
      take: (bytes) => {
        if (this.#held + bytes > this.#bytesMax)
          throw new QuestlogError(
            'OVERLOADED',
            `request bodies hold ${this.#held} bytes, bodiesBytesMax is ${this.#bytesMax}`,
            { held: this.#held, bodiesBytesMax: this.#bytesMax },
          )
        this.#held += bytes
        leased += bytes
      },
      release: () => {
        this.#held -= leased
        leased = 0
      },
    }
  }
}

/** The share of one request. */
export interface ByteLease {
  /** @throws OVERLOADED when all requests together would hold too much */
  take(bytes: number): void
  release(): void
}
