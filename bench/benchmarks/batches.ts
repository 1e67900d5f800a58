import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { convertInDuckdb, type Baseline } from '../baseline.ts'
import { memoryGrowth, runUnderBatches, type BatchRound } from '../batch-round.ts'
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
import type { Rounds } from '../rounds.ts'
import { spreadOf } from '../statistics.ts'

const durationMs = 12_000
const MB = 1_000_000

/** Events a second from `POST /events` to committed Parquet, beside DuckDB's own conversion of the same bytes. */
export async function measureBatches(rounds: Rounds): Promise<Findings> {
  const folder = mkdtempSync(join(tmpdir(), 'questlog-bench-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const eventsFile = join(folder, 'events.ndjson')
  const events = writeEvents(eventsFile)
  const baseline = await convertInDuckdb(eventsFile, events)
  const instance = await BenchInstance.start({ config: batchDefinition })
  const results: { own: BatchRound; same: Baseline; nine: Baseline }[] = []
  await rounds.run(async () => {
    const same = await baseline.sameColumns()
    const nine = await baseline.nineColumns()
    const own = await runUnderBatches(instance, eventsFile, durationMs)
    await instance.level()
    results.push({ own, same, nine })
  })
  const own = spreadOf(results.map((round) => round.own.eventsPerSecond))
  const same = spreadOf(results.map((round) => round.same.eventsPerSecond))
  const growth = memoryGrowth(results.map((round) => round.own))
  const backlog = Math.max(...results.map((round) => round.own.largest.backlog))
  const failed = results.reduce((sum, round) => sum + round.own.load.failed, 0)
  return {
    tables: [rateTable(results), loadTable(results.map((round) => round.own))],
    bars: [
      atLeast("share of DuckDB's own events/s, same columns", own.median / same.median, 0.55),
      atMost('memory, last third of the time under load over the third before', growth, 1.1),
      atMost('largest backlog, of backlogBytesMax', backlog / backlogLimit, 1.5),
      atMost('failed requests', failed, 0),
    ],
    notes: [
      `${formatNumber(events)} distinct events of ${eventBytes} bytes, ${eventsPerBatch} a body, sent over and over for ${durationMs / 1000} s a round, on a slow machine for up to twice as long, over 4 connections; durability fsync`,
      "events/s of questlog: rows between the first and the last commit of a round, after its first 2 s, by the times in the table's snapshots",
      `back-pressure on: backlogBytesMax is ${formatNumber(backlogLimit / MB)} MB; what is answered 429 is sent again`,
      'DuckDB: one thread, a file in the page cache; same columns = read_ndjson_objects with from_json, which was the fastest way that keeps the text; nine columns = read_json with their types, without raw_event, headers and system columns. Neither syncs',
      '"questlog, of it" is events/s of questlog over those of the row; "by CPU" is the same by processor time an event, both processes of questlog together: the wall clock lets them run side by side, this does not',
    ],
    rounds: results,
  }
}

function rateTable(results: readonly { own: BatchRound; same: Baseline; nine: Baseline }[]): Table {
  const own = spreadOf(results.map((round) => round.own.eventsPerSecond)).median
  const ownTime = spreadOf(results.map((round) => round.own.microseconds)).median
  const row = (
    name: string,
    figures: readonly { eventsPerSecond: number; microseconds: number }[],
  ) => {
    const rate = spreadOf(figures.map((figure) => figure.eventsPerSecond))
    const time = spreadOf(figures.map((figure) => figure.microseconds))
    return [
      name,
      formatSpread(rate),
      formatNumber((rate.median * eventBytes) / MB),
      formatSpread(time),
      formatNumber(own / rate.median),
      formatNumber(time.median / ownTime),
    ]
  }
  return {
    title: 'To committed Parquet',
    columns: ['what', 'events/s', 'MB/s', 'CPU µs an event', 'questlog, of it', 'by CPU'],
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
      row('backlog at its largest, MB', ({ largest }) => largest.backlog / MB),
      row('memory of ingest at its largest, MB', ({ largest }) => largest.ingest / MB),
      row('memory of lake at its largest, MB', ({ largest }) => largest.lake / MB),
    ],
  }
}
