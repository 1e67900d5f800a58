import { readFileSync, rmSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { batchTable, oftenDefinition } from './definitions.ts'
import { eventBytes, eventsPerBatch, writeEvents } from './events.ts'
import { BenchInstance } from './instance.ts'
import { atEnd, pause, waitFor } from './processes.ts'
import { latenciesOf, spreadOf, type Latencies } from './statistics.ts'

/** One after the other, each a little longer after the one before than the shortest trigger. */
const batches = 320
const intervalMs = 115
/** The bar is on the last ones: by then the table names about as many snapshots as one that has committed every ten seconds for an hour. */
const lastCommits = 150

/** What commits of one table showed. */
export interface CommitFigures {
  readonly commits: number
  /** From the first byte of Parquet until SQL shows the new snapshot, milliseconds. */
  readonly all: Latencies
  readonly last: Latencies
  readonly rowsOfACommit: number
  readonly merges: number
  readonly mergedFiles: number
  /** At the end. */
  readonly snapshots: number
  readonly metadataBytes: number
  /** The largest of all snapshots. */
  readonly liveFilesMax: number
}

interface LogLine {
  readonly text: string
  readonly table?: string
  readonly rows?: number
  readonly files?: number
  readonly elapsedMs?: number
}

/** Sends a batch as often as a table may commit, while its files are merged. */
export async function measureCommits(): Promise<CommitFigures> {
  const folder = mkdtempSync(join(tmpdir(), 'questlog-bench-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const eventsFile = join(folder, 'events.ndjson')
  writeEvents(eventsFile)
  const events = readFileSync(eventsFile)
  const instance = await BenchInstance.start({ config: oftenDefinition })
  const startMs = performance.now()
  for (let batch = 0; batch < batches; batch++) {
    await pause(Math.max(0, startMs + batch * intervalMs - performance.now()))
    const start = batch * eventsPerBatch * eventBytes
    await send(instance, events.subarray(start, start + eventsPerBatch * eventBytes))
  }
  const table = await instance.openTable(batchTable)
  await waitFor('the commit of every batch', 30_000, async () => {
    await table.reload()
    return table.recordCount === batches * eventsPerBatch ? true : undefined
  })
  const snapshots = table.metadata.snapshots ?? []
  const figures = readFigures(join(instance.data, 'run/lake.log'))
  const version = join(table.folder, 'metadata', `v${table.version}.metadata.json`)
  const metadataBytes = readFileSync(version).length
  await instance.remove()
  return {
    ...figures,
    snapshots: snapshots.length,
    metadataBytes,
    liveFilesMax: Math.max(...snapshots.map(({ summary }) => Number(summary['total-data-files']))),
  }
}

async function send(instance: BenchInstance, body: Uint8Array): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${instance.collectorPort}/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body,
  })
  await response.arrayBuffer()
  if (response.status !== 200) throw new Error(`a batch was answered ${response.status}`)
}

function readFigures(path: string) {
  const lines = readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as LogLine) // docs/internals: a component's log is lines of JSON
    .filter(({ table }) => table === batchTable)
  const committed = lines.filter(({ text }) => text === 'committed')
  const merged = lines.filter(({ text }) => text === 'merged files')
  const tookMs = committed.map(({ elapsedMs = Number.NaN }) => elapsedMs)
  return {
    commits: committed.length,
    all: latenciesOf(tookMs),
    last: latenciesOf(tookMs.slice(-lastCommits)),
    rowsOfACommit: spreadOf(committed.map(({ rows = 0 }) => rows)).median,
    merges: merged.length,
    mergedFiles: merged.reduce((sum, { files = 0 }) => sum + files, 0),
  }
}
