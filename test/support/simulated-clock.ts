import type { Clock } from '../../src/core/clock.ts'

interface Sleeper {
  readonly wakeAtMs: number
  readonly wake: () => void
}

/** A clock that a test moves. */
export class SimulatedClock implements Clock {
  #wallMs: number
  #monotonicMs = 0
  #sleepers: Sleeper[] = []

  constructor(startMs = 1_600_000_000_000) {
    this.#wallMs = startMs
  }

  nowMs(): number {
    return this.#wallMs
  }

  monotonicMs(): number {
    return this.#monotonicMs
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve()
      const sleeper = { wakeAtMs: this.#monotonicMs + delayMs, wake: resolve }
      this.#sleepers.push(sleeper)
      signal?.addEventListener('abort', () => this.#wake([sleeper]), { once: true })
    })
  }

  after(delayMs: number, work: () => void): () => void {
    const sleeper = { wakeAtMs: this.#monotonicMs + delayMs, wake: work }
    this.#sleepers.push(sleeper)
    return () => (this.#sleepers = this.#sleepers.filter((other) => other !== sleeper))
  }

  /** Time goes on; who has slept long enough wakes. */
  advance(byMs: number): void {
    this.#wallMs += byMs
    this.#monotonicMs += byMs
    this.#wake(this.#sleepers.filter(({ wakeAtMs }) => wakeAtMs <= this.#monotonicMs))
  }

  /** The wall clock is set, as an operator or NTP does; durations are not touched. */
  setWall(toMs: number): void {
    this.#wallMs = toMs
  }

  #wake(sleepers: readonly Sleeper[]): void {
    this.#sleepers = this.#sleepers.filter((sleeper) => !sleepers.includes(sleeper))
    for (const { wake } of sleepers) wake()
  }
}
