import { quoteName, quoteText } from '../plan/columns.ts'
import type { MicroBatch } from './batch.ts'
import { eventTypeSql } from './conversion.ts'
import { declared } from './dead-letters.ts'
import type { LedgerCounts, OffsetRange } from './ledger.ts'
import type { Staging } from './staging.ts'
import { fromNext, inRanges, type StreamTable } from './stream-table.ts'

export interface TableTally {
  /** Rows of the batch for the table, and records that match it but do not fit: those not yet taken or set aside before. */
  readonly taken: number
  readonly misfits: number
}

export interface Tally {
  readonly tables: ReadonlyMap<StreamTable, TableTally>
  /** Records whose JSON DuckDB could not read: until they are mended or set aside, the other figures are of no use. */
  readonly unparsed: number
  /** Records without a declared type that are still to be set aside. */
  readonly undeclared: number
  readonly counts: LedgerCounts
}

/** Counts over `parsed`, in one statement, what each table takes and what became of each record that the ledger has not counted. */
export async function classify(staging: Staging, batch: MicroBatch): Promise<Tally> {
  const { conversion, ranges, ledger } = batch
  const uncounted = [...ranges].flatMap(([partition, range]) =>
    ledger.uncounted(partition, range).map((part) => ({ partition, range: part })),
  )
  const pending = isWhole(ranges, uncounted) ? 'true' : inRanges(uncounted)
  const lookUp = batch.past && uncounted.length > 0 ? inRanges(uncounted) : null
  const plain = lookUp === null ? batch.tables.filter((table) => isPlain(batch, table)) : []
  const others = batch.tables.filter((table) => !plain.includes(table))
  const flags = others.map((table, index) => tableFlags(batch, table, String(index), lookUp))
  const sql = classificationSql(batch, { pending, lookUp, plain, flags })
  const rows = lookUp === null ? await staging.query(sql) : await staging.lookUp(sql)
  const sum = (name: string, types?: readonly string[]) =>
    rows
      .filter(
        ({ type }) => types === undefined || (typeof type === 'string' && types.includes(type)),
      )
      .reduce((total, row) => total + Number(row[name] ?? 0), 0)
  const counts = {
    inTables: sum('in_tables'),
    filtered: sum('filtered'),
    deadLetters: sum('dead_letters'),
  }
  const tallies: [StreamTable, TableTally][] = [
    ...plain.map((table): [StreamTable, TableTally] => [
      table,
      { taken: sum('n', conversion.tables.get(table.definition.name)?.types), misfits: 0 },
    ]),
    ...others.map((table, index): [StreamTable, TableTally] => [
      table,
      { taken: sum(`new${index}`), misfits: sum(`misfits${index}`) },
    ]),
  ]
  return {
    tables: new Map(tallies.filter(([table]) => batch.filling.has(table))),
    unparsed: sum('unparsed'),
    undeclared: sum('undeclared'),
    counts: {
      ...counts,
      unrouted: sum('pending_all') - counts.inTables - counts.filtered - counts.deadLetters,
    },
  }
}

/** A table that takes every record of its types, all of this batch: counting the batch by type says what it takes. */
function isPlain(batch: MicroBatch, table: StreamTable): boolean {
  const sql = batch.conversion.tables.get(table.definition.name)
  const isWholly = batch.filling.has(table) && fromNext(table.next, batch.ranges) === 'true'
  return isWholly && sql?.fits === 'true' && sql.keeps === 'true'
}

/** One row for each declared type of the batch, and one for all else. */
function classificationSql(
  batch: MicroBatch,
  {
    pending,
    lookUp,
    plain,
    flags,
  }: {
    pending: string
    lookUp: string | null
    plain: readonly StreamTable[]
    flags: readonly TableFlags[]
  },
): string {
  const { conversion, ranges } = batch
  const undeclared = and(`NOT ${declared(conversion)}`, fromNext(batch.setAside.from(null), ranges))
  const aside =
    lookUp === null
      ? `NOT ${declared(conversion)}`
      : or([`(${undeclared})`, isSetAside(batch, lookUp)])
  const covered = [
    ...new Set(plain.flatMap((table) => conversion.tables.get(table.definition.name)?.types ?? [])),
  ]
  const isCovered =
    covered.length === 0
      ? 'false'
      : `coalesce(${eventTypeSql} IN (${covered.map(quoteText).join(', ')}), false)`
  const taken = or(['covered', ...flags.map((table) => table.taken)])
  const setAside = or(['aside', ...flags.map((table) => table.setAside)])
  const matched = or(flags.map((table) => table.matched))
  return `SELECT ${[
    'type',
    'count(*) AS n',
    ...flags.flatMap((table) => table.sums),
    'count(*) FILTER (unparsed) AS unparsed',
    'count(*) FILTER (undeclared) AS undeclared',
    `count(*) FILTER (pending AND ${taken}) AS in_tables`,
    `count(*) FILTER (pending AND NOT ${taken} AND ${setAside}) AS dead_letters`,
    `count(*) FILTER (pending AND NOT ${taken} AND NOT ${setAside} AND ${matched}) AS filtered`,
    'count(*) FILTER (pending) AS pending_all',
  ].join(', ')} FROM (SELECT ${[
    '_partition',
    '_offset',
    `CASE WHEN ${declared(conversion)} THEN ${eventTypeSql} END AS type`,
    'f0 IS NULL AS unparsed',
    `${undeclared} AS undeclared`,
    `${aside} AS aside`,
    `${pending} AS pending`,
    `${isCovered} AS covered`,
    ...flags.flatMap((table) => table.flags),
  ].join(', ')} FROM parsed) GROUP BY type`
}

