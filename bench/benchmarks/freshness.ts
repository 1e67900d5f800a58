import { get } from 'node:http'
import { manyTablesDefinition } from '../definitions.ts'
import { BenchInstance } from '../instance.ts'
import { runLoad } from '../load.ts'
import type { LoadResult } from '../loads/jobs.ts'
import { pause } from '../processes.ts'
import { atLeast, atMost, formatNumber, formatSpread, type Findings } from '../report.ts'
import type { Rounds } from '../rounds.ts'
import { runSql } from '../sql.ts'
import { latenciesOf, spreadOf, type Latencies } from '../statistics.ts'

const tableCounts = [1, 10, 50]
const limitsMs: Readonly<Record<number, number>> = { 1: 100, 10: 100, 50: 250 }
const eventsPerSecond = 5_000
const durationMs = 6_000
/** Time for the first statements and the first commits; not counted. */
const warmUpMs = 1_000
const settlingMs = 3_000
const probesPerSecond = 60
/** A slow answer must not keep the next probe from being sent, but a stuck server must. */
const probesAtOnceMax = 6

interface Probe {
  /** From the answer to the event until the answer of SQL that holds it. */
  readonly visibleMs: number
  /** How much of it the statement waited for the event. */
  readonly waitedMs: number
}

interface Run {
  readonly tables: number
  readonly probes: readonly Probe[]
  /** Probes that SQL did not find. */
  readonly missing: number
  readonly load: LoadResult
  readonly commits: number
}

/** How long after its answer an event is in SQL, while others come in and tables commit. */
export async function measureFreshness(rounds: Rounds): Promise<Findings> {
  const subjects: Subject[] = []
  for (const tables of tableCounts) subjects.push(await startSubject(tables))
  const runs: Run[] = []
  await rounds.run(async () => {
    for (const subject of subjects) runs.push(await measureOnce(subject))
  })
  const summaries = tableCounts.map((tables) => summarize(tables, runs))
  return {
    tables: [
      {
        title: `${formatNumber(eventsPerSecond)} events a second`,
        columns: [
          'tables',
          'probes',
          'p50 ms',
          'p99 ms',
          'p99.9 ms',
          'max ms',
          'waited p50',
          'waited p99',
          'events/s',
          'commits',
        ],
        rows: summaries.map(({ tables, visible, waited, rate, commits }) => [
          String(tables),
          formatNumber(visible.count),
          ...[visible.p50, visible.p99, visible.p999, visible.max, waited.p50, waited.p99].map(
            formatNumber,
          ),
          formatSpread(rate),
          formatNumber(commits),
        ]),
      },
    ],
    bars: summaries.flatMap(({ tables, visible, rate, missing }) => [
      atMost(`answer to SQL with ${tables} tables, p99`, visible.p99, limitsMs[tables] ?? 0, ' ms'),
      atMost(`answered events that SQL did not find, ${tables} tables`, missing, 0),
      atLeast(
        `events/s with ${tables} tables, of ${eventsPerSecond}`,
        rate.median / eventsPerSecond,
        0.98,
      ),
    ]),
    notes: [
      `load: a tenth of the events alone by GET, the others in bodies of 10 to 50, ${durationMs / 1000} s a run; each table takes one event type and commits every 2 s`,
      `a probe is one more event by GET; as soon as it is answered, a statement asks for it by its offset over POST /sql. Measured is the time until the row is there; "waited" is how much of it the server waited for the event. ${probesPerSecond} probes a second, at most ${probesAtOnceMax} at once`,
      'three instances with 1, 10 and 50 tables take turns; while one is measured the others have nothing to do',
    ],
    rounds: runs.map(({ probes, ...run }) => ({
      ...run,
      visible: latenciesOf(probes.map(({ visibleMs }) => visibleMs)),
      waited: latenciesOf(probes.map(({ waitedMs }) => waitedMs)),
    })),
  }
}

function summarize(tables: number, all: readonly Run[]) {
  const runs = all.filter((run) => run.tables === tables)
  const probes = runs.flatMap((run) => run.probes)
  const visible: Latencies = latenciesOf(probes.map(({ visibleMs }) => visibleMs))
  const waited: Latencies = latenciesOf(probes.map(({ waitedMs }) => waitedMs))
  return {
    tables,
    visible,
    waited,
    rate: spreadOf(runs.map(({ load }) => load.events / load.seconds)),
    missing: runs.reduce((sum, run) => sum + run.missing, 0),
    commits: runs.reduce((sum, run) => sum + run.commits, 0),
  }
}

interface Subject {
  readonly types: readonly string[]
  readonly instance: BenchInstance
}

async function startSubject(tables: number): Promise<Subject> {
  const types = Array.from({ length: tables }, (_, index) => `quest_${index + 1}`)
  return { types, instance: await BenchInstance.start({ config: manyTablesDefinition(types) }) }
}

async function measureOnce({ types, instance }: Subject): Promise<Run> {
  const commitsBefore = await countCommits(instance, types)
  const load = runLoad({
    kind: 'mixed',
    port: instance.collectorPort,
    types,
    eventsPerSecond,
    connections: 32,
    durationMs: warmUpMs + durationMs,
  })
  await pause(warmUpMs)
  const probes = await probeFor(instance, types)
  const result = await load
  const commits = (await countCommits(instance, types)) - commitsBefore
  await instance.level()
  // The commits of this load must not fall into the next one's.
  await pause(settlingMs)
  const found = probes.filter((probe) => probe !== undefined)
  return {
    tables: types.length,
    probes: found,
    missing: probes.length - found.length,
    load: result,
    commits,
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
    if (dueMs > startMs + durationMs) break
    await pause(Math.max(0, dueMs - performance.now()))
    while (open.size >= probesAtOnceMax) await Promise.race(open)
    const type = types[number % types.length] ?? ''
    const probe: Promise<void> = probeOnce(instance, type).then((found) => {
      probes.push(found)
      open.delete(probe)
    })
    open.add(probe)
  }
  await Promise.all(open)
  return probes
}

/** One event, and the statement that looks for it; undefined when it is not there. */
async function probeOnce(instance: BenchInstance, type: string): Promise<Probe | undefined> {
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
