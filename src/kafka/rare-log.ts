import type { Clock } from '../core/clock.ts'
import type { Logger, LogFacts } from '../core/logger.ts'

const intervalMs = 10_000

/** Logs what clients cause: each text at most once in ten seconds, with how often it was left out since. */
export class RareLog {
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #seen = new Map<string, { readonly atMs: number; leftOut: number }>()

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger
    this.#clock = clock
  }

  /** `text` is constant: what differs is among the facts. */
  warn(text: string, facts: LogFacts): void {
    const atMs = this.#clock.monotonicMs()
    const before = this.#seen.get(text)
    if (before !== undefined && atMs - before.atMs < intervalMs) {
      before.leftOut += 1
      return
    }
    this.#seen.set(text, { atMs, leftOut: 0 })
    const leftOut = before?.leftOut ?? 0
    this.#logger.warn(text, leftOut === 0 ? facts : { ...facts, leftOut })
  }
}
