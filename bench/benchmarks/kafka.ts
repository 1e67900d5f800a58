import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RealBroker } from '../../test/conformance/real-broker.ts'
import { BenchInstance } from '../instance.ts'
import { drainFile, drainPartition, fetchBytes } from '../kafka-fetch.ts'
import { measureVisible } from '../kafka-visible.ts'
import {
  recordsPerBatch,
  type KafkaBatchesJob,
  type KafkaBatchesResult,
} from '../loads/kafka-batches.ts'
import { atEnd, endWithBenchmark, forkBench, nextMessage, processorMs } from '../processes.ts'
import { atLeast, atMost, formatNumber, formatSpread, type Findings } from '../report.ts'
import type { Rounds } from '../rounds.ts'
import { latenciesOf, spreadOf } from '../statistics.ts'

const lines = 200_000
const lineBytes = 160
const batches = 200
const drains = 5

/** What a broker is, as far as this benchmark needs it. */
interface Subject {
  readonly name: 'fsync' | 'os' | 'Kafka'
  readonly port: number
  readonly pid: number
  readonly folder: (topic: string) => string
}

interface Round {
  readonly subject: Subject['name']
  readonly produceMs: number
  readonly produceCpuMs: number
  readonly consumeMs: number
  readonly consumeCpuMs: number
  readonly batchesPerSecond: number
}

interface Drains {
  readonly fetchBytesPerSecond: number
  readonly fileBytesPerSecond: number
}

/** The broker beside itself without fsync, beside Apache Kafka, and beside a bare loop that sends a file. */
export async function measureKafka(rounds: Rounds): Promise<Findings> {
  const folder = mkdtempSync(join(tmpdir(), 'questlog-bench-kafka-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const input = join(folder, 'lines')
  writeFileSync(input, `${'x'.repeat(lineBytes)}\n`.repeat(lines))
  const fsync = await BenchInstance.start({ config: definition('fsync') })
  const os = await BenchInstance.start({ config: definition('os') })
  const kafka = await startKafka()
  const subjects = [instanceSubject('fsync', fsync), instanceSubject('os', os), kafka]
  const found: Round[] = []
  const drained: Drains[] = []
  const visible: number[] = []
  await rounds.run(async (round) => {
    const topic = `lines-${round}`
    for (const subject of inTurn(subjects, round))
      found.push(await measureSubject(subject, topic, input))
    drained.push(await measureFetch(subjects[0], topic))
    visible.push(...(await measureVisible(fsync)))
  })
  return findings(found, drained, visible)
}

/** Another one begins each round: who comes second meets a warmer disk. */
function inTurn<T>(subjects: readonly T[], round: number): readonly T[] {
  const first = round % subjects.length
  return [...subjects.slice(first), ...subjects.slice(0, first)]
}

const definition = (durability: 'fsync' | 'os') => `
import { defineConfig, event, table } from 'questlog'

export default defineConfig({
  settings: { durability: '${durability}' },
  events: {
    probe: event({ params: { type: 'object', properties: { number: { type: 'integer' } } } }),
  },
  tables: { probes: table({ from: 'probe' }) },
})
`

function instanceSubject(name: 'fsync' | 'os', instance: BenchInstance): Subject {
  const folder = (topic: string) => join(instance.data, 'log', `${topic}-0`)
  return { name, port: instance.brokerPort, pid: instance.pid('ingest'), folder }
}

async function startKafka(): Promise<Subject> {
  const broker = await RealBroker.start({}, true)
  atEnd(() => broker[Symbol.asyncDispose]())
  const port = Number(broker.bootstrap.split(':')[1])
  const folder = (topic: string) => broker.partitionFolder(topic, 0)
  return { name: 'Kafka', port, pid: broker.pid ?? 0, folder }
}

async function measureSubject(subject: Subject, topic: string, input: string): Promise<Round> {
  const { name, port, pid } = subject
  // The first word about a topic makes it; that is not what is measured.
  await kcat(port, ['-L', '-t', topic])
  const [produceMs, produceCpuMs] = await timed(pid, () =>
    kcat(port, ['-P', '-t', topic, '-l', input]),
  )
  const [consumeMs, consumeCpuMs] = await timed(pid, () =>
    kcat(port, ['-C', '-t', topic, '-o', 'beginning', '-e', '-q']),
  )
  const child = forkBench('kafka-batches.ts')
  const result = nextMessage(child) as Promise<KafkaBatchesResult> // the load sends nothing else
  child.send({ port, topic: `${topic}-batches`, batches } satisfies KafkaBatchesJob)
  const batchesPerSecond = (batches * 1000) / (await result).elapsedMs
  return { subject: name, produceMs, produceCpuMs, consumeMs, consumeCpuMs, batchesPerSecond }
}

/** Wall time of `work`, and processor time of a process during it. */
async function timed(pid: number, work: () => Promise<void>): Promise<[number, number]> {
  const before = processorMs(pid) ?? Number.NaN
  const startMs = performance.now()
  await work()
  return [performance.now() - startMs, (processorMs(pid) ?? Number.NaN) - before]
}

function kcat(port: number, words: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('kcat', ['-b', `127.0.0.1:${port}`, ...words], { stdio: 'ignore' })
    endWithBenchmark(child)
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`kcat ${words[0]} ended with ${code}`)),
    )
  })
}

