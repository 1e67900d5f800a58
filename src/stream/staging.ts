import { isUtf8 } from 'node:buffer'
import {
  BLOB,
  DOUBLE,
  DuckDBBlobValue,
  DuckDBDataChunk,
  INTEGER,
  LIST,
  listValue,
  VARCHAR,
  type DuckDBPreparedStatement,
  type DuckDBValue,
  type Json,
} from '@duckdb/node-api'
import { cellText, queryRows, rowsOf, type DuckDBConnection } from '../core/duckdb.ts'
import type { PlacedRecord } from '../log/record-chunks.ts'
import type { LogRecord } from '../log/record.ts'
import { newCatalog, type Catalog } from './catalog-writer.ts'
import type { TopicConversion } from './conversion.ts'
import type { SetAside } from './dead-letters.ts'
import { nestsDeeper } from './nesting.ts'
import { countRecords, isRun, recordsOf, runSeparator, type Staged } from './record-runs.ts'

/** Rows of a DuckDB vector: the most that a data chunk holds. */
const chunkRows = 2048

/** Up to so many rows planning a statement costs more than running it: then statements are prepared, and kept as long as the tables are. */
export const smallRows = 2_048
/** Up to so many rows they cost less as parameters of a statement than in a table: an appender takes a millisecond of this thread, however few they are. */
const boundRowsMax = 128
/** The temporary tables are used again for so many batches and rows: what is deleted in them is freed only with them. */
const batchesMax = 100
const rowsMax = 20_000
const statementsMax = 200

interface Prepared {
  readonly statement: DuckDBPreparedStatement
  /** The version of the shared tables' catalog then. */
  readonly version: number | null
}

/**
 * Converts records of one topic on a connection of its own, in its temporary tables `staged` and `parsed`.
 *
 * Prepared statements are planned without the optimizer: it takes the statistics of a temporary table at that moment for the truth, and a column
 * that was NULL throughout is then NULL for good in the plan (DuckDB 1.5.6; test/stream/staging.test.ts).
 */
export class Staging {
  readonly #connection: DuckDBConnection
  readonly #conversion: TopicConversion
  readonly catalog: Catalog
  readonly #statements = new Map<string, Prepared>()
  /** For so many more batches it is not tried to add them as a whole (micro-batch.ts). */
  wholeBatchesOff = 0
  #optimizes = true
  #isSmall = false
  #hasRuns = false
  #readable: readonly Staged[] = []
  /** Whether `staged` holds them. */
  #isWritten = false
  /** Whether `parsed` holds the records of an earlier batch. */
  #isParsed = false
  #batches = batchesMax
  #rows = 0

  /** `catalog` is that of the tables that batches are added to. */
  constructor(
    connection: DuckDBConnection,
    conversion: TopicConversion,
    catalog: Catalog = newCatalog(),
  ) {
    this.#connection = connection
    this.#conversion = conversion
    this.catalog = catalog
  }

  /** Whether the batch is so small that its statements are prepared. */
  get isSmall(): boolean {
    return this.#isSmall
  }

  get connection(): DuckDBConnection {
    return this.#connection
  }

  /**
   * Puts records into `parsed`, in place of what it held. Records that are no UTF-8 text within the depth limit come back instead, with the
   * reason. Where f0 is NULL, the JSON could not be read: see `mend`.
   */
  async stage(records: readonly Staged[], jsonDepthMax: number): Promise<SetAside[]> {
    const refused = await this.put(records, jsonDepthMax)
    await this.parse()
    return refused
  }

  /** The first half of `stage`: takes the records that can be read, and gives back the others. */
  async put(records: readonly Staged[], jsonDepthMax: number): Promise<SetAside[]> {
    const refused: SetAside[] = []
    const readable = records.filter((placed) => {
      if (isRun(placed)) return true
      const reason = placed.unreadable ?? unreadable(placed.record.value, jsonDepthMax)
      if (reason !== undefined) refused.push({ ...placed, table: null, path: null, reason })
      return reason === undefined
    })
    this.#hasRuns = readable.some(isRun)
    this.#isSmall = !this.#hasRuns && readable.length <= smallRows
    this.#readable = readable
    this.#isWritten = false
    await this.#optimize(!this.#isSmall)
    return refused
  }

