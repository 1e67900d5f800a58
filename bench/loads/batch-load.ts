import { readFileSync } from 'node:fs'
import { Connection } from './connection.ts'
import type { BatchJob, LoadResult } from './jobs.ts'
import { Tally } from './tally.ts'

const lineFeed = 0x0a
/** Sooner than Retry-After says: the load is to be there as soon as there is room for it. */
const retryDelayMs = 100

/** Runs until the signal aborts and every request has its answer. */
export async function runBatches(job: BatchJob, stop: AbortSignal): Promise<LoadResult> {
  const bodies = splitBodies(readFileSync(job.eventsFile), job.eventsPerBatch)
  const tally = new Tally(job.pids)
  let next = 0
  const client = () =>
    new Promise<void>((resolve) => {
      let parts = requestOf(bodies[next++ % bodies.length])
      let sentMs = performance.now()
      const send = () => {
        sentMs = performance.now()
        connection.send(...parts)
      }
      const connection = new Connection(job.port, (status) => {
        tally.answered(status, job.eventsPerBatch, sentMs)
        if (stop.aborted) {
          connection.close()
          return resolve()
        }
        if (status !== 429 && status !== 503) parts = requestOf(bodies[next++ % bodies.length])
        if (status === 200) return send()
        setTimeout(send, retryDelayMs)
      })
      send()
    })
  await Promise.all(Array.from({ length: job.connections }, client))
  return tally.result()
}

function splitBodies(bytes: Buffer, lines: number): Buffer[] {
  const bodies: Buffer[] = []
  let start = 0
  for (let at = bytes.indexOf(lineFeed), count = 1; at >= 0; at = bytes.indexOf(lineFeed, at + 1)) {
    if (count++ % lines !== 0) continue
    bodies.push(bytes.subarray(start, at + 1))
    start = at + 1
  }
  return bodies
}

function requestOf(body: Buffer | undefined): readonly Uint8Array[] {
  if (body === undefined) throw new Error('the file of events is empty')
  return [bulkHead(body.length), body]
}

/** The head of a `POST /events` with a body of this length. */
export function bulkHead(length: number): Buffer {
  return Buffer.from(
    `POST /events HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-ndjson\r\nContent-Length: ${length}\r\n\r\n`,
  )
}
