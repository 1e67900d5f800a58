import type { Clock } from '../core/clock.ts'
import { asQuestlogError, QuestlogError } from '../core/errors.ts'
import type { Played } from '../sim/play.ts'
import { askSql } from './sql-client.ts'
import { NumberCell, type Cell } from './table-output.ts'

const countIntervalMs = 200
const probeIntervalMs = 40
const retryIntervalMs = 25

export type Row = readonly Cell[]

/** All rows of one statement. */
export async function askRows(
  endpoint: string,
  sql: string,
  signal: AbortSignal,
): Promise<readonly Row[]> {
  const rows: Row[] = []
  for await (const line of askSql({ endpoint, sql, stale: false, signal }))
    if ('rows' in line) rows.push(...line.rows)
  return rows
}

/** The same; tried again while the lake process is away. Throws what it met last after `patienceMs`. */
export async function askRowsPatiently(
  endpoint: string,
  sql: string,
  options: { clock: Clock; patienceMs: number; signal: AbortSignal },
): Promise<readonly Row[]> {
  const { clock, patienceMs, signal } = options
  const endMs = clock.monotonicMs() + patienceMs
  for (;;) {
    try {
      return await askRows(endpoint, sql, signal)
    } catch (error) {
      if (!isAway(error) || clock.monotonicMs() > endMs) throw error
      await clock.sleep(retryIntervalMs, signal)
    }
  }
}

export function readNumber(cell: Cell | undefined): number {
  return Number(cell instanceof NumberCell ? cell.digits : cell)
}

export function readText(cell: Cell | undefined): string {
  return typeof cell === 'string' ? cell : ''
}

/** Whether SQL is not served at the moment: its process was ended, is starting, or reads what it has missed. */
function isAway(error: unknown): boolean {
  const { code } = asQuestlogError(error)
  return code === 'NOT_RUNNING' || code === 'SHUTTING_DOWN' || code === 'CATCHING_UP'
}

/** Asks `select count(*) from events` again and again, and holds every answer against what was answered before the question. */
export class CountWatch {
  /** The last count; undefined before the first. */
  count: number | undefined
  /** How often SQL said a count. */
  asked = 0
  /** Counts below what had been answered, or below the count before. */
  broken = 0
  /** When the last question that got an answer was asked, by the monotonic clock. */
  answeredQuestionMs = 0
  readonly #options: WatchOptions
  readonly #answered: () => number

  constructor(options: WatchOptions, answered: () => number) {
    this.#options = options
    this.#answered = answered
  }

  /** Runs until the signal aborts. Rejects when SQL says something else than a number. */
  async run(): Promise<void> {
    const { clock, signal } = this.#options
    while (!signal.aborted) {
      await this.#ask().catch((error: unknown) => {
        if (!isAway(error) && !signal.aborted) throw error
      })
      await clock.sleep(countIntervalMs, signal)
    }
  }

  async #ask(): Promise<void> {
    const { endpoint, clock, signal } = this.#options
    const answered = this.#answered()
    const askedMs = clock.monotonicMs()
    const [row] = await askRows(endpoint, 'select count(*) from events', signal)
    const count = readNumber(row?.[0])
    if (Number.isNaN(count)) throw new QuestlogError('INTERNAL', 'count(*) gave no number')
    this.asked++
    if (count < answered || count < (this.count ?? 0)) this.broken++
    this.count = count
    this.answeredQuestionMs = askedMs
  }
}

export interface WatchOptions {
  readonly endpoint: string
  readonly clock: Clock
  readonly signal: AbortSignal
}

/** Takes a sample of the answered requests and asks SQL for that very event at once. */
export class Prober {
  /** From the answer to the SQL answer that contains the event. */
  readonly latenciesMs: number[] = []
  /** The same, where the lake process was away in between. */
  readonly latenciesAwayMs: number[] = []
  /** First statements that were answered without the event. */
  missed = 0
  readonly #options: WatchOptions
  #startedMs = Number.NEGATIVE_INFINITY
  #probe: Promise<void> | undefined

  constructor(options: WatchOptions) {
    this.#options = options
  }

  /** Probes this event, unless another probe is under way or was begun a moment ago. */
  offer({ outcome, atMs }: Played): void {
    const { clock, signal } = this.#options
    const nowMs = clock.monotonicMs()
    if (this.#probe !== undefined || nowMs - this.#startedMs < probeIntervalMs) return
    if (outcome.kind !== 'answered' || signal.aborted) return
    this.#startedMs = nowMs
    const { partition, offset } = outcome.receipt
    const sql = `select _offset from events where _log_partition = ${partition} and _offset = ${offset}`
    this.#probe = this.#ask(sql, atMs).finally(() => (this.#probe = undefined))
  }

  /** Waits for the probe that is under way. */
  async close(): Promise<void> {
    await this.#probe
  }

  async #ask(sql: string, answeredMs: number): Promise<void> {
    const { endpoint, clock, signal } = this.#options
    let wasAway = false
    let wasMissed = false
    while (!signal.aborted) {
      try {
        const rows = await askRows(endpoint, sql, signal)
        const elapsedMs = clock.monotonicMs() - answeredMs
        if (rows.length > 0) {
          ;(wasAway ? this.latenciesAwayMs : this.latenciesMs).push(elapsedMs)
          return
        }
        if (!wasMissed) this.missed++
        wasMissed = true
      } catch (error) {
        // What is wrong with SQL itself is seen, and told, by the count.
        if (!isAway(error)) return
        wasAway = true
      }
      await clock.sleep(retryIntervalMs, signal)
    }
  }
}

/** The value that this part of the values does not exceed; undefined when there are none. */
export function percentile(values: readonly number[], part: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)]
}
