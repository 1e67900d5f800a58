import { DuckDBTimestampTZValue } from '@duckdb/node-api'
import { inTransaction, queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import { quoteName } from '../plan/columns.ts'
import type { TopicConversion } from './conversion.ts'
import { declared, misfitRows, undeclaredRows, type SetAside } from './dead-letters.ts'
import { freshSchema, type FreshRows } from './fresh-rows.ts'
import type { LedgerCounts, OffsetRange, TopicLedger } from './ledger.ts'
import { stageRecords, type PlacedRecord } from './staging.ts'
import type { SetAsideOffsets } from './set-aside-offsets.ts'
import { fromNext, inRanges, type StreamTable } from './stream-table.ts'

export interface MicroBatch {
  readonly topic: string
  readonly conversion: TopicConversion
  /** All tables of the topic: the ledger asks each of them. */
  readonly tables: readonly StreamTable[]
  /** The ones that take rows of this batch. */
  readonly filling: ReadonlySet<StreamTable>
  readonly ledger: TopicLedger
  readonly deadLetters: FreshRows
  /** Records below were set aside already. */
  readonly setAside: SetAsideOffsets
  readonly records: readonly PlacedRecord[]
  /** The offsets that the batch covers, by partition, gaps included. */
  readonly ranges: ReadonlyMap<number, OffsetRange>
  /** Size of the records on the log. */
  readonly bytes: number
  readonly jsonDepthMax: number
}

/**
 * Converts a batch once and adds it to the fresh rows of its tables, to the dead letters and to the ledger: all in one transaction, so that
 * every statement sees one prefix of the log. The caller holds the connection for itself; on an error nothing has changed.
 */
export async function processMicroBatch(
  connection: DuckDBConnection,
  batch: MicroBatch,
): Promise<void> {
  const refused = await stageRecords(
    connection,
    batch.conversion,
    batch.records,
    batch.jsonDepthMax,
  )
  const tally = await classify(connection, batch)
  const aside = refused.filter(
    (row) => row.record.offset >= (batch.setAside.from(null).get(row.partition) ?? 0),
  )
  await inTransaction(connection, async () => {
    for (const [table, { taken }] of tally.tables) {
      if (taken > 0) await connection.run(insertRows(batch, table))
    }
    for (const insert of deadLetterInserts(batch, tally))
      await connection.run(`INSERT INTO ${batch.deadLetters.current} ${insert}`)
    await appendRefused(connection, batch, aside)
  })
  settle(batch, tally, refused, aside.length)
}

interface TableTally {
  /** Rows of the batch for the table, and records that match it but do not fit: those not yet taken or set aside before. */
  readonly taken: number
  readonly misfits: number
}

interface Tally {
  readonly tables: ReadonlyMap<StreamTable, TableTally>
  readonly undeclared: number
  readonly counts: LedgerCounts
}

/** Counts, in one statement, what each table takes and what became of each record that the ledger has not counted. */
async function classify(connection: DuckDBConnection, batch: MicroBatch): Promise<Tally> {
  const { conversion, ranges, ledger, tables } = batch
  const sqlOf = (table: StreamTable) => conversion.tables.get(table.definition.name)
  const uncounted = [...ranges].flatMap(([partition, range]) =>
    ledger.uncounted(partition, range).map((part) => ({ partition, range: part })),
  )
  const flags: string[] = []
  const sums: string[] = []
  tables.forEach((table, index) => {
    const sql = sqlOf(table)
    if (sql === undefined) return
    flags.push(
      `${sql.matches} AS m${index}`,
      `${sql.matches} AND ${sql.fits} AS g${index}`,
      `${sql.matches} AND ${sql.fits} AND ${sql.keeps} AS k${index}`,
    )
    if (!batch.filling.has(table)) return
    const aside = batch.setAside.from(table)
    sums.push(`count(*) FILTER (k${index} AND ${fromNext(table.next, ranges)}) AS taken${index}`)
    sums.push(
      `count(*) FILTER (m${index} AND NOT g${index} AND ${fromNext(aside, ranges)}) AS misfits${index}`,
    )
  })
  const any = (letter: string) =>
    tables
      .map((table, index) => (sqlOf(table) === undefined ? 'false' : `${letter}${index}`))
      .join(' OR ') || 'false'
  const aside = `(NOT known OR ${tables.map((table, index) => (sqlOf(table) === undefined ? 'false' : `(m${index} AND NOT g${index})`)).join(' OR ') || 'false'})`
  const [row] = await queryRows(
    connection,
    `SELECT ${[
      ...sums,
      `count(*) FILTER (NOT known AND ${fromNext(batch.setAside.from(null), ranges)}) AS undeclared`,
      `count(*) FILTER (pending AND (${any('k')})) AS in_tables`,
      `count(*) FILTER (pending AND NOT (${any('k')}) AND ${aside}) AS dead_letters`,
      `count(*) FILTER (pending AND NOT (${any('k')}) AND NOT ${aside} AND (${any('m')})) AS filtered`,
      'count(*) FILTER (pending) AS pending_all',
    ].join(', ')} FROM (SELECT ${[
      '_partition',
      '_offset',
      `${declared(conversion)} AS known`,
      `${inRanges(uncounted)} AS pending`,
      ...flags,
    ].join(', ')} FROM parsed)`,
  )
  const number = (name: string) => Number(row?.[name] ?? 0)
  const counts = {
    inTables: number('in_tables'),
    filtered: number('filtered'),
    deadLetters: number('dead_letters'),
  }
  const unrouted = number('pending_all') - counts.inTables - counts.filtered - counts.deadLetters
  const filling = tables.map(
    (table, index) =>
      [table, { taken: number(`taken${index}`), misfits: number(`misfits${index}`) }] as const,
  )
  return {
    tables: new Map(filling.filter(([table]) => batch.filling.has(table))),
    undeclared: number('undeclared'),
    counts: { ...counts, unrouted },
  }
}

function insertRows(batch: MicroBatch, table: StreamTable): string {
  const sql = batch.conversion.tables.get(table.definition.name)
  if (sql === undefined)
    throw new TypeError(`table ${table.definition.name} does not read topic ${batch.topic}`)
  const columns = sql.columns.map((column) => quoteName(column.name)).join(', ')
  const condition = [sql.matches, sql.fits, sql.keeps, fromNext(table.next, batch.ranges)].join(
    ' AND ',
  )
  return `INSERT INTO ${table.fresh.current} (${columns}) ${sql.selectRows(condition)}`
}

function deadLetterInserts(batch: MicroBatch, tally: Tally): string[] {
  const inserts: string[] = []
  for (const [table, { misfits }] of tally.tables) {
    if (misfits === 0) continue
    const { name } = table.definition
    inserts.push(
      misfitRows(
        batch.topic,
        name,
        batch.conversion,
        fromNext(batch.setAside.from(table), batch.ranges),
      ),
    )
  }
  if (tally.undeclared > 0)
    inserts.push(
      undeclaredRows(
        batch.topic,
        batch.conversion,
        fromNext(batch.setAside.from(null), batch.ranges),
      ),
    )
  return inserts
}

async function appendRefused(
  connection: DuckDBConnection,
  batch: MicroBatch,
  rows: readonly SetAside[],
): Promise<void> {
  if (rows.length === 0) return
  const appender = await connection.createAppender(batch.deadLetters.currentTable, freshSchema)
  for (const { partition, record, reason } of rows) {
    appender.appendVarchar(batch.topic)
    appender.appendInteger(partition)
    appender.appendBigInt(BigInt(record.offset))
    appender.appendNull()
    appender.appendVarchar(reason)
    appender.appendNull()
    appender.appendBlob(record.value ?? new Uint8Array())
    appender.appendTimestampTZ(new DuckDBTimestampTZValue(BigInt(record.timestampMs) * 1000n))
    appender.endRow()
  }
  appender.closeSync()
}

/** Brings the state in memory level with the transaction that has just been committed. */
function settle(
  batch: MicroBatch,
  tally: Tally,
  refused: readonly SetAside[],
  refusedAside: number,
): void {
  const perRecord = batch.records.length === 0 ? 0 : batch.bytes / batch.records.length
  let setAside = refusedAside + tally.undeclared
  for (const [table, { taken, misfits }] of tally.tables) {
    table.fresh.added(taken, Math.ceil(taken * perRecord))
    for (const [partition, { to }] of batch.ranges)
      table.next.set(partition, Math.max(to, table.next.get(partition) ?? 0))
    setAside += misfits
  }
  batch.setAside.advance(batch.ranges)
  batch.deadLetters.added(setAside, Math.ceil(setAside * perRecord))
  const counted = refused.filter(({ partition, record }) =>
    batch.ledger
      .uncounted(partition, batch.ranges.get(partition) ?? { from: 0, to: 0 })
      .some(({ from, to }) => record.offset >= from && record.offset < to),
  )
  batch.ledger.add(batch.ranges, {
    ...tally.counts,
    deadLetters: tally.counts.deadLetters + counted.length,
  })
}