/** The segment that kcat has filled, by Fetch and from a bare loop over the same file. */
async function measureFetch(subject: Subject | undefined, topic: string): Promise<Drains> {
  if (subject === undefined) throw new Error('there is no subject')
  const folder = subject.folder(topic)
  const [segment] = readdirSync(folder).filter((name) => name.endsWith('.log'))
  const path = join(folder, segment ?? '')
  const { size } = statSync(path)
  const child = forkBench('file-server.ts')
  const ready = nextMessage(child) as Promise<number> // the server sends its port
  child.send({ path, pieceBytes: fetchBytes })
  const filePort = await ready
  // Each once without being counted.
  await drainFile(filePort, size, 1)
  await drainPartition(subject.port, topic, lines, 1)
  const file = await drainFile(filePort, size, drains)
  const fetched = await drainPartition(subject.port, topic, lines, drains)
  child.kill('SIGKILL')
  const rate = ({ bytes, elapsedMs }: { bytes: number; elapsedMs: number }) =>
    (bytes * 1000) / elapsedMs
  return { fetchBytesPerSecond: rate(fetched), fileBytesPerSecond: rate(file) }
}

function findings(
  all: readonly Round[],
  drained: readonly Drains[],
  visible: readonly number[],
): Findings {
  const of = (name: Subject['name'], figure: keyof Omit<Round, 'subject'>) =>
    spreadOf(all.filter(({ subject }) => subject === name).map((round) => round[figure]))
  const ratio = (figure: keyof Omit<Round, 'subject'>, other: Subject['name']) =>
    of('fsync', figure).median / of(other, figure).median
  const fetched = spreadOf(drained.map(({ fetchBytesPerSecond }) => fetchBytesPerSecond))
  const file = spreadOf(drained.map(({ fileBytesPerSecond }) => fileBytesPerSecond))
  const { count, p50, p99, max } = latenciesOf(visible)
  const labels = { fsync: 'questlog', os: 'questlog, durability os', Kafka: 'Apache Kafka' }
  const subjects = ['fsync', 'os', 'Kafka'] as const
  return {
    tables: [
      {
        title: `kcat with ${formatNumber(lines)} lines of ${lineBytes} bytes; batches of ${formatNumber(recordsPerBatch)} from @platformatic/kafka`,
        columns: ['broker', 'kcat -P s', 'CPU s', 'kcat -C s', 'CPU s', 'records/s in batches'],
        rows: subjects.map((name) => [
          labels[name],
          formatSpread(of(name, 'produceMs'), 1 / 1000),
          formatSpread(of(name, 'produceCpuMs'), 1 / 1000),
          formatSpread(of(name, 'consumeMs'), 1 / 1000),
          formatSpread(of(name, 'consumeCpuMs'), 1 / 1000),
          formatSpread(of(name, 'batchesPerSecond'), recordsPerBatch),
        ]),
      },
      {
        title: 'A partition to a consumer that throws it away',
        columns: ['what', 'MB/s'],
        rows: [
          ['Fetch', formatSpread(fetched, 1e-6)],
          ['a bare loop over the same file', formatSpread(file, 1e-6)],
        ],
      },
      {
        title: 'From a record that was acknowledged to the row in SQL',
        columns: ['probes', 'p50 ms', 'p99 ms', 'max ms'],
        rows: [[formatNumber(count), ...[p50, p99, max].map(formatNumber)]],
      },
    ],
    bars: [
      atMost('kcat -P, of its time with durability os', ratio('produceMs', 'os'), 1.25),
      atLeast(
        'batches a second, of those with durability os',
        ratio('batchesPerSecond', 'os'),
        0.8,
      ),
      atLeast('Fetch, of the bare loop', fetched.median / file.median, 0.5),
      atMost('kcat -P, of its time with Apache Kafka', ratio('produceMs', 'Kafka'), 1),
      atMost('kcat -C, of its time with Apache Kafka', ratio('consumeMs', 'Kafka'), 1),
      atMost('a produced record in SQL, p99', p99, 100, ' ms'),
    ],
    notes: [
      'Apache Kafka is one node in KRaft mode with its own defaults, from Maven: it syncs nothing before it answers, and answers from the page cache. questlog syncs, unless it says durability os',
      'CPU is that of the broker process (ingest). The JVM has its full compiler; the first round is in the medians as the others are',
      `all take turns, and another one begins each round; topics have no table, one partition, and are new each round. Fetch asks for ${formatNumber(fetchBytes / 1024)} KiB at a time and for the next when that is there; the bare loop reads and writes pieces of that size`,
      'a probe is one event as a record with acks=all; once it is acknowledged, a statement asks for it by its offset. Nothing else comes in meanwhile',
    ],
    rounds: { brokers: all, fetch: drained, visible },
  }
}
