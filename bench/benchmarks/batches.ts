import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { convertInDuckdb, type Baseline } from '../baseline.ts'
import { runUnderBatches, type BatchRound } from '../batch-round.ts'
import { batchDefinition, backlogLimit } from '../definitions.ts'
import { eventBytes, eventsPerBatch, writeEvents } from '../events.ts'
import { BenchInstance } from '../instance.ts'
import { atEnd } from '../processes.ts'
import {
  atLeast,
  atMost,
  formatNumber,
  formatSpread,
  type Findings,
  type Table,
} from '../report.ts'
import { spreadOf } from '../statistics.ts'

const durationMs = 12_000
const MB = 1_000_000

/** Events a second from `POST /events` to committed Parquet, beside DuckDB's own conversion of the same bytes. */
export async function measureBatches(rounds: number): Promise<Findings> {
  const folder = mkdtempSync(join(tmpdir(), 'questlog-bench-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const eventsFile = join(folder, 'events.ndjson')
  const events = writeEvents(eventsFile)
  const baseline = await convertInDuckdb(eventsFile, events)
  const instance = await BenchInstance.start({ config: batchDefinition })
  const results: { own: BatchRound; same: Baseline; nine: Baseline }[] = []
  for (let round = 0; round < rounds; round++) {
    const same = await baseline.sameColumns()
    const nine = await baseline.nineColumns()
    const own = await runUnderBatches(instance, eventsFile, durationMs)
    await instance.level()
    results.push({ own, same, nine })
  }
  const own = spreadOf(results.map((round) => round.own.eventsPerSecond))
  const same = spreadOf(results.map((round) => round.same.eventsPerSecond))
  const nine = spreadOf(results.map((round) => round.nine.eventsPerSecond))
  const growth = Math.max(...results.map((round) => round.own.memoryGrowth))
  const backlog = Math.max(...results.map((round) => round.own.backlogMaxBytes))
  const failed = results.reduce((sum, round) => sum + round.own.load.failed, 0)
  return {
    tables: [rateTable(results, own.median), loadTable(results.map((round) => round.own))],
    bars: [
      atLeast("share of DuckDB's own events/s, same columns", own.median / same.median, 0.55),
      atMost('memory, last third of a round over the third before', growth, 1.1),
      atMost('largest backlog, of backlogBytesMax', backlog / backlogLimit, 1.5),
      atMost('failed requests', failed, 0),
    ],
    notes: [
      `${formatNumber(events)} distinct events of ${eventBytes} bytes, ${eventsPerBatch} a body, sent over and over for ${durationMs / 1000} s a round over 4 connections; durability fsync`,
      "events/s of questlog: rows between the first and the last commit of a round, after its first 2 s, by the times in the table's snapshots",
      `back-pressure on: backlogBytesMax is ${formatNumber(backlogLimit / MB)} MB; what is answered 429 is sent again`,
      'DuckDB: one thread, a file in the page cache; same columns = read_ndjson_objects with from_json, which was the fastest way that keeps the text; nine columns = read_json with their types, without raw_event, headers and system columns. Neither syncs',
      `events/s of questlog, of DuckDB's with nine columns: ${formatNumber(own.median / nine.median)}`,
    ],
    rounds: results,
  }
}

function rateTable(
  results: readonly { own: BatchRound; same: Baseline; nine: Baseline }[],
  own: number,
): Table {
  const row = (
    name: string,
    figures: readonly { eventsPerSecond: number; microseconds: number }[],
  ) => {
    const rate = spreadOf(figures.map((figure) => figure.eventsPerSecond))
    return [
      name,
      formatSpread(rate),
      formatNumber((rate.median * eventBytes) / MB),
      formatSpread(spreadOf(figures.map((figure) => figure.microseconds))),
      formatNumber(own / rate.median),
    ]
  }
  return {
    title: 'To committed Parquet',
    columns: ['what', 'events/s', 'MB/s', 'CPU µs an event', 'questlog, of it'],
    rows: [
      row(
        'questlog, all of it',
        results.map((round) => round.own),
      ),
      row(
        'DuckDB, same columns',
        results.map((round) => round.same),
      ),
      row(
        'DuckDB, nine columns',
        results.map((round) => round.nine),
      ),
    ],
  }
}

function loadTable(rounds: readonly BatchRound[]): Table {
  const row = (what: string, pick: (round: BatchRound) => number) => [
    what,
    formatSpread(spreadOf(rounds.map(pick))),
  ]
  return {
    title: 'questlog under this load',
    columns: ['what', 'a round'],
    rows: [
      row('answered events/s', ({ load }) => load.events / load.seconds),
      row('answer p50, ms', ({ load }) => load.latencies.p50),
      row('answer p99, ms', ({ load }) => load.latencies.p99),
      row('refused for now (429, 503)', ({ load }) => load.refused),
      row('failed', ({ load }) => load.failed),
      row('commits', ({ commits }) => commits),
      row('ingest, CPU µs an event', ({ ingestMicroseconds }) => ingestMicroseconds),
      row('lake, CPU µs a row', ({ lakeMicroseconds }) => lakeMicroseconds),
      row('load generator, CPU µs an event', ({ load }) => (load.clientMs * 1000) / load.events),
      row('backlog at its largest, MB', ({ backlogMaxBytes }) => backlogMaxBytes / MB),
      row('memory of ingest at its largest, MB', ({ memory }) => memory.ingest / MB),
      row('memory of lake at its largest, MB', ({ memory }) => memory.lake / MB),
      row('memory, last third over the third before', ({ memoryGrowth }) => memoryGrowth),
    ],
  }
}
