import { formatCount } from '../app/words.ts'
import type { Clock } from '../core/clock.ts'

const redrawIntervalMs = 80
const lineIntervalMs = 2_000
const barWidthMax = 30
/** What is beside the bar, at its longest. */
const besideBarWidth = 56

export interface Progress {
  readonly played: number
  readonly total: number
  readonly answered: number
  /** What SQL said last; undefined before its first answer. */
  readonly count: number | undefined
  readonly elapsedMs: number
}

/** Where the demo shows itself: `process.stdout`, or a buffer in tests. */
export interface ScreenTarget {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

export type Tone = 'good' | 'bad' | 'quiet' | 'strong'
/** How a terminal is told to begin and end it (ECMA-48, SGR). */
const styles = { good: [32, 39], bad: [31, 39], quiet: [2, 22], strong: [1, 22] } as const

/** Lines, and on a terminal a bar below them that moves. */
export class DemoScreen {
  readonly isTerminal: boolean
  readonly #target: ScreenTarget
  readonly #clock: Clock
  readonly #hasColours: boolean
  #bar = ''
  #drawnMs = Number.NEGATIVE_INFINITY

  constructor(target: ScreenTarget, clock: Clock, environment: NodeJS.ProcessEnv) {
    this.#target = target
    this.#clock = clock
    this.isTerminal = target.isTTY === true && environment['TERM'] !== 'dumb'
    this.#hasColours = this.isTerminal && (environment['NO_COLOR'] ?? '') === ''
  }

  line(text = ''): void {
    this.#target.write(`${this.#wipe()}${text}\n${this.#bar}`)
  }

  /** Shows how far the play is, not more often than is pleasant. */
  progress(progress: Progress): void {
    const nowMs = this.#clock.monotonicMs()
    const intervalMs = this.isTerminal ? redrawIntervalMs : lineIntervalMs
    if (!this.isTerminal && this.#drawnMs === Number.NEGATIVE_INFINITY) this.#drawnMs = nowMs
    if (nowMs - this.#drawnMs < intervalMs) return
    this.#drawnMs = nowMs
    this.#show(progress)
  }

  /** The last state, then the bar stays where it is. */
  endProgress(progress: Progress): void {
    this.#show(progress)
    if (this.#bar !== '') this.#target.write('\n')
    this.#bar = ''
  }

  style(tone: Tone, text: string): string {
    if (!this.#hasColours || text === '') return text
    const [begin, end] = styles[tone]
    return `\u001B[${begin}m${text}\u001B[${end}m`
  }

  #show(progress: Progress): void {
    if (!this.isTerminal) {
      const seconds = `${(progress.elapsedMs / 1000).toFixed(1)} s`
      this.line(`  ${seconds.padStart(6)}   ${describe(progress)}`)
      return
    }
    const columns = this.#target.columns ?? 80
    const width = Math.max(0, Math.min(barWidthMax, columns - besideBarWidth))
    const filled = Math.round((width * progress.played) / Math.max(1, progress.total))
    const bar = '█'.repeat(filled) + this.style('quiet', '░'.repeat(width - filled))
    // A line that wraps could not be wiped.
    const text =
      width > 0
        ? `  ${bar}  ${describe(progress)}`
        : `  ${describe(progress)}`.slice(0, columns - 1)
    this.#target.write(this.#wipe() + text)
    this.#bar = text
  }

  /** Takes the bar away, so that something can be written in its place. */
  #wipe(): string {
    return this.#bar === '' ? '' : '\r\u001B[K'
  }
}

function describe({ played, total, answered, count }: Progress): string {
  const width = formatCount(total).length
  const show = (number: number) => formatCount(number).padStart(width)
  const found = count === undefined ? 'asking SQL' : `SQL counts ${show(count)}`
  return `${show(played)} of ${formatCount(total)}   answered ${show(answered)}   ${found}`
}

/** Columns padded to their widest cell, two spaces before and between; the named columns to the right. */
export function alignRows(
  rows: readonly (readonly string[])[],
  rightColumns: ReadonlySet<number>,
): string[] {
  const widths: number[] = []
  for (const row of rows)
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)))
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0
      return rightColumns.has(column) ? cell.padStart(width) : cell.padEnd(width)
    })
    return `  ${cells.join('   ')}`.trimEnd()
  })
}
