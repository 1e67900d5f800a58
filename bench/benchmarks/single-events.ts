import { BenchInstance, exampleConfig } from '../instance.ts'
import { runAb, runLoad, type AbResult } from '../load.ts'
import type { LoadResult } from '../loads/jobs.ts'
import { forkBench, nextMessage } from '../processes.ts'
import {
  atLeast,
  atMost,
  formatNumber,
  formatSpread,
  type Bar,
  type Findings,
  type Table,
} from '../report.ts'
import type { Rounds } from '../rounds.ts'
import { spreadOf } from '../statistics.ts'

const path = '/purchase_a_sword'
const host = 'user1.comcast.com'
const connections = 64
const warmUpMs = 500
const durationMs = 2_500
const abRequests = 4_000

/** A server under this load. */
interface Target {
  readonly name: string
  readonly port: number
  /** The process that answers, and the one behind it. */
  readonly server: number
  readonly behind: number | null
  /** Waits until what was answered is done with. */
  readonly settle: () => Promise<void>
}

interface Round {
  readonly target: string
  readonly keepAlive: LoadResult
  readonly requestsPerSecond: number
  readonly serverMicroseconds: number
  readonly behindMicroseconds: number
  readonly ab: AbResult | undefined
}

/** Requests a second and processor time a request, beside a server that does nothing. */
export async function measureSingleEvents(rounds: Rounds): Promise<Findings> {
  const hello = await startHello('node:http hello', 'hello.ts')
  const targets = [
    hello,
    await startHello('the same with an fdatasync', 'synced-hello.ts'),
    await startQuestlog('questlog', false),
    await startQuestlog('questlog, access log on', true),
  ]
  const results: Round[] = []
  await rounds.run(async (round) => {
    // Another one comes first in each round.
    for (let place = 0; place < targets.length; place++) {
      const target = targets[(round + place) % targets.length]
      if (target !== undefined) results.push(await measureOnce(target))
    }
  })
  const hasAb = results.every(({ ab }) => ab !== undefined)
  return {
    tables: [keepAliveTable(targets, results), ...(hasAb ? [abTable(targets, results)] : [])],
    bars: targets.slice(2).flatMap(({ name }) => barsOf(name, hello.name, results, hasAb)),
    notes: [
      `GET ${path} of examples/w205 with its four tables, of which two take each event; durability fsync; SQL and the tables run beside it`,
      `keep-alive: ${connections} connections, ${durationMs / 1000} s after ${warmUpMs / 1000} s of warm-up; the load generator is bench/loads on bare sockets, one process, no pipelining`,
      'processor time is that of the process that answers (from /proc); "tables" is that of the process that makes the rows',
      '"with an fdatasync": 200 bytes a request are written, and all requests that wait share an fdatasync, before they are answered; nothing else is done',
      hasAb
        ? `ab -n ${abRequests} -c 10: HTTP/1.0, a new connection for each request`
        : 'ab is not installed (apache2-utils): its part is left out',
    ],
    rounds: results,
  }
}

async function startHello(name: string, file: string): Promise<Target> {
  const child = forkBench(file)
  const port = Number(await nextMessage(child))
  return {
    name,
    port,
    server: child.pid ?? 0,
    behind: null,
    settle: async () => {},
  }
}

async function startQuestlog(name: string, accessLog: boolean): Promise<Target> {
  const instance = await BenchInstance.start({ config: exampleConfig, accessLog })
  return {
    name,
    port: instance.collectorPort,
    server: instance.pid('ingest'),
    behind: instance.pid('lake'),
    settle: () => instance.level(),
  }
}

async function measureOnce(target: Target): Promise<Round> {
  const { port, server, behind } = target
  const pids = behind === null ? [server] : [server, behind]
  const keepAlive = await runLoad({
    kind: 'get',
    port,
    path,
    host,
    connections,
    warmUpMs,
    durationMs,
    pids,
  })
  await target.settle()
  const ab = await runAb(port, path, host, abRequests)
  await target.settle()
  const microseconds = (pid: number | null) =>
    pid === null
      ? Number.NaN
      : ((keepAlive.processorMs[pid] ?? Number.NaN) * 1000) / keepAlive.requests
  return {
    target: target.name,
    keepAlive,
    requestsPerSecond: keepAlive.requests / keepAlive.seconds,
    serverMicroseconds: microseconds(server),
    behindMicroseconds: microseconds(behind),
    ab,
  }
}

const of = (results: readonly Round[], target: string, pick: (round: Round) => number) =>
  spreadOf(results.filter((round) => round.target === target).map(pick))

function keepAliveTable(targets: readonly Target[], results: readonly Round[]): Table {
  return {
    title: `${connections} keep-alive connections`,
    columns: ['server', 'requests/s', 'µs a request', 'tables µs', 'p50 ms', 'p99 ms', 'failed'],
    rows: targets.map(({ name, behind }) => [
      name,
      formatSpread(of(results, name, (round) => round.requestsPerSecond)),
      formatSpread(of(results, name, (round) => round.serverMicroseconds)),
      behind === null ? '' : formatSpread(of(results, name, (round) => round.behindMicroseconds)),
      formatSpread(of(results, name, (round) => round.keepAlive.latencies.p50)),
      formatSpread(of(results, name, (round) => round.keepAlive.latencies.p99)),
      formatNumber(failures(results, name)),
    ]),
  }
}

function abTable(targets: readonly Target[], results: readonly Round[]): Table {
  return {
    title: `ab -n ${abRequests} -c 10`,
    columns: ['server', 'requests/s', 'failed'],
    rows: targets.map(({ name }) => [
      name,
      formatSpread(of(results, name, abRate)),
      formatNumber(abFailures(results, name)),
    ]),
  }
}

const abRate = ({ ab }: Round) => ab?.requestsPerSecond ?? Number.NaN

const sumOf = (results: readonly Round[], target: string, pick: (round: Round) => number) =>
  results.filter((round) => round.target === target).reduce((sum, round) => sum + pick(round), 0)

const failures = (results: readonly Round[], target: string) =>
  sumOf(results, target, ({ keepAlive }) => keepAlive.failed + keepAlive.refused)

const abFailures = (results: readonly Round[], target: string) =>
  sumOf(results, target, ({ ab }) => ab?.failed ?? Number.NaN)

function barsOf(name: string, hello: string, results: readonly Round[], hasAb: boolean): Bar[] {
  const share = (pick: (round: Round) => number) =>
    of(results, name, pick).median / of(results, hello, pick).median
  return [
    atLeast(
      `${name}, keep-alive, share of hello's requests/s`,
      share((round) => round.requestsPerSecond),
      0.4,
    ),
    atMost(`${name}, keep-alive, failed`, failures(results, name), 0),
    ...(hasAb
      ? [
          atLeast(`${name}, ab, share of hello's requests/s`, share(abRate), 0.8),
          atMost(`${name}, ab, failed`, abFailures(results, name), 0),
        ]
      : []),
  ]
}
