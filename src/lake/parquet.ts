import { randomUUID } from 'node:crypto'
import { dirname, join } from 'node:path'
import type { Json } from '@duckdb/node-api'
import { allDone } from '../core/all-done.ts'
import { queryOf, type DuckDBConnection, type Query } from '../core/duckdb.ts'
import type { Files } from '../core/files.ts'
import { duckdbType, quoteName, quoteText, type Column } from '../plan/columns.ts'
import { lowerBound, upperBound } from './bounds.ts'
import { dataFolder } from './location.ts'
import { removeLeftovers } from './leftovers.ts'
import type { DataFile, FileMetrics, LiveFile } from './manifest.ts'
import { fieldIdsSql, leavesOf, readSchemaSql, type TableSchema } from './schema.ts'
import { filesInRanges, type Narrowing } from './pruning.ts'
import type { LakeTable } from './table.ts'
import { dataFileName, type Codec } from './table-format.ts'

/** What writing and reading data files has to know of their table. */
export type TableShape = Pick<LakeTable, 'folder' | 'columns' | 'schema' | 'dayColumn'>

/** What is to be written, and where. */
export interface DataFilesOptions {
  /** Of the DuckDB that has the relation; or what runs statements in one of another process. */
  readonly connection: DuckDBConnection | Query
  readonly files: Files
  readonly table: TableShape
  readonly relation: string
  /** Becomes part of the file names. */
  readonly batchId: string
  /** The UTC day (`YYYY-MM-DD`) of all rows, when the caller knows that it is one; else the rows are asked. */
  readonly day?: string | undefined
  /** Whether the rows come in the order of the log already. */
  readonly isSorted?: boolean
  /** Whether it is a SELECT whose columns have the names, the order and the declared types of the table's. */
  readonly isTyped?: boolean
  /** Folders that are there for certain. */
  readonly folders?: ReadonlySet<string>
  readonly codec?: Codec
  /** Of zstd, 1 to 22; 3 if not given. */
  readonly level?: number
}

/**
 * Writes all rows of a DuckDB table as Parquet files of `table`, one a UTC day, in log order, and syncs them and their folders; nothing names them
 * until they are committed. `relation` is the quoted SQL name of a DuckDB table with the table's columns, or a SELECT of them in parentheses; each is cast to its declared type.
 */
export async function writeDataFiles(options: DataFilesOptions): Promise<readonly DataFile[]> {
  const written = await copyDataFiles(options)
  await syncDataFiles(options.files, written)
  return written
}

/** Makes files of `copyDataFiles` durable. When that fails they are removed: what a failed sync leaves behind can't be trusted. */
export async function syncDataFiles(files: Files, written: readonly DataFile[]): Promise<void> {
  const paths = written.map(({ path }) => path)
  const folders = new Set(paths.map((path) => dirname(path)))
  try {
    // The names are there already, so their folders need not wait for the bytes.
    await allDone([
      ...paths.map((path) => files.syncFile(path)),
      ...[...folders].map((folder) => files.syncFolder(folder)),
    ])
  } catch (error) {
    await removeLeftovers(files, paths)
    throw error
  }
}

/** As `writeDataFiles`, without the syncs: they are the caller's, before anything names the files. */
export async function copyDataFiles(options: DataFilesOptions): Promise<readonly DataFile[]> {
  const { files, table, relation, batchId } = options
  const query = queryOf(options.connection)
  const written: DataFile[] = []
  const paths: string[] = []
  try {
    const known = table.dayColumn === null ? undefined : options.day
    const days =
      known === undefined
        ? await daysOf(query, table, relation)
        : [{ day: known, condition: 'true' }]
    for (const { day, condition } of days) {
      const folder = dataFolder(table.folder, table.dayColumn === null ? null : { day })
      if (options.folders?.has(folder) !== true) await files.makeFolder(folder)
      const stem = `${batchId.replace(/[^\w.-]/g, '_')}-${written.length}-${randomUUID()}`
      const codec = options.codec ?? 'zstd'
      const name = dataFileName(stem, codec)
      const path = join(folder, name)
      paths.push(path)
      const [row] = await query(copySql(table, { ...options, condition, path, codec }))
      if (row === undefined) throw new Error(`COPY to ${path} returned no statistics`)
      written.push({
        path,
        recordCount: Number(row['count']),
        sizeBytes: Number(row['file_size_bytes']),
        day,
        metrics: metricsOf(table.schema, row['column_statistics'] ?? []),
      })
    }
    return written
  } catch (error) {
    await removeLeftovers(files, paths)
    throw error
  }
}

/**
 * A SELECT of the table's current columns over data files of any age: columns are found by field id, those that a file lacks are null, narrower types
 * are widened. Binding it opens no file.
 */
export function scanSql(table: TableShape, files: readonly LiveFile[]): string {
  const names = table.columns.map((column) => quoteName(column.name))
  if (files.length === 0) {
    const nulls = table.columns.map(
      ({ name, type }) => `CAST(NULL AS ${duckdbType(type)}) AS ${quoteName(name)}`,
    )
    return `SELECT ${nulls.join(', ')} WHERE false`
  }
  const paths = files.map((file) => quoteText(file.path)).join(', ')
  return `SELECT ${names.join(', ')} FROM read_parquet([${paths}], hive_partitioning = false, schema = ${readSchemaSql(table.schema)})`
}

