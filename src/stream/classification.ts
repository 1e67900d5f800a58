import type { Json } from '@duckdb/node-api'
import { quoteName, quoteText } from '../plan/columns.ts'
import type { MicroBatch } from './batch.ts'
import { noCounts, type LedgerCounts, type OffsetRange } from './ledger.ts'
import type { Staging } from './staging.ts'
import { fromNext, inRanges, type StreamTable } from './stream-table.ts'
import { anyOf, groupMasks, indexesOf, names, type Mask } from './verdict.ts'

export interface TableTally {
  /** Rows of the batch for the table, and records that match it but do not fit: those not yet taken or set aside before. */
  readonly taken: number
  readonly misfits: number
}

export interface Tally {
  readonly tables: ReadonlyMap<StreamTable, TableTally>
  /** Records that any table takes of this batch. */
  readonly rows: number
  /** Records whose JSON DuckDB could not read: until they are mended or set aside, the other figures are of no use. */
  readonly unparsed: number
  /** Records without a declared type that are still to be set aside. */
  readonly undeclared: number
  readonly counts: LedgerCounts
}

/** SQL of the masks of the tables for which a record of `parsed` is a new row, a new misfit; and which records the ledger has not counted. */
export interface Questions {
  readonly taken: readonly string[]
  readonly misfits: readonly string[]
  readonly pending: string
  /** The records of the past whose fate is read from the tables themselves; null when the rules of today decide. */
  readonly lookUp: string | null
}

export function questionsOf(batch: MicroBatch): Questions {
  const { ranges, ledger, filling, tables, conversion } = batch
  const uncounted = [...ranges].flatMap(([partition, range]) =>
    ledger.uncounted(partition, range).map((part) => ({ partition, range: part })),
  )
  const from = (nextOf: (table: StreamTable) => ReadonlyMap<number, number>, prefix: string) => {
    const masks = groupMasks(
      tables,
      (table) => (filling.has(table) ? [fromNext(nextOf(table), ranges)] : []),
      conversion.verdict.words,
    )
    const isAll =
      tables.every((table) => filling.has(table)) && masks.size === 1 && masks.has('true')
    return names(prefix, conversion.verdict.words).map((name, word) =>
      isAll ? name : `(${name} & ${anyOf(masks, word)})`,
    )
  }
  return {
    taken: from((table) => table.next, 't'),
    misfits: from((table) => batch.setAside.from(table), 'a'),
    pending: isWhole(ranges, uncounted) ? 'true' : inRanges(uncounted),
    lookUp: batch.past && uncounted.length > 0 ? inRanges(uncounted) : null,
  }
}

/** Whether all tables and the ledger want the whole batch, and nothing of it was set aside before: then a new row is a row that a table takes. */
export function isPlain(batch: MicroBatch): boolean {
  const { taken, misfits, pending, lookUp } = questionsOf(batch)
  const isEach = (items: readonly string[], prefix: string) =>
    items.every((item, word) => item === `${prefix}${word}`)
  return lookUp === null && pending === 'true' && isEach(taken, 't') && isEach(misfits, 'a')
}

/** Counts over `parsed`, in one statement, what each table takes and what became of each record that the ledger has not counted. */
export async function classify(staging: Staging, batch: MicroBatch): Promise<Tally> {
  const questions = questionsOf(batch)
  const sql = classificationSql(batch, questions)
  const rows = questions.lookUp === null ? await staging.query(sql) : await staging.lookUp(sql)
  const { words } = batch.conversion.verdict
  const tables = batch.tables.map(() => ({ taken: 0, misfits: 0 }))
  const counts = { ...noCounts }
  let [rowsTaken, unparsed, undeclared] = [0, 0, 0]
  for (const row of rows) {
    const n = Number(row['n'])
    const mask = (prefix: string) => names(prefix, words).map((name) => Number(row[name] ?? 0))
    const [taken, misfits] = [mask('n'), mask('b')]
    for (const index of indexesOf(taken)) addTo(tables[index], 'taken', n)
    for (const index of indexesOf(misfits)) addTo(tables[index], 'misfits', n)
    if (isAny(taken)) rowsTaken += n
    if (row['unparsed'] === true) unparsed += n
    if (row['undeclared'] === true) undeclared += n
    if (row['pending'] === true) counts[fateOf(row, mask, questions.lookUp !== null)] += n
  }
  return {
    tables: new Map(
      batch.tables
        .map((table, index): [StreamTable, TableTally] => [
          table,
          tables[index] ?? { taken: 0, misfits: 0 },
        ])
        .filter(([table]) => batch.filling.has(table)),
    ),
    rows: rowsTaken,
    unparsed,
    undeclared,
    counts,
  }
}

function addTo(
  tally: { taken: number; misfits: number } | undefined,
  key: 'taken' | 'misfits',
  n: number,
): void {
  if (tally !== undefined) tally[key] += n
}

const isAny = (mask: Mask) => mask.some((bits) => bits !== 0)

/** What became of records: being in a table wins over being set aside. */
function fateOf(
  row: Readonly<Record<string, Json>>,
  mask: (prefix: string) => Mask,
  isLookedUp: boolean,
): keyof LedgerCounts {
  if (isLookedUp) {
    if (row['held'] === true || isAny(mask('n'))) return 'inTables'
    if (row['was_aside'] === true || row['undeclared'] === true || isAny(mask('b')))
      return 'deadLetters'
  } else {
    if (isAny(mask('t'))) return 'inTables'
    if (row['declared'] !== true || isAny(mask('a'))) return 'deadLetters'
  }
  return isAny(mask('m')) ? 'filtered' : 'unrouted'
}

/** One row for each combination that occurs. */
function classificationSql(batch: MicroBatch, questions: Questions): string {
  const { verdict } = batch.conversion
  const { taken, misfits, pending, lookUp } = questions
  const undeclared = `NOT declared AND ${fromNext(batch.setAside.from(null), batch.ranges)}`
  const items = [
    'f0 IS NULL AS unparsed',
    'declared',
    `(${undeclared}) AS undeclared`,
    `${pending} AS pending`,
    ...['m', 'a', 't'].flatMap((prefix) => names(prefix, verdict.words)),
    ...taken.map((item, word) => `${item} AS n${word}`),
    ...misfits.map((item, word) => `${item} AS b${word}`),
  ]
  if (lookUp !== null) {
    const held = batch.tables.map((table) => holds(table, lookUp))
    items.push(
      `(${held.join(' OR ') || 'false'}) AS held`,
      `${isSetAside(batch, lookUp)} AS was_aside`,
    )
  }
  return `SELECT *, count(*) AS n FROM (SELECT ${items.join(', ')} FROM parsed) GROUP BY ALL`
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

function holds(table: StreamTable, within: string): string {
  const view = `${quoteName(table.lake.namespace)}.${quoteName(table.definition.name)}`
  return `coalesce((_log_partition, _offset) IN (SELECT (_log_partition, _offset) FROM ${view} WHERE ${within}), false)`
}

function isSetAside(batch: MicroBatch, within: string): string {
  return `coalesce((_log_partition, _offset) IN (SELECT (_log_partition, _offset) FROM (SELECT "partition" AS _log_partition, "offset" AS _offset FROM questlog.dead_letters WHERE topic = ${quoteText(batch.topic)}) WHERE ${within}), false)`
}