  /** The records are in `staged` afterwards, and `judged` selects from them what `parsed` would hold. */
  async write(): Promise<void> {
    if (this.#isWritten) return
    await this.#empty()
    this.#batches++
    this.#rows += countRecords(this.#readable)
    await appendRows(this.#connection, this.#readable, this.#isSmall)
    this.#isWritten = true
  }

  /** The second half of `stage`. */
  async parse(): Promise<void> {
    await this.write()
    if (this.#isSmall) {
      if (this.#isParsed) await this.run('DELETE FROM parsed')
      await this.run(`INSERT INTO parsed ${this.judged}`)
    } else await this.#connection.run(`CREATE OR REPLACE TEMP TABLE parsed AS ${this.judged}`)
    this.#isParsed = true
  }

  /** A SELECT of the columns of `parsed` from what is staged. */
  get judged(): string {
    return this.#conversion.parse(this.source)
  }

  /** A SELECT of what the parser needs of each record. */
  get source(): string {
    return this.#hasRuns ? recordsOfRuns : records
  }

  /** Runs a statement over `parsed`. */
  async run(sql: string): Promise<void> {
    if (this.#isSmall) await (await this.#prepared(sql, 'own')).run()
    else await this.#connection.run(sql)
  }

  /** Rows of a statement over `parsed`, as `queryRows` gives them. */
  query(sql: string): Promise<Record<string, Json>[]> {
    return this.#queryTables(sql, 'own')
  }

  /** The same for a statement that adds rows to other tables; rows are those of its RETURNING. */
  insert(sql: string): Promise<Record<string, Json>[]> {
    return this.#queryTables(sql, 'shared')
  }

  async #queryTables(sql: string, tables: 'own' | 'shared'): Promise<Record<string, Json>[]> {
    if (!this.#isSmall) return queryRows(this.#connection, sql)
    return rowsOf(await (await this.#prepared(sql, tables)).run())
  }

  /** Whether there are so few records that `insertBound` costs less than to write them. */
  get isBindable(): boolean {
    return this.#isSmall && this.#readable.length <= boundRowsMax
  }

  /** The same over a SELECT as `source`, whose records are its parameters: nothing is staged for it. */
  async insertBound(sqlOf: (source: string) => string): Promise<Record<string, Json>[]> {
    const records = this.#readable.flatMap((each) => (isRun(each) ? [] : [each])) // there are no runs in a small batch
    if (records.length === 0) return []
    const joined = joinValues(records)
    const source = joined === undefined ? boundRecords : boundText
    const statement = await this.#prepared(sqlOf(source), 'shared')
    const ids = records.map(({ record }) => clientEventId(record))
    statement.bind(
      [
        asText(records.map(({ partition }) => partition)),
        asText(records.map(({ record }) => record.offset)),
        asText(records.map(({ record }) => record.timestampMs)),
        joined ?? listValue(records.map(({ record }) => blobOf(record))),
        listValue(ids.every((id) => id === null) ? [] : ids),
      ],
      [BLOB, BLOB, BLOB, joined === undefined ? LIST(BLOB) : BLOB, LIST(VARCHAR)],
    )
    return rowsOf(await statement.run())
  }

  /** The same for a statement that also looks into tables with data files: it needs the optimizer to leave out what it can. */
  async lookUp(sql: string): Promise<Record<string, Json>[]> {
    await this.#optimize(true)
    try {
      return await queryRows(this.#connection, sql)
    } finally {
      await this.#optimize(!this.#isSmall)
    }
  }

  /**
   * DuckDB's JSON reader refuses what JavaScript's accepts (a lone surrogate), and both refuse what is not JSON. The first is parsed from a
   * well-formed copy, while `raw` stays as it was sent; the second comes back, to be set aside, and leaves `parsed`.
   */
  async mend(records: readonly Staged[]): Promise<SetAside[]> {
    const unparsed = await this.#unparsed(records)
    if (unparsed.length === 0) return []
    const copies = unparsed.map((placed) => ({
      placed,
      copy: wellFormedCopy(textOf(placed.record.value) ?? ''),
    }))
    await this.#connection.run(
      'CREATE OR REPLACE TEMP TABLE mended (_log_partition INTEGER, _offset BIGINT, json VARCHAR)',
    )
    const appender = await this.#connection.createAppender('mended', 'main', 'temp')
    for (const { placed, copy } of copies) {
      if (copy.json === undefined) continue
      appender.appendInteger(placed.partition)
      appender.appendBigInt(BigInt(placed.record.offset))
      appender.appendVarchar(copy.json)
      appender.endRow()
    }
    appender.closeSync()
    const source = `SELECT source.*, mended.json FROM (${this.source}) AS source JOIN mended ON mended._log_partition = source._log_partition AND mended._offset = source._offset`
    await this.#connection.run('DELETE FROM parsed WHERE f0 IS NULL')
    await this.#connection.run(
      `INSERT INTO parsed SELECT * EXCLUDE (json) FROM (${this.#conversion.parse(source, 'parsed.json')})`,
    )
    const mended = await this.#present(unparsed)
    await this.#connection.run('DELETE FROM parsed WHERE f0 IS NULL')
    return copies
      .filter(({ placed }) => !mended.has(placed))
      .map(({ placed, copy }) => ({
        ...placed,
        table: null,
        path: null,
        reason: copy.reason ?? 'malformed JSON',
      }))
  }

  async #optimize(optimizes: boolean): Promise<void> {
    if (optimizes === this.#optimizes) return
    await this.#connection.run(`PRAGMA ${optimizes ? 'enable' : 'disable'}_optimizer`)
    this.#optimizes = optimizes
  }

  async #empty(): Promise<void> {
    if (this.#isSmall && this.#batches < batchesMax && this.#rows < rowsMax) {
      await this.run('DELETE FROM staged')
      return
    }
    this.#forget()
    await this.#connection.run(
      `CREATE OR REPLACE TEMP TABLE staged (${this.#isSmall ? stagedColumns : `${stagedColumns}, n INTEGER`})`,
    )
    // A large batch makes it anew with its rows.
    if (this.#isSmall)
      await this.#connection.run(`CREATE OR REPLACE TEMP TABLE parsed AS ${this.judged}`)
    this.#isParsed = false
    this.#batches = this.#isSmall ? 0 : batchesMax
    this.#rows = 0
  }

  /** A statement over this connection's tables alone, or one of shared ones, whose catalog others change. */
  async #prepared(sql: string, tables: 'own' | 'shared'): Promise<DuckDBPreparedStatement> {
    const version = tables === 'own' ? null : this.catalog.version
    const known = this.#statements.get(sql)
    if (known?.version === version) return known.statement
    if (this.#statements.size >= statementsMax) this.#forget()
    const statement = await this.#connection.prepare(sql)
    this.#statements.get(sql)?.statement.destroySync()
    this.#statements.set(sql, { statement, version })
    return statement
  }

  #forget(): void {
    for (const { statement } of this.#statements.values()) statement.destroySync()
    this.#statements.clear()
  }

  /** Those of the records whose JSON could not be read. */
  async #unparsed(records: readonly Staged[]): Promise<PlacedRecord[]> {
    const places = await this.#places('f0 IS NULL')
    if (places.size === 0) return []
    return records
      .flatMap((each) => (isRun(each) ? recordsOf(each) : [each]))
      .filter((placed) => places.has(placeText(placed)))
  }

  /** Those of the records that were not left out. */
  async #present(records: readonly PlacedRecord[]): Promise<ReadonlySet<PlacedRecord>> {
    const places = await this.#places(
      'f0 IS NOT NULL AND (_log_partition, _offset) IN (SELECT (_log_partition, _offset) FROM mended)',
    )
    return new Set(records.filter((placed) => places.has(placeText(placed))))
  }

  async #places(condition: string): Promise<ReadonlySet<string>> {
    const rows = await queryRows(
      this.#connection,
      `SELECT _log_partition, _offset::VARCHAR AS _offset FROM parsed WHERE ${condition}`,
    )
    return new Set(
      rows.map((row) => `${cellText(row, '_log_partition')}/${cellText(row, '_offset')}`),
    )
  }

