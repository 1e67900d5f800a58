import type { LakeTable } from '../src/lake/table.ts'
import { batchTable } from './definitions.ts'
import { eventsPerBatch } from './events.ts'
import type { BenchInstance } from './instance.ts'
import { startLoad, type Load } from './load.ts'
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
  readonly samples: readonly Sample[]
  /** The largest of each in the samples. */
  readonly largest: Omit<Sample, 'atMs'>
}

/** Bytes at one moment of a round: resident memory of the processes, log that waits for the tables. */
interface Sample {
  readonly atMs: number
  readonly ingest: number
  readonly lake: number
  readonly backlog: number
}

interface Commit {
  readonly timestampMs: number
  readonly rows: number
}

const connections = 4
const settlingMs = 2_000
/** For a rate; a fast machine has them long before the time is over. */
const enoughCommits = 4
const sampleIntervalMs = 200

/** Sends batches and watches, for this long at least, and until there were a few commits. */
export async function runUnderBatches(
  instance: BenchInstance,
  eventsFile: string,
  leastMs: number,
): Promise<BatchRound> {
  const table = await instance.openTable(batchTable)
  const rowsBefore = await countRows(instance)
  const [ingest, lake] = [instance.pid('ingest'), instance.pid('lake')]
  const load = startLoad({
    kind: 'batches',
    port: instance.collectorPort,
    eventsFile,
    eventsPerBatch,
    connections,
    pids: [ingest, lake],
  })
  const { commits, samples } = await watch(instance, table, load, leastMs)
  const result = await load.result
  const rows = (await countRows(instance)) - rowsBefore
  const ingestMicroseconds = perUnit(result.processorMs[ingest], result.events)
  const lakeMicroseconds = perUnit(result.processorMs[lake], rows)
  return {
    ...steadyRate(commits),
    microseconds: ingestMicroseconds + lakeMicroseconds,
    ingestMicroseconds,
    lakeMicroseconds,
    load: result,
    samples,
    largest: {
      ingest: Math.max(...samples.map(({ ingest: bytes }) => bytes)),
      lake: Math.max(...samples.map(({ lake: bytes }) => bytes)),
      backlog: Math.max(...samples.map(({ backlog }) => backlog)),
    },
  }
}

const perUnit = (ms: number | undefined, units: number) => ((ms ?? Number.NaN) * 1000) / units

/** Rows in the table, fresh ones included. */
async function countRows(instance: BenchInstance): Promise<number> {
  const { tables } = await instance.status()
  return tables.find(({ name }) => name === batchTable)?.rows ?? 0
}

async function watch(instance: BenchInstance, table: LakeTable, load: Load, leastMs: number) {
  const commits = new Map<string, Commit>()
  const samples: Sample[] = []
  const startMs = Date.now()
  const isOver = (elapsedMs: number) =>
    elapsedMs >= leastMs && (commits.size >= enoughCommits || elapsedMs >= 2 * leastMs)
  while (!isOver(Date.now() - startMs)) {
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
  load.stop()
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

/**
 * How much the memory of ingest and lake together grew: its largest in the last third of all samples, of that in the third before. The first
 * third is left out: it takes its time until caches are full.
 */
export function memoryGrowth(rounds: readonly BatchRound[]): number {
  const totals = rounds.flatMap(({ samples }) => samples.map(({ ingest, lake }) => ingest + lake))
  const third = Math.floor(totals.length / 3)
  return Math.max(...totals.slice(-third)) / Math.max(...totals.slice(-2 * third, -third))
}
