import { queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import { quoteName, quoteText } from '../plan/columns.ts'
import type { MicroBatch } from './batch.ts'
import { declared } from './dead-letters.ts'
import type { LedgerCounts } from './ledger.ts'
import { fromNext, inRanges, type StreamTable } from './stream-table.ts'

export interface TableTally {
  /** Rows of the batch for the table, and records that match it but do not fit: those not yet taken or set aside before. */
  readonly taken: number
  readonly misfits: number
}

export interface Tally {
  readonly tables: ReadonlyMap<StreamTable, TableTally>
  /** Records without a declared type that are still to be set aside. */
  readonly undeclared: number
  readonly counts: LedgerCounts
}

/** Counts over `parsed`, in one statement, what each table takes and what became of each record that the ledger has not counted. */
export async function classify(connection: DuckDBConnection, batch: MicroBatch): Promise<Tally> {
  const { conversion, ranges, ledger } = batch
  const uncounted = [...ranges].flatMap(([partition, range]) =>
    ledger.uncounted(partition, range).map((part) => ({ partition, range: part })),
  )
  const lookUp = batch.past && uncounted.length > 0
  const within = inRanges(uncounted)
  const tables = batch.tables.map((table, index) =>
    tableFlags(batch, table, index, lookUp ? within : null),
  )
  const undeclared = `NOT ${declared(conversion)} AND ${fromNext(batch.setAside.from(null), ranges)}`
  const aside = lookUp
    ? `(${undeclared}) OR ${isSetAside(batch, within)}`
    : `NOT ${declared(conversion)}`
  const any = (pick: (table: TableFlags) => string) =>
    `(${tables.map(pick).join(' OR ') || 'false'})`
  const taken = any(({ name }) => `t${name}`)
  const setAside = `(aside OR ${any(({ name }) => `a${name}`)})`
  const [row] = await queryRows(
    connection,
    `SELECT ${[
      ...tables.flatMap((table) => table.sums),
      'count(*) FILTER (undeclared) AS undeclared',
      `count(*) FILTER (pending AND ${taken}) AS in_tables`,
      `count(*) FILTER (pending AND NOT ${taken} AND ${setAside}) AS dead_letters`,
      `count(*) FILTER (pending AND NOT ${taken} AND NOT ${setAside} AND ${any(({ name }) => `m${name}`)}) AS filtered`,
      'count(*) FILTER (pending) AS pending_all',
    ].join(', ')} FROM (SELECT ${[
      `${undeclared} AS undeclared`,
      `coalesce(${aside}, false) AS aside`,
      `${within} AS pending`,
      ...tables.flatMap((table) => table.flags),
    ].join(', ')} FROM parsed)`,
  )
  const number = (name: string) => Number(row?.[name] ?? 0)
  const counts = {
    inTables: number('in_tables'),
    filtered: number('filtered'),
    deadLetters: number('dead_letters'),
  }
  const tallies = batch.tables.map(
    (table, index) =>
      [table, { taken: number(`new${index}`), misfits: number(`misfits${index}`) }] as const,
  )
  return {
    tables: new Map(tallies.filter(([table]) => batch.filling.has(table))),
    undeclared: number('undeclared'),
    counts: {
      ...counts,
      unrouted: number('pending_all') - counts.inTables - counts.filtered - counts.deadLetters,
    },
  }
}

interface TableFlags {
  readonly name: string
  /** For each record: mN matches, tN taken, aN set aside, and what is new of the two. */
  readonly flags: readonly string[]
  readonly sums: readonly string[]
}

/** `lookUp`: the records of the past whose fate is read from the table itself; null when the rules of today decide. */
function tableFlags(
  batch: MicroBatch,
  table: StreamTable,
  index: number,
  lookUp: string | null,
): TableFlags {
  const sql = batch.conversion.tables.get(table.definition.name)
  if (sql === undefined)
    throw new TypeError(`table ${table.definition.name} does not read topic ${batch.topic}`)
  const name = String(index)
  const takes = `${sql.matches} AND ${sql.fits} AND ${sql.keeps}`
  const misfits = `${sql.matches} AND NOT ${sql.fits}`
  const filling = batch.filling.has(table)
  const isNew = filling ? `${takes} AND ${fromNext(table.next, batch.ranges)}` : 'false'
  const isNewMisfit = filling
    ? `${misfits} AND ${fromNext(batch.setAside.from(table), batch.ranges)}`
    : 'false'
  return {
    name,
    flags: [
      `${sql.matches} AS m${name}`,
      `${lookUp === null ? takes : `((${isNew}) OR ${holds(table, lookUp)})`} AS t${name}`,
      `${lookUp === null ? misfits : isNewMisfit} AS a${name}`,
      `${isNew} AS n${name}`,
      `${isNewMisfit} AS f${name}_`,
    ],
    sums: filling
      ? [
          `count(*) FILTER (n${name}) AS new${name}`,
          `count(*) FILTER (f${name}_) AS misfits${name}`,
        ]
      : [],
  }
}

function holds(table: StreamTable, within: string): string {
  const view = `${quoteName(table.lake.namespace)}.${quoteName(table.definition.name)}`
  return `coalesce((_partition, _offset) IN (SELECT (_partition, _offset) FROM ${view} WHERE ${within}), false)`
}

function isSetAside(batch: MicroBatch, within: string): string {
  return `coalesce((_partition, _offset) IN (SELECT (_partition, _offset) FROM (SELECT "partition" AS _partition, "offset" AS _offset FROM questlog.dead_letters WHERE topic = ${quoteText(batch.topic)}) WHERE ${within}), false)`
}
