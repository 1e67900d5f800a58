import { pause } from '../processes.ts'
import { seededRandom } from '../statistics.ts'
import { bulkHead } from './batch-load.ts'
import { Connection } from './connection.ts'
import type { LoadResult, MixedJob } from './jobs.ts'
import { Tally } from './tally.ts'

const tickMs = 10
const singleShare = 0.1

interface Request {
  readonly parts: readonly Uint8Array[]
  readonly events: number
}

/** Sends by the clock, whatever the answers do: what finds no free connection waits, and its latency counts from when it was due. */
export async function runMixed(job: MixedJob): Promise<LoadResult> {
  const tally = new Tally([])
  const random = seededRandom(5)
  const queue: { request: Request; dueMs: number }[] = []
  const idle: (() => boolean)[] = []
  const connections = Array.from({ length: job.connections }, () => {
    let current: (typeof queue)[number] | undefined
    const takeNext = () => {
      current = queue.shift()
      if (current === undefined) return false
      connection.send(...current.request.parts)
      return true
    }
    const connection = new Connection(job.port, (status) => {
      tally.answered(status, current?.request.events ?? 0, current?.dueMs ?? 0)
      if (!takeNext()) idle.push(takeNext)
    })
    idle.push(takeNext)
    return connection
  })
  const startMs = performance.now()
  const rateOf = (share: number) => (job.eventsPerSecond * share) / 1000
  let singles = 0
  let others = 0
  for (;;) {
    const elapsedMs = performance.now() - startMs
    if (elapsedMs >= job.durationMs) break
    const dueMs = performance.now()
    for (; singles < elapsedMs * rateOf(singleShare); singles++)
      queue.push({ request: singleRequest(job.types, random), dueMs })
    while (others < elapsedMs * rateOf(1 - singleShare)) {
      const request = batchRequest(job.types, random)
      others += request.events
      queue.push({ request, dueMs })
    }
    while (queue.length > 0 && idle.pop()?.() === true);
    await pause(tickMs)
  }
  while (idle.length < connections.length) await pause(tickMs)
  const result = tally.result()
  for (const connection of connections) connection.close()
  return result
}

const pick = (types: readonly string[], random: () => number) =>
  types[Math.floor(random() * types.length)] ?? ''

const numberMax = 1_000_000

function singleRequest(types: readonly string[], random: () => number): Request {
  const path = `/${pick(types, random)}?number=${Math.floor(random() * numberMax)}`
  const text = `GET ${path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: questlog-bench\r\nAccept: */*\r\n\r\n`
  return { parts: [Buffer.from(text)], events: 1 }
}

function batchRequest(types: readonly string[], random: () => number): Request {
  const events = 10 + Math.floor(random() * 41)
  let text = ''
  for (let event = 0; event < events; event++)
    text += `{"event_type":"${pick(types, random)}","number":${Math.floor(random() * numberMax)}}\n`
  const body = Buffer.from(text)
  return { parts: [bulkHead(body.length), body], events }
}
