import { Agent, request as httpRequest, type ClientRequest } from 'node:http'
import type { Clock } from '../core/clock.ts'
import type { SimRequest } from './rounds.ts'

/** Every outcome ends the wait for one before. */
const idleMs = 1_000

/** What became of a request. Only a 200 with a receipt is an answer; what got none may or may not have been kept. */
export type Outcome =
  | { readonly kind: 'answered'; readonly receipt: Receipt }
  | { readonly kind: 'refused'; readonly status: number }
  | { readonly kind: 'no answer'; readonly reason: string }

/** Where an answered event is on the log: `Questlog-Receipt: <topic>/<partition>/<offset>`. */
export interface Receipt {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

export interface Played {
  readonly request: SimRequest
  readonly outcome: Outcome
  /** From the moment at which the request was due to its outcome: a late start counts as waiting. */
  readonly latencyMs: number
  /** When it was given to a connection, by the monotonic clock; null when it found none. */
  readonly sentMs: number | null
  /** When the outcome was known. */
  readonly atMs: number
}

export interface PlayOptions {
  /** `http://127.0.0.1:5000` */
  readonly collector: string
  readonly requestsPerSecond: number
  readonly clock: Clock
  /** Ends the play: nothing new is sent, what is under way is given up. */
  readonly signal: AbortSignal
  /** Most sockets; a request that finds none free waits. */
  readonly connectionsMax: number
  /** Most requests that are sent or wait for a socket; more are sent late. */
  readonly underWayMax: number
  /** A socket that is silent for this long is given up. */
  readonly answerTimeoutMs: number
}

/**
 * Sends each request once, at its time, whether or not earlier ones were answered (open loop), over real HTTP. Gives the
 * outcomes in the order in which they become known. A request that fails is not sent again.
 */
export async function* play(
  requests: readonly SimRequest[],
  options: PlayOptions,
): AsyncGenerator<Played> {
  const { clock, signal } = options
  const agent = new Agent({ keepAlive: true, maxSockets: options.connectionsMax })
  const underWay = new Map<ClientRequest, Promise<void>>()
  let done: Played[] = []
  let wake = new AbortController()
  const sleep = (delayMs: number) => {
    wake = new AbortController()
    return clock.sleep(delayMs, wake.signal)
  }
  const onAbort = () => {
    for (const outgoing of underWay.keys()) outgoing.destroy(new Error('given up'))
    wake.abort()
  }
  signal.addEventListener('abort', onAbort)
  const startMs = clock.monotonicMs()
  const dueMs = (index: number) => startMs + (index * 1000) / options.requestsPerSecond
  const start = (request: SimRequest, due: number) => {
    const { outgoing, outcome } = send(request, agent, options)
    let sentMs: number | null = null
    outgoing.once('socket', () => (sentMs = clock.monotonicMs()))
    const known = outcome.then((what) => {
      const atMs = clock.monotonicMs()
      done.push({ request, outcome: what, latencyMs: atMs - due, sentMs, atMs })
      underWay.delete(outgoing)
      wake.abort()
    })
    underWay.set(outgoing, known)
  }
  try {
    for (let next = 0; ;) {
      for (; next < requests.length && !signal.aborted; next++) {
        const request = requests[next]
        const isDue = dueMs(next) <= clock.monotonicMs()
        if (request === undefined || !isDue || underWay.size >= options.underWayMax) break
        start(request, dueMs(next))
      }
      const known = done
      done = []
      yield* known
      if (done.length > 0) continue
      const allSent = next === requests.length || signal.aborted
      if (allSent && underWay.size === 0) return
      const waitsForOutcome = allSent || underWay.size >= options.underWayMax
      await sleep(waitsForOutcome ? idleMs : Math.max(0, dueMs(next) - clock.monotonicMs()))
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
    onAbort()
    await Promise.all(underWay.values())
    agent.destroy()
  }
}

/** One GET. The outcome resolves when the status is known, and never rejects. */
function send(
  request: SimRequest,
  agent: Agent,
  options: PlayOptions,
): { outgoing: ClientRequest; outcome: Promise<Outcome> } {
  const outgoing = httpRequest(`${options.collector}${request.path}?request=${request.number}`, {
    agent,
    timeout: options.answerTimeoutMs,
    headers: { Host: request.host, 'User-Agent': 'questlog-sim', Accept: '*/*' },
  })
  const outcome = new Promise<Outcome>((resolve) => {
    outgoing.on('response', (response) => {
      const receipt = parseReceipt(response.headers['questlog-receipt'])
      const status = response.statusCode ?? 0
      const isAnswer = status === 200 && receipt !== undefined
      resolve(isAnswer ? { kind: 'answered', receipt } : { kind: 'refused', status })
      // The status was said: a body that breaks off changes nothing.
      response.on('error', () => {}).resume()
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')))
    outgoing.on('error', (error) => resolve({ kind: 'no answer', reason: error.message }))
  })
  outgoing.end()
  return { outgoing, outcome }
}

function parseReceipt(text: string | string[] | undefined): Receipt | undefined {
  const match = /^([^/]+)\/(\d+)\/(\d+)$/.exec(typeof text === 'string' ? text : '')
  const [, topic, partition, offset] = match ?? []
  return topic === undefined
    ? undefined
    : { topic, partition: Number(partition), offset: Number(offset) }
}
