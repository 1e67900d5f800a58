import { join } from 'node:path'
import { queryDefinition } from '../definitions.ts'
import { BenchInstance } from '../instance.ts'
import { pastEnd, writePastTables, type PastTable } from '../past-tables.ts'
import { atMost, formatNumber, formatSpread, type Findings, type Table } from '../report.ts'
import type { Rounds } from '../rounds.ts'
import { runSql } from '../sql.ts'
import { spreadOf } from '../statistics.ts'

const tables: readonly PastTable[] = [10_000, 1_000_000, 10_000_000].flatMap((rows) =>
  [10, 1_000].map((files) => ({ name: `rows_${rows}_files_${files}`, rows, files })),
)

const minuteBefore = new Date(Date.parse(pastEnd) - 60_000).toISOString()

const statements: Readonly<Record<string, (table: string) => string>> = {
  'count(*)': (table) => `select count(*) from ${table}`,
  'by host': (table) => `select host, count(*) from ${table} group by host`,
  'filter, avg': (table) => `select avg(damage) from ${table} where color = 'red'`,
  'last minute': (table) =>
    `select count(*), max(damage) from ${table} where _timestamp >= timestamptz '${minuteBefore}'`,
}

const repeats = 3

interface Measured {
  readonly table: PastTable
  readonly statement: string
  readonly serverMs: number[]
  readonly wallMs: number[]
}

/** Time of statements over tables of several sizes. */
export async function measureQueries(rounds: Rounds): Promise<Findings> {
  const instance = new BenchInstance({ config: queryDefinition(tables.map(({ name }) => name)) })
  const startMs = performance.now()
  await writePastTables(join(instance.data, 'lake'), tables)
  const writeSeconds = (performance.now() - startMs) / 1000
  await instance.up()
  const measured = tables.flatMap((table) =>
    Object.keys(statements).map((statement): Measured => ({
      table,
      statement,
      serverMs: [],
      wallMs: [],
    })),
  )
  const ask = ({ table, statement }: Measured) =>
    runSql(instance.sqlPort, statements[statement]?.(table.name) ?? '')
  // The first time finds files and connections that nothing has opened before.
  for (const one of measured) checkAnswer(one.table, one.statement, (await ask(one)).rows)
  await rounds.run(async () => {
    for (let repeat = 0; repeat < repeats; repeat++) {
      for (const one of measured) {
        const { serverMs, wallMs } = await ask(one)
        one.serverMs.push(serverMs)
        one.wallMs.push(wallMs)
      }
    }
  })
  const largest = (statement: string) =>
    spreadOf(
      measured.find(
        (one) =>
          one.statement === statement && one.table.rows === 10_000_000 && one.table.files === 10,
      )?.serverMs ?? [],
    ).median
  return {
    tables: [
      timesTable('Server time, ms', measured, ({ serverMs }) => serverMs),
      timesTable('From request to end of answer, ms', measured, ({ wallMs }) => wallMs),
    ],
    bars: [
      atMost('count(*) of 10 M rows in 10 files, server time', largest('count(*)'), 15, ' ms'),
      atMost('by host of 10 M rows in 10 files, server time', largest('by host'), 80, ' ms'),
    ],
    notes: [
      `each statement ${rounds.done * repeats} times, in turns, after one time that is not counted; medians; one statement at a time`,
      'server time is elapsedMs of the stats line of POST /sql: it includes waiting for what was answered before',
      `"last minute" takes the rows of the last minute of a day; files lie in the order of time`,
      `raw_event, timestamp and event_id are short or empty: no statement reads them. The tables were written in ${formatNumber(writeSeconds)} s, by the writer that commits use`,
    ],
    rounds: measured,
  }
}

function checkAnswer(
  table: PastTable,
  statement: string,
  rows: readonly (readonly unknown[])[],
): void {
  const isRight =
    statement === 'count(*)'
      ? Number(rows[0]?.[0]) === table.rows
      : statement === 'by host'
        ? rows.reduce((sum, row) => sum + Number(row[1]), 0) === table.rows
        : rows.length === 1 && rows[0]?.[0] !== null && Number(rows[0]?.[0]) > 0
  if (!isRight) throw new Error(`${statement} of ${table.name} gave ${JSON.stringify(rows)}`)
}

function timesTable(
  title: string,
  measured: readonly Measured[],
  pick: (one: Measured) => readonly number[],
): Table {
  return {
    title,
    columns: ['rows', 'files', ...Object.keys(statements)],
    rows: tables.map((table) => [
      formatNumber(table.rows),
      formatNumber(table.files),
      ...Object.keys(statements).map((statement) => {
        const one = measured.find((other) => other.table === table && other.statement === statement)
        return formatSpread(spreadOf(one === undefined ? [] : pick(one)))
      }),
    ]),
  }
}
