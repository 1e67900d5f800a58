import { randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import type { Answer, Instance } from '../support/instance.ts'

export interface NumberedLoadOptions {
  readonly workers: number
  /** Events of a request. */
  readonly batch: number
  /** Incompressible bytes of each event, about. */
  readonly padBytes: number
  /** Events a second over all workers; without it as many as are answered. */
  readonly eventsPerSecond?: number
  /** The first number. */
  readonly first?: number
}

/** Sends numbered events of type `hit` in batches until it is stopped; nothing is sent twice. What was answered how is counted. */
export class NumberedLoad {
  readonly answered = new Set<number>()
  /** Numbers of requests that ended without an answer: kept or not. */
  readonly unknown = new Set<number>()
  /** Answers by status. */
  readonly statuses = new Map<number, number>()
  /** Milliseconds to the answer of each request that was answered with 200. */
  readonly tookMs: number[] = []
  /** Answers other than 200, the first hundred. */
  readonly refusals: Answer[] = []
  readonly #instance: Instance
  readonly #options: NumberedLoadOptions
  readonly #pad: string
  #next: number
  #running = true
  readonly #workers: Promise<void>[]

  constructor(instance: Instance, options: NumberedLoadOptions) {
    this.#instance = instance
    this.#options = options
    this.#next = options.first ?? 0
    this.#pad = randomBytes(Math.ceil(options.padBytes * 0.75) + 64).toString('base64')
    this.#workers = Array.from({ length: options.workers }, () => this.#work())
  }

  /** The number that would be sent next. */
  get next(): number {
    return this.#next
  }

  async stop(): Promise<void> {
    this.#running = false
    await Promise.all(this.#workers)
  }

  async #work(): Promise<void> {
    const { workers, batch, eventsPerSecond } = this.#options
    const everyMs = eventsPerSecond === undefined ? 0 : (1000 * batch * workers) / eventsPerSecond
    let dueMs = performance.now()
    while (this.#running) {
      const status = await this.#sendBatch(batch)
      dueMs = Math.max(dueMs + everyMs, performance.now() - 1000)
      const waitMs = status === 200 ? dueMs - performance.now() : 20
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
    }
  }

  async #sendBatch(batch: number): Promise<number> {
    const first = this.#next
    this.#next += batch
    const numbers = Array.from({ length: batch }, (_, index) => first + index)
    const body = numbers.map((n) => this.#event(n)).join('\n')
    const startMs = performance.now()
    const answer = await this.#instance
      .send('/events', { method: 'POST', headers: ndjson, body })
      .catch(() => undefined)
    const status = answer?.status ?? 0
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
    if (status === 200) {
      this.tookMs.push(performance.now() - startMs)
      for (const number of numbers) this.answered.add(number)
    } else if (answer === undefined || answer.body.includes('OUTCOME_UNKNOWN')) {
      for (const number of numbers) this.unknown.add(number)
    }
    if (answer !== undefined && status !== 200 && this.refusals.length < 100)
      this.refusals.push(answer)
    return status
  }

  #event(n: number): string {
    const turn = (n * 7) % 64 // no two neighbours alike, so that compression finds little
    const pad = this.#pad.slice(turn, turn + this.#options.padBytes)
    return JSON.stringify({ event_type: 'hit', n: String(n), pad })
  }
}

const ndjson = { 'content-type': 'application/x-ndjson' }

/** What was answered is in the table, each once; nothing else is, but what nobody knows the end of. */
export async function expectExactly(
  instance: Instance,
  ...loads: readonly NumberedLoad[]
): Promise<void> {
  const rows = await instance.sql(
    `select cast(raw_event ->> 'n' as integer) as n, count(*) from hits group by n`,
  )
  const found = new Map(rows.map(([number, count]) => [Number(number), Number(count)]))
  const answered = new Set(loads.flatMap((load) => [...load.answered]))
  const unknown = new Set(loads.flatMap((load) => [...load.unknown]))
  const missing = [...answered].filter((number) => !found.has(number))
  const doubled = [...found].filter(([, count]) => count !== 1).map(([number]) => number)
  const refused = [...found.keys()].filter((n) => !answered.has(n) && !unknown.has(n))
  expect({ missing, doubled, refused }).toEqual({ missing: [], doubled: [], refused: [] })
  const audit = await instance.audit()
  expect(audit.stdout + audit.stderr).toContain('everything adds up')
  expect(audit.code).toBe(0)
}

/** The value below which this part of the values lies. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}
