import { DuckDBTimestampTZValue } from '@duckdb/node-api'
import { inTransaction, type DuckDBConnection } from '../core/duckdb.ts'
import { quoteText } from '../plan/columns.ts'
import type { MicroBatch } from './batch.ts'
import { classify, isPlain, questionsOf, type Tally } from './classification.ts'
import { misfitRows, undeclaredRows, type SetAside } from './dead-letters.ts'
import { freshSchema, type TimeSpan } from './fresh-rows.ts'
import { noCounts } from './ledger.ts'
import { countRecords, isRun } from './record-runs.ts'
import type { Generation, SharedRows } from './shared-rows.ts'
import type { Staging } from './staging.ts'
import { fromNext, inRanges } from './stream-table.ts'
import { hasAny, indexesOf, names, type Mask } from './verdict.ts'

/**
 * Converts a batch once and adds it to the fresh rows of its tables, to the dead letters and to the ledger: all in one transaction, so that
 * every statement sees one prefix of the log. The caller is the only one who writes to DuckDB meanwhile; on an error nothing has changed.
 */
export async function processMicroBatch(staging: Staging, batch: MicroBatch): Promise<void> {
  const refused = await staging.put(batch.records, batch.jsonDepthMax)
  if (refused.length === 0 && (await addWhole(staging, batch))) return
  await staging.parse()
  let tally = await classify(staging, batch)
  const isMended = tally.unparsed > 0
  if (isMended) {
    refused.push(...(await staging.mend(batch.records)))
    tally = await classify(staging, batch)
  }
  const aside = refused.filter(
    (row) => row.record.offset >= (batch.setAside.from(null).get(row.partition) ?? 0),
  )
  const added = await inTransaction(staging.connection, async () => {
    const rows = await addRows(staging, batch, tally)
    for (const insert of deadLetterInserts(batch, tally))
      await staging.insert(`INSERT INTO ${batch.deadLetters.current} ${insert}`)
    await appendRefused(staging.connection, batch, aside)
    return rows
  })
  if (added !== undefined) keep(staging, batch, added, tally, !isMended)
  settle(batch, tally, refused, aside.length)
}

type Added = Awaited<ReturnType<SharedRows['room']>>

/**
 * Adds a batch of which tables take every record, straight from what is staged. False: it is not such a batch, nothing has changed. A topic
 * in which others come is not asked each time.
 */
async function addWhole(staging: Staging, batch: MicroBatch): Promise<boolean> {
  const { shared } = batch
  if (shared === undefined || staging.wholeBatchesOff > 0 || !isPlain(batch)) {
    staging.wholeBatchesOff = Math.max(0, staging.wholeBatchesOff - 1)
    return false
  }
  const { open, limits } = shared
  if (
    staging.isSmall &&
    open !== undefined &&
    countRecords(batch.records) < limits.ownGenerationRows
  )
    return addSmall(staging, open, shared, batch)
  const { connection } = staging
  await staging.write()
  await connection.run('BEGIN TRANSACTION')
  try {
    const { added, rows } = await insertWhole(staging, shared, batch)
    const taken = tallyOf(batch, rows)
    if (taken === undefined) {
      await connection.run('ROLLBACK')
      staging.wholeBatchesOff = wholeBatchesOff
      return false
    }
    await connection.run('COMMIT')
    keep(staging, batch, added, taken, true)
    settle(batch, taken, [], 0)
    return true
  } catch (error) {
    // A failed COMMIT has already ended the transaction, then there is nothing to roll back.
    await connection.run('ROLLBACK').catch(() => {})
    throw error
  }
}

/** So many batches are not tried as a whole after one that was none. */
const wholeBatchesOff = 100

const closerLook = 'questlog: a record needs a closer look'

/** The same for a small batch, in one statement that is a transaction by itself. It fails when a record is none that tables take. */
async function addSmall(
  staging: Staging,
  generation: Generation,
  shared: SharedRows,
  batch: MicroBatch,
): Promise<boolean> {
  const { verdict, parseWhole } = batch.conversion
  const taken = verdict.whole(`error(${quoteText(closerLook)})`)
  const insert = (source: string) =>
    `INSERT INTO ${generation.relation} (${shared.columns}) SELECT ${shared.items(taken)} FROM (${parseWhole(source)}) AS parsed RETURNING ${names('t', verdict.words).join(', ')}`
  const inserted = staging.isBindable
    ? staging.insertBound(insert)
    : staging.write().then(() => staging.insert(insert(staging.source)))
  const rows = await inserted.catch((error: unknown) => {
    if (error instanceof Error && error.message.includes(closerLook)) return undefined
    throw error
  })
  if (rows === undefined) {
    staging.wholeBatchesOff = wholeBatchesOff
    return false
  }
  const tally = tallyOf(batch, rows)
  if (tally === undefined) throw new TypeError('a row is there that no table takes')
  keep(staging, batch, { generation, keep: () => {} }, tally, true)
  settle(batch, tally, [], 0)
  return true
}