/** `scanSql` of no more columns and files than a statement may want; undefined when no file has rows for it. The table has at least one of the columns. */
export function narrowScanSql(
  table: TableShape,
  files: readonly LiveFile[],
  { columns, ranges }: Narrowing,
): string | undefined {
  const found = filesInRanges(files, table.schema, ranges)
  if (found.length === 0) return undefined
  const isWanted = ({ name }: { readonly name: string }) => columns.has(name.toLowerCase())
  const schema = { ...table.schema, fields: table.schema.fields.filter(isWanted) }
  return scanSql({ ...table, columns: table.columns.filter(isWanted), schema }, found)
}

/** An item of a SELECT: a value, or what has the column's name, as the column with its declared type. */
export function castItem({ name, type }: Column, value = quoteName(name)): string {
  return `CAST(${value} AS ${duckdbType(type)}) AS ${quoteName(name)}`
}

/** The days that occur, oldest first, each with the condition for its rows. */
async function daysOf(
  query: Query,
  table: TableShape,
  relation: string,
): Promise<{ day: string | null; condition: string }[]> {
  if (table.dayColumn === null) {
    const [row] = await query(`SELECT 1 FROM ${relation} LIMIT 1`)
    return row === undefined ? [] : [{ day: null, condition: 'true' }]
  }
  // Through microseconds, because a cast of a time with a zone goes by the session's zone.
  const type = table.columns.find((column) => column.name === table.dayColumn)?.type
  const source = `CAST(${quoteName(table.dayColumn)} AS ${duckdbType(type ?? { kind: 'timestamptz' })})`
  const day = `CAST(make_timestamp(epoch_us(${source})) AS DATE)`
  const rows = await query(
    `SELECT DISTINCT CAST(${day} AS VARCHAR) AS day FROM ${relation} ORDER BY day`,
  )
  return rows.map((row) => {
    const value = typeof row['day'] === 'string' ? row['day'] : null
    if (rows.length === 1) return { day: value, condition: 'true' }
    if (value === null) return { day: value, condition: `${day} IS NULL` }
    return { day: value, condition: `${day} = DATE ${quoteText(value)}` }
  })
}

function copySql(
  table: TableShape,
  {
    relation,
    condition,
    path,
    codec,
    level,
    isSorted,
    isTyped,
  }: Pick<DataFilesOptions, 'relation' | 'level' | 'isSorted' | 'isTyped'> & {
    condition: string
    path: string
    codec: Codec
  },
): string {
  const names = new Set(table.columns.map((column) => column.name))
  const columns = table.columns.map((column) => castItem(column))
  const order = ['_log_partition', '_offset'].filter((name) => names.has(name)).map(quoteName)
  const sorted = order.length === 0 || isSorted === true ? '' : ` ORDER BY ${order.join(', ')}`
  const compression =
    codec === 'zstd' && level !== undefined ? `${codec}, COMPRESSION_LEVEL ${level}` : codec
  // A SELECT around another one costs as much to plan as the inner one.
  const isPlain = isTyped === true && sorted === '' && condition === 'true'
  const select = isPlain
    ? relation
    : `(SELECT ${columns.join(', ')} FROM ${relation} WHERE ${condition}${sorted})`
  // Nothing names the file before the commit: it needs no other name until it is whole.
  return `COPY ${select} TO ${quoteText(path)} (FORMAT parquet, USE_TMP_FILE false, COMPRESSION ${compression}, FIELD_IDS ${fieldIdsSql(table.schema)}, KV_METADATA {"iceberg.schema": ${quoteText(JSON.stringify(table.schema))}}, RETURN_STATS true)`
}

/** DuckDB's statistics of a file as Iceberg's. Lists and maps get their size only: their values are not one a row. */
function metricsOf(schema: TableSchema, statistics: Json): FileMetrics {
  const byKey = new Map(pairs(statistics).map(({ key, value }) => [key, textMap(value)]))
  const metrics = {
    columnSizes: new Map<number, number>(),
    valueCounts: new Map<number, number>(),
    nullCounts: new Map<number, number>(),
    nanCounts: new Map<number, number>(),
    lowerBounds: new Map<number, Buffer>(),
    upperBounds: new Map<number, Buffer>(),
  }
  for (const leaf of leavesOf(schema)) {
    const of = byKey.get(leaf.key)
    if (of === undefined) continue
    setIfGiven(metrics.columnSizes, leaf.id, toNumber(of.get('column_size_bytes')))
    if (leaf.repeated) continue
    setIfGiven(metrics.valueCounts, leaf.id, toNumber(of.get('num_values')))
    setIfGiven(metrics.nullCounts, leaf.id, toNumber(of.get('null_count')))
    if (of.get('has_nan') === 'false') metrics.nanCounts.set(leaf.id, 0) // how many is not known when there are some
    const [min, max] = [of.get('min'), of.get('max')]
    if (min !== undefined) setIfGiven(metrics.lowerBounds, leaf.id, lowerBound(leaf.type, min))
    if (max !== undefined) setIfGiven(metrics.upperBounds, leaf.id, upperBound(leaf.type, max))
  }
  return metrics
}

function setIfGiven<T>(map: Map<number, T>, id: number, value: T | undefined): void {
  if (value !== undefined) map.set(id, value)
}

function toNumber(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text)
}

function textMap(value: Json): Map<string, string> {
  return new Map(
    pairs(value).flatMap(({ key, value: text }) => (typeof text === 'string' ? [[key, text]] : [])),
  )
}

/** A DuckDB map in its JSON form: a list of key and value. */
function pairs(map: Json): { key: string; value: Json }[] {
  if (!Array.isArray(map)) return []
  return map.flatMap((entry) => {
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return []
    const { key, value } = entry
    return typeof key === 'string' && value !== undefined ? [{ key, value }] : []
  })
}
