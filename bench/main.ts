// `npm run bench [-- NAME …] [-- --rounds N]`: docs/bench.md.
import { parseArgs } from 'node:util'
import { measureBatches } from './benchmarks/batches.ts'
import { measureFlask } from './benchmarks/flask.ts'
import { measureFreshness } from './benchmarks/freshness.ts'
import { measureKafka } from './benchmarks/kafka.ts'
import { measureQueries } from './benchmarks/queries.ts'
import { measureSingleEvents } from './benchmarks/single-events.ts'
import { measureStart } from './benchmarks/start.ts'
import { measureTables } from './benchmarks/tables.ts'
import { describeMachine } from './machine.ts'
import { cleanUp } from './processes.ts'
import { renderReport, saveReport, type Findings, type Report } from './report.ts'
import { Rounds } from './rounds.ts'

interface Benchmark {
  readonly name: string
  readonly title: string
  readonly measure: (rounds: Rounds) => Promise<Findings>
}

const benchmarks: readonly Benchmark[] = [
  {
    name: 'single-events',
    title: 'Single events over GET, kept with fsync',
    measure: measureSingleEvents,
  },
  { name: 'batches', title: 'Batches of events, through to Parquet', measure: measureBatches },
  { name: 'freshness', title: 'From the answer to the row in SQL', measure: measureFreshness },
  { name: 'start', title: 'Start, and memory', measure: measureStart },
  { name: 'flask', title: 'The same routes in Flask, for scale', measure: measureFlask },
  { name: 'queries', title: 'Queries', measure: measureQueries },
  { name: 'tables', title: 'Tables: commits, and merging files', measure: measureTables },
  { name: 'kafka', title: 'Kafka clients', measure: measureKafka },
]

/** A benchmark that takes longer is ended: something hangs. */
const limitMs = 180_000

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { rounds: { type: 'string', default: '3' } },
  })
  const rounds = Number(values.rounds)
  const unknown = positionals.find((name) => benchmarks.every((other) => other.name !== name))
  if (unknown !== undefined || !(rounds >= 1 && rounds <= 20)) {
    console.error(`usage: npm run bench -- [--rounds N] [NAME …]
NAME is one of ${benchmarks.map(({ name }) => name).join(', ')}; N is 1 to 20, 3 if not given`)
    process.exitCode = 2
    return
  }
  const chosen =
    positionals.length === 0
      ? benchmarks
      : benchmarks.filter(({ name }) => positionals.includes(name))
  for (const benchmark of chosen) {
    console.error(`${benchmark.name} …`)
    try {
      const report = await runOne(benchmark, rounds)
      saveReport(report)
      console.log(renderReport(report))
    } catch (error) {
      console.error(`${benchmark.name} failed:`, error)
      process.exitCode = 1
    }
  }
}

async function runOne({ name, title, measure }: Benchmark, wanted: number): Promise<Report> {
  const machine = describeMachine()
  const rounds = new Rounds(wanted)
  const startedAt = new Date()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${name} took longer than ${limitMs / 1000} s`)),
      limitMs,
    )
  })
  try {
    const findings = await Promise.race([measure(rounds), late])
    return {
      name,
      title,
      startedAt: startedAt.toISOString(),
      elapsedSeconds: Math.round((Date.now() - startedAt.getTime()) / 1000),
      command: `npm run bench -- --rounds ${wanted} ${name}`,
      roundsDone: rounds.done,
      machine,
      ...findings,
    }
  } finally {
    clearTimeout(timer)
    await cleanUp()
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanUp().finally(() => process.exit(130)))
await main()
// A load that was given up may still hold the process.
process.exit()
