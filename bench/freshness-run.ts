import { get } from 'node:http'
import { allDone } from '../src/core/all-done.ts'
import type { BenchInstance } from './instance.ts'
import { runLoad } from './load.ts'
import type { LoadResult } from './loads/jobs.ts'
import { pause } from './processes.ts'
import { runSql } from './sql.ts'
import { latenciesOf, spreadOf, type Latencies, type Spread } from './statistics.ts'

export const eventsPerSecond = 5_000
export const durationMs = 6_000
/** Time for the first statements and the first commits, which are due after two seconds; counted by themselves. */
export const warmUpMs = 3_500
const settlingMs = 3_000
export const probesPerSecond = 60
/** A slow answer must not keep the next probe from being sent, but a stuck server must. */
export const probesAtOnceMax = 6

interface Probe {
  /** Whether it was sent in the time for warming up. */
  readonly isEarly: boolean
  /** From the answer to the event until the answer of SQL that holds it. */
  readonly visibleMs: number
  /** How much of it the statement waited for the event. */
  readonly waitedMs: number
}

export interface FreshnessRun {
  readonly tables: number
  readonly probes: readonly Probe[]
  /** Those of the time for warming up. */
  readonly early: readonly Probe[]
  /** Probes that SQL did not find. */
  readonly missing: number
  readonly load: LoadResult
  readonly commits: number
}

/** What several runs of one kind showed together. */
export interface FreshnessSummary {
  readonly visible: Latencies
  readonly waited: Latencies
  readonly rate: Spread
  readonly missing: number
  readonly commits: number
}

/** Sends events of these types, each with a table of its own and a route `GET /<type>`, and looks for some of them by SQL all the while. */
export async function runFreshness(
  instance: BenchInstance,
  types: readonly string[],
): Promise<FreshnessRun> {
  const commitsBefore = await countCommits(instance, types)
  const load = runLoad({
    kind: 'mixed',
    port: instance.collectorPort,
    types,
    eventsPerSecond,
    connections: 32,
    durationMs: warmUpMs + durationMs,
  })
  const [probes, result] = await allDone([probeFor(instance, types), load])
  const commits = (await countCommits(instance, types)) - commitsBefore
  await instance.level()
  // The commits of this load must not fall into the next one's.
  await pause(settlingMs)
  const found = probes.filter((probe) => probe !== undefined)
  return {
    tables: types.length,
    probes: found.filter(({ isEarly }) => !isEarly),
    early: found.filter(({ isEarly }) => isEarly),
    missing: probes.length - found.length,
    load: result,
    commits,
  }
}

export function summarizeFreshness(runs: readonly FreshnessRun[]): FreshnessSummary {
  const probes = runs.flatMap((run) => run.probes)
  return {
    visible: latenciesOf(probes.map(({ visibleMs }) => visibleMs)),
    waited: latenciesOf(probes.map(({ waitedMs }) => waitedMs)),
    rate: spreadOf(runs.map(({ load }) => load.events / load.seconds)),
    missing: runs.reduce((sum, run) => sum + run.missing, 0),
    commits: runs.reduce((sum, run) => sum + run.commits, 0),
  }
}

/** A run for the file of results: its probes in figures. */
export function withoutProbes({ probes, early, ...run }: FreshnessRun) {
  return {
    ...run,
    visibleEarly: latenciesOf(early.map(({ visibleMs }) => visibleMs)),
    visible: latenciesOf(probes.map(({ visibleMs }) => visibleMs)),
    waited: latenciesOf(probes.map(({ waitedMs }) => waitedMs)),
  }
}

async function probeFor(
  instance: BenchInstance,
  types: readonly string[],
): Promise<readonly (Probe | undefined)[]> {
  const open = new Set<Promise<void>>()
  const probes: (Probe | undefined)[] = []
  const startMs = performance.now()
  for (let number = 0; ; number++) {
    const dueMs = startMs + (number * 1000) / probesPerSecond
    if (dueMs > startMs + warmUpMs + durationMs) break
    await pause(Math.max(0, dueMs - performance.now()))
    while (open.size >= probesAtOnceMax) await Promise.race(open)
    const type = types[number % types.length] ?? ''
    const isEarly = dueMs < startMs + warmUpMs
    const probe: Promise<void> = probeOnce(instance, type).then((found) => {
      probes.push(found && { ...found, isEarly })
      open.delete(probe)
    })
    open.add(probe)
  }
  await Promise.all(open)
  return probes
}

/** One event, and the statement that looks for it; undefined when it is not there. */
async function probeOnce(
  instance: BenchInstance,
  type: string,
): Promise<Omit<Probe, 'isEarly'> | undefined> {
  const offset = await sendEvent(instance.collectorPort, `/${type}?number=1`)
  const { rows, wallMs, waitedMs } = await runSql(
    instance.sqlPort,
    `select number from ${type} where _offset = ${offset}`,
  )
  return rows.length === 1 ? { visibleMs: wallMs, waitedMs } : undefined
}

/** The offset of an event that was answered. */
function sendEvent(port: number, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path }, (response) => {
      response.resume()
      const receipt = String(response.headers['questlog-receipt'])
      if (response.statusCode === 200) resolve(Number(receipt.split('/')[2]))
      else reject(new Error(`a probe was answered ${response.statusCode}`))
    }).once('error', reject)
  })
}

async function countCommits(instance: BenchInstance, types: readonly string[]): Promise<number> {
  const tables = await Promise.all(types.map((type) => instance.openTable(type)))
  return tables.reduce((sum, table) => sum + (table.snapshot?.sequenceNumber ?? 0), 0)
}
