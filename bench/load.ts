import { spawn } from 'node:child_process'
import type { Job, LoadResult } from './loads/jobs.ts'
import { endWithBenchmark, forkBench, nextMessage } from './processes.ts'

/** A load in a process of its own. */
export interface Load {
  readonly result: Promise<LoadResult>
  /** Ends one that has no end of its own. */
  readonly stop: () => void
}

export function startLoad(job: Job): Load {
  const child = forkBench('client-main.ts')
  const result = nextMessage(child) as Promise<LoadResult> // client-main sends nothing else
  child.send(job)
  return { result, stop: () => child.send('stop') }
}

/** Runs a load to its end. */
export function runLoad(job: Job): Promise<LoadResult> {
  return startLoad(job).result
}

export interface AbResult {
  readonly requestsPerSecond: number
  readonly failed: number
}

/** Plain `ab -n REQUESTS -c 10`: HTTP/1.0, a connection for each request. Undefined when there is no ab. */
export async function runAb(
  port: number,
  path: string,
  host: string,
  requests: number,
): Promise<AbResult | undefined> {
  const words = ['-q', '-n', String(requests), '-c', '10', '-H', `Host: ${host}`]
  const output = await capture('ab', [...words, `http://127.0.0.1:${port}${path}`])
  if (output === undefined) return undefined
  const find = (pattern: RegExp) => Number(pattern.exec(output)?.[1] ?? Number.NaN)
  const failed = find(/^Failed requests: +(\d+)/m)
  const other = /^Non-2xx responses: +(\d+)/m.exec(output)?.[1] ?? 0
  const complete = find(/^Complete requests: +(\d+)/m)
  return {
    requestsPerSecond: find(/^Requests per second: +([\d.]+)/m),
    failed: failed + Number(other) + (requests - complete),
  }
}

/** Standard output of a command; undefined when there is no such command. */
export function capture(command: string, words: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'ignore'] })
    endWithBenchmark(child)
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ENOENT' ? resolve(undefined) : reject(error),
    )
    child.once('close', () => resolve(output))
  })
}
