import type { Latencies } from '../statistics.ts'

/** One GET again and again over kept-alive connections, each as soon as the answer before is there. */
export interface GetJob {
  readonly kind: 'get'
  readonly port: number
  readonly path: string
  readonly host: string
  readonly connections: number
  readonly warmUpMs: number
  readonly durationMs: number
  /** Processes whose time is taken while it runs. */
  readonly pids: readonly number[]
}

/** `POST /events` with NDJSON bodies, over and over until it is stopped; a refusal is sent again soon. */
export interface BatchJob {
  readonly kind: 'batches'
  readonly port: number
  /** NDJSON; body n is the lines from n × eventsPerBatch. */
  readonly eventsFile: string
  readonly eventsPerBatch: number
  readonly connections: number
  readonly pids: readonly number[]
}

/** Events at a steady rate, spread over routes: a tenth alone by GET, the others in NDJSON bodies of 10 to 50. */
export interface MixedJob {
  readonly kind: 'mixed'
  readonly port: number
  /** Event types; the route of one is `GET /<type>`. */
  readonly types: readonly string[]
  readonly eventsPerSecond: number
  readonly connections: number
  readonly durationMs: number
}

export type Job = GetJob | BatchJob | MixedJob

export interface LoadResult {
  readonly seconds: number
  /** Requests that were answered with 200. */
  readonly requests: number
  /** Events in them. */
  readonly events: number
  /** Answers 429 and 503; what they refused was sent again. */
  readonly refused: number
  /** Other answers, and none. */
  readonly failed: number
  readonly latencies: Latencies
  /** Processor time of each process of the job, milliseconds; absent where it can't be read. */
  readonly processorMs: Readonly<Record<number, number>>
  /** Of the load process itself. */
  readonly clientMs: number
}
