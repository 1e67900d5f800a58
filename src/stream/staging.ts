import { isUtf8 } from 'node:buffer'
import {
  BIGINT,
  DuckDBDataChunk,
  INTEGER,
  JsonDuckDBValueConverter,
  VARCHAR,
  type DuckDBPreparedStatement,
  type Json,
} from '@duckdb/node-api'
import { cellText, queryRows, type DuckDBConnection } from '../core/duckdb.ts'
import type { PlacedRecord } from '../log/record-chunks.ts'
import type { LogRecord } from '../log/record.ts'
import type { TopicConversion } from './conversion.ts'
import type { SetAside } from './dead-letters.ts'

/** Rows of a DuckDB vector: the most that a data chunk holds. */
const chunkRows = 2048

/** Up to so many rows planning a statement costs more than running it: then statements are prepared, and kept as long as the tables are. */
const smallRows = 2_048
/** The temporary tables are used again for so many batches and rows: what is deleted in them is freed only with them. */
const batchesMax = 100
const rowsMax = 20_000
const statementsMax = 200

/**
 * Converts records of one topic on a connection of its own, in its temporary tables `staged` and `parsed`.
 *
 * Prepared statements are planned without the optimizer: it takes the statistics of a temporary table at that moment for the truth, and a column
 * that was NULL throughout is then NULL for good in the plan (DuckDB 1.5.6; test/stream/staging.test.ts).
 */
export class Staging {
  readonly #connection: DuckDBConnection
  readonly #conversion: TopicConversion
  readonly #statements = new Map<string, DuckDBPreparedStatement>()
  #optimizes = true
  #isSmall = false
  #batches = batchesMax
  #rows = 0

  constructor(connection: DuckDBConnection, conversion: TopicConversion) {
    this.#connection = connection
    this.#conversion = conversion
  }

  get connection(): DuckDBConnection {
    return this.#connection
  }

