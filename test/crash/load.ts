import { setTimeout as pause } from 'node:timers/promises'
import type { Instance } from '../support/instance.ts'
import type { Random } from '../support/random.ts'
import { makeEvent, type SentEvent } from './events.ts'

/** What the client knows of an event. `refused`: the answer said that it was not kept. `unknown`: no answer, or one that says that it is not known. */
export type Outcome = 'answered' | 'refused' | 'unknown'

const singlesPauseMs = 12
const batchesPauseMs = 120
/** After a request that failed the process may be away: the next comes later by this factor. */
const failurePauseFactor = 4
const batchEventsMax = 40

/** Sends numbered events over HTTP, single ones and batches, each once, and keeps account of the answers. */
export class Load {
  readonly sent = new Map<number, SentEvent>()
  readonly outcomes = new Map<number, Outcome>()
  /** Receipts of the answered, `topic/partition/offset`, by number. */
  readonly receipts = new Map<number, string>()
  answered = 0
  readonly #instance: Instance
  readonly #random: Random
  readonly #types: () => readonly string[]
  readonly #outstanding = new Set<number>()
  readonly #clients: readonly Promise<void>[]
  #running = true
  #gate: Promise<void> = Promise.resolve()
  #open: () => void = () => {}
  #next = 1

  /** `types`: the event types that reloads have added so far; some may not be live yet. */
  constructor(instance: Instance, random: Random, types: () => readonly string[]) {
    this.#instance = instance
    this.#random = random
    this.#types = types
    this.#clients = [
      ...Array.from({ length: 5 }, () => this.#repeat(() => this.#single(), singlesPauseMs)),
      this.#repeat(() => this.#batch('application/x-ndjson'), batchesPauseMs),
      this.#repeat(() => this.#batch('application/json'), batchesPauseMs),
    ]
  }

  /** All numbers below have their outcome. */
  get settledBelow(): number {
    return Math.min(this.#next, ...this.#outstanding)
  }

  /** Resolves when everything sent has its outcome and nothing more is sent. */
  async hold(): Promise<void> {
    this.#gate = new Promise((resolve) => (this.#open = resolve))
    while (this.#outstanding.size > 0) await pause(5)
  }

  resume(): void {
    this.#open()
  }

  async stop(): Promise<void> {
    this.#running = false
    this.#open()
    await Promise.all(this.#clients)
  }

  async #repeat(send: () => Promise<boolean>, pauseMs: number): Promise<void> {
    while (this.#running) {
      await this.#gate
      if (this.#running) await pause((await send()) ? pauseMs : pauseMs * failurePauseFactor)
    }
  }

  #take(): SentEvent {
    const n = this.#next++
    const event = makeEvent(n, this.#types(), this.#random)
    this.sent.set(n, event)
    this.#outstanding.add(n)
    return event
  }

  #settle({ n }: SentEvent, outcome: Outcome, receipt?: string): void {
    this.#outstanding.delete(n)
    this.outcomes.set(n, outcome)
    if (outcome !== 'answered') return
    this.answered++
    this.receipts.set(n, receipt ?? 'no receipt')
  }

  async #single(): Promise<boolean> {
    const event = this.#take()
    const query = new URLSearchParams({ n: String(event.n), ...event.fields })
    const answer = await this.#instance
      .send(`/${event.type}?${query.toString()}`)
      .catch(() => undefined)
    const outcome =
      answer === undefined ? 'unknown' : outcomeOf(answer.status, codeOf(answer.body)?.error?.code)
    this.#settle(event, outcome, answer?.receipt)
    return outcome === 'answered'
  }

  async #batch(contentType: string): Promise<boolean> {
    const events = Array.from({ length: 1 + this.#random.below(batchEventsMax) }, () =>
      this.#take(),
    )
    const lines = events.map(({ n, type, fields }) =>
      JSON.stringify({ event_type: type, n, ...fields }),
    )
    const body = contentType.endsWith('ndjson') ? lines.join('\n') : `[${lines.join(',')}]`
    const answer = await this.#instance
      .send('/events', { method: 'POST', headers: { 'content-type': contentType }, body })
      .catch(() => undefined)
    const told = answer === undefined ? undefined : codeOf(answer.body)
    for (const [index, event] of events.entries()) {
      const result = told?.results?.[index]
      if (result !== undefined)
        this.#settle(event, outcomeOf(result.status, result.error?.code), result.receipt)
      else
        this.#settle(
          event,
          answer === undefined ? 'unknown' : outcomeOf(answer.status, told?.error?.code),
        )
    }
    return answer?.status === 200
  }
}

interface Told {
  readonly error?: { readonly code: string }
  readonly results?: readonly {
    readonly status: number
    readonly receipt?: string
    readonly error?: { readonly code: string }
  }[]
}

function codeOf(body: string): Told | undefined {
  try {
    return JSON.parse(body) as Told // the collector's own form; anything else has none of these fields
  } catch {
    return undefined
  }
}

function outcomeOf(status: number, code: string | undefined): Outcome {
  if (status === 200) return 'answered'
  return code === undefined || code === 'OUTCOME_UNKNOWN' || code === 'INTERNAL'
    ? 'unknown'
    : 'refused'
}