/** Whether these parts are the whole of the ranges. */
function isWhole(
  ranges: MicroBatch['ranges'],
  parts: readonly { readonly partition: number; readonly range: OffsetRange }[],
): boolean {
  return [...ranges].every(([partition, { from, to }]) =>
    parts.some(
      (part) => part.partition === partition && part.range.from <= from && part.range.to >= to,
    ),
  )
}

/** Conjunction and disjunction without what is always true or false: planning what is not there is free. */
const and = (...conditions: readonly string[]) =>
  conditions.filter((condition) => condition !== 'true').join(' AND ') || 'true'

function or(conditions: readonly string[]): string {
  const possible = conditions.filter((condition) => condition !== 'false')
  return possible.length === 0 ? 'false' : `(${possible.join(' OR ')})`
}

interface TableFlags {
  /** Columns of the inner SELECT. */
  readonly flags: readonly string[]
  /** Aggregates over them: new rows and new misfits of a table that is filled. */
  readonly sums: readonly string[]
  /** Conditions over the flags: what the ledger asks. */
  readonly matched: string
  readonly taken: string
  readonly setAside: string
}

/** `lookUp`: the records of the past whose fate is read from the table itself; null when the rules of today decide. */
function tableFlags(
  batch: MicroBatch,
  table: StreamTable,
  index: string,
  lookUp: string | null,
): TableFlags {
  const sql = batch.conversion.tables.get(table.definition.name)
  if (sql === undefined)
    throw new TypeError(`table ${table.definition.name} does not read topic ${batch.topic}`)
  const takes = and(sql.matches, sql.fits, sql.keeps)
  const misfits = sql.fits === 'true' ? 'false' : `${sql.matches} AND NOT ${sql.fits}`
  const flags = [`${sql.matches} AS m${index}`, `${takes} AS t${index}`, `${misfits} AS a${index}`]
  const sums: string[] = []
  let [isNew, isNewMisfit] = ['false', 'false']
  if (batch.filling.has(table)) {
    isNew = and(`t${index}`, fromNext(table.next, batch.ranges))
    isNewMisfit =
      misfits === 'false'
        ? 'false'
        : and(`a${index}`, fromNext(batch.setAside.from(table), batch.ranges))
    sums.push(`count(*) FILTER (${isNew}) AS new${index}`)
    if (isNewMisfit !== 'false') sums.push(`count(*) FILTER (${isNewMisfit}) AS misfits${index}`)
  }
  if (lookUp === null) {
    return {
      flags,
      sums,
      matched: sql.keeps === 'true' ? 'false' : `m${index}`,
      taken: `t${index}`,
      setAside: misfits === 'false' ? 'false' : `a${index}`,
    }
  }
  flags.push(`${holds(table, lookUp)} AS h${index}`)
  return {
    flags,
    sums,
    matched: `m${index}`,
    taken: or([`h${index}`, `(${isNew})`].filter((condition) => condition !== '(false)')),
    setAside: isNewMisfit === 'false' ? 'false' : `(${isNewMisfit})`,
  }
}

function holds(table: StreamTable, within: string): string {
  const view = `${quoteName(table.lake.namespace)}.${quoteName(table.definition.name)}`
  return `coalesce((_partition, _offset) IN (SELECT (_partition, _offset) FROM ${view} WHERE ${within}), false)`
}

function isSetAside(batch: MicroBatch, within: string): string {
  return `coalesce((_partition, _offset) IN (SELECT (_partition, _offset) FROM (SELECT "partition" AS _partition, "offset" AS _offset FROM questlog.dead_letters WHERE topic = ${quoteText(batch.topic)}) WHERE ${within}), false)`
}
