import type { LakeTable } from '../src/lake/table.ts'
import { batchTable } from './definitions.ts'
import { eventsPerBatch } from './events.ts'
import type { BenchInstance } from './instance.ts'
import { runLoad } from './load.ts'
import type { LoadResult } from './loads/jobs.ts'
import { pause } from './processes.ts'

/** What one round of batches showed. */
export interface BatchRound {
  /** Committed rows a second, in the steady part of the round. */
  readonly eventsPerSecond: number
  /** Processor time of ingest and lake together, an event. */
  readonly microseconds: number
  readonly ingestMicroseconds: number
  readonly lakeMicroseconds: number
  readonly commits: number
  readonly load: LoadResult
  readonly backlogMaxBytes: number
  /** Largest memory of all processes in the last third of the round, of that in the third before. */
  readonly memoryGrowth: number
  /** Largest resident memory, bytes. */
  readonly memory: { readonly ingest: number; readonly lake: number }
}

interface Commit {
  readonly timestampMs: number
  readonly rows: number
}

interface Sample {
  readonly atMs: number
  readonly ingest: number
  readonly lake: number
  readonly backlog: number
}

const connections = 4
const settlingMs = 2_000
const sampleIntervalMs = 200

/** Sends batches for this long, and watches. */
export async function runUnderBatches(
  instance: BenchInstance,
  eventsFile: string,
  durationMs: number,
): Promise<BatchRound> {
  const table = await instance.openTable(batchTable)
  const rowsBefore = await countRows(instance)
  const [ingest, lake] = [instance.pid('ingest'), instance.pid('lake')]
  const load = runLoad({
    kind: 'batches',
    port: instance.collectorPort,
    eventsFile,
    eventsPerBatch,
    connections,
    durationMs,
    pids: [ingest, lake],
  })
  const { commits, samples } = await watch(instance, table, load)
  const result = await load
  const rows = (await countRows(instance)) - rowsBefore
  const ingestMicroseconds = perUnit(result.processorMs[ingest], result.events)
  const lakeMicroseconds = perUnit(result.processorMs[lake], rows)
  return {
    ...steadyRate(commits),
    microseconds: ingestMicroseconds + lakeMicroseconds,
    ingestMicroseconds,
    lakeMicroseconds,
    load: result,
    ...summarize(samples),
  }
}

const perUnit = (ms: number | undefined, units: number) => ((ms ?? Number.NaN) * 1000) / units

/** Rows in the table, fresh ones included. */
async function countRows(instance: BenchInstance): Promise<number> {
  const { tables } = await instance.status()
  return tables.find(({ name }) => name === batchTable)?.rows ?? 0
}

async function watch(instance: BenchInstance, table: LakeTable, load: Promise<LoadResult>) {
  const commits = new Map<string, Commit>()
  const samples: Sample[] = []
  const startMs = Date.now()
  let isOver = false
  const end = () => {
    isOver = true
  }
  void load.then(end, end)
  while (!isOver) {
    await pause(sampleIntervalMs)
    await table.reload()
    const { snapshot, recordCount: rows } = table
    if (snapshot !== null && snapshot.timestampMs >= startMs + settlingMs)
      commits.set(snapshot.id, { timestampMs: snapshot.timestampMs, rows })
    const { ingest, lake } = instance.memory()
    const backlog = await instance.backlogBytes()
    samples.push({
      atMs: Date.now() - startMs,
      ingest: ingest.resident,
      lake: lake.resident,
      backlog,
    })
  }
  return { commits: [...commits.values()], samples }
}

function steadyRate(commits: readonly Commit[]): { eventsPerSecond: number; commits: number } {
  const [first, last] = [commits[0], commits.at(-1)]
  const elapsedMs = (last?.timestampMs ?? 0) - (first?.timestampMs ?? 0)
  const rows = (last?.rows ?? 0) - (first?.rows ?? 0)
  return {
    eventsPerSecond: elapsedMs > 0 ? (rows * 1000) / elapsedMs : Number.NaN,
    commits: commits.length,
  }
}

function summarize(samples: readonly Sample[]) {
  const lengthMs = samples.at(-1)?.atMs ?? 0
  const between = (from: number, to: number) =>
    samples.filter(({ atMs }) => atMs > lengthMs * from && atMs <= lengthMs * to)
  const largest = (part: readonly Sample[], pick: (sample: Sample) => number) =>
    Math.max(...part.map(pick))
  const total = ({ ingest, lake }: Sample) => ingest + lake
  return {
    backlogMaxBytes: largest(samples, ({ backlog }) => backlog),
    memoryGrowth: largest(between(2 / 3, 1), total) / largest(between(1 / 3, 2 / 3), total),
    memory: {
      ingest: largest(samples, ({ ingest }) => ingest),
      lake: largest(samples, ({ lake }) => lake),
    },
  }
}