  /** The connection goes with it. */
  close(): void {
    this.#forget()
    this.#connection.closeSync()
  }
}

const stagedColumns = '_log_partition INTEGER, _offset DOUBLE, _ms DOUBLE, raw BLOB, id VARCHAR'
const stagedTypes = [INTEGER, DOUBLE, DOUBLE, BLOB, VARCHAR]

/** What the parser needs of a record. Numbers come as doubles, which hold every offset and time and are cheap to write; the bytes are known to be UTF-8. */
const parserInput = (offset: string, raw: string) =>
  `_log_partition, CAST(${offset} AS BIGINT) AS _offset, CAST(_ms AS BIGINT) AS _ms, ${raw} AS raw, id`
const records = `SELECT ${parserInput('_offset', 'decode(raw)')} FROM staged`
/** Of a large batch, where a row has `n` records in it. One that is alone is not split: it may hold the separator. */
const recordsOfRuns = `SELECT ${parserInput('_offset + i', 'raw')} FROM (SELECT * EXCLUDE (raw), unnest(range(n)) AS i, unnest(CASE WHEN n = 1 THEN [decode(raw)] ELSE string_split(decode(raw), chr(${runSeparator})) END) AS raw FROM staged)`

/**
 * Of a small batch, from parameters: a text for each column, because binding a value takes this thread as long as DuckDB needs for a whole record.
 * A list that is shorter than the others goes on with NULL. DuckDB plans a statement anew for each run in which parameters have no type of their
 * own, or are numbers or text (1.5.6): they are bytes, and lists.
 */
