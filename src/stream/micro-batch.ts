import { DuckDBTimestampTZValue } from '@duckdb/node-api'
import { inTransaction, type DuckDBConnection } from '../core/duckdb.ts'
import { quoteName } from '../plan/columns.ts'
import type { MicroBatch } from './batch.ts'
import { classify, type Tally } from './classification.ts'
import { misfitRows, undeclaredRows, type SetAside } from './dead-letters.ts'
import { freshSchema, type TimeSpan } from './fresh-rows.ts'
import type { Staging } from './staging.ts'
import { fromNext, type StreamTable } from './stream-table.ts'

/**
 * Converts a batch once and adds it to the fresh rows of its tables, to the dead letters and to the ledger: all in one transaction, so that
 * every statement sees one prefix of the log. The caller is the only one who writes to DuckDB meanwhile; on an error nothing has changed.
 */
export async function processMicroBatch(staging: Staging, batch: MicroBatch): Promise<void> {
  const refused = await staging.stage(batch.records, batch.jsonDepthMax)
  let tally = await classify(staging, batch)
  if (tally.unparsed > 0) {
    refused.push(...(await staging.mend(batch.records)))
    tally = await classify(staging, batch)
  }
  const aside = refused.filter(
    (row) => row.record.offset >= (batch.setAside.from(null).get(row.partition) ?? 0),
  )
  await inTransaction(staging.connection, async () => {
    for (const [table, { taken }] of tally.tables) {
      if (taken > 0) await staging.run(insertRows(batch, table))
    }
    for (const insert of deadLetterInserts(batch, tally))
      await staging.run(`INSERT INTO ${batch.deadLetters.current} ${insert}`)
    await appendRefused(staging.connection, batch, aside)
  })
  settle(batch, tally, refused, aside.length)
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
  const times = timesOf(batch)
  let setAside = refusedAside + tally.undeclared
  for (const [table, { taken, misfits }] of tally.tables) {
    table.fresh.added(taken, Math.ceil(taken * perRecord), times)
    for (const [partition, { to }] of batch.ranges)
      table.next.set(partition, Math.max(to, table.next.get(partition) ?? 0))
    setAside += misfits
  }
  batch.setAside.advance(batch.ranges)
  batch.deadLetters.added(setAside, Math.ceil(setAside * perRecord), times)
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

function timesOf({ records }: MicroBatch): TimeSpan {
  let [fromMs, toMs] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const { record } of records) {
    if (record.timestampMs < fromMs) fromMs = record.timestampMs
    if (record.timestampMs > toMs) toMs = record.timestampMs
  }
  return { fromMs, toMs }
}