  /**
   * Puts records into `parsed` (_partition, _offset, _ms, raw, id, f0, f1, …), in place of what it held. Records that are no UTF-8 text within
   * the depth limit come back instead, with the reason. Where f0 is NULL, the JSON could not be read: see `mend`.
   */
  async stage(records: readonly PlacedRecord[], jsonDepthMax: number): Promise<SetAside[]> {
    const refused: SetAside[] = []
    const readable = records.filter((placed) => {
      const reason = placed.unreadable ?? unreadable(placed.record.value, jsonDepthMax)
      if (reason !== undefined) refused.push({ ...placed, table: null, path: null, reason })
      return reason === undefined
    })
    this.#isSmall = readable.length <= smallRows
    await this.#optimize(!this.#isSmall)
    await this.#empty()
    this.#batches++
    this.#rows += readable.length
    await appendRows(this.#connection, readable)
    await this.run(`INSERT INTO parsed ${this.#parse()}`)
    return refused
  }

  /** Runs a statement over `parsed`. */
  async run(sql: string): Promise<void> {
    if (this.#isSmall) await (await this.#prepared(sql)).run()
    else await this.#connection.run(sql)
  }

  /** Rows of a statement over `parsed`, as `queryRows` gives them. */
  async query(sql: string): Promise<Record<string, Json>[]> {
    if (!this.#isSmall) return queryRows(this.#connection, sql)
    const reader = await (await this.#prepared(sql)).runAndReadAll()
    return reader.convertRowObjects(JsonDuckDBValueConverter)
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
  async mend(records: readonly PlacedRecord[]): Promise<SetAside[]> {
    const unparsed = await this.#unparsed(records)
    if (unparsed.length === 0) return []
    const copies = unparsed.map((placed) => ({
      placed,
      copy: wellFormedCopy(textOf(placed.record.value) ?? ''),
    }))
    await this.#connection.run(
      'CREATE OR REPLACE TEMP TABLE mended (_partition INTEGER, _offset BIGINT, json VARCHAR)',
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
    const assignments = this.#conversion.parse('json').map((item, index) => `f${index} = ${item}`)
    await this.#connection.run(
      `UPDATE parsed SET ${assignments.join(', ')} FROM mended WHERE parsed._partition = mended._partition AND parsed._offset = mended._offset`,
    )
    const refused = new Set(await this.#unparsed(unparsed))
    await this.#connection.run('DELETE FROM parsed WHERE f0 IS NULL')
    return copies
      .filter(({ placed }) => refused.has(placed))
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
      await this.run('DELETE FROM parsed')
      return
    }
    this.#forget()
    await this.#connection.run(
      'CREATE OR REPLACE TEMP TABLE staged (_partition INTEGER, _offset BIGINT, _ms BIGINT, raw VARCHAR, id VARCHAR)',
    )
    await this.#connection.run(`CREATE OR REPLACE TEMP TABLE parsed AS ${this.#parse()}`)
    this.#batches = 0
    this.#rows = 0
  }

  #parse(): string {
    const fields = this.#conversion.parse('raw').map((item, index) => `${item} AS f${index}`)
    return `SELECT _partition, _offset, _ms, raw, id, ${fields.join(', ')} FROM staged`
  }

  async #prepared(sql: string): Promise<DuckDBPreparedStatement> {
    const known = this.#statements.get(sql)
    if (known !== undefined) return known
    if (this.#statements.size >= statementsMax) this.#forget()
    const statement = await this.#connection.prepare(sql)
    this.#statements.set(sql, statement)
    return statement
  }

  #forget(): void {
    for (const statement of this.#statements.values()) statement.destroySync()
    this.#statements.clear()
  }

  async #unparsed(records: readonly PlacedRecord[]): Promise<PlacedRecord[]> {
    const rows = await this.query(
      'SELECT _partition, _offset::VARCHAR AS _offset FROM parsed WHERE f0 IS NULL',
    )
    if (rows.length === 0) return []
    const places = new Set(
      rows.map((row) => `${cellText(row, '_partition')}/${cellText(row, '_offset')}`),
    )
    return records.filter((placed) => places.has(`${placed.partition}/${placed.record.offset}`))
  }

  /** The connection goes with it. */
  close(): void {
    this.#forget()
    this.#connection.closeSync()
  }
}

async function appendRows(
  connection: DuckDBConnection,
  records: readonly PlacedRecord[],
): Promise<void> {
  const appender = await connection.createAppender('staged', 'main', 'temp')
  for (let start = 0; start < records.length; start += chunkRows) {
    const rows = records.slice(start, start + chunkRows)
    const chunk = DuckDBDataChunk.create([INTEGER, BIGINT, BIGINT, VARCHAR, VARCHAR], rows.length)
    chunk.setColumnValues(
      0,
      rows.map(({ partition }) => partition),
    )
    chunk.setColumnValues(
      1,
      rows.map(({ record }) => BigInt(record.offset)),
    )
    chunk.setColumnValues(
      2,
      rows.map(({ record }) => BigInt(record.timestampMs)),
    )
    chunk.setColumnValues(
      3,
      rows.map(({ record }) => textOf(record.value)),
    )
    chunk.setColumnValues(
      4,
      rows.map(({ record }) => clientEventId(record)),
    )
    appender.appendDataChunk(chunk)
  }
  appender.closeSync()
}

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

const openBrace = 0x7b
const openBracket = 0x5b

/** Whether JSON bytes nest deeper than `depthMax`. Counts the openers first, which is native and settles nearly every event. */
function nestsDeeper(bytes: Uint8Array, depthMax: number): boolean {
  let openers = 0
  for (const opener of [openBrace, openBracket]) {
    for (let at = bytes.indexOf(opener); at !== -1; at = bytes.indexOf(opener, at + 1)) {
      openers++
      if (openers > depthMax) return measureDepth(bytes, depthMax) > depthMax
    }
  }
  return false
}

function measureDepth(bytes: Uint8Array, enough: number): number {
  let depth = 0
  let deepest = 0
  let inText = false
  for (let at = 0; at < bytes.length && deepest <= enough; at++) {
    const byte = bytes[at]
    if (inText) {
      if (byte === 0x5c) at++
      else if (byte === 0x22) inText = false
    } else if (byte === 0x22) inText = true
    else if (byte === openBrace || byte === openBracket) deepest = Math.max(deepest, ++depth)
    else if (byte === 0x7d || byte === 0x5d) depth--
  }
  return deepest
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