const boundSource = (raw: string) =>
  `SELECT CAST(p AS INTEGER) AS _log_partition, CAST(o AS BIGINT) AS _offset, CAST(ms AS BIGINT) AS _ms, raw, id FROM (SELECT ${['p', 'o', 'ms'].map((name, index) => `unnest(string_split(decode($${index + 1}::BLOB), ',')) AS ${name}`).join(', ')}, ${raw} AS raw, unnest($5::VARCHAR[]) AS id)`
const boundText = boundSource(`unnest(string_split(decode($4::BLOB), chr(${runSeparator})))`)
/** Where a value holds the separator. */
const boundRecords = boundSource('decode(unnest($4::BLOB[]))')

const asText = (numbers: readonly number[]) => new DuckDBBlobValue(Buffer.from(numbers.join(',')))

/** The values with a `runSeparator` between each two; undefined when one of them holds one. */
function joinValues(records: readonly PlacedRecord[]): DuckDBBlobValue | undefined {
  const parts: Uint8Array[] = []
  for (const { record } of records) {
    const value = record.value ?? noBytes
    if (value.includes(runSeparator)) return undefined
    if (parts.length > 0) parts.push(separator)
    parts.push(value)
  }
  return new DuckDBBlobValue(Buffer.concat(parts))
}

const separator = Uint8Array.of(runSeparator)

const placeText = ({ partition, record }: PlacedRecord) => `${partition}/${record.offset}`

/** With `n` behind the other columns unless the batch is small. */
async function appendRows(
  connection: DuckDBConnection,
  rows: readonly Staged[],
  isSmall: boolean,
): Promise<void> {
  const appender = await connection.createAppender('staged', 'main', 'temp')
  const types = isSmall ? stagedTypes : [...stagedTypes, INTEGER]
  for (let start = 0; start < rows.length; start += chunkRows) {
    const part = rows.slice(start, start + chunkRows)
    const chunk = DuckDBDataChunk.create(types, part.length)
    const vectors = types.map((_, index) => chunk.getColumnVector(index))
    for (const [row, staged] of part.entries())
      for (const [column, value] of valuesOf(staged).entries()) vectors[column]?.setItem(row, value)
    for (const vector of vectors) vector.flush()
    appender.appendDataChunk(chunk)
  }
  appender.closeSync()
}

function valuesOf(staged: Staged): DuckDBValue[] {
  if (isRun(staged)) {
    const { partition, firstOffset, timestampMs, values, count } = staged
    return [partition, firstOffset, timestampMs, new DuckDBBlobValue(values), null, count]
  }
  const { partition, record } = staged
  const { offset, timestampMs } = record
  return [partition, offset, timestampMs, blobOf(record), clientEventId(record), 1]
}

const blobOf = ({ value }: LogRecord) => new DuckDBBlobValue(value ?? noBytes)

const noBytes = new Uint8Array()

function wellFormedCopy(text: string): { readonly json?: string; readonly reason?: string } {
  try {
    return {
      json: JSON.stringify(JSON.parse(text), (_name, value: unknown) =>
        typeof value === 'string' ? value.toWellFormed() : value,
      ),
    }
  } catch (error) {
    return {
      reason: `malformed JSON: ${error instanceof Error ? error.message.slice(0, 200) : 'unreadable'}`,
    }
  }
}

/** How the reason begins for which a record is set aside that could be read, but is too deep. */
export const nestedReason = 'nested deeper than '

function unreadable(value: Uint8Array | null, jsonDepthMax: number): string | undefined {
  if (value === null || value.length === 0) return 'empty record'
  if (!isUtf8(value)) return 'not valid UTF-8'
  if (nestsDeeper(value, jsonDepthMax)) return `${nestedReason}${jsonDepthMax} levels`
  return undefined
}

function textOf(value: Uint8Array | null): string | null {
  return value === null
    ? null
    : Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString()
}

/** The record header that the collector writes when the client gave an id of its own. */
export const eventIdHeader = 'event_id'

function clientEventId(record: LogRecord): string | null {
  if (record.headers.length === 0) return null
  const header = record.headers.find(({ key }) => key === eventIdHeader)
  const value = header?.value ?? null
  return value !== null && isUtf8(value) ? textOf(value) : null
}