/** `t0`, `t1`, … of the rows, with how many there are of each: 0 throughout for a record that needs a closer look. */
async function insertWhole(staging: Staging, shared: SharedRows, batch: MicroBatch) {
  const { words } = batch.conversion.verdict
  const marks = names('t', words)
  const clean = marks.map((name) => `CASE WHEN ${hasAny('a', words)} THEN 0 ELSE ${name} END`)
  const select = `SELECT ${shared.items(clean)} FROM (${staging.judged}) AS parsed`
  const isOwn = countRecords(batch.records) >= shared.limits.ownGenerationRows
  const added = isOwn
    ? await shared.add(staging.connection, select)
    : await shared.room(staging.connection)
  const { relation } = added.generation
  const insert = `INSERT INTO ${relation} (${shared.columns}) ${select}`
  if (staging.isSmall && !isOwn)
    return { added, rows: await staging.insert(`${insert} RETURNING ${marks.join(', ')}`) }
  if (!isOwn) await staging.insert(insert)
  const ranges = [...batch.ranges].map(([partition, range]) => ({ partition, range }))
  const count = `SELECT ${marks.join(', ')}, count(*) AS n FROM ${relation} WHERE ${inRanges(ranges)} GROUP BY ALL`
  return { added, rows: await staging.query(count) }
}

/** Undefined when there is a record that no table takes, or that some table can't. */
function tallyOf(
  batch: MicroBatch,
  rows: readonly Readonly<Record<string, unknown>>[],
): Tally | undefined {
  const { words } = batch.conversion.verdict
  const taken = batch.tables.map(() => 0)
  const marks = names('t', words)
  const found = new Map<string, { readonly mask: Mask; n: number }>()
  for (const row of rows) {
    const mask = marks.map((name) => Number(row[name] ?? 0))
    const key = mask.join()
    const known = found.get(key)
    const n = Number(row['n'] ?? 1)
    if (known === undefined) found.set(key, { mask, n })
    else known.n += n
  }
  for (const { mask, n } of found.values()) {
    const indexes = indexesOf(mask)
    if (indexes.length === 0) return undefined
    for (const index of indexes) taken[index] = (taken[index] ?? 0) + n
  }
  const records = countRecords(batch.records)
  return {
    tables: new Map(
      batch.tables.map((table, index) => [table, { taken: taken[index] ?? 0, misfits: 0 }]),
    ),
    rows: records,
    unparsed: 0,
    undeclared: 0,
    counts: { ...noCounts, inTables: records },
  }
}

async function addRows(
  staging: Staging,
  batch: MicroBatch,
  tally: Tally,
): Promise<Added | undefined> {
  const { shared, conversion } = batch
  if (shared === undefined || tally.rows === 0) return undefined
  const { taken } = questionsOf(batch)
  const select = `SELECT * FROM (SELECT ${shared.items(taken)} FROM parsed) WHERE ${hasAny('t', conversion.verdict.words)}`
  if (tally.rows >= shared.limits.ownGenerationRows) return shared.add(staging.connection, select)
  const added = await shared.room(staging.connection)
  await staging.insert(`INSERT INTO ${added.generation.relation} (${shared.columns}) ${select}`)
  return added
}

/** Counts the rows of a transaction that is committed. */
function keep(
  staging: Staging,
  batch: MicroBatch,
  added: Added,
  tally: Tally,
  isSorted: boolean,
): void {
  const isNew = added.generation !== batch.shared?.open
  added.keep()
  if (isNew) staging.catalog.changed()
  const taken = new Map([...tally.tables].map(([table, each]) => [table.fresh.index, each.taken]))
  batch.shared?.added(added.generation, tally.rows, taken, batch.ranges, isSorted)
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
    inserts.push(undeclaredRows(batch.topic, fromNext(batch.setAside.from(null), batch.ranges)))
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
  const perRecord = batch.bytes / Math.max(1, countRecords(batch.records))
  const times = timesOf(batch)
  let setAside = refusedAside + tally.undeclared
  for (const [table, { taken, misfits }] of tally.tables) {
    for (const [partition, { to }] of batch.ranges)
      table.next.set(partition, Math.max(to, table.next.get(partition) ?? 0))
    table.fresh.added(taken, Math.ceil(taken * perRecord), times)
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
  for (const staged of records) {
    const timeMs = isRun(staged) ? staged.timestampMs : staged.record.timestampMs
    if (timeMs < fromMs) fromMs = timeMs
    if (timeMs > toMs) toMs = timeMs
  }
  return { fromMs, toMs }
}
