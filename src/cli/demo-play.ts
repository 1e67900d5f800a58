import type { Clock } from '../core/clock.ts'
import { QuestlogError } from '../core/errors.ts'
import { play, type Played } from '../sim/play.ts'
import type { SimRequest } from '../sim/rounds.ts'
import type { DemoInstance } from './demo-instance.ts'
import type { DemoScreen } from './demo-screen.ts'
import { CountWatch, Prober } from './demo-watch.ts'

const connectionsMax = 64
const underWayMax = 1_000
const answerTimeoutMs = 10_000
const backTimeoutMs = 30_000
const lookIntervalMs = 20
/** A look by `questlog ps` is a process of its own. */
const psIntervalMs = 250

export interface PlayWithKillsOptions {
  readonly instance: Pick<DemoInstance, 'collector' | 'sql' | 'processes'>
  readonly requests: readonly SimRequest[]
  readonly requestsPerSecond: number
  /** How often both processes are ended, evenly spread over the play. */
  readonly kills: number
  /** Ends a process with SIGKILL. */
  readonly kill: (pid: number) => void
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly screen: DemoScreen
}

export interface PlayedRun {
  readonly played: readonly Played[]
  readonly elapsedMs: number
  readonly counts: Pick<CountWatch, 'asked' | 'broken'>
  readonly probes: Pick<Prober, 'latenciesMs' | 'latenciesAwayMs' | 'missed'>
}

/** Plays the requests while SQL is asked, and ends both processes now and then. Ends early, with what it has, when the signal aborts. */
export async function playWithKills(options: PlayWithKillsOptions): Promise<PlayedRun> {
  const run = new Run(options)
  return run.run()
}

class Run {
  readonly #options: PlayWithKillsOptions
  readonly #startMs: number
  readonly #played: Played[] = []
  readonly #stop = new AbortController()
  readonly #counts: CountWatch
  readonly #prober: Prober
  #answered = 0
  /** When the latest of the answered requests was sent. */
  #answeredSentMs = 0
  #isOver = false
  #kills = 0
  #killing: Promise<void> | undefined
  #failure: unknown

  constructor(options: PlayWithKillsOptions) {
    this.#options = options
    this.#startMs = options.clock.monotonicMs()
    const watch = {
      endpoint: options.instance.sql,
      clock: options.clock,
      signal: this.#stop.signal,
    }
    this.#counts = new CountWatch(watch, () => this.#answered)
    this.#prober = new Prober(watch)
  }

  async run(): Promise<PlayedRun> {
    const { signal, clock, screen } = this.#options
    const onAbort = () => this.#stop.abort()
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    const counting = this.#counts.run().catch((error: unknown) => this.#fail(error))
    let elapsedMs = 0
    try {
      await this.#play()
      this.#isOver = true
      const endMs = clock.monotonicMs()
      elapsedMs = endMs - this.#startMs
      await this.#endKills()
      await this.#until('count it all', async () =>
        this.#counts.answeredQuestionMs > endMs ? true : undefined,
      )
    } catch (error) {
      this.#fail(error)
    } finally {
      signal.removeEventListener('abort', onAbort)
      await this.#close(counting)
    }
    screen.endProgress(this.#progress(elapsedMs))
    if (this.#failure !== undefined) throw this.#failure
    return { played: this.#played, elapsedMs, counts: this.#counts, probes: this.#prober }
  }

  async #close(counting: Promise<void>): Promise<void> {
    if (!this.#stop.signal.aborted) await this.#prober.close()
    this.#stop.abort()
    await Promise.all([counting, this.#killing, this.#prober.close()])
  }

  async #play(): Promise<void> {
    const { requests, instance, requestsPerSecond, clock, screen } = this.#options
    const { collector } = instance
    const signal = this.#stop.signal
    const options = {
      collector,
      requestsPerSecond,
      clock,
      signal,
      connectionsMax,
      underWayMax,
      answerTimeoutMs,
    }
    for await (const one of play(requests, options)) {
      this.#played.push(one)
      if (one.outcome.kind === 'answered') {
        this.#answered++
        this.#answeredSentMs = Math.max(this.#answeredSentMs, one.sentMs ?? 0)
        this.#prober.offer(one)
      }
      this.#killWhenDue()
      screen.progress(this.#progress(one.atMs - this.#startMs))
    }
  }

  #progress(elapsedMs: number) {
    const total = this.#options.requests.length
    const answered = this.#answered
    const { count } = this.#counts
    return { played: this.#played.length, total, answered, count, elapsedMs }
  }

  #killWhenDue(): void {
    const { kills, requests } = this.#options
    if (this.#killing !== undefined || this.#kills === kills || this.#stop.signal.aborted) return
    if (this.#played.length * (kills + 1) < requests.length * (this.#kills + 1)) return
    this.#kills++
    this.#killing = this.#killBoth()
      .catch((error: unknown) => this.#fail(error))
      .finally(() => (this.#killing = undefined))
  }

  /** Waits until everything is back, and does what the play was too short for. */
  async #endKills(): Promise<void> {
    do {
      await this.#killing
      this.#killWhenDue()
    } while (this.#killing !== undefined)
  }

  async #killBoth(): Promise<void> {
    const { instance, kill, clock, screen } = this.#options
    const { ingest, lake } = await this.#until('run', () => instance.processes(), psIntervalMs)
    kill(ingest)
    kill(lake)
    const killedMs = clock.monotonicMs()
    const since = () => `${((clock.monotonicMs() - killedMs) / 1000).toFixed(1)} s`
    screen.line(
      screen.style('strong', `  kill -9 ${ingest} ${lake}`) +
        '   ingest and lake, in the middle of it',
    )
    const [answersAfter, sqlAfter] = await Promise.all([
      this.#until('answer again', async () => {
        const isBack = this.#isOver
          ? (await instance.processes()) !== undefined
          : this.#answeredSentMs > killedMs
        return isBack ? since() : undefined
      }),
      this.#until('answer SQL again', async () =>
        this.#counts.answeredQuestionMs > killedMs ? since() : undefined,
      ),
    ])
    screen.line(
      `  back by themselves: answering again after ${answersAfter}, SQL after ${sqlAfter}`,
    )
  }

  async #until<T>(
    what: string,
    look: () => Promise<T | undefined>,
    intervalMs = lookIntervalMs,
  ): Promise<T> {
    const { clock } = this.#options
    const signal = this.#stop.signal
    const endMs = clock.monotonicMs() + backTimeoutMs
    while (clock.monotonicMs() < endMs && !signal.aborted) {
      const found = await look()
      if (found !== undefined) return found
      await clock.sleep(intervalMs, signal)
    }
    throw new QuestlogError(
      'INTERNAL',
      `ingest and lake did not ${what} within ${backTimeoutMs / 1000} s`,
    )
  }

  #fail(error: unknown): void {
    if (this.#stop.signal.aborted) return
    this.#failure ??= error
    this.#stop.abort()
  }
}
