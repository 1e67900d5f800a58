/** No round begins when it would most likely end later than this after the benchmark's start. */
const budgetMs = 150_000

/** The rounds of one benchmark: as many as were asked for, fewer on a machine that is too slow for them. */
export class Rounds {
  readonly wanted: number
  readonly #startMs = performance.now()
  #done = 0

  constructor(wanted: number) {
    this.wanted = wanted
  }

  get done(): number {
    return this.#done
  }

  /** Does `work` once a round; always at least once. */
  async run(work: (round: number) => Promise<void>): Promise<void> {
    let longestMs = 0
    for (let round = 0; round < this.wanted; round++) {
      const startMs = performance.now()
      if (round > 0 && startMs - this.#startMs + longestMs > budgetMs) return
      await work(round)
      longestMs = Math.max(longestMs, performance.now() - startMs)
      this.#done++
    }
  }
}
