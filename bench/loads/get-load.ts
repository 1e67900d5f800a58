import { pause } from '../processes.ts'
import { Connection } from './connection.ts'
import type { GetJob, LoadResult } from './jobs.ts'
import { Tally } from './tally.ts'

export async function runGets(job: GetJob): Promise<LoadResult> {
  const request = Buffer.from(
    `GET ${job.path} HTTP/1.1\r\nHost: ${job.host}\r\nUser-Agent: questlog-bench\r\nAccept: */*\r\n\r\n`,
  )
  const tally = new Tally(job.pids)
  const connections = Array.from({ length: job.connections }, () => {
    let sentMs = performance.now()
    const connection = new Connection(job.port, (status) => {
      tally.answered(status, 1, sentMs)
      sentMs = performance.now()
      connection.send(request)
    })
    connection.send(request)
    return connection
  })
  await pause(job.warmUpMs)
  tally.begin()
  await pause(job.durationMs)
  const result = tally.result()
  for (const connection of connections) connection.close()
  return result
}
