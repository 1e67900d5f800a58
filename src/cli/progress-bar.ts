import type { Clock } from '../core/clock.ts'

const width = 30
const showEveryMs = 100

/** How far a long input is read, on standard error and only for people: nothing when that is no terminal, or the size is not known. */
export class ProgressBar {
  readonly #clock: Clock
  readonly #size: number
  #shownAtMs = 0
  #isShown = false

  constructor(clock: Clock, size: number | null) {
    this.#clock = clock
    this.#size = process.stderr.isTTY === true ? (size ?? 0) : 0
  }

  show(position: number): void {
    if (this.#size === 0) return
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#shownAtMs < showEveryMs) return
    this.#shownAtMs = nowMs
    this.#isShown = true
    const share = Math.min(1, position / this.#size)
    const full = Math.round(share * width)
    const bar = `${'█'.repeat(full)}${'░'.repeat(width - full)}`
    process.stderr.write(`\r${bar} ${Math.round(share * 100)} %`)
  }

  clear(): void {
    if (this.#isShown) process.stderr.write(`\r${' '.repeat(width + 7)}\r`)
    this.#isShown = false
  }
}
