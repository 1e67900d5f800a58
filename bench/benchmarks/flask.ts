import { spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BenchInstance, exampleConfig } from '../instance.ts'
import { capture, runAb, runLoad, type AbResult } from '../load.ts'
import type { LoadResult } from '../loads/jobs.ts'
import { atEnd, endWithBenchmark, waitFor } from '../processes.ts'
import { formatNumber, formatSpread, type Findings } from '../report.ts'
import type { Rounds } from '../rounds.ts'
import { spreadOf } from '../statistics.ts'

const path = '/purchase_a_sword'
const host = 'user1.comcast.com'
const connections = 64
const warmUpMs = 500
const durationMs = 2_500
const abRequests = 2_000

interface Target {
  readonly name: string
  readonly port: number
  readonly pid: number
}

interface Round {
  readonly target: string
  readonly load: LoadResult
  readonly microseconds: number
  readonly ab: AbResult | undefined
}

/** The same requests to a Flask application and to questlog. */
export async function measureFlask(rounds: Rounds): Promise<Findings> {
  const python = await findFlask()
  if (python === undefined)
    return {
      tables: [],
      bars: [],
      notes: ['skipped: no python3 here has Flask (Debian: apt-get install python3-flask)'],
      rounds: [],
    }
  const instance = await BenchInstance.start({ config: exampleConfig, accessLog: true })
  const own = { name: 'questlog', port: instance.collectorPort, pid: instance.pid('ingest') }
  const targets = [await startFlask(python.command), own]
  const results: Round[] = []
  await rounds.run(async () => {
    for (const target of targets) {
      results.push(await measureOnce(target))
      await instance.level()
    }
  })
  const of = (target: string, pick: (round: Round) => number) =>
    spreadOf(results.filter((round) => round.target === target).map(pick))
  const times = (pick: (round: Round) => number) =>
    formatNumber(of('questlog', pick).median / of('Flask', pick).median)
  const rate = ({ load }: Round) => load.requests / load.seconds
  const abRate = ({ ab }: Round) => ab?.requestsPerSecond ?? Number.NaN
  const microseconds = (round: Round) => round.microseconds
  return {
    tables: [
      {
        title: `GET ${path}`,
        columns: [
          'server',
          `${connections} clients, requests/s`,
          'CPU µs a request',
          'p99 ms',
          'ab -c 10, requests/s',
          'failed',
        ],
        rows: targets.map(({ name }) => [
          name,
          formatSpread(of(name, rate)),
          formatSpread(of(name, microseconds)),
          formatSpread(of(name, ({ load }) => load.latencies.p99)),
          formatSpread(of(name, abRate)),
          formatNumber(of(name, ({ load, ab }) => load.failed + (ab?.failed ?? 0)).max),
        ]),
      },
    ],
    bars: [],
    notes: [
      `questlog serves ${times(rate)} times as many requests a second, ${times(abRate)} times under ab; a request takes ${formatNumber(of('Flask', microseconds).median / of('questlog', microseconds).median)} times as much processor time in Flask`,
      `Flask ${python.version} with its own server, as \`flask run\` starts it (threads, HTTP/1.1 or 1.0 as it likes); its event is a line in a file that is not synced. questlog: fsync, the log, four tables, SQL; both write an access log into a file`,
    ],
    rounds: results,
  }
}

/** A python3 that has Flask: Debian's own first. */
async function findFlask(): Promise<{ command: string; version: string } | undefined> {
  const program = "from importlib.metadata import version; import flask; print(version('flask'))"
  for (const command of ['/usr/bin/python3', 'python3']) {
    const version = (await capture(command, ['-c', program]))?.trim()
    if (version !== undefined && version !== '') return { command, version }
  }
  return undefined
}

async function startFlask(python: string): Promise<Target> {
  const folder = mkdtempSync(join(tmpdir(), 'questlog-bench-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const port = await freePort()
  const app = fileURLToPath(new URL('../loads/flask_app.py', import.meta.url))
  const output = openSync(join(folder, 'access.log'), 'a')
  const child = spawn(python, [app, String(port), join(folder, 'events.ndjson')], {
    stdio: ['ignore', output, output],
  })
  closeSync(output)
  endWithBenchmark(child)
  await waitFor('Flask', 20_000, async () =>
    fetch(`http://127.0.0.1:${port}/`).then(
      async (response) => (await response.text(), true),
      () => undefined,
    ),
  )
  return { name: 'Flask', port, pid: child.pid ?? 0 }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo // listening on TCP
      server.close(() => resolve(port))
    })
  })
}

async function measureOnce({ name, port, pid }: Target): Promise<Round> {
  const load = await runLoad({
    kind: 'get',
    port,
    path,
    host,
    connections,
    warmUpMs,
    durationMs,
    pids: [pid],
  })
  const ab = await runAb(port, path, host, abRequests)
  return {
    target: name,
    load,
    microseconds: ((load.processorMs[pid] ?? Number.NaN) * 1000) / load.requests,
    ab,
  }
}
