import { processorMs } from '../processes.ts'
import { latenciesOf } from '../statistics.ts'
import type { LoadResult } from './jobs.ts'

/** Counts the answers of a load between `begin` and `result`. */
export class Tally {
  readonly #pids: readonly number[]
  #startMs = performance.now()
  #processors: ReadonlyMap<number, number> = new Map()
  #client = process.cpuUsage()
  #durationsMs: number[] = []
  #events = 0
  #refused = 0
  #failed = 0

  constructor(pids: readonly number[]) {
    this.#pids = pids
    this.begin()
  }

  /** Forgets what was counted before: the warm-up. */
  begin(): void {
    this.#durationsMs = []
    this.#events = 0
    this.#refused = 0
    this.#failed = 0
    this.#processors = readProcessors(this.#pids)
    this.#client = process.cpuUsage()
    this.#startMs = performance.now()
  }

  /** One answer, to a request of this many events that was sent at `sentMs`. */
  answered(status: number, events: number, sentMs: number): void {
    if (status === 200) {
      this.#durationsMs.push(performance.now() - sentMs)
      this.#events += events
    } else if (status === 429 || status === 503) this.#refused++
    else this.#failed++
  }

  result(): LoadResult {
    const seconds = (performance.now() - this.#startMs) / 1000
    const client = process.cpuUsage(this.#client)
    const now = readProcessors(this.#pids)
    const used = [...now].map(([pid, ms]) => [pid, ms - (this.#processors.get(pid) ?? ms)])
    return {
      seconds,
      requests: this.#durationsMs.length,
      events: this.#events,
      refused: this.#refused,
      failed: this.#failed,
      latencies: latenciesOf(this.#durationsMs),
      processorMs: Object.fromEntries(used) as Record<number, number>, // pairs of numbers
      clientMs: (client.user + client.system) / 1000,
    }
  }
}

function readProcessors(pids: readonly number[]): ReadonlyMap<number, number> {
  const times = pids.map((pid) => [pid, processorMs(pid)] as const)
  return new Map(times.filter((pair): pair is [number, number] => pair[1] !== undefined))
}
